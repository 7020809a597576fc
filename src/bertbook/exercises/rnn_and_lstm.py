"""The exercises of the chapter *RNN and LSTM*."""

import math

import torch
from torch import Tensor

from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_clip",
    "check_forget_bias",
    "check_lstm_parameters",
    "check_lstm_step",
    "check_scalar_gradient",
]

check_scalar_gradient = Number(
    "Exercise 1: the derivative ∂h_2/∂h_0 of a tanh RNN of one unit with w = 2, h_1 = 0.6 and "
    "h_2 = 0.8, to three decimals or better.",
    right=0.9216,
    tolerance=5e-4,
    praise="2·0.64 · 2·0.36: below one, although w = 2.",
    hints={
        "That is w², the linear network. Each step also passes through tanh.": 4.0,
        "Both derivatives of tanh are there; the weight of each step is missing.": 0.2304,
        "Two steps lie between h_0 and h_2, so the weight comes in twice.": 0.4608,
        "That is the factor of the last step alone, w(1 − h_2²).": 0.72,
        "That is the factor of the first step alone, w(1 − h_1²).": 1.28,
        "The derivative of tanh is 1 − h², not h.": 1.92,
        "The derivative of tanh is 1 − h², not 1 − h.": 0.32,
    },
    otherwise="Each step multiplies by w and by tanh's derivative, 1 − h².",
)


def _same(x: Tensor) -> Tensor:
    return x


def _lstm_step(
    affine: Tensor, c: Tensor, order="ifgo", candidate=torch.tanh, show=torch.tanh
) -> tuple[Tensor, Tensor]:
    blocks = dict(zip(order, affine.chunk(4, -1), strict=True))
    i, f, o = (blocks[name].sigmoid() for name in "ifo")
    c = f * c + i * candidate(blocks["g"])
    return o * show(c), c


def _in_order(order: str):
    return lambda affine, c: _lstm_step(affine, c, order)


def _without_input_gate(affine: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    _, f, g, o = affine.chunk(4, -1)
    c = f.sigmoid() * c + g.tanh()
    return o.sigmoid() * c.tanh(), c


check_lstm_step = Code(
    "Exercise 2: what an LSTM does after its affine map: takes the map's output [B, 4U], in the "
    "order input gate, forget gate, candidate, output gate, and the last cell state [B, U]; "
    "returns the next hidden state and the next cell state, [B, U] each.",
    inputs=lambda: [(draw(2, 12), draw(2, 3, seed=1))],
    right=_lstm_step,
    praise="Two states: c is carried along, h is what the others see.",
    form="Two tensors of shape [B, U] are asked for: (h, c).",
    hints={
        "The two states are right, but in the wrong order: h first, then c.": (
            lambda affine, c: _lstm_step(affine, c)[::-1]
        ),
        "The order of the blocks: input gate, forget gate, candidate, output gate.": (
            [_in_order(order) for order in ("figo", "ifog", "iofg", "gifo")]
        ),
        "The candidate is not a gate: it goes through tanh, so that it can be negative.": (
            lambda affine, c: _lstm_step(affine, c, candidate=torch.sigmoid)
        ),
        "The candidate goes through a tanh too.": (
            lambda affine, c: _lstm_step(affine, c, candidate=_same)
        ),
        "h = o · tanh(c): the tanh of the cell state is missing.": (
            lambda affine, c: _lstm_step(affine, c, show=_same)
        ),
        "The input gate has no effect on the candidate.": _without_input_gate,
    },
    otherwise="c' = f · c + i · g, then h' = o · tanh(c'). Compare line by line.",
)

check_forget_bias = Number(
    "Exercise 3: the forget bias with which half a cell's gradient survives 100 steps, to two "
    "decimals or better; the gate's other inputs are zero.",
    right=4.9682,
    tolerance=0.02,
    praise="σ(4.97) = 0.9931, and 0.9931^100 = ½.",
    hints={
        "That is the gate. Which bias gives it: the inverse of the sigmoid?": (
            0.9921,
            0.9941,
        ),
        "The sign: this gate forgets nearly everything at every step.": -4.9682,
        "With bias 0 the gate is ½: half survives one step.": 0,
        "With bias 1 the gate is 0.73, and 2e-14 survives.": 1,
    },
    otherwise="First the gate: f^100 = ½. Then its logit, ln(f / (1 − f)).",
)

check_lstm_parameters = Number(
    "Exercise 4: how many parameters nn.LSTM has with D = 300 and U = 512.",
    right=1_667_072,
    praise="4(UD + U² + 2U): it does not depend on the length.",
    hints={
        "That is a vanilla RNN; an LSTM has four such blocks.": 416_768,
        "Three gates and the candidate make four blocks.": 1_250_304,
        "The library has two bias vectors a block, b_x and b_h.": 1_665_024,
        "The biases are missing.": 1_662_976,
        "The recurrent weights, U × U a block, are missing.": 618_496,
    },
    otherwise="Four blocks, each with weights U × D and U × U and two biases.",
)


def _gradients(limit: float = 1.0) -> list[tuple[list[Tensor], float]]:
    return [
        ([torch.tensor([1.0, 2.0]), torch.tensor([[2.0], [-4.0]])], limit)
    ]  # norm 5


def _clip(gradients: list[Tensor], limit: float) -> tuple[Tensor, ...]:
    norm = math.sqrt(sum(x.square().sum().item() for x in gradients))
    return tuple(x * min(1, limit / norm) for x in gradients)


check_clip = Code(
    "Exercise 5: clipping by the global norm: takes a list of gradients and the largest norm "
    "allowed; returns the new gradients, as a list of the same length.",
    inputs=_gradients,
    right=_clip,
    tolerance=1e-4,  # the library adds an ε to the norm
    praise="One factor for all: the direction stays, the length is bounded.",
    form="A list of tensors is asked for, shaped like the gradients.",
    kept="The function changed the tensors it was given; make new ones instead.",
    hints={
        "Nothing is clipped: these gradients have norm 5, allowed is 1.": (
            lambda gradients, limit: gradients
        ),
        "Each tensor has norm 1 now; together they have √2. One norm.": (
            lambda gradients, limit: [x / x.norm() for x in gradients]
        ),
        "That cuts number by number, which turns the direction.": (
            lambda gradients, limit: [x.clamp(-1, 1) for x in gradients]
        ),
        "Divided by the squared norm: the root is missing.": (
            lambda gradients, limit: [x / 25 for x in gradients]
        ),
        "Norms add up by their squares: √(√5² + √20²) = 5.": (
            lambda gradients, limit: [x / (5**0.5 + 20**0.5) for x in gradients]
        ),
    },
    otherwise="The norm over all numbers is 5, so each shrinks to a fifth.",
    further={
        "A gradient shorter than the limit is left alone, not stretched.": (
            lambda: [([torch.tensor([0.3]), torch.tensor([0.4])], 1.0)]
        ),
        "Right for a limit of 1; for 2 the norm should come out as 2.": lambda: (
            _gradients(2.0)
        ),
    },
)
