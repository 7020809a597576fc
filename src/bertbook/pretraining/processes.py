"""Several processes of one training: whether they have found one another."""

import os

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

__all__ = ["join_processes"]


def join_processes() -> PartialState:
    """Join the processes that a launcher started, on plain processors if there is nothing faster.

    `accelerate launch --multi_gpu` and `torchrun` start processes with or without a GPU, but
    `accelerate` lets those without one run side by side, each for itself, unless it is told.

    Returns:
        What `accelerate` knows of them: ``num_processes``, ``process_index`` and so on.

    Raises:
        RuntimeError: if there are more of them than `accelerate` sees; they would overwrite one
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
