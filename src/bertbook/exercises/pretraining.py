"""The exercises of the chapter *Pre-training*."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.exercises.checker import Code, Number, Several
from bertbook.pretraining.masking import IGNORED

__all__ = [
    "check_decayed",
    "check_first_loss",
    "check_loss",
    "check_predictions",
    "check_rate",
]

check_first_loss = Number(
    "Exercise 1: the sum of both losses before the first step, vocabulary of 8,192 pieces, in "
    "nats, to a tenth.",
    right=math.log(8192) + math.log(2),
    tolerance=0.06,
    praise=(
        "ln 8192 + ln 2: all pieces and both verdicts are equally likely. A first loss far "
        "from it is a bug."
    ),
    hints={
        "That is the loss of the pieces alone; the one of the pairs is added.": 9.011,
        "That is the loss of the pairs alone; the one of the pieces is added.": 0.693,
        "The losses are added, not averaged.": 4.852,
        "In nats, so the natural logarithm.": 14,
        "The mean is over the selected positions, not over all of them.": 2.045,
    },
    otherwise="A model that knows nothing gives every piece the same probability.",
)

_MATRICES = {
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
}
_MODULES = {*_MATRICES, "attention.output.LayerNorm", "output.LayerNorm"}
_DECAYED = frozenset(f"{name}.weight" for name in _MATRICES)
KNOWN = {f"{name}.{kind}" for name in _MODULES for kind in ("weight", "bias")}


def _names(answer: object) -> frozenset[str] | None:
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        return None
    try:
        return frozenset(map(str, answer))
    except Exception:  # as a tensor without dimensions does
        return None


def _names_hint(names: frozenset[str]) -> str:
    if unknown := names - KNOWN:
        return f"No parameter of a layer is called {sorted(unknown)}."
    missing = _DECAYED - names
    return f"{len(missing)} matrices are missing, one is {min(missing)}."


check_decayed = Several(
    "Exercise 2: which parameters of one layer are pulled towards zero: their names, a set or a "
    "list.",
    right=_DECAYED,
    praise="Six matrices: query, key, value, output, and the two of the FFN.",
    read=_names,
    form="A set of names is asked for; this is {found}.",
    hints={
        "A LayerNorm's gain starts at one; towards zero is not where it belongs.": (
            lambda names: any("LayerNorm" in name for name in names)
        ),
        "Biases are left out: they are few, and they do not overfit.": (
            lambda names: any(name.endswith("bias") for name in names)
        ),
    },
    otherwise=_names_hint,
)

check_rate = Number(
    "Exercise 3: BERT's learning rate halfway down its line, in step 505,000 of a million; peak "
    "1e-4, 10,000 steps of warm-up.",
    right=5e-5,
    tolerance=5e-8,
    praise="495,000 of the 990,000 steps after the warm-up are left.",
    hints={
        "That is the Transformer's inverse square root; BERT's is a line.": (
            1.39e-5,
            1.42e-5,
        ),
        "The line begins at the end of the warm-up, not at step 0.": 4.95e-5,
        "That is what has gone by; what is left counts.": 5.05e-5,
        "That is the factor; times the peak.": (0.4995, 0.5005),
    },
    otherwise="From the peak at step 10,000 in a line to zero at step 1,000,000.",
)

check_predictions = Number(
    "Exercise 4: how many positions of one of BERT's batches of 256 × 512 have a loss, to a "
    "hundred; special tokens need not be subtracted.",
    right=19_660.8,
    tolerance=196,
    praise="15 % of 131,072: the head is spared 85 % of its work.",
    hints={
        "Those are the ones under a [MASK]; random and kept ones count too.": 15_728.64,
        "Only selected positions have a loss.": 131_072,
        "80 % is the share of the selected ones that become [MASK].": (
            103_800,
            106_000,
        ),
        "Those are the ones replaced by a random piece.": 1_966.08,
        "That is one sequence; there are 256.": (76, 77.6),
    },
    otherwise="The loss is on all selected positions, 15 % of the tokens.",
)


def _logits_and_labels() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    labels = torch.randint(7, (3, 5), generator=generator)
    labels[:, [0, 2, 4]] = IGNORED
    labels[1, 1] = IGNORED
    return [(logits, labels)]


def _loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
    )


check_loss = Code(
    "Exercise 5: the loss of masked language modelling: takes logits [B, S, V] and labels [B, S], "
    "−100 where nothing is to be predicted; returns a scalar.",
    inputs=_logits_and_labels,
    right=_loss,
    tolerance=1e-5,
    praise="A mean over the selected positions of the whole batch.",
    form="A scalar tensor is asked for; this is {found}.",
    hints={
        "The mean is over all positions; those without a label count as 0.": (
            lambda logits, labels: _loss(logits, labels, "none").mean()
        ),
        "That is the sum; the mean over the selected positions is asked for.": (
            lambda logits, labels: _loss(logits, labels, "sum")
        ),
        "A mean of rows: a row with one label weighs as much as one with two.": (
            lambda logits, labels: sum(map(_loss, logits[:, None], labels[:, None])) / 3
        ),
    },
    otherwise="Cross-entropy at the positions whose label is not −100, then their mean.",
)
