"""Checks for the exercises of the chapter *Fine-tuning*."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)
from bertbook.tokenizer.pieces import IGNORED

__all__ = ["check_f1", "check_head_parameters", "check_piece_labels", "check_span"]


@takes_number
def check_head_parameters(answer: float) -> Verdict:
    """Exercise 1: numbers that fine-tuning adds to BERT base for three classes.

    Args:
        answer: the count.
    """
    hints = {
        3 * 768: "The map has biases too.",
        768 + 1: "That is one output; three classes need three.",
        3 * 768 + 3 + 768 * 768 + 768: "The pooler is pre-trained, so it is not new.",
        768 * 768 + 768: "That is the pooler, which pre-training trained already.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == 3 * 768 + 3:
        return correct("2,307 new numbers stand on top of 109 million old ones.")
    return wrong("One linear map, from D numbers to K, with a bias for each class.")


def check_piece_labels(function: Callable[[Sequence, Sequence], Sequence]) -> Verdict:
    """Exercise 2: one label a word becomes one label a piece.

    Args:
        function: takes for each piece the number of its word (``None`` for a special token) and
            the label of each word; returns a label for each piece.
    """
    if is_open(function):
        return open_answer()
    words, labels = [None, 0, 0, 1, 2, 2, 2, None], [1, 0, 1]
    result = function(list(words), list(labels))
    if is_open(result):
        return open_answer()
    try:
        given = [int(label) for label in result]
    except (TypeError, ValueError):
        return wrong(f"A list of numbers is asked for; this is {result!r}.")
    if len(given) != len(words):
        return wrong(f"{len(words)} pieces need {len(words)} labels, not {len(given)}.")
    no = IGNORED
    for other, hint in (
        ([no, 1, 1, 0, 1, 1, 1, no], "Every piece is labelled: long words count more."),
        ([no, no, 1, 0, no, no, 1, no], "That is each word's last piece."),
        ([no, 1, 0, 0, 1, 0, 0, no], f"A later piece is no non-name: it is {no}."),
        ([0, 1, no, 0, 1, no, no, 0], "[CLS] and [SEP] are no words: ignore them."),
    ):
        if given == other:
            return wrong(hint)
    if given == [no, 1, no, 0, 1, no, no, no]:
        return correct("The loss leaves −100 out, and so must the metric.")
    return wrong(f"A word's first piece gets its label, all else gets {no}.")


def check_span(function: Callable[[Tensor, Tensor], Sequence[int]]) -> Verdict:
    """Exercise 3: the best span, whose end is not before its start.

    Args:
        function: takes scores of start and end, ``[S]`` each; returns first and last piece.
    """
    if is_open(function):
        return open_answer()
    # The best end stands before the best start.
    start = torch.tensor([0.0, 1.0, 1.0, 5.0, 0.0])
    end = torch.tensor([0.0, 4.0, 4.5, 0.5, 1.0])
    result = function(start.clone(), end.clone())
    if is_open(result):
        return open_answer()
    try:
        first, last = (int(place) for place in result)
    except (TypeError, ValueError):
        return wrong(f"Two places are asked for; this is {result!r}.")
    hints = {
        (3, 2): "Two argmaxes: this span ends before it starts.",
        (2, 3): "Exchanging the ends makes a span, but not the best one.",
        (2, 2): "The best end, then a start no later: look at all pairs.",
    }
    if (first, last) in hints:
        return wrong(hints[first, last])
    if (first, last) != (3, 4):
        return wrong("Take the largest sum over all pairs with start ≤ end.")
    for scores in (torch.randn(2, 7, generator=torch.manual_seed(s)) for s in range(9)):
        sums = scores[0][:, None] + scores[1]
        sums = sums.masked_fill(torch.ones(7, 7).triu() == 0, -math.inf)
        best = divmod(int(sums.argmax()), 7)
        if (
            tuple(int(p) for p in function(scores[0].clone(), scores[1].clone()))
            != best
        ):
            return wrong("Here it fits, on other scores it does not: try all pairs.")
    return correct("The best pair need hold only one of the two best ends.")


@takes_number
def check_f1(answer: float) -> Verdict:
    """Exercise 4: 100 words, 10 of them names; 8 called names, 6 of these rightly.

    Args:
        answer: F1, a share.
    """
    for other, hint in (
        (0.94, "That is the accuracy; calling nothing a name already has 0.90."),
        (0.75, "That is the precision: of those called names."),
        (0.60, "That is the recall: of the names."),
        (0.675, "That is the arithmetic mean; F1 is the harmonic one."),
        (200 / 3, "A share is asked for, not a percentage."),
    ):
        if math.isclose(answer, other, abs_tol=1e-6):
            return wrong(hint)
    if abs(answer - 2 / 3) < 0.005:
        return correct("2 · 6 / (8 + 10): hits twice, over all said and all true.")
    return wrong("Twice the hits, over the number said plus the number true.")
