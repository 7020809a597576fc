"""Checks for the exercises of the chapter *The decoder*."""

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
from bertbook.shared.symbols import BEGIN, PAD

__all__ = [
    "check_cache",
    "check_crossover",
    "check_leak_test",
    "check_masks",
    "check_parameters",
]

Decode = Callable[[Tensor, bool], Tensor]


@takes_number
def check_parameters(answer: float) -> Verdict:
    """Exercise 1: parameters of one decoder layer of the base model (d = 512, inner width 4d).

    Args:
        answer: how many, biases and LayerNorms included.
    """
    d = 512
    attention, feed_forward, norm = 4 * (d**2 + d), 8 * d**2 + 5 * d, 2 * d
    whole = 2 * attention + feed_forward + 3 * norm
    hints = {
        attention + feed_forward + 2 * norm: "That is an encoder layer.",
        16 * d**2: "The matrices are right. Biases and LayerNorms are missing.",
        2 * attention + feed_forward: "The three LayerNorms are missing.",
        2 * attention + feed_forward + 2 * norm: "Three sub-layers, three LayerNorms.",
        whole - 2 * (d**2 + d): (
            "The cross-attention has its own keys' and values' matrices; the encoder does not "
            "hand over projected ones."
        ),
        2 * attention + 8 * d**2 + 3 * norm: "The feed-forward network has two biases.",
        6 * whole: "That is the whole stack; one layer is asked for.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == whole:
        return correct("16d² + 19d, against 12d² + 13d of an encoder layer.")
    return wrong(
        "Add up two attentions, one feed-forward network, three LayerNorms, all with biases."
    )


def check_masks(function: Callable[[Tensor, Tensor], tuple]) -> Verdict:
    """Exercise 2: the three masks of an encoder-decoder.

    Args:
        function: takes the source ``[B, S]`` and the decoder's inputs ``[B, T]``, both padded
            behind with 0; returns the masks of encoder, decoder and cross-attention, boolean,
            ``True`` = may look, which broadcast to ``[B, S, S]``, ``[B, T, T]``, ``[B, T, S]``.
    """
    if is_open(function):
        return open_answer()
    source = torch.tensor([[5, 3, 7, 4], [6, 8, PAD, PAD]])
    inputs = torch.tensor([[BEGIN, 4, 7], [BEGIN, 8, PAD]])
    answer = function(source.clone(), inputs.clone())
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return wrong("Three masks are asked for: of encoder, decoder, cross-attention.")
    if any(is_open(mask) for mask in answer):
        return open_answer()
    (B, S), T = source.shape, inputs.shape[1]
    real = (source != PAD)[:, None, :]  # [B, 1, S]
    past = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T]
    shapes = {"encoder": (B, S, S), "decoder": (B, T, T), "cross-attention": (B, T, S)}
    masks = {}
    for (name, shape), mask in zip(shapes.items(), answer, strict=True):
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            return wrong(f"{name}: a boolean tensor is asked for, True = may look.")
        try:
            masks[name] = mask.expand(shape)
        except RuntimeError:
            return wrong(
                f"{name}: {list(mask.shape)} does not broadcast to {list(shape)}, one row a query."
            )
    encoder, decoder, cross = masks.values()
    if torch.equal(encoder, ~real.expand(B, S, S)) or torch.equal(
        decoder, ~past.expand(B, T, T)
    ):
        return wrong("Inverted: True means that this query may look at this key.")
    if torch.equal(encoder, encoder.tril()):
        return wrong("encoder: the source is all there, nothing has to be causal.")
    if not torch.equal(encoder, real.expand(B, S, S)):
        return wrong("encoder: every token may look at every real source token.")
    if not decoder.diagonal(dim1=1, dim2=2)[inputs != PAD].all():
        return wrong(
            "decoder: a position may look at itself; what it predicts stands one step further."
        )
    if torch.equal(decoder, past.T.expand(B, T, T)):
        return wrong("decoder: transposed; here each position sees the future.")
    if not torch.equal(decoder & ~past, torch.zeros_like(decoder)):
        return wrong("decoder: some position may look at what comes after it.")
    unneeded = (inputs != PAD)[:, None, :]  # [B, 1, T]
    if not torch.equal(decoder | ~unneeded, past.expand(B, T, T) | ~unneeded):
        return wrong(
            "decoder: every position may look at all real ones before it and itself."
        )
    if not torch.equal(cross, real.expand(B, T, S)):
        return wrong(
            "cross-attention: the keys are the source's, so the source's padding is what hides; "
            "all of the real source is there at every step."
        )
    if torch.equal(decoder, past.expand(B, T, T)):
        return correct("Two masks by the source's padding, one by the order in time.")
    return correct(
        "The target's padding need not be masked, though: it stands behind all real positions."
    )


