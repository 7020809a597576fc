"""The experiment on verses: it runs, it resumes, and its results can be measured again."""

import json
from functools import cache
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file, save_file

from bertbook.shared.experiment import load_stored, weights_file
from bertbook.shared.results import WEIGHTS, read_results
from bertbook.shared.symbols import END
from bertbook.shared.training import count_parameters
from experiments import verses as experiment
from tests.experiments.one_process import OneProcess

RECORD = read_results(experiment.NAME)
CONFIG = experiment.CONFIG
KINDS = experiment.KINDS
STEPS = CONFIG.steps


def metrics(variant):
    (found,) = [run for run in RECORD["runs"] if run["variant"] == variant]
    return found["metrics"]


def final(kind):
    """After as many steps as the other one."""
    return metrics(f"{kind}, {STEPS} steps")


def measured_steps(runs, kind):
    """The steps at which a model was measured, the beam aside."""
    return [
        run["metrics"]["steps"]
        for run in runs
        if run["variant"] == f"{kind}, {run['metrics'].get('steps')} steps"
    ]


def trained(kind):
    """Of the choices that were trained to the end, the one that was taken."""
    return experiment.best(metrics(f"trained: {kind}")["choices"])


def equal_time(kind):
    """When the faster one had finished: of that one the same as ``final``."""
    return metrics(f"{kind}, {min(measured_steps(RECORD['runs'], kind))} steps")


@cache
def verses(smoke=False):
    return experiment.Verses(experiment.SMOKE if smoke else CONFIG)


@pytest.mark.slow
def test_the_smoke_run_writes_results_and_weights_and_resumes(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("bertbook.shared.experiment.ProcessPoolExecutor", OneProcess)
    options = ["--smoke", "--folder", str(tmp_path)]
    experiment.main(options)
    file = tmp_path / "verses.json"
    whole = json.loads(file.read_text())
    variants = [run["variant"] for run in whole["runs"]]
    assert variants[0] == "copy"
    assert {*variants[1:3]} == {"tuning: transformer", "tuning: lstm"}
    assert {*variants[3:5]} == {"trained: transformer", "trained: lstm"}
    expected = {"transformer, 4 steps, beam"}
    for kind in KINDS:
        assert weights_file(tmp_path, "verses", kind).exists()
        # Where equal time falls depends on the clock.
        *marks, last = measured_steps(whole["runs"], kind)
        assert last == experiment.SMOKE.steps == 4
        assert marks in ([], [1], [2], [3])
        expected |= {f"{kind}, {mark} steps" for mark in (*marks, last)}
    assert {*variants[5:]} == expected

    # What is missing is measured again; the finished training is not repeated.
    gone = whole["runs"][-1]
    file.write_text(json.dumps({**whole, "runs": whole["runs"][:-1]}))
    experiment.main([*options, "--resume"])
    runs = json.loads(file.read_text())["runs"]
    assert runs[:-1] == whole["runs"][:-1]
    assert runs[-1]["variant"] == gone["variant"]
    assert runs[-1]["metrics"] == gone["metrics"]
    capsys.readouterr()


@pytest.mark.slow
def test_a_training_that_breaks_off_goes_on_where_it_was(tmp_path, monkeypatch):
    """The same snapshots and the same curve, but for the clock."""
    config = experiment.SMOKE
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()

    def trained(name):
        return experiment.train_model(
            config, verses(True), "transformer", [0.001, True], 4, tmp_path / name
        )

    expected, curve = trained("whole")

    with monkeypatch.context() as patch:
        # At step 3, after the checkpoint of step 2.
        original = experiment.write_atomically

        def write(path, how):
            if path.name == "3.safetensors":
                raise KeyboardInterrupt
            original(path, how)

        patch.setattr(experiment, "write_atomically", write)
        with pytest.raises(KeyboardInterrupt):
            trained("broken")
    model, resumed = trained("broken")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name])
    assert [p["step"] for p in curve] == [1, 2, 3, 4]
    assert ["validation_loss" in p for p in curve] == [False, True, False, True]
    assert [(p["step"], p.get("validation_loss")) for p in resumed] == [
        (p["step"], p.get("validation_loss")) for p in curve
    ]
    for file in (tmp_path / "whole").glob("*.safetensors"):
        again = load_file(tmp_path / "broken" / file.name)
        for name, tensor in load_file(file).items():
            assert torch.equal(again[name], tensor)


def test_the_stored_weights_are_the_mean_of_the_last_snapshots(tmp_path):
    for step in range(1, 6):
        state = {"a": torch.full((2,), float(step))}
        save_file(state, tmp_path / f"{step}.safetensors")
    config = experiment.Config(snapshots=2, snapshot_every=1)
    mean = experiment.averaged(config, tmp_path, 4)
    assert mean["a"].dtype == torch.float16
    assert mean["a"].tolist() == [3.5, 3.5]


def test_equal_time_is_where_the_faster_model_ends():
    def curve(*seconds):
        return [
            {"step": 100 * number, "cpu_time_s": time}
            for number, time in enumerate(seconds, start=1)
        ]

    fast, slow = curve(10.0, 20.0, 30.0), curve(14.0, 28.5, 43.0)
    marks = experiment.after_equal_time({"lstm": slow, "transformer": fast})
    assert marks == {"lstm": 200, "transformer": 300}
    marks = experiment.after_equal_time({"lstm": fast, "transformer": fast})
    assert marks == {"lstm": 300, "transformer": 300}


def test_translations_come_back_in_the_order_of_the_texts():
    texts = [pair.source for pair in verses(True).test] * 20
    texts = [text[: 5 + number % 40].strip() for number, text in enumerate(texts)]
    seen = []

    def copied(source):
        seen.append(source.shape)
        return source

    written = verses(True).translate(copied, texts)
    assert written == texts
    assert [rows for rows, _ in seen] == [32, 32, 16]
    assert [width for _, width in seen] == sorted(width for _, width in seen)
    assert all(source[-1] == END for source, _ in verses(True).train)


