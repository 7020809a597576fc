"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch.nn.functional as F

from bertbook.exercises import pretraining as exercises

MATRICES = {
    "attention.self.query.weight",
    "attention.self.key.weight",
    "attention.self.value.weight",
    "attention.output.dense.weight",
    "intermediate.dense.weight",
    "output.dense.weight",
}


def mean_of_selected(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def mean_of_all(logits, labels):
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.mean()


def total(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def mean_of_rows(logits, labels):
    rows = [F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
    return sum(rows) / len(rows)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (exercises.check_first_loss, math.log(8192) + math.log(2)),
        (exercises.check_first_loss, 9.7),
        (exercises.check_decayed, MATRICES),
        (exercises.check_decayed, sorted(MATRICES)),
        (exercises.check_rate, 5e-5),
        (exercises.check_predictions, 0.15 * 256 * 512),
        (exercises.check_predictions, 19_700),
        (exercises.check_loss, mean_of_selected),
    ],
)
def test_right_answers_pass(check, answer):
    assert check(answer)


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (exercises.check_first_loss, "much", "One number"),
        (exercises.check_first_loss, 9.01, "alone; the one of the pairs"),
        (exercises.check_first_loss, 0.69, "alone; the one of the pieces"),
        (exercises.check_first_loss, 4.85, "not averaged"),
        (exercises.check_first_loss, 14, "natural"),
        (exercises.check_first_loss, 2.04, "selected positions"),
        (exercises.check_first_loss, 5, "same probability"),
        (exercises.check_decayed, "all", "set of names"),
        (exercises.check_decayed, 6, "set of names"),
        (exercises.check_decayed, {"dense"}, "dense"),
        (
            exercises.check_decayed,
            MATRICES | {"output.LayerNorm.weight"},
            "starts at one",
        ),
        (exercises.check_decayed, MATRICES | {"output.dense.bias"}, "Biases"),
        (exercises.check_decayed, MATRICES - {"output.dense.weight"}, "1 matrices"),
        (exercises.check_rate, None, "One number"),
        (exercises.check_rate, 1e-4 * math.sqrt(10 / 505), "inverse square root"),
        (exercises.check_rate, 4.95e-5, "end of the warm-up"),
        (exercises.check_rate, 5.05e-5, "gone by"),
        (exercises.check_rate, 0.5, "factor"),
        (exercises.check_rate, 1e-4, "in a line"),
        (exercises.check_predictions, [], "One number"),
        (exercises.check_predictions, 15_729, "under a [MASK]"),
        (exercises.check_predictions, 131_072, "Only selected"),
        (exercises.check_predictions, 104_858, "80 %"),
        (exercises.check_predictions, 1_966, "random piece"),
        (exercises.check_predictions, 76.8, "256"),
        (exercises.check_predictions, 1, "15 %"),
        (exercises.check_loss, mean_of_all, "count as 0"),
        (exercises.check_loss, total, "the sum"),
        (exercises.check_loss, mean_of_rows, "mean of rows"),
        (exercises.check_loss, lambda logits, labels: logits, "scalar"),
        (exercises.check_loss, lambda logits, labels: logits.mean(), "not −100"),
    ],
)
def test_each_mistake_meets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    assert hint in repr(verdict)


@pytest.mark.parametrize("name", exercises.__all__)
def test_dots_are_no_mistake(name):
    assert "Open" in repr(getattr(exercises, name)(...))


def test_a_function_that_returns_dots_is_open():
    assert "Open" in repr(exercises.check_loss(lambda logits, labels: ...))
