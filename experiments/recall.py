"""Recall of one far token: RNN, LSTM and attention at equal parameters and equal steps.

Three settings of the task of ``bertbook.attention.recall``:

- ``mixed``: one item; every batch has its own distance in 1..512, short ones as often as long;
- ``only-D``: one item; every batch has the same distance D, so nothing short can be learned first;
- ``items``: eight items, and the question says which one is meant; distances as in ``mixed``.

Each variant's learning rate, and the start of its recurrent weights, come from a small grid with a
seed of its own, run before the three seeds that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bertbook.attention.recall import (
    RecallBatch,
    make_model,
    random_distance,
    recall_accuracy,
    recall_batch,
)
from bertbook.shared.experiment import Experiment, Job, Trained, load_stored, section
from bertbook.shared.training import train as fit
from bertbook.shared.training import write_atomically

SEEDS = (0, 1, 2)
GRID_SEED = 10
BATCH = 32
# What is compared: the model, and the starts that its grid may choose from.
VARIANTS = {
    "rnn": ("rnn", ["default", "orthogonal"]),
    "lstm": ("lstm", ["0", "1"]),
    "lstm-chrono": ("lstm", ["chrono"]),
    "attention": ("attention", [None]),
}


@dataclass(frozen=True)
class Setting:
    """A way to train: ``distance`` fixes the distance, otherwise it is drawn up to ``longest``."""

    steps: int
    longest: int = 512
    distance: int | None = None
    items: int = 1
    prefix: int = 8

    def batch(self, seed: int, step: int) -> RecallBatch:
        """The batch of a step: the same for every variant with this seed."""
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        distance = self.distance or random_distance(self.longest, generator)
        return recall_batch(
            BATCH, distance, generator, items=self.items, prefix=self.prefix
        )


# Per setting: how it is trained, and how in the grid (cheaper where that is fair).
SETTINGS = {
    "mixed": (Setting(800), Setting(800)),
    "only-8": (Setting(450, distance=8), Setting(450, distance=16)),
    "only-16": (Setting(450, distance=16), Setting(450, distance=16)),
    "only-32": (Setting(450, distance=32), Setting(450, distance=16)),
    "only-128": (Setting(450, distance=128), Setting(450, distance=16)),
    "only-512": (Setting(450, distance=512), Setting(450, distance=16)),
    "items": (
        Setting(1200, items=8, prefix=16),
        Setting(600, longest=128, items=8, prefix=16),
    ),
}
SMOKE = {
    "mixed": (Setting(2, longest=8), Setting(2, longest=8)),
    "only-32": (Setting(2, distance=6), Setting(2, distance=4)),
    "items": (Setting(2, longest=8, items=8), Setting(2, longest=8, items=8)),
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    settings: dict[str, Setting]
    grid: dict[str, Setting]
    grid_seed: int = GRID_SEED
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    starts: dict[str, list] = section(
        **{v: starts for v, (_, starts) in VARIANTS.items()}
    )
    batch: int = BATCH
    clip_norm: float = 1.0
    optimizer: str = "Adam"
    evaluated: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    sequences: int = 512

    @classmethod
    def of(cls, settings: Mapping[str, tuple[Setting, Setting]], **choices) -> "Config":
        """From pairs of settings: for the run and for its grid."""
        final, small = ({k: pair[n] for k, pair in settings.items()} for n in (0, 1))
        return cls(final, small, **choices)


def grid_runs(config: Config, key: str, variant: str) -> dict[str, tuple]:
    """The trial runs of a variant, with start and rate; fixed distances share one grid."""
    grid = "only" if config.settings[key].distance else key
    return {
        f"grid/{grid}/{variant}/{start}/{rate}": (start, rate)
        for start in VARIANTS[variant][1]
        for rate in config.learning_rates
    }


def place(config: Config, run: str) -> tuple[str, str]:
    """The setting and the variant of a run; of a grid the first setting that it serves."""
    key, variant = run.removeprefix("grid/").split("/")[:2]
    if key == "only":
        key = next(k for k, setting in config.settings.items() if setting.distance)
    return key, variant


def train(job: Job) -> Trained:
    """Train one model of a grid, or with the start and the rate that had the least loss there."""
    config, (key, variant) = job.config, place(job.config, job.variant)
    trials = grid_runs(config, key, variant)
    is_trial = job.variant in trials
    if is_trial:
        setting, chosen = config.grid[key], job.variant
    else:
        setting = config.settings[key]
        chosen = min(trials, key=lambda run: job.metrics_of(run, GRID_SEED)["loss"])
    start, rate = trials[chosen]
    model = make_model(VARIANTS[variant][0], start, job.seed, setting.items)
    losses = fit(
        model,
        lambda step: setting.batch(job.seed, step),
        lambda model, batch: nn.functional.cross_entropy(
            model(batch.tokens), batch.answers
        ),
        steps=setting.steps,
        learning_rate=rate,
        clip_norm=config.clip_norm,
        progress=f"{job.variant} {job.seed}",
    )
    found = {"start": start, "rate": rate}
    if is_trial:
        return Trained(model.eval(), found)
    found["steps_to_learn"] = steps_to_learn(losses)
    return Trained(model.half().float().eval(), found)  # measured as it is stored


@torch.no_grad()
def held_out_loss(model: nn.Module, setting: Setting, seed: int) -> float:
    """Mean cross-entropy of 20 batches that the training has not drawn."""
    batches = [setting.batch(seed + 500, step) for step in range(20)]
    losses = [
        nn.functional.cross_entropy(model(b.tokens), b.answers).item() for b in batches
    ]
    return sum(losses) / len(losses)


def accuracies(
    model: nn.Module, setting: Setting, distances: Sequence[int]
) -> dict[str, float]:
    """Held-out accuracy at each distance, on the same sequences for every model."""
    result = {}
    for distance in distances:
        generator = torch.Generator().manual_seed(10**9 + distance)
        accuracy = recall_accuracy(
            model, distance, generator, items=setting.items, prefix=setting.prefix
        )
        result[str(distance)] = round(accuracy, 4)
    return result


def steps_to_learn(
    losses: list[float], window: int = 25, below: float = 0.2
) -> int | None:
    """The first step by which the mean loss of a window of steps is low; None if never."""
    means = torch.tensor(losses).unfold(0, min(window, len(losses)), 1).mean(-1)
    low = (means < below).nonzero()
    return int(low[0]) + window if len(low) else None


def load_model(
    setting: str, variant: str, seed: int, record: dict, weights: Path
) -> nn.Module:
    """A trained model of the experiment, from the file of its weights."""
    key = f"{setting}/{variant}"
    (run,) = [r for r in record["runs"] if r["variant"] == key and r["seed"] == seed]
    items = record["config"]["settings"][setting]["items"]
    model = make_model(VARIANTS[variant][0], run["metrics"]["start"], seed, items)
    prefix = f"{key}/{seed}/"
    state = {
        name.removeprefix(prefix): weight
        for name, weight in load_file(weights).items()
        if name.startswith(prefix)
    }
    return load_stored(model, state)


def measure(job: Job, model: nn.Module) -> dict:
    """Loss of a trial; of the others accuracy at each distance, and they are stored."""
    config, (key, _) = job.config, place(job.config, job.variant)
    if job.seed == GRID_SEED:
        return {"loss": round(held_out_loss(model, config.grid[key], GRID_SEED), 4)}
    path, weights = job.weights / "recall.safetensors", {}
    finished = tuple(f"{run['variant']}/{run['seed']}/" for run in job.done)
    if path.exists() and finished:
        weights = {k: w for k, w in load_file(path).items() if k.startswith(finished)}
    run = f"{job.variant}/{job.seed}"
    weights |= {f"{run}/{k}": w.half() for k, w in model.state_dict().items()}
    write_atomically(path, partial(save_file, weights))
    return {"accuracy": accuracies(model, config.settings[key], config.evaluated)}


def describe(run: dict) -> str:
    """Accuracy at the distances."""
    found = run["metrics"].get("accuracy", {})
    shares = " ".join(f"{distance}: {share:.2f}" for distance, share in found.items())
    return f"{run['variant']:22} seed {run['seed']}  {shares}" if shares else ""


def plan(config: Config, seeds, results):
    """For each setting and variant its grid, then the seeds that count."""
    for key in config.settings:
        for variant in VARIANTS:
            yield [(run, GRID_SEED) for run in grid_runs(config, key, variant)]
            yield [(f"{key}/{variant}", seed) for seed in seeds]


EXPERIMENT = Experiment(
    "recall",
    __doc__,
    Config.of(SETTINGS),
    Config.of(SMOKE, learning_rates=(1e-3,), evaluated=(1, 2, 4)),
    train,
    measure,
    describe,
    plan,
    seeds=SEEDS,
    threads=1,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
