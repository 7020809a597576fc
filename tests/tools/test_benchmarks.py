"""The benchmarks compare programs that do the same, and time them fairly."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import bert, pretraining, sentences, timing, transformer, wordpiece
from benchmarks.timing import Comparison, compare
from bertbook.bert.config import BertConfig


class Clock:
    """A clock that goes on only by what it is told, and by ``tick`` seconds at each reading."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """No test here reads a real clock: each reading is a second after the one before."""
    clock = Clock(tick=1.0)
    for module in (timing, pretraining):
        fake = SimpleNamespace(process_time=clock, perf_counter=clock)
        monkeypatch.setattr(module, "time", fake)
    return clock


def test_times_are_of_alternating_calls_in_turns_and_the_ratio_says_who_is_faster(
    clock,
):
    calls, lengths = [], {"a": [1, 9, 2, 3], "b": [4, 6, 5, 9]}
    clock.tick = 0.0

    def work(name):
        calls.append(name)
        turn = calls.count(name) - 3  # the first two calls are not timed
        clock.now += lengths[name][turn] if turn >= 0 else 100

    found = compare(lambda: work("a"), lambda: work("b"), 0, 4)
    assert "".join(calls[4:]) in ("baabbaab", "abbaabba")
    ratio = (2.5 + 3) / 2  # the median of 4/1, 6/9, 5/2 and 9/3
    assert found == pytest.approx((2500, 5500, ratio, 4))


def test_calls_go_on_until_the_time_is_over(clock):
    clock.tick = 0.0

    def work():
        clock.now += 1

    assert compare(work, work, seconds=9.5).calls == 5
    assert compare(work, work, seconds=12.5).calls == 7


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_both_transformers_are_checked_to_compute_the_same(dropout, monkeypatch):
    found = transformer.measure(dropout, 8, 16, seconds=0, tokens=24)
    assert found == (1000, 1000, 1, 5)  # each timed by two readings of the clock

    forward = transformer.Stacks.forward
    monkeypatch.setattr(
        transformer.Stacks, "forward", lambda *inputs: forward(*inputs) + 0.01
    )
    if dropout == 0:
        with pytest.raises(AssertionError, match="not close"):
            transformer.measure(dropout, 8, 16, seconds=0, tokens=24)


def test_the_tokenizers_are_checked_to_agree(monkeypatch):
    found = dict(wordpiece.rows(0, count=60))
    assert set(found) == {
        (words, library)
        for words in ("known words", "new words")
        for library in ("Rust core", "transformers")
    }
    assert all(row.calls == 5 for row in found.values())

    encode = wordpiece.WordPieceTokenizer.encode
    monkeypatch.setattr(
        wordpiece.WordPieceTokenizer,
        "encode",
        lambda self, text: encode(self, "x" + text),
    )
    with pytest.raises(AssertionError):
        next(wordpiece.rows(0, count=3))


def test_sentences_are_timed_on_texts_of_double_length(monkeypatch):
    lengths = []
    monkeypatch.setattr(
        sentences, "document_sentences", lambda text: lengths.append(len(text))
    )
    cases = [case for case, _ in sentences.rows(0, longest=80)]
    assert cases == [(name, n) for name in sentences.UNITS for n in (10, 20, 40)]
    assert set(lengths) == {10, 20, 40, 80}
    assert sentences.LONGEST == 1_000_000


def test_both_berts_are_checked_to_compute_the_same(monkeypatch):
    cases = [("tiny", 2, 8, True), ("tiny", 1, 5, False), ("mini", 2, 16, True)]
    found = list(bert.rows(0, cases))
    assert [case for case, _ in found] == cases
    assert all(row.calls == 5 for _, row in found)

    models = bert.models

    def other_weights(config):
        ours, theirs = models(config)
        torch.nn.init.normal_(ours.encoder.layer[0].output.dense.bias)
        return ours, theirs

    monkeypatch.setattr(bert, "models", other_weights)
    with pytest.raises(AssertionError, match="not close"):
        next(bert.rows(0, cases))


def test_inference_is_measured_on_the_work_of_the_book():
    """Single texts and batches, short and long, with padding and without, in two sizes."""
    sizes, batches, lengths, padded = (
        set(column) for column in zip(*bert.CASES, strict=True)
    )
    assert sizes == {"minilm", "base"}
    assert min(batches) == 1 < max(batches)
    assert min(lengths) < 64 < max(lengths) == 512
    assert padded == {True, False}


@pytest.mark.parametrize("way", pretraining.WAYS)
def test_pre_training_is_measured_on_models_that_learn_the_same(way, monkeypatch):
    sizes = BertConfig.tiny(vocab_size=60, max_position_embeddings=16)
    found, share = pretraining.measure(way, False, 0, sizes, batch=4, length=16)
    assert found == (1000, 1000, 1, 5)
    batch = pretraining.batch_of_pairs(sizes, 4, 16)
    selected = int((batch["labels"] >= 0).sum())
    work = pretraining.matrix_work(sizes, 4, 16, selected)
    # A step takes a second, and so does the product that the peak is measured by.
    assert share == pytest.approx(work / (2 * 1024**3))

    head = pretraining.BertForPreTraining.forward

    def other(self, *inputs, **options):
        output = head(self, *inputs, **options)
        return output._replace(loss=output.loss * 1.01)

    monkeypatch.setattr(pretraining.BertForPreTraining, "forward", other)
    with pytest.raises(AssertionError):
        pretraining.measure(way, False, 0, sizes, batch=4, length=16)


def test_the_work_of_a_training_step_is_that_of_its_matrices():
    """One layer, one sequence: counted by hand, forward once and backward twice."""
    sizes = BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    projections, inner, scores = 4 * 16 * 64, 2 * 16 * 8 * 32, 2 * 16 * 16 * 8
    head, pooler = 3 * (64 + 8 * 50), 64
    expected = 3 * 2 * (projections + inner + scores + head + pooler)
    assert pretraining.matrix_work(sizes, 1, 16, 3) == expected


def test_all_cases_of_the_transformer_are_measured():
    assert {case[1:] for case in transformer.CASES} == {
        (length, width) for length in (32, 128) for width in (256, 512)
    }
    assert {case[0] for case in transformer.CASES} == {0.0, 0.1}


def test_the_command_prints_a_table_and_writes_only_if_asked(
    tmp_path, capsys, monkeypatch
):
    rows = [((0.0, 32, 256), Comparison(10.0, 12.0, 1.2, 5))]
    monkeypatch.setattr(transformer, "rows", lambda seconds: iter(rows))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    try:
        command.main(["transformer"])
        printed = capsys.readouterr().out
        assert "least ratio 1.200" in printed
        assert "theirs/ours" in printed
        assert list(tmp_path.iterdir()) == []
        command.main(["transformer", "--json", "speed.json"])
    finally:
        torch.set_num_threads(threads)
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["transformer"][0] == {
        "dropout": 0.0,
        "length": 32,
        "width": 256,
        "ours": 10.0,
        "theirs": 12.0,
        "ratio": 1.2,
        "calls": 5,
    }
    with pytest.raises(SystemExit):
        command.main(["unheard"])
    assert "no such section" in capsys.readouterr().err
