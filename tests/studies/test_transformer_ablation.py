"""The ablations in miniature: they run and resume, the record is whole, the rule holds."""

from dataclasses import replace

import pytest
import torch

from bertbook.shared.experiment import Job
from bertbook.shared.results import read_results
from bertbook.shared.symbols import END
from bertbook.shared.training import count_parameters
from bertbook.studies import transformer_ablation as ablation
from bertbook.studies.comparison import change
from experiments import transformer_ablation as experiment
from tests.experiments.one_process import do_what_is_missing

RECORD = read_results(experiment.NAME)
VARIANTS = list(experiment.CONFIG.variants)
# --- the experiment ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_smoke_run_does_what_is_missing_and_nothing_else(
    tmp_path, capsys, monkeypatch
):
    scores = {"exact_match": 0.5, "cross_entropy": 1.0}
    before = {variant: {"test": scores} for variant in VARIANTS[1::2]}
    runs = do_what_is_missing(experiment, tmp_path, monkeypatch, before)
    assert sorted(run["variant"] for run in runs) == sorted(VARIANTS[::2])
    for run in runs:
        assert set(run["metrics"]) >= {*experiment.CONFIG.lists, "training_loss"}
        assert set(run["metrics"]["longer"]) > set(scores)
        model = experiment.new_model(experiment.SMOKE, run["variant"])
        assert run["parameters"] == count_parameters(model)
    model = experiment.new_model(experiment.SMOKE, "base")
    experiment.EXPERIMENT.load(model, "base", tmp_path)
    assert "heads 1" in capsys.readouterr().out


def test_a_run_is_repeatable():
    job = Job(experiment.SMOKE, "dropout 0.2", 1)
    first, twin = experiment.train(job), experiment.train(job)
    assert first.metrics["training_loss"] == twin.metrics["training_loss"]
    both = zip(first.model.parameters(), twin.model.parameters(), strict=True)
    assert all(torch.equal(parameter, other) for parameter, other in both)


def test_what_is_measured_is_the_mean_of_the_last_snapshots():
    def weights(snapshots, steps):
        training = {**experiment.SMOKE.training, "steps": steps}
        config = replace(experiment.SMOKE, snapshots=snapshots, training=training)
        return experiment.train(Job(config, "base")).model.embedding.tokens.weight

    second, third, both = weights(1, 2), weights(1, 3), weights(2, 3)
    assert not torch.allclose(second, third, atol=1e-5)
    torch.testing.assert_close(both, (second + third) / 2, atol=1e-3, rtol=0)


def test_a_variant_changes_what_it_says_and_nothing_else():
    base_model, base_training = experiment.settings(experiment.CONFIG, "base")
    for variant, changes in experiment.CONFIG.variants.items():
        model, training = experiment.settings(experiment.CONFIG, variant)
        both, base = {**model, **training}, {**base_model, **base_training}
        assert len(both) == len(model) + len(training)
        assert {name: both[name] for name in both if both[name] != base[name]} == (
            changes
        )
    with pytest.raises(ValueError, match="heads"):
        experiment.settings(experiment.Config(variants={"odd": {"heads": 3}}), "odd")


def test_the_schedules_differ_in_the_warm_up_alone():
    _, training = experiment.settings(experiment.CONFIG, "base")
    _, without = experiment.settings(experiment.CONFIG, "post-LN, no warm-up")
    rising, flat = experiment.rate_factor(training), experiment.rate_factor(without)
    warmup = training["warmup"]
    assert rising(0) == pytest.approx(1 / warmup)
    assert {flat(step) for step in range(warmup)} == {1.0}
    for step in (warmup, warmup + 100, training["steps"]):
        assert rising(step) == flat(step) < 1


def test_the_lists_are_what_they_are_called():
    vocabulary = experiment.vocabulary()
    texts = {}
    for purpose, (count, sizes, _) in experiment.CONFIG.lists.items():
        sources, targets = experiment.lists_for(experiment.CONFIG, purpose)
        assert len(sources) == len(targets) == count
        assert all(symbols[-1] == END for symbols in sources + targets)
        english = [vocabulary.decode(symbols).split("; ") for symbols in sources]
        chinese = [vocabulary.decode(symbols).split("；") for symbols in targets]
        assert {len(dates) for dates in chinese} == set(sizes)
        assert [len(dates) for dates in english] == [len(dates) for dates in chinese]
        texts[purpose] = {one for dates in chinese for one in dates}
    for purpose in ("test", "longer", "formats"):
        assert not texts[purpose] & texts["train"]


