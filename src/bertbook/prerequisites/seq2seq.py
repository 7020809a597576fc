"""An LSTM encoder-decoder, with and without attention.

Shapes, in the letters used through the whole book:

    B batch   S source length   T target length   E embedding width   D state width
    A hidden width of the additive score   V vocabulary

Symbols are whole numbers, see ``bertbook.shared.symbols``. A source is ``[B, S]`` with its lengths
``[B]``; a target ends in the end symbol.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bertbook.attention.scores import (
    additive_score,
    bilinear_score,
    dot_score,
    masked_softmax,
    padding_mask,
)
from bertbook.shared.checks import check_symbols
from bertbook.shared.symbols import BEGIN, END, PAD

__all__ = [
    "SCORES",
    "EncoderDecoder",
    "Score",
    "Seq2Seq",
    "Seq2SeqConfig",
    "State",
    "check_source",
    "sequence_loss",
    "shift_right",
]

SCORES = ("none", "dot", "general", "additive")

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes of an encoder-decoder.

    Args:
        source_vocabulary: number of source symbols, the three special ones included.
        target_vocabulary: number of target symbols, likewise.
        d_embedding: E.
        d_state: D, width of the LSTM states of encoder and decoder.
        score: ``none`` (no attention), ``dot``, ``general`` or ``additive``.
        d_score: A; ``None`` means D. Used by ``additive`` alone.

    Raises:
        ValueError: if a size is too small or the score has another name.
    """

    source_vocabulary: int
    target_vocabulary: int
    d_embedding: int
    d_state: int
    score: str = "general"
    d_score: int | None = None

    def __post_init__(self):
        for name in ("source_vocabulary", "target_vocabulary"):
            if getattr(self, name) <= END + 1:
                raise ValueError(
                    f"{name} must exceed the three special symbols, got {getattr(self, name)}"
                )
        for name in ("d_embedding", "d_state", "d_score"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if self.score not in SCORES:
            raise ValueError(f"score must be one of {SCORES}, got {self.score!r}")

    @classmethod
    def tiny(cls, score: str = "general") -> "Seq2SeqConfig":
        """Small enough for a test."""
        return cls(9, 8, d_embedding=5, d_state=7, score=score)


class Score(nn.Module):
    """How well each decoder state matches each encoder state.

    Args:
        kind: ``dot``, ``general`` (bilinear) or ``additive``.
        d_state: D, width of both states.
        d_score: A, hidden width of the additive score.

    Source: Luong et al. 2015, section 3.1; Bahdanau et al. 2015, appendix A.1.2.
    """

    def __init__(self, kind: str, d_state: int, d_score: int):
        super().__init__()
        self.kind = kind
        if kind == "general":
            self.weight = nn.Parameter(torch.empty(d_state, d_state))
        elif kind == "additive":
            self.query_weight = nn.Parameter(torch.empty(d_state, d_score))
            self.key_weight = nn.Parameter(torch.empty(d_state, d_score))
            self.vector = nn.Parameter(torch.empty(d_score))
        for parameter in self.parameters():
            nn.init.uniform_(
                parameter, -(parameter.shape[0] ** -0.5), parameter.shape[0] ** -0.5
            )

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores ``[B, T, S]`` of queries ``[B, T, D]`` for keys ``[B, S, D]``."""
        if self.kind == "dot":
            return dot_score(query, key)
        if self.kind == "general":
            return bilinear_score(query, key, self.weight)
        return additive_score(
            query, key, self.query_weight, self.key_weight, self.vector
        )


class EncoderDecoder(nn.Module):
    """An LSTM reads the source, a second one, started from its last state, writes the target.

    With attention every decoder state also looks at all encoder states, and the output is read
    from both. The decoder's recurrence is the same with and without: the context does not enter
    it (Luong's simplest form; Bahdanau's decoder takes the context as an input), so that nothing
    but the look and its score differs.

    Args:
        config: the sizes and the score.

    Source: Sutskever et al. 2014; Luong et al. 2015, equations 5 to 7.
    """

    def __init__(self, config: Seq2SeqConfig):
        super().__init__()
        self.config = config
        width, d_state = config.d_embedding, config.d_state
        self.source_embedding = nn.Embedding(config.source_vocabulary, width)
        self.target_embedding = nn.Embedding(config.target_vocabulary, width)
        self.encoder = nn.LSTM(width, d_state, batch_first=True)
        self.decoder = nn.LSTM(width, d_state, batch_first=True)
        self.output = nn.Linear(d_state, config.target_vocabulary)
        if config.score != "none":
            self.score = Score(config.score, d_state, config.d_score or d_state)
            self.combine = nn.Linear(2 * d_state, d_state, bias=False)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """Read the source.

        Args:
            source: ``[B, S]``, padded.
            lengths: ``[B]``, in 1..S.

        Returns:
            The encoder states ``[B, S, D]``, zero at the padding, and the last state of each
            sequence before its padding, ``(h, c)`` of ``[1, B, D]`` each.
        """
        packed = pack_padded_sequence(
            self.source_embedding(source),
            lengths,
            batch_first=True,
            enforce_sorted=False,
        )
        states, last = self.encoder(packed)
        states, _ = pad_packed_sequence(
            states, batch_first=True, total_length=source.shape[1]
        )
        return states, last

    def decode(
        self, inputs: Tensor, state: State, memory: Tensor, source_mask: Tensor
    ) -> tuple[Tensor, State, Tensor | None]:
        """Take T decoder steps, all of them in teacher forcing, one at a time in generation.

        Args:
            inputs: ``[B, T]``, at each step the symbol before the one to be predicted.
            state: the decoder's state before the first of these steps.
            memory: encoder states ``[B, S, D]``.
            source_mask: boolean ``[B, 1, S]``, ``True`` = a real source symbol.

        Returns:
            Logits ``[B, T, V]``, the state after the last step, and the attention weights
            ``[B, T, S]`` (``None`` without attention).
        """
        hidden, state = self.decoder(self.target_embedding(inputs), state)  # [B, T, D]
        if self.config.score == "none":
            return self.output(hidden), state, None
        weights = masked_softmax(self.score(hidden, memory), source_mask)  # [B, T, S]
        context = weights @ memory  # [B, T, D]
        hidden = torch.tanh(self.combine(torch.cat([context, hidden], dim=-1)))
        return self.output(hidden), state, weights


class Seq2Seq(EncoderDecoder):
    """The encoder-decoder in its two uses: forced by the true target, and writing freely.

    Args:
        config: the sizes and the score.

    Source: Williams & Zipser 1989 (teacher forcing); Sutskever et al. 2014.
    """

    def forward(
        self, source: Tensor, lengths: Tensor, inputs: Tensor, return_weights=False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Predict every target symbol from the *true* ones before it: teacher forcing.

        Args:
            source: ``[B, S]``.
            lengths: ``[B]``.
            inputs: ``[B, T]``, the target shifted right, see :func:`shift_right`.
            return_weights: whether the attention weights ``[B, T, S]`` are returned as well.

        Returns:
            Logits ``[B, T, V]``, or ``(logits, weights)``.

        Raises:
            ValueError: if the shapes do not fit or a symbol is not in the vocabulary.
        """
        mask = check_source(source, lengths, self.config.source_vocabulary)
        check_symbols("inputs", inputs, self.config.target_vocabulary)
        if len(inputs) != len(source):
            raise ValueError(
                f"the batch sizes differ: source {list(source.shape)}, "
                f"inputs {list(inputs.shape)}"
            )
        memory, state = self.encode(source, lengths)
        logits, _, weights = self.decode(inputs, state, memory, mask)
        return (logits, weights) if return_weights else logits

    @torch.no_grad()
    def generate(
        self, source: Tensor, lengths: Tensor, max_length: int, return_weights=False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Write the target greedily: each step reads the model's *own* last symbol.

        Args:
            source: ``[B, S]``.
            lengths: ``[B]``.
            max_length: at most so many symbols, the end symbol included.
            return_weights: whether the attention weights ``[B, T, S]`` are returned as well.

        Returns:
            Symbols ``[B, T]``, padding after the end symbol, or ``(symbols, weights)``.

        Raises:
            ValueError: if ``max_length`` is not positive, or as :meth:`forward`.
        """
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        mask = check_source(source, lengths, self.config.source_vocabulary)
        memory, state = self.encode(source, lengths)
        symbol = torch.full_like(source[:, :1], BEGIN)  # [B, 1]
        ended = torch.zeros_like(symbol, dtype=torch.bool)
        symbols, looks = [], []
        while len(symbols) < max_length and not ended.all():
            logits, state, weights = self.decode(symbol, state, memory, mask)
            symbol = logits.argmax(dim=-1).masked_fill(ended, PAD)  # [B, 1]
            ended = ended | (symbol == END)
            symbols.append(symbol)
            looks.append(weights)
        written = torch.cat(symbols, dim=1)  # [B, T]
        if not return_weights:
            return written
        return written, None if looks[0] is None else torch.cat(looks, dim=1)


def shift_right(target: Tensor) -> Tensor:
    """The decoder's inputs in teacher forcing: begin, then the target without its last.

    Args:
        target: ``[B, T]``.

    Returns:
        ``[B, T]``: what stands before each symbol of the target.
    """
    return F.pad(target[:, :-1], (1, 0), value=BEGIN)


def sequence_loss(model: Seq2Seq, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Cross-entropy per target symbol under teacher forcing; padding does not count.

    Args:
        model: an encoder-decoder.
        batch: source ``[B, S]``, lengths ``[B]``, target ``[B, T]``.

    Returns:
        The mean over the real target symbols, in nats.
    """
    source, lengths, target = batch
    logits = model(source, lengths, shift_right(target))  # [B, T, V]
    return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=PAD)


def check_source(source: Tensor, lengths: Tensor, vocabulary: int) -> Tensor:
    """Refuse what is not a padded batch of sources; return its mask.

    Args:
        source: should be ``[B, S]``.
        lengths: should be ``[B]``, in 1..S.
        vocabulary: the number of source symbols.

    Returns:
        Boolean mask ``[B, 1, S]``, ``True`` = a real symbol.

    Raises:
        TypeError: as :func:`check_symbols` and :func:`bertbook.attention.scores.padding_mask`.
        ValueError: likewise, or if there are not as many lengths as sources.
    """
    check_symbols("source", source, vocabulary)
    if lengths.shape != source.shape[:1]:
        raise ValueError(
            f"lengths must have shape [{len(source)}], got {list(lengths.shape)}"
        )
    return padding_mask(lengths, source.shape[1])
