"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch

from bertbook.attention.scores import causal_mask
from bertbook.exercises import decoder as exercises
from bertbook.shared.symbols import PAD

D = 512


def masks(source, inputs):
    real = (source != PAD)[:, None, :]
    return real, causal_mask(inputs.shape[1]), real


def changed_masks(**changes):
    """The right masks, some of them replaced by what a function makes of them."""

    def function(source, inputs):
        names = ("encoder", "decoder", "cross")
        right = dict(zip(names, masks(source, inputs), strict=True))
        return tuple(
            changes[name](right[name], source, inputs)
            if name in changes
            else right[name]
            for name in names
        )

    return function


def leak_test(
    decode, inputs, modes=(True, False), seeded=True, last=1, all_before=True
):
    """Right as it stands; each option weakens it."""
    for training in modes:
        for t in range(inputs.shape[1] - last):
            other = inputs.clone()
            other[:, t + 1] = (other[:, t + 1] + 1) % 20
            outputs = []
            for symbols in (inputs, other):
                if seeded:
                    torch.manual_seed(0)
                outputs.append(decode(symbols, training))
            start = 0 if all_before else t
            if not torch.equal(
                outputs[0][:, start : t + 1], outputs[1][:, start : t + 1]
            ):
                return True
    return False


def weaker(**options):
    return lambda decode, inputs: leak_test(decode, inputs, **options)


RIGHT = [
    (exercises.check_parameters, 4_204_032),
    (exercises.check_masks, masks),
    (exercises.check_leak_test, leak_test),
    (exercises.check_crossover, math.log(1.25) / math.log(15 / 9)),
    (exercises.check_cache, 307_200),
]
WRONG = [
    (exercises.check_parameters, 12 * D**2 + 13 * D, "encoder layer"),
    (exercises.check_parameters, 16 * D**2, "Biases and LayerNorms"),
    (exercises.check_parameters, 16 * D**2 + 13 * D, "LayerNorms are missing"),
    (exercises.check_parameters, 16 * D**2 + 17 * D, "three LayerNorms"),
    (exercises.check_parameters, 14 * D**2 + 17 * D, "hand over"),
    (exercises.check_parameters, 16 * D**2 + 14 * D, "two biases"),
    (exercises.check_parameters, 6 * 4_204_032, "whole stack"),
    (exercises.check_parameters, 5, "Add up"),
    (exercises.check_parameters, "many", "One number"),
    (exercises.check_masks, lambda s, x: None, "Three masks"),
    (
        exercises.check_masks,
        changed_masks(cross=lambda m, s, x: m.float()),
        "cross-attention: a boolean",
    ),
    (
        exercises.check_masks,
        changed_masks(encoder=lambda m, s, x: s != PAD),
        r"\[2, 4\] does not broadcast",
    ),
    (
        exercises.check_masks,
        changed_masks(cross=lambda m, s, x: (x != PAD)[:, None]),
        r"\[2, 1, 3\] does not broadcast to \[2, 3, 4\]",
    ),
    (exercises.check_masks, changed_masks(encoder=lambda m, s, x: ~m), "Inverted"),
    (exercises.check_masks, changed_masks(decoder=lambda m, s, x: ~m), "Inverted"),
    (
        exercises.check_masks,
        changed_masks(encoder=lambda m, s, x: m & causal_mask(4)),
        "nothing has to be causal",
    ),
    (
        exercises.check_masks,
        changed_masks(encoder=lambda m, s, x: torch.ones_like(m)),
        "every real source token",
    ),
    (
        exercises.check_masks,
        changed_masks(decoder=lambda m, s, x: m.tril(-1)),
        "look at itself",
    ),
    (exercises.check_masks, changed_masks(decoder=lambda m, s, x: m.T), "transposed"),
    (
        exercises.check_masks,
        changed_masks(decoder=lambda m, s, x: torch.ones_like(m)),
        "comes after it",
    ),
    (
        exercises.check_masks,
        changed_masks(decoder=lambda m, s, x: torch.eye(3).bool()),
        "all real ones before it",
    ),
    (
        exercises.check_masks,
        changed_masks(cross=lambda m, s, x: torch.ones_like(m)),
        "the source's padding",
    ),
    (exercises.check_leak_test, lambda decode, x: 1, "True or False"),
    (exercises.check_leak_test, lambda decode, x: True, "without dropout"),
    (exercises.check_leak_test, weaker(seeded=False), "same seed"),
    (exercises.check_leak_test, lambda decode, x: False, "No mask at all"),
    (exercises.check_leak_test, weaker(modes=(True,)), "evaluation too"),
    (exercises.check_leak_test, weaker(modes=(False,)), "training too"),
    (exercises.check_leak_test, weaker(last=2), "last position but one"),
    (exercises.check_leak_test, weaker(all_before=False), "four steps ahead"),
    (
        exercises.check_crossover,
        math.log(1.25) / math.log(2.5),
        "not the length itself",
    ),
    (exercises.check_crossover, -math.log(1.25) / math.log(15 / 9), "The sign"),
    (exercises.check_crossover, math.log(1.25), "divide by"),
    (exercises.check_crossover, 0.75, "take logarithms"),
    (exercises.check_crossover, 3, "Set 1.2"),
    (exercises.check_crossover, None, "One number"),
    (exercises.check_cache, 153_600, "Keys and values"),
    (exercises.check_cache, 51_200, "That is one layer"),
    (exercises.check_cache, 8 * 307_200, "share the width"),
    (exercises.check_cache, 38_400, "one head"),
    (exercises.check_cache, 122_880, "cross-attention's are kept"),
    (exercises.check_cache, 184_320, "self-attention's are kept"),
    (exercises.check_cache, 600, "512 numbers"),
    (exercises.check_cache, 1, "For each layer"),
    (exercises.check_cache, [], "One number"),
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


def test_a_mask_of_the_targets_padding_is_right_and_not_needed():
    def with_padding(mask, source, inputs):
        return mask & (inputs != PAD)[:, None]

    verdict = exercises.check_masks(changed_masks(decoder=with_padding))
    assert verdict
    assert "need not be masked" in repr(verdict)


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize("check", [exercises.check_masks, exercises.check_leak_test])
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))


def test_masks_of_which_one_is_still_open():
    assert "Open" in repr(exercises.check_masks(changed_masks(cross=lambda *a: ...)))
