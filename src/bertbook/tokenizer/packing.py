"""Pieces become the input of BERT: cut to a length, packed, padded.

Shapes, in the letters of the book: B batch, S length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["TRUNCATIONS", "Encoding", "pad_batch", "truncated_lengths"]

TRUNCATIONS = ("none", "longest_first", "only_first", "only_second")


def truncated_lengths(
    first: int, second: int, room: int, strategy: str
) -> tuple[int, int]:
    """How many pieces of two texts are kept.

    ``longest_first`` takes away one piece at a time, from the text that is longer at the time; when
    both are equally long, from the one that was not longer at the start.

    Args:
        first: pieces of the first text.
        second: pieces of the second text, 0 if there is none.
        room: pieces that fit.
        strategy: one of :data:`TRUNCATIONS`.

    Returns:
        The two lengths, together at most ``room``.

    Raises:
        ValueError: if there is no such strategy, it is ``"none"`` and the pieces do not fit, or
            nothing would be left of the one text that ``only_…`` may cut.
    """
    if strategy not in TRUNCATIONS:
        raise ValueError(f"truncation must be one of {TRUNCATIONS}, got {strategy!r}")
    excess = first + second - room
    if excess <= 0:
        return first, second
    if strategy == "none":
        raise ValueError(
            f"{first + second} pieces do not fit: beside the special tokens there is room for "
            f"{room}; expected a shorter text or a truncation, one of {TRUNCATIONS[1:]}"
        )
    if strategy == "longest_first":
        shrink_first = first <= second
        while first + second > room:
            if first > second or (first == second and shrink_first):
                first -= 1
            else:
                second -= 1
        return first, second
    cut = first if strategy == "only_first" else second
    if cut <= excess:
        raise ValueError(
            f"{strategy} has {cut} pieces to cut {excess} from; at least one must stay "
            f"({first} + {second} pieces, room for {room})"
        )
    if strategy == "only_first":
        return first - excess, second
    return first, second - excess


@dataclass(frozen=True)
class Encoding:
    """One input of BERT, not padded; all lists are S long.

    Attributes:
        tokens: the pieces, with the special tokens.
        ids: their numbers.
        token_type_ids: 0 up to the first [SEP], 1 after it.
        attention_mask: ones.
        offsets: for each piece, where it starts and ends in its own text, in characters; (0, 0) for
            a special token that the tokenizer put in.
    """

    tokens: list[str]
    ids: list[int]
    token_type_ids: list[int]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


def pad_batch(
    encodings: Sequence[Encoding],
    pad_id: int,
    *,
    pad_to: int | None = None,
    return_offsets: bool = False,
) -> dict[str, Tensor]:
    """Fill B inputs on the right to one length.

    Args:
        encodings: the inputs, at least one.
        pad_id: number of [PAD].
        pad_to: S; ``None``: the longest of the batch.
        return_offsets: whether the offsets are returned too.

    Returns:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` (1 = a token, 0 = padding), each
        ``[B, S]``, and ``offsets`` ``[B, S, 2]`` if asked for: whole numbers. Padding is [PAD] of
        type 0 with offsets (0, 0).

    Raises:
        ValueError: if there is no input, or one is longer than ``pad_to``.
    """
    if not encodings:
        raise ValueError("a batch needs at least one input, got none")
    longest = max(map(len, encodings))
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise ValueError(f"an input has {longest} pieces, but pad_to is {pad_to}")
    fields = {
        "input_ids": ([e.ids for e in encodings], pad_id),
        "token_type_ids": ([e.token_type_ids for e in encodings], 0),
        "attention_mask": ([e.attention_mask for e in encodings], 0),
    }
    if return_offsets:
        fields["offsets"] = ([e.offsets for e in encodings], (0, 0))
    return {
        name: torch.tensor([row + [fill] * (length - len(row)) for row in rows])
        for name, (rows, fill) in fields.items()
    }  # [B, S] each, offsets [B, S, 2]
