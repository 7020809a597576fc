"""MiniLM's head: the experiment runs and resumes, and its record can be measured again."""

import json

import pytest

from bertbook.pretraining.fill_mask import fill_mask, load_minilm_mlm
from bertbook.shared.results import read_results
from bertbook.shared.training import count_parameters
from experiments import minilm_mlm as experiment

KINDS = experiment.KINDS
STORED = experiment.CONFIG.stored


@pytest.fixture(scope="module")
def record():
    return read_results(experiment.NAME)


def run_of(record, variant):
    (found,) = [run for run in record["runs"] if run["variant"] == variant]
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_smoke_run_writes_everything_and_resumes(tmp_path, capsys):
    options = ["--smoke", "--folder", str(tmp_path)]
    experiment.main(options)
    file = tmp_path / "minilm_mlm.json"
    whole = json.loads(file.read_text())
    names = [run["variant"] for run in whole["runs"]]
    assert names == ["unigram", "head and adapters", "head alone"]
    assert (tmp_path / "minilm_mlm.safetensors").stat().st_size < 3e6
    kept = [run for run in whole["runs"] if run["variant"] != "head alone"]
    file.write_text(json.dumps({**whole, "runs": kept}))
    experiment.main([*options, "--resume"])
    again = json.loads(file.read_text())["runs"]
    assert [run["metrics"] for run in again] == [r["metrics"] for r in whole["runs"]]
    capsys.readouterr()


def test_the_record_is_complete(record):
    names = {run["variant"] for run in record["runs"]}
    assert names == {"unigram", *experiment.CONFIG.variants}
    for variant in names - {"unigram"}:
        rank = experiment.CONFIG.variants[variant]["rank"]
        size = count_parameters(experiment.adapted_minilm(rank), trainable_only=True)
        assert run_of(record, variant)["parameters"] == size


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_weights_give_the_recorded_numbers(kind, record):
    model, _ = load_minilm_mlm()
    batches = experiment.held_out(experiment.CONFIG, kind, "validation")

    def predict(batch):
        seen = batch.input_ids != experiment.vocabulary()[0].pad_id
        return model(batch.input_ids, seen, labels=batch.labels).prediction_logits

    found = experiment.score(predict, batches)
    expected = run_of(record, STORED)["metrics"]["validation"][kind]
    for places in ("selected", "mask"):
        assert found[places]["positions"] == expected[places]["positions"] > 300
        assert found[places]["cross_entropy"] == pytest.approx(
            expected[places]["cross_entropy"], abs=0.01
        )
        for name in ("top_1", "top_5"):
            assert found[places][name] == pytest.approx(
                expected[places][name], abs=0.01
            )


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_frequencies_by_far_and_not_by_its_head(kind, record):
    own, alone, counts = (
        run_of(record, name)["metrics"]["test"][kind]["mask"]
        for name in (STORED, "head alone", "unigram")
    )
    assert own["positions"] == counts["positions"]
    assert own["top_1"] > counts["top_1"] + 0.15
    assert own["cross_entropy"] < counts["cross_entropy"] - 1
    assert counts["top_1"] < alone["top_1"] < own["top_1"] - 0.1


def test_it_fills_in_everyday_english():
    words = {
        guess.piece for guess in fill_mask("She closed the [MASK] behind her.", 5)[0]
    }
    assert "door" in words
