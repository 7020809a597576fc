"""Four tasks to fine-tune on, one for each form of the paper, with labels out of real text.

Every function returns the train, validation and test part; the parts are those of
``bertbook.corpora.documents``, so what a task tests on is in no text to pre-train on. All of them
are the same on every machine.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bertbook.corpora.documents import (
    PARTS,
    load_documents,
    review_parts,
    verse_parts,
)
from bertbook.corpora.verses import VersePair
from bertbook.tokenizer.pieces import IGNORED

__all__ = [
    "NamesExample",
    "PairExample",
    "ReviewExample",
    "SpanExample",
    "name_labels",
    "name_tasks",
    "pair_tasks",
    "review_tasks",
    "span_tasks",
    "word_overlap",
]

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
TOKEN = re.compile(r"\w+|[^\w\s]")

# Pairs. The share is of a part's verses: the larger, the more of them overlap of words decides.
PAIR_SHARE, PAIR_WORDS, ALIKE = 0.22, 8, 0.8
# Names. In a sentence with a larger share of capitals they are a matter of style.
NAME_WORDS, MOST_CAPITALS = (6, 60), 0.5
# Spans. Words and punctuation marks of a passage, and of a verse.
PASSAGE, VERSE = (40, 66), (5, 36)


@dataclass(frozen=True)
class ReviewExample:
    """One sentence or two about a film; 1 = fresh, 0 = rotten."""

    text: str
    label: int
    film: str


@dataclass(frozen=True)
class PairExample:
    """A verse of King James's and one of the World English Bible.

    Attributes:
        first: the older one.
        second: the modern one, out of the same chapter.
        label: 1 = the same verse, 0 = another.
        overlap: see ``word_overlap``; no model may read it.
        chapter: book and number.
    """

    first: str
    second: str
    label: int
    overlap: float
    chapter: tuple[str, int]


@dataclass(frozen=True)
class NamesExample:
    """A sentence in small letters, and which of its words were names.

    Attributes:
        text: the sentence.
        words: start and end of each word in it, in characters.
        labels: of each word, 1 = name, 0 = none, ``bertbook.tokenizer.pieces.IGNORED`` = not to be
        known.
        kind: of its document.
        document: name of its document.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    labels: tuple[int, ...]
    kind: str
    document: str


@dataclass(frozen=True)
class SpanExample:
    """A verse of King James's, and some consecutive modern verses that hold its translation.

    Attributes:
        question: the older verse.
        passage: the modern ones, on one line.
        start: of the translation in the passage, in characters.
        end: likewise, behind its last character.
        chapter: book and number.
    """

    question: str
    passage: str
    start: int
    end: int
    chapter: tuple[str, int]


@cache
def review_tasks() -> tuple[tuple[ReviewExample, ...], ...]:
    """Fresh or rotten; the parts share no film.

    Raises:
        CorpusError: if a package is missing or another one; here and below.
    """
    return tuple(
        tuple(
            ReviewExample(review.text, int(review.kind == "fresh"), review.film)
            for review in part
            if review.kind != "plot"
        )
        for part in review_parts()
    )


def word_overlap(first: Iterable[str], second: Iterable[str]) -> float:
    """The Dice coefficient: twice the common words over all words, each counted once a text."""
    first, second = set(first), set(second)
    return 2 * len(first & second) / max(1, len(first) + len(second))


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


@cache
def pair_tasks() -> tuple[tuple[PairExample, ...], ...]:
    """Do an old and a modern verse say the same? Half of the pairs do; parts share no chapter.

    Most pairs would be decided by counting common words. So a part takes, of the verses with their
    own translation, those that have the fewest words in common with it, and as many verses beside
    the verse of the same chapter that has the most. Not taken as another verse is one that nearly
    repeats the right one, in either version.
    """
    parts = []
    for verses in verse_parts():
        same, other = _pairs(verses)
        count = round(PAIR_SHARE * len(verses))
        same.sort(key=lambda example: example.overlap)
        other.sort(key=lambda example: -example.overlap)
        chosen = set(same[:count] + other[:count])
        parts.append(tuple(e for e in same + other if e in chosen))
    return tuple(parts)


def _pairs(verses: Sequence[VersePair]) -> tuple[list[PairExample], list[PairExample]]:
    """Return every verse with its translation, and with the most similar other one."""
    chapters = defaultdict(list)
    for pair in verses:
        chapters[pair.book, pair.chapter].append(pair)
    same, other = [], []
    for chapter, pairs in chapters.items():
        texts = [_words(p.source) for p in pairs] + [_words(p.target) for p in pairs]
        overlaps = _overlaps(texts)  # (2·verses, 2·verses)
        n = len(pairs)
        alike = np.maximum(overlaps[:n, :n], overlaps[n:, n:]) >= ALIKE
        old_new = overlaps[:n, n:]
        for i, pair in enumerate(pairs):
            if len(texts[i]) < PAIR_WORDS:
                continue
            j = int(np.where(alike[i], -1, old_new[i]).argmax())
            same.append(
                PairExample(
                    pair.source, pair.target, 1, round(float(old_new[i, i]), 4), chapter
                )
            )
            if not alike[i, j]:
                other.append(
                    PairExample(
                        pair.source,
                        pairs[j].target,
                        0,
                        round(float(old_new[i, j]), 4),
                        chapter,
                    )
                )
    return same, other


