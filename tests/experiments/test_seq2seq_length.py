"""The experiment on source length: it runs, it resumes, and its results can be measured again."""

import json

import pytest

from bertbook.shared.experiment import Job
from bertbook.shared.results import read_results
from bertbook.shared.training import count_parameters
from experiments import seq2seq_length as experiment

RECORD = read_results("seq2seq_length")


def runs(variant):
    return [run for run in RECORD["runs"] if run["variant"] == variant]


def test_the_smoke_run_writes_results_and_weights_and_resumes(tmp_path, capsys):
    options = ["--smoke", "--folder", str(tmp_path)]
    experiment.main(options)
    file = tmp_path / "seq2seq_length.json"
    whole = json.loads(file.read_text())
    assert len(whole["runs"]) == 4 * 2 + 5
    file.write_text(json.dumps({**whole, "runs": whole["runs"][:-1]}))
    experiment.main([*options, "--resume"])
    assert json.loads(file.read_text())["runs"][:-1] == whole["runs"][:-1]
    assert len(json.loads(file.read_text())["runs"]) == len(whole["runs"])
    for variant in experiment.SMOKE.variants:
        model = experiment.new_model(experiment.SMOKE, variant)
        experiment.EXPERIMENT.load(model, variant, tmp_path)
    capsys.readouterr()


def test_the_variants_that_are_compared_have_equal_parameters():
    counts = {
        variant: count_parameters(experiment.new_model(experiment.CONFIG, variant))
        for variant in experiment.CONFIG.variants
    }
    for variant, count in counts.items():
        assert {run["parameters"] for run in runs(variant)} == {count}
    equal = [count for name, count in counts.items() if "twice" not in name]
    assert max(equal) / min(equal) < 1.02


def test_every_variant_uses_its_better_rate():
    config = experiment.CONFIG
    for variant, sizes in config.variants.items():
        tuned = sizes.get("rate_of", variant)
        scores = {}
        for rate in config.rates:
            (run,) = runs(f"tuning: {tuned}, rate {rate}")
            assert run["seed"] not in RECORD["seeds"]
            scores[rate] = experiment.within(config, run["metrics"]["exact"])
        best = max(scores, key=scores.get)
        assert {run["metrics"]["rate"] for run in runs(variant)} == {best}


@pytest.mark.parametrize("variant", experiment.CONFIG.variants)
def test_the_stored_weights_give_the_recorded_numbers(variant):
    model = experiment.new_model(experiment.CONFIG, variant)
    experiment.EXPERIMENT.load(model, variant)
    measured = experiment.measure(Job(experiment.CONFIG, variant), model)
    recorded = runs(variant)[0]["metrics"]
    for name, by_length in measured.items():
        for length in measured["exact"]:
            # Another processor rounds otherwise: a handful of 500 strings may tip over.
            assert by_length.get(length) == pytest.approx(
                recorded[name].get(length), abs=0.02 if "after" not in name else 0.06
            )


def test_the_bottleneck_is_in_the_record():
    def exact(variant, length):
        return [run["metrics"]["exact"][str(length)] for run in runs(variant)]

    assert min(exact("no attention", 4)) > 0.95
    assert min(exact("no attention, twice the state", 16)) > 0.1 + max(
        exact("no attention", 16)
    )
    for attention in ("additive", "multiplicative"):
        assert min(exact(attention, 16)) > 0.1 + max(
            exact("no attention, twice the state", 16)
        )


def test_tuning_and_test_strings_differ():
    tuning = experiment.held_out(experiment.CONFIG, "tuning")[16][0]
    test = experiment.held_out(experiment.CONFIG, "test")[16][0]
    assert not (tuning[:, None] == test[None]).all(-1).any()
