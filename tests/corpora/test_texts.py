"""Texts from files, folders and data sets: what a shard holds, and what is refused."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.corpora import texts
from bertbook.corpora.texts import DataSet, TextError, TextFiles, TextShards, open_texts
from bertbook.pretraining.data import PairStream, Stage
from bertbook.pretraining.masking import PieceTable
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = WordPieceTokenizer(
    [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz0123456789", ".", "one", "two"]
    + [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
)


def decoded(document):
    """Sentences as one word each piece."""
    return [[TOKENIZER.pieces[number] for number in s] for s in document]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_blank_line_and_the_end_of_a_file_end_a_document(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("\ufeffOne a.\nTwo x. One\nc.\n \n\n\nTwo d.\n")
    (tmp_path / "a.txt").write_text("One z.\n\n")
    (tmp_path / "deep" / "c.txt").write_text("\r\nOne y.\r\nTwo.\r\n\r\nOne x.")
    (tmp_path / "notes.md").write_text("not read")
    found = list(open_texts(tmp_path))
    assert [text.split() for text in found] == [
        ["One", "z."],
        ["One", "a.", "Two", "x.", "One", "c."],
        ["Two", "d."],
        ["One", "y.", "Two."],
        ["One", "x."],
    ]
    documents = TextShards(found, TOKENIZER)(0)
    assert decoded(documents[1]) == [
        ["one", "a", "."],
        ["two", "x", "."],
        ["one", "c", "."],  # lines are joined before sentences are cut
    ]
    assert list(open_texts(tmp_path / "a.txt")) == ["One z.\n"]
    assert list(open_texts(tmp_path / "notes.md")) == ["not read"]


def test_paragraphs_of_a_row_are_not_joined():
    (document,) = TextShards(["A heading\n\nOne a.\nTwo b."], TOKENIZER)(0)
    assert [words[-1] for words in decoded(document)] == ["##g", ".", "."]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 15), st.lists(st.integers(0, 40), min_size=1))
def test_a_shard_depends_on_its_number_alone(total, size, order):
    corpus = ["zyxwvutsrqpo"[n] for n in range(total)]
    shards = TextShards(corpus, TOKENIZER, size)
    for number in order:
        first = number * size
        wanted = [corpus[(first + place) % total] for place in range(size)]
        if total <= size:
            wanted = corpus
        assert [decoded(document) for document in shards(number)] == [
            [[letter]] for letter in wanted
        ]


def test_shards_in_turn_read_the_text_once(monkeypatch):
    reads = []

    class Texts:
        def __iter__(self):
            reads.append("again")
            yield from "abcdefghij"

    shards = TextShards(Texts(), TOKENIZER, 4)
    for number in range(2):
        shards(number)
    assert reads == ["again"]
    assert shards.total is None
    shards(2)
    assert (reads, shards.total) == (["again"] * 2, 10)
    TextShards(Texts(), TOKENIZER, 4)(1_000_000)  # not a million readings
    assert len(reads) == 4


def test_the_text_is_never_whole_in_memory(tmp_path):
    drawn = 0

    class Texts:
        def __iter__(self):
            nonlocal drawn
            while True:  # without end
                drawn += 1
                yield f"one {drawn}"

    TextShards(Texts(), TOKENIZER, 50)(3)
    assert drawn == 200


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_data_sets_equal_plain_text(tmp_path, kind):
    corpus = [f"One a{n}. Two b{n}.\nOne c." for n in range(7)]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "all.txt").write_text("\n\n".join(corpus))
    folder = tmp_path / "rows"
    folder.mkdir()
    parts = [corpus[:3], ["", *corpus[3:]]]
    for number, part in enumerate(parts):
        path = folder / f"{number}.{kind}"
        if kind == "jsonl":
            write_rows(path, [{"body": text, "n": 1} for text in part])
        else:
            import pandas

            pandas.DataFrame({"body": part, "n": 1}).to_parquet(path)
    (folder / f"empty.{kind}").touch()
    plain = TextShards(open_texts(tmp_path / "text"), TOKENIZER, 4)
    rows = TextShards(open_texts(folder, column="body"), TOKENIZER, 4)
    for number in (0, 1, 5):
        assert rows(number) == plain(number)


def test_streamed_batches_equal_those_from_memory(tmp_path):
    corpus = [f"One a{n}. Two b{n}. One c. Two d." for n in range(9)]
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in corpus])
    streamed = TextShards(open_texts(tmp_path / "rows.jsonl"), TOKENIZER, 100)
    documents = TextShards(corpus, TOKENIZER)(0)
    table, stage = PieceTable(TOKENIZER.pieces), Stage(8, 16, 3)
    one = PairStream(streamed, table, seed=2)
    other = PairStream(lambda shard: documents, table, seed=2)
    for step in range(stage.steps):
        mine, theirs = one.batch(stage, step), other.batch(stage, step)
        for name, tensor in theirs.items():
            assert mine[name].equal(tensor)


def test_a_name_of_the_hub_goes_through_the_same_loader(tmp_path):
    """The hub's loader takes folders too: splits, columns and the row count are its own."""
    write_rows(tmp_path / "train.jsonl", [{"text": "One."}, {"text": None}])
    write_rows(tmp_path / "test.jsonl", [{"text": "Two."}])
    assert list(DataSet(str(tmp_path))) == ["One."]
    assert list(DataSet(str(tmp_path), split="test")) == ["Two."]
    with pytest.raises(TextError, match=r"Bad split: dev\. Available splits"):
        next(iter(DataSet(str(tmp_path), split="dev")))
    with pytest.raises(TextError, match=r"has no column 'body', only \['text'\]"):
        next(iter(DataSet(str(tmp_path), column="body")))


