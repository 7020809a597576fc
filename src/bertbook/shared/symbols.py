"""Symbols as numbers: special symbols, a vocabulary of characters, padding and comparison.

The first three numbers are the same in every vocabulary: padding 0, begin 1, end 2.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BEGIN", "END", "PAD", "CharacterVocabulary", "exact_match", "pad_sequences"]

PAD, BEGIN, END = 0, 1, 2


class CharacterVocabulary:
    """Numbers for characters, after the three special symbols.

    Args:
        characters: those that can occur; they are sorted, and duplicates are dropped.
    """

    def __init__(self, characters: Iterable[str]):
        self.characters = sorted(set(characters))
        self._numbers = {c: i + END + 1 for i, c in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters) + END + 1

    def encode(self, text: str, *, end: bool = False) -> list[int]:
        """Convert a text to the numbers of its characters.

        Args:
            text: the text.
            end: whether the end symbol is appended.

        Returns:
            The numbers.

        Raises:
            ValueError: if a character is not in the vocabulary.
        """
        unknown = sorted(set(text) - self._numbers.keys())
        if unknown:
            raise ValueError(
                f"{text!r} has characters not in the vocabulary: {unknown}"
            )
        return [self._numbers[c] for c in text] + [END] * end

    def decode(self, numbers: Iterable[int]) -> str:
        """Convert numbers to the text before the end symbol, without padding and begin symbols."""
        text = ""
        for number in numbers:
            if number == END:
                break
            if number > END:
                text += self.characters[number - END - 1]
        return text


def pad_sequences(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad sequences to the length of the longest one.

    Args:
        sequences: B sequences of integers, none of them empty.

    Returns:
        The padded sequences ``[B, S]`` and their lengths ``[B]``.

    Raises:
        ValueError: if there is no sequence, or one is empty.
    """
    if not sequences or not all(sequences):
        raise ValueError("at least one sequence is needed, and none may be empty")
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = torch.full((len(sequences), int(lengths.max())), PAD)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence)
    return padded, lengths


def exact_match(written: Tensor, target: Tensor) -> Tensor:
    """Find the sequences that are right from the first symbol to the end symbol.

    Args:
        written: ``[B, T1]``, padded after the end symbol.
        target: ``[B, T2]``, padded after the end symbol.

    Returns:
        Boolean ``[B]``.
    """
    length = max(written.shape[1], target.shape[1])
    written = F.pad(written, (0, length - written.shape[1]), value=PAD)
    target = F.pad(target, (0, length - target.shape[1]), value=PAD)
    return (written == target).all(dim=1)
