"""Checks for the exercises of the chapter *Attention*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = [
    "check_doubled_scores",
    "check_masked_softmax",
    "check_quadratic_share",
    "check_scale",
    "check_softmax_jacobian",
]


def _close(answer: object, expected: object) -> bool:
    answer = torch.as_tensor(answer, dtype=torch.float64)
    expected = torch.as_tensor(expected, dtype=torch.float64)
    return answer.shape == expected.shape and torch.allclose(
        answer, expected, atol=5e-3, rtol=0
    )


def check_doubled_scores(answer: object) -> Verdict:
    """Exercise 1: the output of the soft lookup by hand when every score is doubled.

    Args:
        answer: the two numbers of the output, to two decimals or better.
    """
    if is_open(answer):
        return open_answer()
    try:
        values = torch.as_tensor([float(x) for x in answer], dtype=torch.float64)
    except (TypeError, ValueError):
        return wrong(
            f"Two numbers are asked for, such as (6.0, 7.0); this is {answer!r}."
        )
    if values.shape != (2,):
        return wrong(
            f"The output has the width of a value, 2; this has {len(values)} numbers."
        )
    if _close(values, [6, 7]):
        return wrong(
            "This is the output of the old scores. Double them, then exponentiate."
        )
    if _close(values, [12, 14]):
        return wrong(
            "Doubling the scores does not double the output: weights still sum to one."
        )
    if _close(values, [208, 232]):
        return wrong(
            "Divide by the sum of the exponentials: the weights must sum to one."
        )
    if _close(values, [8 * 26 / 30, 8 * 29 / 30]):
        return correct(
            "e^(2s) is the square of e^s: 1, 4 and 25 out of 30. The lookup sharpened."
        )
    return wrong(
        "Start from e^(2s) = (e^s)²: what do 1, 2 and 5 become, and what is their sum?"
    )


def check_masked_softmax(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 2: a masked softmax of the reader's own.

    Args:
        function: takes scores ``[T, S]`` and a boolean mask ``[T, S]`` with ``True`` = may look,
            returns weights ``[T, S]``.
    """
    if is_open(function):
        return open_answer()
    scores = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    given = scores.clone(), mask.clone()
    weights = function(*given)
    if is_open(weights):
        return open_answer()
    if not isinstance(weights, Tensor) or weights.shape != scores.shape:
        shape = (
            list(weights.shape)
            if isinstance(weights, Tensor)
            else type(weights).__name__
        )
        return wrong(f"Weights of shape [2, 3] are asked for; this is {shape}.")
    if not (torch.equal(given[0], scores) and torch.equal(given[1], mask)):
        return wrong(
            "The function changed the tensors it was given; make new ones instead."
        )
    expected = scores.masked_fill(~mask, -math.inf).softmax(-1)
    if _close(weights, scores.masked_fill(mask, -math.inf).softmax(-1)):
        return wrong("The mask is read the wrong way round: True means may look.")
    if _close(weights, scores.softmax(-1)):
        return wrong("The mask has no effect yet.")
    if _close(weights, scores.softmax(-1) * mask):
        return wrong("Zeroed after the softmax: the row no longer sums to one.")
    if _close(weights, scores.masked_fill(~mask, 0).softmax(-1)):
        return wrong(
            "A score of 0 is not 'nothing': e^0 = 1. Which score has exponential 0?"
        )
    if _close(weights, scores.masked_fill(~mask, -math.inf).softmax(-2).nan_to_num()):
        return wrong(
            "The sum runs over the queries; each query's weights over its keys sum to 1."
        )
    if not _close(weights, expected):
        return wrong(
            f"Row 0 should be about {[round(x, 3) for x in expected[0].tolist()]}."
        )
    shifted = function(scores + 1000, mask)
    if not _close(shifted, expected):
        return wrong(
            "It overflows: add 1000 to every score and the weights should not change."
        )
    return correct("Forbidden keys are gone from the denominator too.")


@takes_number
def check_scale(answer: float) -> Verdict:
    """Exercise 3: the divisor for 256-wide vectors whose components have standard deviation 2.

    Args:
        answer: the number that the dot products must be divided by.
    """
    hints = {
        16: "That is √256, right for components of variance 1. Here each product has more.",
        32: "The product of two components has the variance 4·4, not 4.",
        256: "Dividing by d_k assumes that the terms add up in step; their signs are random.",
        4096: "This is the variance of the dot product. Which divisor brings it down to one?",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, rel_tol=1e-6):
            return wrong(hint)
    generator = torch.Generator().manual_seed(0)
    query, key = 2 * torch.randn(2, 50_000, 256, generator=generator)
    measured = (query * key).sum(-1).std().item()
    if math.isclose(answer, 64, rel_tol=1e-6):
        return correct(f"4·√256 = 64; measured on 50,000 pairs: {measured:.1f}.")
    return wrong(
        "Var(q·k) = d_k · Var(q_i) · Var(k_i). Put in the numbers, then take the root."
    )


def check_softmax_jacobian(function: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 4: the Jacobian of the softmax, from its output.

    Args:
        function: takes probabilities ``[S]``, returns ``[S, S]`` with entry (i, j) the derivative
            of weight i by score j.
    """
    if is_open(function):
        return open_answer()
    scores = torch.tensor([0.3, -1.2, 2.0, 0.0], dtype=torch.float64)
    weights = scores.softmax(-1)
    jacobian = function(weights.clone())
    if is_open(jacobian):
        return open_answer()
    if not isinstance(jacobian, Tensor) or jacobian.shape != (4, 4):
        shape = (
            list(jacobian.shape)
            if isinstance(jacobian, Tensor)
            else type(jacobian).__name__
        )
        return wrong(f"For four weights a 4 × 4 matrix is asked for; this is {shape}.")
    expected = torch.autograd.functional.jacobian(lambda s: s.softmax(-1), scores)
    if torch.allclose(jacobian, weights.diag()):
        return wrong(
            "Only the diagonal: raising one score also lowers the other weights."
        )
    if torch.allclose(jacobian, (weights * (1 - weights)).diag()):
        return wrong("That is the diagonal of the Jacobian; what stands beside it?")
    if torch.allclose(jacobian, -expected):
        return wrong("The sign: raising a score must raise its own weight.")
    if not torch.allclose(jacobian, expected):
        return wrong("Its rows should sum to zero, and autograd disagrees with it.")
    return correct(
        "diag(p) − ppᵀ: zero for a one-hot p, largest when two keys share the weight."
    )


@takes_number
def check_quadratic_share(answer: float) -> Verdict:
    """Exercise 5: the quadratic share of an attention sub-layer, d = 768 and n = 512.

    Args:
        answer: the share of the multiply-adds, between 0 and 1.
    """
    hints = {
        25: "A share lies between 0 and 1.",
        0.1: "That is the share of the whole layer; here the feed-forward part is left out.",
        1
        / 3: "That is the quadratic part over the projections; take it over the sum of both.",
        1 / 7: "The quadratic part is two products, QKᵀ and the mixing: 2n²d in all.",
        0.4: "There are four projections: queries, keys, values and output.",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, rel_tol=0.01):
            return wrong(hint)
    if math.isclose(answer, 0.25, rel_tol=0.005):
        return correct("n/(n + 2d) = 512/2048; with the feed-forward part a tenth.")
    return wrong("Divide 2n²d by 2n²d + 4nd², cancel, and put in the numbers.")
