"""Checks of inputs: each model checks its inputs once, where they enter.

Under ``torch.compile`` the values in a tensor are not checked: reading them would break the graph.

    B batch   T queries   S keys   D model width
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "check_lengths",
    "check_mask",
    "check_sizes",
    "check_states",
    "check_symbols",
]


def check_sizes(**sizes: int) -> None:
    """Refuse a size below one.

    Args:
        sizes: the sizes by name.

    Raises:
        ValueError: if a size is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_symbols(name: str, symbols: Tensor, vocabulary: int) -> None:
    """Refuse a tensor that is not a batch of symbols.

    Args:
        name: name of the argument, for the message.
        symbols: should be ``[B, length]``, not empty.
        vocabulary: the number of symbols.

    Raises:
        TypeError: if the symbols are not ``torch.long``.
        ValueError: if the shape is wrong, or a symbol is not in the vocabulary.
    """
    if torch.compiler.is_compiling():
        return
    if symbols.dim() != 2 or symbols.numel() == 0:
        raise ValueError(
            f"{name} must have shape [B, length], got {list(symbols.shape)}"
        )
    if symbols.dtype != torch.long:
        raise TypeError(f"{name} must hold torch.long numbers, got {symbols.dtype}")
    if symbols.min() < 0 or symbols.max() >= vocabulary:
        raise ValueError(
            f"{name} must hold numbers in 0..{vocabulary - 1}, got "
            f"{symbols.min().item()}..{symbols.max().item()}"
        )


def check_lengths(lengths: Tensor, longest: int) -> None:
    """Refuse a tensor that cannot be the lengths of a batch.

    Args:
        lengths: should be ``[B]``, integers in 1..``longest``.
        longest: the length to which the batch is padded.

    Raises:
        TypeError: if the lengths are not integers.
        ValueError: if the shape is wrong, or a length is out of range.
    """
    if torch.compiler.is_compiling():
        return
    if (
        lengths.dtype == torch.bool
        or lengths.is_floating_point()
        or lengths.is_complex()
    ):
        raise TypeError(f"lengths must hold integers, got {lengths.dtype}")
    if lengths.dim() != 1:
        raise ValueError(f"lengths must have shape [B], got {list(lengths.shape)}")
    wrong = lengths[(lengths < 1) | (lengths > longest)]
    if len(wrong):
        raise ValueError(f"lengths must lie in 1..{longest}, got {wrong.tolist()}")


def check_states(name: str, states: Tensor, *shape: int | str) -> None:
    """Refuse a tensor that does not hold token vectors.

    Args:
        name: name of the argument, for the message.
        states: should have this shape, be floating point and not be empty.
        shape: the sizes, such as ``B, "length", D``; a word allows any size, and ``"..."`` in front
            allows any number of sizes.

    Raises:
        TypeError: if the states are not floating point, such as token ids.
        ValueError: if the shape is wrong.
    """
    sizes = shape[1:] if shape[0] == "..." else shape
    given = states.shape[len(states.shape) - len(sizes) :]
    right = states.dim() == len(sizes) or (
        shape[0] == "..." and len(given) == len(sizes)
    )
    if not right or any(
        size < 1 or (size != wanted and not isinstance(wanted, str))
        for size, wanted in zip(given, sizes, strict=True)
    ):
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{wanted}], got {list(states.shape)}")
    if not states.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {states.dtype}")


def check_mask(mask: Tensor | None, shape: Sequence[int]) -> None:
    """Refuse a mask that does not fit the scores, or that leaves a query without any key.

    Args:
        mask: should be ``None``, or boolean, ``True`` = may look, with the last sizes of ``shape``
            or 1.
        shape: shape of the scores, such as ``[B, H, T, S]``.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the mask does not fit, or a row allows no key: its softmax would be 0/0.
    """
    if mask is None or torch.compiler.is_compiling():
        return
    if mask.dtype != torch.bool:
        raise TypeError(
            f"attention_mask must be boolean with True = may look, got {mask.dtype}; "
            "convert a 0/1 mask with mask.bool()"
        )
    sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
    fits = 2 <= mask.dim() <= len(shape) and all(
        size in (1, full) for size, full in sizes
    )
    if not fits:
        raise ValueError(
            f"attention_mask of shape {list(mask.shape)} does not fit the scores, {list(shape)}"
        )
    empty = ~mask.any(dim=-1)
    if empty.any():
        raise ValueError(
            f"{int(empty.sum())} of {empty.numel()} rows of attention_mask allow no key at all, "
            f"the first at index {empty.nonzero()[0].tolist()}; is the mask inverted?"
        )
