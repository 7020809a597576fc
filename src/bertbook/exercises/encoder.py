"""Checks for the exercises of the chapter *The encoder*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = [
    "check_layer_norm",
    "check_parameters",
    "check_pre_ln",
    "check_rotation",
    "check_share",
]


def _shape(answer: object) -> str:
    return (
        str(list(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-9)


def check_layer_norm(function: Callable[[Tensor, float], Tensor]) -> Verdict:
    """Exercise 1: LayerNorm without its learned scale and shift.

    Args:
        function: takes states ``[B, S, D]`` and ε, returns the normalised states.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    # Variances near ε, so that its place shows.
    states = 0.3 + torch.randn(3, 4, 6, generator=generator, dtype=torch.float64) / 9
    eps = 0.01
    answer = function(states.clone(), eps)
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != states.shape:
        return wrong(
            f"A tensor of shape [3, 4, 6] is asked for; this is {_shape(answer)}."
        )
    centred = states - states.mean(-1, keepdim=True)
    variance = states.var(-1, unbiased=False, keepdim=True)
    mistakes = {
        "The variance divides by D, not by D − 1: the default of torch is the unbiased one.": (
            centred / (states.var(-1, keepdim=True) + eps).sqrt()
        ),
        "ε stands inside the root, with the variance.": centred
        / (variance.sqrt() + eps),
        "ε is missing: a token with D equal numbers would give 0/0.": centred
        / variance.sqrt(),
        "Unbiased variance and ε outside the root: both must change.": (
            centred / (states.std(-1, keepdim=True) + eps)
        ),
        "The mean must be taken off as well.": states / (variance + eps).sqrt(),
        "Divide by the root of the variance, not by the variance.": centred
        / (variance + eps),
    }
    for hint, mistake in mistakes.items():
        if _same(answer, mistake):
            return wrong(hint)
    for axes, whose in {
        (1,): "over the tokens of a sequence",
        (0,): "over the batch",
        (0, 1): "over batch and tokens, as BatchNorm does",
        (1, 2): "over a whole sequence",
        (0, 1, 2): "over everything",
    }.items():
        mean = states.mean(axes, keepdim=True)
        spread = states.var(axes, unbiased=False, keepdim=True)
        unbiased = states.var(axes, keepdim=True)
        for size in (spread, unbiased):
            if _same(answer, (states - mean) / (size + eps).sqrt()):
                return wrong(
                    f"This normalises {whose}. LayerNorm takes each token alone."
                )
    if not _same(answer, centred / (variance + eps).sqrt()):
        return wrong(
            "Take the mean of each token off, divide by the root of its variance plus ε."
        )
    return correct(
        "Each token by itself: no other token and no batch has a part in it."
    )


