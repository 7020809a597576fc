"""The Bible in Middle, Early Modern and modern English, verse by verse: a parallel corpus.

Three public-domain versions come as packages: Wycliffe's (1380s), King James's (1611) and the
World English Bible. A verse's number says what it is a translation of, so pairs need no aligner.
The numbers themselves can differ, though: Wycliffe translated the Vulgate. Its Psalms and the
chapters in ``COUNTED_OTHERWISE`` are left out for that reason.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from bertbook.corpora.packages import CorpusError, package_file

__all__ = [
    "VersePair",
    "check_alignment",
    "clean_verse",
    "load_verses",
    "split_by_chapter",
]

# SHA-256 of each version's module; the one for readers has no verse numbers in its text.
VERSIONS = {
    "wyc": "23bdc23596c99c29c7ab0aeaaa3623bb30a0fefe81dae0ed7e986497311debec",
    "kjv": "6b65f8f3f4541c60c734acf6fedb00d1d55d3a8a2121d324002d05a3fe6c74b1",
    "web": "c3daeaf48ba26fb640ce8ec6a85fb3b9dbb6c69d032c53e190c45167c4eb26bc",
}
MODULE = "pythonbible_{}/plain_text_readers_bible.py"

# What the package has in place of the verses that the World English Bible leaves out.
FILLERS = ("dummy verses inserted by amos", "empty verses content detected by amos")

# Chapters in which at least three Wycliffe verses in a row, or three in ten, resemble a
# neighbour of the verse with their number more than that verse itself.
COUNTED_OTHERWISE = {
    "Genesis": (50,),
    "Exodus": (39, 40),
    "Leviticus": (11, 13, 15),
    "Numbers": (13, 30),
    "Joshua": (21,),
    "1 Samuel": (24,),
    "1 Kings": (22,),
    "1 Chronicles": (11,),
    "Nehemiah": (7, 12),
    "Job": (16, 40, 41),
    "Ecclesiastes": (5, 7),
    "Song of Songs": (1, 6),
    "Jeremiah": (37,),
    "Daniel": (4,),
    "Hosea": (14,),
    "Amos": (6,),
    "Jonah": (2,),
    "Micah": (5,),
    "Haggai": (2,),
    "Matthew": (17,),
    "Mark": (9,),
    "John": (6,),
    "Acts": (7, 14),
    "1 Thessalonians": (4,),
    "2 Thessalonians": (2,),
}


@dataclass(frozen=True)
class VersePair:
    """One verse in two versions.

    Attributes:
        book: English name, such as ``"1 Samuel"``.
        chapter: from 1.
        verse: from 1.
        source: the verse to translate.
        target: the same verse in the other version.
    """

    book: str
    chapter: int
    verse: int
    source: str
    target: str


@cache
def load_verses(source: str = "wyc", target: str = "web") -> tuple[VersePair, ...]:
    """Read the verses that both versions have, in the order of the Bible.

    Args:
        source: ``"wyc"`` (Wycliffe), ``"kjv"`` (King James) or ``"web"`` (World English Bible).
        target: another of the three.

    Returns:
        The pairs. Psalms, empty verses and, where Wycliffe is one of the two, the chapters that it
        counts otherwise are left out.

    Raises:
        ValueError: if a version is none of the three, or both are the same.
        CorpusError: if a package is missing or another one, or if the verses of a chapter do not
            belong together.
    """
    for version in (source, target):
        if version not in VERSIONS:
            raise ValueError(
                f"version must be one of {', '.join(VERSIONS)}, got {version!r}"
            )
    if source == target:
        raise ValueError(f"source and target must differ, got {source!r} twice")
    left_out = COUNTED_OTHERWISE if "wyc" in (source, target) else {}
    sources, targets = _read(source), _read(target)
    pairs = tuple(
        VersePair(*place, sources[place], targets[place])
        for place in sources
        if place in targets and place[1] not in left_out.get(place[0], ())
    )
    check_alignment(pairs)
    return pairs


def _read(version: str) -> dict[tuple[str, int, int], str]:
    """Return {(book, chapter, verse): text} of one version, without Psalms and empty verses."""
    package = f"pythonbible-{version}"
    path = MODULE.format(version)
    package_file(package, path, VERSIONS[version])
    try:
        bible = import_module(path.removesuffix(".py").replace("/", ".")).bible
        from pythonbible import Book
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"{package} needs the package {error.name}, which is not installed. "
            "Install it, at the version that requirements*.txt name."
        ) from None
    verses = {}
    for number in bible.get_verse_ids():  # book, chapter, verse: BBCCCVVV
        book = Book(number // 1_000_000)
        text = clean_verse(bible.get_scripture(number), version)
        if text and book is not Book.PSALMS:
            verses[book.title, number // 1000 % 1000, number % 1000] = text
    return verses


def clean_verse(text: str, version: str) -> str:
    """Take away what is not the verse's wording, and write quotation marks in one way.

    Away go notes (``[Note: …]``), headings of the next verse (who speaks in the Song of Songs;
    "Psalm 1" after Job), the brackets around words that a translator supplied, but not the words,
    the backquote before such words in Wycliffe, and spaces too many. Other backquotes and curly
    apostrophes become straight ones.

    Args:
        text: of one verse, as the package has it.
        version: that it is from.

    Returns:
        The verse on one line; nothing if it is one of ``FILLERS``.
    """
    if text in FILLERS:
        return ""
    text = re.sub(r"\[Note:[^\]]*\]", "", text)
    text = re.sub(
        r" +(BOOK I +Psalm 1|(?<=\W )(Beloved|Friends|Lover)(?= [A-Z]|$))", "", text
    )
    text = re.sub(r"(?<=\w) -\[|(?<=\w)- (?=[a-z])", "-", text)
    text = re.sub(r"[\[\]]", "", text)
    text = re.sub(r"[`’]", "" if version == "wyc" else "'", text)
    text = re.sub(r"(?<=\() +| +(?=[,.;:?!)])", "", text)
    return " ".join(text.split())


def check_alignment(pairs: Sequence[VersePair]) -> None:
    """Check that in every chapter a verse resembles its translation more than the next one's.

    Names and kindred words keep some of their letters: verses are compared by their sequences of
    three characters, as seldom ones tell. Lengths would not do: where the places at which a text
    is cut into verses drift, as in other versions of this series, the lengths are still right.

    Raises:
        CorpusError: if in a chapter the cosine between the two sides, on average, is not at least
            0.05 above that after a shift of one verse either way; names the chapter.
    """
    books = defaultdict(list)
    for pair in pairs:
        books[pair.book].append(pair)
    for book, verses in books.items():
        source = _trigrams([pair.source for pair in verses])  # (verses, bins)
        target = _trigrams([pair.target for pair in verses])
        aligned = (source * target).sum(1)  # (verses,)
        previous = (source * np.roll(target, 1, axis=0)).sum(1)
        following = (source * np.roll(target, -1, axis=0)).sum(1)
        numbers = np.array([pair.chapter for pair in verses])
        for chapter in dict.fromkeys(numbers.tolist()):
            here = numbers == chapter
            shifted = max(previous[here].mean(), following[here].mean())
            if not aligned[here].mean() >= shifted + 0.05:
                raise CorpusError(
                    f"The verses of {book} {chapter} do not belong together: the cosine of their "
                    f"letters is {aligned[here].mean():.2f} on average, and {shifted:.2f} with the "
                    "verse before or after; expected is 0.05 more than that, or better."
                )


def _trigrams(texts: Sequence[str], bins: int = 1024) -> np.ndarray:
    """Return a unit vector a text: roots of the hashed counts, less their mean over the texts."""
    counts = np.zeros((len(texts), bins), dtype=np.float32)
    for row, text in enumerate(texts):
        codes = np.frombuffer(text.lower().encode("utf-32-le"), dtype=np.uint32)
        hashes = (codes[:-2] * 961 + codes[1:-1] * 31 + codes[2:]) % bins
        counts[row] = np.bincount(hashes, minlength=bins)
    centred = np.sqrt(counts) - np.sqrt(counts).mean(0)  # (texts, bins)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def split_by_chapter(
    pairs: Sequence[VersePair],
    *,
    seed: int = 0,
    validation: int = 1000,
    test: int = 1100,
) -> tuple[tuple[VersePair, ...], tuple[VersePair, ...], tuple[VersePair, ...]]:
    """Split the verses into three parts that share no chapter.

    Test and validation draw chapters one by one, each from the book that is furthest below its
    share of the verses: the large books are in all three parts.

    Args:
        pairs: from ``load_verses``.
        seed: of the choice, which is the same on every machine.
        validation: verses wanted; as chapters are whole, a few more are taken.
        test: verses wanted, likewise.

    Returns:
        Training, validation and test verses, each in the order of ``pairs``.

    Raises:
        ValueError: if fewer than one verse is wanted, or more than leave every book a chapter to
            train on.
    """
    generator = random.Random(seed)
    sizes = Counter((pair.book, pair.chapter) for pair in pairs)
    chapters = defaultdict(list)
    for chapter in sizes:
        chapters[chapter[0]].append(chapter)
    for in_book in chapters.values():
        generator.shuffle(in_book)

    part_of = {}
    for part, wanted in ((2, test), (1, validation)):
        if wanted < 1:
            raise ValueError(f"at least one verse must be wanted, got {wanted}")
        short = Counter(pair.book for pair in pairs)  # verses below the book's share
        short = {book: size * wanted / len(pairs) for book, size in short.items()}
        taken = 0
        while taken < wanted:
            books = [book for book in chapters if len(chapters[book]) > 1]
            if not books:
                raise ValueError(
                    f"{validation} and {test} of {len(pairs)} verses leave some book no chapter "
                    "to train on"
                )
            book = max(books, key=short.get)
            chapter = chapters[book].pop()
            part_of[chapter] = part
            short[book] -= sizes[chapter]
            taken += sizes[chapter]
    parts = ([], [], [])
    for pair in pairs:
        parts[part_of.get((pair.book, pair.chapter), 0)].append(pair)
    return tuple(tuple(part) for part in parts)
