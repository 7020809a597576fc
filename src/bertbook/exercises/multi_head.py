"""Checks for the exercises of the chapter *Multi-head attention*."""

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
    "check_head_contribution",
    "check_order_bound",
    "check_parameters",
    "check_split",
]


def _shape(answer: object) -> str:
    return (
        str(list(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
    )


@takes_number
def check_parameters(answer: float) -> Verdict:
    """Exercise 1: parameters of one multi-head attention with d = 768 and 12 heads.

    Args:
        answer: how many, biases included.
    """
    d, heads = 768, 12
    hints = {
        4 * d**2: "The weights are right. Each of the four layers has a bias too.",
        3 * (d**2 + d): "That is without the output projection.",
        3 * d**2: "That is without the output projection and without biases.",
        heads * 4 * (d**2 + d): "Each head has only d/h columns, not d.",
        4 * (d * d // heads + d // heads): "That is one head; there are twelve.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == 4 * (d**2 + d):
        return correct("4d² + 4d; with 1 head or with 768 it would be the same.")
    return wrong("Four linear layers, each from d to d with a bias.")


def check_split(function: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 2: cut the width into heads.

    Args:
        function: takes states ``[B, T, D]`` and a number of heads H, returns ``[B, H, T, Dh]``.
    """
    if is_open(function):
        return open_answer()
    states = torch.arange(2 * 3 * 8, dtype=torch.float64).view(2, 3, 8)
    heads = function(states.clone(), 2)
    if is_open(heads):
        return open_answer()
    expected = torch.stack([states[..., :4], states[..., 4:]], dim=1)
    if not isinstance(heads, Tensor) or heads.shape != expected.shape:
        if isinstance(heads, Tensor) and heads.shape == (2, 3, 2, 4):
            return wrong(
                "This is [B, T, H, Dh]. Which two dimensions must change places?"
            )
        return wrong(
            f"A tensor of shape [2, 2, 3, 4] is asked for; this is {_shape(heads)}."
        )
    if torch.equal(heads, states.reshape(2, 2, 3, 4)):
        return wrong(
            "The shape is right, the tokens are mixed: a view reads the numbers in order, so "
            "head 1 got token 1 and half of token 2. Cut the last dimension first."
        )
    if torch.equal(heads, states.unflatten(-1, (4, 2)).permute(0, 3, 1, 2)):
        return wrong(
            "Each head got every second column. Head 1 should get columns 1 to Dh."
        )
    if not torch.equal(heads, expected):
        return wrong(
            "Head 1 should hold columns 1 to 4 of every token, head 2 the rest."
        )
    return correct(
        "Cut the last dimension, then bring the heads in front of the tokens."
    )


def check_head_contribution(
    function: Callable[[Tensor, Tensor, int, int], Tensor],
) -> Verdict:
    """Exercise 3: what one head adds to the output.

    Args:
        function: takes the concatenated heads ``[T, D]`` before the output layer, the layer's
            weight ``[D, D]`` as ``nn.Linear`` keeps it (outputs in rows), the head's index i from
            zero, and the head width Dh; returns ``[T, D]``.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    width, last = 2, 3
    term = function(context.clone(), weight.clone(), last, width)
    if is_open(term):
        return open_answer()
    if not isinstance(term, Tensor) or term.shape != (3, 8):
        return wrong(
            f"A head writes to the whole width: [3, 8] is asked for; this is {_shape(term)}."
        )
    own = slice(last * width, (last + 1) * width)
    expected = context[:, own] @ weight[:, own].T
    if torch.allclose(term, context @ weight.T):
        return wrong("This is the sum over all heads.")
    if torch.allclose(term, context[:, own] @ weight[own]):
        return wrong(
            "nn.Linear computes x Wᵀ: the head's part of the input meets columns of the weight."
        )
    if torch.allclose(term, expected / 4):
        return wrong("Heads are added, not averaged.")
    if not torch.allclose(term, expected):
        return wrong("Take the head's Dh columns of both, then multiply.")
    parts = sum(function(context, weight, i, width) for i in range(4))
    if not torch.allclose(parts, context @ weight.T):
        return wrong("For this head it is right, but the four heads do not add up.")
    return correct("The terms of all heads add up to the output, up to the bias.")


@takes_number
def check_order_bound(answer: float) -> Verdict:
    """Exercise 4: ordered pairs of four symbols, read from an equal mean.

    Args:
        answer: the best possible share of pairs read in the right order.
    """
    hints = {
        0.5: "Nearly: some pairs need no order. How many of the 16 are they?",
        0.25: "That is a guess of one symbol with the other known.",
        1
        / 16: "That is a guess without looking. The mean does tell which two symbols.",
        0.75: "12 of the 16 pairs have two different symbols; these are the hard ones.",
        1.0: "The mean of a and b is the mean of b and a.",
        0.55: "That is for ten symbols.",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=1e-6):
            return wrong(hint)
    if math.isclose(answer, 0.625, abs_tol=1e-6):
        return correct("4 pairs are equal and safe; of the other 12, half: (4 + 6)/16.")
    return wrong("Count the 16 pairs: which can be told apart from their mirror image?")
