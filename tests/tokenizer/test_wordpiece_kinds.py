"""bertbook.tokenizer.wordpiece: over 100,000 further strings, kind by kind, beside the library.

`test_wordpiece` goes through all paragraphs, all characters and random heaps of them; here each
kind of text that is known to part tokenizers has its own thousands, with the real vocabulary.
"""

import random
import string
import unicodedata

import pytest
from transformers import BertTokenizer

from bertbook.bert.minilm import minilm_folder
from bertbook.corpora.documents import load_documents
from bertbook.tokenizer.packing import TRUNCATIONS
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

WIDE = 10**9
RANGES = {
    "emoji": [(0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x2190, 0x21FF), (0x2B00, 0x2BFF)],
    "right to left": [(0x590, 0x8FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFC)],
    "private use": [(0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)],
}
JOINERS = ["\u200d", "\ufe0f", "\ufe0e", "\u20e3", *map(chr, range(0x1F3FB, 0x1F400))]
FLAGS = [chr(code) for code in range(0x1F1E6, 0x1F200)]
TAGS = [chr(code) for code in range(0xE0020, 0xE0080)]
DIRECTIONS = [*"\u200e\u200f\u061c", *map(chr, range(0x202A, 0x202F))]
DIRECTIONS += map(chr, range(0x2066, 0x206A))
ALL = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
MARKS = [c for c in ALL if unicodedata.category(c)[0] == "M"]
CONTROLS = [c for c in ALL if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Zs")]
NUMBER = {
    "book text": 40_000,
    "every block": 20_000,
    "emoji": 10_000,
    "combining marks": 10_000,
    "controls": 10_000,
    "private use": 5_000,
    "right to left": 10_000,
    "long words": 3_000,
}
PAIRS = 4_000  # with each truncation


@pytest.fixture(scope="module")
def ours():
    return WordPieceTokenizer.from_folder(minilm_folder(), max_length=WIDE)


@pytest.fixture(scope="module")
def theirs():
    tokenizer = BertTokenizer.from_pretrained(minilm_folder(), model_max_length=WIDE)
    core = tokenizer.backend_tokenizer
    core.no_padding()
    core.no_truncation()
    yield core
    core.no_truncation()


@pytest.fixture(scope="module")
def sentences():
    """Sentences of Wikipedia, of reviews and of the Bible, in a fixed random order."""
    texts = [s for document in load_documents() for s in document.sentences]
    random.Random(0).shuffle(texts)
    return texts


def within(kind):
    return [chr(code) for a, b in RANGES[kind] for code in range(a, b + 1)]


def made_of(generator, pool, others, most=10):
    """A heap: mostly of the pool, the rest of what stands beside it in texts."""
    length = generator.randint(1, most)
    return "".join(
        generator.choice(pool if generator.random() < 0.7 else others)
        for _ in range(length)
    )


def long_word(generator):
    """A word about as long as the limit of 100, in letters, in bytes and after cleaning."""
    letters = generator.choice(
        [
            string.ascii_lowercase,
            "aé",
            "éo",
            "e\u0301",
            "Z\u0327",
            "İn",
            "中a",
            "яж",
            "a\xad",
        ]
    )
    length = generator.choice([*range(90, 111), 200, 201, 1000])
    word = "".join(generator.choices(letters, k=length))
    return generator.choice([word, f"x {word} y", f"{word}.{word}", f"[MASK]{word}"])


def texts_of(kind, sentences):
    """So many strings of one kind, the same in each run."""
    generator = random.Random(kind)
    number = NUMBER[kind]
    if kind == "book text":
        return sentences[:number]
    if kind == "every block":  # sixteen neighbours at a time, as words and in one word
        runs = [ALL[i : i + 16] for i in range(0, len(ALL), 16)]
        runs = [
            run for run in runs if any(unicodedata.category(c) != "Cn" for c in run)
        ]
        runs = [r for r in runs if unicodedata.category(r[0]) != "Co"]
        joined = [mark.join(run) for run in runs for mark in ("", " ", "a")]
        assert len(joined) >= number
        return joined
    if kind == "long words":
        return [long_word(generator) for _ in range(number)]
    letters = [*string.ascii_letters, *" .,é中9"]
    pool, others = {
        "emoji": lambda: (within("emoji") + FLAGS, JOINERS + TAGS + letters),
        "combining marks": lambda: (MARKS, letters),
        "controls": lambda: (CONTROLS, letters),
        "private use": lambda: (within("private use"), letters),
        "right to left": lambda: (within("right to left"), DIRECTIONS + letters),
    }[kind]()
    return [made_of(generator, pool, others) for _ in range(number)]


def fields(encoding):
    return encoding.ids, encoding.type_ids, encoding.attention_mask, encoding.offsets


def own_fields(encoding):
    return (
        encoding.ids,
        encoding.token_type_ids,
        encoding.attention_mask,
        encoding.offsets,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", NUMBER)
def test_texts_of_each_kind(ours, theirs, sentences, kind):
    texts = texts_of(kind, sentences)
    assert len(texts) >= NUMBER[kind]
    assert len(set(texts)) > 0.9 * len(texts)
    wrong = [
        text
        for text, expected in zip(texts, theirs.encode_batch(texts), strict=True)
        if own_fields(ours.encode(text)) != fields(expected)
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("truncation", TRUNCATIONS[1:])
@pytest.mark.parametrize("kind", ["book text", "emoji", "combining marks"])
def test_pairs_of_each_kind_cut_to_many_lengths(
    ours, theirs, sentences, kind, truncation
):
    generator = random.Random(truncation)
    texts = texts_of(kind, sentences)
    number = PAIRS if kind == "book text" else PAIRS // 4
    pairs = []
    for _ in range(number):
        a, b, c, d, e = generator.sample(texts, 5)
        pairs.append((f"{a} {b}", f"{c} {d} {e}"))
    groups: dict[int, list[tuple[str, str]]] = {}
    for pair in pairs:
        n, m = (len(ours.tokenize(text)) for text in pair)
        # What may not be cut must fit, and something must stay of what may.
        least = {"longest_first": 2, "only_first": m + 1, "only_second": n + 1}
        if least[truncation] >= n + m:
            continue
        limit = 3 + generator.randrange(least[truncation], n + m)
        groups.setdefault(limit, []).append(pair)
    count, wrong = 0, []
    for limit, group in groups.items():
        theirs.enable_truncation(limit, strategy=truncation)
        found = theirs.encode_batch(group)
        for pair, expected in zip(group, found, strict=True):
            own = ours.encode(*pair, max_length=limit, truncation=truncation)
            count += 1
            assert len(own) == limit
            if own_fields(own) != fields(expected):
                wrong.append((*pair, limit))
    theirs.no_truncation()
    assert wrong == []
    assert count > 0.8 * number


def test_together_they_are_over_a_hundred_thousand(sentences):
    """Without the pairs, and each counted once."""
    different = {text for kind in NUMBER for text in texts_of(kind, sentences)}
    assert len(different) > 100_000
    assert len(MARKS) > 2_000
    assert len(CONTROLS) > 200
