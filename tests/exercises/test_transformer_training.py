"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
from torch import nn

from bertbook.exercises import transformer_training as exercises

E, V = 0.1, 4096
TRUE, OTHER = 1 - E + E / V, E / V
FLOOR = -TRUE * math.log(TRUE) - (V - 1) * OTHER * math.log(OTHER)


def rate(step, width, warmup):
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


def then(after):
    """The right rise, then something else."""
    return lambda s, d, w: rate(s, d, w) if s <= w else rate(w, d, w) * after(s / w)


def tie(table, output):
    output.weight = table.weight


def copy(table, output):
    output.weight.data.copy_(table.weight.data)


def share(table, output):
    output.weight.data = table.weight.data


def wrong_way(table, output):
    table.weight = output.weight


def new_parameter(table, output):
    output.weight = nn.Parameter(table.weight.detach().clone())


RIGHT = [
    (exercises.check_target, [0.05, 0.85, 0.05, 0.05]),
    (exercises.check_floor, round(FLOOR, 2)),
    (exercises.check_rate, rate),
    (exercises.check_tie, tie),
    (exercises.check_saved, 37_888_000),
]
WRONG = [
    (exercises.check_target, [0.2 / 3, 0.8, 0.2 / 3, 0.2 / 3], "true one too"),
    (exercises.check_target, [0.05, 0.8, 0.05, 0.05], "0.95"),
    (exercises.check_target, [0.2, 0.8, 0.2, 0.2], "as a whole"),
    (exercises.check_target, [0.85, 0.05, 0.05, 0.05], "second"),
    (exercises.check_target, [0.3, 0.3, 0.3, 0.3], "1.200"),
    (exercises.check_target, [0.25] * 4, "Mix"),
    (exercises.check_target, [0.5, 0.5], "Mix"),
    (exercises.check_target, 0.85, "Four"),
    (exercises.check_floor, 0, "infinite"),
    (exercises.check_floor, FLOOR / math.log(2), "bits"),
    (exercises.check_floor, -math.log(TRUE), "others have mass"),
    (exercises.check_floor, -TRUE * math.log(TRUE), "small ones"),
    (exercises.check_floor, math.log(V), "uniform guess"),
    (exercises.check_floor, math.exp(FLOOR), "perplexity"),
    (exercises.check_floor, 5, "entropy of the target"),
    (exercises.check_floor, "low", "One number"),
    (exercises.check_rate, lambda s, d, w: 1 / (s - 1), "counted from 1"),
    (exercises.check_rate, lambda s, d, w: rate(s, 1, w), "is missing"),
    (exercises.check_rate, lambda s, d, w: rate(s, d, w) * d, "not 0.5"),
    (
        exercises.check_rate,
        lambda s, d, w: d**-0.5 * max(s**-0.5, s * w**-1.5),
        "larger of the two",
    ),
    (exercises.check_rate, lambda s, d, w: rate(s + 1, d, w), "nothing is to be added"),
    (exercises.check_rate, lambda s, d, w: (d * s) ** -0.5, "no warm-up"),
    (exercises.check_rate, then(lambda x: x), "goes on rising"),
    (exercises.check_rate, then(lambda x: 1.0), "stays at the peak"),
    (exercises.check_rate, then(lambda x: math.exp(1 - x)), "no exponential"),
    (
        exercises.check_rate,
        lambda s, d, w: rate(w, d, w) * min(1, (s / w) ** 2),
        "half of the peak",
    ),
    (exercises.check_rate, lambda s, d, w: 0.1, "smaller of"),
    (exercises.check_rate, lambda s, d, w: None, "return a number"),
    (exercises.check_tie, copy, "copied"),
    (exercises.check_tie, new_parameter, "copied"),
    (exercises.check_tie, share, "two parameters"),
    (exercises.check_tie, wrong_way, "overwritten"),
    (exercises.check_tie, lambda table, output: None, "of its own"),
    (exercises.check_saved, 37_000 * 512, "Three tables"),
    (exercises.check_saved, 3 * 37_000 * 512, "has to stay"),
    (exercises.check_saved, 2 * (37_000 + 512), "not V"),
    (exercises.check_saved, 8, "V · D each"),
    (exercises.check_saved, None, "One number"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(check, answer):
    verdict = check(answer)
    assert verdict
    assert "✓" in repr(verdict)


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_mistake_gets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    with pytest.raises(AssertionError, match=hint):
        assert verdict, repr(verdict)


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize("check", [exercises.check_rate, exercises.check_tie])
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))
