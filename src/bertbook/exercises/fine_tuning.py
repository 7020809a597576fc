"""The exercises of the chapter *Fine-tuning*."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bertbook.exercises.answers import draw, numbers
from bertbook.exercises.checker import Code, Number
from bertbook.tokenizer.pieces import IGNORED

__all__ = ["check_f1", "check_head_parameters", "check_piece_labels", "check_span"]

check_head_parameters = Number(
    "Exercise 1: how many numbers fine-tuning adds to BERT base for three classes.",
    right=2307,
    praise="2,307 new numbers stand on top of 109 million old ones.",
    hints={
        "The map has biases too.": 2304,
        "That is one output; three classes need three.": 769,
        "The pooler is pre-trained, so it is not new.": 592_899,
        "That is the pooler, which pre-training trained already.": 590_592,
    },
    otherwise="One linear map, from D numbers to K, with a bias for each class.",
)


def _piece_labels(words: Sequence[int | None], labels: Sequence[int]) -> list[int]:
    before = [None, *words]
    return [
        labels[word] if word is not None and word != last else IGNORED
        for last, word in zip(before, words, strict=False)
    ]


def _labels_hint(found: tuple, right: list, *arguments: object) -> str:
    if len(found) != len(right):
        return f"{len(right)} pieces need {len(right)} labels, not {len(found)}."
    return f"A word's first piece gets its label, all else gets {IGNORED}."


_NO = IGNORED

check_piece_labels = Code(
    "Exercise 2: one label a word becomes one label a piece: takes for each piece the number of "
    "its word (None for a special token) and the label of each word; returns a label for each "
    "piece.",
    inputs=lambda: [([None, 0, 0, 1, 2, 2, 2, None], [1, 0, 1])],
    right=_piece_labels,
    praise="The loss leaves −100 out, and so must the metric.",
    read=numbers,
    form="A list of numbers is asked for; this is {found}.",
    hints={
        "Every piece is labelled: long words count more.": (_NO, 1, 1, 0, 1, 1, 1, _NO),
        "That is each word's last piece.": (_NO, _NO, 1, 0, _NO, _NO, 1, _NO),
        f"A later piece does not count as a word that is not a name: it gets {_NO}.": (
            _NO,
            1,
            0,
            0,
            1,
            0,
            0,
            _NO,
        ),
        "[CLS] and [SEP] are not words: ignore them.": (0, 1, _NO, 0, 1, _NO, _NO, 0),
    },
    otherwise=_labels_hint,
)


def _best_span(start: Tensor, end: Tensor) -> tuple[int, int]:
    sums = start[:, None] + end  # [S, S]
    late = torch.ones_like(sums, dtype=torch.bool).tril(-1)
    return divmod(int(sums.masked_fill(late, -math.inf).argmax()), len(start))


def _scores() -> list[tuple[Tensor, Tensor]]:
    # The best end stands before the best start.
    start = torch.tensor([0.0, 1.0, 1.0, 5.0, 0.0])
    return [(start, torch.tensor([0.0, 4.0, 4.5, 0.5, 1.0]))]


check_span = Code(
    "Exercise 3: the best span, whose end is not before its start: takes scores of start and end, "
    "[S] each; returns first and last piece.",
    inputs=_scores,
    right=_best_span,
    praise="The best pair need hold only one of the two best ends.",
    read=numbers,
    form="Two places are asked for; this is {found}.",
    hints={
        "Two argmaxes: this span ends before it starts.": (3, 2),
        "Exchanging the ends makes a span, but not the best one.": (2, 3),
        "The best end, then a start no later: look at all pairs.": (2, 2),
    },
    otherwise="Take the largest sum over all pairs with start ≤ end.",
    further={
        "Here it fits, on other scores it does not: try all pairs.": (
            lambda: [tuple(draw(2, 7, seed=seed)) for seed in range(9)]
        )
    },
)

check_f1 = Number(
    "Exercise 4: F1, a share: 100 words, 10 of them names; 8 called names, 6 of these rightly.",
    right=2 / 3,
    tolerance=5e-3,
    praise="2 · 6 / (8 + 10): hits twice, over all said and all true.",
    hints={
        "That is the accuracy; calling nothing a name already has 0.90.": 0.94,
        "That is the precision: of those called names.": 0.75,
        "That is the recall: of the names.": 0.60,
        "That is the arithmetic mean; F1 is the harmonic one.": 0.675,
        "A share is asked for, not a percentage.": (1.001, 100),
    },
    otherwise="Twice the hits, over the number said plus the number true.",
)