def _overlaps(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """``word_overlap`` of all pairs of texts."""
    column: dict[str, int] = {}
    for words in texts:
        for word in words:
            column.setdefault(word, len(column))
    has = np.zeros((len(texts), len(column)))
    for row, words in enumerate(texts):
        has[row, [column[word] for word in words]] = 1
    sizes = has.sum(1)
    return 2 * (has @ has.T) / np.maximum(1, sizes[:, None] + sizes)


@cache
def name_tasks() -> tuple[tuple[NamesExample, ...], ...]:
    """Which words of a sentence in small letters were names? Split by document.

    Sentences of every kind of document, of the Bible the modern version: six to sixty words that
    end like a sentence and were not written in capitals. For the rule see ``name_labels``.
    """
    parts: dict[str, list[NamesExample]] = {part: [] for part in PARTS}
    least, most = NAME_WORDS
    for document in load_documents(("web",)):
        for sentence in document.sentences:
            spans, labels = name_labels(sentence)
            if not least <= len(spans) <= most or sentence[-1] not in ".!?\"'":
                continue
            small = sentence.lower()
            known = [label for label in labels if label != IGNORED]
            if len(small) == len(sentence) and sum(known) <= MOST_CAPITALS * len(known):
                parts[document.part].append(
                    NamesExample(small, spans, labels, document.kind, document.name)
                )
    return tuple(tuple(parts[part]) for part in PARTS)


def name_labels(
    sentence: str,
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Find a sentence's words, and which of them are names by their capital.

    A word is a run of letters, apostrophes inside included. It is a name if its first letter is a
    capital and another one is not. Not to be known, so ``IGNORED``: the first word, and one after a
    mark that may open a sentence or a title (``. ! ? … : ; " ' ( -``); a word all in capitals. "I"
    is not a name. So "French", "Monday" and the words of a film's title are names too.

    Args:
        sentence: with its capitals.

    Returns:
        Start and end of each word, in characters; its label.
    """
    spans, labels = [], []
    for match in WORD.finditer(sentence):
        word, label = match[0], 0
        if word[0].isupper() and not re.match(r"I('|$)", word):
            before = sentence[: match.start()].rstrip()
            opens = not before or before[-1] in ".!?…:;\"'(-–—"
            label = IGNORED if opens or word.isupper() else 1
        spans.append(match.span())
        labels.append(label)
    if labels:
        labels[0] = IGNORED
    return tuple(spans), tuple(labels)


@cache
def span_tasks() -> tuple[tuple[SpanExample, ...], ...]:
    """Which words of a modern passage say what an old verse says? The parts share no chapter.

    A chapter is cut into passages of two or more consecutive verses, with 40 to 66 words and
    punctuation marks. Each verse of a passage is a question, unless it or its translation has more
    than 36 of them, or fewer than 5.
    """
    parts = []
    for verses in verse_parts():
        chapters = defaultdict(list)
        for pair in verses:
            chapters[pair.book, pair.chapter].append(pair)
        parts.append(
            tuple(
                example
                for chapter, pairs in chapters.items()
                for passage in _passages(pairs)
                for example in _questions(chapter, passage)
            )
        )
    return tuple(parts)


def _passages(pairs: Sequence[VersePair]) -> list[list[VersePair]]:
    passages: list[list[VersePair]] = [[]]
    length = 0
    for pair in pairs:
        size = len(TOKEN.findall(pair.target))
        follows = passages[-1] and pair.verse == passages[-1][-1].verse + 1
        if not follows or length + size > PASSAGE[1]:
            passages.append([])
            length = 0
        passages[-1].append(pair)
        length += size
    return [
        p
        for p in passages
        if len(p) > 1 and sum(len(TOKEN.findall(v.target)) for v in p) >= PASSAGE[0]
    ]


def _questions(
    chapter: tuple[str, int], passage: Sequence[VersePair]
) -> list[SpanExample]:
    text = " ".join(pair.target for pair in passage)
    examples, start = [], 0
    for pair in passage:
        end = start + len(pair.target)
        sizes = [len(TOKEN.findall(t)) for t in (pair.source, pair.target)]
        if VERSE[0] <= min(sizes) and max(sizes) <= VERSE[1]:
            examples.append(SpanExample(pair.source, text, start, end, chapter))
        start = end + 1
    return examples
