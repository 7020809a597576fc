"""What a masked language model must beat: counted neighbours, and an LSTM that reads both ways.

N pieces of a text   V vocabulary   B batch   S length   D width
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.pretraining.heads import BertPreTrainingOutput
from bertbook.pretraining.masking import IGNORED
from bertbook.shared.training import lstm_precision

__all__ = ["LSTMForMaskedLM", "NeighbourModel"]

# Contexts, from vague to sharp; a context is the places that it looks at, from the gap at 0.
CONTEXTS = ((1,), (-1,), (1, 2), (-2, -1), (-1, 1))
LEFT = ((-1,), (-2, -1))


class NeighbourModel:
    """Fills a gap by what stood between the same neighbours in the training text.

    Five distributions are counted: after the piece on the left, before the one on the right, the
    same with two pieces, and between left and right. From the frequencies of single pieces on, each
    is mixed in with weight n / (n + t), where its context was seen n times with t different pieces:
    the more often, and the more of one mind, the more it counts. A context that was never seen, or
    one of whose places is masked or special, is passed over.

    Args:
        documents: sentences of the training text as numbers of pieces.
        vocab_size: V.
        contexts: which of ``CONTEXTS`` are used; none: frequencies alone.

    Raises:
        ValueError: if there is no text.

    Source: Witten and Bell 1991 for the weights.
    """

    def __init__(
        self,
        documents: Sequence[Sequence[Sequence[int]]],
        vocab_size: int,
        contexts: Sequence[tuple[int, ...]] = CONTEXTS,
    ):
        gap = np.array(
            [vocab_size, vocab_size]
        )  # between documents: stands for nothing
        parts = [np.concatenate([np.array(s) for s in d]) for d in documents if d]
        if not parts:
            raise ValueError("the training text holds no document")
        text = np.concatenate([x for part in parts for x in (part, gap)])  # [N]
        self.vocab_size = vocab_size
        pieces = text[text < vocab_size]
        counts = np.bincount(pieces, minlength=vocab_size) + 1.0
        self.frequencies = counts / counts.sum()  # [V]
        self.tables = {c: self._count(text, c) for c in contexts}

    def _key(self, neighbours: Sequence[np.ndarray]) -> np.ndarray:
        key = np.zeros_like(neighbours[0])
        for piece in neighbours:
            key = key * (self.vocab_size + 1) + piece
        return key

    def _count(self, text: np.ndarray, context: tuple[int, ...]):
        """Sorted keys of contexts with their pieces and counts."""
        places = np.arange(2, len(text) - 2)
        neighbours = [text[places + shift] for shift in context]
        known = text[places] < self.vocab_size
        for piece in neighbours:
            known &= piece < self.vocab_size
        key = self._key(neighbours)[known] * self.vocab_size + text[places][known]
        pairs, counts = np.unique(key, return_counts=True)
        return pairs // self.vocab_size, pairs % self.vocab_size, counts

    def predict(self, input_ids: Tensor, place: int, special: Tensor) -> np.ndarray:
        """Probabilities of all pieces for a place.

        Args:
            input_ids: one sequence with its masks, ``[S]``.
            place: of the gap.
            special: boolean ``[V]``: pieces that say nothing, [MASK] among them.

        Returns:
            ``[V]``, summing to one.
        """
        chances = self.frequencies
        for context, (keys, pieces, counts) in self.tables.items():
            around = [place + shift for shift in context]
            if min(around) < 0 or max(around) >= len(input_ids):
                continue
            neighbours = [int(input_ids[i]) for i in around]
            if any(special[n] for n in neighbours):
                continue
            key = self._key([np.int64(n) for n in neighbours])
            low, high = np.searchsorted(keys, [key, key + 1])
            if low == high:
                continue
            seen, different = counts[low:high].sum(), high - low
            chances = chances * (different / (seen + different))
            chances[pieces[low:high]] += counts[low:high] / (seen + different)
        return chances


class LSTMForMaskedLM(nn.Module):
    """A two-way LSTM in the place of BERT's encoder, with the same head: embed, read, predict.

    One LSTM reads from the left, another from the right; both states of a place are joined and
    mapped to D. Layers do the same on what lies below. The output matrix is the embedding table.

    Args:
        vocab_size: V.
        width: D, of embeddings and of the head.
        units: of each direction.
        layers: how many.
    """

    def __init__(self, vocab_size: int, width: int, units: int, layers: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, units, layers, batch_first=True, bidirectional=True)
        self.transform = nn.Linear(2 * units, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor,
        next_sentence_label: Tensor | None = None,
    ) -> BertPreTrainingOutput:
        """Predict the selected pieces; arguments as ``BertForPreTraining``, some of them unused.

        Padding stands on the right and is left out, so that the second reader starts at the text.

        Args:
            input_ids: ``[B, S]``.
            attention_mask: ``[B, S]``, 1 = a token.
            token_type_ids: not used.
            labels: ``[B, S]``, or ``bertbook.pretraining.masking.IGNORED``.
            next_sentence_label: not used.
        """
        lengths = attention_mask.sum(1).cpu()  # [B]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(input_ids), lengths, batch_first=True, enforce_sorted=False
        )
        with lstm_precision():
            packed, _ = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=True, total_length=input_ids.shape[1]
        )  # [B, S, 2·units]
        selected = labels != IGNORED  # [B, S]
        states = self.norm(F.gelu(self.transform(states[selected])))  # [N, D]
        logits = F.linear(states, self.embedding.weight, self.bias)  # [N, V]
        loss = F.cross_entropy(logits, labels[selected])
        return BertPreTrainingOutput(loss, loss, None, logits, None, None, None)
