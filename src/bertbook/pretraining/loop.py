"""The loop of pre-training: in one process or several, and after a break.

It is for trainings of hours on text that streams. All other models of the book are trained by
:func:`bertbook.shared.training.train`, in one process. Hugging Face's ``accelerate`` handles
processes, devices and bf16; here are the loss, the schedule and the checkpoints.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from tqdm import tqdm

from bertbook.pretraining.data import PairStream, Stage, check_parts, micro_batch
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import MaskingRule, PieceTable
from bertbook.pretraining.optimizer import decay_groups, warmup_and_linear_decay
from bertbook.pretraining.processes import errors_alone, join_processes
from bertbook.pretraining.sentence_pairs import Document
from bertbook.shared.training import seed_everything, write_atomically

__all__ = ["CheckpointError", "PreTraining", "changes", "pretrain", "read_log"]

BERT_RULE = MaskingRule()
CHECKPOINT, UNFINISHED = "checkpoint", "unfinished"
LOG, SETTINGS = "log.jsonl", "settings.json"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read; the message says which and what to do."""


@dataclass(frozen=True)
class PreTraining:
    """All settings of a pre-training, except model and text.

    Args:
        stages: one after the other.
        learning_rate: at the peak.
        warmup: steps up to it; from there it falls linearly to zero.
        weight_decay: of matrices and tables, see :func:`bertbook.pretraining.optimizer.decays`.
        betas: decay rates of Adam's two means.
        clip_norm: gradients with a larger norm are scaled down to it.
        accumulate: into how many parts each process cuts its share of a batch. The gradient is the
            same; it needs less memory.
        rule: how tokens are masked.
        negatives: of next-sentence prediction; ``"none"`` leaves that loss out.
        seed: of text and of dropout; the caller draws the weights.
        checkpoint_every: in steps.

    Raises:
        ValueError: if a number is out of range.

    Source: Devlin et al. 2019, appendix A.2.
    """

    stages: tuple[Stage, ...]
    learning_rate: float = 1e-4
    warmup: int = 0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    accumulate: int = 1
    rule: MaskingRule = BERT_RULE
    negatives: str = "random"
    seed: int = 0
    checkpoint_every: int = 500

    def __post_init__(self):
        if not self.stages:
            raise ValueError("stages must hold at least one stage")
        for name in ("learning_rate", "clip_norm", "accumulate", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        warmup_and_linear_decay(self.warmup, self.steps)

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> Stage:
        """The stage of a step, counted from 0; a ValueError if the step is out of range."""
        rest = step
        for stage in self.stages:
            if 0 <= rest < stage.steps:
                return stage
            rest -= stage.steps
        raise ValueError(f"step must lie in 0..{self.steps - 1}, got {step}")


def pretrain(
    model: BertForPreTraining,
    shards: Callable[[int], Sequence[Document]],
    table: PieceTable,
    settings: PreTraining,
    folder: Path | str,
    *,
    mixed_precision: str = "no",
    progress: str | None = None,
    stop_after: int | None = None,
    after_checkpoint: Callable[[int, Path], None] | None = None,
) -> BertForPreTraining:
    """Train a model on masked pieces and next sentences; continue from the folder's checkpoint.

    Started by ``accelerate launch``, every process calls this and takes its share of each batch;
    the loss and the gradient are those of one process. A resumed training gives the same weights as
    an unbroken one, bit by bit on the same machine. With another number of processes and no
    dropout they agree to rounding error.

    Args:
        model: freshly drawn, the same in every process.
        shards: see :class:`bertbook.pretraining.data.PairStream`.
        table: of the vocabulary.
        settings: all else that the result depends on.
        folder: where checkpoint, log and settings are kept; on several nodes, one that all of them
            see. One line of the log a step: ``step``, ``loss``, ``masked_lm_loss``,
            ``next_sentence_loss``, ``rate``, ``tokens`` (that are not padding) and ``seconds``;
            ``left_out``, where a turn of the text begins that lacks pairs of [UNK] alone: how many.
        mixed_precision: ``"no"`` or ``"bf16"``.
        progress: label of a progress bar; ``None`` shows none.
        stop_after: steps after which it stops with a checkpoint; ``None``: all.
        after_checkpoint: ``after_checkpoint(step, checkpoint)`` is called by the main process with
            the checkpoint's folder, for instance to keep its ``model.safetensors``.

    Returns:
        The trained model, in evaluation mode.

    Raises:
        ValueError: if the folder holds a training with other settings, or a batch is smaller than
            the number of its parts.
        CheckpointError: if the folder's checkpoint is broken.
        FloatingPointError: if a loss is not finite.
    """
    folder = Path(folder)
    nsp = settings.negatives != "none"
    join_processes()
    accelerator = Accelerator(
        mixed_precision=mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=not nsp)],
    )
    for stage in settings.stages:
        check_parts(
            stage.batch_size, 0, accelerator.num_processes * settings.accumulate
        )
    _keep_settings(folder, settings, model, write=accelerator.is_main_process)
    accelerator.wait_for_everyone()
    more = {"negatives": settings.negatives, "seed": settings.seed}
    stream = PairStream(shards, table, settings.rule, **more)
    seed_everything(settings.seed)
    torch.manual_seed(settings.seed + 1_000_003 * accelerator.process_index)
    optimizer = torch.optim.AdamW(
        decay_groups(model),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    accelerator.register_for_checkpointing(stream)
    done = _load_checkpoint(accelerator, folder)
    if accelerator.is_main_process:
        for left in folder.glob(f"{UNFINISHED}-*"):
            shutil.rmtree(left)
        _cut_log(folder / LOG, done)
    factor = warmup_and_linear_decay(settings.warmup, settings.steps)
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    bar = tqdm(
        total=settings.steps,
        initial=done,
        desc=progress,
        disable=progress is None or not accelerator.is_main_process,
        mininterval=5,
    )
    with bar:
        for step in range(done, last):
            started = time.perf_counter()
            rate = settings.learning_rate * factor(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = stream.batch(settings.stage_of(step), step)
            losses = _step(accelerator, model, optimizer, batch, settings)
            bar.update()
            if accelerator.is_main_process:
                line = {
                    "step": step + 1,
                    **losses,
                    "rate": rate,
                    "tokens": int(batch["attention_mask"].sum()),
                    **({"left_out": stream.left_out} if stream.left_out else {}),
                    "seconds": round(time.perf_counter() - started, 4),
                }
                with (folder / LOG).open("a") as log:
                    log.write(json.dumps(line) + "\n")
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == last:
                _save_checkpoint(accelerator, folder, step + 1)
                if after_checkpoint is not None and accelerator.is_main_process:
                    after_checkpoint(step + 1, folder / f"{CHECKPOINT}-{step + 1}")
    accelerator.wait_for_everyone()
    plain = {"keep_fp32_wrapper": False, "keep_torch_compile": False}
    trained = accelerator.unwrap_model(model, **plain).eval()
    accelerator.free_memory()
    return trained


def changes(kept: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Compare the settings of a training with those given now: a line for each difference."""
    return [
        f"{name}: {kept.get(name, 'nothing')} there, {given.get(name, 'nothing')} now"
        for name in {**kept, **given}
        if kept.get(name) != given.get(name)
    ]


def read_log(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of a training's log, in order; an incomplete last one is left out.

    Args:
        folder: of the training.

    Raises:
        FileNotFoundError: if it has none.
    """
    text = (Path(folder) / LOG).read_text()
    return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]


def _step(accelerator, model, optimizer, batch, settings) -> dict[str, float]:
    """One step of the optimizer; the batch's losses."""
    processes, own = accelerator.num_processes, accelerator.process_index
    parts = processes * settings.accumulate
    nsp = settings.negatives != "none"
    sums = torch.zeros(2, device=accelerator.device)
    for number in range(settings.accumulate):
        rows, of_pieces, of_pairs = micro_batch(batch, own + number * processes, parts)
        rows = {name: tensor.to(accelerator.device) for name, tensor in rows.items()}
        if not nsp:
            rows["next_sentence_label"] = None
        wait = number + 1 < settings.accumulate
        with accelerator.no_sync(model) if wait else contextlib.nullcontext():
            out = model(**rows)
            loss = of_pieces * out.masked_lm_loss
            sums[0] += loss.detach()
            if nsp:
                loss = loss + of_pairs * out.next_sentence_loss
                sums[1] += of_pairs * out.next_sentence_loss.detach()
            # Gradients are averaged over the processes; their sum is wanted.
            accelerator.backward(loss * processes)
    accelerator.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    pieces, pairs = accelerator.reduce(sums, "sum").tolist()
    if not abs(pieces + pairs) < float("inf"):
        raise FloatingPointError(f"the losses are {pieces} and {pairs}")
    return {
        "loss": round(pieces + pairs, 5),
        "masked_lm_loss": round(pieces, 5),
        "next_sentence_loss": round(pairs, 5) if nsp else None,
    }


def _keep_settings(folder: Path, settings: PreTraining, model, write: bool) -> None:
    """Compare with what the folder's training was begun with; every process does."""
    given = json.loads(
        json.dumps({"settings": asdict(settings), "model": asdict(model.config)})
    )
    path = folder / SETTINGS
    if path.exists() and _checkpoints(folder):
        kept = json.loads(path.read_text())
        # These two may change during a training: the result does not depend on them.
        for name in ("checkpoint_every", "accumulate"):
            kept["settings"][name] = given["settings"][name]
        changed = [
            change for part in given for change in changes(kept[part], given[part])
        ]
        if changed:
            raise ValueError(
                f"{folder.name} holds a training with other settings ({'; '.join(changed)}); "
                "choose another folder"
            )
    if write:
        text = json.dumps(given, indent=1)
        write_atomically(path, lambda temporary: temporary.write_text(text))


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Complete checkpoints by step; incomplete ones have another name."""
    return {
        int(path.name.split("-")[1]): path
        for path in folder.glob(f"{CHECKPOINT}-*")
        if path.name.split("-")[1].isdigit()
    }


def _save_checkpoint(accelerator: Accelerator, folder: Path, step: int) -> None:
    """Write a folder under another name, then rename it; only then delete the one before."""
    unfinished = folder / f"{UNFINISHED}-{step}"
    accelerator.wait_for_everyone()
    # accelerate would warn each time that decoder and word embeddings share a matrix.
    with errors_alone("accelerate.utils.other"):
        accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    for path in [*unfinished.iterdir(), unfinished, folder / LOG]:
        _reach_the_disk(path)
    older = _checkpoints(folder)
    older.pop(step, None)
    unfinished.rename(folder / f"{CHECKPOINT}-{step}")
    _reach_the_disk(folder)
    for path in older.values():
        shutil.rmtree(path)


def _reach_the_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _load_checkpoint(accelerator: Accelerator, folder: Path) -> int:
    """Load the last complete checkpoint and return its step; 0 if there is none."""
    found = _checkpoints(folder)
    if not found:
        return 0
    step = max(found)
    try:
        accelerator.load_state(str(found[step]))
    except Exception as error:  # of safetensors, pickle, zip, the disk
        raise CheckpointError(
            f"{found[step]} cannot be read ({type(error).__name__}: {error}). Delete it: training "
            "then goes on from an older checkpoint, if there is one, else from the start"
        ) from error
    return step


def _cut_log(path: Path, steps: int) -> None:
    """Remove what was logged after the checkpoint, also an incomplete last line."""
    lines = path.read_text().splitlines() if path.exists() else []
    text = "".join(line + "\n" for line in lines[:steps])
    write_atomically(path, lambda temporary: temporary.write_text(text))
