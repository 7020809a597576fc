"""Exact match against source length, with and without attention, at equal parameters.

The task is to copy a string of random symbols. Nothing in it can be guessed, and nothing has to be
learnt but to carry it over. Training sees lengths 1 to 16; the measurement goes on to 24. Four
variants have the same number of parameters, batches and steps. One without attention has a state
twice as wide (and more than three times the parameters), another is trained three times as long.
Each gets the better of two learning rates, chosen on other strings by a run with another seed.

    python experiments/seq2seq_length.py [--smoke] [--resume]
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertbook.prerequisites.seq2seq import (
    Seq2Seq,
    Seq2SeqConfig,
    sequence_loss,
    shift_right,
)
from bertbook.shared.results import Results, experiment_arguments
from bertbook.shared.symbols import END, exact_match
from bertbook.shared.training import (
    count_parameters,
    seed_everything,
    train,
    write_atomically,
)

NAME = "seq2seq_length"
SYMBOLS = 8
VOCABULARY = END + 1 + SYMBOLS
CONFIG = {
    "task": "copy",
    "symbols": SYMBOLS,
    "train_lengths": [1, 16],
    "test_lengths": [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24],
    "strings_per_length": 500,
    "batch_size": 64,
    "steps": 3000,
    "rates": [0.003, 0.01],
    "tuning_seed": 100,
    "d_embedding": 32,
    "variants": {
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
    },
}
SEEDS = [0, 1, 2]
SMOKE = {**CONFIG, "strings_per_length": 20, "batch_size": 8, "steps": 3}

Batch = tuple[Tensor, Tensor, Tensor]


def strings(length: int, count: int, generator: torch.Generator) -> Batch:
    """Random strings of one length: source ``[count, length]``, lengths, target with its end."""
    source = torch.randint(END + 1, VOCABULARY, (count, length), generator=generator)
    end = torch.full((count, 1), END)
    return source, torch.full((count,), length), torch.cat([source, end], dim=1)


def held_out(config: dict, purpose: str) -> dict[int, Batch]:
    """The strings of each test length; those for ``tuning`` and for ``test`` differ."""
    seed = {"tuning": 10**9, "test": 10**9 + 1}[purpose]
    generator = torch.Generator().manual_seed(seed)
    count = config["strings_per_length"]
    return {n: strings(n, count, generator) for n in config["test_lengths"]}


def new_model(config: dict, variant: str) -> Seq2Seq:
    """A freshly initialised model of one variant."""
    sizes = config["variants"][variant]
    width = config["d_embedding"]
    return Seq2Seq(
        Seq2SeqConfig(VOCABULARY, VOCABULARY, width, sizes["d_state"], sizes["score"])
    )


def train_variant(config: dict, variant: str, seed: int, rate: float) -> Seq2Seq:
    """Train with the rate held for 70 % of the steps and then brought to 0 in a straight line."""
    shortest, longest = config["train_lengths"]
    steps = config["steps"] * config["variants"][variant].get("times_steps", 1)

    def batches(step: int) -> Batch:
        generator = torch.Generator().manual_seed(10_000 * seed + step)
        length = int(torch.randint(shortest, longest + 1, (1,), generator=generator))
        return strings(length, config["batch_size"], generator)

    seed_everything(seed)
    model = new_model(config, variant)
    train(
        model,
        batches,
        sequence_loss,
        steps=steps,
        learning_rate=rate,
        schedule=lambda step: min(1.0, (steps - step) / (0.3 * steps)),
        seed=seed,
        progress=f"{variant}, seed {seed}, rate {rate}",
    )
    return model.half().float().eval()  # measured as it is stored


@torch.no_grad()
def measure(model: Seq2Seq, config: dict, purpose: str = "test") -> dict[str, dict]:
    """Score a model on the held-out strings of every length.

    Returns:
        For every length ``exact`` (share of strings right to the end), ``free`` and ``forced``
        (share of symbols right when the model reads its own, and when it reads the true, last
        symbol), and ``free_after_error`` and ``forced_after_error``: the same over the steps that
        come after the first error of the free run; left out where there is none.
    """
    names = ("exact", "free", "forced", "free_after_error", "forced_after_error")
    metrics: dict[str, dict] = {name: {} for name in names}
    for n, (source, lengths, target) in held_out(config, purpose).items():
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


def within(config: dict, exact: dict[str, float]) -> float:
    """Mean exact match over the test lengths that training covers."""
    longest = config["train_lengths"][1]
    covered = [exact[str(n)] for n in config["test_lengths"] if n <= longest]
    return sum(covered) / len(covered)


def weights_file(folder: Path, variant: str) -> Path:
    """Where the weights of a variant's first seed are stored."""
    name = variant.replace(",", "").replace(" ", "_")
    return folder / f"{NAME}_{name}.safetensors"


def load_variant(folder: Path, config: dict, variant: str) -> Seq2Seq:
    """The stored model of a variant's first seed."""
    model = new_model(config, variant)
    stored = load_file(weights_file(folder, variant))
    model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    return model.eval()


def run(
    config: dict, seeds: list[int], folder: Path, weights: Path, resume: bool
) -> Results:
    """Tune, train and measure every variant."""
    results = Results(
        NAME, config, seeds, folder=folder, resume=resume, packages=["safetensors"]
    )

    def once(label: str, variant: str, seed: int, rate: float, purpose: str) -> None:
        if results.has(label, seed):
            return
        wall, cpu = time.perf_counter(), time.process_time()
        model = train_variant(config, variant, seed, rate)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if purpose == "test" and seed == seeds[0]:
            state = {name: tensor.half() for name, tensor in model.state_dict().items()}
            file = weights_file(weights, variant)
            write_atomically(file, lambda path: save_file(state, path))
        measured = measure(model, config, purpose)
        results.add(
            label,
            seed,
            parameters=count_parameters(model),
            wall_time_s=wall,
            metrics={**measured, "rate": rate, "cpu_time_s": round(cpu, 1)},
        )

    best: dict[str, float] = {}
    for variant, sizes in config["variants"].items():
        if "rate_of" in sizes:
            best[variant] = best[sizes["rate_of"]]
        else:
            labels = {r: f"tuning: {variant}, rate {r}" for r in config["rates"]}
            for rate, label in labels.items():
                once(label, variant, config["tuning_seed"], rate, "tuning")
            exact = {done["variant"]: done["metrics"]["exact"] for done in results.runs}
            scores = {rate: within(config, exact[labels[rate]]) for rate in labels}
            best[variant] = max(scores, key=scores.get)
        for seed in seeds:
            once(variant, variant, seed, best[variant], "test")
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    torch.set_num_threads(1)
    config = SMOKE if options.smoke else CONFIG
    results = run(config, SEEDS, options.folder, options.weights, options.resume)
    for done in results.runs:
        exact = within(config, done["metrics"]["exact"])
        label = f"{done['variant']}, seed {done['seed']}"
        print(f"{label:60} exact match within the trained lengths: {exact:.3f}")


if __name__ == "__main__":
    main()