def _running_mean(tables: dict[bool, Tensor], drop: bool = False) -> Decode:
    """A small decoder: each output is the mean of the vectors its row of the mask allows.

    Args:
        tables: the mask ``[T, T]`` in training (``True``) and in evaluation (``False``).
        drop: whether training draws a dropout.
    """
    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).double()

    def decode(inputs: Tensor, training: bool) -> Tensor:
        mask = tables[training].double()  # [T, T]
        states = vectors[inputs]  # [B, T, D]
        if drop and training:
            states = torch.dropout(states, 0.5, train=True)
        return mask @ states / mask.sum(dim=-1, keepdim=True)  # [B, T, D]

    return decode


def check_leak_test(function: Callable[[Decode, Tensor], bool]) -> Verdict:
    """Exercise 3: a test that tells whether a decoder looks ahead.

    Args:
        function: takes ``decode`` and inputs ``[B, T]``, symbols below 20. ``decode(inputs,
            training)`` returns outputs ``[B, T, D]`` and draws its dropout, in training, from the
            global random state. Returns ``True`` if the decoder leaks.
    """
    if is_open(function):
        return open_answer()
    T = 6
    inputs = torch.tensor([[BEGIN, 4, 7, 9, 5, 12], [BEGIN, 8, 8, 3, 11, 6]])
    past = torch.ones(T, T, dtype=torch.bool).tril()  # [T, T]
    everything = torch.ones_like(past)
    far, late = past.clone(), past.clone()
    far[1, 5] = True  # a single look, four steps ahead
    late[4, 5] = True
    clean = {True: past, False: past}
    cases = [
        (clean, False, False, "A clean decoder without dropout is said to leak."),
        (
            clean,
            True,
            False,
            "A clean decoder is said to leak in training: its dropout differs between your two "
            "calls. Set the same seed before each.",
        ),
        (
            {True: everything, False: everything},
            True,
            True,
            "No mask at all is missed.",
        ),
        (
            {True: past, False: everything},
            True,
            True,
            "A mask that exists only in training is missed: test evaluation too.",
        ),
        (
            {True: everything, False: past},
            True,
            True,
            "A mask that exists only in evaluation is missed: test training too.",
        ),
        (
            {True: late, False: late},
            True,
            True,
            "A look from the last position but one at the last is missed: change that one too.",
        ),
        (
            {True: far, False: far},
            True,
            True,
            "A look four steps ahead is missed: compare all outputs before the changed symbol, "
            "not only the one just before it.",
        ),
    ]
    for tables, drop, leaks, hint in cases:
        answer = function(_running_mean(tables, drop), inputs.clone())
        if is_open(answer):
            return open_answer()
        if not isinstance(answer, bool):
            return wrong(f"True or False is asked for; this is {answer!r}.")
        if answer != leaks:
            return wrong(hint)
    return correct("It passes the clean decoders and finds all five that leak.")


@takes_number
def check_crossover(answer: float) -> Verdict:
    """Exercise 4: the alpha from which the longer of two hypotheses wins.

    The hypotheses: log-probability -1.2 with 4 symbols, -1.5 with 10.

    Args:
        answer: the alpha at which both score the same.
    """
    ratio = math.log(1.5 / 1.2)
    hints = {
        ratio / math.log(10 / 4): (
            "The penalty is ((5 + length)/6) to the power of alpha, not the length itself."
        ),
        -ratio / math.log(15 / 9): (
            "The sign: the longer hypothesis has the lower log-probability and the larger penalty."
        ),
        ratio: "That is the logarithm of 1.5/1.2; divide by that of the penalties' ratio.",
        1.5 / 1.2 / (15 / 9): "Alpha is an exponent: take logarithms.",
    }
    for mistake, hint in hints.items():
        if math.isclose(answer, mistake, abs_tol=5e-3):
            return wrong(hint)
    if math.isclose(answer, ratio / math.log(15 / 9), abs_tol=5e-3):
        return correct("ln 1.25 / ln (15/9): above it the longer one wins.")
    return wrong("Set 1.2 / (9/6)^α equal to 1.5 / (15/6)^α and solve for α.")


@takes_number
def check_cache(answer: float) -> Verdict:
    """Exercise 5: numbers in the key/value cache of the base model.

    Six decoder layers, d = 512, eight heads, a source of 30 symbols, 20 written.

    Args:
        answer: how many numbers are kept for one sentence.
    """
    whole = 2 * 6 * 512 * (20 + 30)
    hints = {
        whole / 2: "Keys and values are kept.",
        whole / 6: "That is one layer; each of the six has its own.",
        whole * 8: "The heads share the width: 8 heads of 64.",
        whole / 8: "That is one head; there are eight.",
        2
        * 6
        * 512
        * 20: "That is the self-attention's. The cross-attention's are kept too.",
        2
        * 6
        * 512
        * 30: "That is the cross-attention's. The self-attention's are kept too.",
        2 * 6 * (20 + 30): "That many vectors; each has 512 numbers.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == whole:
        return correct("2 · L · d · (T + S); only the T in it grows as it writes.")
    return wrong(
        "For each layer: a key and a value of width d for every symbol written and every one read."
    )
