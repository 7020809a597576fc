"""Answers as they come, read and compared without raising an error."""

import math
import reprlib
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["alike", "as_number", "describe", "draw", "numbers", "same", "strings"]


def as_number(answer: object) -> float | None:
    """The answer as a finite number, or ``None`` if it is not one."""
    if isinstance(answer, bool):
        return None
    try:
        value = float(answer.detach() if isinstance(answer, Tensor) else answer)
    except Exception:  # whatever the answer's own conversion raises
        return None
    return value if math.isfinite(value) else None


def numbers(answer: object) -> tuple[float, ...] | None:
    """The answer as a tuple of finite numbers, or ``None`` if it is not one."""
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        return None
    try:
        values = tuple(map(as_number, answer))
    except Exception:  # a tensor without dimensions looks iterable
        return None
    return None if None in values else values


def strings(answer: object) -> tuple[str, ...] | None:
    """The answer as a tuple of strings, or ``None`` if it is not a list or tuple of them."""
    if isinstance(answer, list | tuple) and all(isinstance(x, str) for x in answer):
        return tuple(answer)
    return None


def describe(answer: object) -> str:
    """What the answer is, in a few words for a sentence."""
    if isinstance(answer, Tensor):
        return f"a tensor of shape {list(answer.shape)}"
    return reprlib.repr(answer)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in double precision, from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(found: object, other: object, tolerance: float) -> bool:
    """Whether two results are the same, type and shape included.

    Args:
        found: any object.
        other: tensors, numbers and whatever ``==`` compares, in lists and tuples; ``...`` stands
            for anything.
        tolerance: how far apart two numbers may be, beside a millionth of their size; whole
            numbers outside of a tensor have to be equal.
    """
    if other is ...:
        return True
    if isinstance(other, Tensor):
        if not alike(found, other) or found.is_complex():
            return False
        if (found.dtype == torch.bool) != (other.dtype == torch.bool):
            return False
        found, other = found.detach().double().cpu(), other.detach().double()
        return torch.allclose(found, other, rtol=1e-6, atol=tolerance)
    if isinstance(other, tuple | list):
        return (
            isinstance(found, tuple | list)
            and len(found) == len(other)
            and all(same(*pair, tolerance) for pair in zip(found, other, strict=True))
        )
    if isinstance(other, float):
        value = as_number(found)
        return value is not None and math.isclose(
            value, other, rel_tol=1e-6, abs_tol=tolerance
        )
    if isinstance(other, int) and not isinstance(other, bool):
        return as_number(found) == other
    return type(found) is type(other) and found == other


def alike(found: object, other: object) -> bool:
    """Whether two results have the same form; a list may have any length, a tuple may not."""
    if isinstance(other, Tensor):
        return isinstance(found, Tensor) and found.shape == other.shape
    if isinstance(other, list):
        return isinstance(found, tuple | list)
    if isinstance(other, tuple):
        return (
            isinstance(found, tuple | list)
            and len(found) == len(other)
            and all(map(alike, found, other))
        )
    if isinstance(other, int | float) and not isinstance(other, bool):
        return as_number(found) is not None
    return isinstance(found, type(other))
