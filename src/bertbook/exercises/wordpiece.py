"""Checks for the exercises of the chapter *WordPiece: from a text to pieces*."""

from collections.abc import Callable, Set

from bertbook.exercises import (
    Verdict,
    correct,
    is_open,
    open_answer,
    takes_number,
    wrong,
)
from bertbook.tokenizer.wordpiece import longest_match

__all__ = [
    "check_count",
    "check_first_merges",
    "check_longest_match",
    "check_pieces",
]


def _strings(answer: object) -> list[str] | None:
    """The answer as a list of strings, or ``None`` if it is not one."""
    if isinstance(answer, list | tuple) and all(isinstance(x, str) for x in answer):
        return list(answer)
    return None


def check_pieces(answer: object) -> Verdict:
    """Exercise 1: the pieces of *unaffable* under a small vocabulary.

    Args:
        answer: a list of strings.
    """
    if is_open(answer):
        return open_answer()
    pieces = _strings(answer)
    if pieces is None:
        return wrong(f"A list of pieces is asked for; this is {answer!r}.")
    if pieces == ["una", "##ffa", "##ble"]:
        return correct("Longest first, each time; what the word means plays no part.")
    if pieces == ["[UNK]"]:
        return wrong("A match exists: begin with the longest piece from the left.")
    if "".join(piece.removeprefix("##") for piece in pieces) != "unaffable":
        return wrong("Joined, without their marks, the pieces must give the word.")
    if any(piece.startswith("##") != (i > 0) for i, piece in enumerate(pieces)):
        return wrong("Each piece but the first continues the word: it has ## in front.")
    if pieces[0] == "un":
        return wrong("un is in the vocabulary, but it is not the longest beginning.")
    if pieces[:2] == ["una", "##ff"]:
        return wrong("After una, ##ff is there, and something longer is too.")
    return wrong("Some piece is not in the vocabulary, or a longer one is.")


_CASES = [
    ("abab", {"ab", "##ab"}),
    ("abcd", {"a", "ab", "##b", "##c", "##cd", "##d"}),
    ("a", {"a"}),
    ("abab", {"ab", "##a", "##b"}),
]


def check_longest_match(
    function: Callable[[str, Set[str]], list[str]],
) -> Verdict:
    """Exercise 2: the longest match of a word.

    Args:
        function: takes a word and a set of pieces, returns the pieces of the word.
    """
    if is_open(function):
        return open_answer()
    for word, vocabulary in _CASES:
        pieces = function(word, set(vocabulary))
        if is_open(pieces):
            return open_answer()
        if not isinstance(pieces, list):
            kind = type(pieces).__name__
            return wrong(f"A list of pieces is asked for; this is a {kind}.")
        expected = longest_match(word, dict.fromkeys(vocabulary, 0))
        if pieces == expected:
            continue
        case = f"{word} with {sorted(vocabulary)} gives {expected}, not {pieces}."
        if [p.removeprefix("##") for p in pieces] == [
            p.removeprefix("##") for p in expected
        ]:
            return wrong(f"{case} The cuts are right; which pieces need ##?")
        if len(pieces) > len(expected):
            return wrong(f"{case} Try the longest end first.")
        return wrong(case)
    fails = {
        "abx": {"a", "b", "ab", "##b", "##x x"},
        "xab": {"ab", "##ab"},
        "abc": {"ab", "a", "##bc"},
    }
    for word, vocabulary in fails.items():
        pieces = function(word, set(vocabulary))
        if pieces == ["a", "##bc"]:
            return wrong(
                "abc with {ab, a, ##bc}: the greedy match takes nothing back, so this is [UNK]."
            )
        if isinstance(pieces, list) and "[UNK]" in pieces and len(pieces) > 1:
            return wrong(
                f"{word} fails as a whole: one [UNK], and nothing of what was matched."
            )
        if pieces != ["[UNK]"]:
            return wrong(
                f"{word} with {sorted(vocabulary)} is ['[UNK]'], not {pieces}."
            )
    return correct("Seven lines; that is all of WordPiece that runs in BERT.")


def check_first_merges(answer: object) -> Verdict:
    """Exercise 3: the first merge of *low* 5, *lid* 4, *jet* 2 by count and by gain.

    Args:
        answer: two new symbols: by count, by gain of one occurrence.
    """
    if is_open(answer):
        return open_answer()
    symbols = _strings(answer)
    if symbols is None or len(symbols) != 2:
        return wrong(f"Two new symbols are asked for; this is {answer!r}.")
    symbols = [symbol.replace(" ", "").replace("##", "") for symbol in symbols]
    if symbols == ["lo", "je"]:
        return correct("The most frequent, and the rarest that always stand together.")
    if symbols == ["je", "lo"]:
        return wrong("These are the two, but count comes first.")
    if symbols[0] == "ow":
        return wrong("l ##o and ##o ##w stand equally often; l ##o comes first.")
    if symbols[0] != "lo":
        return wrong("By count: which pair of neighbours stands there most often?")
    hints = {
        "lo": "By gain: l stands in low and in lid, which makes l ##o less surprising.",
        "ow": "By gain ##o ##w gets 5/(5·5). Rarer pairs get more.",
        "li": "By gain: l stands in low and in lid, which makes l ##i less surprising.",
        "id": "By gain ##i ##d gets 4/(4·4). One word is rarer still.",
        "et": "By gain j ##e and ##e ##t are equal; j ##e comes first.",
    }
    return wrong(hints.get(symbols[1], "By gain: divide by the product of the counts."))


@takes_number
def check_count(answer: float) -> Verdict:
    """Exercise 4: tokens of a text with Chinese, a special token and an unknown character.

    Args:
        answer: how many.
    """
    if answer == 8:
        return correct("One, four, one, one [UNK] for all of ok☃, one.")
    hints = {
        5: "Each Chinese character is a word of its own.",
        9: "☃ is not punctuation: ok☃ is one word, and it fails as a whole.",
        10: "[MASK] is kept whole, and [CLS] and [SEP] are not asked for.",
        11: "ok☃ is one word, which fails as a whole; [CLS] and [SEP] are not asked for.",
        7: "One is missing. Is each punctuation mark counted?",
        6: "Two are missing: each punctuation mark is a word.",
    }
    return wrong(hints.get(answer, "Count: specials, characters, marks, words."))
