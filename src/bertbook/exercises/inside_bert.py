"""Checks for the exercises of the chapter *Inside a BERT*."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.exercises import (
    Verdict,
    as_number,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = [
    "check_masked_output",
    "check_mean_pooling",
    "check_previous_score",
    "check_sense_gap",
]


@takes_number
def check_masked_output(answer: float) -> Verdict:
    """Exercise 1: weights (1/2, 1/4, 1/4), values (2, 8, 4), the first key masked.

    Args:
        answer: the output, a number.
    """
    hints = {
        4.0: "That is the output with nothing masked.",
        3.0: "That is with the value removed. Masked, the row must sum to one again.",
        12.0: "That is the sum of the two values; weights that sum to one give a mean.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if math.isclose(answer, 6, abs_tol=1e-6):
        return correct("Twice the 3 that is left without the value: 1 / (1 − 1/2) = 2.")
    return wrong("Take the first token out, scale the other weights to sum to one.")


def _number(result: object) -> float | None:
    if isinstance(result, Tensor) and result.numel() == 1:
        return result.item()
    return as_number(result)


def check_mean_pooling(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 2: the mean of the states over the real tokens.

    Args:
        function: takes states ``[B, S, D]`` and a 0/1 mask ``[B, S]``, returns ``[B, D]``.
    """
    if is_open(function):
        return open_answer()
    states = torch.arange(2 * 4 * 3, dtype=torch.float64).view(2, 4, 3) ** 2
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    result = function(states.clone(), mask.clone())
    if is_open(result):
        return open_answer()
    if not isinstance(result, Tensor) or result.shape != (2, 3):
        shape = list(result.shape) if isinstance(result, Tensor) else type(result)
        return wrong(f"A tensor of shape [2, 3] is asked for; this is {shape}.")
    expected = torch.stack([states[0].mean(0), states[1, :2].mean(0)])
    cut = torch.stack([states[0].mean(0), states[1, :2].sum(0) / 4])
    for other, hint in (
        (states.mean(1), "Padding is counted: the mask is not used."),
        (
            cut,
            "The padding is left out of the sum, yet counted in the number of tokens.",
        ),
        (states[:, 0], "That is the state of [CLS]."),
        (
            expected * mask.sum(1, keepdim=True),
            "That is the sum; divide by the tokens.",
        ),
    ):
        if torch.allclose(result.double(), other):
            return wrong(hint)
    if torch.allclose(result.double(), expected):
        return correct("[CLS] and [SEP] are in the mean too, as MiniLM was trained.")
    return wrong("Set padding to zero, sum over S, divide by the number of tokens.")


def check_previous_score(function: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 3: mean weight on the token before.

    Args:
        function: takes weights ``[T, T]``, rows look, returns a number.
    """
    if is_open(function):
        return open_answer()
    draw = torch.Generator().manual_seed(0)
    weights = torch.rand(5, 5, generator=draw, dtype=torch.float64).log().softmax(-1)
    result = function(weights.clone())
    if is_open(result):
        return open_answer()
    value = _number(result)
    if value is None:
        return wrong(f"One number is asked for; this is {result!r}.")
    before = weights.diagonal(-1)
    for other, hint in (
        (
            weights.diagonal(1).mean(),
            "That is the token after: rows look, columns are seen.",
        ),
        (weights.diagonal().mean(), "That is the token itself."),
        (
            before.sum() / 5,
            "The first token has none before it and must not be counted.",
        ),
        (before.sum(), "That is the sum; the mean is asked for."),
    ):
        if math.isclose(value, other.item(), abs_tol=1e-6):
            return wrong(hint)
    if math.isclose(value, before.mean().item(), abs_tol=1e-6):
        return correct("The diagonal below the main one: row i, column i − 1.")
    return wrong("Take the weights in row i, column i − 1.")


def check_sense_gap(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: mean cosine within senses minus that between senses.

    Args:
        function: takes states ``[N, D]`` and senses ``[N]``, returns a number.
    """
    if is_open(function):
        return open_answer()
    draw = torch.Generator().manual_seed(1)
    sense = torch.tensor([0, 1, 0, 1, 1])
    states = torch.randn(5, 4, generator=draw, dtype=torch.float64) + 2 * sense[:, None]
    result = function(states.clone(), sense.clone())
    if is_open(result):
        return open_answer()
    value = _number(result)
    if value is None:
        return wrong(f"One number is asked for; this is {result!r}.")
    unit = F.normalize(states, dim=-1)
    alike = sense[:, None] == sense
    pairs = alike & ~torch.eye(5, dtype=torch.bool)

    def gap(table: Tensor, inside: Tensor) -> float:
        return (table[inside].mean() - table[~alike].mean()).item()

    right = gap(unit @ unit.T, pairs)
    for other, hint in (
        (
            gap(unit @ unit.T, alike),
            "Each occurrence with itself is counted: cosine 1.",
        ),
        (
            gap(states @ states.T, pairs),
            "These are dot products; divide by the lengths.",
        ),
        (-right, "The sign: same sense minus other sense."),
    ):
        if math.isclose(value, other, abs_tol=1e-6):
            return wrong(hint)
    if math.isclose(value, right, abs_tol=1e-6):
        return correct(
            "A mean that is the same for all pairs drops out of the difference."
        )
    return wrong("Cosines of all pairs of different rows; mean of each kind; subtract.")
