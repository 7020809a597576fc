"""Labels of words on their pieces, answers as pieces, and the best span among the valid ones."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.bert.minilm import minilm_folder
from bertbook.tokenizer.pieces import (
    IGNORED,
    best_spans,
    label_pieces,
    span_of_pieces,
)
from bertbook.tokenizer.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer

TEXT = "on friday neil armstrong didn't photosynthesize"
WORDS = [(0, 2), (3, 9), (10, 14), (15, 24), (25, 31), (32, 47)]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer.from_folder(minilm_folder())


def test_a_label_stands_on_the_first_piece(tokenizer):
    encoding = tokenizer.encode(TEXT)
    labels = label_pieces(encoding, WORDS, [IGNORED, 1, 2, 3, 4, 5])
    shown = [
        (t, x) for t, x in zip(encoding.tokens, labels, strict=True) if x != IGNORED
    ]
    assert shown == [
        ("friday", 1), ("neil", 2), ("armstrong", 3), ("didn", 4), ("photos", 5)
    ]  # fmt: skip
    assert len(labels) == len(encoding) == 13
    assert encoding.tokens[6:8] == ["'", "t"]


def test_words_that_are_cut_off_have_no_label(tokenizer):
    encoding = tokenizer.encode(TEXT, max_length=5, truncation="only_first")
    labels = label_pieces(encoding, WORDS, [0, 1, 2, 3, 4, 5])
    assert labels == [IGNORED, 0, 1, 2, IGNORED]
    with pytest.raises(ValueError, match="6 words and 2 labels"):
        label_pieces(encoding, WORDS, [0, 1])


@given(st.text("ab é'.-\n", min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_every_word_has_one_label(text):
    tokenizer = WordPieceTokenizer(
        [*SPECIAL_TOKENS, "a", "##a", "##b", "e", "##e", "b", "'", ".", "-"]
    )
    words, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        words.append((start, start + len(word)))
        start += len(word)
    labels = label_pieces(tokenizer.encode(text), words, range(len(words)))
    assert [x for x in labels if x != IGNORED] == list(range(len(words)))
    assert labels[0] == labels[-1] == IGNORED


def test_an_answer_is_found_in_the_second_text(tokenizer):
    question, passage = (
        "who walked?",
        "On Friday Neil Armstrong walked. He photosynthesized.",
    )
    encoding = tokenizer.encode(question, passage)
    for start, end in itertools.combinations(range(len(passage) + 1), 2):
        first, last = span_of_pieces(encoding, start, end) or (None, None)
        inside = [
            i
            for i, (s, e) in enumerate(encoding.offsets)
            if encoding.token_type_ids[i] and s < end and start < e
        ]
        if passage[end - 1] == " ":
            continue
        assert (first, last) == (inside[0], inside[-1])
    assert encoding.tokens[slice(*span_of_pieces(encoding, 10, 24))] == ["neil"]


def test_an_answer_that_is_cut_off(tokenizer):
    passage = "On Friday Neil Armstrong walked."
    encoding = tokenizer.encode("who?", passage, max_length=8, truncation="only_second")
    assert encoding.tokens[-4:] == ["on", "friday", "neil", "[SEP]"]
    assert span_of_pieces(encoding, 3, 14) == (5, 6)
    assert span_of_pieces(encoding, 10, 24) is None
    assert span_of_pieces(encoding, 15, 24) is None
    with pytest.raises(ValueError, match="0 <= start < end, got 4 and 4"):
        span_of_pieces(encoding, 4, 4)


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 9), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_the_best_span_is_the_best_of_all_valid_ones(seed, length, max_length, batch):
    torch.manual_seed(seed)
    start, end = torch.randn(2, batch, length)
    passage = torch.rand(batch, length) < 0.7
    passage[range(batch), torch.randint(length, (batch,))] = True
    spans = best_spans(start, end, passage, max_length)
    for row in range(batch):
        valid = {
            (i, j): (start[row, i] + end[row, j]).item()
            for i in range(length)
            for j in range(i, min(length, i + max_length))
            if passage[row, i : j + 1].all()
        }
        assert tuple(spans[row].tolist()) == max(valid, key=valid.get)


def test_impossible_spans():
    scores = torch.zeros(2, 3)
    passage = torch.tensor([[False, True, True], [False, False, False]])
    with pytest.raises(
        ValueError, match=r"every row have a passage, got 64 and \[2, 0\]"
    ):
        best_spans(scores, scores, passage)
    with pytest.raises(ValueError, match=r"max_length must be at least 1 .* got 0"):
        best_spans(scores, scores, passage[:1].expand(2, 3), 0)
    with pytest.raises(ValueError, match="one shape"):
        best_spans(scores, scores, passage[:1])
