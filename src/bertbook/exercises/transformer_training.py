"""The exercises of the chapter *Training a Transformer*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bertbook.exercises.answers import as_number, draw, numbers, same
from bertbook.exercises.checker import Judged, Number, Several, call

__all__ = ["check_floor", "check_rate", "check_saved", "check_target", "check_tie"]


def _target_hint(values: tuple[float, ...]) -> str:
    if not math.isclose(sum(values), 1, abs_tol=1e-6):
        return f"A distribution sums to one; this sums to {sum(values):.3f}."
    return "Mix: 0.8 of the distribution that is sure, 0.2 of the uniform one."


check_target = Several(
    "Exercise 1: the smoothed target of symbol 2 of 4, with e = 0.2, as four probabilities.",
    right=(0.05, 0.85, 0.05, 0.05),
    tolerance=2e-3,
    praise="1 − e + e/V on the true symbol, e/V on every other.",
    read=numbers,
    form="Four probabilities are asked for; this is {found}.",
    hints={
        "This shares e among the three others. The uniform part goes to all four symbols, the "
        "true one too.": (0.2 / 3, 0.8, 0.2 / 3, 0.2 / 3),
        "This sums to 0.95: the true symbol gets its share of the uniform part too.": (
            (0.05, 0.8, 0.05, 0.05)
        ),
        "e is the mass of the uniform part as a whole, not of each symbol.": [
            (0.2, 0.8, 0.2, 0.2),
            (0.2, 1.0, 0.2, 0.2),
        ],
        "The true symbol is the second.": (0.85, 0.05, 0.05, 0.05),
    },
    otherwise=_target_hint,
)

check_floor = Number(
    "Exercise 2: the least smoothed loss, in nats, with e = 0.1 and V = 4,096, to 0.01.",
    right=1.156578,
    tolerance=0.01,
    praise=(
        "The entropy of the target: a smoothed loss cannot fall below it, so it cannot be "
        "compared with a plain one."
    ),
    hints={
        "Zero would need all mass on the true symbol; the other terms are infinite then.": 0.0,
        "That is in bits; nats are asked for.": 1.66859,
        "That is −log of the true symbol alone. The others have mass as well.": 0.10533,
        "That is the true symbol's term; 4,095 small ones are missing.": 0.0948,
        "That is the loss of a uniform guess.": 8.31777,
        "That is the perplexity; the loss is its logarithm.": 3.17904,
    },
    otherwise=(
        "A cross-entropy is least where the model is the target: the entropy of the target."
    ),
)

_WIDTH, _WARMUP = 512, 4000
_STEPS = 1, 2, 2000, 4000, 8000, 16000, 64000


def _paper(step: int) -> float:
    return _WIDTH**-0.5 * min(step**-0.5, step * _WARMUP**-1.5)


_RATES = {
    "The factor D^-0.5 is missing.": lambda step: _paper(step) * _WIDTH**0.5,
    "D has the exponent −0.5, not 0.5.": lambda step: _paper(step) * _WIDTH,
    "The larger of the two is taken: it falls first and then rises.": (
        lambda step: _WIDTH**-0.5 * max(step**-0.5, step * _WARMUP**-1.5)
    ),
    "The step is counted from 1 already; nothing is to be added.": (
        lambda step: _paper(step + 1)
    ),
    "There is no warm-up: the first steps are the largest.": (
        lambda step: _WIDTH**-0.5 * step**-0.5
    ),
}


def _rate_hint(function: Callable[[int, int, int], float]) -> str | None:
    zero = {ZeroDivisionError: "A division by zero: the steps are counted from 1."}
    rates = [call(function, step, _WIDTH, _WARMUP, errors=zero) for step in _STEPS]
    rates = [as_number(rate) for rate in rates]
    if None in rates:
        return "The function should return a number."
    if same(rates, [_paper(step) for step in _STEPS], 0):
        return None
    for hint, rate in _RATES.items():
        if same(rates, [rate(step) for step in _STEPS], 0):
            return hint
    _, _, half, peak, later, last, _ = rates
    if not same(peak, _paper(4000), 0) or half >= peak:
        return "The smaller of step^-0.5 and step · w^-1.5, times D^-0.5."
    if not same(half, peak / 2, 0):
        return "Half-way through the warm-up the rate is half of the peak."
    if last > peak:
        return "It goes on rising after the warm-up."
    if same(later, peak, 0):
        return "It stays at the peak; after it, it falls with the root of the step."
    return (
        "The rise is right. After the peak: four times the step, half the rate; not an "
        "exponential, not a straight line."
    )


check_rate = Judged(
    "Exercise 3: the paper's learning rate: takes the step, counted from 1, the width D and the "
    "warm-up w; returns the rate.",
    praise="4,000 steps up a straight line, then halved at every fourfold step.",
    hint=_rate_hint,
)


def _tie_hint(function: Callable[[nn.Embedding, nn.Linear], None]) -> str | None:
    values = draw(5, 3).float()
    table = nn.Embedding(5, 3, _weight=values.clone())
    output = nn.Linear(3, 5, bias=False)
    call(function, table, output)
    weight, tied = table.weight, output.weight
    if not same(weight, values, 0):
        return (
            "The table was overwritten by the layer's weight: tie the other way round."
        )
    if tied is weight:
        return None
    if isinstance(tied, Tensor) and tied.shape == weight.shape:
        if tied.data_ptr() == weight.data_ptr():
            return (
                "They share their memory, but are two parameters: each gets its own gradient, "
                "and the optimiser steps twice. Assign the parameter itself."
            )
        if torch.equal(tied, weight):
            return "The values were copied: equal now, different after one step of training."
    return "The layer still has a weight of its own."


check_tie = Judged(
    "Exercise 4: make a table and an output layer one: takes an embedding of 5 symbols, width 3, "
    "and a linear layer from 3 to 5 without bias; changes the layer so that it uses the table.",
    praise="One parameter with two names: one gradient, one state in the optimiser.",
    hint=_tie_hint,
)

check_saved = Number(
    "Exercise 5: how many parameters one table for three uses saves, with V = 37,000, D = 512.",
    right=37_888_000,
    praise="37.9 million; the whole base model has about 63 million.",
    hints={
        "Three tables become one: how many are saved?": 18_944_000,
        "One of the three has to stay.": 56_832_000,
        "A table has V · D numbers, not V + D.": 75_024,
    },
    otherwise="Source table, target table, output matrix: V · D each.",
)
