"""Checks for the exercises of the chapter *Attention against the RNN*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)

__all__ = [
    "check_cache_bytes",
    "check_cached_attention",
    "check_critical_path",
    "check_crossing",
    "check_forget_bias",
]


@takes_number
def _check_number(
    answer: float, right: int, hints: dict[int, str], praise: str, last: str
):
    """Compare one number with the right one and with the usual mistakes."""
    if answer == right:
        return correct(praise)
    return wrong(hints.get(answer, last))


def check_crossing(answer: object) -> Verdict:
    """Exercise 1: from which length on attention needs more multiply-adds than an LSTM, d = 512.

    Args:
        answer: the length in tokens at which both need the same.
    """
    return _check_number(
        answer,
        1024,
        {
            512: "That sets n²d = nd², the table's two entries. Count both layers whole.",
            256: "Scores and mixing are 2n²d, the projections 4nd², the LSTM 8nd².",
            2048: "Scores and mixing are two products of n²d each.",
            2560: "An LSTM has four gates, each with two matrices: 8nd², not 14nd².",
            4096: "The four projections of attention count as well: 4nd².",
        },
        "4nd² + 2n²d = 8nd² at n = 2d. Against a vanilla RNN, with 2nd², it never happens.",
        "Set 4nd² + 2n²d equal to 8nd² and solve for n.",
    )


def check_critical_path(answer: object) -> Verdict:
    """Exercise 2: dependent cell steps of a stack of three recurrent layers over 100 tokens.

    Args:
        answer: the number of cell steps on the longest chain.
    """
    return _check_number(
        answer,
        102,
        {
            300: "Must layer 2 wait until layer 1 has read the last token? What does its first "
            "step need?",
            100: "That is one layer. The last step of layer 3 also waits for layers 1 and 2.",
            103: "Count the cells along the chain, the corner ones once.",
            3: "That holds for three layers of attention; here each step waits for the one before.",
        },
        "100 steps along and 2 up: the layers run as a wave. Three layers of attention: 3.",
        "Draw the grid, 100 wide and 3 high; each cell waits for its left and its lower neighbour.",
    )


def check_cache_bytes(answer: object) -> Verdict:
    """Exercise 3: bytes of the key/value cache: 12 layers, d = 768, 1,000 tokens, 2 bytes each.

    Args:
        answer: the number of bytes.
    """
    right = 2 * 12 * 1000 * 768 * 2
    return _check_number(
        answer,
        right,
        {
            right
            // 2: "A factor of two is missing: keys *and* values, two bytes a number.",
            right // 4: "Keys and values are two tensors, and a number has two bytes.",
            right // 12: "Each of the 12 layers has keys and values of its own.",
            right // 24: "Each of the 12 layers keeps keys *and* values.",
            2 * right: "Two bytes a number, not four.",
            12
            * right: "768 is the width of all heads together; do not multiply by the heads.",
            12
            * 1000
            * 1000
            * 2: "The weights n × n are not kept; keys and values are.",
        },
        "36.9 MB for one sequence, and 36,864 bytes more with each token.",
        "Keys and values × layers × tokens × width × bytes of a number.",
    )


@takes_number
def check_forget_bias(answer: float) -> Verdict:
    """Exercise 4: the forget bias that lets half of the cell's gradient through 512 steps.

    Args:
        answer: the bias, to one decimal or better.
    """
    gate = 0.5 ** (1 / 512)
    if abs(answer - math.log(gate / (1 - gate))) < 0.06:
        return correct("σ(6.60) = 0.99865, and its 512th power is one half.")
    if abs(answer - gate) < 0.001:
        return wrong("That is the gate. Which bias does the sigmoid turn into it?")
    if abs(answer) < 1e-9:
        return wrong("σ(0) = ½: half of the gradient is gone after a single step.")
    if abs(answer + math.log(gate / (1 - gate))) < 0.06:
        return wrong("The sign: a negative bias closes the gate.")
    if not -700 < answer < 700:
        return wrong("First the gate f with f^512 = ½, then the bias b with σ(b) = f.")
    through = (1 / (1 + math.exp(-answer))) ** 512
    return wrong(
        f"With this bias {through:.2g} of the gradient arrives. First the gate f with "
        "f^512 = ½, then the bias b with σ(b) = f."
    )


def check_cached_attention(
    function: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Verdict:
    """Exercise 5: one step of generation from a cache.

    Args:
        function: takes the query of the newest token ``[D]``, and the keys and the values of all
            tokens so far, the newest included, ``[t, D]``; returns the output ``[D]``.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    causal = scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[
        0
    ]  # [6, 4]
    outputs = []
    for t in range(6):
        given = q[t].clone(), k[: t + 1].clone(), v[: t + 1].clone()
        output = function(*given)
        if is_open(output):
            return open_answer()
        if not isinstance(output, Tensor) or output.shape != (4,):
            shape = (
                list(output.shape)
                if isinstance(output, Tensor)
                else type(output).__name__
            )
            return wrong(f"An output of shape [4] is asked for; this is {shape}.")
        outputs.append(output)
    outputs = torch.stack(outputs)  # [6, 4]
    if torch.allclose(outputs, causal):
        return correct(
            "Equal to causal attention over the whole sequence, one row at a time; no mask is "
            "needed, since the future is not in the cache."
        )
    weights = (q @ k.T).masked_fill(
        ~torch.ones(6, 6, dtype=torch.bool).tril(), -math.inf
    )
    if torch.allclose(outputs, weights.softmax(-1) @ v):
        return wrong("The scores are not divided by √d_k.")
    if torch.allclose(outputs, (weights / 4).softmax(-1) @ v):
        return wrong("Divided by d_k; its root is asked for.")
    if torch.allclose(outputs, (weights / 2).exp() @ v):
        return wrong(
            "The weights do not sum to one: divide by the sum of the exponentials."
        )
    if torch.allclose(outputs[1], v[0]):
        return wrong("The newest token is left out: it looks at itself too.")
    return wrong(
        f"The second output should be {[round(x, 3) for x in causal[1].tolist()]}, "
        f"it is {[round(x, 3) for x in outputs[1].tolist()]}."
    )
