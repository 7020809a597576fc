"""Experiments in one process: a smoke run need not import everything and read all texts again."""

import pickle
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import torch

from bertbook.shared.results import Results, read_results


class OneProcess(ThreadPoolExecutor):
    """In the place of ``ProcessPoolExecutor``: one thread after the other, in this process.

    What is given and what comes back is pickled all the same, as between processes. That the runs
    of an experiment do reach other processes is tested in tests/shared/test_experiment.py.
    """

    def __init__(self, workers: int, mp_context):
        super().__init__(1)

    def submit(self, function, /, *given) -> Future:
        job = pickle.dumps((function, given))
        return super().submit(_do, job)


def _do(job: bytes):
    function, given = pickle.loads(job)
    threads = torch.get_num_threads()
    try:
        return pickle.loads(pickle.dumps(function(*given)))
    finally:
        torch.set_num_threads(threads)


def do_what_is_missing(
    module, folder, monkeypatch, before: dict[str, dict]
) -> list[dict]:
    """Resume a smoke run; a third start finds nothing to do.

    Args:
        module: of the experiment.
        folder: an empty one.
        monkeypatch: of the test.
        before: the metrics of runs that are finished already; they must stay as they are.

    Returns:
        The runs that were missing.
    """
    monkeypatch.setattr("bertbook.shared.experiment.ProcessPoolExecutor", OneProcess)
    name = module.EXPERIMENT.name
    results = Results(name, asdict(module.SMOKE), [0], folder=folder)
    for variant, metrics in before.items():
        results.add(variant, 0, parameters=1, wall_time_s=1, metrics=metrics)
    module.main(["--smoke", "--resume", "--folder", str(folder)])
    runs = read_results(name, folder)["runs"]
    assert runs[: len(before)] == results.runs
    written = (folder / f"{name}.json").read_bytes()
    module.main(["--smoke", "--resume", "--folder", str(folder)])
    assert (folder / f"{name}.json").read_bytes() == written
    return runs[len(before) :]
