"""Verses as letters: real text on which a very small model learns from its neighbours in minutes.

A piece of a vocabulary of thousands is guessed from its neighbours only after long training; a
letter soon. Each letter also says whether its word was a name. S length of a window.
"""

from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertbook.corpora.documents import verse_parts
from bertbook.corpora.tasks import name_labels
from bertbook.corpora.verses import VersePair
from bertbook.tokenizer.pieces import IGNORED
from bertbook.tokenizer.wordpiece import SPECIAL_TOKENS

__all__ = ["LETTERS", "LETTER_PIECES", "Windows", "letter_windows", "spell"]

LETTERS = " abcdefghijklmnopqrstuvwxyz,.;:'\"?"
LETTER_PIECES = (*SPECIAL_TOKENS, *LETTERS)
NUMBER = {piece: number for number, piece in enumerate(LETTER_PIECES)}


class Windows(NamedTuple):
    """Text cut into windows of one length, ``[CLS] letters [SEP]``; nothing overlaps.

    Attributes:
        ids: numbers of ``LETTER_PIECES``, ``[N, S]``.
        names: ``[N, S]``: 1 where the letter is of a name, 0 where of another word, else, and where
            it cannot be known, ``bertbook.tokenizer.pieces.IGNORED``.
    """

    ids: Tensor
    names: Tensor


@cache
def letter_windows(letters: int = 30) -> tuple[Windows, ...]:
    """The modern verses, train, validation and test part; the parts share no chapter.

    Args:
        letters: of a window; S is two more.

    Raises:
        ValueError: if there is no letter.
        CorpusError: if a package is missing or another one.
    """
    if letters < 1:
        raise ValueError(f"letters must be at least 1, got {letters}")
    return tuple(_cut(part, letters) for part in verse_parts())


def spell(ids: Tensor) -> list[str]:
    """What stands at each place of a row ``[S]``; a space as ``_``."""
    return ["_" if i == NUMBER[" "] else LETTER_PIECES[i] for i in ids.tolist()]


def _cut(part: tuple[VersePair, ...], letters: int) -> Windows:
    windows = []
    for _, verses in groupby(part, key=lambda verse: (verse.book, verse.chapter)):
        chapter = _letters(verse.target for verse in verses)  # [2, n]
        whole = chapter[:, : chapter.shape[1] // letters * letters]
        windows.append(whole.reshape(2, -1, letters))
    ids, names = np.concatenate(windows, axis=1)  # [N, letters] each
    ends = NUMBER["[CLS]"], NUMBER["[SEP]"]
    return Windows(  # [N, S] each
        torch.from_numpy(np.pad(ids, ((0, 0), (1, 1)), constant_values=((0, 0), ends))),
        torch.from_numpy(np.pad(names, ((0, 0), (1, 1)), constant_values=IGNORED)),
    )


def _letters(verses: Iterable[str]) -> np.ndarray:
    """Number and label of each letter of the verses and of the space after each: ``[2, n]``."""
    numbers, labels = [], []
    for verse in verses:
        of_letter = [IGNORED] * (len(verse) + 1)
        for (start, end), label in zip(*name_labels(verse), strict=True):
            of_letter[start:end] = [label] * (end - start)
        labels += of_letter
        numbers += map(_number, verse + " ")
    both = np.array([numbers, labels])
    return both[:, both[0] >= 0]


@cache
def _number(letter: str) -> int:
    """Of a letter, large or small; -1 of what is left out."""
    return NUMBER.get(letter.lower(), -1)
