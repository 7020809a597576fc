"""The book's own text to pre-train on: documents of sentences, in three parts that share nothing.

Articles of Wikipedia, films (a plot and what reviews say of it) and chapters of the Bible. The
parts are those of the tasks in ``bertbook.corpora.tasks``: what a task tests on, no model has seen.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from bertbook.corpora.reviews import Review, load_reviews, split_by_film
from bertbook.corpora.sentences import split_sentences
from bertbook.corpora.verses import VersePair, load_verses, split_by_chapter
from bertbook.corpora.wikipedia import Article, load_articles

__all__ = [
    "KINDS",
    "PARTS",
    "Document",
    "Size",
    "article_parts",
    "load_documents",
    "review_parts",
    "sizes",
    "split_sentences",
    "verse_parts",
]

KINDS = ("wikipedia", "reviews", "verses")
PARTS = ("train", "validation", "test")

# Validation and test verses; of Wikipedia's words, the shares of validation and test.
VERSES, ARTICLES = (1500, 4000), (0.06, 0.12)

WHOLE = re.compile(r"[.!?…][\"')\]]*$")  # how a paragraph of prose ends

# Words from which on a sentence that returns is a copy, rather than "And he said:".
LEAST_REPEATED = 6


@dataclass(frozen=True)
class Document:
    """Sentences that follow one another.

    Attributes:
        kind: one of ``KINDS``.
        name: title of the article; name of the film; chapter and version, ``"Ruth 1 (kjv)"``.
        part: one of ``PARTS``.
        sentences: at least one. Of a film: its plot, then the reviews, each by another critic.
    """

    kind: str
    name: str
    part: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Size:
    """What there is of one kind in one part; words are what stands between spaces."""

    documents: int
    sentences: int
    words: int


@cache
def load_documents(versions: tuple[str, ...] = ("kjv", "web")) -> tuple[Document, ...]:
    """Read all documents, kind by kind.

    Both versions of the Bible are in: the tasks put questions in the old English about text in the
    modern one. A chapter is in the same part in each. No sentence of ``LEAST_REPEATED`` words or
    more stands twice, up to capitals and punctuation; the one that stays is in the test part if
    there is one, else in the validation part, else the first. What is left of its document closes
    up. Of Wikipedia, lists and tables are left out: paragraphs that do not end like a sentence.

    Args:
        versions: of the Bible, ``"kjv"``, ``"web"`` or both.

    Raises:
        ValueError: if there is another version, or none.
        CorpusError: if a package is missing or another one.
    """
    if not versions or not {"kjv", "web"}.issuperset(versions):
        raise ValueError(f"versions must be 'kjv', 'web' or both, got {versions!r}")
    documents = []
    for part, articles, reviews, verses in zip(
        PARTS, article_parts(), review_parts(), verse_parts(), strict=True
    ):
        documents += _articles(part, articles)
        documents += _films(part, reviews)
        documents += _chapters(part, verses, versions)
    documents = _without_copies(documents)
    return tuple(sorted(documents, key=lambda d: KINDS.index(d.kind)))


@cache
def article_parts() -> tuple[tuple[Article, ...], ...]:
    """Articles to train on, to validate and to test on; all words of an article count.

    Raises:
        CorpusError: as ``load_articles``.
    """
    articles = list(load_articles())
    random.Random(0).shuffle(articles)
    total = sum(len(article.text.split()) for article in articles)
    parts, taken = ([], [], []), 0
    validation, test = ARTICLES
    for article in articles:
        share = taken / total
        parts[2 if share < test else 1 if share < test + validation else 0].append(
            article
        )
        taken += len(article.text.split())
    return tuple(map(tuple, parts))


@cache
def review_parts() -> tuple[tuple[Review, ...], ...]:
    """Reviews and plots to train on, to validate and to test on; the parts share no film.

    Raises:
        CorpusError: as ``load_reviews``.
    """
    return split_by_film(load_reviews())


@cache
def verse_parts() -> tuple[tuple[VersePair, ...], ...]:
    """King James's and modern verses to train on, validate and test on, split by chapter.

    Raises:
        CorpusError: as ``load_verses``.
    """
    validation, test = VERSES
    return split_by_chapter(load_verses("kjv", "web"), validation=validation, test=test)


def _articles(part: str, articles: Iterable[Article]) -> list[Document]:
    documents = []
    for article in articles:
        prose = [p for p in article.paragraphs if WHOLE.search(p)]
        sentences = tuple(s for p in prose for s in split_sentences(p))
        documents.append(Document("wikipedia", article.title, part, sentences))
    return documents


def _films(part: str, reviews: Sequence[Review]) -> list[Document]:
    films = defaultdict(list)
    for review in sorted(reviews, key=lambda review: review.kind != "plot"):
        films[review.film] += split_sentences(review.text)
    return [Document("reviews", f, part, tuple(films[f])) for f in sorted(films)]


def _chapters(
    part: str, verses: Iterable[VersePair], versions: Sequence[str]
) -> list[Document]:
    chapters = defaultdict(list)
    for version in versions:
        for pair in verses:
            text = pair.source if version == "kjv" else pair.target
            chapters[f"{pair.book} {pair.chapter} ({version})"].append(text)
    return [
        Document("verses", name, part, split_sentences(" ".join(texts)))
        for name, texts in chapters.items()
    ]


def _without_copies(documents: Iterable[Document]) -> list[Document]:
    """Let each long sentence stand once, the later the part the rather; drop what gets empty."""
    seen: set[str] = set()
    kept = []
    for document in sorted(documents, key=lambda d: -PARTS.index(d.part)):
        sentences = []
        for sentence in document.sentences:
            words = re.findall(r"\w+", sentence.lower())
            key = " ".join(words)
            if len(words) < LEAST_REPEATED or key not in seen:
                sentences.append(sentence)
                seen.add(key)
        if sentences:
            kept.append(replace(document, sentences=tuple(sentences)))
    return sorted(kept, key=lambda d: PARTS.index(d.part))


def sizes(documents: Iterable[Document]) -> dict[tuple[str, str], Size]:
    """Count documents, sentences and words of each kind in each part.

    Args:
        documents: from ``load_documents``.

    Returns:
        ``{(kind, part): Size}``.
    """
    counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for document in documents:
        counts[document.kind, document.part].update(
            documents=1,
            sentences=len(document.sentences),
            words=sum(len(sentence.split()) for sentence in document.sentences),
        )
    return {place: Size(**count) for place, count in counts.items()}
