"""tokenizer.wordpiece: the same pieces, positions and types as the library's, for any text."""

import json
import os
import pickle
import random
import re
import shutil
import string
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders
from transformers import BertTokenizer

from bertbook.bert.minilm import minilm_folder
from bertbook.corpora.wikipedia import load_articles
from bertbook.tokenizer.packing import TRUNCATIONS
from bertbook.tokenizer.wordpiece import (
    SPECIAL_TOKENS,
    WordPieceTokenizer,
    longest_match,
)

os.environ["TOKENIZERS_PARALLELISM"] = "false"
CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
ASSIGNED = [c for c in CODE_POINTS if unicodedata.category(chr(c)) not in ("Cn", "Co")]
EXAMPLES = [
    "",
    " \t\n",
    "don't! U.S.A. 3.14 e-mail @home #tag",
    "👩‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️ 1️⃣ x👍🏽y",
    "ΑΣ ΟΔΟΣ Σ ςσ İstanbul ıI Straße ẞ ŉ ǅ ﬁ ſ K Å Ω",
    "e\u0301\u0323 e\u0323\u0301 \u0301 a\u0301\u0301\u0301 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍a",
    "السَّلَامُ عَلَيْكُمْ שָׁלוֹם \u202eabc\u202c \u200fא\u200e",
    "हिन्दी தமிழ் ไทย ភាសាខ្មែរ བོད་ཡིག 한국어 조합",
    "日本語のテキスト、中文。𠀀𫠠𫤠㐀豈",
    "a\u00adb a\u200bb a\u2060b a\ufeffb a\ue000b a\U000f0000b a\ufffdb a\0b a\x85b a\x1cb",
    "a\xa0b a\u3000b a\u2028b a\u1680b a\x0bb",
    "[CLS] a [MASK]b[SEP][PAD] [UNK] [mask] [ MASK ] [MASK [[MASK]] [MA\u200bSK]",
    "## ##a a## [UNK]##a # ### ######",
    "x" * 100 + " " + "x" * 101 + " é" + "e\u0301" * 100 + " " + "é" * 101,
    "q" * 5000,
    "\u0378 a\u0378b \u0890 \u08e2 \u1734 \u166d \U000111c9 \U00011938 \U00016ea0 \ua7cb",
]
# Marks of several ranks that stay when accents go: in which order, and at which positions?
MARKS = "\u0301\u0344\u1b44\u302e\U0001d165\u08d4\u08e1\u0898\u1715\U00011442"
EXAMPLES.append(" ".join(f"a{x}{y}é{x}b" for x in MARKS for y in MARKS))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(
    st.sampled_from([*string.ascii_letters, *" .,'[]#é中ß\u0301", *SPECIAL_TOKENS])
).map("".join)


@pytest.fixture(scope="module")
def theirs():
    return BertTokenizer.from_pretrained(minilm_folder(), model_max_length=10**9)


@pytest.fixture(scope="module")
def ours():
    return WordPieceTokenizer.from_folder(minilm_folder(), max_length=10**9)


def batches(items, size=2000):
    for start in range(0, len(items), size):
        yield items[start : start + size]


def differing(ours, theirs, texts):
    """The texts, or pairs of texts, whose encoding is not the library's."""
    backend = theirs.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    wrong = []
    for batch in batches(texts):
        for text, e in zip(batch, backend.encode_batch(batch), strict=True):
            own = ours.encode(*((text,) if isinstance(text, str) else text))
            fields = (own.ids, own.token_type_ids, own.attention_mask, own.offsets)
            if fields != (e.ids, e.type_ids, e.attention_mask, e.offsets):
                wrong.append(text)
    return wrong


def test_the_library_is_the_rust_one(theirs):
    assert theirs.is_fast
    assert type(theirs).__name__ == "BertTokenizer"
    assert type(theirs.backend_tokenizer).__module__ == "tokenizers"


@pytest.mark.slow
def test_book_text(ours, theirs):
    """14,312 paragraphs, 3.0 million characters."""
    texts = [p for article in load_articles() for p in article.paragraphs]
    assert len(texts) > 14_000
    assert differing(ours, theirs, texts) == []


