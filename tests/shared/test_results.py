"""The record of an experiment: on disk after every run, whole, resumable."""

import pytest
import torch

from bertbook.shared.results import Results, means, read_results


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


def test_means_of_equal_stretches_and_of_the_rest():
    assert means([1, 2, 3, 4, 6], 2) == [1.5, 3.5, 6.0]
