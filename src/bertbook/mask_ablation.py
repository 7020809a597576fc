"""Table 8 in miniature: the paper's numbers, what is measured, and what counts as a difference.

`experiments/mask_ablation.py` pre-trains small BERTs that differ in what stands at the selected
places. The rule by which they are compared was written down before the first result was seen:

1. A mix *differs* from 80/10/10 if the means over the seeds differ by more than t standard errors
   of the difference (`bertbook.ablation.change`: the 5 % point of Student's distribution, 2.78 for
   three seeds each). Else the difference is *within noise*. Of twenty comparisons without any true
   difference about one passes.
2. The paper has one run a row. It differs if the row is 0.3 points or more from its 80/10/10.
3. The miniature *agrees* if both differ in the same direction or neither does. It *disagrees* if
   they differ in opposite directions, or the miniature differs where the paper does not. Where the
   paper differs and the miniature does not, the answer is *within noise*.

And three sentences that are commonly drawn from the table are asked of the miniature, each by the
same rule: fine-tuning hardly cares about the mix (fewer mixes differ when fine-tuned than with
frozen features); with frozen features [MASK] alone is worse than 80/10/10; and so is no [MASK].

B batch   S length   D model width   L layers   V vocabulary
"""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.ablation import change, direction
from bertbook.bert import BertModel
from bertbook.fine_tuning import layer_features
from bertbook.masking import IGNORED, PieceTable
from bertbook.pretraining import BertForPreTraining

__all__ = [
    "BASE",
    "MIXES",
    "PAPER",
    "PAPER_TOLERANCE",
    "Judgement",
    "attention_from",
    "f1",
    "frozen_scores",
    "judge",
    "masked_scores",
    "values_of",
]

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


# Shares of [MASK], same and random: Devlin et al. 2019, appendix C.2, Table 8.
PAPER: Mapping[str, PaperRow] = {
    "80/10/10": PaperRow(84.2, 95.4, 94.9),
    "100/0/0": PaperRow(84.3, 94.9, 94.0),
    "80/0/20": PaperRow(84.1, 95.2, 94.6),
    "80/20/0": PaperRow(84.4, 95.2, 94.7),
    "0/20/80": PaperRow(83.7, 94.8, 94.6),
    "0/0/100": PaperRow(83.6, 94.9, 94.6),
}
MIXES = tuple(PAPER)
# What the miniature measures (how, on which task): the paper's column beside it. Sentences are set
# beside its only task on sentences; frozen sentences the paper did not measure.
COLUMNS: Mapping[tuple[str, str], str | None] = {
    ("tuned", "names"): "ner_tuned",
    ("frozen", "names"): "ner_frozen",
    ("tuned", "reviews"): "mnli_tuned",
    ("frozen", "reviews"): None,
    ("tuned", "pairs"): "mnli_tuned",
    ("frozen", "pairs"): None,
}


class Judgement(NamedTuple):
    """What one mix did to one measure, here and in the paper.

    Attributes:
        mean: over the seeds, in 0..1.
        sd: standard deviation over the seeds.
        difference: of the mean from that of 80/10/10.
        threshold: what the difference must pass to count.
        here: ``better``, ``worse`` or ``none`` (within noise).
        paper: ``better``, ``worse``, ``none``, or ``None`` where the paper has no number.
        verdict: ``agrees``, ``disagrees``, ``within noise`` or ``not in the paper``.
    """

    mean: float
    sd: float
    difference: float
    threshold: float
    here: str
    paper: str | None
    verdict: str


