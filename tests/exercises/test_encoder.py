"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch
from torch.nn import functional as F

from bertbook.exercises import encoder as exercises

D = 768


def layer_norm(x, eps, axes=-1, unbiased=False):
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / (x.var(axes, unbiased=unbiased, keepdim=True) + eps).sqrt()


def centred(x):
    return x - x.mean(-1, keepdim=True)


def deviation(x, unbiased=False):
    return x.std(-1, unbiased=unbiased, keepdim=True)


def turn(k, omega):
    sine, cosine = math.sin(k * omega), math.cos(k * omega)
    return torch.tensor([[cosine, sine], [-sine, cosine]])


def pre_ln(x, f, norm):
    return x + f(norm(x))


RIGHT = [
    (exercises.check_layer_norm, layer_norm),
    (exercises.check_layer_norm, lambda x, eps: F.layer_norm(x, x.shape[-1:], eps=eps)),
    (exercises.check_parameters, 7_087_872),
    (exercises.check_rotation, turn),
    (exercises.check_pre_ln, pre_ln),
    (exercises.check_share, 1 / 7),
    (exercises.check_share, 0.143),
]
WRONG = [
    (exercises.check_layer_norm, lambda x, e: layer_norm(x, e, -1, True), "D − 1"),
    (
        exercises.check_layer_norm,
        lambda x, e: centred(x) / (deviation(x) + e),
        "inside",
    ),
    (exercises.check_layer_norm, lambda x, e: centred(x) / deviation(x), "0/0"),
    (
        exercises.check_layer_norm,
        lambda x, e: centred(x) / (deviation(x, True) + e),
        "both must change",
    ),
    (
        exercises.check_layer_norm,
        lambda x, e: x / (deviation(x) ** 2 + e).sqrt(),
        "taken off",
    ),
    (
        exercises.check_layer_norm,
        lambda x, e: centred(x) / (deviation(x) ** 2 + e),
        "not by the variance",
    ),
    (exercises.check_layer_norm, lambda x, e: layer_norm(x, e, 1), "tokens of a seq"),
    (exercises.check_layer_norm, lambda x, e: layer_norm(x, e, 0), "over the batch"),
    (
        exercises.check_layer_norm,
        lambda x, e: layer_norm(x, e, (0, 1), True),
        "as BatchNorm does",
    ),
    (exercises.check_layer_norm, lambda x, e: layer_norm(x, e, (1, 2)), "whole seq"),
    (
        exercises.check_layer_norm,
        lambda x, e: layer_norm(x, e, (0, 1, 2)),
        "over everything",
    ),
    (exercises.check_layer_norm, lambda x, e: x, "Take the mean"),
    (exercises.check_layer_norm, lambda x, e: x[0], r"\[4, 6\]"),
    (exercises.check_layer_norm, lambda x, e: None, "NoneType"),
    (exercises.check_parameters, 12 * D * D, "Biases and norms"),
    (exercises.check_parameters, 12 * D * D + 9 * D, "Only the two norms"),
    (exercises.check_parameters, 12 * D * D + 11 * D, "two norms, and each"),
    (exercises.check_parameters, 12 * D * D + 4 * D, "six linear"),
    (exercises.check_parameters, 4 * D * D + 4 * D, "twice as large"),
    (exercises.check_parameters, 8 * D * D + 5 * D, "alone"),
    (exercises.check_parameters, 12 * 7_087_872, "whole stack"),
    (exercises.check_parameters, 3_152_384, "768 wide"),
    (exercises.check_parameters, 11 * D * D + 12 * D, "output projection"),
    (exercises.check_parameters, 7, "Six linear layers"),
    (exercises.check_parameters, "many", "One number"),
    (exercises.check_rotation, lambda k, w: turn(-k, w), "other way"),
    (exercises.check_rotation, lambda k, w: turn(k, w).flip(0), "changed places"),
    (exercises.check_rotation, lambda k, w: turn(k, w).flip(1), "changed places"),
    (exercises.check_rotation, lambda k, w: torch.eye(2), "addition theorems"),
    (exercises.check_rotation, lambda k, w: turn(3, 0.2), "for k = −2"),
    (exercises.check_rotation, lambda k, w: 1, "int"),
    (exercises.check_pre_ln, lambda x, f, n: n(x + f(x)), "post-LN"),
    (exercises.check_pre_ln, lambda x, f, n: n(x) + f(n(x)), "residual path carries"),
    (exercises.check_pre_ln, lambda x, f, n: x + n(f(x)), "behind the sub-layer"),
    (exercises.check_pre_ln, lambda x, f, n: f(n(x)), "residual connection is"),
    (exercises.check_pre_ln, lambda x, f, n: x + f(x), "norm is missing"),
    (exercises.check_pre_ln, lambda x, f, n: n(x + f(n(x))), "One norm too many"),
    (exercises.check_pre_ln, lambda x, f, n: x - f(n(x)), "which of the three"),
    (exercises.check_pre_ln, lambda x, f, n: x[0], r"\[3, 8\]"),
    (exercises.check_share, 1 / 6, "share is of all"),
    (exercises.check_share, 1 / 3, "attention alone"),
    (exercises.check_share, 0.5, "n = 6d"),
    (exercises.check_share, 1 / 13, "two quadratic"),
    (exercises.check_share, 0.2, "counts as eight"),
    (exercises.check_share, 0.9, "Put n = d"),
    (exercises.check_share, None, "One number"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(check, answer):
    verdict = check(answer)
    assert verdict, repr(verdict)
    assert "✓" in repr(verdict)


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_mistake_gets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    with pytest.raises(AssertionError, match=hint):
        assert verdict, repr(verdict)


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in RIGHT))
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize(
    "check",
    [exercises.check_layer_norm, exercises.check_rotation, exercises.check_pre_ln],
)
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))
