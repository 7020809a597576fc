"""The record of an experiment: on disk after every run, whole, resumable."""

import pytest
import torch

from bertbook.shared.results import (
    WEIGHTS,
    Results,
    experiment_arguments,
    means,
    read_results,
    run_in_processes,
)


def add(results, variant, seed, **metrics):
    results.add(variant, seed, parameters=9, wall_time_s=1.23456, metrics=metrics)


def test_results_are_on_disk_after_every_run_and_can_be_resumed(tmp_path):
    config = {"width": 8, "lengths": (1, 2)}
    results = Results("demo", config, [0, 1], folder=tmp_path)
    add(results, "a", 0, accuracy=0.5)
    record = read_results("demo", tmp_path)
    assert record["config"] == {"width": 8, "lengths": [1, 2]}
    assert record["versions"]["torch"] == torch.__version__
    assert record["cpu"]["model"]
    assert record["runs"] == [
        {
            "variant": "a",
            "seed": 0,
            "parameters": 9,
            "wall_time_s": 1.2,
            "metrics": {"accuracy": 0.5},
        }
    ]
    resumed = Results("demo", config, [0, 1], folder=tmp_path, resume=True)
    assert resumed.has("a", 0)
    assert not resumed.has("a", 1)
    add(resumed, "a", 1)
    assert len(read_results("demo", tmp_path)["runs"]) == 2
    add(Results("demo", config, [0, 1], folder=tmp_path), "b", 0)
    assert [run["variant"] for run in read_results("demo", tmp_path)["runs"]] == ["b"]


def test_results_refuse_other_settings_doubles_and_what_is_no_number(tmp_path):
    results = Results("demo", {"width": 8}, [0], folder=tmp_path)
    add(results, "a", 0)
    with pytest.raises(ValueError, match="its config is"):
        Results("demo", {"width": 9}, [0], folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="its seeds is"):
        Results("demo", {"width": 8}, [1], folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="there already"):
        add(results, "a", 0)
    with pytest.raises(ValueError, match="JSON compliant"):
        add(results, "a", 1, loss=float("nan"))
    assert len(read_results("demo", tmp_path)["runs"]) == 1
    with pytest.raises(FileNotFoundError, match=r"python experiments/other\.py"):
        read_results("other", tmp_path)


def test_the_options_of_an_experiment(tmp_path):
    options = experiment_arguments("demo", [])
    assert (options.smoke, options.resume, options.folder.name) == (
        False,
        False,
        "results",
    )
    smoke = experiment_arguments("demo", ["--smoke"])
    assert smoke.smoke
    assert smoke.folder != options.folder
    chosen = experiment_arguments("demo", ["--resume", "--folder", str(tmp_path)])
    assert chosen.resume
    assert chosen.folder == tmp_path


def test_missing_runs_come_seed_by_seed(tmp_path):
    results = Results("demo", {}, [0, 1], folder=tmp_path)
    add(results, "b", 0)
    assert results.missing(["a", "b"]) == [("a", 0), ("a", 1), ("b", 1)]


def square(number, sign):
    return {
        "parameters": 1,
        "wall_time_s": 0.0,
        "metrics": {"square": sign * number**2},
    }


@pytest.mark.slow
def test_runs_side_by_side_are_each_added_under_their_own_name(tmp_path):
    results = Results("demo", {}, [0, 1], folder=tmp_path)
    run_in_processes(results, {("a", 0): (3, 1), ("b", 1): (4, -1)}, square)
    found = {
        (run["variant"], run["seed"]): run["metrics"]["square"]
        for run in read_results("demo", tmp_path)["runs"]
    }
    assert found == {("a", 0): 9, ("b", 1): -16}
    run_in_processes(results, {}, square)
    assert len(results.runs) == 2


def test_means_of_equal_stretches_and_of_the_rest():
    assert means([1, 2, 3, 4, 6], 2) == [1.5, 3.5, 6.0]


def test_weights_go_where_the_results_go(tmp_path):
    assert experiment_arguments("demo", []).weights == WEIGHTS
    chosen = experiment_arguments("demo", ["--folder", str(tmp_path)])
    assert chosen.weights == tmp_path
