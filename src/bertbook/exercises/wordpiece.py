"""The exercises of the chapter *WordPiece: from a text to pieces*."""

from collections.abc import Set

from bertbook.exercises.answers import strings
from bertbook.exercises.checker import Code, Number, Several
from bertbook.tokenizer.wordpiece import longest_match

__all__ = [
    "check_count",
    "check_first_merges",
    "check_longest_match",
    "check_pieces",
]

check_pieces = Several(
    "Exercise 1: the pieces of *unaffable* under a small vocabulary, a list of strings.",
    right=("una", "##ffa", "##ble"),
    praise="Longest first, each time; what the word means plays no part.",
    read=strings,
    form="A list of pieces is asked for; this is {found}.",
    hints={
        "A match exists: begin with the longest piece from the left.": ("[UNK]",),
        "Joined, without their marks, the pieces must give the word.": (
            lambda pieces: "".join(p.removeprefix("##") for p in pieces) != "unaffable"
        ),
        "Each piece but the first continues the word: it has ## in front.": (
            lambda pieces: any(
                p.startswith("##") != (i > 0) for i, p in enumerate(pieces)
            )
        ),
        "un is in the vocabulary, but it is not the longest beginning.": (
            lambda pieces: pieces[0] == "un"
        ),
        "After una, ##ff is there, and something longer is too.": (
            lambda pieces: pieces[:2] == ("una", "##ff")
        ),
    },
    otherwise="Some piece is not in the vocabulary, or a longer one is.",
)


def _match(word: str, vocabulary: Set[str]) -> list[str]:
    return longest_match(word, dict.fromkeys(vocabulary, 0))


def _match_hint(found: list, right: list[str], word: str, vocabulary: Set[str]) -> str:
    case = f"{word} with {sorted(vocabulary)} gives {right}, not {found}."
    if right == ["[UNK]"]:
        if found == ["a", "##bc"]:
            return "abc with {ab, a, ##bc}: the greedy match takes nothing back, so it is [UNK]."
        if "[UNK]" in found and len(found) > 1:
            return (
                f"{word} fails as a whole: one [UNK], and nothing of what was matched."
            )
    elif [str(p).removeprefix("##") for p in found] == [
        p.removeprefix("##") for p in right
    ]:
        return f"{case} The cuts are right; which pieces need ##?"
    elif len(found) > len(right):
        return f"{case} Try the longest end first."
    return case


check_longest_match = Code(
    "Exercise 2: the longest match of a word: takes a word and a set of pieces, returns the pieces "
    "of the word.",
    inputs=lambda: [
        ("abab", {"ab", "##ab"}),
        ("abcd", {"a", "ab", "##b", "##c", "##cd", "##d"}),
        ("a", {"a"}),
        ("abab", {"ab", "##a", "##b"}),
        ("abx", {"a", "b", "ab", "##b", "##x x"}),
        ("xab", {"ab", "##ab"}),
        ("abc", {"ab", "a", "##bc"}),
    ],
    right=_match,
    praise="Seven lines; that is all of WordPiece that runs in BERT.",
    form="A list of pieces is asked for; this is {found}.",
    otherwise=_match_hint,
)


def _merges(answer: object) -> tuple[str, ...] | None:
    symbols = strings(answer)
    if symbols is None or len(symbols) != 2:
        return None
    return tuple(symbol.replace(" ", "").replace("##", "") for symbol in symbols)


check_first_merges = Several(
    "Exercise 3: the first merge of *low* 5, *lid* 4, *jet* 2: two new symbols, by count and by "
    "gain of one occurrence.",
    right=("lo", "je"),
    praise="The most frequent, and the rarest that always stand together.",
    read=_merges,
    form="Two new symbols are asked for; this is {found}.",
    hints={
        "These are the two, but count comes first.": ("je", "lo"),
        "l ##o and ##o ##w stand equally often; l ##o comes first.": ("ow", ...),
        "By count: which pair of neighbours stands there most often?": (
            lambda symbols: symbols[0] != "lo"
        ),
        "By gain: l stands in low and in lid, which makes l ##o less surprising.": (
            "lo",
            "lo",
        ),
        "By gain ##o ##w gets 5/(5·5). Rarer pairs get more.": ("lo", "ow"),
        "By gain: l stands in low and in lid, which makes l ##i less surprising.": (
            "lo",
            "li",
        ),
        "By gain ##i ##d gets 4/(4·4). One word is rarer still.": ("lo", "id"),
        "By gain j ##e and ##e ##t are equal; j ##e comes first.": ("lo", "et"),
    },
    otherwise="By gain: divide by the product of the counts.",
)

check_count = Number(
    "Exercise 4: tokens of a text with Chinese, a special token and an unknown character.",
    right=8,
    praise="One, four, one, one [UNK] for all of ok☃, one.",
    hints={
        "Each Chinese character is a word of its own.": 5,
        "☃ is not punctuation: ok☃ is one word, and it fails as a whole.": 9,
        "[MASK] is kept whole, and [CLS] and [SEP] are not asked for.": 10,
        "ok☃ is one word, which fails as a whole; [CLS] and [SEP] are not asked for.": 11,
        "One is missing. Is each punctuation mark counted?": 7,
        "Two are missing: each punctuation mark is a word.": 6,
    },
    otherwise="Count: specials, characters, marks, words.",
)