def test_without_network_the_hubs_name_is_named(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(
        TextError, match="'nobody/nothing' cannot be read; it is not a file"
    ):
        open_texts("nobody/nothing")


def test_only_a_name_may_be_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(
        texts.DataSet, "_rows", lambda self: iter([{"text": self.name}])
    )
    assert list(open_texts("owner/name")) == ["owner/name"]
    for source in (tmp_path / "none", "some/where/else", "corpus.txt", "/a"):
        with pytest.raises(TextError, match="is missing"):
            open_texts(source)


def test_what_cannot_be_read_is_named(tmp_path):
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"fine\n\nfine\nabc\xff\n")
    place = r"broken\.txt is not UTF-8: line 4, byte 4 of it is 0xff"
    with pytest.raises(TextError, match=place):
        list(open_texts(broken))
    rows = tmp_path / "broken.jsonl"
    rows.write_bytes(b'{"text": "fine"}\n{"text": "ab\xe4"}\n')
    place = r"broken\.jsonl is not UTF-8: line 2, byte 13 of it is 0xe4"
    with pytest.raises(TextError, match=place):
        list(open_texts(rows))
    rows.write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(TextError, match=r"broken\.jsonl cannot be read: .*"):
        list(open_texts(rows))
    write_rows(rows, [{"text": 3}])
    with pytest.raises(TextError, match="must hold text; row 0 holds int"):
        open_texts(rows)
    with pytest.raises(TextError, match="holds files ending in"):
        open_texts(tmp_path)
    with pytest.raises(TextError, match=re.escape("has no column 'body'")):
        open_texts(rows, column="body")


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "blank.txt"])
def test_an_empty_text_is_refused(tmp_path, name):
    (tmp_path / name).write_text("\n  \n" if name == "blank.txt" else "")
    with pytest.raises(TextError, match=rf"{name} holds no text"):
        open_texts(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(TextError, match="has no file ending in"):
        open_texts(tmp_path / "folder")
    with pytest.raises(TextError, match="holds no document"):
        TextShards(TextFiles((tmp_path / name,)), TOKENIZER)(0)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        TextShards([], TOKENIZER, 0)


def test_late_broken_rows_do_not_end_a_training(tmp_path, monkeypatch):
    """Each would end a run, and end it again when it goes on."""
    plain = tmp_path / "late.txt"
    plain.write_bytes(b"one\n\n" * texts.CHECKED + b"ab\xffc\n")
    assert list(open_texts(plain))[-1] == "ab\ufffdc\n"
    rows = [{"text": "one"}, {"text": 3}, {"other": "x"}, {"text": None}, {"text": "a"}]
    monkeypatch.setattr(texts.DataSet, "_rows", lambda self: iter(rows))
    assert list(DataSet("name")) == ["one", "", "", "a"]
    shards = TextShards(["one", "", "a\ud800"], TOKENIZER)
    assert decoded(shards(0)[0]) == [["one"]]
    assert decoded(shards(0)[1]) == [["a"], ["[UNK]"]]


def test_a_later_file_in_another_encoding_is_named_at_the_start(tmp_path):
    (tmp_path / "a.txt").write_text("one", "utf-8")
    (tmp_path / "b.txt").write_text("小狗喜欢花园。", "gb18030")
    with pytest.raises(TextError, match=r"b\.txt is not UTF-8: line 1"):
        open_texts(tmp_path)


def test_line_ends_that_there_are_not():
    with pytest.raises(ValueError, match=r"line_ends must be one of .*, got 'none'"):
        TextShards(["one"], TOKENIZER, line_ends="none")
