"""The one runner of all experiments: which runs are missing, do them, keep the record.

An experiment is a configuration (a frozen dataclass) and three functions: ``train`` makes what is
measured, ``measure`` gives its metrics, ``describe`` a line of a finished run for the terminal.
"""

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from bertbook.shared.results import RESULTS, WEIGHTS, Results
from bertbook.shared.training import count_parameters, trained_tensors, write_atomically

__all__ = [
    "Experiment",
    "Job",
    "Options",
    "Trained",
    "load_stored",
    "section",
    "store",
    "weights_file",
]

Stage = list[tuple[str, int]]


@dataclass(frozen=True)
class Job:
    """What ``train`` and ``measure`` are given: one run.

    Attributes:
        config: of the experiment.
        variant: what is trained.
        seed: with which seed.
        weights: folder of the weights that are kept.
        work: folder of checkpoints and whatever else a broken run goes on from; made by whoever
            writes there.
        done: the runs that finished before, as the record has them.
    """

    config: Any
    variant: str
    seed: int = 0
    weights: Path = WEIGHTS
    work: Path = RESULTS.parent / "checkpoints"
    done: Sequence[dict[str, Any]] = ()

    def metrics_of(self, variant: str, seed: int | None = None) -> dict[str, Any]:
        """The metrics of a run that finished before, of the same seed unless another is given."""
        wanted = (variant, self.seed if seed is None else seed)
        (run,) = [r for r in self.done if (r["variant"], r["seed"]) == wanted]
        return run["metrics"]


@dataclass(frozen=True)
class Trained:
    """What ``train`` returns.

    Attributes:
        model: is given to ``measure``.
        metrics: of the training, such as its loss; written beside those of ``measure``.
        parameters: ``None``: all of the model's.
        wall_time_s: ``None``: as long as ``train`` took.
    """

    model: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    wall_time_s: float | None = None


class Options(NamedTuple):
    """The command line: of what size, whether to go on, and where to write."""

    smoke: bool
    resume: bool
    folder: Path
    weights: Path
    work: Path


def every_variant(
    config: Any, seeds: Sequence[int], results: Results
) -> Iterable[Stage]:
    """The usual plan: every variant with every seed."""
    yield [(variant, seed) for seed in seeds for variant in config.variants]


