"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch

from bertbook.exercises import attention_vs_rnn as exercises


def step(q, k, v, divisor=2.0):
    return (k @ q / divisor).softmax(-1) @ v


def blind(q, k, v):
    return v[0] if len(k) == 1 else step(q, k[:-1], v[:-1])


RIGHT = [
    (exercises.check_crossing, 1024),
    (exercises.check_critical_path, 102),
    (exercises.check_cache_bytes, 36_864_000),
    (exercises.check_forget_bias, 6.6),
    (exercises.check_forget_bias, 6.604),
    (exercises.check_cached_attention, step),
]
WRONG = [
    (exercises.check_crossing, 512, "two entries"),
    (exercises.check_crossing, 256, "8nd²"),
    (exercises.check_crossing, 2048, "two products"),
    (exercises.check_crossing, 2560, "four gates"),
    (exercises.check_crossing, 4096, "projections"),
    (exercises.check_crossing, 3, "solve for n"),
    (exercises.check_crossing, "long", "One number"),
    (exercises.check_critical_path, 300, "first step"),
    (exercises.check_critical_path, 100, "one layer"),
    (exercises.check_critical_path, 103, "once"),
    (exercises.check_critical_path, 3, "attention"),
    (exercises.check_critical_path, 7, "grid"),
    (exercises.check_critical_path, None, "One number"),
    (exercises.check_cache_bytes, 18_432_000, "factor of two"),
    (exercises.check_cache_bytes, 9_216_000, "two tensors"),
    (exercises.check_cache_bytes, 3_072_000, "12 layers"),
    (exercises.check_cache_bytes, 1_536_000, "12 layers"),
    (exercises.check_cache_bytes, 73_728_000, "not four"),
    (exercises.check_cache_bytes, 12 * 36_864_000, "heads"),
    (exercises.check_cache_bytes, 24_000_000, "n × n"),
    (exercises.check_cache_bytes, 1, "Keys and values ×"),
    (exercises.check_cache_bytes, [], "One number"),
    (exercises.check_forget_bias, 0.99865, "That is the gate"),
    (exercises.check_forget_bias, 0, "σ\\(0\\)"),
    (exercises.check_forget_bias, -6.6, "sign"),
    (exercises.check_forget_bias, 1, "of the gradient arrives"),
    (exercises.check_forget_bias, 1e9, "First the gate"),
    (exercises.check_forget_bias, "big", "One number"),
    (exercises.check_cached_attention, lambda q, k, v: step(q, k, v, 1), "√d_k"),
    (exercises.check_cached_attention, lambda q, k, v: step(q, k, v, 4), "root"),
    (
        exercises.check_cached_attention,
        lambda q, k, v: (k @ q / 2).exp() @ v,
        "sum to one",
    ),
    (exercises.check_cached_attention, blind, "looks at itself"),
    (exercises.check_cached_attention, lambda q, k, v: v.mean(0), "second output"),
    (exercises.check_cached_attention, lambda q, k, v: v, r"\[1, 4\]"),
    (exercises.check_cached_attention, lambda q, k, v: None, "NoneType"),
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


@pytest.mark.parametrize("check", list(dict(RIGHT)))
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


def test_a_function_that_still_returns_dots_is_open():
    assert "Open" in repr(exercises.check_cached_attention(lambda *arguments: ...))


def test_the_forget_bias_is_what_it_says():
    assert torch.sigmoid(
        torch.tensor(6.604, dtype=torch.float64)
    ) ** 512 == pytest.approx(0.5, abs=2e-3)
    assert math.isclose(0.5 ** (1 / 512), 0.998647, rel_tol=1e-6)
