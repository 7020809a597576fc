"""Checks for the exercises of the chapter *RNN and LSTM*."""

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
    "check_clip",
    "check_forget_bias",
    "check_lstm_parameters",
    "check_lstm_step",
    "check_scalar_gradient",
]


@takes_number
def check_scalar_gradient(answer: float) -> Verdict:
    """Exercise 1: ∂h_2/∂h_0 of a tanh RNN of one unit with w = 2, h_1 = 0.6 and h_2 = 0.8.

    Args:
        answer: the derivative, to three decimals or better.
    """
    hints = {
        4.0: "That is w², the linear network. Each step also passes through tanh.",
        0.2304: "Both derivatives of tanh are there; the weight of each step is missing.",
        0.4608: "Two steps lie between h_0 and h_2, so the weight comes in twice.",
        0.72: "That is the factor of the last step alone, w(1 − h_2²).",
        1.28: "That is the factor of the first step alone, w(1 − h_1²).",
        1.92: "The derivative of tanh is 1 − h², not h.",
        0.32: "The derivative of tanh is 1 − h², not 1 − h.",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=5e-4):
            return wrong(hint)
    if math.isclose(answer, 0.9216, abs_tol=5e-4):
        return correct("2·0.64 · 2·0.36: below one, although w = 2.")
    return wrong("Each step multiplies by w and by tanh's derivative, 1 − h².")


