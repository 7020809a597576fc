"""Splitting a text into sentences takes time in proportion to its length, whatever stands in it."""

from collections.abc import Iterator

from benchmarks.timing import Comparison, compare
from bertbook.corpora.sentences import document_sentences

__all__ = ["rows"]

TITLE = "Sentences of a text against one of twice the length; linear is 2"
COLUMNS = ("text", "characters")
LONGEST = 1_000_000
UNITS = {
    "prose": "He came to the U.S. with Mr. Smith. It rained! ",
    "initials": "A. B. C. ",
    "Chinese": "小猫喜欢花园。",
    "no marks": "小猫",
    "dots": ".",
    "long word": "a",
    "quotes": '."',
    "lines": "a b\n",
}


def rows(seconds: float, longest: int = LONGEST) -> Iterator[tuple[tuple, Comparison]]:
    """A text of so many characters as ours, one of twice as many as theirs; up to the longest."""
    for name, unit in UNITS.items():
        text = unit * (longest // len(unit) + 1)
        for size in (longest // 8, longest // 4, longest // 2):
            short, double = text[:size], text[: 2 * size]
            yield (
                (name, size),
                compare(
                    lambda short=short: document_sentences(short),
                    lambda double=double: document_sentences(double),
                    seconds,
                ),
            )