# --- the rule ---------------------------------------------------------------------------------


def record(**values):
    """A record with one metric; a variant's name has ``_`` for a blank."""
    runs = [
        {
            "variant": name.replace("_", " "),
            "seed": seed,
            "metrics": {"test": {"cross_entropy": value, "exact_match": 1 - value}},
        }
        for name, per_seed in values.items()
        for seed, value in enumerate(per_seed)
    ]
    return {"runs": runs[::-1]}


def test_the_threshold_is_students():
    # Standard deviations 1 and 2: the error is the root of (1 + 4) / 3.
    difference, threshold, changed = change([4.0, 5, 6], [0.0, 2, 4])
    assert difference == 3
    assert threshold == pytest.approx(2.7764451 * (5 / 3) ** 0.5)
    assert not changed
    assert change([5.0, 6, 7], [0.0, 2, 4])[2]
    with pytest.raises(ValueError, match="same size"):
        change([1.0], [2.0])


@pytest.mark.parametrize(
    ("values", "cross_entropy", "exact_match"),
    [
        # The paper's one head is worse in both; a lower cross-entropy is better.
        ({"heads 1": [0.4, 0.41, 0.42]}, "agrees", "agrees"),
        ({"heads 1": [0.1, 0.11, 0.12]}, "disagrees", "disagrees"),
        ({"heads 1": [0.1, 0.3, 0.21]}, "within noise", "within noise"),
        # No smoothing: the paper's perplexity is better, its BLEU worse.
        ({"smoothing 0": [0.1, 0.11, 0.12]}, "agrees", "disagrees"),
        # 16 heads change nothing in the paper.
        ({"heads 8": [0.2, 0.22, 0.19]}, "agrees", "agrees"),
        ({"heads 8": [0.4, 0.41, 0.42]}, "disagrees", "disagrees"),
        ({"no residuals": [0.4, 0.41, 0.42]}, "not in the paper", "not in the paper"),
    ],
)
def test_the_verdicts(values, cross_entropy, exact_match):
    (variant,) = values
    made = record(base=[0.2, 0.21, 0.22], **values)
    judged = ablation.judge(made, variant, "cross_entropy")
    assert judged.verdict == cross_entropy
    assert ablation.judge(made, variant, "exact_match").verdict == exact_match
    assert judged.mean == pytest.approx(sum(values[variant]) / 3)


def test_the_paper_is_asked_about_its_base_alone():
    made = record(base=[0.2, 0.21, 0.22], heads_1=[0.4, 0.41, 0.42], pre=[0.1, 0.2, 0])
    judged = ablation.judge(made, "heads 1", "cross_entropy", against="pre")
    assert (judged.here, judged.paper, judged.verdict) == (
        "worse",
        None,
        "not in the paper",
    )


def test_wrong_names_are_refused():
    made = record(base=[0.2, 0.21, 0.22])
    with pytest.raises(ValueError, match="perplexity"):
        ablation.judge(made, "base", "perplexity")
    with pytest.raises(ValueError, match="heads 3"):
        ablation.judge(made, "heads 3", "exact_match")


def test_every_row_of_the_paper_has_its_variant():
    assert set(ablation.PAPER) <= set(VARIANTS)


# --- the record -------------------------------------------------------------------------------


def test_the_parameters_are_those_of_the_variants():
    for run in RECORD["runs"]:
        model = experiment.new_model(experiment.CONFIG, run["variant"])
        assert run["parameters"] == count_parameters(model)


def test_the_stored_weights_give_the_recorded_numbers():
    model = experiment.new_model(experiment.CONFIG, "base")
    experiment.EXPERIMENT.load(model, "base")
    job = Job(experiment.CONFIG, "base")
    (run,) = [r for r in RECORD["runs"] if (r["variant"], r["seed"]) == ("base", 0)]
    for purpose, scores in experiment.measure(job, model).items():
        for name, value in scores.items():
            # Another processor rounds otherwise: a few lists may tip over.
            assert value == pytest.approx(run["metrics"][purpose][name], abs=0.01)
