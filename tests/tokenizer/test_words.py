"""bertbook.tokenizer.words: its steps, and every code point against the Rust library."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers.models.bert.tokenization_bert_legacy import (
    BasicTokenizer as LegacyTokenizer,
)

from bertbook.tokenizer.words import (
    BasicTokenizer,
    Word,
    category,
    clean,
    decompose,
    is_chinese,
    is_control,
    is_punctuation,
    lower_case,
    separate_chinese,
    split_words,
    strip_accents,
)

OPTIONS = [
    {"do_lower_case": lower, "tokenize_chinese_chars": chinese, "strip_accents": strip}
    for lower in (True, False)
    for chinese in (True, False)
    for strip in (None, True, False)
]
# Marks of several ranks and Unicode versions, some of which stay when accents go.
MARKS = (
    "\u0301\u0323\u0334\u0344\u0345\u05b0\u0f73\u1b44\u302e\U0001d165\U0001d15e\U0001112e"
    "\u08d4\u08e1\U00011442\U0001e000\u1dfb\u07fd\u0898\u09fe\u0c3c\u0d3b\u1715\u1abf\u1df6"
    "\U00010d24\U00010f46\U00011070\U0001145e\U00016ff0\U00011938\U00011939"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def characters(text):
    return [(c, i) for i, c in enumerate(text)]


def text_of(steps):
    return "".join(c for c, _ in steps)


def test_each_step_keeps_the_positions():
    assert clean(characters("a\t\x00b\u200b\ufffd\u3000")) == [
        ("a", 0),
        (" ", 1),
        ("b", 3),
        (" ", 6),
    ]
    assert separate_chinese(characters("a中")) == [
        ("a", 0),
        (" ", 1),
        ("中", 1),
        (" ", 1),
    ]
    assert decompose(characters("éx")) == [("e", 0), ("\u0301", 0), ("x", 1)]
    assert strip_accents(characters("éx")) == [("e", 0), ("x", 1)]
    assert lower_case(characters("İß")) == [("i", 0), ("\u0307", 0), ("ß", 1)]
    assert split_words(characters("it's  3.5$")) == [
        Word("it", (0, 1)),
        Word("'", (2,)),
        Word("s", (3,)),
        Word("3", (6,)),
        Word(".", (7,)),
        Word("5", (8,)),
        Word("$", (9,)),
    ]


def test_words_point_into_the_text():
    text = "Ça\u00ad va, 中文?"
    words = BasicTokenizer().words(text)
    assert [w.text for w in words] == ["ca", "va", ",", "中", "文", "?"]
    assert [text[w.positions[0] : w.positions[-1] + 1] for w in words] == [
        "Ça",
        "va",
        ",",
        "中",
        "文",
        "?",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "etude σασ 中 文"),  # letter by letter there is no final sigma
        ({"do_lower_case": False}, "Étude ΣΑΣ 中 文"),
        ({"strip_accents": False}, "étude σασ 中 文"),
        ({"do_lower_case": False, "strip_accents": True}, "Etude ΣΑΣ 中 文"),
        ({"tokenize_chinese_chars": False}, "etude σασ 中文"),
    ],
)
def test_options(options, expected):
    words = BasicTokenizer(**options).words("Étude ΣΑΣ 中文")
    assert " ".join(w.text for w in words) == expected


def test_kinds_of_characters():
    assert [
        c for c in "\t\n\r\0\x1f\x7f\u200d\ue000\ufffd\u0378a" if is_control(c)
    ] == [*"\0\x1f\x7f\u200d\ue000\ufffd"]
    assert all(map(is_punctuation, "!$+<=>^`|~«、。"))
    assert not any(map(is_punctuation, "a1 €×中"))
    assert all(map(is_chinese, "中㐀\U00020000"))
    assert not any(map(is_chinese, "aひカ한"))


# First and last code point. The sixth block starts 100 (hexadecimal) later in the Rust library.
IDEOGRAPHS = [
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
]


def spaced(code):
    """Whether the Rust library puts spaces around a character."""
    alone = BertNormalizer(clean_text=False, strip_accents=False, lowercase=False)
    return alone.normalize_str(chr(code)) == f" {chr(code)} "


@pytest.mark.parametrize(("first", "last"), IDEOGRAPHS)
def test_a_block_of_ideographs_begins_and_ends_where_it_does_in_the_libraries(
    first, last
):
    legacy = LegacyTokenizer()
    assert is_chinese(chr(first))
    assert is_chinese(chr(last))
    for code in (first - 1, first, first + 1, last - 1, last, last + 1):
        assert is_chinese(chr(code)) == spaced(code)
        if not 0x2B820 <= code < 0x2B920:
            assert is_chinese(chr(code)) == legacy._is_chinese_char(code)


def test_the_blocks_of_ideographs_are_all_there_are():
    """The first planes, which hold all ideographs, in one text beside the Rust library."""
    text = "".join(chr(c) for c in range(0x32000) if not 0xD800 <= c < 0xE000)
    normalizer = BertNormalizer(clean_text=False, strip_accents=False, lowercase=False)
    expected = "".join(
        f" {c} " if any(a <= ord(c) <= b for a, b in IDEOGRAPHS) else c for c in text
    )
    assert normalizer.normalize_str(text) == expected
    assert text_of(separate_chinese(characters(text))) == expected


def test_every_capital_becomes_the_small_letter_of_the_library():
    """Also those that Unicode has had since Python's table was made."""
    text = "".join(chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000)
    normalizer = BertNormalizer(
        clean_text=False,
        handle_chinese_chars=False,
        strip_accents=False,
        lowercase=True,
    )
    assert text_of(lower_case(characters(text))) == normalizer.normalize_str(text)


