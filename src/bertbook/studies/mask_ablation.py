"""Table 8 in miniature: the paper's numbers, what is measured, and what counts as a difference.

``experiments/mask_ablation.py`` pre-trains small BERTs that differ in what stands at the selected
places. The rule by which they are compared was written down before the first result was seen:

1. A mix *differs* from 80/10/10 if the means over the seeds differ by more than t standard errors
   of the difference (``bertbook.studies.comparison.change``: the 5 % point of Student's
   distribution, 2.78 for three seeds each). Else the difference is *within noise*. Of twenty
   comparisons without any true difference about one passes.
2. The paper has one run a row. It differs if the row is 0.3 points or more from its 80/10/10.
3. The miniature *agrees* if both differ in the same direction or neither does. It *disagrees* if
   they differ in opposite directions, or the miniature differs where the paper does not. Where the
   paper differs and the miniature does not, the answer is *within noise*.

And three sentences that are commonly drawn from the table are asked of the miniature, each by the
same rule: fine-tuning hardly cares about the mix (fewer mixes differ when fine-tuned than with
frozen features); with frozen features [MASK] alone is worse than 80/10/10; and so is no [MASK].
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bertbook.studies.comparison import Judgement, compare, direction
from bertbook.studies.comparison import metrics_by_seed as values_of

__all__ = ["BASE", "MIXES", "PAPER", "PAPER_TOLERANCE", "judge", "values_of"]

BASE = "80/10/10"
PAPER_TOLERANCE = 0.3  # points


class PaperRow(NamedTuple):
    """One row of Table 8, in points.

    Attributes:
        mnli_tuned: accuracy on MNLI, fine-tuned.
        ner_tuned: F1 of names, fine-tuned.
        ner_frozen: F1 of names, frozen features.
    """

    mnli_tuned: float
    ner_tuned: float
    ner_frozen: float


# Shares of [MASK], random, unchanged; the paper prints unchanged before random.
# Source: Devlin et al. 2019, appendix C.2, Table 8.
PAPER: Mapping[str, PaperRow] = {
    "80/10/10": PaperRow(84.2, 95.4, 94.9),
    "100/0/0": PaperRow(84.3, 94.9, 94.0),
    "80/20/0": PaperRow(84.1, 95.2, 94.6),
    "80/0/20": PaperRow(84.4, 95.2, 94.7),
    "0/80/20": PaperRow(83.7, 94.8, 94.6),
    "0/100/0": PaperRow(83.6, 94.9, 94.6),
}
MIXES = tuple(PAPER)
# What the miniature measures (how, on which task): the paper's column beside it. Pairs of verses
# stand beside its pairs of sentences; those it did not measure with frozen features.
COLUMNS: Mapping[tuple[str, str], str | None] = {
    ("tuned", "names"): "ner_tuned",
    ("frozen", "names"): "ner_frozen",
    ("tuned", "pairs"): "mnli_tuned",
    ("frozen", "pairs"): None,
}


def judge(
    record: Mapping[str, Any], variant: str, how: str, task: str, against: str = BASE
) -> Judgement:
    """Compare a variant with another one, and the change with the paper's, by the rule above.

    Args:
        record: of the experiment.
        variant: which is judged.
        how: ``tuned`` or ``frozen``.
        task: ``names`` or ``pairs``.
        against: with what it is compared; the paper is asked about mixes against 80/10/10.

    Raises:
        ValueError: if there is no such variant or measure.

    Source: the paper's numbers are those of Devlin et al. 2019, Table 8.
    """
    if (how, task) not in COLUMNS:
        raise ValueError(f"expected one of {list(COLUMNS)}, got {(how, task)}")
    column, paper = COLUMNS[how, task], None
    if column and against == BASE and variant in PAPER:
        points = getattr(PAPER[variant], column) - getattr(PAPER[BASE], column)
        small = abs(points) < PAPER_TOLERANCE - 1e-9
        paper = "none" if small else direction(points, True)
    values, base = (values_of(record, name, how, task) for name in (variant, against))
    return compare(values, base, True, paper)
