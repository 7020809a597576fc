"""Exact match against source length, with and without attention, at equal parameters.

The task is to copy a string of random symbols. Nothing in it can be guessed, and nothing has to be
learnt but to carry it over. Training sees lengths 1 to 16; the measurement goes on to 24. Four
variants have the same number of parameters, batches and steps. One without attention has a state
twice as wide (and more than three times the parameters), another is trained three times as long.
Each gets the better of two learning rates, chosen on other strings by a run with another seed.

    python experiments/seq2seq_length.py [--smoke] [--resume]
"""

import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bertbook.prerequisites.seq2seq import (
    Seq2Seq,
    Seq2SeqConfig,
    sequence_loss,
    shift_right,
)
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.symbols import END, exact_match
from bertbook.shared.training import seed_everything
from bertbook.shared.training import train as fit

NAME = "seq2seq_length"
SYMBOLS = 8
VOCABULARY = END + 1 + SYMBOLS
VARIANTS = {
    "no attention": {"score": "none", "d_state": 73},
    "additive": {"score": "additive", "d_state": 62},
    "multiplicative": {"score": "general", "d_state": 64},
    "no attention, twice the state": {"score": "none", "d_state": 146},
    "no attention, three times the steps": {
        "score": "none",
        "d_state": 73,
        "times_steps": 3,
        "rate_of": "no attention",
    },
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    task: str = "copy"
    symbols: int = SYMBOLS
    train_lengths: tuple[int, int] = (1, 16)
    test_lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24)
    strings_per_length: int = 500
    batch_size: int = 64
    steps: int = 3000
    rates: tuple[float, ...] = (0.003, 0.01)
    tuning_seed: int = 100
    d_embedding: int = 32
    variants: dict[str, dict] = section(**VARIANTS)


CONFIG = Config()
SMOKE = replace(CONFIG, strings_per_length=20, batch_size=8, steps=3)

Batch = tuple[Tensor, Tensor, Tensor]


def strings(length: int, count: int, generator: torch.Generator) -> Batch:
    """Random strings of one length: source ``[count, length]``, lengths, target with its end."""
    source = torch.randint(END + 1, VOCABULARY, (count, length), generator=generator)
    end = torch.full((count, 1), END)
    return source, torch.full((count,), length), torch.cat([source, end], dim=1)


def held_out(config: Config, purpose: str) -> dict[int, Batch]:
    """The strings of each test length; those for ``tuning`` and for ``test`` differ."""
    seed = {"tuning": 10**9, "test": 10**9 + 1}[purpose]
    generator = torch.Generator().manual_seed(seed)
    count = config.strings_per_length
    return {n: strings(n, count, generator) for n in config.test_lengths}


def new_model(config: Config, variant: str) -> Seq2Seq:
    """A freshly initialised model of one variant."""
    sizes = config.variants[variant]
    width = config.d_embedding
    return Seq2Seq(
        Seq2SeqConfig(VOCABULARY, VOCABULARY, width, sizes["d_state"], sizes["score"])
    )


def tuning_runs(config: Config, variant: str) -> dict[str, float]:
    """The trial runs of a variant and the rate of each."""
    tuned = config.variants[variant].get("rate_of", variant)
    return {f"tuning: {tuned}, rate {rate}": rate for rate in config.rates}


def train(job: Job) -> Trained:
    """Train with the rate held for 70 % of the steps and then brought to 0 in a straight line.

    A trial run has its rate in its name, the others the rate of the better trial.
    """
    config, seed, variant = job.config, job.seed, job.variant
    if seed == config.tuning_seed:
        variant = variant.removeprefix("tuning: ").rpartition(", rate")[0]
        rate = tuning_runs(config, variant)[job.variant]
    else:
        rates = tuning_runs(config, variant)
        tried = {
            rate: within(config, job.metrics_of(run, config.tuning_seed)["exact"])
            for run, rate in rates.items()
        }
        rate = max(tried, key=tried.get)
    shortest, longest = config.train_lengths
    steps = config.steps * config.variants[variant].get("times_steps", 1)
    started = time.process_time()

    def batches(step: int) -> Batch:
        generator = torch.Generator().manual_seed(10_000 * seed + step)
        length = int(torch.randint(shortest, longest + 1, (1,), generator=generator))
        return strings(length, config.batch_size, generator)

    seed_everything(seed)
    model = new_model(config, variant)
    fit(
        model,
        batches,
        sequence_loss,
        steps=steps,
        learning_rate=rate,
        schedule=lambda step: min(1.0, (steps - step) / (0.3 * steps)),
        seed=seed,
        progress=f"{job.variant}, seed {seed}, rate {rate}",
    )
    found = {"rate": rate, "cpu_time_s": round(time.process_time() - started, 1)}
    return Trained(model.half().float().eval(), found)  # measured as it is stored


@torch.no_grad()
def measure(job: Job, model: Seq2Seq) -> dict[str, dict]:
    """Score a model on the held-out strings of every length.

    Returns:
        For every length ``exact`` (share of strings right to the end), ``free`` and ``forced``
        (share of symbols right when the model reads its own, and when it reads the true, last
        symbol), and ``free_after_error`` and ``forced_after_error``: the same over the steps that
        come after the first error of the free run; left out where there is none.
    """
    purpose = "tuning" if job.seed == job.config.tuning_seed else "test"
    names = ("exact", "free", "forced", "free_after_error", "forced_after_error")
    metrics: dict[str, dict] = {name: {} for name in names}
    for n, (source, lengths, target) in held_out(job.config, purpose).items():
        written = model.generate(source, lengths, n + 1)
        written = F.pad(written, (0, n + 1 - written.shape[1]))
        free = written == target  # [B, T]
        forced = model(source, lengths, shift_right(target)).argmax(-1) == target
        wrong = (~free).long()
        after = wrong.cumsum(1) - wrong > 0  # an error stands somewhere before
        metrics["exact"][str(n)] = share(exact_match(written, target))
        metrics["free"][str(n)] = share(free)
        metrics["forced"][str(n)] = share(forced)
        if after.any():
            metrics["free_after_error"][str(n)] = share(free[after])
            metrics["forced_after_error"][str(n)] = share(forced[after])
    return metrics


def share(hits: Tensor) -> float:
    """The mean of booleans, to four decimals."""
    return round(hits.double().mean().item(), 4)


def within(config: Config, exact: dict[str, float]) -> float:
    """Mean exact match over the test lengths that training covers."""
    longest = config.train_lengths[1]
    covered = [exact[str(n)] for n in config.test_lengths if n <= longest]
    return sum(covered) / len(covered)


def describe(run: dict) -> str:
    """How much is right up to the length of training."""
    exact = within(CONFIG, run["metrics"]["exact"])
    label = f"{run['variant']}, seed {run['seed']}"
    return f"{label:60} exact match within the trained lengths: {exact:.3f}"


def plan(config: Config, seeds, results):
    """The trials of every variant, then the variant itself."""
    for variant in config.variants:
        yield [(run, config.tuning_seed) for run in tuning_runs(config, variant)]
        yield [(variant, seed) for seed in seeds]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    seeds=(0, 1, 2),
    packages=("safetensors",),
    stored=tuple(VARIANTS),
    threads=1,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
