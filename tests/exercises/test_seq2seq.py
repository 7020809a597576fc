"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import pytest

from bertbook.exercises import seq2seq as exercises
from bertbook.shared.symbols import BEGIN, END, PAD


def generate(step, max_length, *, first=BEGIN, keep_state=True, read_own=True):
    symbol, state, written = first, None, []
    while len(written) < max_length and END not in written:
        logits, new = step(symbol, state)
        state = new if keep_state else None
        written.append(logits.argmax().item())
        symbol = written[-1] if read_own else first
    return written


def endless(step, max_length):
    symbol, state = BEGIN, None
    while symbol != END:
        logits, state = step(symbol, state)
        symbol = logits.argmax().item()
    return [symbol]


def never_stops(step, max_length):
    symbol, state, written = BEGIN, None, []
    for _ in range(max_length):
        logits, state = step(symbol, state)
        symbol = logits.argmax().item()
        written.append(symbol)
    return written


def one_too_many(step, max_length):
    return generate(step, max_length + 1)


def of_the_least(step, max_length):
    return generate(lambda *args: (-step(*args)[0], 1), max_length)


def masked(losses, target):
    return losses[target != PAD].mean()


RIGHT = [
    (exercises.check_inputs, [BEGIN, 5, 3, 7]),
    (exercises.check_exact_match, 0.71),
    (exercises.check_mean_loss, masked),
    (exercises.check_generate, generate),
]
WRONG = [
    (exercises.check_inputs, [5, 3, 7, END], "has to predict"),
    (exercises.check_inputs, [3, 7, END, PAD], "wrong way"),
    (exercises.check_inputs, [BEGIN, 5, 3, 7, END], "One too many"),
    (exercises.check_inputs, [5, 3, 7], "written anything"),
    (exercises.check_inputs, [END, 5, 3, 7], "2 says end"),
    (exercises.check_inputs, [PAD, 5, 3, 7], "0 is padding"),
    (exercises.check_inputs, [7, 3, 5, BEGIN], "As many"),
    (exercises.check_inputs, 5, "A list"),
    (exercises.check_exact_match, 0.98, "one step"),
    (exercises.check_exact_match, 0.66, "add up"),
    (exercises.check_exact_match, 0.98**16, "Nearly"),
    (exercises.check_exact_match, 71, "between 0 and 1"),
    (exercises.check_exact_match, 0.5, "multiply"),
    (exercises.check_exact_match, "high", "One number"),
    (exercises.check_mean_loss, lambda x, t: x.mean(), "padding is counted"),
    (exercises.check_mean_loss, lambda x, t: (x * (t != PAD)).mean(), "in the divisor"),
    (exercises.check_mean_loss, lambda x, t: (x.mean() * (t != PAD)).mean(), "scalar"),
    (exercises.check_mean_loss, lambda x, t: (x * (t != PAD)).sum(), "the sum"),
    (exercises.check_mean_loss, lambda x, t: (x * (t != PAD)).sum() / 2, "sequences"),
    (
        exercises.check_mean_loss,
        lambda x, t: ((x * (t != PAD)).sum(1) / (t != PAD).sum(1)).mean(),
        "mean of means",
    ),
    (exercises.check_mean_loss, lambda x, t: x[t > END].mean(), "end symbols"),
    (exercises.check_mean_loss, lambda x, t: 0, "how many"),
    (exercises.check_mean_loss, lambda x, t: x, "One number"),
    (exercises.check_generate, endless, "does not stop"),
    (exercises.check_generate, lambda s, m: generate(s, m, first=END), "step.BEGIN"),
    (exercises.check_generate, lambda s, m: [], "step.BEGIN"),
    (
        exercises.check_generate,
        lambda s, m: generate(s, m, keep_state=False),
        "thrown away",
    ),
    (
        exercises.check_generate,
        lambda s, m: generate(s, m, read_own=False),
        "written last",
    ),
    (exercises.check_generate, lambda s, m: [BEGIN, *generate(s, m)], "not written"),
    (exercises.check_generate, lambda s, m: generate(s, m)[:-1], "belongs"),
    (exercises.check_generate, never_stops, "writes on"),
    (exercises.check_generate, of_the_least, "argmax"),
    (exercises.check_generate, one_too_many, "At most"),
    (exercises.check_generate, lambda s, m: None, "A list"),
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


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize("check", [exercises.check_mean_loss, exercises.check_generate])
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))
