"""bertbook.tokenizer.learning against a slow rewriting of itself and against the library."""

import json
import os
import random
from collections import Counter
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from bertbook.corpora.wikipedia import load_articles
from bertbook.tokenizer.learning import (
    Corpus,
    count_words,
    join,
    learn_vocabulary,
    likelihood_gain,
    pair_count,
)
from bertbook.tokenizer.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from bertbook.tokenizer.words import BasicTokenizer

os.environ["TOKENIZERS_PARALLELISM"] = "false"
SCORES = [likelihood_gain, pair_count]
WORDS = st.dictionaries(
    st.text("abcd", min_size=1, max_size=7), st.integers(1, 9), min_size=1, max_size=9
)


@pytest.fixture(scope="module")
def texts():
    return [article.text for article in load_articles()[:6]]


@pytest.fixture(scope="module")
def words(texts):
    return count_words(texts)


def slow_merges(words, numbers, size, score, min_count):
    """Count everything anew before each merge; numbers may be any."""
    symbols = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    merges = []
    while len(numbers) < size:
        singles, pairs = Counter(), Counter()
        for word, count in words.items():
            for symbol in symbols[word]:
                singles[symbol] += count
            for pair in pairwise(symbols[word]):
                pairs[pair] += count
        ranked = [
            (-score(n, singles[a], singles[b]), -n, numbers[a], numbers[b], a, b)
            for (a, b), n in pairs.items()
            if n >= min_count
        ]
        if not ranked:
            break
        gain, n, _, _, a, b = min(ranked)
        joined = a + b[2:]
        merges.append((a, b, joined, -n, singles[a], singles[b], -gain))
        numbers.setdefault(joined, len(numbers))
        for word, old in symbols.items():
            new, i = [], 0
            while i < len(old):
                both = old[i : i + 2] == [a, b]
                new.append(joined if both else old[i])
                i += 1 + both
            symbols[word] = new
    return merges


def as_tuples(merges):
    return [
        (m.left, m.right, m.joined, m.count, m.left_count, m.right_count, m.score)
        for m in merges
    ]


@given(WORDS, st.sampled_from(SCORES), st.integers(1, 6), st.integers(8, 40))
@settings(max_examples=300, deadline=None)
def test_the_merges_are_those_of_counting_anew(words, score, min_count, size):
    learned = learn_vocabulary(
        words, size, score, min_count=min_count, special_tokens=[]
    )
    letters = learned.pieces[
        : len(learned.pieces) - len({*map(joined, learned.merges)})
    ]
    numbers = {piece: i for i, piece in enumerate(letters)}
    expected = slow_merges(words, numbers, size, score, min_count)
    assert as_tuples(learned.merges) == expected
    assert learned.pieces == list(numbers)


def joined(merge):
    return merge.joined


@pytest.mark.parametrize("score", SCORES)
def test_the_merges_of_book_text_are_those_of_counting_anew(words, score):
    some = dict(random.Random(0).sample(sorted(words.items()), 600))
    learned = learn_vocabulary(some, 400, score)
    new = {*map(joined, learned.merges)}
    numbers = {p: i for i, p in enumerate(p for p in learned.pieces if p not in new)}
    assert as_tuples(learned.merges) == slow_merges(some, numbers, 400, score, 1)


def test_by_hand():
    """th stands 11 times, qu 3 times; but there is no q without u, and t without h."""
    words = {"that": 5, "the": 6, "quit": 3, "tin": 8, "hit": 4}
    counted = learn_vocabulary(words, 23, pair_count).merges[0]
    assert (counted.left, counted.right, counted.joined) == ("t", "##h", "th")
    assert (counted.count, counted.left_count, counted.right_count) == (11, 19, 11)
    assert counted.score == 11
    gained = learn_vocabulary(words, 23, likelihood_gain).merges[0]
    assert (gained.joined, gained.count, gained.score) == ("qu", 3, 3 / (3 * 3))
    often = learn_vocabulary(words, 23, likelihood_gain, min_count=4).merges[0]
    # ##ha gains as much, 5 / (11 * 5), but stands there less often.
    assert (often.joined, often.count, often.score) == ("##he", 6, 6 / (11 * 6))


def test_pieces_are_special_tokens_then_letters_then_merges():
    learned = learn_vocabulary({"bab": 2, "c": 1}, 11, pair_count)
    assert learned.pieces[:5] == list(SPECIAL_TOKENS)
    assert learned.pieces[5:] == ["a", "b", "c", "##a", "##b", "ba"]
    longer = learn_vocabulary({"bab": 2, "c": 1}, 99, pair_count)
    assert longer.pieces == [*learned.pieces, "bab"]
    assert [m.joined for m in longer.merges] == ["ba", "bab"]


@pytest.mark.parametrize("score", SCORES)
def test_the_order_of_the_words_does_not_matter(words, score):
    shuffled = list(words.items())
    random.Random(0).shuffle(shuffled)
    assert learn_vocabulary(words, 500, score) == learn_vocabulary(
        dict(shuffled), 500, score
    )


