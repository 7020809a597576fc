"""The reviewer behind the live figure: it runs, resumes, and its record can be measured again."""

import base64
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from bertbook.pretraining.mini_bert import load_mini_bert
from bertbook.shared.files import WeightsError
from bertbook.shared.results import read_results
from bertbook.shared.training import trained_tensors
from experiments import live_review as experiment
from experiments.live_quantisation import dequantised
from tools import live_review as tool


@pytest.fixture(scope="module")
def record():
    return read_results(experiment.NAME)


@pytest.fixture(scope="module")
def metrics(record):
    return {run["variant"]: run["metrics"] for run in record["runs"]}


@pytest.fixture(scope="module")
def texts():
    """Every tenth review of the test part."""
    tokenizer = load_mini_bert()[1]
    data = experiment.reviews(experiment.CONFIG, "test", tokenizer)
    return data.take(range(0, len(data), 10))


# --- the experiment ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_smoke_run_writes_and_resumes(tmp_path, capsys):
    options = ["--smoke", "--folder", str(tmp_path)]
    experiment.main(options)
    record, weights = (tmp_path / f"live_review.{e}" for e in ("json", "safetensors"))
    assert sorted(tmp_path.iterdir()) == [record, weights]
    whole = json.loads(record.read_text())
    names = [run["variant"] for run in whole["runs"]]
    assert names == [*experiment.SMOKE.variants, experiment.STORED]
    before, stored = record.read_bytes(), weights.read_bytes()
    experiment.main([*options, "--resume"])
    assert record.read_bytes() == before
    # What is missing is done, with the same outcome.
    record.write_text(json.dumps({**whole, "runs": whole["runs"][:1]}))
    experiment.main([*options, "--resume"])
    again = json.loads(record.read_text())["runs"]
    assert [run["metrics"] for run in again] == [r["metrics"] for r in whole["runs"]]
    assert weights.read_bytes() == stored
    record.write_text(json.dumps({**whole, "seeds": [1]}))
    with pytest.raises(ValueError, match="cannot be resumed"):
        experiment.main([*options, "--resume"])
    capsys.readouterr()


def test_only_adapters_and_head_are_trained():
    model = experiment.adapted(load_mini_bert()[0], 8, 4)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(
        name.startswith("classifier.") or name.endswith((".up", ".down"))
        for name in trained
    )
    # Six maps a layer, the pooler and the table, two matrices each, and the head.
    assert len(trained) == (4 * 6 + 2) * 2 + 2


@torch.no_grad()
@pytest.mark.parametrize("words_rank", [0, 3])
def test_assembled_equals_adapted(words_rank):
    torch.manual_seed(0)
    model = experiment.adapted(load_mini_bert()[0], 2, words_rank).eval()
    ids = torch.randint(5, 8000, (2, 9))
    before = model(ids).logits
    for name, parameter in model.named_parameters():
        if name.endswith(".up"):
            parameter.copy_((0.1 * torch.randn_like(parameter)).half())
        elif parameter.requires_grad:
            parameter.copy_(parameter.half())
    expected = model(ids).logits
    assert (expected - before).abs().max() > 1e-3
    merged = experiment.assembled(trained_tensors(model), load_mini_bert()[0])
    torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=0)
    names = dict(merged.named_parameters())
    assert not any(name.endswith((".up", ".down")) for name in names)


def test_judgements_are_measured():
    logits = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55], [0.2, 0.8]]).log()
    found = experiment.judge(logits, torch.tensor([0, 1, 0, 1]), 2)
    assert found["accuracy"] == 0.75
    loss = -torch.tensor([0.9, 0.7, 0.45, 0.8]).log().mean()
    assert found["cross_entropy"] == pytest.approx(loss.item(), abs=1e-4)
    brier = (0.1**2 + 0.3**2 + 0.55**2 + 0.2**2) / 4
    assert found["brier"] == pytest.approx(brier, abs=1e-4)
    assert found["share_brier"] == 0.25
    assert found["share_cross_entropy"] == pytest.approx(0.6931)
    assert found["calibration"] == [
        {"reviews": 1, "said": 0.1, "was": 0.0},
        {"reviews": 3, "said": pytest.approx(0.6833, abs=1e-4), "was": 0.6667},
    ]
    empty = experiment.judge(logits[:1], torch.tensor([0]), 2)["calibration"][1]
    assert empty == {"reviews": 0, "said": None, "was": None}


