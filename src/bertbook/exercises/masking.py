"""Checks for the exercises on BERT's masking strategy."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises import (
    Verdict,
    as_number,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)
from bertbook.pretraining.masking import IGNORED

__all__ = [
    "check_counts",
    "check_epochs",
    "check_layers_until_leak",
    "check_mask_function",
    "check_posterior",
]


@takes_number
def _check_number(
    answer: float,
    right: float,
    hints: dict[float, str],
    said: str,
    else_: str,
    tolerance: float,
) -> Verdict:
    if math.isclose(answer, right, rel_tol=tolerance):
        return correct(said)
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, rel_tol=tolerance):
            return wrong(hint)
    return wrong(else_)


def check_counts(answer: object) -> Verdict:
    """Exercise 1: how many [MASK] are expected in a pair of segments of 512 tokens, unpadded?

    Args:
        answer: the expected number.
    """
    hints = {
        0.15 * 0.8 * 512: "[CLS] and the two [SEP] are never selected.",
        76: "That many are selected; not all of them become [MASK].",
        0.15 * 509: "That many are selected; not all of them become [MASK].",
        0.8 * 509: "80 % of the selected, not of all.",
        7.6: "That many become random, and as many stay.",
    }
    return _check_number(
        answer,
        60.8,
        hints,
        "509 may be selected, 76 are, 80 % of them become [MASK].",
        "Count the tokens that may be selected, take 15 %, then 80 % of those.",
        5.5e-3,  # 61.08, without rounding the 76, is right as well
    )


def check_posterior(answer: object) -> Verdict:
    """Exercise 3: is the selected visible token the true one, the context read?

    Args:
        answer: the probability, if the context gives the token 0.001 and 30,000 pieces are drawn
            from.
    """
    chance, drawn = 1e-3, 1 / 30_000
    hints = {
        0.5: "That is before the context is read. A random piece fits the context rarely.",
        86.5 / 88: "That is the share among all visible tokens; this one is selected.",
        chance: "The context alone says so. That the token stands there is evidence too.",
        drawn
        / (chance + drawn): "That is the probability that a random one stands there.",
    }
    return _check_number(
        answer,
        chance * (1 + drawn) / (chance + drawn),
        hints,
        "p/(p + 1/V): a token that its context gives more than 1/V is rather believed.",
        "Weigh 'kept', 0.1 · p, against 'drawn', 0.1 / V.",
        2e-3,
    )


def check_epochs(answer: object) -> Verdict:
    """Exercise 5: the share of tokens never asked for in 40 readings with dynamic masks.

    Args:
        answer: the expected share.
    """
    hints = {
        0.85: "That is one fixed (static) mask, or one reading.",
        1 - 0.85**40: "That is the share asked for at least once.",
        0.15**40: "That is the share asked for each time.",
        0.88**40: "Asked for are all selected, not only those behind [MASK].",
    }
    return _check_number(
        answer,
        0.85**40,
        hints,
        "0.85 to the power of 40: almost every token is asked for; with one fixed mask 85 % never.",
        "Each reading leaves a token out with probability 0.85, independently of the others.",
        2e-2,
    )


def check_layers_until_leak(function: Callable[[Tensor], int | None]) -> Verdict:
    """Exercise 4: after how many layers can a token see itself?

    Args:
        function: takes who may look at whom in every layer, boolean ``[S, S]``, without residual
            connections; returns the smallest number of layers after which some token can see
            itself, or ``None`` if that never happens.
    """
    if is_open(function):
        return open_answer()
    n = 5
    identity = torch.eye(n, dtype=torch.bool)
    everything = torch.ones(n, n, dtype=torch.bool)
    ring = identity.roll(1, 0)
    cases = [
        (everything, 1, "With every look allowed, one layer is enough."),
        (
            ~identity,
            2,
            "Where only the look at itself is forbidden, two layers are enough: there and back.",
        ),
        (
            everything.tril(-1),
            None,
            "Where all look only back, no number of layers leads a token to itself.",
        ),
        (
            ring,
            n,
            "Where each looks at its neighbour in a ring, it takes as many layers as tokens.",
        ),
        (
            ring & (torch.arange(n) != 2)[:, None],
            None,
            "A ring with one link missing never closes.",
        ),
    ]
    for mask, right, hint in cases:
        answer = function(mask.clone())
        if answer is ...:
            return open_answer()
        if answer is not None and (
            isinstance(answer, bool) or as_number(answer) is None
        ):
            return wrong(
                f"A number of layers or None is asked for; this is {answer!r}."
            )
        if answer != right:
            return wrong(hint)
    return correct("The diagonal of the mask's powers says it.")


def check_mask_function(
    function: Callable[[Tensor, Tensor, int, torch.Generator], tuple],
) -> Verdict:
    """Exercise 2: the rule, with a coin for each token.

    Args:
        function: takes ids ``[B, S]``, which pieces are special ``[V]``, the number of [MASK] and
            a generator; returns the model's input and the labels, both ``[B, S]``, -100 where
            nothing is asked.
    """
    if is_open(function):
        return open_answer()
    V, mask_id = 105, 4
    special = torch.arange(V) < 5
    ids = torch.randint(
        5, V, (400, 100), generator=torch.Generator().manual_seed(1)
    )  # [B, S]
    ids[:, 0], ids[:, 60], ids[:, 90:] = 2, 3, 0
    given = ids.clone()
    answer = function(given, special, mask_id, torch.Generator().manual_seed(0))
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return wrong("The model's input and the labels are asked for, two tensors.")
    inputs, labels = answer
    if is_open(inputs) or is_open(labels):
        return open_answer()
    if not torch.equal(given, ids):
        return wrong("The text itself was changed: work on a copy.")
    if any(not isinstance(x, Tensor) or x.shape != ids.shape for x in answer):
        return wrong(f"Both have the shape of the ids, {list(ids.shape)}.")
    return _judge_masking(ids, inputs, labels, special, mask_id)


def _judge_masking(
    ids: Tensor, inputs: Tensor, labels: Tensor, special: Tensor, mask_id: int
) -> Verdict:
    asked, changed = labels != IGNORED, inputs != ids  # [B, S]
    if (special[ids] & (asked | changed)).any():
        return wrong("[CLS], [SEP] or padding was selected or changed.")
    if not asked.any() or asked[~special[ids]].all():
        return wrong("Some tokens are asked for and most are not: 15 %.")
    if not torch.equal(labels[asked], ids[asked]):
        return wrong("The label is the token that stood there at first.")
    hidden = inputs == mask_id
    if (changed & ~asked).any():
        return wrong("A token that is changed must be asked for.")
    if torch.equal(asked, hidden):
        return wrong("The loss is on all selected tokens, not only on [MASK].")
    if torch.equal(asked, changed):
        return wrong("Tokens that stay are asked for too: their label is not -100.")
    if special[inputs[changed & ~hidden]].any():
        return wrong("A random piece is an ordinary one, no special token.")
    count = int(asked.sum())
    shares = {
        "selected": (count / int((~special[ids]).sum()), 0.15),
        "[MASK] among the selected": (int((hidden & asked).sum()) / count, 0.8),
        "changed to another piece among the selected": (
            int((changed & ~hidden).sum()) / count,
            0.1,
        ),
    }
    for name, (share, right) in shares.items():
        # Five standard deviations, and the random piece that is by chance the true one.
        bound = 5 * (right * (1 - right) / count) ** 0.5 + 0.002
        if abs(share - right) > bound:
            return wrong(f"{name}: {share:.3f}, expected about {right}.")
    return correct(
        "Selected, hidden, replaced and kept as in BERT; the loss is on all selected."
    )
