"""Recall of one far token: RNN, LSTM and attention at equal parameters and equal steps.

Three settings of the task of `bertbook.attention.recall`:

- ``mixed``: one item; every batch has its own distance in 1..512, short ones as often as long;
- ``only-D``: one item; every batch has the same distance D, so nothing short can be learned first;
- ``items``: eight items, and the question says which one is meant; distances as in ``mixed``.

Each variant's learning rate, and the start of its recurrent weights, come from a small grid with a
seed of its own, run before the three seeds that count.
"""

import time
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
from bertbook.shared.results import RESULTS, Results, experiment_arguments
from bertbook.shared.training import count_parameters, train, write_atomically

SEEDS = [0, 1, 2]
GRID_SEED = 10
BATCH = 32
LEARNING_RATES = [1e-3, 3e-3, 1e-2]
EVALUATED = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
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


def fit(
    setting: Setting,
    name: str,
    start: str | None,
    rate: float,
    seed: int,
    label: str | None,
):
    """Train one model. Returns it, its losses, and the wall time of the training in seconds."""
    model = make_model(name, start, seed, setting.items)
    began = time.perf_counter()
    losses = train(
        model,
        lambda step: setting.batch(seed, step),
        lambda model, batch: nn.functional.cross_entropy(
            model(batch.tokens), batch.answers
        ),
        steps=setting.steps,
        learning_rate=rate,
        clip_norm=1.0,
        progress=label,
    )
    return model.eval(), losses, time.perf_counter() - began


@torch.no_grad()
def held_out_loss(model: nn.Module, setting: Setting, seed: int) -> float:
    """Mean cross-entropy of 20 batches that the training has not drawn."""
    batches = [setting.batch(seed + 500, step) for step in range(20)]
    losses = [
        nn.functional.cross_entropy(model(b.tokens), b.answers).item() for b in batches
    ]
    return sum(losses) / len(losses)


def accuracies(
    model: nn.Module, setting: Setting, distances: list[int]
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


def round_to_half(model: nn.Module) -> None:
    """Round the weights as the saved file does, so that what is measured is what is saved."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())


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
        name.removeprefix(prefix): weight.float()
        for name, weight in load_file(weights).items()
        if name.startswith(prefix)
    }
    model.load_state_dict(state)
    return model.eval()


def search(
    results: Results, key: str, variant: str, setting: Setting, rates: list[float]
):
    """Run the grid of a variant and return the start and the learning rate with the least loss."""
    name, starts = VARIANTS[variant]
    prefix = f"grid/{key}/{variant}/"
    for start in starts:
        for rate in rates:
            run = f"{prefix}{start}/{rate}"
            if results.has(run, GRID_SEED):
                continue
            model, _, seconds = fit(setting, name, start, rate, GRID_SEED, run)
            metrics = {"start": start, "rate": rate}
            metrics["loss"] = round(held_out_loss(model, setting, GRID_SEED), 4)
            results.add(
                run,
                GRID_SEED,
                parameters=count_parameters(model),
                wall_time_s=seconds,
                metrics=metrics,
            )
    grid = [run["metrics"] for run in results.runs if run["variant"].startswith(prefix)]
    best = min(grid, key=lambda metrics: metrics["loss"])
    return best["start"], best["rate"]


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment; see ``--help``."""
    options = experiment_arguments(__doc__.partition("\n")[0], arguments)
    torch.set_num_threads(1)
    settings = SMOKE if options.smoke else SETTINGS
    seeds = SEEDS[:1] if options.smoke else SEEDS
    rates = LEARNING_RATES[:1] if options.smoke else LEARNING_RATES
    distances = EVALUATED[:3] if options.smoke else EVALUATED
    config = {
        "settings": {key: vars(final) for key, (final, _) in settings.items()},
        "grid": {key: vars(small) for key, (_, small) in settings.items()},
        "grid_seed": GRID_SEED,
        "learning_rates": rates,
        "starts": {variant: starts for variant, (_, starts) in VARIANTS.items()},
        "batch": BATCH,
        "clip_norm": 1.0,
        "optimizer": "Adam",
        "evaluated": distances,
        "sequences": 512,
    }
    results = Results(
        "recall", config, seeds, folder=options.folder, resume=options.resume
    )
    folder = RESULTS.parent / "weights" if options.folder == RESULTS else options.folder
    path = folder / "recall.safetensors"
    weights = load_file(path) if options.resume and path.exists() else {}
    for key, (final, small) in settings.items():
        # The settings with a fixed distance share one grid.
        grid = "only" if final.distance else key
        for variant, (name, _) in VARIANTS.items():
            start, rate = search(results, grid, variant, small, rates)
            for seed in seeds:
                run = f"{key}/{variant}"
                if results.has(run, seed):
                    continue
                model, losses, seconds = fit(
                    final, name, start, rate, seed, f"{run} {seed}"
                )
                round_to_half(model)
                state = model.state_dict()
                weights |= {f"{run}/{seed}/{k}": w.half() for k, w in state.items()}
                write_atomically(path, partial(save_file, weights))
                metrics = {
                    "start": start,
                    "rate": rate,
                    "steps_to_learn": steps_to_learn(losses),
                }
                metrics["accuracy"] = accuracies(model, final, distances)
                results.add(
                    run,
                    seed,
                    parameters=count_parameters(model),
                    wall_time_s=seconds,
                    metrics=metrics,
                )


if __name__ == "__main__":
    main()
