"""Checks for the exercises of the chapter *The input of BERT*."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
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
    "check_embed",
    "check_input_parameters",
    "check_key_padding_mask",
    "check_pack",
    "check_truncation",
]


def _shape(answer: object) -> str:
    return (
        str(list(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
    )


def check_pack(
    function: Callable[[list[int], list[int], int, int], tuple[list[int], list[int]]],
) -> Verdict:
    """Exercise 1: pack a pair.

    Args:
        function: takes the ids of A, those of B, and the numbers of [CLS] and [SEP]; returns the
            packed ids and the token types.
    """
    if is_open(function):
        return open_answer()
    answer = function([7, 8, 9], [5, 6], 1, 2)
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return wrong("Return two lists: the ids and the token types.")
    if not all(isinstance(part, list | tuple) for part in answer):
        return wrong("Both, the ids and the token types, are lists.")
    ids, types = map(list, answer)
    hints = {
        (1, 7, 8, 9, 2, 5, 6): "B has no [SEP] behind it.",
        (7, 8, 9, 2, 5, 6, 2): "[CLS] is missing.",
        (1, 7, 8, 9, 2, 1, 5, 6, 2): "[CLS] stands once, at the very start.",
        (1, 7, 8, 9, 5, 6, 2): "Nothing closes A.",
    }
    if tuple(ids) in hints:
        return wrong(hints[tuple(ids)])
    if ids != [1, 7, 8, 9, 2, 5, 6, 2]:
        return wrong("The order is [CLS], A, [SEP], B, [SEP].")
    if types == [0, 0, 0, 0, 1, 1, 1, 1]:
        return wrong("The [SEP] that closes A belongs to A: type 0.")
    if types == [0, 0, 0, 0, 0, 1, 1, 0]:
        return wrong("The last [SEP] belongs to B: type 1.")
    if len(types) != len(ids):
        return wrong(f"{len(ids)} ids need as many types; these are {len(types)}.")
    if types != [0] * 5 + [1] * 3:
        return wrong("Type 0 up to and with the first [SEP], type 1 after it.")
    empty = function([7, 8, 9], [], 1, 2)
    if list(map(list, empty)) != [[1, 7, 8, 9, 2, 2], [0] * 5 + [1]]:
        return wrong("Right for this pair, but not for an empty B.")
    return correct("The first [SEP] is A's, the last is B's.")


def check_truncation(answer: object) -> Verdict:
    """Exercise 2: 300 and 120 pieces, ``max_length`` 203, longest first.

    Args:
        answer: the two lengths that are left.
    """
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return wrong(f"Two lengths are asked for; this is {answer!r}.")
    hints = {
        (
            80,
            120,
        ): "That takes all from A. It stops when A is no longer the longer one.",
        (83, 120): "That takes all from A, and forgets the three special tokens.",
        (143, 57): "Longest first is not proportional.",
        (102, 101): "The three special tokens need places too.",
        (101, 102): "The three special tokens need places too.",
        (
            300,
            120,
        ): "That is 420 pieces; 203 places, special tokens included, are there.",
        (200, 0): "That keeps A alone; longest first keeps the shorter text longest.",
    }
    lengths = tuple(answer)
    if lengths in hints:
        return wrong(hints[lengths])
    if lengths == (100, 100):
        return correct("A falls to 120, then both in turn to 100.")
    return wrong("203 places, three of them special; the longer text loses a piece.")


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


def check_embed(
    function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Verdict:
    """Exercise 3: the normalised sum.

    Args:
        function: takes the tables of words ``[V, D]``, segments ``[2, D]`` and positions
            ``[P, D]``, the ids ``[S]`` and the types ``[S]``; returns ``[S, D]``.
    """
    if is_open(function):
        return open_answer()
    generator = torch.Generator().manual_seed(0)
    words, segments, places = (
        torch.randn(rows, 8, generator=generator, dtype=torch.float64)
        for rows in (11, 2, 9)
    )
    ids, types = torch.tensor([4, 1, 4, 10]), torch.tensor([0, 0, 1, 1])
    inputs = (words, segments, places, ids, types)
    answer = function(*(tensor.clone() for tensor in inputs))
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != (4, 8):
        return wrong(f"[4, 8] is asked for; this is {_shape(answer)}.")
    token, segment, position = words[ids], segments[types], places[:4]
    total = token + segment + position  # [S, D]
    deviation = total - total.mean(-1, keepdim=True)
    mistakes = {
        "The sum is right; LayerNorm is missing.": total,
        "The segments are missing.": _layer_norm(token + position),
        "The positions are missing.": _layer_norm(token + segment),
        "BERT has no factor √D.": _layer_norm(token * 8**0.5 + segment + position),
        "Positions count from 0.": _layer_norm(token + segment + places[1:5]),
        "In B the positions go on; they do not start again.": _layer_norm(
            token + segment + places[[0, 1, 0, 1]]
        ),
        "LayerNorm divides by D inside the variance, not by D − 1.": deviation
        / total.std(-1, keepdim=True),
        "LayerNorm goes over the D numbers of one token, not over the tokens.": (
            (total - total.mean(0)) / total.std(0, unbiased=False)
        ),
        "The sum is normalised, not its parts.": _layer_norm(token)
        + _layer_norm(segment)
        + _layer_norm(position),
    }
    for hint, mistake in mistakes.items():
        if torch.allclose(answer.double(), mistake):
            return wrong(hint)
    if not torch.allclose(answer.double(), _layer_norm(total), atol=1e-6):
        return wrong("Add three rows for each token, then normalise each token.")
    return correct("Each token alone: three rows added, mean 0, variance 1.")


def check_key_padding_mask(function: Callable[[Tensor], Tensor]) -> Verdict:
    """Exercise 4: a tokenizer's mask in the form of ``nn.MultiheadAttention``.

    Args:
        function: takes ones and zeros ``[B, S]``; returns a boolean ``[B, S]``.
    """
    if is_open(function):
        return open_answer()
    given = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    answer = function(given.clone())
    if is_open(answer):
        return open_answer()
    if not isinstance(answer, Tensor) or answer.shape != given.shape:
        return wrong(f"[2, 4] is asked for; this is {_shape(answer)}.")
    if answer.is_floating_point():
        return wrong(
            "That is a mask that is added to the scores; a boolean is asked for."
        )
    if answer.dtype != torch.bool:
        if torch.equal(answer, ~given):
            return wrong(
                "~ turns the bits of an integer: 1 becomes -2. First make a boolean."
            )
        return wrong(f"A boolean is asked for; this is {answer.dtype}.")
    if torch.equal(answer, given == 1):
        return wrong(
            "This is the book's form, True = may look. The library's True hides."
        )
    if not torch.equal(answer, given == 0):
        return wrong("True where there is padding, and nowhere else.")
    return correct("The library's True means: leave this key out.")


@takes_number
def check_input_parameters(answer: float) -> Verdict:
    """Exercise 5: parameters of the input of BERT base.

    Args:
        answer: three tables and the LayerNorm.
    """
    D = 768
    hints = {
        30_522 * D: "That is the token table alone.",
        (30_522 + 512) * D: "That is without segments and LayerNorm.",
        (30_522 + 512) * D
        + 2 * D: "The segments or the LayerNorm are missing: both have 2·768.",
        (30_522 + 512 + 2) * D + D: "LayerNorm has a scale and a shift.",
        (30_522 + 2) * D + 2 * D: "BERT's positions are learned: they are parameters.",
        109_482_240: "That is the whole model.",
    }
    if answer in hints:
        return wrong(hints[answer])
    if answer == (30_522 + 512 + 2) * D + 2 * D:
        return correct("23,837,184, of which the token table is 98 %.")
    return wrong("Rows times width for three tables, and 2·768 for the LayerNorm.")
