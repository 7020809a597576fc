"""The stream of batches of a pre-training, which can stop at any step and go on from there.

Text comes in shards, each small enough for memory. A turn shuffles the pairs of one shard and hands
them out; the next turn takes the next shard. A shard with too few pairs for a batch shares its turn
with the shards after it. If all text fits into one shard, a turn is an epoch. Four numbers say
where a stream stands.

B batch   S length
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertbook.corpora.sentences import A_DOCUMENT, A_SENTENCE
from bertbook.pretraining.masking import MaskingRule, PieceTable
from bertbook.pretraining.sentence_pairs import (
    SPECIALS,
    Document,
    SentencePair,
    collate,
    sentence_pairs,
)

__all__ = ["PairStream", "Stage", "check_parts", "micro_batch"]


@dataclass(frozen=True)
class Stage:
    """Steps of one length. BERT first learns from short sequences, at the end from long ones.

    Args:
        steps: how many.
        length: S, pieces of a sequence, special tokens included.
        batch_size: B, sequences a step of all processes together.

    Raises:
        ValueError: if a number is not a positive integer, or the length is below 5.

    Source: Devlin et al. 2019, appendix A.2.
    """

    steps: int
    length: int
    batch_size: int

    def __post_init__(self):
        for name in ("steps", "length", "batch_size"):
            number = getattr(self, name)
            if type(number) is not int or number < 1:
                raise ValueError(f"{name} must be a positive integer, got {number!r}")
        if self.length < SPECIALS + 2:  # said here, not when the stage begins
            raise ValueError(
                f"length must be at least {SPECIALS + 2}, got {self.length}"
            )


# Shards to try before a text without a known length is given up.
MOST_SHARDS = 1000


class PairStream:
    """Masked batches without end, in an order that the seed decides.

    A pair of nothing but special pieces, such as [UNK], has nothing to predict. It is left out.

    Args:
        shards: ``shards(n)`` returns the documents of shard n, counted from 0 without end; for a
            corpus in memory always the same ones. Each turn makes other pairs of them. If it has an
            attribute ``count``, that many shards hold all text, unless it is ``None``.
        table: of the vocabulary.
        rule: how tokens are masked, anew each time a text is read; ``None``: BERT's.
        negatives: see :func:`bertbook.pretraining.sentence_pairs.sentence_pairs`.
        seed: of pairs, order and masks; 0 or more.

    Attributes:
        shard: number of the first shard of this turn.
        joined: how many shards share this turn.
        place: how many pairs of this turn have been handed out.
        length: S of its pairs.
        left_out: how many pairs of nothing but special pieces the last batch's turn lacks, if the
            batch is the turn's first; else 0.

    Raises:
        ValueError: if the seed is negative.
    """

    def __init__(
        self,
        shards: Callable[[int], Sequence[Document]],
        table: PieceTable,
        rule: MaskingRule | None = None,
        *,
        negatives: str = "random",
        seed: int = 0,
    ):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.shards, self.table, self.rule = shards, table, rule
        self.negatives, self.seed = negatives, seed
        self.shard, self.joined, self.place, self.length = 0, 0, 0, 0
        self.left_out = 0
        self._pairs: list[SentencePair] = []

    def batch(self, stage: Stage, step: int) -> dict[str, Tensor]:
        """The next batch.

        Args:
            stage: its length and size; where the length changes, a new turn begins.
            step: of the training, by which the masks are drawn.

        Returns:
            As :func:`bertbook.pretraining.sentence_pairs.collate`, ``[B, S]``, padded to the
            stage's length.

        Raises:
            ValueError: if no pair can be made of all the text; the message says what was found and
                what would help. Or as ``sentence_pairs``, of arguments out of range.
        """
        self.left_out = 0
        size = stage.batch_size
        if stage.length != self.length:
            self._begin_turn(self.shard + self.joined, stage.length, size)
        elif not self._pairs:  # a stream that goes on from a state
            for number in range(self.shard, self.shard + self.joined):
                self._pairs += self._pairs_of(number)
        if self.place + size > len(self._pairs):  # a rest is left out
            self._begin_turn(self.shard + self.joined, stage.length, size)
        pairs = self._pairs[self.place : self.place + size]
        self.place += size
        generator = self._generator(1, step)
        return collate(
            pairs, self.table, self.rule, generator=generator, pad_to=stage.length
        )

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        names = ("shard", "joined", "place", "length")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a stream of the same shards and seed stood."""
        self.shard, self.place = state["shard"], state["place"]
        self.joined = state.get("joined", int(state["length"] > 0))  # older checkpoints
        self.length, self._pairs = state["length"], []

    def _begin_turn(self, shard: int, length: int, least: int) -> None:
        """Make pairs of a shard, and of those after it until there are enough."""
        self.shard, self.joined, self.place, self.length = shard, 0, 0, length
        self._pairs = []
        found = Counter()
        barren = 0  # shards without a pair, one after the other
        while len(self._pairs) < least:
            if barren >= (getattr(self.shards, "count", None) or MOST_SHARDS):
                raise ValueError(self._why_none(found))
            pairs = self._pairs_of(shard + self.joined, found)
            barren = 0 if pairs else barren + 1
            self._pairs += pairs
            self.joined += 1
        self.left_out = found["unknown"]

    def _pairs_of(self, shard: int, found: Counter | None = None) -> list[SentencePair]:
        found = Counter() if found is None else found
        documents = self.shards(shard)
        lengths = [len(document) for document in documents]
        found.update(
            documents=len(lengths),
            sentences=sum(lengths),
            several=sum(n > 1 for n in lengths),
        )
        if len(documents) < (2 if self.negatives == "random" else 1):
            return []
        generator = self._generator(0, shard)
        pairs = sentence_pairs(
            documents, self.length, generator=generator, negatives=self.negatives
        )
        order = torch.randperm(len(pairs), generator=generator).tolist()
        special = self.table.special.tolist()
        known = [
            pairs[number]
            for number in order
            if not all(special[n] for n in pairs[number].first + pairs[number].second)
        ]
        found["unknown"] += len(pairs) - len(known)
        return known

    def _why_none(self, found: Counter) -> str:
        if found["unknown"]:
            advice = (
                f"all {found['unknown']} pairs are [UNK] alone: the vocabulary does not know this "
                "text. Give one of its language (--vocab), or learn one from it (--learn-vocab)"
            )
        elif not found["documents"]:
            advice = (
                "no document has a character that the tokenizer keeps. Give other text"
            )
        elif not found["several"]:
            advice = (
                "a pair needs two sentences of one document, and no document has two. Remove the "
                "blank lines between sentences that belong together, or give longer texts"
            )
        else:
            whole = getattr(self.shards, "count", None) == 1
            advice = (
                "a random partner comes from another document of the same shard. Part the text "
                f"by blank lines{'' if whole else ', give a larger --shard'}, or choose "
                "--negatives swapped or none"
            )
        total = getattr(self.shards, "total", None)
        twice = total is not None and found["documents"] > total
        return (
            f"the text yields no pair of sentences; documents found: {found['documents']}, "
            f"sentences: {found['sentences']}{' (some were read twice)' if twice else ''}; "
            f"{advice}. {A_DOCUMENT} {A_SENTENCE}"
        )

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        seed = (self.seed * 2 + purpose) * 1_000_000_007 + number
        return torch.Generator().manual_seed(seed)


