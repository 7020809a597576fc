"""The exercises of the chapter *The mix, measured*."""

import math
from collections.abc import Callable
from statistics import mean, pstdev, stdev

from bertbook.exercises.checker import Code, Number

__all__ = ["check_alarms", "check_differs", "check_f1", "check_true"]

check_true = Number(
    "Exercise 1: with 0/80/20, the share of all tokens that the model reads as they were, in "
    "0..1, to 0.001; random tokens that happen to be the true one do not count.",
    right=0.88,
    tolerance=1e-3,
    praise=(
        "85 % + 20 % of 15 %. With 80/10/10 it is 86.5 %, and 12 % are visibly [MASK]: here "
        "nothing tells which 12 % are wrong."
    ),
    hints={
        "That is the share among the *selected* tokens; the others are as they were.": 0.20,
        "Those are the tokens that were not selected. Some of the selected stay too.": 0.85,
        "The order of the table is [MASK], same, random: 20 % stay, 80 % are random.": 0.97,
        "That is the share of the random ones.": 0.12,
        "Those are the kept ones of the selected; most tokens were not selected at all.": 0.03,
        "A share in 0..1 is asked for.": (1.001, 100),
    },
    otherwise="85 % are not selected; add what stays of the 15 %.",
)

check_f1 = Number(
    "Exercise 2: F1 of calling every word a name, where 8 % of the words are names, in 0..1, to "
    "0.002.",
    right=2 * 0.08 / 1.08,
    tolerance=2e-3,
    praise="2 · 0.08 · 1 / 1.08: the least that a score of names is compared with.",
    hints={
        "That is the precision (and the accuracy); F1 is its harmonic mean with the recall.": 0.08,
        "That is the recall alone.": 1.0,
        "That is the arithmetic mean of precision and recall; F1 is the harmonic one.": 0.54,
        "That is the accuracy of calling nothing a name; its F1 is 0.": 0.92,
        "That is the F1 of calling nothing a name.": 0.0,
    },
    otherwise="Precision 0.08, recall 1; F1 is twice their product over their sum.",
)


def _error(a: list[float], b: list[float], deviation: Callable = stdev) -> float:
    return math.sqrt((deviation(a) ** 2 + deviation(b) ** 2) / 3)


def _rule(error: Callable, sign: Callable = abs, factor: float = 2.776) -> Callable:
    """A rule for *differs*; 2.776 is Student's 5 % point for two samples of three."""
    return lambda a, b: sign(mean(a) - mean(b)) > factor * error(a, b)


def _truth(result: object) -> bool | None:
    try:
        return bool(result) if result == 0 or result == 1 else None
    except Exception:  # as a tensor of several numbers does
        return None


def _samples() -> list[tuple[list[float], list[float]]]:
    best = [0.70, 0.71, 0.72]
    return [
        (best, [0.60, 0.61, 0.62]),
        ([0.60, 0.61, 0.62], best),
        (best, [0.69, 0.70, 0.71]),
        ([0.50, 0.60, 0.70], [0.55, 0.65, 0.75]),
        # Between the threshold and what the usual mistakes make of it.
        (best, [0.680, 0.690, 0.700]),
        (best, [0.682, 0.692, 0.702]),
        (best, [0.675, 0.685, 0.695]),
        (best, [0.689, 0.690, 0.691]),
    ]


check_differs = Code(
    "Exercise 3: the rule for *differs*: takes two lists of three scores; says whether they "
    "differ.",
    inputs=_samples,
    right=_rule(_error),
    praise="Difference of the means against t standard errors of it.",
    read=_truth,
    form="The function should return True or False, not {found}.",
    hints={
        "A mix can be worse as well: the size of the difference counts, not its sign.": (
            _rule(_error, sign=float)
        ),
        "One standard error is passed by chance far too often; t is 2.776 here.": (
            _rule(_error, factor=1)
        ),
        "Means of three vary less than single runs: the variances are divided by 3.": (
            _rule(lambda a, b: math.hypot(stdev(a), stdev(b)))
        ),
        "Three values: the variance is divided by n − 1, as `statistics.stdev` does.": (
            _rule(lambda a, b: _error(a, b, pstdev))
        ),
        "Both means vary: the error of a difference adds the two variances.": (
            _rule(lambda a, b: stdev(a) / math.sqrt(3))
        ),
    },
    otherwise="|difference of means| > 2.776 · sqrt((s₁² + s₂²) / 3).",
)

check_alarms = Number(
    "Exercise 4: the chance that at least one of 20 empty comparisons passes at 5 %, in 0..1, to "
    "0.01, as if they were independent.",
    right=1 - 0.95**20,
    tolerance=0.01,
    praise="1 − 0.95²⁰: a single surprise in a table proves little.",
    hints={
        "One is what is *expected*, 20 · 0.05; it is not certain.": 1.0,
        "That is the chance of one comparison.": 0.05,
        "That is the chance that none passes.": 0.3585,
        "That is the chance that all twenty pass.": 0.0,
        "That is the chance of *exactly* one.": 0.3774,
    },
    otherwise="First the chance that none passes: each fails to with 0.95.",
)
