"""The benchmarks compare programs that do the same, and time them fairly."""

import json
import time

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import bert, pretraining, transformer, wordpiece
from benchmarks.timing import Comparison, compare
from bertbook.bert_config import BertConfig


def test_times_are_of_alternating_calls_in_turns_and_the_ratio_says_who_is_faster():
    calls = []

    def busy(name, seconds):
        calls.append(name)
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    found = compare(lambda: busy("a", 0.002), lambda: busy("b", 0.004), 0, 4)
    assert found.calls == 4
    assert "".join(calls[4:]) in ("baabbaab", "abbaabba")
    assert 1.5 < found.ratio < 2.5
    assert found.ours < found.theirs


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_both_transformers_are_checked_to_compute_the_same(dropout, monkeypatch):
    found = transformer.measure(dropout, 8, 16, seconds=0, tokens=24)
    assert found.calls == 5
    assert found.ours > 0

    forward = transformer.Stacks.forward
    monkeypatch.setattr(
        transformer.Stacks, "forward", lambda *inputs: forward(*inputs) + 0.01
    )
    if dropout == 0:
        with pytest.raises(AssertionError, match="not close"):
            transformer.measure(dropout, 8, 16, seconds=0, tokens=24)


def test_the_tokenizers_are_checked_to_agree_and_ours_is_fast_enough(monkeypatch):
    """A twentieth of the compiled one's speed was the aim; it is far above, so this is steady."""
    found = dict(wordpiece.rows(0, count=60))
    assert set(found) == {
        (words, library)
        for words in ("known words", "new words")
        for library in ("Rust core", "transformers")
    }
    assert min(row.ratio for row in found.values()) > 1 / 20

    encode = wordpiece.WordPieceTokenizer.encode
    monkeypatch.setattr(
        wordpiece.WordPieceTokenizer,
        "encode",
        lambda self, text: encode(self, "x" + text),
    )
    with pytest.raises(AssertionError):
        next(wordpiece.rows(0, count=3))


def test_both_berts_are_checked_to_compute_the_same(monkeypatch):
    cases = [("tiny", 2, 8, True), ("tiny", 1, 5, False), ("mini", 2, 16, True)]
    found = list(bert.rows(0, cases))
    assert [case for case, _ in found] == cases
    assert all(row.calls == 5 and row.theirs > 0 for _, row in found)

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
    assert found.ours > 0
    assert found.theirs > 0
    assert 0 < share < 1

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
