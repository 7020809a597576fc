"""The runner: every run once, in stages, resumable, with its weights and in its own process."""

from dataclasses import asdict, dataclass

import pytest
import torch
from torch import nn

from bertbook.shared.experiment import (
    Experiment,
    Job,
    Trained,
    load_stored,
    section,
    store,
    weights_file,
)
from bertbook.shared.results import WEIGHTS, read_results


@dataclass(frozen=True)
class Config:
    factor: int = 10
    variants: dict = section(a=1, b=2)


def train(job):
    if job.config.factor == 13 and (job.variant, job.seed) == ("b", 0):
        raise KeyboardInterrupt
    job.work.mkdir(parents=True, exist_ok=True)
    (job.work / f"{job.variant}{job.seed}").touch()
    model = nn.Linear(1, 2)
    nn.init.constant_(
        model.weight, job.config.factor * job.config.variants[job.variant]
    )
    return Trained(model, {"done": len(job.done)})


def measure(job, model):
    return {"sum": model.weight.sum().item() + job.seed}


def describe(run):
    return f"{run['variant']} {run['metrics']['sum']:.0f}" if run["seed"] == 0 else ""


def demo(**choices):
    usual = {"seeds": (0, 1), "stored": ("a",), "config": Config(), "smoke": Config(1)}
    functions = {"train": train, "measure": measure, "describe": describe}
    return Experiment(
        name="demo", about="A demo.\n", **{**usual, **functions, **choices}
    )


def sums(folder):
    runs = read_results("demo", folder)["runs"]
    return {(r["variant"], r["seed"]): r["metrics"]["sum"] for r in runs}


ALL = {("a", 0): 20, ("a", 1): 21, ("b", 0): 40, ("b", 1): 41}


def test_every_variant_with_every_seed_and_the_weights_of_the_first(tmp_path, capsys):
    threads = torch.get_num_threads()
    demo(threads=1).main(["--folder", str(tmp_path)])
    assert torch.get_num_threads() == threads
    record = read_results("demo", tmp_path)
    assert record["config"] == asdict(Config())
    assert list(sums(tmp_path)) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert sums(tmp_path) == ALL
    assert [run["metrics"]["done"] for run in record["runs"]] == [0, 1, 2, 3]
    assert {run["parameters"] for run in record["runs"]} == {4}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["demo.json", "demo_a.safetensors"]
    assert load_stored(nn.Linear(1, 2), tmp_path / names[1]).weight.sum() == 20
    assert capsys.readouterr().out == "a 20\nb 40\n"


def test_a_broken_experiment_goes_on_where_it_was(tmp_path):
    options = ["--folder", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        demo(config=Config(13)).main(options)
    assert list(sums(tmp_path)) == [("a", 0)]
    assert (tmp_path / "work" / "demo" / "a0").exists()
    with pytest.raises(ValueError, match="its config is"):
        demo().main([*options, "--resume"])
    demo(keep_work=True).main(options)
    written = (tmp_path / "demo.json").read_bytes()
    demo(train=None, measure=None, keep_work=True).main([*options, "--resume"])
    assert (tmp_path / "demo.json").read_bytes() == written
    # Whoever does not go on begins anew, without the old checkpoints.
    (tmp_path / "work" / "demo" / "old").touch()
    demo(keep_work=True).main(options)
    assert not (tmp_path / "work" / "demo" / "old").exists()
    assert (tmp_path / "work" / "demo" / "a0").exists()


def test_smoke_is_tiny_and_goes_elsewhere():
    options = demo().options(["--smoke"])
    assert options.folder.name not in ("results", "weights")
    assert options.weights == options.folder
    results = demo().run(options)
    assert results.record["config"]["factor"] == 1
    assert results.record["seeds"] == [0]
    usual = demo().options([])
    assert (usual.smoke, usual.resume, usual.folder.name) == (False, False, "results")
    assert usual.weights == WEIGHTS
    assert usual.work == WEIGHTS.parent / "checkpoints" / "demo"


def test_a_stage_is_asked_for_when_the_one_before_has_ended(tmp_path):
    def plan(config, seeds, results):
        yield [("a", 7)]
        (first,) = results.runs
        yield [("b", int(first["metrics"]["sum"])), ("a", 7)]

    demo(plan=plan).main(["--folder", str(tmp_path)])
    assert sums(tmp_path) == {("a", 7): 27, ("b", 27): 67}


@pytest.mark.slow
def test_runs_side_by_side_are_each_added_under_their_own_name(tmp_path):
    """In processes started anew, each with one thread."""
    demo(processes=2, measure=threads_too).main(["--folder", str(tmp_path)])
    assert sums(tmp_path) == ALL
    runs = read_results("demo", tmp_path)["runs"]
    assert {run["metrics"]["threads"] for run in runs} == {1}


def threads_too(job, model):
    return {**measure(job, model), "threads": torch.get_num_threads()}


def test_a_job_finds_what_was_measured_before():
    runs = [{"variant": "a", "seed": seed, "metrics": {"x": seed}} for seed in (0, 1)]
    job = Job(Config(), "b", 1, done=runs)
    assert job.metrics_of("a") == {"x": 1}
    assert job.metrics_of("a", 0) == {"x": 0}


def test_weights_are_stored_once_in_half_precision_and_only_fit_their_kind(tmp_path):
    path = weights_file(tmp_path, "demo", "no state, 80/10/10")
    assert path.name == "demo_no_state_80_10_10.safetensors"
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    store(model, path)
    twin = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    twin[1].weight = twin[0].weight
    twin = load_stored(twin.train(), path)
    assert not twin.training
    assert torch.equal(twin[1].weight, model[0].weight.half().float())
    with pytest.raises(ValueError, match=r"do not fit.*1\.weight"):
        load_stored(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), path)
