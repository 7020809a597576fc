"""The record that an experiment keeps of its runs.

``bertbook.shared.experiment`` keeps a :class:`Results` file that is whole at any moment, so that an
interrupted experiment can go on; chapters read it by :func:`read_results`.
"""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bertbook.shared.training import write_atomically

__all__ = ["RESULTS", "WEIGHTS", "Results", "means", "read_results"]

RESULTS = Path(__file__).resolve().parents[3] / "results"
WEIGHTS = RESULTS.parent / "weights"


class Results:
    """The record of an experiment, ``results/NAME.json``, rewritten after every finished run.

    The file holds ``{name, config, seeds, versions, cpu, runs}``; a run is
    ``{variant, seed, parameters, wall_time_s, metrics}``.

    Args:
        name: of the experiment and of the file.
        config: everything the runs depend on; JSON values only.
        seeds: of the runs.
        folder: where the file stands; the repository's ``results`` by default.
        resume: whether runs that the file already holds count as finished. Without it the
            file is replaced when the first run is added.
        packages: whose versions are recorded, besides Python's and PyTorch's.

    Raises:
        ValueError: if the file to be resumed has another configuration or other seeds.
    """

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        seeds: Sequence[int],
        *,
        folder: Path | str = RESULTS,
        resume: bool = False,
        packages: Sequence[str] = (),
    ):
        self.path = Path(folder) / f"{name}.json"
        self.record = {
            "name": name,
            "config": json.loads(
                json.dumps(config)
            ),  # tuples become lists, as in the file
            "seeds": list(seeds),
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in ("torch", *packages)},
            },
            "cpu": {"model": _cpu_model(), "threads": torch.get_num_threads()},
            "runs": [],
        }
        if resume and self.path.exists():
            old = json.loads(self.path.read_text(encoding="utf-8"))
            for key in ("config", "seeds"):
                if old[key] != self.record[key]:
                    raise ValueError(
                        f"{self.path.name} cannot be resumed: its {key} is {old[key]}, "
                        f"not {self.record[key]}"
                    )
            self.record["runs"] = old["runs"]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The finished runs, in the order in which they finished."""
        return self.record["runs"]

    def has(self, variant: str, seed: int) -> bool:
        """Whether this run is finished."""
        return any(
            run["variant"] == variant and run["seed"] == seed for run in self.runs
        )

    def add(
        self,
        variant: str,
        seed: int,
        *,
        parameters: int,
        wall_time_s: float,
        metrics: dict[str, Any],
    ) -> None:
        """Add a finished run and write the file.

        Args:
            variant: what was trained.
            seed: with which seed.
            parameters: of the model, see :func:`count_parameters`.
            wall_time_s: in seconds.
            metrics: what was measured; JSON values only.

        Raises:
            ValueError: if the run is there already, or a metric is not finite.
        """
        if self.has(variant, seed):
            raise ValueError(
                f"the run of {variant!r} with seed {seed} is there already"
            )
        run = {
            "variant": variant,
            "seed": seed,
            "parameters": parameters,
            "wall_time_s": round(wall_time_s, 1),
            "metrics": metrics,
        }
        record = {**self.record, "runs": [*self.runs, run]}
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(
            self.path, lambda path: path.write_text(text, encoding="utf-8")
        )
        self.record = json.loads(text)


def means(values: Sequence[float], width: int) -> list[float]:
    """Means of ``width`` values at a time, to four decimals; the last may be of fewer."""
    parts = [values[start : start + width] for start in range(0, len(values), width)]
    return [round(sum(part) / len(part), 4) for part in parts]


def read_results(name: str, folder: Path | str = RESULTS) -> dict[str, Any]:
    """Read the record of an experiment, as :class:`Results` wrote it.

    Raises:
        FileNotFoundError: if there is none; the message names the command that makes it.
    """
    path = Path(folder) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path.name} is missing in the folder {path.parent.name}; "
            f"make it by: python experiments/{name}.py"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo")
    if lines.exists():
        for line in lines.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
