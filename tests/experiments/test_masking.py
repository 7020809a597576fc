"""Small models of letters: windows, tasks, what is measured; the experiment runs and is whole."""

import pytest
import torch

from bertbook.corpora.letters import LETTER_PIECES, letter_windows, spell
from bertbook.pretraining.masking import IGNORED, MaskingRule
from bertbook.shared.experiment import Job
from bertbook.shared.results import read_results
from bertbook.shared.training import count_parameters, seed_everything
from bertbook.studies.letter_models import (
    STATES,
    TABLE,
    Task,
    ask_at_one_place,
    features,
    letter_model,
    make_batch,
    posterior_of_visible,
)
from experiments import masking as experiment
from tests.experiments.one_process import do_what_is_missing

RECORD = read_results("masking")
VARIANTS = list(experiment.CONFIG.variants)


@pytest.fixture(scope="module")
def ids():
    return letter_windows()[1].ids[:40]


@pytest.fixture(scope="module")
def model():
    seed_everything(0)
    return letter_model(width=16, layers=2, heads=2).eval()


# --- windows -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_windows_are_text_between_special_tokens():
    for part in letter_windows():
        assert part.ids.shape == part.names.shape
        assert part.ids.shape[1] == 32
        assert TABLE.special[part.ids].sum(0).tolist() == [len(part.ids)] + [0] * 30 + [
            len(part.ids)
        ]
        assert set(part.names.unique().tolist()) == {IGNORED, 0, 1}
        # Spaces and marks are of no word.
        ordinary = torch.tensor(
            [piece.isalpha() or piece == "'" for piece in LETTER_PIECES]
        )
        assert ordinary[part.ids[part.names != IGNORED]].all()


def test_names_are_what_had_a_capital():
    part = letter_windows(40)[0]
    texts = ["".join(spell(row)[1:-1]) for row in part.ids]
    number = next(i for i, t in enumerate(texts) if "_jerusalem_" in t)
    start = texts[number].index("_jerusalem_") + 2
    assert part.names[number, start : start + 9].tolist() == [1] * 9


def test_a_window_needs_a_letter():
    with pytest.raises(ValueError, match="letters must be at least 1, got 0"):
        letter_windows(0)


# --- tasks -------------------------------------------------------------------------------------


def test_with_both_contexts_nothing_is_hidden_and_all_is_asked(ids):
    batch = make_batch(ids, Task("both"), 0)
    assert torch.equal(batch.input_ids, ids)
    asked = batch.labels != IGNORED
    assert torch.equal(asked, ~TABLE.special[ids])
    assert torch.equal(batch.labels[asked], ids[asked])
    assert batch.attention_mask is None


def test_left_to_right_asks_for_the_next_and_sees_nothing_of_it(ids, model):
    batch = make_batch(ids, Task("causal"), 0)
    assert torch.equal(batch.labels[:, :-2], ids[:, 1:-1])
    assert (batch.labels[:, -2:] == IGNORED).all()
    other = ids.clone()
    other[:, 10] = other[:, 11]
    before, after = (features(model, x, batch.attention_mask)[-1] for x in (ids, other))
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:], after[:, 10:])


def test_static_masks_belong_to_the_text_and_dynamic_ones_to_the_step(ids):
    numbers = torch.arange(len(ids))
    static = Task(static=True)
    first, second = (make_batch(ids, static, seed, numbers) for seed in (0, 1))
    assert torch.equal(first.input_ids, second.input_ids)
    turned = make_batch(ids.flip(0), static, 2, numbers.flip(0))
    assert torch.equal(turned.labels.flip(0), first.labels)
    first, second = (make_batch(ids, Task(), seed) for seed in (0, 1))
    assert not torch.equal(first.labels, second.labels)


def test_there_is_no_other_task():
    with pytest.raises(ValueError, match="kind must be 'masked', 'both' or 'causal'"):
        Task("permuted")


# --- what is measured --------------------------------------------------------------------------


