"""Several processes of one training: whether they have found one another, and what they say."""

import contextlib
import logging
import os
from collections.abc import Iterator

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

__all__ = ["errors_alone", "join_processes"]


@contextlib.contextmanager
def errors_alone(name: str) -> Iterator[None]:
    """Let a library's logger pass errors alone for a while; then its level is what it was."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def join_processes() -> PartialState:
    """Join the processes that a launcher started, on plain processors if there is nothing faster.

    ``accelerate launch --multi_gpu`` and ``torchrun`` start processes with or without a GPU, but
    ``accelerate`` lets those without one run side by side, each for itself, unless it is told.

    Returns:
        What ``accelerate`` knows of them: ``num_processes``, ``process_index`` and so on.

    Raises:
        RuntimeError: if there are more of them than ``accelerate`` sees; they would overwrite one
            another's checkpoints.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    state = PartialState(cpu=started > 1 and not torch.accelerator.is_available())
    if state.num_processes != started:
        raise RuntimeError(
            f"the launcher started {started} processes, but accelerate sees {state.num_processes}"
        )
    AcceleratorState._reset_state()  # the next training may choose other arithmetic
    return state