def check_parts(rows: int, part: int, parts: int) -> None:
    """Refuse a part of a batch that does not exist.

    Raises:
        ValueError: if ``part`` does not lie in 0..``parts`` - 1, or ``parts`` in 1..``rows``.
    """
    if not 0 <= part < parts <= rows:
        raise ValueError(
            f"a batch of {rows} cannot be cut into {parts} parts: part must lie in "
            f"0..{parts - 1} and parts in 1..{rows}, got {part} of {parts}"
        )


def micro_batch(
    batch: dict[str, Tensor], part: int, parts: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Take every ``parts``-th row of a batch, and say how much it weighs in the loss.

    Parts have unequal numbers of selected positions, so the mean of their mean losses is not the
    batch's mean loss. With these weights the weighted losses of all parts sum to the batch's loss,
    however it is cut, over processes or over time.

    Args:
        batch: from :meth:`PairStream.batch`.
        part: 0..``parts`` - 1.
        parts: at most B.

    Returns:
        The rows, and the weights of the mean losses of pieces and of sentences, scalars.

    Raises:
        ValueError: if ``part`` or ``parts`` is out of range.
    """
    rows = len(batch["input_ids"])
    check_parts(rows, part, parts)
    own = {name: tensor[part::parts] for name, tensor in batch.items()}
    selected, all_selected = own["labels"] >= 0, batch["labels"] >= 0
    return (
        own,
        selected.sum() / all_selected.sum(),
        torch.tensor(len(own["input_ids"]) / rows),
    )