def test_the_record_is_complete():
    assert metrics("copy")["bleu"] == pytest.approx(5.2, abs=0.1)
    size, alpha = CONFIG.beam
    assert (size, alpha) == (4, 0.6)
    for kind in KINDS:
        *marks, last = measured_steps(RECORD["runs"], kind)
        assert last == STEPS
        assert len(marks) <= 1
        for steps in (*marks, last):
            found = metrics(f"{kind}, {steps} steps")
            assert found["bleu_signature"].startswith(
                "nrefs:1|case:mixed|eff:no|tok:13a"
            )
    assert metrics(f"transformer, {STEPS} steps, beam")["steps"] == STEPS


def test_both_models_have_equal_parameters():
    counts = {}
    for kind in KINDS:
        choice = final(kind)["choice"]
        counts[kind] = count_parameters(experiment.new_model(CONFIG, kind, choice))
        # The tuning's first Transformer is post-LN and lacks the last LayerNorm.
        recorded = {
            run["parameters"]
            for run in RECORD["runs"]
            if kind in run["variant"] and not run["variant"].startswith("tuning")
        }
        assert recorded == {counts[kind]}
    assert max(counts.values()) / min(counts.values()) < 1.01


def test_both_models_use_the_best_of_as_many_choices():
    tried = {}
    for kind in KINDS:
        short = metrics(f"tuning: {kind}")["choices"]
        assert [choice for choice, _ in short] == CONFIG.tuning[kind]
        best, _ = min(short, key=lambda pair: pair[1])
        whole = [tried["choice"] for tried in metrics(f"trained: {kind}")["choices"]]
        assert whole == CONFIG.whole[kind]
        assert best in whole
        found = final(kind)
        assert found["choice"] == trained(kind)["choice"]
        loss = trained(kind)["validation_loss"]
        assert found["validation_loss"] == pytest.approx(loss, abs=1e-3)
        tried[kind] = len(short), len(whole)
    assert tried["lstm"] == tried["transformer"]


def test_the_curves_count_the_processor_time_of_training():
    for kind in KINDS:
        for tried in metrics(f"trained: {kind}")["choices"]:
            curve = tried["curve"]
            for name, found in (
                ("snapshot_every", curve),
                ("measure_every", [p for p in curve if "validation_loss" in p]),
            ):
                steps = [
                    *range(getattr(CONFIG, name), STEPS + 1, getattr(CONFIG, name))
                ]
                assert [point["step"] for point in found] == steps
            times = [point["cpu_time_s"] for point in curve]
            assert all(early < late for early, late in pairwise(times))
            assert times[-1] < 3600
        assert final(kind)["cpu_time_s"] == trained(kind)["curve"][-1]["cpu_time_s"]


def test_the_pair_after_equal_time_took_equal_processor_time():
    """The faster model to its end, the slower one to the nearest snapshot."""
    fast, slow = sorted(KINDS, key=lambda kind: final(kind)["cpu_time_s"])
    assert equal_time(fast)["steps"] == STEPS
    curves = {kind: trained(kind)["curve"] for kind in KINDS}
    marks = {kind: equal_time(kind)["steps"] for kind in KINDS}
    assert marks == experiment.after_equal_time(curves)
    seconds = [equal_time(kind)["cpu_time_s"] for kind in (fast, slow)]
    snapshot = final(slow)["cpu_time_s"] / STEPS * CONFIG.snapshot_every
    assert abs(seconds[0] - seconds[1]) < 0.02 * seconds[0] + snapshot


@pytest.mark.slow
def test_no_chapter_is_in_two_parts_and_the_subwords_are_of_the_training_verses():
    pairs = experiment.load_verses(CONFIG.source, CONFIG.target)
    parts = experiment.split_by_chapter(pairs)
    chapters = [{(pair.book, pair.chapter) for pair in part} for part in parts]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not chapters[one] & chapters[other]
    assert [p.source for p in verses().test] == [p.source for p in parts[2]]
    stored = WEIGHTS / f"{experiment.NAME}_subwords.json"
    own = verses().subwords
    assert json.loads(stored.read_text())["model"] == json.loads(own.to_str())["model"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_stored_weights_give_the_recorded_bleu(kind):
    recorded = final(kind)
    state = load_file(weights_file(WEIGHTS, "verses", kind))
    assert all(tensor.dtype == torch.float16 for tensor in state.values())
    model = load_stored(experiment.new_model(CONFIG, kind, recorded["choice"]), state)
    loss = experiment.validation_loss(model, verses())
    assert loss == pytest.approx(recorded["validation_loss"], abs=0.005)
    found = experiment.scores(
        verses(), lambda source: experiment.write_greedily(model, source)
    )
    # Another processor rounds otherwise: a few of a thousand verses may turn out differently.
    for name in ("bleu", "chrf"):
        assert found[name] == pytest.approx(recorded[name], abs=0.3)
        assert found[f"{name}_signature"] == recorded[f"{name}_signature"]


def test_both_translate_and_the_lstm_wins_both_comparisons():
    """After equal steps and after equal time: what the chapter says, so it must stay true."""
    for name in ("bleu", "chrf"):
        for after in (final, equal_time):
            transformer, lstm = (after(kind)[name] for kind in KINDS)
            assert lstm > transformer + 1
            assert transformer > metrics("copy")[name] + 5
    for kind in KINDS:
        curve = trained(kind)["curve"]
        losses = [p["validation_loss"] for p in curve if "validation_loss" in p]
        assert losses[-1] < losses[0]
