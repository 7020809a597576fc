"""The task of masked language modelling: which tokens are predicted, and what replaces them.

B batch   S length   V vocabulary
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bertbook.shared.checks import check_symbols
from bertbook.tokenizer.pieces import IGNORED
from bertbook.tokenizer.wordpiece import PREFIX, SPECIAL_TOKENS

__all__ = [
    "IGNORED",
    "KEEP",
    "MASK",
    "RANDOM",
    "UNITS",
    "UNTOUCHED",
    "Masked",
    "MaskingRule",
    "PieceTable",
    "draw_in_random_order",
    "mask_tokens",
    "starts_of_spans",
    "starts_of_words",
]

UNITS = ("token", "word", "span")
# What is done to a token; the values in Masked.branches.
UNTOUCHED, MASK, RANDOM, KEEP = range(4)

SPAN_P, LONGEST_SPAN = 0.2, 10  # in words
UNUSED = re.compile(r"\[unused\d+\]")  # unused places in Google's vocabularies


@dataclass(frozen=True)
class MaskingRule:
    """How many tokens are predicted, and what the model reads in their place.

    Args:
        rate: the share of a sequence's maskable tokens that is predicted.
        mask: share of the predicted that becomes [MASK].
        random: share that becomes a random piece.
        keep: share that stays.
        unit: what is drawn: a ``"token"``, a whole ``"word"`` or a ``"span"`` of words.
        corruption: the share of the maskable tokens to which ``mask``, ``random`` and ``keep``
            apply; ``None``: ``rate``. A larger share also hides tokens that are not predicted. A
            smaller one leaves some of the predicted tokens visible, so that copying is enough.

    Raises:
        ValueError: if a share is out of range, the three do not sum to 1, or the unit is not one of
            :data:`UNITS`.

    Source: Devlin et al. 2019, section 3.1 and appendix A.1. Separate rates of
    corruption and prediction: Wettig et al. 2023.
    """

    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    keep: float = 0.1
    unit: str = "token"
    corruption: float | None = None

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must lie above 0 and at most at 1, got {self.rate}")
        for name in ("mask", "random", "keep", "corruption"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {share}")
        total = self.mask + self.random + self.keep
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"mask, random and keep must sum to 1, got {self.mask} + {self.random} + "
                f"{self.keep} = {total:g}"
            )
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {UNITS}, got {self.unit!r}")


class PieceTable:
    """What masking needs to know about a vocabulary.

    Special are [PAD], [UNK], [CLS], [SEP], [MASK] and the unused places such as ``[unused7]``. They
    are never selected and never put in at random. Google's code also masks [UNK]; here it does not
    count, since [UNK] stands for many different words.

    Args:
        pieces: the vocabulary, V strings in the order of their numbers.

    Attributes:
        special: boolean ``[V]``.
        continues: boolean ``[V]``: whether a piece continues a word (``##``).
        ordinary: numbers of all pieces that are not special, ``[V - specials]``.
        pad_id, unk_id, cls_id, sep_id, mask_id: numbers of the special tokens.

    Raises:
        ValueError: if a special token is missing, or every piece is special.
    """

    def __init__(self, pieces: Sequence[str]):
        self.pieces = list(pieces)
        missing = [token for token in SPECIAL_TOKENS if token not in self.pieces]
        if missing:
            raise ValueError(f"the vocabulary lacks the special tokens {missing}")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self.pieces.index(token) for token in SPECIAL_TOKENS
        )
        self.special = torch.tensor(
            [p in SPECIAL_TOKENS or bool(UNUSED.fullmatch(p)) for p in self.pieces]
        )  # [V]
        self.continues = torch.tensor([p.startswith(PREFIX) for p in self.pieces])
        self.ordinary = (~self.special).nonzero()[:, 0]  # [V - specials]
        if not len(self.ordinary):
            raise ValueError(
                f"all {len(self.pieces)} pieces are special: none can be masked or put in"
            )

    def __len__(self) -> int:
        return len(self.pieces)


class Masked(NamedTuple):
    """A masked batch; all ``[B, S]``.

    Attributes:
        input_ids: what the model reads.
        labels: the original number where it is predicted, elsewhere :data:`IGNORED`.
        branches: what was done: :data:`UNTOUCHED`, :data:`MASK`, :data:`RANDOM` or :data:`KEEP`.
    """

    input_ids: Tensor
    labels: Tensor
    branches: Tensor


def mask_tokens(
    input_ids: Tensor,
    table: PieceTable,
    rule: MaskingRule | None = None,
    *,
    generator: torch.Generator,
    attention_mask: Tensor | None = None,
) -> Masked:
    """Select tokens, hide them by the rule, and keep the originals as labels.

    Of a sequence with n maskable tokens, max(1, round(rate · n)) are predicted, as in Google's
    code. So every sequence has a prediction. Hugging Face's collator draws each token independently
    instead: the rate is right on average, but a short text may get no prediction. Words and spans
    are drawn until the number is reached; the last word may exceed it.

    Each token draws its branch independently; a span draws one for all of its tokens. A random
    piece is drawn evenly from all ordinary ones. It may be the original one.

    The same generator state and the same ids give the same masks. A new draw each time a text is
    read is *dynamic* masking; a fixed seed for each text is *static* masking.

    Args:
        input_ids: ``[B, S]``; it is not changed.
        table: of the vocabulary.
        rule: ``None``: BERT's.
        generator: source of all randomness, on the CPU.
        attention_mask: ``[B, S]``, boolean or 0/1; what is 0 is never selected. ``None``: only
            special tokens are never selected.

    Raises:
        TypeError: if the ids are not ``torch.long``, the mask is floating point, or ``generator``
            is not a ``torch.Generator``.
        ValueError: if a shape does not fit, a number is not in 0..V - 1, or a sequence has no token
            that can be selected.

    Source: Devlin et al. 2019, section 3.1 and appendix A.1; whole words: the code released with
    it; spans: Joshi et al. 2020, section 3.1, with one change, see :func:`starts_of_spans`.
    """
    rule = MaskingRule() if rule is None else rule
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    maskable = _maskable(input_ids, table, attention_mask)  # [B, S]
    words = maskable.clone()
    if rule.unit != "token":
        words = starts_of_words(maskable, table.continues[input_ids])
    units = words
    if rule.unit == "span":
        units = starts_of_spans(maskable, words, generator)
    order = draw_in_random_order(maskable, words, units, generator)  # [B, S]
    predicted = order < _how_many(maskable, rule.rate)
    corrupted = predicted
    if rule.corruption is not None:
        corrupted = order < _how_many(maskable, rule.corruption)

    chance = torch.rand(input_ids.shape, generator=generator)  # [B, S]
    if rule.unit == "span":
        chance = chance.gather(1, _number_of_unit(units))  # [B, S]
    branches = torch.full_like(input_ids, KEEP)
    branches[chance < rule.mask + rule.random] = RANDOM
    branches[chance < rule.mask] = MASK
    branches[~corrupted] = UNTOUCHED

    drawn = torch.randint(len(table.ordinary), input_ids.shape, generator=generator)
    masked = input_ids.where(branches != MASK, table.mask_id)
    masked = masked.where(branches != RANDOM, table.ordinary[drawn])
    return Masked(masked, input_ids.where(predicted, IGNORED), branches)


def starts_of_words(maskable: Tensor, continues: Tensor) -> Tensor:
    """Where words begin: a piece with ``##`` belongs to the maskable piece before it.

    Args:
        maskable: boolean ``[B, S]``.
        continues: boolean ``[B, S]``: the piece starts with ``##``.

    Returns:
        Boolean ``[B, S]``.
    """
    return maskable & ~(continues & _shifted(maskable))


def starts_of_spans(
    maskable: Tensor, words: Tensor, generator: torch.Generator
) -> Tensor:
    """Cut each sequence from its start into spans of random length, in words.

    A span has l words with a probability proportional to 0.2 · 0.8^(l - 1), l at most 10; a
    special token ends it early. Of these spans enough are drawn, the last cut short between words.
    SpanBERT draws lengths from the same distribution, but places one span after the other at random
    and tries again when two overlap. That needs a loop; this is one cumulative sum.

    Args:
        maskable: boolean ``[B, S]``.
        words: boolean ``[B, S]``: where words begin.
        generator: source of randomness.

    Returns:
        Boolean ``[B, S]``: where spans begin.

    Source: Joshi et al. 2020, section 3.1.
    """
    law = SPAN_P * (1 - SPAN_P) ** torch.arange(LONGEST_SPAN, dtype=torch.float64)
    size = words.shape
    lengths = 1 + torch.multinomial(
        law, words.numel(), replacement=True, generator=generator
    ).view(size)  # [B, S]
    begins = torch.zeros(size[0], size[1] + 1, dtype=torch.bool)
    begins[:, 0] = True
    # Numbers of the words that begin a span; numbers beyond the last word share one extra place.
    begins.scatter_(1, lengths.cumsum(1).clamp(max=size[1]), True)
    number = (words.cumsum(1) - 1).clamp(
        min=0
    )  # [B, S]: of the word that is at a place
    first = words & ~_shifted(maskable)
    return (words & begins.gather(1, number)) | first


def draw_in_random_order(
    maskable: Tensor, words: Tensor, units: Tensor, generator: torch.Generator
) -> Tensor:
    """Put the units of each sequence in random order; inside a unit the order stays.

    Args:
        maskable: boolean ``[B, S]``.
        words: boolean ``[B, S]``: where words begin (each maskable token, if the unit is a token).
        units: boolean ``[B, S]``: where the units begin, each at the start of a word.
        generator: source of randomness.

    Returns:
        For each token, how many tokens come before its *word* in that order, ``[B, S]``; S if the
        token is not maskable. So ``order < k`` selects at least k tokens (if there are so many) in
        whole words, and exactly k where every word is one token.
    """
    length = maskable.shape[1]
    keys = torch.rand(maskable.shape, generator=generator)  # [B, S]
    keys = keys.gather(1, _number_of_unit(units)).masked_fill(~maskable, 2.0)
    # A stable sort keeps a unit's tokens together even if two units draw the same number.
    places = keys.argsort(dim=1, stable=True)  # [B, S]
    ranks = torch.arange(length).expand_as(places)
    begun = ranks.where(words.gather(1, places), 0).cummax(1).values  # [B, S]
    order = torch.empty_like(places).scatter_(1, places, begun)
    return order.masked_fill(~maskable, length)


def _maskable(
    input_ids: Tensor, table: PieceTable, attention_mask: Tensor | None
) -> Tensor:
    check_symbols("input_ids", input_ids, len(table))
    maskable = ~table.special[input_ids]  # [B, S]
    if attention_mask is not None:
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask must have the shape of input_ids, {list(input_ids.shape)}, "
                f"got {list(attention_mask.shape)}"
            )
        if attention_mask.is_floating_point():
            raise TypeError(
                "attention_mask must be boolean or hold integers 0 and 1, got "
                f"{attention_mask.dtype}"
            )
        maskable &= attention_mask.bool()
    empty = (~maskable.any(1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"rows {empty[:5]} of input_ids hold only special tokens or padding: there is nothing "
            f"to select; the first reads {input_ids[empty[0]].tolist()[:10]}"
        )
    return maskable


def _how_many(maskable: Tensor, rate: float) -> Tensor:
    """Tokens to take of each sequence, ``[B, 1]``; at least one, unless the rate is 0."""
    count = maskable.sum(1, keepdim=True)  # [B, 1]
    return (count.double() * rate).round().long().clamp(min=int(rate > 0))


def _shifted(flags: Tensor) -> Tensor:
    """Whether the token before is flagged; false for the first."""
    return torch.cat([torch.zeros_like(flags[:, :1]), flags[:, :-1]], 1)  # [B, S]


def _number_of_unit(starts: Tensor) -> Tensor:
    """To which unit each token belongs, from 0; what precedes the first counts to it."""
    return (starts.cumsum(1) - 1).clamp(min=0)  # [B, S]
