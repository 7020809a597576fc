"""Every experiment: what is on record was made with the configuration that stands in the script."""

import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from bertbook.shared.results import RESULTS, read_results

NAMES = sorted(path.stem for path in Path(RESULTS.parent, "experiments").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_this_configuration(name):
    experiment, record = (
        import_module(f"experiments.{name}").EXPERIMENT,
        read_results(name),
    )
    assert experiment.name == record["name"] == name
    assert record["config"] == json.loads(json.dumps(asdict(experiment.config)))
    assert record["seeds"] == list(experiment.seeds)
    assert set(record["versions"]) == {"python", "torch", *experiment.packages}