def check_lstm_step(
    function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Verdict:
    """Exercise 2: what an LSTM does after its affine map.

    Args:
        function: takes the map's output ``[B, 4U]``, in the order input gate, forget gate,
            candidate, output gate, and the last cell state ``[B, U]``; returns the next hidden
            state and the next cell state, ``[B, U]`` each.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    affine = torch.randn(2, 12, dtype=torch.float64, generator=generator)
    c = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    answer = function(affine.clone(), c.clone())
    if is_open(answer):
        return open_answer()
    if (
        not isinstance(answer, tuple)
        or len(answer) != 2
        or not all(isinstance(x, Tensor) and x.shape == c.shape for x in answer)
    ):
        return wrong("Two tensors of shape [B, U] are asked for: (h, c).")

    def step(order="ifgo", candidate=torch.tanh, show=torch.tanh, take_in=True):
        blocks = dict(zip(order, affine.chunk(4, -1), strict=True))
        i, f, o = (blocks[name].sigmoid() for name in "ifo")
        new = f * c + (i if take_in else 1) * candidate(blocks["g"])
        return o * show(new), new

    def same(other):
        return all(
            torch.allclose(a, b, atol=1e-9) for a, b in zip(answer, other, strict=True)
        )

    if same(step()):
        return correct("Two states: c is carried along, h is what the others see.")
    mistakes = {
        "The two states are right but change places: h first, then c.": step()[::-1],
        "The order of the blocks: input gate, forget gate, candidate, output gate.": None,
        "The candidate is no gate: it goes through tanh, so that it can be negative.": step(
            candidate=torch.sigmoid
        ),
        "The candidate goes through a tanh too.": step(candidate=lambda a: a),
        "h = o · tanh(c): the tanh of the cell state is missing.": step(
            show=lambda a: a
        ),
        "The input gate has no effect on the candidate.": step(take_in=False),
    }
    for hint, result in mistakes.items():
        others = (
            [step(order) for order in ("figo", "ifog", "iofg", "gifo")]
            if result is None
            else [result]
        )
        if any(same(other) for other in others):
            return wrong(hint)
    return wrong("c' = f · c + i · g, then h' = o · tanh(c'). Compare line by line.")


@takes_number
def check_forget_bias(answer: float) -> Verdict:
    """Exercise 3: the forget bias with which half a cell's gradient survives 100 steps.

    Args:
        answer: the bias, to two decimals or better; the gate's other inputs are zero.
    """
    gate = 0.5**0.01
    bias = math.log(gate / (1 - gate))
    if math.isclose(answer, gate, abs_tol=1e-3):
        return wrong(
            "That is the gate. Which bias gives it: the inverse of the sigmoid?"
        )
    if math.isclose(answer, -bias, abs_tol=0.02):
        return wrong("The sign: this gate forgets nearly everything at every step.")
    if math.isclose(answer, 0, abs_tol=1e-9):
        return wrong("With bias 0 the gate is ½: half survives one step.")
    if math.isclose(answer, 1, abs_tol=1e-9):
        left = (1 / (1 + math.exp(-1))) ** 100
        return wrong(f"With bias 1 the gate is 0.73, and {left:.0e} survives.")
    if math.isclose(answer, bias, abs_tol=0.02):
        return correct(f"σ({bias:.2f}) = {gate:.4f}, and {gate:.4f}^100 = ½.")
    return wrong("First the gate: f^100 = ½. Then its logit, ln(f / (1 − f)).")


@takes_number
def check_lstm_parameters(answer: float) -> Verdict:
    """Exercise 4: how many parameters nn.LSTM has with D = 300 and U = 512.

    Args:
        answer: the number.
    """
    d, u = 300, 512
    hints = {
        d * u + u * u + 2 * u: "That is a vanilla RNN; an LSTM has four such blocks.",
        3 * (d * u + u * u + 2 * u): "Three gates and the candidate make four blocks.",
        4
        * (d * u + u * u + u): "The library has two bias vectors a block, b_x and b_h.",
        4 * (d * u + u * u): "The biases are missing.",
        4 * (d * u + 2 * u): "The recurrent weights, U × U a block, are missing.",
    }
    for mistake, hint in hints.items():
        if answer == mistake:
            return wrong(hint)
    if answer == 4 * (d * u + u * u + 2 * u):
        return correct("4(UD + U² + 2U): it does not depend on the length.")
    return wrong("Four blocks, each with weights U × D and U × U and two biases.")


def check_clip(function: Callable[[list[Tensor], float], list[Tensor]]) -> Verdict:
    """Exercise 5: clipping by the global norm.

    Args:
        function: takes a list of gradients and the largest norm allowed; returns the new
            gradients, as a list of the same length.
    """
    if is_open(function):
        return open_answer()
    large = [torch.tensor([1.0, 2.0]), torch.tensor([[2.0], [-4.0]])]  # norm 5
    small = [torch.tensor([0.3]), torch.tensor([0.4])]  # norm 0.5
    given = [x.clone() for x in large]
    answer = function(given, 1.0)
    if is_open(answer):
        return open_answer()
    if (
        not isinstance(answer, list | tuple)
        or [getattr(x, "shape", None) for x in answer] != [x.shape for x in large]
        or not all(isinstance(x, Tensor) for x in answer)
    ):
        return wrong("A list of tensors is asked for, shaped like the gradients.")
    if not all(torch.equal(a, b) for a, b in zip(given, large, strict=True)):
        return wrong(
            "The function changed the tensors it was given; make new ones instead."
        )

    def same(one, other):
        return all(
            torch.allclose(a, b, atol=1e-4) for a, b in zip(one, other, strict=True)
        )

    if same(answer, large):
        return wrong("Nothing is clipped: these gradients have norm 5, allowed is 1.")
    if same(answer, [x / x.norm() for x in large]):
        return wrong("Each tensor has norm 1 now; together they have √2. One norm.")
    if same(answer, [x.clamp(-1, 1) for x in large]):
        return wrong("That cuts number by number, which turns the direction.")
    if same(answer, [x / 25 for x in large]):
        return wrong("Divided by the squared norm: the root is missing.")
    if same(answer, [x / sum(y.norm() for y in large) for x in large]):
        return wrong("Norms add up by their squares: √(√5² + √20²) = 5.")
    if not same(answer, [x / 5 for x in large]):
        return wrong("The norm over all numbers is 5, so each shrinks to a fifth.")
    if not same(function([x.clone() for x in small], 1.0), small):
        return wrong("A gradient shorter than the limit is left alone, not stretched.")
    if not same(function([x.clone() for x in large], 2.0), [x / 2.5 for x in large]):
        return wrong("Right for a limit of 1; for 2 the norm should come out as 2.")
    return correct("One factor for all: the direction stays, the length is bounded.")
