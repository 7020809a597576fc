"""Documents and the four tasks: sizes, rules, and that no part knows another."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbook.bert.minilm import minilm_folder
from bertbook.corpora import documents as module
from bertbook.corpora.documents import (
    KINDS,
    PARTS,
    load_documents,
    review_parts,
    sizes,
    split_sentences,
    verse_parts,
)
from bertbook.corpora.tasks import (
    name_labels,
    name_tasks,
    pair_tasks,
    review_tasks,
    span_tasks,
    word_overlap,
)
from bertbook.tokenizer.pieces import IGNORED, span_of_pieces
from bertbook.tokenizer.wordpiece import WordPieceTokenizer


@pytest.fixture(scope="module")
def documents():
    return load_documents()


def key(sentence):
    return " ".join(re.findall(r"\w+", sentence.lower()))


def disjoint(sets):
    return sum(map(len, sets)) == len(set().union(*sets))


# --- sentences and documents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three! Four… Five", ["One.", "Two?", "Three!", "Four…", "Five"]),
        ('He said, "Go!" Then he went.', ['He said, "Go!"', "Then he went."]),
        ("It cost 3.5 million. 4 left.", ["It cost 3.5 million.", "4 left."]),
        ("Mr. J. R. R. Tolkien of the U.S. Army", ["Mr. J. R. R. Tolkien of the U.S. Army"]),
        ("It is I. Rise (now). (See below.)", ["It is I.", "Rise (now).", "(See below.)"]),
        ("wait... what. yes", ["wait... what. yes"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(text, expected):
    assert list(split_sentences(text)) == expected


@given(st.lists(st.sampled_from(["Mr.", "a", "B.", "end.", '"Go!"', "(X)", "3."])))
def test_sentences_joined_are_the_text(words):
    text = " ".join(words)
    assert " ".join(split_sentences(text)) == text


def test_sizes(documents):
    counts = sizes(documents)
    assert set(counts) == {(kind, part) for kind in KINDS for part in PARTS}
    expected = {
        ("wikipedia", "train"): (81, 338_072),
        ("wikipedia", "validation"): (6, 27_946),
        ("wikipedia", "test"): (16, 54_927),
        ("reviews", "train"): (1066, 270_368),
        ("reviews", "validation"): (135, 29_877),
        ("reviews", "test"): (188, 54_166),
        ("verses", "train"): (1692, 1_175_478),
        ("verses", "validation"): (100, 77_452),
        ("verses", "test"): (286, 203_727),
    }
    assert {k: (s.documents, s.words) for k, s in counts.items()} == expected
    assert all(s.sentences > 15 * s.words / 1000 for s in counts.values())
    assert sum(s.words for s in sizes(load_documents(("web",))).values()) < 1_500_000


def test_documents_are_clean_and_of_one_part(documents):
    assert load_documents() is documents
    names = [(d.kind, d.name) for d in documents]
    assert len(set(names)) == len(names)
    for document in documents:
        assert document.sentences
        for sentence in document.sentences:
            assert sentence == " ".join(sentence.split()) != ""
    chapters = {}
    for document in documents:
        if document.kind == "verses":
            chapters.setdefault(document.name.rpartition(" ")[0], set()).add(
                document.part
            )
    assert all(len(parts) == 1 for parts in chapters.values())


def test_no_long_sentence_stands_twice(documents):
    keys = [key(s) for d in documents for s in d.sentences]
    long = [k for k in keys if len(k.split()) >= module.LEAST_REPEATED]
    assert len(set(long)) == len(long) > 80_000


def test_of_a_copy_the_tested_one_stays():
    twice = "This sentence stands here and there."
    copies = [
        module.Document("reviews", part, part, (twice, f"{part} alone.", "Yes."))
        for part in PARTS
    ] + [module.Document("reviews", "empty", "train", (twice.upper(),))]
    kept = {d.name: d.sentences for d in module._without_copies(copies)}
    assert kept == {
        "train": ("train alone.", "Yes."),
        "validation": ("validation alone.", "Yes."),
        "test": (twice, "test alone.", "Yes."),
    }


def test_versions():
    with pytest.raises(ValueError, match="must be 'kjv', 'web' or both, got"):
        load_documents(("wyc",))
    with pytest.raises(ValueError, match="must be 'kjv', 'web' or both, got"):
        load_documents(())


# --- what is tested on is in no text to pre-train on


def test_no_task_tests_on_what_a_model_has_read(documents):
    train = {(d.kind, d.name) for d in documents if d.part == "train"}
    read = " ".join(key(s) for d in documents if d.part == "train" for s in d.sentences)
    for validation_or_test in (1, 2):
        assert (
            not {("reviews", e.film) for e in review_tasks()[validation_or_test]}
            & train
        )
        for tasks in (pair_tasks(), span_tasks()):
            for example in tasks[validation_or_test][::25]:
                book, number = example.chapter
                for version in ("kjv", "web"):
                    assert ("verses", f"{book} {number} ({version})") not in train
        named = name_tasks()[validation_or_test]
        assert not {(e.kind, e.document) for e in named} & train
        for example in named[::400]:
            assert key(example.text) not in read, example.text
    for part, reviews in zip(PARTS, review_parts(), strict=True):
        films = {r.film for r in reviews}
        assert {
            d.name for d in documents if d.kind == "reviews" and d.part == part
        } <= films


# --- the tasks


def test_reviews():
    parts = review_tasks()
    assert [len(part) for part in parts] == [9678, 997, 2006]
    assert disjoint([{e.film for e in part} for part in parts])
    assert disjoint([{key(e.text) for e in part} for part in parts])
    for part in parts:
        assert 0.55 < sum(e.label for e in part) / len(part) < 0.64


def test_pairs():
    parts = pair_tasks()
    assert [len(part) for part in parts] == [10_142, 688, 1768]
    assert disjoint([{e.chapter for e in part} for part in parts])
    for part, verses in zip(parts, verse_parts(), strict=True):
        assert sum(e.label for e in part) * 2 == len(part)
        translation = {}
        for pair in verses:
            translation.setdefault(pair.source, set()).add(pair.target)
        for example in part:
            assert (example.second in translation[example.first]) == example.label
            words = [re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", t.lower())
                     for t in (example.first, example.second)]  # fmt: skip
            assert example.overlap == pytest.approx(word_overlap(*words), abs=1e-4)


def accuracy(examples, threshold):
    return sum((e.overlap >= threshold) == e.label for e in examples) / len(examples)


def test_counting_common_words_does_not_decide_the_pairs():
    train, _, test = pair_tasks()
    best = max((i / 100 for i in range(101)), key=lambda t: accuracy(train, t))
    assert 0.6 < accuracy(test, best) < 0.85


def test_names():
    parts = name_tasks()
    assert disjoint([{(e.kind, e.document) for e in part} for part in parts])
    for part in parts:
        assert {e.kind for e in part} == set(KINDS)
        for kind in KINDS:
            labels = Counter(x for e in part if e.kind == kind for x in e.labels)
            assert 0.05 < labels[1] / (labels[0] + labels[1]) < 0.13
            assert labels[IGNORED] / labels.total() < 0.08
    for example in parts[2][::20]:
        assert example.text == example.text.lower()
        assert len(example.words) == len(example.labels)
        assert example.labels[0] == IGNORED
        for start, end in example.words:
            assert re.fullmatch(r"[^\W\d_]+(['’][^\W\d_]+)*", example.text[start:end])


def test_the_rule_of_names():
    sentence = (
        "In May I met NASA's Neil: \"The Eagle\" isn't O'Brien's (Or so). I'm French."
    )
    spans, labels = name_labels(sentence)
    found = {1: [], IGNORED: [], 0: []}
    for (start, end), label in zip(spans, labels, strict=True):
        found[label].append(sentence[start:end])
    assert found[1] == ["May", "NASA's", "Neil", "Eagle", "O'Brien's", "French"]
    assert found[IGNORED] == ["In", "The", "Or"]
    assert found[0] == ["I", "met", "isn't", "so", "I'm"]
    assert name_labels("we saw THE END")[1] == (IGNORED, 0, IGNORED, IGNORED)
    assert name_labels("12 %") == ((), ())


def test_spans():
    tokenizer = WordPieceTokenizer.from_folder(minilm_folder())
    parts = span_tasks()
    assert disjoint([{e.chapter for e in part} for part in parts])
    assert [len(part) for part in parts] == [13_606, 966, 2363]
    for part, verses in zip(parts, verse_parts(), strict=True):
        pairs = {(p.source, p.target) for p in verses}
        for example in part:
            answer = example.passage[example.start : example.end]
            assert (example.question, answer) in pairs
            assert len(answer) < len(example.passage)
        for example in part[::40]:
            encoding = tokenizer.encode(example.question, example.passage)
            assert len(encoding) <= 128
            first, last = span_of_pieces(encoding, example.start, example.end)
            offsets = encoding.offsets
            assert (offsets[first][0], offsets[last][1]) == (example.start, example.end)
