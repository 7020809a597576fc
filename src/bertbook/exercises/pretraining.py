"""Checks for the exercises of the chapter *Pre-training*."""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.bert.config import BertConfig
from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED
from bertbook.pretraining.optimizer import decays

__all__ = [
    "check_decayed",
    "check_first_loss",
    "check_loss",
    "check_predictions",
    "check_rate",
]


@takes_number
def check_first_loss(answer: float) -> Verdict:
    """Exercise 1: the sum of both losses before the first step, vocabulary of 8,192 pieces.

    Args:
        answer: in nats, to a tenth.
    """
    pieces, pairs = math.log(8192), math.log(2)
    hints = {
        pieces: "That is the loss of the pieces alone; the one of the pairs is added.",
        pairs: "That is the loss of the pairs alone; the one of the pieces is added.",
        (pieces + pairs) / 2: "The losses are added, not averaged.",
        math.log2(8192) + 1: "In nats, so the natural logarithm.",
        0.15 * pieces
        + pairs: "The mean is over the selected positions, not over all of them.",
    }
    for number, hint in hints.items():
        if abs(answer - number) < 0.06:
            return wrong(hint)
    if abs(answer - pieces - pairs) < 0.06:
        return correct(
            "ln 8192 + ln 2: all pieces and both verdicts are equally likely. A first loss far "
            "from it is a bug."
        )
    return wrong("A model that knows nothing gives every piece the same probability.")


def check_decayed(answer: object) -> Verdict:
    """Exercise 2: which parameters of one layer are pulled towards zero.

    Args:
        answer: their names, a set or a list.
    """
    if is_open(answer):
        return open_answer()
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        return wrong(f"A set of names is asked for; this is {answer!r}.")
    names = {str(name) for name in answer}
    layer = BertForPreTraining(BertConfig.tiny()).bert.encoder.layer[0]
    known = dict(layer.named_parameters())
    expected = {name for name, p in known.items() if decays(name, p)}
    if names - set(known):
        return wrong(f"No parameter of a layer is called {sorted(names - set(known))}.")
    extra, missing = names - expected, expected - names
    if any("LayerNorm" in name for name in extra):
        return wrong(
            "A LayerNorm's gain starts at one; towards zero is no place for it."
        )
    if any(name.endswith("bias") for name in extra):
        return wrong("Biases are left out: they are few, and they do not overfit.")
    if missing:
        return wrong(f"{len(missing)} matrices are missing, one is {min(missing)}.")
    return correct("Six matrices: query, key, value, output, and the two of the FFN.")


@takes_number
def check_rate(answer: float) -> Verdict:
    """Exercise 3: BERT's learning rate halfway down its line, in step 505,000 of a million.

    Args:
        answer: peak 1e-4, 10,000 steps of warm-up.
    """
    if math.isclose(answer, 1e-4 * math.sqrt(10_000 / 505_000), rel_tol=0.01):
        return wrong("That is the Transformer's inverse square root; BERT's is a line.")
    if math.isclose(answer, 1e-4 * 495_000 / 1e6, rel_tol=2e-3):
        return wrong("The line begins at the end of the warm-up, not at step 0.")
    if math.isclose(answer, 1e-4 * 505_000 / 1e6, rel_tol=2e-3):
        return wrong("That is what has gone by; what is left counts.")
    if math.isclose(answer, 0.5, rel_tol=1e-3):
        return wrong("That is the factor; times the peak.")
    if math.isclose(answer, 5e-5, rel_tol=1e-3):
        return correct("495,000 of the 990,000 steps after the warm-up are left.")
    return wrong("From the peak at step 10,000 in a line to zero at step 1,000,000.")


@takes_number
def check_predictions(answer: float) -> Verdict:
    """Exercise 4: how many positions of one of BERT's batches of 256 × 512 have a loss.

    Args:
        answer: to a hundred; special tokens need not be subtracted.
    """
    tokens = 256 * 512
    hints = {
        0.12
        * tokens: "Those are the ones under a [MASK]; random and kept ones count too.",
        tokens: "Only selected positions have a loss.",
        0.8 * tokens: "80 % is the share of the selected ones that become [MASK].",
        0.015 * tokens: "Those are the ones replaced by a random piece.",
        0.15 * 512: "That is one sequence; there are 256.",
    }
    for number, hint in hints.items():
        if math.isclose(answer, number, rel_tol=0.01):
            return wrong(hint)
    if math.isclose(answer, 0.15 * tokens, rel_tol=0.01):
        return correct("15 % of 131,072: the head is spared 85 % of its work.")
    return wrong("The loss is on all selected positions, 15 % of the tokens.")


def check_loss(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 5: the loss of masked language modelling.

    Args:
        function: takes logits ``[B, S, V]`` and labels ``[B, S]``, −100 where nothing is to be
            predicted; returns a scalar.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    labels = torch.randint(7, (3, 5), generator=generator)
    few = labels.clone()
    few[:, [0, 2, 4]] = IGNORED
    few[1, 1] = IGNORED
    answer = function(logits.clone(), few.clone())
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.dim() != 0:
        return wrong(f"A scalar tensor is asked for; this is {answer!r:.60}.")
    each = F.cross_entropy(
        logits.flatten(0, 1), few.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(3, 5)
    selected = few != IGNORED
    right = each[selected].mean()
    rows = (each * selected).sum(1) / selected.sum(1)
    hints = (
        (
            each.mean(),
            "The mean is over all positions; those without a label count as 0.",
        ),
        (
            each.sum(),
            "That is the sum; the mean over the selected positions is asked for.",
        ),
        (
            rows.mean(),
            "A mean of rows: a row with one label weighs as much as one with two.",
        ),
    )
    for number, hint in hints:
        if torch.isclose(answer, number, atol=1e-5):
            return wrong(hint)
    if torch.isclose(answer, right, atol=1e-5):
        return correct("A mean over the selected positions of the whole batch.")
    return wrong(
        "Cross-entropy at the positions whose label is not −100, then their mean."
    )
