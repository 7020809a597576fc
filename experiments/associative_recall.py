"""Look up values by keys, and copy a string: attention, LSTM and GRU of several widths.

The tasks are those of ``bertbook.attention.associative_recall``. Every batch has its own number of
pairs (or symbols) in 1..64, small ones as often as large ones, and every model of a seed sees the
same batches. Each variant's learning rate comes from a grid with a seed of its own and half of the
steps. ``long`` gives one LSTM four times the steps, at the rate found for it.
"""

from dataclasses import dataclass

import torch
from torch import nn

from bertbook.attention.associative_recall import (
    LONGEST,
    Asked,
    make_reader,
    right_answers,
    task_batch,
)
from bertbook.attention.recall import random_distance
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.training import train as fit

SEEDS = (0, 1, 2)
GRID_SEED = 10
MODELS = {
    "together": (
        *(f"attention-1x1-{width}" for width in (16, 32, 64, 128)),
        *(
            f"{kind}-{width}"
            for kind in ("lstm", "gru")
            for width in (32, 64, 128, 256)
        ),
    ),
    "apart": ("attention-1x1-64", "attention-2x1-64", "lstm-128", "gru-128"),
    "copy": (
        "attention-2x4-64",
        "attention-2x4-128",
        "lstm-128",
        "gru-128",
    ),
}
LONG = "long/together/lstm-128"


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    models: dict[str, tuple[str, ...]] = section(**MODELS)
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    steps: int = 3000
    grid_steps: int = 1500
    long_steps: int = 12_000
    longest: int = LONGEST
    batch: int = 64
    warmup: int = 100
    clip_norm: float = 1.0
    optimizer: str = "Adam, linear warm-up and decay"
    grid_seed: int = GRID_SEED
    evaluated: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    sequences: int = 512


def grid_runs(config: Config, variant: str) -> dict[str, float]:
    """The trial runs of a variant and their learning rates."""
    return {f"grid/{variant}/{rate}": rate for rate in config.learning_rates}


def train(job: Job) -> Trained:
    """Train one model of a grid, or with the rate that had the least loss there."""
    config = job.config
    kind, variant = "final", job.variant
    if variant.startswith("grid/"):
        kind, variant = "grid", variant.removeprefix("grid/").rpartition("/")[0]
    elif variant.startswith("long/"):
        kind, variant = "long", variant.removeprefix("long/")
    trials = grid_runs(config, variant)
    chosen = job.variant
    if kind != "grid":
        chosen = min(trials, key=lambda run: job.metrics_of(run, GRID_SEED)["loss"])
    steps = {"grid": config.grid_steps, "long": config.long_steps}.get(
        kind, config.steps
    )
    task, name = variant.split("/")
    model = make_reader(name, job.seed)
    losses = fit(
        model,
        lambda step: drawn(config, task, job.seed, step),
        answer_loss,
        steps=steps,
        learning_rate=trials[chosen],
        schedule=lambda step: min((step + 1) / config.warmup, 1 - step / steps),
        clip_norm=config.clip_norm,
    )
    last = losses[-max(1, steps // 15) :]
    metrics = {"rate": trials[chosen], "loss": round(sum(last) / len(last), 4)}
    if kind == "grid":
        return Trained(model.eval(), metrics)
    return Trained(model.half().float().eval(), metrics)  # measured as it is stored


def drawn(config: Config, task: str, seed: int, step: int) -> Asked:
    """The batch of a step: the same for every model with this seed."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + step)
    count = random_distance(config.longest, generator)
    return task_batch(task, config.batch, count, generator)


def answer_loss(model: nn.Module, batch: Asked) -> torch.Tensor:
    """Mean cross-entropy of all answers."""
    scores, _ = model(batch.tokens)
    asked = scores[:, -batch.answers.shape[1] :]  # [B, m, 64]
    return nn.functional.cross_entropy(asked.flatten(0, 1), batch.answers.flatten())


def accuracies(
    config: Config, task: str, model: nn.Module
) -> dict[str, dict[str, float]]:
    """Held-out accuracy by number of pairs or symbols, of each answer and of all in a sequence."""
    each, whole = {}, {}
    for count in config.evaluated:
        generator = torch.Generator().manual_seed(10**9 + count)
        batch = task_batch(task, config.sequences, count, generator)
        right = right_answers(model, batch).float()  # [B, m]
        each[str(count)] = round(right.mean().item(), 4)
        whole[str(count)] = round(right.prod(1).mean().item(), 4)
    return {"accuracy": each, "whole": whole}


def measure(job: Job, model: nn.Module) -> dict:
    """Nothing of a trial; of the others accuracy against number."""
    if job.variant.startswith("grid/"):
        return {}
    return accuracies(
        job.config, job.variant.removeprefix("long/").split("/")[0], model
    )


def describe(run: dict) -> str:
    """Accuracy against number."""
    found = run["metrics"].get("accuracy", {})
    shares = " ".join(f"{count}: {share:.2f}" for count, share in found.items())
    return f"{run['variant']:26} seed {run['seed']}  {shares}" if shares else ""


def plan(config: Config, seeds, results):
    """All grids, then the seeds that count, the slow ones first."""
    variants = [
        f"{task}/{name}" for task, names in config.models.items() for name in names
    ]
    variants.sort(key=lambda variant: -int(variant.rpartition("-")[2]))
    yield [
        (run, GRID_SEED) for variant in variants for run in grid_runs(config, variant)
    ]
    long = [(LONG, seeds[0])] if LONG.removeprefix("long/") in variants else []
    yield long + [(variant, seed) for seed in seeds for variant in variants]


EXPERIMENT = Experiment(
    "associative_recall",
    __doc__,
    Config(),
    Config(
        models={"together": ("attention-1x1-8", "lstm-8"), "copy": ("gru-8",)},
        learning_rates=(1e-3,),
        steps=2,
        grid_steps=2,
        long_steps=2,
        longest=4,
        batch=2,
        evaluated=(1, 2),
        sequences=8,
    ),
    train,
    measure,
    describe,
    plan,
    seeds=SEEDS,
    stored=(
        "together/attention-1x1-64",
        "together/lstm-128",
        "apart/attention-2x1-64",
        "copy/attention-2x4-128",
    ),
    processes=2,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
