"""Checks for the exercises of the chapter *The mix, measured*."""

import math
from collections.abc import Callable
from statistics import mean, stdev

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = ["check_alarms", "check_differs", "check_f1", "check_true"]

T = 2.776  # Student's 5 % point, two samples of three
SAMPLES = [
    ([0.70, 0.71, 0.72], [0.60, 0.61, 0.62]),
    ([0.60, 0.61, 0.62], [0.70, 0.71, 0.72]),
    ([0.70, 0.71, 0.72], [0.69, 0.70, 0.71]),
    ([0.50, 0.60, 0.70], [0.55, 0.65, 0.75]),
    # Between the threshold and what the usual mistakes make of it.
    ([0.70, 0.71, 0.72], [0.680, 0.690, 0.700]),
    ([0.70, 0.71, 0.72], [0.682, 0.692, 0.702]),
    ([0.70, 0.71, 0.72], [0.675, 0.685, 0.695]),
    ([0.70, 0.71, 0.72], [0.689, 0.690, 0.691]),
]


@takes_number
def check_true(answer: float) -> Verdict:
    """Exercise 1: with 0/20/80, the share of all tokens that the model reads as they were.

    Args:
        answer: in 0..1, to 0.001; random tokens that happen to be the true one do not count.
    """
    hints = {
        0.20: "That is the share among the *selected* tokens; the others are as they were.",
        0.85: "Those are the tokens that were not selected. Some of the selected stay too.",
        0.97: "The order of the table is [MASK], same, random: 20 % stay, 80 % are random.",
        0.12: "That is the share of the random ones.",
        0.03: "Those are the kept ones of the selected; most tokens were not selected at all.",
        88.0: "A share in 0..1 is asked for.",
    }
    if math.isclose(answer, 0.88, abs_tol=1e-3):
        return correct(
            "85 % + 20 % of 15 %. With 80/10/10 it is 86.5 %, and 12 % are visibly [MASK]: here "
            "nothing tells which 12 % are wrong."
        )
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=1e-3):
            return wrong(hint)
    return wrong("85 % are not selected; add what stays of the 15 %.")


@takes_number
def check_f1(answer: float) -> Verdict:
    """Exercise 2: F1 of calling every word a name, where 8 % of the words are names.

    Args:
        answer: in 0..1, to 0.002.
    """
    hints = {
        0.08: "That is the precision (and the accuracy). F1 is its harmonic mean with the recall.",
        1.0: "That is the recall alone.",
        0.54: "That is the arithmetic mean of precision and recall; F1 is the harmonic one.",
        0.92: "That is the accuracy of calling nothing a name; its F1 is 0.",
        0.0: "That is the F1 of calling nothing a name.",
    }
    if math.isclose(answer, 2 * 0.08 / 1.08, abs_tol=2e-3):
        return correct(
            "2 · 0.08 · 1 / 1.08: the least that a score of names is compared with."
        )
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=2e-3):
            return wrong(hint)
    return wrong("Precision 0.08, recall 1; F1 is twice their product over their sum.")


def check_differs(function: Callable[[list[float], list[float]], bool]) -> Verdict:
    """Exercise 3: the rule for *differs*.

    Args:
        function: takes two lists of three scores; says whether they differ.
    """
    if is_open(function):
        return open_answer()
    found = [function(list(a), list(b)) for a, b in SAMPLES]
    if is_open(found[0]):
        return open_answer()
    try:
        found = [bool(value) for value in found]
    except (TypeError, ValueError):
        return wrong("The function should return True or False.")

    def rule(error: Callable, sign: Callable = abs, factor: float = T) -> list[bool]:
        return [sign(mean(a) - mean(b)) > factor * error(a, b) for a, b in SAMPLES]

    def right(a: list[float], b: list[float]) -> float:
        return math.sqrt((stdev(a) ** 2 + stdev(b) ** 2) / 3)

    if found == rule(right):
        return correct("Difference of the means against t standard errors of it.")
    if found == rule(right, sign=float):
        return wrong(
            "A mix can be worse as well: the size of the difference counts, not its sign."
        )
    if found == rule(right, factor=1):
        return wrong(
            "One standard error is passed by chance far too often; t is 2.776 here."
        )
    if found == rule(lambda a, b: right(a, b) * math.sqrt(3)):
        return wrong(
            "Means of three vary less than single runs: the variances are divided by 3."
        )
    if found == rule(lambda a, b: right(a, b) * math.sqrt(2 / 3)):
        return wrong(
            "Three values: the variance is divided by n − 1, as `statistics.stdev` does."
        )
    if found == rule(lambda a, b: stdev(a) / math.sqrt(3)):
        return wrong(
            "Both means vary: the error of a difference adds the two variances."
        )
    return wrong("|difference of means| > 2.776 · sqrt((s₁² + s₂²) / 3).")


@takes_number
def check_alarms(answer: float) -> Verdict:
    """Exercise 4: the chance that at least one of 20 empty comparisons passes at 5 %.

    Args:
        answer: in 0..1, to 0.01, as if they were independent.
    """
    hints = {
        1.0: "One is what is *expected*, 20 · 0.05; it is not certain.",
        0.05: "That is the chance of one comparison.",
        0.95**20: "That is the chance that none passes.",
        0.05**20: "That is the chance that all twenty pass.",
        20 * 0.05 * 0.95**19: "That is the chance of *exactly* one.",
    }
    if math.isclose(answer, 1 - 0.95**20, abs_tol=0.01):
        return correct("1 − 0.95²⁰: a single surprise in a table proves little.")
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=0.005):
            return wrong(hint)
    return wrong("First the chance that none passes: each fails to with 0.95.")
