"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch

from bertbook.exercises import attention as exercises


def masked(scores, mask):
    return scores.masked_fill(~mask, -math.inf).softmax(-1)


def overflowing(scores, mask):
    powers = scores.exp() * mask
    return powers / powers.sum(-1, keepdim=True)


def mutating(scores, mask):
    return scores.masked_fill_(~mask, -math.inf).softmax(-1)


RIGHT = [
    (exercises.check_doubled_scores, (6.93, 7.73)),
    (exercises.check_masked_softmax, masked),
    (exercises.check_scale, 64),
    (exercises.check_softmax_jacobian, lambda p: p.diag() - torch.outer(p, p)),
    (exercises.check_quadratic_share, 0.25),
]
WRONG = [
    (exercises.check_doubled_scores, (6, 7), "old scores"),
    (exercises.check_doubled_scores, (12, 14), "does not double"),
    (exercises.check_doubled_scores, (208, 232), "sum of the exponentials"),
    (exercises.check_doubled_scores, (7, 7), "their sum"),
    (exercises.check_doubled_scores, (7,), "width"),
    (exercises.check_doubled_scores, "abc", "Two numbers"),
    (exercises.check_doubled_scores, 7, "Two numbers"),
    (exercises.check_masked_softmax, lambda s, m: masked(s, ~m), "wrong way round"),
    (exercises.check_masked_softmax, lambda s, m: s.softmax(-1), "no effect"),
    (
        exercises.check_masked_softmax,
        lambda s, m: s.softmax(-1) * m,
        "after the softmax",
    ),
    (exercises.check_masked_softmax, lambda s, m: (s * m).softmax(-1), "e\\^0"),
    (
        exercises.check_masked_softmax,
        lambda s, m: s.masked_fill(~m, -math.inf).softmax(0).nan_to_num(),
        "over the queries",
    ),
    (exercises.check_masked_softmax, lambda s, m: masked(s, m) * 0.9, "Row 0"),
    (exercises.check_masked_softmax, lambda s, m: s[0], r"\[3\]"),
    (exercises.check_masked_softmax, lambda s, m: None, "NoneType"),
    (exercises.check_masked_softmax, overflowing, "overflows"),
    (exercises.check_masked_softmax, mutating, "changed the tensors"),
    (exercises.check_scale, 16, "variance 1"),
    (exercises.check_scale, 32, "not 4"),
    (exercises.check_scale, 256, "in step"),
    (exercises.check_scale, 4096, "divisor"),
    (exercises.check_scale, 5, "Put in"),
    (exercises.check_scale, "root", "One number"),
    (exercises.check_softmax_jacobian, torch.diag, "Only the diagonal"),
    (exercises.check_softmax_jacobian, lambda p: (p * (1 - p)).diag(), "beside it"),
    (exercises.check_softmax_jacobian, lambda p: torch.outer(p, p) - p.diag(), "sign"),
    (exercises.check_softmax_jacobian, lambda p: torch.outer(p, p), "sum to zero"),
    (exercises.check_softmax_jacobian, lambda p: p, r"\[4\]"),
    (exercises.check_quadratic_share, 25, "between 0 and 1"),
    (exercises.check_quadratic_share, 0.1, "whole layer"),
    (exercises.check_quadratic_share, 0.333, "over the sum"),
    (exercises.check_quadratic_share, 0.143, "two products"),
    (exercises.check_quadratic_share, 0.4, "four"),
    (exercises.check_quadratic_share, 0.5, "cancel"),
    (exercises.check_quadratic_share, None, "One number"),
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


@pytest.mark.parametrize(
    "check", [exercises.check_masked_softmax, exercises.check_softmax_jacobian]
)
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))
