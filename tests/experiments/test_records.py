"""Every experiment: its record was made with the configuration in the script, and is complete."""

import json
from dataclasses import asdict
from importlib import import_module
from types import SimpleNamespace

import pytest

from bertbook.shared.results import RESULTS, read_results

NAMES = sorted(path.stem for path in RESULTS.parent.glob("experiments/*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_this_configuration_and_complete(name):
    experiment = import_module(f"experiments.{name}").EXPERIMENT
    record = read_results(name)
    assert experiment.name == record["name"] == name
    assert record["config"] == json.loads(json.dumps(asdict(experiment.config)))
    assert record["seeds"] == list(experiment.seeds)
    assert set(record["versions"]) == {"python", "torch", *experiment.packages}
    done = SimpleNamespace(runs=record["runs"])
    stages = experiment.plan(experiment.config, experiment.seeds, done)
    planned = {run for stage in stages for run in stage}
    found = sorted((run["variant"], run["seed"]) for run in record["runs"])
    assert found == sorted(planned)
    assert all(isinstance(experiment.describe(run), str) for run in record["runs"])
