"""Checks for the exercises of the chapter *BERT's structure*."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.bert.config import BertConfig, parameter_table
from bertbook.exercises import Verdict, as_number, correct, is_open, open_answer, wrong

__all__ = [
    "check_gelu",
    "check_interaction",
    "check_parameters",
    "check_pooler",
    "check_reach",
]


def _shape(answer: object) -> str:
    return (
        str(list(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
    )


def check_parameters(function: Callable[[BertConfig], int]) -> Verdict:
    """Exercise 1: all parameters of a BERT.

    Args:
        function: takes a configuration, returns the number, pooler included.
    """
    if is_open(function):
        return open_answer()
    configs = BertConfig.base(), BertConfig.chinese_base(), BertConfig.tiny()
    answers = [function(config) for config in configs]
    if any(is_open(answer) for answer in answers):
        return open_answer()
    for config, answer in zip(configs, answers, strict=True):
        value = as_number(answer)
        if value is None:
            return wrong(f"A number is asked for; this is {answer!r}.")
        terms = {name: count for name, _, count in parameter_table(config)}
        width, layers = config.hidden_size, config.num_hidden_layers
        inner = config.intermediate_size
        total = sum(terms.values())
        if value == total:
            continue
        biases = layers * (4 * width + inner + width) + width
        attention = terms["query, key and value"] + terms["attention output"]
        missing = {
            terms["pooler"]: "the pooler: D·D + D.",
            2 * width: "2·D: the table of segments, or the norm of the embeddings.",
            terms["position embeddings"]: "the table of positions.",
            terms["attention output"]: "the output layer of attention, the fourth.",
            layers * 4 * width: "the two norms of each layer.",
            layers * 2 * width: "one of the two norms of each layer.",
            layers * 4 * width + 2 * width: "all norms, that of the embeddings too.",
            biases: "the biases of the linear layers.",
        }
        if total - value in missing:
            return wrong(f"Missing is {missing[total - value]}")
        if value - total == (config.num_attention_heads - 1) * attention:
            return wrong(
                "The heads share the D columns; their number does not multiply."
            )
        return wrong(
            f"For D = {width}, L = {layers} it should be {total:,}, not {value:,.0f}. Which term "
            f"is off by {abs(total - value):,.0f}?"
        )
    return correct("109,482,240 for base; the number of heads was not needed.")


def check_gelu(function: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 2: the exact GELU.

    Args:
        function: takes a tensor of any shape, returns one of the same shape.
    """
    if is_open(function):
        return open_answer()
    x = torch.linspace(-5, 5, 41, dtype=torch.float64)
    answer = function(x.clone())
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        return wrong(f"As many numbers as came in are asked for; got {_shape(answer)}.")
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))  # Φ(x)
    mistakes = [
        (
            F.gelu(x, approximate="tanh"),
            "That is the tanh form. The exact one has erf.",
        ),
        (x * torch.sigmoid(1.702 * x), "That is the sigmoid form, the coarsest one."),
        (x * torch.sigmoid(x), "That is SiLU: the logistic function in place of Φ."),
        (x.relu(), "That is ReLU: a step in place of Φ."),
        (below, "That is Φ(x) itself. It multiplies x."),
        (x * 0.5 * (1 + torch.erf(x)), "erf wants x/√2: Φ(x) = (1 + erf(x/√2))/2."),
        (x * torch.erf(x / math.sqrt(2)), "erf runs from -1 to 1, Φ from 0 to 1."),
        (2 * x * below, "Twice too much: Φ is half of 1 + erf."),
    ]
    for mistake, hint in mistakes:
        if torch.allclose(answer, mistake, atol=1e-7):
            return wrong(hint)
    if not torch.allclose(answer, x * below, atol=1e-7):
        return wrong("x times Φ(x), and Φ(x) = (1 + erf(x/√2))/2.")
    return correct("x, times the probability that a normal number is below it.")