@dataclass(frozen=True)
class Experiment:
    """A configuration, three functions, and how they are run.

    Attributes:
        name: of the experiment, its record and its weights.
        about: its first line is what ``--help`` says.
        config: a frozen dataclass, JSON values only (tuples become lists): all that runs depend on.
        smoke: the same, tiny.
        train: from a job to what is measured.
        measure: from the job and the trained model to metrics.
        describe: a finished run, as the record has it, in a line; ``""`` says nothing.
        plan: stages of runs, variant and seed; a stage begins when the one before has ended, and is
            asked for only then, so that it may depend on results.
        seeds: of the runs; the smoke run takes the first.
        packages: whose versions are recorded.
        stored: variants whose weights are kept, of the first seed.
        processes: how many runs at a time, each in a process started anew, with one thread.
        threads: of PyTorch, in this process; ``None``: as many as there are.
        keep_work: whether checkpoints outlive the experiment.
    """

    name: str
    about: str
    config: Any
    smoke: Any
    train: Callable[[Job], Trained]
    measure: Callable[[Job, Any], dict[str, Any]]
    describe: Callable[[dict[str, Any]], str]
    plan: Callable[[Any, Sequence[int], Results], Iterable[Stage]] = every_variant
    seeds: tuple[int, ...] = (0,)
    packages: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    processes: int = 1
    threads: int | None = None
    keep_work: bool = False

    def options(self, arguments: Sequence[str] | None = None) -> Options:
        """Read the command line.

        By default results go to the repository's ``results``, with ``--smoke`` to a temporary
        folder; weights to the repository's, or to the same folder if results go elsewhere.
        """
        parser = argparse.ArgumentParser(description=self.about.splitlines()[0])
        say = parser.add_argument
        say("--smoke", action="store_true", help="run it tiny, to see that it works")
        say("--resume", action="store_true", help="skip what is finished already")
        say("--folder", type=Path, help="where the results are written")
        given = parser.parse_args(arguments)
        folder = given.folder
        if folder is None:
            folder = Path(tempfile.mkdtemp()) if given.smoke else RESULTS
        weights = WEIGHTS if folder == RESULTS else folder
        work = folder.parent / "checkpoints" if folder == RESULTS else folder / "work"
        return Options(given.smoke, given.resume, folder, weights, work / self.name)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run the experiment from the command line, and describe all that is on record."""
        threads = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            results = self.run(self.options(arguments))
        finally:
            torch.set_num_threads(threads)
        for line in filter(None, map(self.describe, results.runs)):
            print(line)

    def load(self, model: nn.Module, variant: str, folder: Path = WEIGHTS) -> nn.Module:
        """Put the stored weights of a variant's first seed into a new model of its kind."""
        return load_stored(model, weights_file(folder, self.name, variant))

    def run(self, options: Options) -> Results:
        """Do what is missing and write each run to the record as it ends."""
        config = self.smoke if options.smoke else self.config
        seeds = self.seeds[:1] if options.smoke else self.seeds
        results = Results(
            self.name,
            asdict(config),
            seeds,
            folder=options.folder,
            resume=options.resume,
            packages=self.packages,
        )
        if not options.resume:
            shutil.rmtree(options.work, ignore_errors=True)
        for stage in self.plan(config, seeds, results):
            missing = [run for run in stage if not results.has(*run)]
            jobs = (
                Job(config, *run, options.weights, options.work, tuple(results.runs))
                for run in missing
            )
            if missing:
                self._do(jobs, len(missing), results)
        if not self.keep_work:
            shutil.rmtree(options.work, ignore_errors=True)
            with_others = options.work.parent
            if with_others.exists() and not any(with_others.iterdir()):
                with_others.rmdir()
        return results

    def _do(self, jobs: Iterable[Job], count: int, results: Results) -> None:
        """Do the jobs of a stage; one after the other, each sees what was done just before."""
        if self.processes == 1:
            for job in tqdm(jobs, total=count, desc=self.name):
                results.add(job.variant, job.seed, **self.done(job))
            return
        with ProcessPoolExecutor(
            self.processes, mp_context=get_context("spawn")
        ) as pool:
            running = {pool.submit(self.done, job): job for job in jobs}
            for ended in tqdm(as_completed(running), total=count, desc=self.name):
                job = running[ended]
                results.add(job.variant, job.seed, **ended.result())

    def done(self, job: Job) -> dict[str, Any]:
        """Train, keep the weights if wanted, measure: what :meth:`Results.add` is given."""
        if self.processes > 1:  # then this is a process of its own
            torch.set_num_threads(1)
        started = time.perf_counter()
        trained = self.train(job)
        seconds = time.perf_counter() - started
        if job.variant in self.stored and job.seed == self.seeds[0]:
            store(trained.model, weights_file(job.weights, self.name, job.variant))
        if (size := trained.parameters) is None:
            size = count_parameters(trained.model)
        if trained.wall_time_s is not None:
            seconds = trained.wall_time_s
        metrics = {**self.measure(job, trained.model), **trained.metrics}
        return {"parameters": size, "wall_time_s": seconds, "metrics": metrics}


def section(**values: Any) -> Any:
    """A field of a configuration that is a dictionary: its default."""
    return field(default_factory=lambda: dict(values))


def weights_file(folder: Path, name: str, variant: str) -> Path:
    """Where the weights of a variant's first seed are stored."""
    return folder / f"{name}_{re.sub(r'[^0-9A-Za-z]+', '_', variant)}.safetensors"


def store(model: nn.Module, path: Path) -> None:
    """Write what was trained, in half precision."""
    state = trained_tensors(model)
    write_atomically(path, lambda part: save_file(state, part, {"format": "pt"}))


def load_stored(model: nn.Module, stored: Path | dict[str, Tensor]) -> nn.Module:
    """Put what was stored into a model of the same kind; in evaluation mode.

    Args:
        model: its weights are replaced.
        stored: a file of :func:`store`, or its tensors by name.

    Raises:
        ValueError: if a tensor is missing or left over.
    """
    state = load_file(stored) if isinstance(stored, Path) else stored
    if odd := set(state) ^ set(trained_tensors(model)):
        raise ValueError(f"the stored tensors do not fit the model: {sorted(odd)}")
    # A matrix in two places is stored once, under its first name.
    model.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)
    return model.eval()
