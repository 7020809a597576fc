"""Experiments in one process: a smoke run need not import everything and read all texts again."""

import pickle
from concurrent.futures import Future, ThreadPoolExecutor

import torch


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
