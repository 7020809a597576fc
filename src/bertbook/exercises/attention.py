"""The exercises of the chapter *Attention*."""

import math

import torch
from torch import Tensor

from bertbook.exercises.answers import numbers
from bertbook.exercises.checker import Code, Number, Several

__all__ = [
    "check_doubled_scores",
    "check_masked_softmax",
    "check_quadratic_share",
    "check_scale",
    "check_softmax_jacobian",
]

check_doubled_scores = Several(
    "Exercise 1: the output of the soft lookup by hand when every score is doubled, as two "
    "numbers, to two decimals or better.",
    right=(8 * 26 / 30, 8 * 29 / 30),
    tolerance=5e-3,
    praise="e^(2s) is the square of e^s: 1, 4 and 25 out of 30. The lookup sharpened.",
    read=numbers,
    form="Two numbers are asked for, such as (6.0, 7.0); this is {found}.",
    hints={
        "That is the output of the old scores: double them first.": (6.0, 7.0),
        "The output does not double: the weights still sum to one.": (12.0, 14.0),
        "Divide by the sum of the exponentials.": (208.0, 232.0),
        "The output has the width of a value: two numbers.": lambda values: (
            len(values) != 2
        ),
    },
    otherwise="Start from e^(2s) = (e^s)²: what do 1, 2 and 5 become, and what is their sum?",
)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -math.inf).softmax(-1)


def _scores_and_mask(shift: float = 0.0) -> list[tuple[Tensor, Tensor]]:
    scores = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], dtype=torch.float64)
    return [(scores + shift, torch.tensor([[True, True, False], [True, False, True]]))]


check_masked_softmax = Code(
    "Exercise 2: a masked softmax: takes scores [T, S] and a boolean mask [T, S] with True = may "
    "look, returns weights [T, S].",
    inputs=_scores_and_mask,
    right=_masked_softmax,
    tolerance=5e-3,
    praise="Forbidden keys are gone from the denominator too.",
    kept="The function changed the tensors it was given; make new ones instead.",
    form="Weights of shape [2, 3] are asked for; this is {found}.",
    hints={
        "The mask is read the wrong way round: True means may look.": (
            lambda scores, mask: _masked_softmax(scores, ~mask)
        ),
        "The mask has no effect yet.": lambda scores, mask: scores.softmax(-1),
        "Set to zero after the softmax: the row no longer sums to one.": (
            lambda scores, mask: scores.softmax(-1) * mask
        ),
        "A score of 0 is not 'nothing': e^0 = 1. Which score has exponential 0?": (
            lambda scores, mask: (scores * mask).softmax(-1)
        ),
        "The sum runs over the queries; each query's weights over its keys sum to 1.": (
            lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(-2)
        ),
    },
    otherwise="Row 0 should be about [0.269, 0.731, 0.0].",
    further={
        "It overflows: add 1000 to every score and the weights should not change.": (
            lambda: _scores_and_mask(1000)
        ),
    },
)

check_scale = Number(
    "Exercise 3: the number by which dot products of 256-wide vectors must be divided if their "
    "components have standard deviation 2.",
    right=64,
    tolerance=1e-3,
    praise="4·√256 = 64; measured on 50,000 pairs: 63.8.",
    hints={
        "That is √256, right for components of variance 1. Here each product has more.": 16,
        "The product of two components has the variance 4·4, not 4.": 32,
        "Dividing by d_k assumes that the terms add up in step; their signs are random.": 256,
        "This is the variance of the dot product. Which divisor brings it down to one?": 4096,
    },
    otherwise="Var(q·k) = d_k · Var(q_i) · Var(k_i). Put in the numbers, then take the root.",
)


def _jacobian(p: Tensor) -> Tensor:
    return p.diag() - torch.outer(p, p)


check_softmax_jacobian = Code(
    "Exercise 4: the Jacobian of the softmax from its output: takes probabilities [S], returns "
    "[S, S] with entry (i, j) the derivative of weight i by score j.",
    inputs=lambda: [(torch.tensor([0.3, -1.2, 2.0, 0.0]).double().softmax(-1),)],
    right=_jacobian,
    praise="diag(p) − ppᵀ: zero for a one-hot p, largest when two keys share the weight.",
    form="For four weights a 4 × 4 matrix is asked for; this is {found}.",
    hints={
        "Only the diagonal: raising one score also lowers the other weights.": torch.diag,
        "That is the diagonal of the Jacobian; what stands beside it?": (
            lambda p: (p * (1 - p)).diag()
        ),
        "The sign: raising a score must raise its own weight.": lambda p: -_jacobian(p),
    },
    otherwise="Its rows should sum to zero, and autograd disagrees with it.",
)

check_quadratic_share = Number(
    "Exercise 5: the quadratic share of the multiply-adds of an attention sub-layer, d = 768 and "
    "n = 512, between 0 and 1.",
    right=0.25,
    tolerance=1.25e-3,
    praise="n/(n + 2d) = 512/2048; with the feed-forward part a tenth.",
    hints={
        "A share lies between 0 and 1.": (1.001, 100),
        "That is the share of the whole layer; here the feed-forward part is left out.": 0.1,
        "That is over the projections; take it over the sum of both.": (0.33, 0.337),
        "The quadratic part is two products, QKᵀ and the mixing.": (0.1414, 0.1443),
        "There are four projections: queries, keys, values and output.": 0.4,
    },
    otherwise="Divide 2n²d by 2n²d + 4nd², cancel, and put in the numbers.",
)
