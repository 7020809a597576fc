"""The ablations in miniature beside those of the paper: which agree, by a rule fixed beforehand.

``experiments/transformer_ablation.py`` trains a small Transformer on dates and changes one thing at
a time, as Table 3 of Vaswani et al. 2017 does. The rule that compares the two was written down
before the first result was seen:

1. The miniature *changes* if the means of a variant and of the base, over the seeds, differ by more
   than t standard errors of the difference, t being the 5 % point of Student's distribution for the
   seeds at hand (2.78 for three each). Else the difference is *within noise*. Of twenty
   comparisons without any true difference about one passes.
2. The paper has one run a row. It *changes* if the row differs from its base by more than 1 % (0.05
   in perplexity, 0.26 in BLEU).
3. The miniature *agrees* if both change in the same direction or neither changes, and *disagrees*
   if they change in opposite directions or the miniature changes where the paper does not. Where
   the paper changes and the miniature does not, the answer is *within noise*.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bertbook.studies.comparison import Judgement, compare, direction, metrics_by_seed

__all__ = ["METRICS", "PAPER", "PaperRow", "judge", "values_of"]


class PaperRow(NamedTuple):
    """One row of Table 3 (newstest2013, English to German).

    Attributes:
        setting: what the row sets; the base has 6 layers, D = 512, F = 2048, 8 heads, d_k = 64,
            sinusoids, dropout 0.1 and label smoothing 0.1.
        perplexity: per word piece.
        bleu: 0..100.
    """

    setting: str
    perplexity: float
    bleu: float


# Variant of the miniature: the paper's row. Sizes correspond by their ratio to the base's.
PAPER: Mapping[str, PaperRow] = {
    "base": PaperRow("base", 4.92, 25.8),
    "heads 1": PaperRow("1 head", 5.29, 24.9),
    "heads 2": PaperRow("4 heads", 5.00, 25.5),
    "heads 8": PaperRow("16 heads", 4.91, 25.8),
    "d_k 4": PaperRow("d_k 16", 5.16, 25.1),
    "d_k 8": PaperRow("d_k 32", 5.01, 25.4),
    "layers 1": PaperRow("2 layers", 6.11, 23.7),
    "layers 3": PaperRow("8 layers", 4.88, 25.5),
    "d_model 32": PaperRow("d_model 256", 5.75, 24.5),
    "d_model 128": PaperRow("d_model 1024", 4.66, 26.0),
    "d_ff 128": PaperRow("d_ff 1024", 5.12, 25.4),
    "d_ff 512": PaperRow("d_ff 4096", 4.75, 26.2),
    "dropout 0": PaperRow("dropout 0", 5.77, 24.6),
    "dropout 0.2": PaperRow("dropout 0.2", 4.95, 25.5),
    "smoothing 0": PaperRow("smoothing 0", 4.67, 25.3),
    "smoothing 0.2": PaperRow("smoothing 0.2", 5.47, 25.7),
    "positions learned": PaperRow("learned positions", 4.92, 25.7),
}

# Metric of the miniature: the paper's, and whether more is better.
METRICS: Mapping[str, tuple[str, bool]] = {
    "cross_entropy": ("perplexity", False),
    "exact_match": ("bleu", True),
}
PAPER_TOLERANCE = 0.01


def values_of(
    record: Mapping[str, Any], variant: str, metric: str, lists: str = "test"
) -> list[float]:
    """One metric of a variant, seed by seed.

    Args:
        record: of the experiment, as :func:`bertbook.shared.results.read_results` reads it.
        variant: a key of ``record["config"]["variants"]``.
        metric: ``cross_entropy``, ``exact_match`` or ``character_accuracy``.
        lists: on which lists it was measured: ``test``, ``longer``, ``formats`` or ``train``.

    Raises:
        ValueError: if there is no such variant.
    """
    return metrics_by_seed(record, variant, lists, metric)


def judge(
    record: Mapping[str, Any], variant: str, metric: str, against: str = "base"
) -> Judgement:
    """Compare a variant with the base, and the change with the paper's, by the rule above.

    Args:
        record: of the experiment.
        variant: which is judged.
        metric: ``cross_entropy``, beside the paper's perplexity, or ``exact_match``, beside BLEU.
        against: what it is compared with; the paper is asked only about ``base``.

    Raises:
        ValueError: if there is no such variant or metric.

    Source: the paper's numbers are those of Vaswani et al. 2017, Table 3.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {list(METRICS)}, got {metric!r}")
    name, more_is_better = METRICS[metric]
    paper = None
    if against == "base" and variant in PAPER:
        row, base = getattr(PAPER[variant], name), getattr(PAPER["base"], name)
        small = abs(row - base) <= PAPER_TOLERANCE * base
        paper = "none" if small else direction(row - base, name == "bleu")
    values, base = (values_of(record, name, metric) for name in (variant, against))
    return compare(values, base, more_is_better, paper)
