"""Whether a variant differs from its base, and whether the paper says so too."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from scipy import stats

__all__ = ["Judgement", "change", "compare", "direction", "metrics_by_seed"]


class Judgement(NamedTuple):
    """What one variant did to one metric, here and in the paper.

    Attributes:
        mean: over the seeds.
        sd: standard deviation over the seeds.
        difference: of the mean from the base's.
        threshold: what the difference must pass to count.
        here: ``better``, ``worse`` or ``none`` (within noise).
        paper: ``better``, ``worse``, ``none``, or ``None`` where the paper has no number.
        verdict: ``agrees``, ``disagrees``, ``within noise``, or ``not in the paper``.
    """

    mean: float
    sd: float
    difference: float
    threshold: float
    here: str
    paper: str | None
    verdict: str


def metrics_by_seed(record: Mapping[str, Any], variant: str, *keys: str) -> list[Any]:
    """One metric of a variant, seed by seed.

    Args:
        record: of the experiment, as :func:`bertbook.shared.results.read_results` reads it.
        variant: whose runs.
        keys: the way to the metric, such as ``"frozen", "names"``.

    Raises:
        ValueError: if there is no such variant.
    """
    runs = sorted(record["runs"], key=lambda run: run["seed"])
    found = [run["metrics"] for run in runs if run["variant"] == variant]
    if not found:
        names = sorted({run["variant"] for run in runs})
        raise ValueError(f"no variant {variant!r}; there are {names}")
    for key in keys:
        found = [metrics[key] for metrics in found]
    return found


def change(values: Sequence[float], base: Sequence[float]) -> tuple[float, float, bool]:
    """Whether two samples differ by more than their spread explains.

    Args:
        values: of the variant, one a seed.
        base: of what it is compared with, as many.

    Returns:
        The difference of the means, the threshold (t standard errors of the difference, t being
        the 5 % point of Student's distribution), and whether the difference passes it.

    Raises:
        ValueError: if the samples have different sizes, or fewer than two values.
    """
    count = len(values)
    if count != len(base) or count < 2:
        raise ValueError(
            "expected two samples of the same size, at least 2, "
            f"got {count} and {len(base)} values"
        )
    error = math.sqrt((stdev(values) ** 2 + stdev(base) ** 2) / count)
    threshold = float(stats.t.ppf(0.975, df=2 * (count - 1))) * error
    difference = mean(values) - mean(base)
    return difference, threshold, abs(difference) > threshold


def compare(
    values: Sequence[float],
    base: Sequence[float],
    more_is_better: bool,
    paper: str | None,
) -> Judgement:
    """Compare a variant with its base, and the change with the paper's.

    Args:
        values: of the variant, one a seed.
        base: of what it is compared with, as many.
        more_is_better: of the metric.
        paper: what the paper says of the variant: ``better``, ``worse``, ``none`` or ``None``.
    """
    difference, threshold, changed = change(values, base)
    here = direction(difference, more_is_better) if changed else "none"
    if paper is None:
        verdict = "not in the paper"
    elif here == paper:
        verdict = "agrees"
    else:
        verdict = "within noise" if here == "none" else "disagrees"
    spread = stdev(values)
    return Judgement(mean(values), spread, difference, threshold, here, paper, verdict)


def direction(difference: float, more_is_better: bool) -> str:
    """``better`` or ``worse``."""
    return "better" if (difference > 0) == more_is_better else "worse"
