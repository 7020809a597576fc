"""One thing changed at a time: the Transformer's choices switched off, on dates.

The task is to write English dates in Chinese: one or two dates in mixed formats, from a fixed
training set small enough that regularising could matter. Every variant differs from the base
in what its entry says and in nothing else: same lists, order of the lists, steps and rate. It is
measured on lists of days that training never saw: as long as in training, longer (three or four
dates), and in formats that training never saw; and on lists of the training set, to see what was
learnt by heart. What is measured is the mean of the last snapshots, as in the paper, rounded to
half precision.

How the variants compare with the paper's Table 3 is decided by the rule in
`bertbook.studies.transformer_ablation`.

    python experiments/transformer_ablation.py [--smoke] [--resume]
"""

import random
import time
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertbook.corpora.dates import (
    HELD_OUT_FORMATS,
    TRAIN_FORMATS,
    date_pairs,
    date_splits,
    in_chinese,
    in_english,
)
from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.results import (
    Results,
    experiment_arguments,
    means,
    run_in_processes,
)
from bertbook.shared.symbols import (
    PAD,
    CharacterVocabulary,
    exact_match,
    pad_sequences,
)
from bertbook.shared.training import (
    count_parameters,
    seed_everything,
    train,
    write_atomically,
)
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.encoder import TransformerConfig
from bertbook.transformer.generation import greedy
from bertbook.transformer.translation import (
    batches_by_length,
    inverse_square_root,
    label_smoothed_loss,
    translation_loss,
)

NAME = "transformer_ablation"
CONFIG = {
    "task": "lists of dates, English to Chinese, by characters",
    # Which lists: how many, of how many dates, seed of the draw.
    "lists": {
        "train": [1000, [1, 2], 1],
        "test": [500, [1, 2], 12],
        "longer": [200, [3, 4], 13],
        "formats": [300, [1, 2], 14],
    },
    "train_lists_measured": 300,
    "base": {
        "d_model": 64,
        "num_heads": 4,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "d_ff": 256,
        "d_k": None,
        "dropout": 0.1,
        "norm_first": False,
        "residual": True,
        "positions": "sinusoid",
        "max_length": 192,
    },
    "training": {
        "steps": 1600,
        "tokens_per_batch": 350,
        "rate": 0.004,
        "warmup": 200,
        "from_zero": True,
        "smoothing": 0.1,
        "betas": [0.9, 0.98],
        "clip_norm": None,
    },
    "snapshots": 5,
    "snapshot_every": 20,
    "loss_every": 50,
    # What each variant changes, of the model or of its training.
    "variants": {
        "base": {},
        "heads 1": {"num_heads": 1},
        "heads 2": {"num_heads": 2},
        "heads 8": {"num_heads": 8},
        "d_k 4": {"d_k": 4},
        "d_k 8": {"d_k": 8},
        "layers 1": {"num_encoder_layers": 1, "num_decoder_layers": 1},
        "layers 3": {"num_encoder_layers": 3, "num_decoder_layers": 3},
        "d_model 32": {"d_model": 32},
        "d_model 128": {"d_model": 128},
        "d_ff 128": {"d_ff": 128},
        "d_ff 512": {"d_ff": 512},
        "dropout 0": {"dropout": 0.0},
        "dropout 0.2": {"dropout": 0.2},
        "smoothing 0": {"smoothing": 0.0},
        "smoothing 0.2": {"smoothing": 0.2},
        "positions learned": {"positions": "learned"},
        "positions none": {"positions": "none"},
        "no residuals": {"residual": False},
        "no residuals, quarter rate": {"residual": False, "rate": 0.001},
        "post-LN, no warm-up": {"from_zero": False},
        "pre-LN": {"norm_first": True},
        "pre-LN, no warm-up": {"norm_first": True, "from_zero": False},
        "post-LN, triple rate": {"rate": 0.012},
        "post-LN, no warm-up, triple rate": {"from_zero": False, "rate": 0.012},
        "pre-LN, triple rate": {"norm_first": True, "rate": 0.012},
        "pre-LN, no warm-up, triple rate": {
            "norm_first": True,
            "from_zero": False,
            "rate": 0.012,
        },
    },
}
SEEDS = [0, 1, 2]
SMOKE = {
    **CONFIG,
    "lists": {name: [4, [1], seed] for name, (*_, seed) in CONFIG["lists"].items()},
    "train_lists_measured": 4,
    "training": {**CONFIG["training"], "steps": 2},
    "snapshots": 2,
    "snapshot_every": 1,
    "loss_every": 1,
}


