"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch
from torch import nn

from bertbook.exercises import rnn_and_lstm as exercises


def lstm_step(affine, c, order="ifgo", candidate=torch.tanh, show=torch.tanh):
    blocks = dict(zip(order, affine.chunk(4, -1), strict=True))
    i, f, o = (blocks[name].sigmoid() for name in "ifo")
    c = f * c + i * candidate(blocks["g"])
    return o * show(c), c


def no_input_gate(affine, c):
    _, f, g, o = affine.chunk(4, -1)
    c = f.sigmoid() * c + g.tanh()
    return o.sigmoid() * c.tanh(), c


def clip(gradients, limit):
    norm = math.sqrt(sum(x.square().sum().item() for x in gradients))
    return [x * min(1, limit / norm) for x in gradients]


def by_the_library(gradients, limit):
    """The library's own clipping counts as right: it differs by its ε of 1e-6."""
    leaves = [torch.zeros_like(x, requires_grad=True) for x in gradients]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient.clone()
    nn.utils.clip_grad_norm_(leaves, limit)
    return [leaf.grad for leaf in leaves]


def in_place(gradients, limit):
    norm = math.sqrt(sum(x.square().sum().item() for x in gradients))
    return [x.mul_(min(1, limit / norm)) for x in gradients]


def always(gradients, limit):
    norm = math.sqrt(sum(x.square().sum().item() for x in gradients))
    return [x * limit / norm for x in gradients]


def limit_ignored(gradients, limit):
    return clip(gradients, 1.0)


RIGHT = [
    (exercises.check_scalar_gradient, 0.9216),
    (exercises.check_lstm_step, lstm_step),
    (exercises.check_forget_bias, 4.97),
    (exercises.check_lstm_parameters, 1_667_072),
    (exercises.check_clip, clip),
    (exercises.check_clip, by_the_library),
]
WRONG = [
    (exercises.check_scalar_gradient, 4, "linear"),
    (exercises.check_scalar_gradient, 0.23, "weight of each step"),
    (exercises.check_scalar_gradient, 0.461, "twice"),
    (exercises.check_scalar_gradient, 0.72, "last step"),
    (exercises.check_scalar_gradient, 1.28, "first step"),
    (exercises.check_scalar_gradient, 1.92, "not h\\."),
    (exercises.check_scalar_gradient, 0.32, "not 1 − h\\."),
    (exercises.check_scalar_gradient, 7, "Each step multiplies"),
    (exercises.check_scalar_gradient, "w", "One number"),
    (exercises.check_lstm_step, lambda a, c: lstm_step(a, c)[::-1], "change places"),
    (exercises.check_lstm_step, lambda a, c: lstm_step(a, c, "figo"), "order"),
    (exercises.check_lstm_step, lambda a, c: lstm_step(a, c, "ifog"), "order"),
    (
        exercises.check_lstm_step,
        lambda a, c: lstm_step(a, c, candidate=torch.sigmoid),
        "negative",
    ),
    (
        exercises.check_lstm_step,
        lambda a, c: lstm_step(a, c, candidate=lambda x: x),
        "a tanh too",
    ),
    (exercises.check_lstm_step, lambda a, c: lstm_step(a, c, show=lambda x: x), "miss"),
    (exercises.check_lstm_step, no_input_gate, "input gate has no effect"),
    (exercises.check_lstm_step, lambda a, c: (c, c), "line by line"),
    (exercises.check_lstm_step, lambda a, c: c, "Two tensors"),
    (exercises.check_lstm_step, lambda a, c: (a, c), "Two tensors"),
    (exercises.check_forget_bias, 0.9931, "That is the gate"),
    (exercises.check_forget_bias, -4.97, "sign"),
    (exercises.check_forget_bias, 0, "one step"),
    (exercises.check_forget_bias, 1, "0.73"),
    (exercises.check_forget_bias, 3, "logit"),
    (exercises.check_forget_bias, None, "One number"),
    (exercises.check_lstm_parameters, 416_768, "vanilla"),
    (exercises.check_lstm_parameters, 1_250_304, "four blocks"),
    (exercises.check_lstm_parameters, 1_665_024, "two bias"),
    (exercises.check_lstm_parameters, 1_662_976, "biases are missing"),
    (exercises.check_lstm_parameters, 618_496, "recurrent weights"),
    (exercises.check_lstm_parameters, 12, "Four blocks"),
    (exercises.check_lstm_parameters, "many", "One number"),
    (exercises.check_clip, lambda g, m: g, "Nothing"),
    (exercises.check_clip, lambda g, m: [x / x.norm() for x in g], "√2"),
    (exercises.check_clip, lambda g, m: [x.clamp(-m, m) for x in g], "direction"),
    (exercises.check_clip, lambda g, m: [x / 25 for x in g], "root"),
    (
        exercises.check_clip,
        lambda g, m: [x / sum(y.norm() for y in g) for x in g],
        "squares",
    ),
    (exercises.check_clip, lambda g, m: [x / 2 for x in g], "fifth"),
    (exercises.check_clip, lambda g, m: g[0], "list"),
    (exercises.check_clip, lambda g, m: None, "list"),
    (exercises.check_clip, in_place, "changed the tensors"),
    (exercises.check_clip, always, "not stretched"),
    (exercises.check_clip, limit_ignored, "for 2"),
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


@pytest.mark.parametrize("check", [check for check, _ in RIGHT[:-1]])
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize("check", [exercises.check_lstm_step, exercises.check_clip])
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))


def test_the_counted_parameters_are_the_librarys():
    counted = sum(p.numel() for p in nn.LSTM(300, 512).parameters())
    assert exercises.check_lstm_parameters(counted)