def check_pooler(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 3: the pooler.

    Args:
        function: takes states ``[B, S, D]``, a weight ``[D, D]`` (outputs in rows) and a bias
            ``[D]``, returns ``[B, D]``.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    states, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 5, 4), (4, 4), (4,))
    )
    answer = function(states.clone(), weight.clone(), bias.clone())
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != (2, 4):
        return wrong(f"One vector a sequence, [2, 4]; this is {_shape(answer)}.")

    def pool(vectors: Tensor) -> Tensor:
        return torch.tanh(vectors @ weight.T + bias)

    first = states[:, 0]
    mistakes = [
        (pool(states.mean(1)), "That is a mean over tokens. BERT reads one token."),
        (pool(states.amax(1)), "That is a maximum over tokens. BERT reads one token."),
        (pool(states[:, -1]), "That is the last token; [CLS] stands first."),
        (first @ weight.T + bias, "The linear map is right. What follows it?"),
        (torch.tanh(first @ weight.T), "The bias is missing."),
        (torch.tanh(first @ weight + bias), "nn.Linear computes x Wᵀ + b."),
        (first.tanh() @ weight.T + bias, "First the linear map, then tanh."),
        (
            first,
            "That is the state of [CLS] itself; a linear map and tanh are missing.",
        ),
    ]
    for mistake, hint in mistakes:
        if torch.allclose(answer, mistake):
            return wrong(hint)
    if not torch.allclose(answer, pool(first)):
        return wrong("tanh of a linear map of the first token's state.")
    return correct("The first token alone; what it knows of others came by attention.")


def check_reach(function: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 4: which inputs reach which outputs.

    Args:
        function: takes a boolean mask ``[S, S]``, ``True`` = may look, and a number of layers;
            returns a boolean ``[S, S]``, ``True`` = the input of the column reaches the row.
    """
    if is_open(function):
        return open_answer()
    places = 6
    ahead = torch.zeros(places, places, dtype=torch.bool)  # each looks at the next only
    ahead.diagonal(1).fill_(True)
    but_next = ~torch.eye(places + 1, dtype=torch.bool)[1:, :-1]
    causal = torch.ones(places, places, dtype=torch.bool).tril()
    for mask in (ahead, but_next, causal):
        for layers in (1, 2, 3):
            answer = function(mask.clone(), layers)
            if is_open(answer):
                return open_answer()
            if not isinstance(answer, Tensor) or answer.shape != mask.shape:
                return wrong(
                    f"[6, 6] is asked for, like the mask; got {_shape(answer)}."
                )
            if answer.dtype != torch.bool:
                return wrong(
                    f"Boolean is asked for, not {answer.dtype}: compare with 0."
                )
            step = mask.double() + torch.eye(places).double()
            expected = torch.linalg.matrix_power(step, layers) > 0
            if torch.equal(answer, expected):
                continue
            looks = torch.linalg.matrix_power(mask.double(), layers) > 0
            if torch.equal(answer, expected.T):
                return wrong("Rows and columns are exchanged: rows are outputs.")
            if torch.equal(answer, looks):
                return wrong(
                    "The residual connection is missing: each place keeps itself."
                )
            if layers > 1 and torch.equal(answer, mask | torch.eye(places).bool()):
                return wrong("That is one layer. The next looks at what has looked.")
            if torch.equal(answer, torch.linalg.matrix_power(step, layers + 1) > 0):
                return wrong("That is one layer too many.")
            return wrong(
                f"With {layers} layer(s) it should be (M + I) to that power, > 0."
            )
    return correct("The causal mask reaches no further with depth; the others do.")


def check_interaction(function: Callable[..., float]) -> Verdict:
    """Exercise 5: the second difference.

    Args:
        function: takes a function of two numbers, a left one, another left one, a right one and
            another right one; returns a number.
    """
    if is_open(function):
        return open_answer()

    def times(left: float, right: float) -> float:
        return left * right

    def plus(left: float, right: float) -> float:
        return left**2 + 3 * right + 1

    arguments = (1.0, 3.0, 2.0, 7.0)  # left, other left, right, other right
    answer = function(times, *arguments)
    if is_open(answer):
        return open_answer()
    value, of_sum = as_number(answer), as_number(function(plus, *arguments))
    if value is None or of_sum is None:
        return wrong(f"A number is asked for; this is {answer!r}.")
    left, other, right, last = arguments
    expected = (other - left) * (last - right)
    hints = {
        other * last - left * right: "That changes both at once: a first difference.",
        other * last - other * right - left * last: "f(l, r) itself is missing.",
        -expected: "The sign is turned round: f(l', r') counts plus.",
        other * last
        + left * right
        + other * right
        + left * last: "Two of four count minus.",
    }
    for mistake, hint in hints.items():
        if math.isclose(value, mistake):
            return wrong(hint)
    if not math.isclose(of_sum, 0, abs_tol=1e-9):
        return wrong(f"For a sum a(l) + b(r) it must be zero; it is {of_sum:g}.")
    if not math.isclose(value, expected):
        return wrong(f"For l times r it should be {expected:g} here, not {value:g}.")
    return correct("Zero for every sum a(l) + b(r), whatever a and b are.")