@cache
def vocabulary() -> CharacterVocabulary:
    """One vocabulary for both languages: all characters that a year of dates needs."""
    days = [date(2026, 1, 1) + timedelta(days=5 * number) for number in range(73)]
    formats = (*TRAIN_FORMATS, *HELD_OUT_FORMATS)
    texts = [in_chinese(day) for day in days] + [
        in_english(day, name) for day in days for name in formats
    ]
    return CharacterVocabulary("".join([*texts, "; ；"]))


@cache
def date_lists(
    purpose: str, count: int, sizes: tuple[int, ...], seed: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Lists of dates as symbols, in English and in Chinese, the end symbol last.

    Args:
        purpose: ``train`` takes days of the training split, all else held-out days; ``formats``
            takes held-out formats, all else those of training.
        count: number of lists.
        sizes: how many dates a list may have, each equally often.
        seed: of the draw.
    """
    known, unseen = date_splits()
    generator = random.Random(seed)
    counts = [generator.choice(sizes) for _ in range(count)]
    formats = HELD_OUT_FORMATS if purpose == "formats" else TRAIN_FORMATS
    days = known if purpose == "train" else unseen
    pairs = iter(date_pairs(days, [*formats], sum(counts), seed))
    sources, targets = [], []
    for number in counts:
        english, chinese = zip(*(next(pairs) for _ in range(number)), strict=True)
        sources.append(vocabulary().encode("; ".join(english), end=True))
        targets.append(vocabulary().encode("；".join(chinese), end=True))
    return sources, targets


def lists_for(config: dict, purpose: str) -> tuple[list[list[int]], list[list[int]]]:
    """The lists of one purpose, a key of ``config["lists"]``."""
    count, sizes, seed = config["lists"][purpose]
    return date_lists(purpose, count, tuple(sizes), seed)


def settings(config: dict, variant: str) -> tuple[dict, dict]:
    """What a variant gives to the model and to the training.

    Raises:
        ValueError: if the variant changes something that neither has.
    """
    model, training = dict(config["base"]), dict(config["training"])
    for name, value in config["variants"][variant].items():
        if name not in model and name not in training:
            raise ValueError(f"variant {variant!r} changes {name!r}, which is unknown")
        (model if name in model else training)[name] = value
    return model, training


def new_model(config: dict, variant: str) -> Transformer:
    """A freshly initialised model of one variant."""
    sizes, _ = settings(config, variant)
    return Transformer(TransformerConfig(len(vocabulary()), **sizes))


def rate_factor(training: dict):
    """The schedule; without warm-up the rate starts at its peak and falls from the same step on."""
    factor, warmup = inverse_square_root(training["warmup"]), training["warmup"]
    if training["from_zero"]:
        return factor
    return lambda step: factor(max(step, warmup - 1))


def train_variant(
    config: dict, variant: str, seed: int
) -> tuple[Transformer, list[float]]:
    """Train one model.

    Returns:
        The model, as it is stored, and the training loss, means of ``loss_every`` steps.
    """
    _, training = settings(config, variant)
    seed_everything(seed)
    model = new_model(config, variant)
    steps, snapshots = training["steps"], []

    def after_step(step: int, loss: float) -> None:
        left = steps - step - 1
        if left % config["snapshot_every"] == 0 and (
            left // config["snapshot_every"] < config["snapshots"]
        ):
            state = model.state_dict().items()
            snapshots.append({name: tensor.clone() for name, tensor in state})

    losses = train(
        model,
        batches_by_length(
            *lists_for(config, "train"), training["tokens_per_batch"], seed
        ),
        translation_loss(training["smoothing"]),
        steps=steps,
        learning_rate=training["rate"],
        schedule=rate_factor(training),
        betas=tuple(training["betas"]),
        clip_norm=training["clip_norm"],
        seed=seed,
        after_step=after_step,
    )
    model.load_state_dict(
        {
            name: torch.stack([state[name] for state in snapshots]).mean(dim=0)
            for name in snapshots[0]
        }
    )
    return model.half().float().eval(), means(losses, config["loss_every"])


@torch.no_grad()
def score(
    model: Transformer, sources: list[list[int]], targets: list[list[int]]
) -> dict[str, float]:
    """Measure a model on lists.

    Returns:
        ``cross_entropy`` in nats a symbol, without smoothing, and ``character_accuracy``, both
        with the true symbols before; ``exact_match``, the share of lists that are written right
        to the end, greedily.
    """
    order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
    loss, right, symbols, exact = 0.0, 0, 0, 0
    for start in range(0, len(order), 50):
        numbers = order[start : start + 50]
        source, _ = pad_sequences([sources[n] for n in numbers])
        target, _ = pad_sequences([targets[n] for n in numbers])
        real = target != PAD  # [B, T]
        count = int(real.sum())
        logits = model(source, shift_right(target))  # [B, T, V]
        loss += label_smoothed_loss(logits, target, 0.0).item() * count
        right += int(((logits.argmax(dim=-1) == target) & real).sum())
        symbols += count
        written: Tensor = greedy(model, source, target.shape[1] + 2)
        exact += int(exact_match(written, target).sum())
    return {
        "cross_entropy": round(loss / symbols, 5),
        "character_accuracy": round(right / symbols, 5),
        "exact_match": round(exact / len(sources), 4),
    }


def measure(model: Transformer, config: dict) -> dict[str, dict[str, float]]:
    """:func:`score` on the lists of every purpose."""
    metrics = {}
    for purpose in config["lists"]:
        sources, targets = lists_for(config, purpose)
        count = config["train_lists_measured"] if purpose == "train" else None
        metrics[purpose] = score(model, sources[:count], targets[:count])
    return metrics


def weights_file(folder: Path) -> Path:
    """Where the weights of the base's first seed are stored."""
    return folder / f"{NAME}_base.safetensors"


def load_base(folder: Path, config: dict) -> Transformer:
    """The stored model of the base's first seed."""
    model = new_model(config, "base")
    state = load_file(weights_file(folder))
    state = {name: tensor.float() for name, tensor in state.items()}
    model.load_state_dict({**state, "output.weight": state["embedding.tokens.weight"]})
    return model.eval()


def train_and_measure(
    config: dict, variant: str, seed: int, weights: Path | None
) -> dict:
    """One run, in a process of its own; with a folder its weights are stored there."""
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    model, curve = train_variant(config, variant, seed)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if weights is not None:
        state = {name: tensor.half() for name, tensor in model.state_dict().items()}
        del state["output.weight"]  # the same as the embedding table
        write_atomically(weights_file(weights), lambda path: save_file(state, path))
    return {
        "parameters": count_parameters(model),
        "wall_time_s": wall,
        "metrics": {
            **measure(model, config),
            "training_loss": curve,
            "cpu_time_s": round(cpu, 1),
        },
    }


def run(
    config: dict, seeds: list[int], folder: Path, weights: Path, resume: bool
) -> Results:
    """Train and measure every variant with every seed, two at a time."""
    packages = ["Babel", "safetensors"]
    results = Results(
        NAME, config, seeds, folder=folder, resume=resume, packages=packages
    )
    jobs = {
        run: (config, *run, weights if run == ("base", seeds[0]) else None)
        for run in results.missing(config["variants"])
    }
    run_in_processes(results, jobs, train_and_measure)
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    config, seeds = (SMOKE, SEEDS[:1]) if options.smoke else (CONFIG, SEEDS)
    results = run(config, seeds, options.folder, options.weights, options.resume)
    for done in results.runs:
        scores = done["metrics"]["test"]
        print(
            f"{done['variant']:34} seed {done['seed']}: "
            f"exact match {scores['exact_match']:.3f}, "
            f"cross-entropy {scores['cross_entropy']:.4f}"
        )


if __name__ == "__main__":
    main()
