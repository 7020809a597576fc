"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import pytest
import torch

from bertbook.exercises import masking as exercises


def mask_function(ids, special, mask_id, generator, **changes):
    """Right as it stands; each change is a usual mistake."""
    rate = changes.get("rate", 0.15)
    coin = torch.rand(ids.shape, generator=generator)
    branch = torch.rand(ids.shape, generator=generator)
    ordinary = (~special).nonzero()[:, 0]
    if changes.get("special pieces"):
        ordinary = torch.arange(len(special))
    drawn = ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]
    selected = coin < rate
    if not changes.get("special tokens"):
        selected &= ~special[ids]
    inputs = ids if changes.get("in place") else ids.clone()
    mask, random = changes.get("mask", 0.8), changes.get("random", 0.1)
    hidden = selected & (branch < mask)
    replaced = selected & (branch >= mask) & (branch < mask + random)
    labels = ids.masked_fill(~selected, -100)
    inputs[hidden] = mask_id
    inputs[replaced] = drawn[replaced]
    if changes.get("only hidden"):
        inputs[replaced] = ids[replaced]
        labels = ids.masked_fill(~hidden, -100)
    if changes.get("only changed"):
        labels = ids.masked_fill(inputs == ids, -100)
    if changes.get("unasked"):
        labels = ids.masked_fill(~selected | replaced, -100)
    if changes.get("label is input"):
        labels = inputs.masked_fill(~selected, -100)
    return inputs, labels


def changed(**changes):
    return lambda *inputs: mask_function(*inputs, **changes)


def layers(mask):
    reach, power = mask.double(), mask.double()
    for number in range(1, len(mask) + 1):
        if power.diagonal().any():
            return number
        power = power @ reach
    return None


RIGHT = [
    (exercises.check_counts, 60.8),
    (exercises.check_counts, 0.8 * 0.15 * 509),
    (exercises.check_mask_function, mask_function),
    (exercises.check_posterior, 0.9677),
    (exercises.check_layers_until_leak, layers),
    (exercises.check_epochs, 0.0015),
]
WRONG = [
    (exercises.check_counts, 61.44, "never selected"),
    (exercises.check_counts, 76, "not all of them"),
    (exercises.check_counts, 407.2, "not of all"),
    (exercises.check_counts, 7.6, "as many stay"),
    (exercises.check_counts, 3, "Count the tokens"),
    (exercises.check_counts, "few", "One number"),
    (exercises.check_mask_function, lambda *inputs: None, "two tensors"),
    (exercises.check_mask_function, lambda i, *rest: (i, i[0]), "shape"),
    (exercises.check_mask_function, changed(**{"in place": True}), "work on a copy"),
    (exercises.check_mask_function, changed(**{"special tokens": True}), "CLS"),
    (exercises.check_mask_function, changed(**{"special pieces": True}), "ordinary"),
    (exercises.check_mask_function, changed(**{"label is input": True}), "at first"),
    (exercises.check_mask_function, changed(**{"only hidden": True}), "not only on"),
    (exercises.check_mask_function, changed(**{"only changed": True}), "that stay"),
    (exercises.check_mask_function, changed(unasked=True), "must be asked"),
    (exercises.check_mask_function, changed(rate=0.3), "selected: 0.2"),
    (exercises.check_mask_function, changed(rate=1.0), "most are not"),
    (exercises.check_mask_function, changed(mask=0.5), r"\[MASK\] among"),
    (exercises.check_mask_function, changed(random=0.02), "another piece"),
    (exercises.check_posterior, 0.5, "before the context"),
    (exercises.check_posterior, 0.983, "this one is selected"),
    (exercises.check_posterior, 0.001, "evidence"),
    (exercises.check_posterior, 0.0323, "random one stands"),
    (exercises.check_posterior, 0.7, "Weigh"),
    (exercises.check_layers_until_leak, lambda mask: 1, "two layers"),
    (exercises.check_layers_until_leak, lambda mask: 2, "one layer"),
    (
        exercises.check_layers_until_leak,
        lambda mask: 1 if mask.diagonal().any() else 2,
        "look only back",
    ),
    (
        exercises.check_layers_until_leak,
        lambda mask: layers(mask) if layers(mask) in (1, 2) else None,
        "ring, it takes",
    ),
    (
        exercises.check_layers_until_leak,
        lambda mask: layers(mask) or (5 if mask.sum() < len(mask) else None),
        "never closes",
    ),
    (exercises.check_layers_until_leak, lambda mask: "two", "number of layers"),
    (exercises.check_epochs, 0.85, "static"),
    (exercises.check_epochs, 0.9985, "at least once"),
    (exercises.check_epochs, 0.88**40, "all selected"),
    (exercises.check_epochs, 0.15**40, "each time"),
    (exercises.check_epochs, 0.4, "Each reading"),
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


@pytest.mark.parametrize(
    "check", [getattr(exercises, name) for name in exercises.__all__]
)
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize(
    "check", [exercises.check_mask_function, exercises.check_layers_until_leak]
)
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))


def test_the_text_changed_where_it_stands_is_found_before_all_else():
    verdict = exercises.check_mask_function(changed(**{"in place": True, "rate": 0.9}))
    assert "copy" in repr(verdict)
