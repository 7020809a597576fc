"""Sentences by their marks, by lines and by length; the old rule beside the linear one."""

import re
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbook.corpora.sentences import (
    ABBREVIATIONS,
    OWN_MARKS,
    cut_by_length,
    document_sentences,
    split_sentences,
)

OLD_END = re.compile(r"[.!?…]+[\"')\]]*( +)(?=[\"'(\[]*[^\W_a-zà-ÿ])")


def old_rule(text):
    """What cut the book's own corpora first; its time grows with the square of the length."""
    sentences, start = [], 0
    for match in OLD_END.finditer(text):
        last = re.search(r"[^\s\"'(\[]*$", text[start : match.start()])[0]
        if text[match.start()] == "." and (
            ABBREVIATIONS.fullmatch(last.lower())
            or re.fullmatch(r"([^\W\d_]\.)*[A-HJ-Z]", last)
        ):
            continue
        sentences.append(text[start : match.start(1)])
        start = match.end(1)
    return (*sentences, text[start:]) if text[start:] else tuple(sentences)


TEXTS = st.text(st.sampled_from(list("aAIÉ1.!?…\"')([ 。！”"))) | st.lists(
    st.sampled_from(["Mr.", "Dr", "U.S.", "J.", '."', "(He", "left.", "Oh!", "猫。"])
).map(" ".join)


@given(TEXTS)
def test_only_spaces_between_sentences_are_missing(text):
    found = split_sentences(text)
    assert all(found)
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


@given(TEXTS)
def test_without_marks_of_their_own_sentences_are_those_of_the_old_rule(text):
    text = "".join(c for c in text if c not in OWN_MARKS)
    assert split_sentences(text) == old_rule(text)


@pytest.mark.parametrize(
    "sentences",
    [
        ("小猫喜欢花园。", "小狗呢？！", "“走吧。”", "他说……好"),
        ("यह घर है।", "वह नदी है।"),
        ("این گھر ہے۔", "کیا؟", "ہاں"),
        ("我有3.5元。", "He left."),
    ],
)
def test_marks_of_their_own_need_no_space(sentences):
    assert split_sentences("".join(sentences)) == sentences
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("unit", "count"),
    [("A. ", 1), ("小猫", 1), ("小猫。", 100_000), (".", 1), ('."', 1), ("a", 1)],
)
def test_long_texts_without_ordinary_sentences_come_to_an_end(unit, count):
    """The old rule would take an hour for the first."""
    text = unit * 100_000
    found = split_sentences(text)
    assert len(found) == count
    assert "".join(found) == text


@pytest.mark.parametrize(
    ("lines", "auto"),
    [
        (["the cat sat", "the dog ran"], 2),  # no marks
        (["the cat sat.", "1990 was cold.", "it ran."], 3),  # marks, no capitals
        (["小猫喜欢花园", "小狗喜欢河水"], 2),
        (["He came to the", "house. Then he", "left."], 2),  # wrapped prose
        (["A heading", "One a. Two", "b."], 2),
    ],
)
def test_a_line_end_ends_a_sentence_where_it_must(lines, auto):
    text = "\n".join(lines)
    assert len(document_sentences(text)) == auto
    assert document_sentences(text, "space") == list(split_sentences(" ".join(lines)))
    cut = [s for line in lines for s in split_sentences(line)]
    assert document_sentences(text, "sentence") == cut
    assert document_sentences("") == []


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=90), max_size=3))
def test_what_is_cut_by_length_is_the_text_and_words_stay_whole(sentences):
    continues = [False, False, True, True]
    parts = cut_by_length(sentences, continues)
    assert list(chain(*parts)) == list(chain(*sentences))
    assert all(parts)
    if len(sentences) == 1:
        assert not any(continues[part[0]] for part in parts[1:])
        half = -(-len(sentences[0]) // 2)
        assert len(parts) > 1 or all(continues[n] for n in sentences[0][half:])
    else:
        assert parts == sentences


def test_stretches():
    flat = [False] * 2
    assert [len(p) for p in cut_by_length([[0] * 100], flat)] == [32, 32, 32, 4]
    assert [len(p) for p in cut_by_length([[0] * 5], flat)] == [3, 2]
    two = cut_by_length([[0] * 600, [1] * 512], flat)
    assert [len(p) for p in two] == [32] * 18 + [24, 512]
