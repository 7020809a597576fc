"""Pairs of segments for next-sentence prediction, and the batches of pre-training.

B batch   S length
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertbook.pretraining.masking import MaskingRule, PieceTable, mask_tokens
from bertbook.tokenizer.packing import Encoding, pad_batch, truncated_lengths

__all__ = ["NEGATIVES", "SPECIALS", "SentencePair", "collate", "pack", "sentence_pairs"]

NEGATIVES = ("random", "swapped", "none")
SPECIALS = 3  # [CLS], and [SEP] twice

Document = Sequence[Sequence[int]]
"""Sentences that follow one another, each as the numbers of its pieces."""


@dataclass(frozen=True)
class SentencePair:
    """Two segments, each of one sentence or several.

    Attributes:
        first: numbers of the pieces of segment A.
        second: those of segment B.
        next_sentence_label: 0 if B follows A, 1 if not; the numbers are Hugging Face's.
        documents: numbers of the documents from which A and B are.
    """

    first: list[int]
    second: list[int]
    next_sentence_label: int
    documents: tuple[int, int]


def sentence_pairs(
    documents: Sequence[Document],
    length: int,
    *,
    generator: torch.Generator,
    negatives: str = "random",
    short: float = 0.1,
) -> list[SentencePair]:
    """Go through all documents once and make a pair from each stretch of sentences.

    A stretch grows until it fills the length (or, with probability ``short``, a random shorter one)
    and has at least two sentences. It is split between two sentences. With probability one half
    the second part stays. Otherwise it is

    - ``"random"``: replaced by sentences of another document, from a random place on, and goes back
      into the text. BERT's task. The topic alone often gives the answer.
    - ``"swapped"``: put before the first part. Both have the same topic; only their order differs.
    - ``"none"``: the second part always stays.

    A pair that is too long loses pieces from the longer segment, A from its start and B from its
    end, so none where they meet. A sentence that remains alone at the end of its document is left
    out. In Google's code it always gets a random partner: then more than half of all pairs are
    random, and a single sentence reveals the label. There the random document may also be the same.

    Args:
        documents: each of at least one sentence, each sentence of at least one piece.
        length: the most pieces of a pair, special tokens included.
        generator: source of all randomness; a new pass with it makes other pairs.
        negatives: how half of the pairs are changed: one of :data:`NEGATIVES`.
        short: probability of a target length that is drawn evenly from 2 to ``length`` - 3 pieces.

    Returns:
        The pairs in the order of the text; shuffle them before training.

    Raises:
        ValueError: if there is no document, or only one with ``"random"``; a document or sentence
            is empty; or an argument is out of range.

    Source: Devlin et al. 2019, section 3.1 and appendix A.2. Swapped: Lan et al. 2020, section 3.1.
    """
    room = length - SPECIALS
    if room < 2:
        raise ValueError(f"length must be at least {SPECIALS + 2}, got {length}")
    if negatives not in NEGATIVES:
        raise ValueError(f"negatives must be one of {NEGATIVES}, got {negatives!r}")
    if not 0 <= short <= 1:
        raise ValueError(f"short must lie in 0..1, got {short}")
    _check_documents(documents, least=2 if negatives == "random" else 1)

    pairs = []
    for number, document in enumerate(documents):
        start = 0
        while len(document) - start >= 2:
            target = room
            if _chance(generator) < short:
                target = 2 + _integer(room - 1, generator)
            end = _end_of_stretch(document, start, target)
            split = start + 1 + _integer(end - start - 1, generator)
            first = _joined(document[start:split])
            second = _joined(document[split:end])
            partner = number
            label = int(negatives != "none" and _chance(generator) >= 0.5)
            if label and negatives == "swapped":
                first, second = second, first
            elif label:
                partner = _integer(len(documents) - 1, generator)
                partner += partner >= number
                other = documents[partner]
                begin = _integer(len(other), generator)
                second = _filled(other[begin:], target - len(first))
                end = split
            n, m = truncated_lengths(len(first), len(second), target, "longest_first")
            pairs.append(
                SentencePair(
                    first[len(first) - n :], second[:m], label, (number, partner)
                )
            )
            start = end
    return pairs


def pack(pair: SentencePair, table: PieceTable) -> Encoding:
    """``[CLS] A [SEP] B [SEP]``, as the tokenizer packs two texts; offsets are unknown, (0, 0)."""
    ids = [table.cls_id, *pair.first, table.sep_id, *pair.second, table.sep_id]
    a, b = len(pair.first) + 2, len(pair.second) + 1
    return Encoding(
        tokens=[table.pieces[number] for number in ids],
        ids=ids,
        token_type_ids=[0] * a + [1] * b,
        attention_mask=[1] * (a + b),
        offsets=[(0, 0)] * (a + b),
    )


def collate(
    pairs: Sequence[SentencePair],
    table: PieceTable,
    rule: MaskingRule | None = None,
    *,
    generator: torch.Generator,
    pad_to: int | None = None,
) -> dict[str, Tensor]:
    """Make a batch of B pairs: packed, padded, masked.

    Args:
        pairs: at least one.
        table: of the vocabulary.
        rule: how tokens are masked; ``None``: BERT's.
        generator: source of the masks; a new one for each step gives dynamic masking.
        pad_to: S; ``None``: the longest of the batch.

    Returns:
        The arguments of :class:`bertbook.pretraining.heads.BertForPreTraining`, all ``torch.long``:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` and ``labels``, ``[B, S]``;
        ``next_sentence_label``, ``[B]``.

    Raises:
        ValueError: as :func:`bertbook.tokenizer.packing.pad_batch` and
            :func:`bertbook.pretraining.masking.mask_tokens`.
    """
    batch = pad_batch([pack(p, table) for p in pairs], table.pad_id, pad_to=pad_to)
    masked = mask_tokens(
        batch["input_ids"],
        table,
        rule,
        generator=generator,
        attention_mask=batch["attention_mask"],
    )
    return {
        **batch,
        "input_ids": masked.input_ids,
        "labels": masked.labels,
        "next_sentence_label": torch.tensor([p.next_sentence_label for p in pairs]),
    }  # [B, S] each, the last [B]


def _check_documents(documents: Sequence[Document], least: int) -> None:
    if len(documents) < least:
        more = ", since a random partner comes from another" if least > 1 else ""
        raise ValueError(
            f"expected at least {least} documents{more}, got {len(documents)}"
        )
    for number, document in enumerate(documents):
        if not len(document):
            raise ValueError(f"document {number} has no sentence")
        for place, sentence in enumerate(document):
            if not len(sentence):
                raise ValueError(f"sentence {place} of document {number} is empty")
            if min(sentence) < 0:
                raise ValueError(
                    f"sentence {place} of document {number} holds the number {min(sentence)}; "
                    "pieces are numbered from 0"
                )


def _end_of_stretch(document: Document, start: int, target: int) -> int:
    """The first end at which the stretch has two sentences and the target's pieces."""
    end, pieces = start, 0
    while end < len(document) and (pieces < target or end < start + 2):
        pieces += len(document[end])
        end += 1
    return end


def _filled(sentences: Document, target: int) -> list[int]:
    """Sentences until the target is reached, at least one."""
    pieces = list(sentences[0])
    for sentence in sentences[1:]:
        if len(pieces) >= target:
            break
        pieces += sentence
    return pieces


def _joined(sentences: Document) -> list[int]:
    return [number for sentence in sentences for number in sentence]


def _chance(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator).item()


def _integer(count: int, generator: torch.Generator) -> int:
    """One of 0..count - 1."""
    return torch.randint(count, (), generator=generator).item()