def test_categories_are_those_of_unicode_8():
    for added_in_9_or_later in "\u08e1\u1dfb\u2e43\u0890":
        assert unicodedata.category(added_in_9_or_later)[:1] in "MPC"
        assert category(added_in_9_or_later) == "Cn"
    assert category("\u0301") == "Mn"
    assert category("!") == "Po"


@pytest.mark.parametrize("options", OPTIONS)
def test_marks_in_any_order_are_those_of_the_library(options):
    """The order of marks, which later Unicode versions of Python know more of."""
    pairs = [f"a{x}{y}b" for x in MARKS for y in MARKS]
    triples = [f"{x}{y}é{z}" for x in MARKS[:9] for y in MARKS for z in MARKS[::3]]
    normalizer = normalizer_of(options)
    for texts in (pairs, triples):
        text = " ".join(texts)
        expected = normalizer.normalize_str(text)
        assert text_of(BasicTokenizer(**options).normalize(text)) == expected


def test_every_mark_and_every_composed_letter_is_taken_apart_as_in_the_library():
    """Before and after marks of the lowest and the highest rank: 20 thousand words."""
    special = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.combining(chr(code)) or unicodedata.decomposition(chr(code))
    ]
    words = [f"a\u0345{c} a{c}\u0334 {c}" for c in special]
    assert len(words) > 6000
    for start in range(0, len(words), 100):
        text = " ".join(words[start : start + 100])
        expected = NFD().normalize_str(text)
        assert text_of(decompose(characters(text))) == expected


def normalizer_of(options):
    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options["tokenize_chinese_chars"],
        strip_accents=options["strip_accents"],
        lowercase=options["do_lower_case"],
    )


@given(TEXTS | st.text(st.sampled_from(MARKS + "aÉ中 .")), st.sampled_from(OPTIONS))
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_the_library(text, options):
    basic = BasicTokenizer(**options)
    normal = normalizer_of(options).normalize_str(text)
    assert text_of(basic.normalize(text)) == normal
    expected = [word for word, _ in BertPreTokenizer().pre_tokenize_str(normal)]
    assert [word.text for word in basic.words(text)] == expected


@given(TEXTS, st.sampled_from(OPTIONS))
@settings(max_examples=100, deadline=None)
def test_invariants(text, options):
    """Positions rise and lie in the text; no word is empty or holds a space."""
    basic = BasicTokenizer(**options)
    positions = [i for _, i in basic.normalize(text)]
    assert positions == sorted(positions)
    assert set(positions) <= set(range(len(text)))
    words = basic.words(text)
    assert all(w.text and " " not in w.text for w in words)
    assert all(len(w.text) == len(w.positions) for w in words)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, TypeError, "must be a str, got NoneType"),
        (b"bytes", TypeError, "got bytes"),
        ("ab\ud800", ValueError, r"position 2 .*U\+D800, half of a surrogate pair"),
        ("\udfff", ValueError, r"position 0 .*U\+DFFF"),
        ("\ud83d\ude00", ValueError, r"position 0 .*U\+D83D"),
    ],
)
def test_what_is_no_text_is_named(text, error, message):
    with pytest.raises(error, match=message):
        BasicTokenizer().words(text)
