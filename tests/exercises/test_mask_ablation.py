"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math
from statistics import mean, pstdev, stdev

import pytest

from bertbook.exercises import mask_ablation as exercises


def by(error, sign=abs, factor=2.776):
    return lambda a, b: sign(mean(a) - mean(b)) > factor * error(a, b)


def right(a, b):
    return math.sqrt((stdev(a) ** 2 + stdev(b) ** 2) / 3)


RIGHT = [
    (exercises.check_true, 0.85 + 0.15 * 0.2),
    (exercises.check_f1, 0.148),
    (exercises.check_differs, by(right)),
    (exercises.check_alarms, 0.64),
]
WRONG = [
    (exercises.check_true, 0.2, "selected"),
    (exercises.check_true, 0.85, "stay too"),
    (exercises.check_true, 0.97, "order of the table"),
    (exercises.check_true, 0.12, "random ones"),
    (exercises.check_true, 0.03, "kept ones"),
    (exercises.check_true, 88, "share in"),
    (exercises.check_true, 0.5, "add what stays"),
    (exercises.check_true, "most", "One number"),
    (exercises.check_f1, 0.08, "precision"),
    (exercises.check_f1, 1, "recall alone"),
    (exercises.check_f1, 0.54, "arithmetic"),
    (exercises.check_f1, 0.92, "accuracy of calling nothing"),
    (exercises.check_f1, 0, "F1 of calling nothing"),
    (exercises.check_f1, 0.3, "twice their product"),
    (exercises.check_f1, None, "One number"),
    (exercises.check_differs, by(right, sign=float), "worse as well"),
    (exercises.check_differs, by(right, factor=1), "One standard error"),
    (
        exercises.check_differs,
        by(lambda a, b: math.hypot(stdev(a), stdev(b))),
        "divided by 3",
    ),
    (
        exercises.check_differs,
        by(lambda a, b: math.sqrt((pstdev(a) ** 2 + pstdev(b) ** 2) / 3)),
        "n − 1",
    ),
    (
        exercises.check_differs,
        by(lambda a, b: stdev(a) / math.sqrt(3)),
        "adds the two variances",
    ),
    (exercises.check_differs, lambda a, b: True, "difference of means"),
    (exercises.check_alarms, 1, "expected"),
    (exercises.check_alarms, 0.05, "one comparison"),
    (exercises.check_alarms, 0.358, "none passes"),
    (exercises.check_alarms, 0.377, "exactly"),
    (exercises.check_alarms, 0, "all twenty"),
    (exercises.check_alarms, 0.8, "First the chance"),
    (exercises.check_alarms, "likely", "One number"),
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


def test_a_function_that_still_returns_dots_is_open():
    assert "Open" in repr(exercises.check_differs(lambda a, b: ...))


def test_every_mistake_about_the_rule_decides_some_sample_otherwise():
    found = [
        tuple(function(a, b) for a, b in exercises.SAMPLES)
        for check, function, _ in WRONG
        if check is exercises.check_differs
    ]
    assert len(set(found)) == len(found)