def values_of(record: Mapping[str, Any], variant: str, *keys: str) -> list[float]:
    """One metric of a variant, seed by seed.

    Args:
        record: of the experiment, as :func:`bertbook.results.read_results` reads it.
        variant: a key of ``record["config"]["variants"]``.
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


def judge(
    record: Mapping[str, Any], variant: str, how: str, task: str, against: str = BASE
) -> Judgement:
    """Compare a variant with another one, and the change with the paper's, by the rule above.

    Args:
        record: of the experiment.
        variant: which is judged.
        how: ``tuned`` or ``frozen``.
        task: ``names``, ``reviews`` or ``pairs``.
        against: with what it is compared; the paper is asked about mixes against 80/10/10.

    Raises:
        ValueError: if there is no such variant or measure.

    Source: the paper's numbers are those of Devlin et al. 2019, Table 8.
    """
    if (how, task) not in COLUMNS:
        raise ValueError(f"expected one of {list(COLUMNS)}, got {(how, task)}")
    values = values_of(record, variant, how, task)
    base = values_of(record, against, how, task)
    difference, threshold, differs = change(values, base)
    here = direction(difference, True) if differs else "none"
    column, paper = COLUMNS[how, task], None
    if column and against == BASE and variant in PAPER:
        points = getattr(PAPER[variant], column) - getattr(PAPER[BASE], column)
        small = abs(points) < PAPER_TOLERANCE - 1e-9
        paper = "none" if small else direction(points, True)
    if paper is None:
        verdict = "not in the paper"
    elif here == paper:
        verdict = "agrees"
    else:
        verdict = "within noise" if here == "none" else "disagrees"
    return Judgement(
        mean(values), stdev(values), difference, threshold, here, paper, verdict
    )


def f1(said: Tensor, truth: Tensor) -> float:
    """F1 of class 1: the harmonic mean of precision and recall, in 0..1.

    Args:
        said: ``[N]``, predicted classes.
        truth: ``[N]``, true ones.

    Raises:
        ValueError: if the shapes differ.
    """
    if said.shape != truth.shape:
        raise ValueError(f"{list(said.shape)} predictions, {list(truth.shape)} labels")
    hits = ((said == 1) & (truth == 1)).sum().item()
    total = (said == 1).sum().item() + (truth == 1).sum().item()
    return 2 * hits / total if total else 0.0


@torch.no_grad()
def masked_scores(
    model: BertForPreTraining, batches: Sequence[Mapping[str, Tensor]]
) -> dict[str, float]:
    """How well the original is found at the selected places.

    Args:
        model: in evaluation mode.
        batches: with ``labels``, as :func:`bertbook.sentence_pairs.collate` makes them.

    Returns:
        ``cross_entropy`` in nats, and ``top_1``, the share of right guesses.
    """
    scores = torch.cat([model(**batch).prediction_logits for batch in batches])
    wanted = torch.cat([b["labels"][b["labels"] != IGNORED] for b in batches])
    return {
        "cross_entropy": round(F.cross_entropy(scores, wanted).item(), 4),
        "top_1": round((scores.argmax(-1) == wanted).double().mean().item(), 4),
    }


@torch.no_grad()
def attention_from(
    model: BertForPreTraining,
    batches: Sequence[Mapping[str, Tensor]],
    table: PieceTable,
) -> list[dict[str, float]]:
    """Where [MASK] looks: shares of its attention, means over places and heads.

    Args:
        model: in evaluation mode.
        batches: with [MASK] at some places.
        table: of the vocabulary.

    Returns:
        For each layer: ``itself``; ``other masks``; ``special``, [CLS] and [SEP]; ``near``, pieces
        at most two places away; ``far``, the rest. They sum to one.
    """
    sums, count = None, 0
    for batch in batches:
        ids = batch["input_ids"]
        inputs = {name: b for name, b in batch.items() if name != "labels"}
        weights = model(**inputs, output_attentions=True).attentions
        weights = torch.stack([layer.mean(1) for layer in weights])  # [L, B, S, S]
        rows = ids == table.mask_id  # [B, S]
        places = torch.arange(ids.shape[1])
        near = ((places[:, None] - places).abs() <= 2).expand(*ids.shape, -1)
        masks = rows[:, None].expand_as(near)
        special = ((ids == table.cls_id) | (ids == table.sep_id))[:, None].expand_as(
            near
        )
        own = torch.eye(ids.shape[1], dtype=torch.bool).expand_as(near)
        groups = {
            "itself": own,
            "other masks": masks & ~own,
            "special": special,
            "near": near & ~masks & ~special,
            "far": ~near & ~masks & ~special,
        }
        found = torch.stack(
            [(weights * group).sum(-1)[:, rows].sum(1) for group in groups.values()], 1
        )  # [L, groups]
        sums = found if sums is None else sums + found
        count += int(rows.sum())
    return [
        {name: round(value, 4) for name, value in zip(groups, row, strict=True)}
        for row in (sums / count).tolist()
    ]


def frozen_scores(
    encoder: BertModel,
    train: Sequence[Mapping[str, Tensor]],
    test: Sequence[Mapping[str, Tensor]],
) -> float:
    """A logistic regression on what the layers say, the encoder untouched.

    The features are the outputs of all layers, side by side. Of a sequence with one label they are
    averaged over its pieces, special tokens included, each segment for itself; two segments are
    given as the size of their difference and as their product, number by number.

    Args:
        encoder: in evaluation mode.
        train: batches with ``labels`` ``[B]`` or ``[B, S]``.
        test: likewise.

    Returns:
        Accuracy of labels ``[B]``, F1 of labels ``[B, S]``, in 0..1.

    Source: Devlin et al. 2019, section 5.3, for pieces.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (given, labels), (asked, truth) = (_features(encoder, x) for x in (train, test))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    classifier.fit(given.numpy(), labels.numpy())
    said = torch.from_numpy(classifier.predict(asked.numpy()))
    words = train[0]["labels"].dim() == 2
    score = f1(said, truth) if words else (said == truth).double().mean().item()
    return round(score, 4)


def _features(
    encoder: BertModel, batches: Sequence[Mapping[str, Tensor]]
) -> tuple[Tensor, Tensor]:
    """What layers say of every labelled piece or sequence, and its label."""
    features, labels = [], []
    for batch in batches:
        inputs = {name: b for name, b in batch.items() if name != "labels"}
        states = layer_features(encoder, **inputs)[1:]  # [L, B, S, D]
        states = torch.cat([*states], -1)  # [B, S, L·D]
        wanted = batch["labels"]
        if wanted.dim() == 2:
            states, wanted = states[wanted != IGNORED], wanted[wanted != IGNORED]
        else:
            kinds, real = inputs["token_type_ids"], inputs["attention_mask"].bool()
            first, second = (_mean(states, real & (kinds == k)) for k in (0, 1))
            states = first  # [B, L·D]
            if kinds.any():
                states = torch.cat([(first - second).abs(), first * second], -1)
        features.append(states)
        labels.append(wanted)
    return torch.cat(features), torch.cat(labels)


def _mean(states: Tensor, chosen: Tensor) -> Tensor:
    """Over chosen places, ``[B, S, D]`` and ``[B, S]`` to ``[B, D]``."""
    weights = chosen[..., None].to(states.dtype)  # [B, S, 1]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
