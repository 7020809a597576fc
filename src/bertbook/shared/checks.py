"""What is refused, and in which words."""

import torch
from torch import Tensor

__all__ = ["check_symbols"]


def check_symbols(name: str, symbols: Tensor, vocabulary: int) -> None:
    """Refuse what is no batch of symbols, naming what is wrong.

    Args:
        name: of the argument, for the message.
        symbols: should be ``[B, length]``.
        vocabulary: the number of symbols.

    Raises:
        TypeError: if the symbols are not ``torch.long``.
        ValueError: if the shape is another, or a symbol is not in the vocabulary.
    """
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
