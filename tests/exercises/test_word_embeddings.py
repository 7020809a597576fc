"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from bertbook.exercises import word_embeddings as exercises


def loss(v, u, n):
    return -logsigmoid(u @ v) - logsigmoid(-(n @ v)).sum()


def softmax(v, u, n):
    return cross_entropy(torch.cat([u[None], n]) @ v, torch.tensor(0))


RIGHT = [
    (exercises.check_pairs, 6),
    (exercises.check_noise, 0.77),
    (exercises.check_optimum, math.log(20 / (100 * 2 * 0.05))),
    (exercises.check_loss, loss),
]
WRONG = [
    (exercises.check_pairs, 10, "fixed window"),
    (exercises.check_pairs, 3, "one side"),
    (exercises.check_pairs, 5, "not 2.5"),
    (exercises.check_pairs, 7, "how many sides"),
    (exercises.check_pairs, "six", "One number"),
    (exercises.check_noise, 0.835, "share of the text"),
    (exercises.check_noise, 0.874, "Power first"),
    (exercises.check_noise, 0.692, "square root"),
    (exercises.check_noise, 0.229, "rarer"),
    (exercises.check_noise, 0.5, "3⁴"),
    (exercises.check_noise, None, "One number"),
    (exercises.check_optimum, 1.386, "That is the PMI"),
    (exercises.check_optimum, 2.079, "other sign"),
    (exercises.check_optimum, 2, "odds"),
    (exercises.check_optimum, 1, "natural"),
    (exercises.check_optimum, 0, "20 times"),
    (exercises.check_optimum, [1], "One number"),
    (exercises.check_loss, lambda *a: -loss(*a), "The sign"),
    (
        exercises.check_loss,
        lambda v, u, n: -logsigmoid(u @ v) - logsigmoid(n @ v).sum(),
        "minus inside",
    ),
    (
        exercises.check_loss,
        lambda v, u, n: -logsigmoid(u @ v) - logsigmoid(-(n @ v)).mean(),
        "their mean",
    ),
    (exercises.check_loss, lambda v, u, n: -logsigmoid(u @ v), "missing"),
    (
        exercises.check_loss,
        lambda v, u, n: -(u @ v).sigmoid() - (-n @ v).sigmoid().sum(),
        "logarithm of each",
    ),
    (exercises.check_loss, softmax, "yes-or-no"),
    (exercises.check_loss, lambda *a: 2 * loss(*a), "log\\(32/9\\)"),
    (exercises.check_loss, lambda *a: None, "NoneType"),
    (exercises.check_loss, lambda v, u, n: n @ v, r"\[2\]"),
    (
        exercises.check_loss,
        lambda v, u, n: -(u @ v).sigmoid().log() - (1 - (n @ v).sigmoid()).log().sum(),
        "stable",
    ),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer):
    verdict = check(answer)
    assert verdict, verdict
    assert repr(verdict).startswith("✓")


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_each_usual_mistake_has_its_hint(check, answer, hint):
    with pytest.raises(AssertionError, match=hint):
        raise AssertionError(_message(check(answer)))


def _message(verdict):
    assert not verdict
    assert verdict.message.startswith("✗")
    return verdict.message


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_dots_are_no_mistake(check):
    verdict = check(...)
    assert not verdict
    assert verdict.message.startswith("○")


def test_dots_inside_a_function_are_no_mistake():
    assert exercises.check_loss(lambda *a: ...).message.startswith("○")
