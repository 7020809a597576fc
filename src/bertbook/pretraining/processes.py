"""Several processes of one training: whether all have joined, and what they print."""

import contextlib
import logging
import os
from collections.abc import Iterator

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

__all__ = ["errors_alone", "join_processes", "launched_alone"]


@contextlib.contextmanager
def errors_alone(name: str) -> Iterator[None]:
    """Let a library's logger print errors only, as long as the block runs."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def join_processes() -> PartialState:
    """Join the processes that a launcher started, on plain processors if there is nothing faster.

    ``accelerate launch --multi_gpu`` and ``torchrun`` start processes with or without a GPU.
    Without one, ``accelerate`` joins them only if it is told to use plain processors, as here.

    Returns:
        What ``accelerate`` knows of them: ``num_processes``, ``process_index`` and so on.

    Raises:
        RuntimeError: if more were started than ``accelerate`` sees; they would overwrite each
            other's checkpoints.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    state = PartialState(cpu=started > 1 and not torch.accelerator.is_available())
    if state.num_processes != started:
        raise RuntimeError(
            f"the launcher started {started} processes, but accelerate sees {state.num_processes}"
        )
    AcceleratorState._reset_state()  # the next training may choose other arithmetic
    return state


def launched_alone() -> bool:
    """Whether ``accelerate launch`` was asked for several processes and started this one only.

    That is what accelerate 1.x does without ``--multi_gpu`` on a machine without a GPU, also with
    ``--cpu --num_processes 2``: it names an address to meet at, but no number of processes.
    """
    sizes = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
    launched = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys()
    return launched and not any(name in os.environ for name in sizes)