@pytest.mark.slow
def test_every_assigned_character_alone_and_between_letters(ours, theirs):
    """160 thousand strings; of code points with no character or for private use one in 61."""
    others = sorted(set(CODE_POINTS) - set(ASSIGNED))[::61]
    texts = [f"{chr(code)} a{chr(code)}b" for code in ASSIGNED + others]
    assert len(texts) > 150_000
    assert differing(ours, theirs, texts) == []


@pytest.mark.slow
def test_every_code_point_with_a_vocabulary_that_hides_none():
    """Most characters are [UNK] in the real vocabulary; here each is a piece, in any case."""
    letters = sorted(
        {
            part
            for code in ASSIGNED
            for form in (chr(code), chr(code).lower())
            for part in form + unicodedata.normalize("NFD", form)
        }
        # Small letters that Unicode has, but Python 3.11 does not know.
        | set("\u1c8a\ua7cd\ua7cf\ua7d3\ua7d5\ua7db")
        | {chr(code) for code in (*range(0x10D70, 0x10D86), *range(0x16EBB, 0x16ED4))}
    )
    pieces = [*SPECIAL_TOKENS, *letters, *("##" + letter for letter in letters)]
    theirs = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    ours = WordPieceTokenizer(pieces, max_length=10**9)
    texts = [
        ",".join(f"a{chr(code)}b" for code in codes)
        for codes in batches(CODE_POINTS, 20)
    ]
    assert sum(text.count("b") for text in texts) > len(CODE_POINTS)
    assert differing(ours, theirs, texts) == []


def test_random_strings(ours, theirs):
    """30,000: letters of all kinds, marks, spaces and controls in a heap."""
    generator = random.Random(0)
    kinds = [
        [c for c in ASSIGNED if unicodedata.category(chr(c)) in ("Mn", "Mc", "Me")],
        [c for c in ASSIGNED if unicodedata.category(chr(c))[0] in "CZ"],
        [c for c in ASSIGNED if unicodedata.decomposition(chr(c))],
        list(range(0x250)),
        ASSIGNED,
        CODE_POINTS,
    ]
    texts = [
        "".join(
            chr(generator.choice(generator.choice(kinds)))
            for _ in range(generator.randint(1, 14))
        )
        for _ in range(30_000)
    ]
    assert differing(ours, theirs, texts) == []


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples(ours, theirs, text):
    assert differing(ours, theirs, [text]) == []
    assert differing(ours, theirs, [(text, "b"), ("a", text), (text, text)]) == []


