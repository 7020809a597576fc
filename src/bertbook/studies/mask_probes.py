"""What a small BERT is asked after pre-training with a mix, and how it begins.

B batch   S length   D model width   L layers   P positions   V vocabulary
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bertbook.bert.model import BertModel
from bertbook.fine_tuning.heads import layer_features
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, PieceTable
from bertbook.studies.metrics import guess_scores

__all__ = ["attention_from", "frozen_scores", "masked_scores"]


@torch.no_grad()
def masked_scores(
    model: BertForPreTraining, batches: Sequence[Mapping[str, Tensor]]
) -> dict[str, float]:
    """How well the original is found at the selected places.

    Args:
        model: in evaluation mode.
        batches: with ``labels``, as :func:`bertbook.pretraining.sentence_pairs.collate` makes them.

    Returns:
        ``cross_entropy`` in nats, and ``top_1``, the share of right guesses.
    """
    scores = torch.cat([model(**batch).prediction_logits for batch in batches])
    wanted = torch.cat([b["labels"][b["labels"] != IGNORED] for b in batches])
    found = guess_scores(scores, wanted)
    return {name: found[name] for name in ("cross_entropy", "top_1")}


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
    (given, labels), (asked, truth) = (_features(encoder, x) for x in (train, test))
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=300)
    )
    classifier.fit(given.numpy(), labels.numpy())
    words = train[0]["labels"].dim() == 2
    score = partial(f1_score, zero_division=0.0) if words else accuracy_score
    return round(float(score(truth.numpy(), classifier.predict(asked.numpy()))), 4)


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
