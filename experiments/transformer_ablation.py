"""One thing changed at a time: the Transformer's choices switched off, on dates.

The task is to write English dates in Chinese: one or two dates in mixed formats, from a fixed
training set small enough that regularising could matter. Every variant differs from the base
in what its entry says and in nothing else: same lists, order of the lists, steps and rate. It is
measured on lists of days that training never saw: as long as in training, longer (three or four
dates), and in formats that training never saw; and on lists of the training set, to see what was
learnt by heart. What is measured is the mean of the last snapshots, as in the paper, rounded to
half precision.

How the variants compare with the paper's Table 3 is decided by the rule in
``bertbook.studies.transformer_ablation``.

    python experiments/transformer_ablation.py [--smoke] [--resume]
"""

import random
import time
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import torch
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
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.results import means
from bertbook.shared.symbols import PAD, CharacterVocabulary, exact_match, pad_sequences
from bertbook.shared.training import seed_everything
from bertbook.shared.training import train as fit
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
VARIANTS = {  # What each changes, of the model or of its training.
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
}
SIZES = {
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
}
TRAINING = {
    "steps": 1600,
    "tokens_per_batch": 350,
    "rate": 0.004,
    "warmup": 200,
    "from_zero": True,
    "smoothing": 0.1,
    "betas": (0.9, 0.98),
    "clip_norm": None,
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    task: str = "lists of dates, English to Chinese, by characters"
    # Which lists: how many, of how many dates, seed of the draw.
    lists: dict[str, tuple[int, tuple[int, ...], int]] = section(
        train=(1000, (1, 2), 1),
        test=(500, (1, 2), 12),
        longer=(200, (3, 4), 13),
        formats=(300, (1, 2), 14),
    )
    train_lists_measured: int = 300
    base: dict = section(**SIZES)
    training: dict = section(**TRAINING)
    snapshots: int = 5
    snapshot_every: int = 20
    loss_every: int = 50
    variants: dict[str, dict] = section(**VARIANTS)


CONFIG = Config()
SMOKE = Config(
    lists={name: (4, (1,), seed) for name, (*_, seed) in CONFIG.lists.items()},
    train_lists_measured=4,
    training={**TRAINING, "steps": 2},
    snapshots=2,
    snapshot_every=1,
    loss_every=1,
)


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


def lists_for(config: Config, purpose: str) -> tuple[list[list[int]], list[list[int]]]:
    """The lists of one purpose, a key of ``config.lists``."""
    count, sizes, seed = config.lists[purpose]
    return date_lists(purpose, count, sizes, seed)


def settings(config: Config, variant: str) -> tuple[dict, dict]:
    """What a variant gives to the model and to the training.

    Raises:
        ValueError: if the variant changes something that neither has.
    """
    model, training = dict(config.base), dict(config.training)
    for name, value in config.variants[variant].items():
        if name not in model and name not in training:
            raise ValueError(f"variant {variant!r} changes {name!r}, which is unknown")
        (model if name in model else training)[name] = value
    return model, training


def new_model(config: Config, variant: str) -> Transformer:
    """A freshly initialised model of one variant."""
    sizes, _ = settings(config, variant)
    return Transformer(TransformerConfig(len(vocabulary()), **sizes))


def rate_factor(training: dict):
    """The schedule; without warm-up the rate starts at its peak and falls from the same step on."""
    factor, warmup = inverse_square_root(training["warmup"]), training["warmup"]
    if training["from_zero"]:
        return factor
    return lambda step: factor(max(step, warmup - 1))


def train(job: Job) -> Trained:
    """Train one model, as it is stored; its loss, means of ``loss_every`` steps."""
    config, seed = job.config, job.seed
    _, training = settings(config, job.variant)
    started = time.process_time()
    seed_everything(seed)
    model = new_model(config, job.variant)
    steps, snapshots = training["steps"], []

    def after_step(step: int, loss: float) -> None:
        left = steps - step - 1
        if left % config.snapshot_every == 0 and (
            left // config.snapshot_every < config.snapshots
        ):
            state = model.state_dict().items()
            snapshots.append({name: tensor.clone() for name, tensor in state})

    losses = fit(
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
    found = {
        "training_loss": means(losses, config.loss_every),
        "cpu_time_s": round(time.process_time() - started, 1),
    }
    return Trained(model.half().float().eval(), found)


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


def measure(job: Job, model: Transformer) -> dict[str, dict[str, float]]:
    """:func:`score` on the lists of every purpose."""
    config, metrics = job.config, {}
    for purpose in config.lists:
        sources, targets = lists_for(config, purpose)
        count = config.train_lists_measured if purpose == "train" else None
        metrics[purpose] = score(model, sources[:count], targets[:count])
    return metrics


def describe(run: dict) -> str:
    """How well it writes lists as long as in training."""
    scores = run["metrics"]["test"]
    return (
        f"{run['variant']:34} seed {run['seed']}: "
        f"exact match {scores['exact_match']:.3f}, "
        f"cross-entropy {scores['cross_entropy']:.4f}"
    )


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    seeds=(0, 1, 2),
    packages=("Babel", "safetensors"),
    stored=("base",),
    processes=2,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
