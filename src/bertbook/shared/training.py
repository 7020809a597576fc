"""The training loop that chapters and experiments call, and what belongs to it.

:func:`train` is for models whose examples fit into memory and whose training one process does: all
of the book's but the pre-training from a stream of text, which has a loop of its own,
:func:`bertbook.pretraining.loop.pretrain`. The record of an experiment is in
``bertbook.shared.results``.
"""

import math
import os
import platform
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

__all__ = [
    "count_parameters",
    "has_bf16",
    "lstm_precision",
    "minibatches",
    "seed_everything",
    "train",
    "trained_tensors",
    "write_atomically",
]


def lstm_precision() -> torch.autocast:
    """Around an ``nn.LSTM`` that may run under bfloat16 autocast: float32 where it must be.

    PyTorch's bfloat16 LSTM on a processor comes from oneDNN, which needs AVX-512 on x86; without it
    the call ends in "could not create a primitive descriptor". There autocast is switched off for
    what stands inside; everywhere else it stays as it is.
    """
    able = (
        not torch.backends.mkldnn.is_available()
        or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and able)


def train(
    model: nn.Module,
    batches: Callable[[int], Any],
    loss_function: Callable[[nn.Module, Any], Tensor],
    *,
    steps: int,
    learning_rate: float,
    schedule: Callable[[int], float] | None = None,
    weight_decay: float = 0.0,
    decays: Callable[[str, nn.Parameter], bool] | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    clip_norm: float | None = 1.0,
    seed: int | None = None,
    after_step: Callable[[int, float], None] | None = None,
    progress: str | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 500,
) -> list[float]:
    """Train a model with AdamW: draw a batch, take the loss, clip the gradients, step.

    Steps count from 0. With weight decay 0 AdamW is Adam. The model is put into training mode and
    is left in it; the caller says ``model.eval()`` before measuring.

    Args:
        model: what is trained: its parameters that require a gradient.
        batches: ``batches(step)`` returns the batch of a step, of any type; it depends on the step
            alone (see :func:`minibatches`) or draws from the global random states.
        loss_function: ``loss_function(model, batch)`` returns a scalar.
        steps: how many steps in all, those before an interruption included.
        learning_rate: of a step for which the schedule says 1.
        schedule: ``schedule(step)`` is the factor on the learning rate; ``None``: always 1.
        weight_decay: decoupled from the gradient.
        decays: ``decays(name, parameter)`` says whether weight decay is for a parameter; ``None``:
            it is for all.
        betas: decay rates of Adam's two means.
        clip_norm: gradients with a larger norm are scaled down to it; ``None``: never.
        seed: set before the first step (dropout, batches); ``None`` leaves the random states alone.
        after_step: ``after_step(step, loss)`` is called after each step, to measure as it trains;
            before the checkpoint, so that no step of a resumed training goes without it.
        progress: label of a progress bar; ``None`` shows none.
        checkpoint: file from which training goes on if it exists, and to which the state is written
            every ``checkpoint_every`` steps and at the end: model, optimizer, random states,
            losses. An interrupted and resumed training ends exactly where an unbroken one does.
        checkpoint_every: in steps.

    Returns:
        The loss of every step, from the first on.

    Raises:
        ValueError: if a number is out of range, nothing is trainable, the loss is not a scalar, or
            the checkpoint is of a training with other settings.
        FloatingPointError: if a loss is not finite.

    Source: Loshchilov & Hutter 2019 (AdamW); Pascanu et al. 2013 (clipping by norm).
    """
    _check_positive(
        steps=steps, learning_rate=learning_rate, checkpoint_every=checkpoint_every
    )
    if clip_norm is not None:
        _check_positive(clip_norm=clip_norm)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError("the model has no parameter that requires a gradient")
    parameters = list(named.values())
    spared = [n for n, p in named.items() if decays is not None and not decays(n, p)]
    groups = [{"params": [p for n, p in named.items() if n not in spared]}]
    if spared:
        groups.append({"params": [named[n] for n in spared], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(
        groups, lr=learning_rate, betas=betas, weight_decay=weight_decay
    )
    settings = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "betas": list(betas),
        "clip_norm": clip_norm,
        "seed": seed,
    }
    if spared:
        settings["without_decay"] = spared
    losses: list[float] = []
    if seed is not None:
        seed_everything(seed)
    if checkpoint is not None and Path(checkpoint).exists():
        losses = _load_checkpoint(Path(checkpoint), model, optimizer, settings)

    model.train()
    bar = tqdm(
        total=steps, initial=len(losses), desc=progress, disable=progress is None
    )
    with bar:
        for step in range(len(losses), steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (schedule(step) if schedule else 1.0)
            loss = loss_function(model, batches(step))
            if loss.dim() != 0:
                raise ValueError(
                    f"the loss must be a scalar, got shape {list(loss.shape)}"
                )
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss of step {step} is {losses[-1]}")
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                clip_grad_norm_(parameters, clip_norm)
            optimizer.step()
            bar.update()
            if after_step is not None:
                after_step(step, losses[-1])
                model.train()
            if checkpoint is not None and (step + 1) % checkpoint_every == 0:
                _save_checkpoint(Path(checkpoint), model, optimizer, settings, losses)
    if checkpoint is not None:
        _save_checkpoint(Path(checkpoint), model, optimizer, settings, losses)
    return losses


def minibatches(count: int, batch_size: int, seed: int = 0) -> Callable[[int], Tensor]:
    """Which examples each step sees: every epoch a new random order of all of them.

    Args:
        count: number of examples.
        batch_size: examples a step; an epoch's remainder of fewer is left out.
        seed: of the orders; the global random state is not touched.

    Returns:
        A function from the step to its example numbers, ``[batch_size]``, a pure one: training
        that is resumed at any step sees the same batches.

    Raises:
        ValueError: if ``batch_size`` is not in 1..``count``.
    """
    if not 1 <= batch_size <= count:
        raise ValueError(f"batch_size must lie in 1..{count}, got {batch_size}")
    per_epoch = count // batch_size
    orders: dict[int, Tensor] = {}

    def numbers(step: int) -> Tensor:
        epoch, place = divmod(step, per_epoch)
        if epoch not in orders:
            orders.clear()
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            orders[epoch] = torch.randperm(count, generator=generator)
        return orders[epoch][place * batch_size : (place + 1) * batch_size]

    return numbers


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """How many numbers a model has; a parameter used in two places counts once."""
    return sum(
        p.numel() for p in model.parameters() if p.requires_grad or not trainable_only
    )


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name that are trained, in half precision: what is to be stored.

    A parameter used in two places is there once, under its first name.
    """
    named = model.named_parameters()
    return {n: p.detach().half() for n, p in named if p.requires_grad}


def seed_everything(seed: int) -> None:
    """Seed the global random states of Python, NumPy and PyTorch.

    Args:
        seed: 0 or more.

    Raises:
        ValueError: if the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def write_atomically(path: Path | str, write: Callable[[Path], None]) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one, whole.

    Args:
        path: the file; its folder is made if it is missing.
        write: writes the content to the path it is given, a temporary one in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp's file is readable by its owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")


def _random_states() -> dict[str, Any]:
    version_, numbers, gauss = random.getstate()
    _, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "python": [version_, list(numbers), gauss],
        "numpy": [keys.tolist(), *rest],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    version_, numbers, gauss = states["python"]
    keys, *rest = states["numpy"]
    torch.set_rng_state(states["torch"])
    random.setstate((version_, tuple(numbers), gauss))
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *rest))


def _save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    losses: list[float],
) -> None:
    state = {
        "settings": settings,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": _random_states(),
        "losses": losses,
    }
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def _load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
) -> list[float]:
    state = torch.load(path, weights_only=True)
    if state["settings"] != settings:
        raise ValueError(
            f"checkpoint {path.name} was made with {state['settings']}, not with {settings}"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    _set_random_states(state["random"])
    return state["losses"]


def has_bf16() -> bool:
    """Whether this machine computes in bfloat16 itself, where that is the faster way.

    Processors without it imitate it through float32, which gains nothing.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine().lower() in ("arm64", "aarch64"):
        flags = Path("/proc/cpuinfo")
        return flags.exists() and " bf16" in flags.read_text()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
