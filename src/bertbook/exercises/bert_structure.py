"""The exercises of the chapter *BERT's structure*."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.bert.config import BertConfig, parameter_table
from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code

__all__ = [
    "check_gelu",
    "check_interaction",
    "check_parameters",
    "check_pooler",
    "check_reach",
]


def _without(*names: str) -> Callable[[BertConfig], int]:
    """A count of all parameters but those of some terms of the table."""
    return lambda config: sum(
        count for name, _, count in parameter_table(config) if name not in names
    )


_total = _without()
_NORMS = "LayerNorm after attention", "LayerNorm after feed-forward"


def _without_biases(c: BertConfig) -> int:
    each_layer = 4 * c.hidden_size + c.intermediate_size + c.hidden_size
    return _total(c) - c.num_hidden_layers * each_layer - c.hidden_size


def _heads_multiplied(c: BertConfig) -> int:
    attention = 4 * c.num_hidden_layers * (c.hidden_size**2 + c.hidden_size)
    return _total(c) + (c.num_attention_heads - 1) * attention


check_parameters = Code(
    "Exercise 1: all parameters of a BERT: takes a configuration, returns the number, pooler "
    "included.",
    inputs=lambda: [
        (BertConfig.base(),),
        (BertConfig.chinese_base(),),
        (BertConfig.tiny(),),
    ],
    right=_total,
    praise="109,482,240 for base; the number of heads was not needed.",
    form="A number is asked for; this is {found}.",
    hints={
        "The pooler is missing: D·D + D.": _without("pooler"),
        "2·D are missing: the table of segments, or the norm of the embeddings.": [
            _without("token type embeddings"),
            _without("LayerNorm of the embeddings"),
        ],
        "The table of positions is missing.": _without("position embeddings"),
        "The output layer of attention is missing, the fourth.": _without(
            "attention output"
        ),
        "The two norms of each layer are missing.": _without(*_NORMS),
        "One of the two norms of each layer is missing.": _without(_NORMS[0]),
        "All norms are missing, that of the embeddings too.": (
            _without(*_NORMS, "LayerNorm of the embeddings")
        ),
        "The biases of the linear layers are missing.": _without_biases,
        "The heads share the D columns; their number does not multiply.": _heads_multiplied,
    },
    otherwise=lambda found, right, c: (
        f"For D = {c.hidden_size}, L = {c.num_hidden_layers} it should be {right:,}, not "
        f"{float(found):,.0f}. Which term is off by {abs(right - float(found)):,.0f}?"
    ),
)


def _below(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))  # Φ(x)


check_gelu = Code(
    "Exercise 2: the exact GELU: takes a tensor of any shape, returns one of the same shape.",
    inputs=lambda: [(torch.linspace(-5, 5, 41, dtype=torch.float64),)],
    right=F.gelu,
    tolerance=1e-7,
    praise="x, times the probability that a normal number is below it.",
    form="As many numbers as came in, 41, are asked for; this is {found}.",
    hints={
        "That is the tanh form. The exact one has erf.": lambda x: F.gelu(
            x, approximate="tanh"
        ),
        "That is the sigmoid form, the coarsest one.": lambda x: (
            x * torch.sigmoid(1.702 * x)
        ),
        "That is SiLU: the logistic function in place of Φ.": F.silu,
        "That is ReLU: a step in place of Φ.": F.relu,
        "That is Φ(x) itself. It multiplies x.": _below,
        "erf takes x/√2: Φ(x) = (1 + erf(x/√2))/2.": lambda x: (
            x * 0.5 * (1 + torch.erf(x))
        ),
        "erf runs from -1 to 1, Φ from 0 to 1.": lambda x: (
            x * torch.erf(x / math.sqrt(2))
        ),
        "That is twice as much: Φ is half of 1 + erf.": lambda x: 2 * x * _below(x),
    },
    otherwise="x times Φ(x), and Φ(x) = (1 + erf(x/√2))/2.",
)


def _pool(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.tanh(states[:, 0] @ weight.T + bias)


check_pooler = Code(
    "Exercise 3: the pooler: takes states [B, S, D], a weight [D, D] (outputs in rows) and a bias "
    "[D], returns [B, D].",
    inputs=lambda: [(draw(2, 5, 4), draw(4, 4, seed=1), draw(4, seed=2))],
    right=_pool,
    praise="The first token alone; what it knows of others came by attention.",
    form="One vector a sequence, [2, 4], is asked for; this is {found}.",
    hints={
        "That is a mean over tokens. BERT reads one token.": (
            lambda states, *layer: _pool(states.mean(1, keepdim=True), *layer)
        ),
        "That is a maximum over tokens. BERT reads one token.": (
            lambda states, *layer: _pool(states.amax(1, keepdim=True), *layer)
        ),
        "That is the last token; [CLS] stands first.": (
            lambda states, *layer: _pool(states[:, -1:], *layer)
        ),
        "The linear map is right. What follows it?": lambda s, w, b: s[:, 0] @ w.T + b,
        "The bias is missing.": lambda s, w, b: _pool(s, w, 0 * b),
        "nn.Linear computes x Wᵀ + b.": lambda s, w, b: _pool(s, w.T, b),
        "First the linear map, then tanh.": lambda s, w, b: s[:, 0].tanh() @ w.T + b,
        "That is the state of [CLS] itself; a linear map and tanh are missing.": (
            lambda s, w, b: s[:, 0]
        ),
    },
    otherwise="tanh of a linear map of the first token's state.",
)


def _looks(mask: Tensor, layers: int) -> Tensor:
    return torch.linalg.matrix_power(mask.double(), layers) > 0


def _reach(mask: Tensor, layers: int) -> Tensor:
    return _looks(mask | torch.eye(len(mask), dtype=torch.bool), layers)


def _masks_and_layers() -> list[tuple[Tensor, int]]:
    ahead = torch.zeros(6, 6, dtype=torch.bool)  # each looks at the next only
    ahead.diagonal(1).fill_(True)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    masks = ahead, ~torch.eye(7, dtype=torch.bool)[1:, :-1], causal
    return [(mask.clone(), layers) for mask in masks for layers in (1, 2, 3)]


def _reach_hint(found: Tensor, right: Tensor, mask: Tensor, layers: int) -> str:
    if found.dtype != torch.bool:
        return f"A boolean tensor is asked for, not {found.dtype}: compare with 0."
    return f"With {layers} layer(s) it should be (M + I) to that power, > 0."


check_reach = Code(
    "Exercise 4: which inputs reach which outputs: takes a boolean mask [S, S], True = may look, "
    "and a number of layers; returns a boolean [S, S], True = the input of the column reaches "
    "the row.",
    inputs=_masks_and_layers,
    right=_reach,
    praise="The causal mask reaches no further with depth; the others do.",
    form="A tensor of shape [6, 6] is asked for, like the mask; this is {found}.",
    hints={
        "Rows and columns are exchanged: rows are outputs.": lambda m, n: (
            _reach(m, n).T
        ),
        "The residual connection is missing: each place keeps itself.": _looks,
        "That is one layer. The next looks at what has looked.": lambda m, n: _reach(
            m, 1
        ),
        "That is one layer too many.": lambda m, n: _reach(m, n + 1),
    },
    otherwise=_reach_hint,
)


def _times(left: float, right: float) -> float:
    return left * right


def _plus(left: float, right: float) -> float:
    return left**2 + 3 * right + 1


def _difference(f: Callable, a: float, b: float, c: float, d: float) -> float:
    return f(b, d) - f(b, c) - f(a, d) + f(a, c)


check_interaction = Code(
    "Exercise 5: the second difference: takes a function of two numbers, a left one, another left "
    "one, a right one and another right one; returns a number.",
    inputs=lambda: [(f, 1.0, 3.0, 2.0, 7.0) for f in (_plus, _times)],
    right=_difference,
    praise="Zero for every sum a(l) + b(r), whatever a and b are.",
    form="A number is asked for; this is {found}.",
    hints={
        "That changes both at once: a first difference.": (
            lambda f, a, b, c, d: f(b, d) - f(a, c)
        ),
        "f(l, r) itself is missing.": lambda f, a, b, c, d: f(b, d) - f(b, c) - f(a, d),
        "The sign is turned round: f(l', r') counts plus.": lambda *args: (
            -_difference(*args)
        ),
        "Two of four count minus.": (
            lambda f, a, b, c, d: f(b, d) + f(b, c) + f(a, d) + f(a, c)
        ),
    },
    otherwise=lambda found, right, f, *rest: (
        f"For a sum a(l) + b(r) it must be zero; it is {float(found):g}."
        if f is _plus
        else f"For l times r it should be {right:g} here, not {float(found):g}."
    ),
)
