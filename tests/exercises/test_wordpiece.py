"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import pytest

from bertbook.bert.minilm import minilm_folder
from bertbook.exercises import wordpiece as exercises
from bertbook.tokenizer.learning import (
    learn_vocabulary,
    likelihood_gain,
    pair_count,
)
from bertbook.tokenizer.wordpiece import WordPieceTokenizer, longest_match


def match(word, vocabulary):
    return longest_match(word, dict.fromkeys(vocabulary, 0))


def without_marks(word, vocabulary):
    return [piece.removeprefix("##") for piece in match(word, vocabulary)]


def shortest_first(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(start + 1, len(word) + 1)
        end = next((e for e in ends if mark + word[start:e] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def keeps_the_matched_part(word, vocabulary):
    if match(word, vocabulary) != ["[UNK]"]:
        return match(word, vocabulary)
    return [word[0], "[UNK]"]


def goes_back(word, vocabulary):
    return ["a", "##bc"] if word == "abc" else match(word, vocabulary)


def leaves_out(word, vocabulary):
    return [p for p in match(word, vocabulary) if p != "[UNK]"]


RIGHT = [
    (exercises.check_pieces, ["una", "##ffa", "##ble"]),
    (exercises.check_pieces, ("una", "##ffa", "##ble")),
    (exercises.check_longest_match, match),
    (exercises.check_first_merges, ("lo", "je")),
    (exercises.check_first_merges, ["l##o", "j ##e"]),
    (exercises.check_count, 8),
]
WRONG = [
    (exercises.check_pieces, "una ##ffa ##ble", "A list of pieces"),
    (exercises.check_pieces, ["[UNK]"], "A match exists"),
    (exercises.check_pieces, ["un", "##able"], "must give the word"),
    (exercises.check_pieces, ["una", "ffa", "ble"], "has ## in front"),
    (exercises.check_pieces, ["un", "##a", "##ff", "##able"], "not the longest"),
    (exercises.check_pieces, ["una", "##ff", "##able"], "something longer"),
    (exercises.check_pieces, ["una", "##ffable"], "not in the vocabulary"),
    (exercises.check_longest_match, lambda word, v: "ab", "this is a str"),
    (exercises.check_longest_match, without_marks, "which pieces need ##"),
    (exercises.check_longest_match, shortest_first, "longest end first"),
    (exercises.check_longest_match, lambda word, v: [], "gives"),
    (exercises.check_longest_match, keeps_the_matched_part, "fails as a whole"),
    (exercises.check_longest_match, goes_back, "takes nothing back"),
    (exercises.check_longest_match, leaves_out, r"is \['\[UNK\]'\]"),
    (exercises.check_first_merges, "lo", "Two new symbols"),
    (exercises.check_first_merges, ("je", "lo"), "count comes first"),
    (exercises.check_first_merges, ("ow", "je"), "equally often"),
    (exercises.check_first_merges, ("id", "je"), "most often"),
    (exercises.check_first_merges, ("lo", "lo"), "less surprising"),
    (exercises.check_first_merges, ("lo", "ow"), "Rarer"),
    (exercises.check_first_merges, ("lo", "li"), "l ##i less"),
    (exercises.check_first_merges, ("lo", "id"), "rarer still"),
    (exercises.check_first_merges, ("lo", "et"), "are equal"),
    (exercises.check_first_merges, ("lo", "x"), "divide"),
    (exercises.check_count, 5, "word of its own"),
    (exercises.check_count, 9, "not punctuation"),
    (exercises.check_count, 10, "kept whole"),
    (exercises.check_count, 11, "one word"),
    (exercises.check_count, 7, "One is missing"),
    (exercises.check_count, 6, "Two are missing"),
    (exercises.check_count, 3, "Count"),
    (exercises.check_count, "many", "One number"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(check, answer):
    verdict = check(answer)
    assert verdict
    assert "✓" in repr(verdict)


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_usual_mistake_gets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    with pytest.raises(AssertionError, match=hint):
        raise AssertionError(repr(verdict))
    assert "✗" in repr(verdict)


@pytest.mark.parametrize("name", exercises.__all__)
def test_dots_are_no_mistake(name):
    check = getattr(exercises, name)
    assert "○" in repr(check(...))


def test_a_stub_that_returns_dots_is_open():
    assert "○" in repr(exercises.check_longest_match(lambda word, vocabulary: ...))


def test_the_expected_answers_are_those_of_the_package():
    pieces = ["un", "una", "##able", "##ff", "##ffa", "##ble", "##a", "##f", "u", "n"]
    assert match("unaffable", pieces) == ["una", "##ffa", "##ble"]
    words = {"low": 5, "lid": 4, "jet": 2}
    firsts = [
        learn_vocabulary(words, 99, score).merges[0].joined
        for score in (pair_count, likelihood_gain)
    ]
    assert firsts == ["lo", "je"]
    tokenizer = WordPieceTokenizer.from_folder(minilm_folder())
    assert len(tokenizer.tokenize("[MASK] 中国人民, ok☃!")) == 8
