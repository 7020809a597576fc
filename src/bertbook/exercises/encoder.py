"""The exercises of the chapter *The encoder*."""

import math

import torch
from torch import Tensor, nn

from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_layer_norm",
    "check_parameters",
    "check_pre_ln",
    "check_rotation",
    "check_share",
]


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _deviation(x: Tensor, unbiased: bool = False) -> Tensor:
    return x.std(-1, unbiased=unbiased, keepdim=True)


def _layer_norm(x: Tensor, eps: float, axes=-1, unbiased=False) -> Tensor:
    variance = x.var(axes, unbiased=unbiased, keepdim=True)
    return (x - x.mean(axes, keepdim=True)) / (variance + eps).sqrt()


def _over(*axes: int) -> list:
    """Two functions that normalise over other axes, one of them with the unbiased variance."""
    return [
        lambda x, eps: _layer_norm(x, eps, axes),
        lambda x, eps: _layer_norm(x, eps, axes, unbiased=True),
    ]


check_layer_norm = Code(
    "Exercise 1: LayerNorm without its learned scale and shift: takes states [B, S, D] and ε, "
    "returns the normalised states.",
    # Variances near ε, so that its place shows.
    inputs=lambda: [(0.3 + draw(3, 4, 6) / 9, 0.01)],
    right=_layer_norm,
    praise="Each token by itself: no other token and no batch has a part in it.",
    form="A tensor of shape [3, 4, 6] is asked for; this is {found}.",
    hints={
        "The variance divides by D, not by D − 1: the default of torch is the unbiased one.": (
            lambda x, eps: _layer_norm(x, eps, unbiased=True)
        ),
        "ε stands inside the root, with the variance.": (
            lambda x, eps: _centred(x) / (_deviation(x) + eps)
        ),
        "ε is missing: a token with D equal numbers would give 0/0.": (
            lambda x, eps: _centred(x) / _deviation(x)
        ),
        "Unbiased variance and ε outside the root: both must change.": (
            lambda x, eps: _centred(x) / (_deviation(x, unbiased=True) + eps)
        ),
        "The mean must be taken off as well.": (
            lambda x, eps: x / (_deviation(x) ** 2 + eps).sqrt()
        ),
        "Divide by the root of the variance, not by the variance.": (
            lambda x, eps: _centred(x) / (_deviation(x) ** 2 + eps)
        ),
        "This normalises over the tokens of a sequence. LayerNorm takes each token alone.": (
            _over(1)
        ),
        "This normalises over the batch. LayerNorm takes each token alone.": _over(0),
        "This normalises over batch and tokens, as BatchNorm does. LayerNorm does not.": (
            _over(0, 1)
        ),
        "This normalises over a whole sequence. LayerNorm takes each token alone.": _over(
            1, 2
        ),
        "This normalises over everything. LayerNorm takes each token alone.": _over(
            0, 1, 2
        ),
    },
    otherwise="Take the mean of each token off, divide by the root of its variance plus ε.",
)

check_parameters = Number(
    "Exercise 2: parameters of one encoder layer of BERT base (d = 768, inner width 3072), biases "
    "and norms included.",
    right=7_087_872,
    praise="12d² + 13d = 7,087,872; twelve of them are most of BERT base's 109 million.",
    hints={
        "The matrices are right. Biases and norms are missing.": 7_077_888,
        "Only the two norms are missing: γ and β each.": 7_084_800,
        "There are two norms, and each has γ and β.": 7_086_336,
        "The biases of the six linear layers are missing.": 7_080_960,
        "That is the attention; the feed-forward network is twice as large.": 2_362_368,
        "That is the feed-forward network alone.": 4_722_432,
        "That is the whole stack of twelve layers.": 85_054_464,
        "That is the Transformer's base layer; BERT's is 768 wide.": 3_152_384,
        "That is without the attention's output projection.": 6_497_280,
    },
    otherwise="Six linear layers with biases, and two norms with γ and β.",
)


def _rotation(k: float, omega: float) -> Tensor:
    sine, cosine = math.sin(k * omega), math.cos(k * omega)
    return torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)


check_rotation = Code(
    "Exercise 3: the matrix that moves one pair of a sinusoid by k positions: takes k and the "
    "frequency ω, returns [2, 2], to be multiplied from the left with the column "
    "(sin pω, cos pω).",
    inputs=lambda: [(3.0, 0.2)],
    right=_rotation,
    praise="It knows k and not p; that is the point.",
    form="A tensor of shape [2, 2] is asked for; this is {found}.",
    hints={
        "This turns the other way: by −k. Is the sine the first of the pair or the cosine?": (
            lambda k, omega: _rotation(-k, omega)
        ),
        "Sine and cosine have changed places: the pair is (sin, cos).": [
            lambda k, omega: _rotation(k, omega).flip(0),
            lambda k, omega: _rotation(k, omega).flip(1),
        ],
    },
    otherwise="Write sin((p + k)ω) and cos((p + k)ω) by the addition theorems.",
    further={
        "For k = 3 and ω = 0.2 it is right, for k = −2 and ω = 0.5 not.": (
            lambda: [(-2.0, 0.5)]
        )
    },
)


def _states_sublayer_norm() -> list[tuple]:
    weight = draw(8, 8, seed=1)
    norm = nn.LayerNorm(8, dtype=torch.float64)
    return [(2 + 3 * draw(2, 3, 8), lambda x: x @ weight, norm)]


check_pre_ln = Code(
    "Exercise 4: one sub-layer in pre-LN order: takes states [B, S, D], a sub-layer and a norm "
    "(both functions of states), returns the new states.",
    inputs=_states_sublayer_norm,
    right=lambda x, f, norm: x + f(norm(x)),
    praise="Nothing stands on the residual path; hence the last norm of the stack.",
    form="A tensor of shape [2, 3, 8] is asked for; this is {found}.",
    hints={
        "This is post-LN: the norm stands on the sum.": lambda x, f, norm: norm(
            x + f(x)
        ),
        "The residual path carries the normalised states; it must carry the states.": (
            lambda x, f, norm: norm(x) + f(norm(x))
        ),
        "The norm stands behind the sub-layer; it must stand before it.": (
            lambda x, f, norm: x + norm(f(x))
        ),
        "The residual connection is missing.": lambda x, f, norm: f(norm(x)),
        "The norm is missing.": lambda x, f, norm: x + f(x),
        "One norm too many: the sum is left as it is.": (
            lambda x, f, norm: norm(x + f(norm(x)))
        ),
    },
    otherwise="x + f(LN(x)): which of the three is different here?",
)

check_share = Number(
    "Exercise 5: the quadratic share of a layer's multiply-adds where n = d, between 0 and 1.",
    right=1 / 7,
    tolerance=1e-3,
    praise="2 / (4 + 2 + 8); in general n / (n + 6d).",
    hints={
        "That is the ratio to the rest. The share is of all.": 1 / 6,
        "That is the share in the attention; the feed-forward network counts too.": 1
        / 3,
        "The two parts are equal only at n = 6d.": 1 / 2,
        "There are two quadratic products: the scores, the mixing of the values.": 1
        / 13,
        "The projections are four matrices, the feed-forward network is eight.": 1 / 5,
    },
    otherwise="Put n = d into 4nd² + 2n²d + 8nd².",
)
