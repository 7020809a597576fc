"""Checks for the exercises of the chapter *Training a Transformer*."""

import math
from collections.abc import Callable

import torch
from torch import nn

from bertbook.exercises import (
    Verdict,
    as_number,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = ["check_floor", "check_rate", "check_saved", "check_target", "check_tie"]


def check_target(answer: object) -> Verdict:
    """Exercise 1: the smoothed target of symbol 2 of 4, with e = 0.2.

    Args:
        answer: four probabilities.
    """
    if is_open(answer):
        return open_answer()
    try:
        values = [float(value) for value in answer]
    except (TypeError, ValueError):
        return wrong(f"Four probabilities are asked for; this is {answer!r}.")

    def is_like(*expected: float) -> bool:
        return len(values) == len(expected) and all(
            math.isclose(value, other, abs_tol=2e-3)
            for value, other in zip(values, expected, strict=True)
        )

    if is_like(0.05, 0.85, 0.05, 0.05):
        return correct("1 − e + e/V on the true symbol, e/V on every other.")
    if is_like(0.2 / 3, 0.8, 0.2 / 3, 0.2 / 3):
        return wrong(
            "This shares e among the three others. The uniform part goes to all four symbols, the "
            "true one too."
        )
    if is_like(0.05, 0.8, 0.05, 0.05):
        return wrong(
            "This sums to 0.95: the true symbol gets its share of the uniform part too."
        )
    if is_like(0.2, 0.8, 0.2, 0.2) or is_like(0.2, 1.0, 0.2, 0.2):
        return wrong(
            "e is the mass of the uniform part as a whole, not of each symbol."
        )
    if is_like(0.85, 0.05, 0.05, 0.05):
        return wrong("The true symbol is the second.")
    if not math.isclose(sum(values), 1, abs_tol=1e-6):
        return wrong(f"A distribution sums to one; this sums to {sum(values):.3f}.")
    return wrong("Mix: 0.8 of the distribution that is sure, 0.2 of the uniform one.")


@takes_number
def check_floor(answer: float) -> Verdict:
    """Exercise 2: the least smoothed loss, in nats, with e = 0.1 and V = 4,096.

    Args:
        answer: a number, to 0.01.
    """
    e, size = 0.1, 4096
    true, other = 1 - e + e / size, e / size
    floor = -true * math.log(true) - (size - 1) * other * math.log(other)
    hints = {
        0.0: "Zero would need all mass on the true symbol, and then the other terms are infinite.",
        floor / math.log(2): "That is in bits; nats are asked for.",
        -math.log(
            true
        ): "That is −log of the true symbol alone. The others have mass as well.",
        -true
        * math.log(
            true
        ): "That is the true symbol's term; 4,095 small ones are missing.",
        math.log(size): "That is the loss of a uniform guess.",
        math.exp(floor): "That is the perplexity; the loss is its logarithm.",
    }
    if math.isclose(answer, floor, abs_tol=0.01):
        return correct(
            "The entropy of the target: a smoothed loss cannot fall below it, so it cannot be "
            "compared with a plain one."
        )
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=0.006):
            return wrong(hint)
    return wrong(
        "A cross-entropy is least where the model is the target: the entropy of the target."
    )


def check_rate(function: Callable[[int, int, int], float]) -> Verdict:
    """Exercise 3: the paper's learning rate.

    Args:
        function: takes the step, counted from 1, the width D and the warm-up w; returns the rate.
    """
    if is_open(function):
        return open_answer()
    width, warmup = 512, 4000
    steps = (1, 2, 2000, 4000, 8000, 16000, 64000)
    try:
        rates = [function(step, width, warmup) for step in steps]
    except ZeroDivisionError:
        return wrong("A division by zero: the steps are counted from 1.")
    if is_open(rates[0]):
        return open_answer()
    rates = [as_number(rate) for rate in rates]
    if None in rates:
        return wrong("The function should return a number.")

    def paper(step: int) -> float:
        return width**-0.5 * min(step**-0.5, step * warmup**-1.5)

    def is_like(other: Callable[[int], float]) -> bool:
        return all(
            math.isclose(rate, other(step), rel_tol=1e-6)
            for rate, step in zip(rates, steps, strict=True)
        )

    if is_like(paper):
        return correct(
            "4,000 steps up a straight line, then halved at every fourfold step."
        )
    if is_like(lambda step: paper(step) * width**0.5):
        return wrong("The factor D^-0.5 is missing.")
    if is_like(lambda step: paper(step) * width):
        return wrong("D has the exponent −0.5, not 0.5.")
    if is_like(lambda step: width**-0.5 * max(step**-0.5, step * warmup**-1.5)):
        return wrong("The larger of the two is taken: it falls first and then rises.")
    if is_like(lambda step: paper(step + 1)):
        return wrong("The step is counted from 1 already; nothing is to be added.")
    if is_like(lambda step: width**-0.5 * step**-0.5):
        return wrong("There is no warm-up: the first steps are the largest.")
    if math.isclose(rates[3], paper(4000), rel_tol=1e-6) and rates[2] < rates[3]:
        if math.isclose(rates[2], rates[3] / 2, rel_tol=1e-6):
            if rates[5] > rates[3]:
                return wrong("It goes on rising after the warm-up.")
            if math.isclose(rates[4], rates[3], rel_tol=1e-6):
                return wrong(
                    "It stays at the peak; after it, it falls with the root of the step."
                )
            return wrong(
                "The rise is right. After the peak: four times the step, half the rate; no "
                "exponential, no straight line."
            )
        return wrong("Half-way through the warm-up the rate is half of the peak.")
    return wrong("The smaller of step^-0.5 and step · w^-1.5, times D^-0.5.")


def check_tie(function: Callable[[nn.Embedding, nn.Linear], None]) -> Verdict:
    """Exercise 4: make a table and an output layer one.

    Args:
        function: takes an embedding of 5 symbols, width 3, and a linear layer from 3 to 5 without
            bias; changes the layer so that it uses the table.
    """
    if is_open(function):
        return open_answer()
    torch.manual_seed(0)
    table, output = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    values = table.weight.detach().clone()
    returned = function(table, output)
    if is_open(returned):
        return open_answer()
    weight, tied = table.weight, output.weight
    if not torch.equal(weight, values):
        return wrong(
            "The table was overwritten by the layer's weight: tie the other way round."
        )
    if tied is weight:
        return correct(
            "One parameter with two names: one gradient, one state in the optimiser."
        )
    if isinstance(tied, torch.Tensor) and tied.shape == weight.shape:
        if tied.data_ptr() == weight.data_ptr():
            return wrong(
                "They share their memory, but are two parameters: each gets its own gradient, and "
                "the optimiser steps twice. Assign the parameter itself."
            )
        if torch.equal(tied, weight):
            return wrong(
                "The values were copied: equal now, different after one step of training."
            )
    return wrong("The layer still has a weight of its own.")


@takes_number
def check_saved(answer: float) -> Verdict:
    """Exercise 5: parameters that one table for three uses saves, with V = 37,000, D = 512.

    Args:
        answer: how many.
    """
    table = 37_000 * 512
    hints = {
        table: "Three tables become one: how many are saved?",
        3 * table: "One of the three has to stay.",
        2 * (37_000 + 512): "A table has V · D numbers, not V + D.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == 2 * table:
        return correct("37.9 million; the whole base model has about 63 million.")
    return wrong("Source table, target table, output matrix: V · D each.")
