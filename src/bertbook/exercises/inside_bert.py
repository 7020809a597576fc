"""The exercises of the chapter *Inside a BERT*."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_masked_output",
    "check_mean_pooling",
    "check_previous_score",
    "check_sense_gap",
]

check_masked_output = Number(
    "Exercise 1: the output for weights (1/2, 1/4, 1/4) and values (2, 8, 4), the first key "
    "masked.",
    right=6,
    tolerance=1e-6,
    praise="Twice the 3 that is left without the value: 1 / (1 − 1/2) = 2.",
    hints={
        "That is the output with nothing masked.": 4,
        "That is with the value removed. Masked, the row must sum to one again.": 3,
        "That is the sum of the two values; weights that sum to one give a mean.": 12,
    },
    otherwise="Take the first token out, scale the other weights to sum to one.",
)


def _sum_pooling(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1)  # [B, D]


def _states_and_mask() -> list[tuple[Tensor, Tensor]]:
    states = torch.arange(2 * 4 * 3, dtype=torch.float64).view(2, 4, 3) ** 2
    return [(states, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))]


check_mean_pooling = Code(
    "Exercise 2: the mean of the states over the real tokens: takes states [B, S, D] and a 0/1 "
    "mask [B, S], returns [B, D].",
    inputs=_states_and_mask,
    right=lambda s, m: _sum_pooling(s, m) / m.sum(1, keepdim=True),
    praise="[CLS] and [SEP] are in the mean too, as MiniLM was trained.",
    form="A tensor of shape [2, 3] is asked for; this is {found}.",
    hints={
        "Padding is counted: the mask is not used.": lambda s, m: s.mean(1),
        "The padding is left out of the sum, yet counted in the number of tokens.": (
            lambda s, m: _sum_pooling(s, m) / 4
        ),
        "That is the state of [CLS].": lambda s, m: s[:, 0],
        "That is the sum; divide by the tokens.": _sum_pooling,
    },
    otherwise="Set padding to zero, sum over S, divide by the number of tokens.",
)

check_previous_score = Code(
    "Exercise 3: mean weight on the token before: takes weights [T, T], rows look, returns a "
    "number.",
    inputs=lambda: [(draw(5, 5).softmax(-1),)],
    right=lambda w: w.diagonal(-1).mean().item(),
    praise="The diagonal below the main one: row i, column i − 1.",
    form="One number is asked for; this is {found}.",
    hints={
        "That is the token after: rows look, columns are seen.": (
            lambda w: w.diagonal(1).mean().item()
        ),
        "That is the token itself.": lambda w: w.diagonal().mean().item(),
        "The first token has none before it and must not be counted.": (
            lambda w: w.diagonal(-1).sum().item() / 5
        ),
        "That is the sum; the mean is asked for.": lambda w: (
            w.diagonal(-1).sum().item()
        ),
    },
    otherwise="Take the weights in row i, column i − 1.",
)


def _gap(
    states: Tensor, sense: Tensor, scaled: bool = True, itself: bool = False
) -> float:
    states = F.normalize(states, dim=-1) if scaled else states
    alike = sense[:, None] == sense
    pairs = alike if itself else alike & ~torch.eye(len(sense), dtype=torch.bool)
    table = states @ states.T
    return (table[pairs].mean() - table[~alike].mean()).item()


def _states_and_senses() -> list[tuple[Tensor, Tensor]]:
    sense = torch.tensor([0, 1, 0, 1, 1])
    return [(draw(5, 4, seed=1) + 2 * sense[:, None], sense)]


check_sense_gap = Code(
    "Exercise 4: mean cosine within senses minus that between senses: takes states [N, D] and "
    "senses [N], returns a number.",
    inputs=_states_and_senses,
    right=_gap,
    praise="A mean that is the same for all pairs drops out of the difference.",
    form="One number is asked for; this is {found}.",
    hints={
        "Each occurrence with itself is counted: cosine 1.": (
            lambda states, sense: _gap(states, sense, itself=True)
        ),
        "These are dot products; divide by the lengths.": (
            lambda states, sense: _gap(states, sense, scaled=False)
        ),
        "The sign: same sense minus other sense.": (
            lambda states, sense: -_gap(states, sense)
        ),
    },
    otherwise="Cosines of all pairs of different rows; mean of each kind; subtract.",
)