@takes_number
def check_parameters(answer: float) -> Verdict:
    """Exercise 2: parameters of one encoder layer of BERT base.

    Args:
        answer: how many, with d = 768, inner width 3072, biases and norms included.
    """
    d = 768
    hints = {
        12 * d**2: "The matrices are right. Biases and norms are missing.",
        12 * d**2 + 9 * d: "Only the two norms are missing: γ and β each.",
        12 * d**2 + 11 * d: "There are two norms, and each has γ and β.",
        12 * d**2 + 4 * d: "The biases of the six linear layers are missing.",
        4 * d**2
        + 4 * d: "That is the attention; the feed-forward network is twice as large.",
        8 * d**2 + 5 * d: "That is the feed-forward network alone.",
        12 * (12 * d**2 + 13 * d): "That is the whole stack of twelve layers.",
        12 * 512**2
        + 13 * 512: "That is the Transformer's base layer; BERT's is 768 wide.",
        11 * d**2 + 12 * d: "That is without the attention's output projection.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == 12 * d**2 + 13 * d:
        return correct(
            "12d² + 13d = 7,087,872; twelve of them are most of BERT base's 109 million."
        )
    return wrong("Six linear layers with biases, and two norms with γ and β.")


def check_rotation(function: Callable[[float, float], Tensor]) -> Verdict:
    """Exercise 3: the matrix that moves one pair of a sinusoid by k positions.

    Args:
        function: takes k and the frequency ω, returns ``[2, 2]``, to be multiplied from the left
            with the column (sin pω, cos pω).
    """
    if is_open(function):
        return open_answer()
    k, omega = 3.0, 0.2
    answer = function(k, omega)
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != (2, 2):
        return wrong(
            f"A tensor of shape [2, 2] is asked for; this is {_shape(answer)}."
        )
    answer = answer.double()
    sine, cosine = math.sin(k * omega), math.cos(k * omega)
    right = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    if torch.allclose(answer, right, atol=1e-6):
        other = function(-2.0, 0.5)
        expected = torch.tensor(
            [
                [math.cos(-1.0), math.sin(-1.0)],
                [-math.sin(-1.0), math.cos(-1.0)],
            ],
            dtype=torch.float64,
        )
        if not torch.allclose(other.double(), expected, atol=1e-6):
            return wrong(
                "For k = 3 and ω = 0.2 it is right, for k = −2 and ω = 0.5 not."
            )
        return correct("It knows k and not p; that is the point.")
    if torch.allclose(answer, right.T, atol=1e-6):
        return wrong(
            "This turns the other way: by −k. Which comes first in the pair, the sine or the "
            "cosine?"
        )
    if torch.allclose(answer, right.flip(0), atol=1e-6) or torch.allclose(
        answer, right.flip(1), atol=1e-6
    ):
        return wrong("Sine and cosine have changed places: the pair is (sin, cos).")
    return wrong("Write sin((p + k)ω) and cos((p + k)ω) by the addition theorems.")


def check_pre_ln(
    function: Callable[[Tensor, Callable, Callable], Tensor],
) -> Verdict:
    """Exercise 4: one sub-layer in pre-LN order.

    Args:
        function: takes states ``[B, S, D]``, a sub-layer and a norm (both functions of states),
            returns the new states.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(1)
    states = 2 + 3 * torch.randn(2, 3, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    norm = nn.LayerNorm(8, dtype=torch.float64)

    def sublayer(x: Tensor) -> Tensor:
        return x @ weight

    answer = function(states.clone(), sublayer, norm)
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != states.shape:
        return wrong(
            f"A tensor of shape [2, 3, 8] is asked for; this is {_shape(answer)}."
        )
    mistakes = {
        "This is post-LN: the norm stands on the sum.": norm(states + sublayer(states)),
        "The residual path carries the normalised states; it must carry the states themselves.": (
            norm(states) + sublayer(norm(states))
        ),
        "The norm stands behind the sub-layer; it must stand before it.": states
        + norm(sublayer(states)),
        "The residual connection is missing.": sublayer(norm(states)),
        "The norm is missing.": states + sublayer(states),
        "One norm too many: the sum is left as it is.": norm(
            states + sublayer(norm(states))
        ),
    }
    for hint, mistake in mistakes.items():
        if _same(answer, mistake):
            return wrong(hint)
    if not _same(answer, states + sublayer(norm(states))):
        return wrong("x + f(LN(x)): which of the three is different here?")
    return correct(
        "Nothing stands on the residual path; hence the last norm of the stack."
    )


@takes_number
def check_share(answer: float) -> Verdict:
    """Exercise 5: the quadratic share of a layer's multiply-adds where n = d.

    Args:
        answer: between 0 and 1.
    """
    hints = {
        1 / 6: "That is the ratio to the rest. The share is of all.",
        1
        / 3: "That is the share in the attention alone; the feed-forward network counts too.",
        1 / 2: "The two parts are equal only at n = 6d.",
        1
        / 13: "There are two quadratic products: the scores, and the mixing of the values.",
        1
        / 5: "The projections are four matrices, the feed-forward network counts as eight.",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=1e-3):
            return wrong(hint)
    if math.isclose(answer, 1 / 7, abs_tol=1e-3):
        return correct("2 / (4 + 2 + 8); in general n / (n + 6d).")
    return wrong("Put n = d into 4nd² + 2n²d + 8nd².")