def test_one_place_is_asked_in_three_states(ids, model):
    answers = {state: ask_at_one_place(model, ids, state) for state in STATES}
    truth = answers["true"][1]
    for chances, same, _ in answers.values():
        assert torch.equal(same, truth)
        torch.testing.assert_close(chances.sum(-1), torch.ones(len(ids)))
    assert (answers["mask"][2] == TABLE.mask_id).all()
    assert torch.equal(answers["true"][2], truth)
    assert (answers["random"][2] != truth).all()
    assert not TABLE.special[answers["random"][2]].any()
    with pytest.raises(ValueError, match="state must be one of"):
        ask_at_one_place(model, ids, "hidden")


def test_the_posterior_is_that_of_a_simulation():
    letters, count = 4, 400_000
    chances = torch.tensor([0.6, 0.25, 0.1, 0.05])
    rule = MaskingRule(mask=0.5, random=0.2, keep=0.3)
    generator = torch.Generator().manual_seed(0)
    truth = torch.multinomial(chances, count, replacement=True, generator=generator)
    drawn = torch.randint(letters, (count,), generator=generator)
    kept = torch.rand(count, generator=generator) < rule.keep / (
        rule.keep + rule.random
    )
    stands = truth.where(kept, drawn)
    for letter, chance in enumerate(chances):
        share = (truth[stands == letter] == letter).double().mean().item()
        right = posterior_of_visible(chance, rule, letters).item()
        assert share == pytest.approx(right, abs=0.01)


def test_the_posterior_where_only_one_branch_stays_visible():
    chance = torch.tensor([0.01, 0.5])
    keep = posterior_of_visible(chance, MaskingRule(mask=0.9, random=0.0, keep=0.1))
    assert keep.tolist() == [1, 1]
    drawn = posterior_of_visible(chance, MaskingRule(mask=0.9, random=0.1, keep=0.0))
    torch.testing.assert_close(drawn, chance)
    with pytest.raises(ValueError, match="no selected token stays visible"):
        posterior_of_visible(chance, MaskingRule(mask=1.0, random=0.0, keep=0.0))


# --- the experiment ----------------------------------------------------------------------------


def test_the_smoke_run_does_what_is_missing_and_nothing_else(
    tmp_path, capsys, monkeypatch
):
    missing = ["80/10/10", "left to right", "few windows, static"]
    metrics = {"own": {"cross_entropy": 1.0, "accuracy": 0.5}}
    before = {variant: metrics for variant in VARIANTS if variant not in missing}
    runs = do_what_is_missing(experiment, tmp_path, monkeypatch, before)
    assert sorted(run["variant"] for run in runs) == sorted(missing)
    for run in runs:
        assert set(run["metrics"]) >= {"own", "probes", "curve"}
        assert run["parameters"] == count_parameters(letter_model())
    experiment.EXPERIMENT.load(letter_model(), "80/10/10", tmp_path)
    assert "left to right" in capsys.readouterr().out


def test_a_run_is_repeatable():
    job = Job(experiment.SMOKE, "100/0/0", 1)
    first, twin = experiment.train(job), experiment.train(job)
    losses = [
        [p["cross_entropy"] for p in run.metrics["curve"]] for run in (first, twin)
    ]
    assert losses[0] == losses[1]
    both = zip(first.model.parameters(), twin.model.parameters(), strict=True)
    assert all(torch.equal(parameter, other) for parameter, other in both)


@pytest.mark.slow
@pytest.mark.parametrize("variant", experiment.EXPERIMENT.stored)
def test_stored_weights_measure_what_the_record_says(variant):
    model = experiment.EXPERIMENT.load(letter_model(), variant)
    probes = variant == "80/10/10"
    metrics = experiment.measure(Job(experiment.CONFIG, variant), model, probes)
    (run,) = (r for r in RECORD["runs"] if (r["variant"], r["seed"]) == (variant, 0))
    for name, values in metrics.items():
        if name == "probes":
            for layer, scores in values.items():
                kept = run["metrics"]["probes"][layer]
                assert scores == pytest.approx(kept, abs=5e-3)
        else:
            assert values == pytest.approx(run["metrics"][name], abs=2e-3)
