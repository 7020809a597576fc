"""From a text to words: what BERT does before any sub-word is looked up.

A text becomes a list of characters, each with its position in the text; every step takes such a
list and returns one. So each word knows where it came from, whatever was dropped, put in or
replaced on the way. The order of the steps, and which character counts as what, are those of the
Rust library ``tokenizers``, whose tables are older than Python's: see :func:`category`.

Source: the steps are those of ``BasicTokenizer`` in the code that Devlin et al. 2019 released; the
paper itself does not name them.
"""

import string
import unicodedata
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, groupby

__all__ = [
    "WHITESPACE",
    "BasicTokenizer",
    "Characters",
    "Word",
    "category",
    "check_text",
    "clean",
    "decompose",
    "is_chinese",
    "is_control",
    "is_punctuation",
    "lower_case",
    "separate_chinese",
    "split_words",
    "strip_accents",
]

Characters = list[tuple[str, int]]
"""A character and its position in the text; several may share one position."""

WHITESPACE = (
    " \t\n\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

# Ideographs. In Unicode the sixth block starts at 2B820, in the library at 2B920: so also here.
CHINESE = (
    "3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B81F 2B920-2CEAF 2F800-2FA1F"
)

# Where a later version than Unicode 8, the library's, added accents, punctuation or controls.
# Tests compare every code point with the library.
AFTER_UNICODE_8 = """
    61D 7FD 890-8E2 9FD-9FE A76 AFA-AFF B53-B55 C04-C3C C77 C84 D00 D3B-D3C D81 EBA ECE 180F-1886
    1ABF-1AF0 1B4E-1B4F 1B7D-1B7F 1DF6-1DFB 2E43-2E63 A82C A8C5 A8FF A9BD 10D24-10F89 11070-11074
    110C2-110CD 111CF 1123E-11241 1133B 113BB-1145E 11660-1166C 116B9 1182F-11FFF 12FF1-1612F
    16D6D-16F4F 16FE2-16FE4 1CF00-1D128 1D25B-1D25C 1E000-1E6F5 1E944-1E95F
"""
# Characters that a later version moved to another category.
IN_UNICODE_8 = {
    "\u166d": "Po",
    "\u1734": "Mn",
    "\U000111c9": "Po",
    "\U0001171e": "Mn",
}
# Where a later version than Unicode 9, the library's here, added what decomposes or trades places.
AFTER_UNICODE_9 = """
    5C8-5C9 7FD 897-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1AF0 1DF6-1DFA A82C 105C9-105E4 10D24-10F85
    11070 1133B 11383-113D0 1145E 11839-11A99 11D42-1612F 16D68-16FF1 1D127-1D128 1D250-1D281
    1E08F-1E6F5
"""
# Capitals that the library knows (Unicode 17) and Python 3.11 (Unicode 14) does not.
LOWER_AFTER_UNICODE_14 = {
    "\u1c89": "\u1c8a",
    "\ua7cb": "\u0264",
    "\ua7dc": "\u019b",
    **{chr(code): chr(code + 1) for code in (0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA)},
    **{chr(code): chr(code + 0x20) for code in range(0x10D50, 0x10D66)},
    **{chr(code): chr(code + 0x1B) for code in range(0x16EA0, 0x16EB9)},
}


@dataclass(frozen=True)
class Word:
    """A word, and for each of its characters the position in the text that it came from."""

    text: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class BasicTokenizer:
    """Turns a text into words, in six steps.

    Attributes:
        do_lower_case: whether capitals become small letters ("uncased" BERT).
        tokenize_chinese_chars: whether each Chinese character is a word of its own.
        strip_accents: whether accents are dropped; ``None``: if ``do_lower_case``.
    """

    do_lower_case: bool = True
    tokenize_chinese_chars: bool = True
    strip_accents: bool | None = None

    def normalize(self, text: str) -> Characters:
        """All steps but the last.

        Args:
            text: any Unicode.

        Returns:
            The characters that are left, each with its position in ``text``.

        Raises:
            TypeError: if ``text`` is not a string.
            ValueError: if it holds half of a surrogate pair.
        """
        check_text(text)
        if text.isascii() and text.isprintable():  # the other steps change nothing
            return list(zip(text.lower() if self.do_lower_case else text, count()))
        characters = clean((c, i) for i, c in enumerate(text))
        if self.tokenize_chinese_chars:
            characters = separate_chinese(characters)
        accents_go = self.strip_accents
        if self.do_lower_case if accents_go is None else accents_go:
            characters = strip_accents(characters)
        if self.do_lower_case:
            characters = lower_case(characters)
        return characters

    def words(self, text: str) -> list[Word]:
        """The words of a text; a punctuation mark is one.

        Args:
            text: any Unicode.

        Raises:
            TypeError: as :meth:`normalize`.
            ValueError: as :meth:`normalize`.
        """
        return split_words(self.normalize(text))


def check_text(text: str) -> None:
    """Refuse what is not a text.

    Raises:
        TypeError: if it is not a string.
        ValueError: if it holds half of a surrogate pair, which no UTF-8 file can: it comes from
            text that was decoded wrongly.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text must be a str, got {type(text).__name__}: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"position {error.start} of the text holds U+{ord(text[error.start]):04X}, half of a "
            "surrogate pair; expected valid Unicode"
        ) from None


def clean(characters: Iterable[tuple[str, int]]) -> Characters:
    """Drop control characters; every kind of whitespace becomes a space."""
    return [
        (" " if c in WHITESPACE else c, i) for c, i in characters if not is_control(c)
    ]


def separate_chinese(characters: Characters) -> Characters:
    """Put a space on either side of each Chinese character."""
    apart: Characters = []
    for c, i in characters:
        apart += [(" ", i), (c, i), (" ", i)] if is_chinese(c) else [(c, i)]
    return apart


def strip_accents(characters: Characters) -> Characters:
    """Part letters from their marks, then drop the marks that take no width (category Mn)."""
    return [(c, i) for c, i in decompose(characters) if category(c) != "Mn"]


def lower_case(characters: Characters) -> Characters:
    """Make each letter small by itself: Σ becomes σ at the end of a word too."""
    return [(small, i) for c, i in characters for small in _lower(c)]


def split_words(characters: Characters) -> list[Word]:
    """Cut at spaces, which go, and on either side of punctuation, which stays."""
    words: list[Characters] = []
    inside = False
    for c, i in characters:
        if c == " ":
            inside = False
        elif inside and not is_punctuation(c):
            words[-1].append((c, i))
        else:
            words.append([(c, i)])
            inside = not is_punctuation(c)
    return [Word("".join(c for c, _ in w), tuple(i for _, i in w)) for w in words]


def is_control(char: str) -> bool:
    """Whether a character is dropped: control, format, private use, NUL, U+FFFD.

    Tab and line ends are whitespace; an unassigned code point stays.
    """
    return char == "\ufffd" or (
        category(char) in ("Cc", "Cf", "Co") and char not in WHITESPACE
    )


def is_chinese(char: str) -> bool:
    """Whether a character is an ideograph; kana and Hangul are not."""
    return char >= "\u3400" and _within(char, CHINESE)


def is_punctuation(char: str) -> bool:
    """Whether a character is a word by itself: Unicode's punctuation, and all symbols of ASCII."""
    return char in string.punctuation or category(char).startswith("P")


@lru_cache(maxsize=1 << 14)
def category(char: str) -> str:
    """The general category of a character, as the library sees it.

    The library's table is that of Unicode 8, from 2015. An accent, a punctuation mark or a control
    character of a later version counts as unassigned (``"Cn"``): it stays, and parts no word.

    Args:
        char: one character.

    Returns:
        Two letters, such as ``"Lu"``, of which only Mn, P*, Cc, Cf and Co are compared with the
        library.
    """
    if char in IN_UNICODE_8:
        return IN_UNICODE_8[char]
    return "Cn" if _within(char, AFTER_UNICODE_8) else unicodedata.category(char)


def decompose(characters: Characters) -> Characters:
    """Write every letter as its base and its marks, marks in canonical order (NFD).

    The library sorts the marks but lets the positions stand in their old order: the n-th mark keeps
    the n-th position. Only marks that :func:`strip_accents` leaves can show that.

    Args:
        characters: as all steps take them.

    Returns:
        The same text, decomposed; a mark has the position of its letter.

    Source: Unicode Standard, section 3.11.
    """
    if unicodedata.is_normalized("NFD", "".join(c for c, _ in characters)):
        return characters
    # A part, its rank among marks (0: a base, which stays put), whether it opens its letter.
    parts = [
        (part, rank, k == 0)
        for c, _ in characters
        for k, (part, rank) in enumerate(_decomposition(c))
    ]
    positions = iter([i for _, i in characters])
    position = 0
    decomposed: Characters = []
    for _, run in groupby(parts, key=lambda part: part[1] > 0):
        for part, _, opens in sorted(run, key=lambda part: part[1]):
            position = next(positions) if opens else position
            decomposed.append((part, position))
    return decomposed


@lru_cache(maxsize=1 << 14)
def _decomposition(char: str) -> tuple[tuple[str, int], ...]:
    """The parts of a character with their canonical combining classes."""
    if _within(char, AFTER_UNICODE_9):
        return ((char, 0),)
    parts = unicodedata.normalize("NFD", char)
    return tuple((part, unicodedata.combining(part)) for part in parts)


def _lower(char: str) -> str:
    return LOWER_AFTER_UNICODE_14.get(char) or char.lower()


def _within(char: str, ranges: str) -> bool:
    """Whether a character lies in one of the ranges."""
    starts, ends = _bounds(ranges)
    at = bisect(starts, ord(char)) - 1
    return at >= 0 and ord(char) <= ends[at]


@lru_cache
def _bounds(ranges: str) -> tuple[list[int], list[int]]:
    """First and last code points of ranges such as ``"61D 890-8E2"``."""
    bounds = [[int(end, 16) for end in r.split("-")] for r in ranges.split()]
    return [b[0] for b in bounds], [b[-1] for b in bounds]
