"""Wikipedia and the word pairs out of gensim's package: what is in them, and clear errors."""

import importlib.metadata

import pytest

from bertbook.corpora import packages, wikipedia, word_pairs
from bertbook.corpora.packages import CorpusError, package_file


@pytest.fixture(scope="module")
def articles():
    return wikipedia.load_articles()


def test_articles_are_whole_and_distinct(articles):
    titles = [article.title for article in articles]
    assert len(set(titles)) == len(titles) > 100
    assert {"Apollo", "Apollo 8", "Apollo 11", "Algorithm"} <= set(titles)
    assert 400_000 < sum(len(article.text.split()) for article in articles) < 600_000
    assert all(article.paragraphs for article in articles)


def test_articles_are_prose(articles):
    texts = [article.text for article in articles]
    assert not any(text.upper().startswith("#REDIRECT") for text in texts)
    for markup in ("'''", "''", "[[", "]]", "{{", "{|", "\n=", "\n*", "&nbsp;", "<ref"):
        assert not any(markup in text for text in texts), markup
    (apollo,) = (article for article in articles if article.title == "Apollo 11")
    assert apollo.paragraphs[0].startswith("Apollo 11 was the first spaceflight")


def test_paragraphs_are_cleaned():
    text = "==Head==\n\n'''Bold''', ''it''  and don't\n** item\n; term\n: - 3 -\n1.5\n"
    expected = ("Bold, it and don't", "item", "term")
    assert wikipedia.clean_paragraphs(text) == expected


def test_word_pairs():
    wordsim = word_pairs.load_word_pairs("WordSim-353")
    simlex = word_pairs.load_word_pairs("SimLex-999")
    assert (len(wordsim), len(simlex)) == (353, 999)
    assert simlex[0] == word_pairs.WordPair("old", "new", 1.58)
    for pair in wordsim + simlex:
        assert 0 <= pair.score <= 10
        assert pair.first == pair.first.lower().strip() != ""
        assert pair.second == pair.second.lower().strip() != ""
    with pytest.raises(ValueError, match="one of WordSim-353, SimLex-999, got 'RG-65'"):
        word_pairs.load_word_pairs("RG-65")


def test_analogies():
    analogies = word_pairs.load_analogies()
    assert len(analogies) == 14
    assert sum(map(len, analogies.values())) == 19_544
    assert ("king", "queen", "man", "woman") in analogies["family"]
    assert all(len(q) == 4 for questions in analogies.values() for q in questions)


def test_missing_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "distribution", missing)
    with pytest.raises(CorpusError, match=r"gensim is not installed\. Install gensim"):
        wikipedia.load_articles.__wrapped__()
    with pytest.raises(CorpusError, match="gensim is not installed"):
        word_pairs.load_word_pairs.__wrapped__("SimLex-999")


def test_missing_or_changed_file(monkeypatch, tmp_path):
    class Elsewhere:
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr(
        packages.importlib.metadata, "distribution", lambda name: Elsewhere()
    )
    with pytest.raises(CorpusError, match=r"shortened\.bz2 is missing"):
        wikipedia.load_articles.__wrapped__()
    (tmp_path / "pairs.txt").write_text("old\tnew\t9\n")
    with pytest.raises(CorpusError, match=r"damaged or another file.*Install gensim"):
        package_file("gensim", "pairs.txt", "0" * 64)
