"""The exercises of the chapter *Multi-head attention*."""

import torch
from torch import Tensor

from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_head_contribution",
    "check_order_bound",
    "check_parameters",
    "check_split",
]

check_parameters = Number(
    "Exercise 1: parameters of one multi-head attention with d = 768 and 12 heads, biases "
    "included.",
    right=2_362_368,
    praise="4d² + 4d; with 1 head or with 768 it would be the same.",
    hints={
        "The weights are right. Each of the four layers has a bias too.": 2_359_296,
        "That is without the output projection.": 1_771_776,
        "That is without the output projection and without biases.": 1_769_472,
        "Each head has only d/h columns, not d.": 28_348_416,
        "That is one head; there are twelve.": 196_864,
    },
    otherwise="Four linear layers, each from d to d with a bias.",
)

check_split = Code(
    "Exercise 2: cut the width into heads: takes states [B, T, D] and a number of heads H, "
    "returns [B, H, T, Dh].",
    inputs=lambda: [(torch.arange(2 * 3 * 8).double().view(2, 3, 8), 2)],
    right=lambda states, heads: states.unflatten(-1, (heads, -1)).transpose(1, 2),
    praise="Cut the last dimension, then bring the heads in front of the tokens.",
    form="A tensor of shape [2, 2, 3, 4] is asked for; this is {found}.",
    hints={
        "This is [B, T, H, Dh]. Which two dimensions must change places?": (
            lambda states, heads: states.unflatten(-1, (heads, -1))
        ),
        "The shape is right, the tokens are mixed: a view reads the numbers in order, so head 1 "
        "got token 1 and half of token 2. Cut the last dimension first.": (
            lambda states, heads: states.reshape(2, heads, 3, 4)
        ),
        "Each head got every second column. Head 1 should get columns 1 to Dh.": (
            lambda states, heads: states.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)
        ),
    },
    otherwise="Head 1 should hold columns 1 to 4 of every token, head 2 the rest.",
)


def _contribution(context: Tensor, weight: Tensor, head: int, width: int) -> Tensor:
    own = slice(head * width, (head + 1) * width)
    return context[:, own] @ weight[:, own].T


def _of_heads(*heads: int) -> list[tuple[Tensor, Tensor, int, int]]:
    return [(draw(3, 8), draw(8, 8, seed=1), head, 2) for head in heads]


check_head_contribution = Code(
    "Exercise 3: what one head adds to the output: takes the concatenated heads [T, D] before the "
    "output layer, the layer's weight [D, D] as nn.Linear keeps it (outputs in rows), the head's "
    "index i from zero, and the head width Dh; returns [T, D].",
    inputs=lambda: _of_heads(3),
    right=_contribution,
    praise="The terms of all heads add up to the output, up to the bias.",
    form="A head writes to the whole width: [3, 8] is asked for; this is {found}.",
    hints={
        "This is the sum over all heads.": lambda context, weight, *head: (
            context @ weight.T
        ),
        "nn.Linear computes x Wᵀ: the head's part of the input meets columns of the weight.": (
            lambda context, weight, *head: _contribution(context, weight.T, *head)
        ),
        "Heads are added, not averaged.": lambda *inputs: _contribution(*inputs) / 4,
    },
    otherwise="Take the head's Dh columns of both, then multiply.",
    further={
        "For this head it is right, but the four heads do not add up.": (
            lambda: _of_heads(0, 1, 2)
        )
    },
)

check_order_bound = Number(
    "Exercise 4: ordered pairs of four symbols, read from an equal mean: the best possible share "
    "of pairs read in the right order.",
    right=0.625,
    tolerance=1e-6,
    praise="4 pairs are equal and safe; of the other 12, half: (4 + 6)/16.",
    hints={
        "Nearly: some pairs need no order. How many of the 16 are they?": 0.5,
        "That is a guess of one symbol with the other known.": 0.25,
        "That is a guess without looking. The mean does tell which two symbols.": 0.0625,
        "12 of the 16 pairs have two different symbols; these are the hard ones.": 0.75,
        "The mean of a and b is the mean of b and a.": 1.0,
        "That is for ten symbols.": 0.55,
    },
    otherwise="Count the 16 pairs: which can be told apart from their mirror image?",
)