@pytest.mark.parametrize("score", SCORES)
def test_no_word_of_the_text_is_unknown(texts, words, score):
    learned = learn_vocabulary(words, 600, score)
    assert len(learned.pieces) == 600
    tokenizer = WordPieceTokenizer(learned.pieces)
    assert all("[UNK]" not in tokenizer.tokenize(word) for word in words)
    assert "[UNK]" in tokenizer.tokenize("ꙮ")


def test_the_gain_favours_rare_pairs_unless_they_are_kept_away(words):
    gained = learn_vocabulary(words, 500, likelihood_gain).merges
    counted = learn_vocabulary(words, 500, pair_count).merges
    kept = learn_vocabulary(words, 500, likelihood_gain, min_count=50).merges
    assert median(m.count for m in gained[:100]) < 5
    assert median(m.count for m in counted[:100]) > 250
    assert min(m.count for m in kept) >= 50
    assert all(a.count >= b.count for a, b in pairwise(counted))
    assert gained[0].score == 1  # two symbols, each seen once, together


def trained_by_the_library(texts, trainer, model, size, **options):
    """Numbers of the pieces, and the merges where the library keeps them."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = list(SPECIAL_TOKENS)
    tokenizer.train_from_iterator(
        texts,
        trainer(
            vocab_size=size, special_tokens=special, show_progress=False, **options
        ),
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model.get("merges", ())]


@pytest.mark.parametrize("name", ["WordPieceTrainer", "BpeTrainer"])
def test_the_trainers_of_the_library_count_pairs(texts, words, name):
    """Both are byte-pair encoding: every merge is ours, once letters have the library's numbers.

    Numbers decide between pairs that are equally frequent. The library numbers letters that
    continue a word at random, so two runs of it may differ too.
    """
    size = 2000
    if name == "WordPieceTrainer":
        model, options = models.WordPiece(unk_token="[UNK]"), {}
    else:
        options = {"continuing_subword_prefix": "##"}
        model = models.BPE(unk_token="[UNK]", **options)
    vocabulary, merges = trained_by_the_library(
        texts, getattr(trainers, name), model, size, **options
    )
    assert len(vocabulary) == size
    letters = len(learn_vocabulary(words, size, pair_count, min_count=10**9).pieces)
    in_order = sorted(vocabulary, key=vocabulary.get)
    numbers = {piece: i for i, piece in enumerate(in_order[:letters])}
    corpus = Corpus(words, numbers, pair_count, 1)
    own = []
    while len(numbers) < size:
        merge = corpus.best()
        own.append((merge.left, merge.right))
        numbers.setdefault(merge.joined, len(numbers))
        corpus.apply(merge)
    assert numbers == vocabulary
    assert merges in ([], own)
    assert bool(merges) == (name == "BpeTrainer")


@pytest.mark.slow
def test_with_our_own_numbers_only_ties_differ_from_the_library(texts, words):
    vocabulary, _ = trained_by_the_library(
        texts, trainers.WordPieceTrainer, models.WordPiece(unk_token="[UNK]"), 2000
    )
    learned = learn_vocabulary(words, 2000, pair_count)
    assert len(vocabulary.keys() - set(learned.pieces)) < 60
    gained = learn_vocabulary(words, 2000, likelihood_gain)
    assert len(vocabulary.keys() - set(gained.pieces)) > 1000


def test_count_words():
    counts = count_words(["Où est-il ?", "où\u00adest Il"])
    assert counts == {"ou": 1, "est": 1, "-": 1, "il": 2, "?": 1, "ouest": 1}
    cased = count_words(["Où est-il ?"], BasicTokenizer(do_lower_case=False))
    assert cased == Counter(["Où", "est", "-", "il", "?"])


@given(st.lists(st.text("aé .B中", max_size=12), max_size=6))
@settings(max_examples=100, deadline=None)
def test_words_are_counted_as_the_tokenizer_cuts_them(texts):
    expected = Counter(w.text for text in texts for w in BasicTokenizer().words(text))
    assert count_words(texts) == expected


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        (["a", "##b", "##a", "##b"], ["ab", "##a", "##b"]),
        (["b", "##a", "##b"], ["b", "##a", "##b"]),
        (["a"], ["a"]),
        ([], []),
    ],
)
def test_join(symbols, expected):
    assert join(symbols, "a", "##b") == expected


def test_join_takes_the_leftmost_of_overlapping_pairs():
    assert join(["a", "##a", "##a", "##a"], "##a", "##a") == ["a", "##aa", "##a"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: learn_vocabulary({}, 10), ValueError, "got none"),
        (lambda: learn_vocabulary({"": 2, "a": 1}, 10), ValueError, "got {'': 2}"),
        (lambda: learn_vocabulary({"a": 0}, 10), ValueError, "got {'a': 0}"),
        (
            lambda: learn_vocabulary({"abc": 1}, 9),
            ValueError,
            r"size 9 does not hold 5 special tokens and 3 \+ 2 letters",
        ),
        (
            lambda: learn_vocabulary({"a": 1}, 10, min_count=0),
            ValueError,
            "min_count must be at least 1, got 0",
        ),
        (lambda: count_words(["a", "b\ud800"]), ValueError, "half of a surrogate"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