# --- the record -------------------------------------------------------------------------------


def test_the_best_on_the_validation_part_is_stored(metrics):
    assert set(metrics) == {*experiment.CONFIG.variants, experiment.STORED}
    losses = {
        variant: metrics[variant]["validation"]["cross_entropy"]
        for variant in experiment.CONFIG.variants
    }
    assert metrics["stored"]["chosen"] == min(losses, key=losses.get)
    assert experiment.FILE.stat().st_size == metrics["stored"]["bytes"] < 400_000


@pytest.mark.parametrize("kind", ["test", "test, in bytes"])
def test_the_committed_weights_judge_as_recorded(metrics, texts, kind):
    model = (
        experiment.load_reviewer()[0]
        if kind == "test"
        else experiment.reviewer_in_bytes()
    )
    found = experiment.judge(
        experiment.scores(model, texts), torch.tensor(texts.targets), 5
    )
    recorded = metrics["stored"][kind]
    # A tenth of the reviews: three standard errors.
    assert found["accuracy"] == pytest.approx(recorded["accuracy"], abs=0.1)
    assert found["brier"] == pytest.approx(recorded["brier"], abs=0.045)


def test_the_table_of_words_matters_most(metrics):
    accuracy = {v: m["validation"]["accuracy"] for v, m in metrics.items()}
    assert metrics["stored"]["chosen"].startswith("layers and words")
    alone = max(accuracy["layers"], accuracy["layers, a higher rate"])
    assert accuracy["layers and words"] > alone + 0.05


def test_a_shown_probability_is_worth_something(metrics):
    test = metrics["stored"]["test"]
    assert test["reviews"] == sum(bin["reviews"] for bin in test["calibration"]) == 2006
    assert test["cross_entropy"] < test["share_cross_entropy"] - 0.02
    assert test["brier"] < test["share_brier"] - 0.01
    in_bytes = metrics["stored"]["test, in bytes"]
    assert in_bytes["accuracy"] == pytest.approx(test["accuracy"], abs=0.01)
    shares = [bin["was"] for bin in in_bytes["calibration"]]
    assert shares == sorted(shares)  # what is said to be fresher is fresh more often


def test_other_weights_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "live_review.safetensors"
    monkeypatch.setattr(experiment, "FILE", other)
    with pytest.raises(WeightsError, match="is missing"):
        experiment.load_reviewer()
    whole = tool.WEIGHTS.read_bytes()
    other.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged or another file"):
        experiment.load_reviewer()
    with pytest.raises(WeightsError, match="damaged or another file"):
        tool.measured(other)
    other.write_bytes(whole[:1000])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        experiment.load_reviewer(other)
    tensors = load_file(tool.WEIGHTS)
    del tensors["classifier.bias"]
    save_file(tensors, other)
    with pytest.raises(WeightsError, match=r"missing.*classifier\.bias"):
        experiment.load_reviewer(other)


# --- what the page loads ----------------------------------------------------------------------


def test_rows_are_within_half_a_step():
    exact = load_file(tool.WEIGHTS)
    found = dequantised(tool.packed_changes())
    assert set(found) == set(exact)
    for name, tensor in exact.items():
        tensor = tensor.float()
        if tensor.dim() == 1:
            assert found[name].equal(tensor)
        else:
            step = tensor.abs().amax(1, keepdim=True) / 127
            assert ((found[name] - tensor).abs() <= 0.5001 * step).all(), name


def test_the_files_are_written_once(tmp_path, metrics):
    folder = tmp_path / "mini_bert"
    tool.write_review(folder)
    script, packed = folder / "review.js", folder / "review.bin"
    assert sorted(folder.iterdir()) == [packed, script]
    text, data = script.read_text(), packed.read_bytes()
    assert len(data) < 280_000
    name, content = re.search(
        r'bertFiles \?\?= {}\)\["(.*)"\] = "(.*)";\n$', text
    ).groups()
    assert name == "mini_bert/review"
    assert base64.b64decode(content) == data
    header = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
    recorded = metrics["stored"]["test, in bytes"]["accuracy"]
    assert header["config"]["accuracy"] == recorded
    time = script.stat().st_mtime_ns
    tool.write_review(folder)
    assert script.stat().st_mtime_ns == time
    script.write_text("// another origin\n")
    packed.unlink()
    tool.write_review(folder)
    assert (script.read_text(), packed.read_bytes()) == (text, data)
