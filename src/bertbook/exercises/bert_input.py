"""The exercises of the chapter *The input of BERT*."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.exercises.answers import draw, numbers
from bertbook.exercises.checker import Code, Number, Several

__all__ = [
    "check_embed",
    "check_input_parameters",
    "check_key_padding_mask",
    "check_pack",
    "check_truncation",
]


def _pack(
    a: list[int], b: list[int], cls: int, sep: int
) -> tuple[list[int], list[int]]:
    return [cls, *a, sep, *b, sep], [0] * (len(a) + 2) + [1] * (len(b) + 1)


def _pack_hint(found: tuple, right: tuple, *arguments: object) -> str:
    (ids, types), (right_ids, _) = found, right
    if list(ids) != right_ids:
        return "The order is [CLS], A, [SEP], B, [SEP]."
    if len(types) != len(ids):
        return f"{len(ids)} ids need as many types; these are {len(types)}."
    return "Type 0 up to and with the first [SEP], type 1 after it."


check_pack = Code(
    "Exercise 1: pack a pair: takes the ids of A, those of B, and the numbers of [CLS] and [SEP]; "
    "returns the packed ids and the token types.",
    inputs=lambda: [([7, 8, 9], [5, 6], 1, 2)],
    right=_pack,
    praise="The first [SEP] is A's, the last is B's.",
    form="Return two lists, the ids and the token types, both of them lists; not {found}.",
    hints={
        "The [SEP] behind B is missing.": ([1, 7, 8, 9, 2, 5, 6], ...),
        "[CLS] is missing.": ([7, 8, 9, 2, 5, 6, 2], ...),
        "[CLS] occurs once, at the very start.": ([1, 7, 8, 9, 2, 1, 5, 6, 2], ...),
        "No [SEP] closes A.": ([1, 7, 8, 9, 5, 6, 2], ...),
        "The [SEP] that closes A belongs to A: type 0.": (
            ([1, 7, 8, 9, 2, 5, 6, 2], [0, 0, 0, 0, 1, 1, 1, 1])
        ),
        "The last [SEP] belongs to B: type 1.": (
            ([1, 7, 8, 9, 2, 5, 6, 2], [0, 0, 0, 0, 0, 1, 1, 0])
        ),
    },
    otherwise=_pack_hint,
    further={
        "Right for this pair, but not for an empty B.": lambda: [([7, 8, 9], [], 1, 2)]
    },
)

check_truncation = Several(
    "Exercise 2: the two lengths that are left of 300 and 120 pieces, max_length 203, longest "
    "first.",
    right=(100, 100),
    praise="A falls to 120, then both in turn to 100.",
    read=lambda answer: values if len(values := numbers(answer) or ()) == 2 else None,
    form="Two lengths are asked for; this is {found}.",
    hints={
        "That takes all from A. It stops when A is no longer the longer one.": (
            80,
            120,
        ),
        "That takes all from A, and forgets the three special tokens.": (83, 120),
        "Longest first is not proportional.": (143, 57),
        "The three special tokens need places too.": [(102, 101), (101, 102)],
        "That is 420 pieces; 203 places, special tokens included, are there.": (
            300,
            120,
        ),
        "That keeps A alone; longest first keeps the shorter text longest.": (200, 0),
    },
    otherwise="203 places, three of them special; the longer text loses a piece.",
)


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


def _sum(words: Tensor, segments: Tensor, places: Tensor, ids: Tensor, types: Tensor):
    return words[ids] + segments[types] + places[: len(ids)]  # [S, D]


def _unbiased(*inputs: Tensor) -> Tensor:
    total = _sum(*inputs)
    return (total - total.mean(-1, keepdim=True)) / total.std(-1, keepdim=True)


def _over_tokens(*inputs: Tensor) -> Tensor:
    total = _sum(*inputs)
    return (total - total.mean(0)) / total.std(0, unbiased=False)


check_embed = Code(
    "Exercise 3: the normalised sum: takes the tables of words [V, D], segments [2, D] and "
    "positions [P, D], the ids [S] and the types [S]; returns [S, D].",
    inputs=lambda: [
        (
            *(draw(11, 8), draw(2, 8, seed=1), draw(9, 8, seed=2)),
            *(torch.tensor([4, 1, 4, 10]), torch.tensor([0, 0, 1, 1])),
        )
    ],
    right=lambda *inputs: _layer_norm(_sum(*inputs)),
    praise="Each token alone: three rows added, mean 0, variance 1.",
    form="A tensor of shape [4, 8] is asked for; this is {found}.",
    hints={
        "The sum is right; LayerNorm is missing.": _sum,
        "The segments are missing.": lambda w, s, p, i, t: _layer_norm(w[i] + p[:4]),
        "The positions are missing.": lambda w, s, p, i, t: _layer_norm(w[i] + s[t]),
        "BERT has no factor √D.": lambda w, *rest: _layer_norm(_sum(w * 8**0.5, *rest)),
        "Positions count from 0.": (
            lambda w, s, p, *rest: _layer_norm(_sum(w, s, p[1:], *rest))
        ),
        "In B the positions go on; they do not start again.": (
            lambda w, s, p, *rest: _layer_norm(_sum(w, s, p[[0, 1, 0, 1]], *rest))
        ),
        "LayerNorm divides by D inside the variance, not by D − 1.": _unbiased,
        "LayerNorm goes over the D numbers of one token, not over the tokens.": _over_tokens,
        "The sum is normalised, not its parts.": (
            lambda w, s, p, *rest: _sum(*map(_layer_norm, (w, s, p)), *rest)
        ),
    },
    otherwise="Add three rows for each token, then normalise each token.",
)


def _padding_hint(found: Tensor, right: Tensor, mask: Tensor) -> str:
    if found.is_floating_point():
        return "That is a mask that is added to the scores; a boolean is asked for."
    if found.dtype != torch.bool:
        return f"A boolean is asked for; this is {found.dtype}."
    return "True where there is padding, and nowhere else."


check_key_padding_mask = Code(
    "Exercise 4: a tokenizer's mask in the form of nn.MultiheadAttention: takes ones and zeros "
    "[B, S]; returns a boolean [B, S].",
    inputs=lambda: [(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),)],
    right=lambda mask: mask == 0,
    praise="The library's True means: leave this key out.",
    form="A tensor of shape [2, 4] is asked for; this is {found}.",
    hints={
        "This is the book's form, True = may look. The library's True hides.": (
            lambda mask: mask == 1
        ),
        "~ turns the bits of an integer: 1 becomes -2. First make a boolean.": torch.bitwise_not,
    },
    otherwise=_padding_hint,
)

check_input_parameters = Number(
    "Exercise 5: parameters of the input of BERT base, three tables and the LayerNorm.",
    right=23_837_184,
    praise="23,837,184, of which the token table is 98 %.",
    hints={
        "That is the token table alone.": 23_440_896,
        "That is without segments and LayerNorm.": 23_834_112,
        "The segments or the LayerNorm are missing: both have 2·768.": 23_835_648,
        "LayerNorm has a scale and a shift.": 23_836_416,
        "BERT's positions are learned: they are parameters.": 23_443_968,
        "That is the whole model.": 109_482_240,
    },
    otherwise="Rows times width for three tables, and 2·768 for the LayerNorm.",
)