@given(st.lists(TEXTS, min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text(ours, theirs, texts):
    assert differing(ours, theirs, texts) == []


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("chinese", [True, False])
@pytest.mark.parametrize("strip", [None, True, False])
def test_options(lower, chinese, strip):
    options = {
        "do_lower_case": lower,
        "tokenize_chinese_chars": chinese,
        "strip_accents": strip,
    }
    letters = sorted(set("".join(EXAMPLES)) | set(string.printable))
    pieces = [*SPECIAL_TOKENS, *letters, *("##" + c for c in letters), "中文", "##aé"]
    theirs = BertTokenizer(vocab={p: i for i, p in enumerate(pieces)}, **options)
    ours = WordPieceTokenizer(pieces, max_length=10**9, **options)
    texts = EXAMPLES + [p for a in load_articles()[:3] for p in a.paragraphs]
    assert differing(ours, theirs, texts) == []


@st.composite
def pairs(draw):
    words = st.lists(st.sampled_from(["cat", "tokenizers", "é", "[MASK]", "."]))
    texts = words.map(" ".join)
    return draw(texts), draw(st.none() | texts)


@given(pairs(), st.sampled_from(TRUNCATIONS[1:]), st.integers(3, 24))
@settings(max_examples=400, deadline=None)
def test_truncation(ours, theirs, texts, truncation, max_length):
    """As the library, but where nothing would be left of the text to cut, always an error."""
    first, second = texts
    backend = theirs.backend_tokenizer
    backend.enable_truncation(max_length, strategy=truncation)
    try:
        expected = backend.encode(*(texts if second is not None else texts[:1]))
    except Exception as error:
        expected = str(error)
    finally:
        backend.no_truncation()
    room = max_length - (2 if second is None else 3)
    lengths = [len(ours.tokenize(text or "")) for text in texts]
    if room == 0 < sum(lengths) and truncation != "longest_first":
        expected = "Truncation error: here too, though the library empties both texts"
    if isinstance(expected, str):
        assert expected.startswith("Truncation error")
        with pytest.raises(ValueError, match=f"{truncation} has"):
            ours.encode(first, second, max_length=max_length, truncation=truncation)
        return
    own = ours.encode(first, second, max_length=max_length, truncation=truncation)
    assert own.tokens == expected.tokens
    assert own.ids == expected.ids
    assert own.token_type_ids == expected.type_ids
    assert own.offsets == expected.offsets


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([None, 60]),
)
@settings(max_examples=100, deadline=None)
def test_batches(ours, theirs, texts, paired, pad_to):
    first = [text for text, _ in texts]
    second = [text for _, text in texts] if paired else None
    expected = theirs(
        first,
        second,
        truncation="longest_first",
        max_length=60,
        padding="longest" if pad_to is None else "max_length",
        return_tensors="pt",
        return_offsets_mapping=True,
    )
    batch = ours.encode_batch(
        first,
        second,
        truncation="longest_first",
        max_length=60,
        pad_to=pad_to,
        return_offsets=True,
    )
    assert torch.equal(batch.pop("offsets"), expected.pop("offset_mapping"))
    assert batch.keys() == expected.keys()
    for name, values in batch.items():
        assert values.dtype == torch.long
        assert torch.equal(values, expected[name]), name


def test_single_calls(ours, theirs):
    """The call that most programs use; it alone takes an empty second text for none."""
    for text in EXAMPLES:
        for pair in (None, "A pair."):
            expected = theirs(text, pair, return_offsets_mapping=True)
            own = ours.encode(text, pair)
            assert own.ids == expected["input_ids"]
            assert own.token_type_ids == expected["token_type_ids"]
            assert own.offsets == expected["offset_mapping"]
            assert ours.tokenize(text) == theirs.tokenize(text)


def test_a_small_pair_by_hand(ours):
    encoding = ours.encode("Unaffable!", "a [MASK]")
    assert " ".join(encoding.tokens) == "[CLS] una ##ffa ##ble ! [SEP] a [MASK] [SEP]"
    assert encoding.token_type_ids == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert encoding.attention_mask == [1] * len(encoding)
    assert encoding.offsets == [
        (0, 0),
        (0, 3),
        (3, 6),
        (6, 9),
        (9, 10),
        (0, 0),
        (0, 1),
        (2, 8),
        (0, 0),
    ]


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_offsets_lie_in_the_text_and_rise(ours, text):
    encoding = ours.encode(text)
    spans = encoding.offsets[1:-1]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    assert encoding.offsets[0] == encoding.offsets[-1] == (0, 0)


def test_decoding(ours, theirs):
    """As the library's decoder when it does not tidy up spaces."""
    ids = ours.encode("Unaffable, don't [MASK] ##x").ids
    assert ours.decode(ids) == "[CLS] unaffable , don ' t [MASK] # # x [SEP]"
    assert ours.decode(ids, skip_special_tokens=True) == "unaffable , don ' t # # x"
    assert ours.decode(torch.tensor(ids)) == ours.decode(ids)
    assert ours.decode([]) == ""
    decoder = decoders.WordPiece(cleanup=False)
    generator = random.Random(0)
    for _ in range(300):
        ids = generator.choices(range(len(ours)), k=generator.randint(0, 12))
        assert ours.decode(ids) == decoder.decode(theirs.convert_ids_to_tokens(ids))


def test_a_decoded_text_has_the_same_pieces(ours):
    for article in load_articles()[:5]:
        text = ours.decode(ours.encode(article.text).ids[1:-1])
        if "[UNK]" not in text:
            assert ours.tokenize(text) == ours.tokenize(article.text)


def test_longest_match():
    vocabulary = dict.fromkeys(["un", "##aff", "##able", "##a", "##f", "a", "b"], 0)
    assert longest_match("unaffable", vocabulary) == ["un", "##aff", "##able"]
    # The longest first piece may lead nowhere; nothing is taken back.
    dead_end = dict.fromkeys(["ab", "a", "##bc"], 0)
    assert longest_match("abc", dead_end) == ["[UNK]"]
    assert longest_match("a" * 3, {"a": 0, "##a": 1}, 3) == ["a", "##a", "##a"]
    assert longest_match("a" * 4, {"a": 0, "##a": 1}, 3) == ["[UNK]"]


def test_a_full_or_an_empty_cache_changes_nothing(theirs, monkeypatch):
    texts = [load_articles()[0].text, "Naïve naïve NAÏVE"]
    for size in (0, 3):
        monkeypatch.setattr("bertbook.tokenizer.wordpiece.CACHED_WORDS", size)
        ours = WordPieceTokenizer.from_folder(minilm_folder(), max_length=10**9)
        assert differing(ours, theirs, texts + texts) == []


def test_it_can_be_pickled(ours):
    copy = pickle.loads(pickle.dumps(ours))
    assert copy.encode("Where is it?") == ours.encode("Where is it?")


# Folders


def write_vocabulary(path, pieces):
    path.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
    return path


SMALL = [*SPECIAL_TOKENS, "Ab", "ab", "##é", "##e", "中", "\u2028"]


@pytest.mark.parametrize("lower", [True, False])
def test_folders_that_the_library_wrote(tmp_path, lower):
    theirs = BertTokenizer(
        vocab={piece: i for i, piece in enumerate(SMALL)},
        do_lower_case=lower,
        strip_accents=False,
    )
    theirs.save_pretrained(tmp_path)
    ours = WordPieceTokenizer.from_folder(tmp_path)
    assert ours.pieces == SMALL
    assert ours.max_length == 512
    assert differing(ours, theirs, ["Abé abe 中Ab", "ABé"]) == []
    other = WordPieceTokenizer.from_folder(tmp_path, do_lower_case=not lower)
    assert other.tokenize("Ab") != ours.tokenize("Ab")


def test_a_folder_with_a_list_of_pieces_alone(tmp_path):
    for path in (tmp_path / "vocab.txt", tmp_path / "any_name"):
        write_vocabulary(path, SMALL)
        assert WordPieceTokenizer.from_vocab_file(path).pieces == SMALL
    path.write_text("\n".join(SMALL), "utf-8")  # no line end at the end
    assert WordPieceTokenizer.from_vocab_file(str(path)).pieces == SMALL
    ours = WordPieceTokenizer.from_folder(tmp_path)
    theirs = BertTokenizer.from_pretrained(tmp_path)
    assert differing(ours, theirs, ["Abé ab\u0301e 中Ab"]) == []


def test_both_files_of_the_real_folder_say_the_same(ours):
    from_list = WordPieceTokenizer.from_vocab_file(minilm_folder() / "vocab.txt")
    assert from_list.pieces == ours.pieces
    assert len(ours) == 30_522
    ids = (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id)
    assert ids == (0, 100, 101, 102, 103)


def spoilt(tmp_path, change):
    """The real folder's tokenizer.json with a change."""
    stored = json.loads((minilm_folder() / "tokenizer.json").read_text("utf-8"))
    change(stored)
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].update(type="BPE"), "expected a WordPiece .*got BPE"),
        (
            lambda s: s["model"].pop("type"),
            "WordPiece .*got one whose kind is not named",
        ),
        (lambda s: s["model"]["vocab"].pop("the"), "numbered 0, 1, 2"),
        (
            lambda s: s["added_tokens"].append({"content": "[NEW]"}),
            r"added .*\['\[NEW\]'\]",
        ),
    ],
)
def test_folders_that_do_not_fit(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.from_folder(spoilt(tmp_path, change))


def test_folders_without_a_vocabulary(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        WordPieceTokenizer.from_folder(tmp_path)
    shutil.copy(minilm_folder() / "tokenizer_config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        WordPieceTokenizer.from_folder(tmp_path)


# Errors


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (["a"], re.escape("lacks the special tokens ['[PAD]', '[UNK]', '[CLS]'")),
        ([*SPECIAL_TOKENS[:-1], "a"], re.escape("['[MASK]']")),
        ([*SPECIAL_TOKENS, "a", "b", "a", "b"], re.escape("got ['a', 'b']")),
        ([*SPECIAL_TOKENS, "", "a"], re.escape("got ['']")),
    ],
)
def test_vocabularies_that_are_none(tmp_path, pieces, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(pieces)
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.from_vocab_file(write_vocabulary(tmp_path / "v", pieces))


TOKENIZER = WordPieceTokenizer([*SPECIAL_TOKENS, "a", "b"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.encode(None), TypeError, "must be a str, got NoneType"),
        (lambda t: t.encode("a", 3), TypeError, "must be a str, got int: 3"),
        (lambda t: t.tokenize(["a"]), TypeError, "got list"),
        (lambda t: t.encode("a\udc00"), ValueError, r"position 1 .*U\+DC00"),
        (lambda t: t.encode("a", "\ud800"), ValueError, r"position 0 .*U\+D800"),
        (lambda t: t.encode("a " * 511), ValueError, "511 pieces do not fit.* 510;"),
        (lambda t: t.encode("a " * 300, "b " * 210), ValueError, "510 pieces.* 509;"),
        (lambda t: t.encode("a b", max_length=3), ValueError, "2 pieces.*room for 1;"),
        (lambda t: t.encode("a", max_length=1), ValueError, "2 special .* into 1"),
        (lambda t: t.encode("", "", max_length=2), ValueError, "3 special .* into 2"),
        (lambda t: t.encode("a", truncation="yes"), ValueError, "got 'yes'"),
        (lambda t: t.encode("a", truncation=True), ValueError, "got True"),
        (
            lambda t: t.encode("a b", max_length=3, truncation="only_second"),
            ValueError,
            "only_second has 0 pieces to cut 1 from",
        ),
        (lambda t: t.encode_batch("a b"), TypeError, "a list of texts, got one str"),
        (lambda t: t.encode_batch(["a"], "b"), TypeError, "got one str"),
        (lambda t: t.encode_batch([]), ValueError, "got 0 texts, no pairs"),
        (lambda t: t.encode_batch(["a"], []), ValueError, "got 1 texts, 0 pairs"),
        (lambda t: t.encode_batch(["a"], ["a", "b"]), ValueError, "got 1 .*, 2 pairs"),
        (lambda t: t.encode_batch(["a"], pad_to=2), ValueError, "has 3 .*pad_to is 2"),
        (lambda t: t.decode([5, 7]), ValueError, r"0\.\.6, got 7"),
        (lambda t: t.decode([-1]), ValueError, "got -1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(TOKENIZER)


def test_how_long_a_word_may_be_can_be_chosen():
    pieces = [*SPECIAL_TOKENS, "a", "##a"]
    short = WordPieceTokenizer(pieces, max_input_chars_per_word=3)
    assert short.tokenize("aaa aaaa") == ["a", "##a", "##a", "[UNK]"]
    assert WordPieceTokenizer(pieces).tokenize("a" * 101) == ["[UNK]"]


def test_exactly_512_pieces_fit():
    assert len(TOKENIZER.encode("a " * 510)) == 512
    assert len(TOKENIZER.encode("a " * 300, "b " * 209)) == 512
    cut = TOKENIZER.encode("a " * 600, "b " * 600, truncation="longest_first")
    assert (len(cut), cut.ids.count(5), cut.ids.count(6)) == (512, 254, 255)
