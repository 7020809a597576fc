"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import pytest

from bertbook.attention.multi_head import split_heads
from bertbook.exercises import multi_head as exercises

D = 768


def term(context, weight, head, width):
    own = slice(head * width, (head + 1) * width)
    return context[:, own] @ weight[:, own].T


def rows(context, weight, head, width):
    own = slice(head * width, (head + 1) * width)
    return context[:, own] @ weight[own]


def last_only(context, weight, head, width):
    return context[:, -width:] @ weight[:, -width:].T


RIGHT = [
    (exercises.check_parameters, 2_362_368),
    (exercises.check_split, split_heads),
    (exercises.check_head_contribution, term),
    (exercises.check_order_bound, 5 / 8),
]
WRONG = [
    (exercises.check_parameters, 4 * D * D, "bias too"),
    (exercises.check_parameters, 3 * (D * D + D), "without the output projection\\."),
    (exercises.check_parameters, 3 * D * D, "and without biases"),
    (exercises.check_parameters, 12 * 4 * (D * D + D), "only d/h columns"),
    (exercises.check_parameters, 4 * (D * 64 + 64), "there are twelve"),
    (exercises.check_parameters, 7, "Four linear layers"),
    (exercises.check_parameters, "many", "One number"),
    (exercises.check_split, lambda x, h: x.unflatten(-1, (h, -1)), "change places"),
    (exercises.check_split, lambda x, h: x.reshape(2, h, 3, -1), "tokens are mixed"),
    (
        exercises.check_split,
        lambda x, h: x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2),
        "every second column",
    ),
    (exercises.check_split, lambda x, h: split_heads(x, h).flip(1), "columns 1 to 4"),
    (exercises.check_split, lambda x, h: x, r"\[2, 3, 8\]"),
    (exercises.check_split, lambda x, h: None, "NoneType"),
    (exercises.check_head_contribution, lambda c, w, i, n: c @ w.T, "over all heads"),
    (exercises.check_head_contribution, rows, "x Wᵀ"),
    (
        exercises.check_head_contribution,
        lambda *arguments: term(*arguments) / 4,
        "not averaged",
    ),
    (
        exercises.check_head_contribution,
        lambda *arguments: -term(*arguments),
        "Dh columns of both",
    ),
    (exercises.check_head_contribution, last_only, "do not add up"),
    (exercises.check_head_contribution, lambda c, w, i, n: c[:, :n], r"\[3, 2\]"),
    (exercises.check_head_contribution, lambda *arguments: 1, "int"),
    (exercises.check_order_bound, 0.5, "need no order"),
    (exercises.check_order_bound, 0.25, "with the other known"),
    (exercises.check_order_bound, 1 / 16, "without looking"),
    (exercises.check_order_bound, 0.75, "hard ones"),
    (exercises.check_order_bound, 1, "mean of b and a"),
    (exercises.check_order_bound, 0.55, "ten symbols"),
    (exercises.check_order_bound, 0.3, "Count"),
    (exercises.check_order_bound, None, "One number"),
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
    "check", [exercises.check_split, exercises.check_head_contribution]
)
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))
