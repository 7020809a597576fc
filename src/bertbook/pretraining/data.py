"""The batches of a pre-training that may break off at any step and go on: pairs in a stream.

A stream knows where it stands in three numbers. Text comes in shards, each small enough for memory;
of each shard pairs are made, shuffled and handed out, then the next shard's turn comes. A corpus
that fits into memory is a single shard, and one turn is an epoch.

B batch   S length
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertbook.pretraining.masking import MaskingRule, PieceTable
from bertbook.pretraining.sentence_pairs import (
    Document,
    SentencePair,
    collate,
    sentence_pairs,
)

__all__ = ["PairStream", "Stage", "micro_batch"]


@dataclass(frozen=True)
class Stage:
    """Steps of one length. BERT learns from short sequences first and from long ones at the end.

    Args:
        steps: how many.
        length: S, pieces of a sequence, special tokens included.
        batch_size: B, sequences a step, over all processes.

    Raises:
        ValueError: if a number is not a positive integer.

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


class PairStream:
    """Masked batches without end, in an order that the seed decides.

    Args:
        shards: ``shards(n)`` returns the documents of shard n, counted from 0 without end; for a
            corpus in memory always the same ones. Each turn makes other pairs of them.
        table: of the vocabulary.
        rule: how tokens are masked, anew each time a text is read; ``None``: BERT's.
        negatives: see :func:`bertbook.pretraining.sentence_pairs.sentence_pairs`.
        seed: of pairs, order and masks; 0 or more.

    Attributes:
        shard: number of the shard whose turn it is.
        place: how many of its pairs have been handed out.
        length: S of its pairs.
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
        self.shard, self.place, self.length = 0, 0, 0
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
            ValueError: if a shard yields fewer pairs than the batch holds, or as
                ``sentence_pairs``.
        """
        if stage.length != self.length:
            self.shard += self.length > 0
            self.place, self.length, self._pairs = 0, stage.length, []
        if not self._pairs:
            self._pairs = self._make_pairs()
        if self.place + stage.batch_size > len(self._pairs):  # a rest is left out
            self.shard, self.place = self.shard + 1, 0
            self._pairs = self._make_pairs()
            if stage.batch_size > len(self._pairs):
                raise ValueError(
                    f"shard {self.shard} yields {len(self._pairs)} pairs of {self.length} pieces, "
                    f"fewer than a batch of {stage.batch_size}; make shards larger"
                )
        pairs = self._pairs[self.place : self.place + stage.batch_size]
        self.place += stage.batch_size
        generator = self._generator(1, step)
        return collate(
            pairs, self.table, self.rule, generator=generator, pad_to=stage.length
        )

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"shard": self.shard, "place": self.place, "length": self.length}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a stream of the same shards and seed stood."""
        self.shard, self.place = state["shard"], state["place"]
        self.length, self._pairs = state["length"], []

    def _make_pairs(self) -> list[SentencePair]:
        generator = self._generator(0, self.shard)
        pairs = sentence_pairs(
            self.shards(self.shard),
            self.length,
            generator=generator,
            negatives=self.negatives,
        )
        order = torch.randperm(len(pairs), generator=generator).tolist()
        return [pairs[number] for number in order]

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        seed = (self.seed * 2 + purpose) * 1_000_000_007 + number
        return torch.Generator().manual_seed(seed)


def micro_batch(
    batch: dict[str, Tensor], part: int, parts: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Take every ``parts``-th row of a batch, and say how much it weighs in the loss.

    A mean over positions is not the mean of the parts' means: parts have unequal numbers of
    selected positions. With these weights the weighted losses of all parts sum to the batch's loss,
    however it is cut, over processes or over time.

    Args:
        batch: from :meth:`PairStream.batch`.
        part: 0..``parts`` - 1.
        parts: at most B.

    Returns:
        The rows, and the weights of the mean losses of pieces and of sentences, scalars.

    Raises:
        ValueError: if there are not so many parts or rows.
    """
    rows = len(batch["input_ids"])
    if not 0 <= part < parts <= rows:
        raise ValueError(
            f"part must lie in 0..{parts - 1} and parts in 1..{rows}, got {part} of {parts}"
        )
    own = {name: tensor[part::parts] for name, tensor in batch.items()}
    selected, all_selected = own["labels"] >= 0, batch["labels"] >= 0
    return (
        own,
        selected.sum() / all_selected.sum(),
        torch.tensor(len(own["input_ids"]) / rows),
    )
