"""Wycliffe's English into modern English: Transformer against LSTM with attention.

Both have the same number of parameters, sub-words, batches, dropout, loss and schedule. Learning
rates (and the Transformer's place of LayerNorm) are chosen on validation verses, in two rounds:
many choices for a few steps, then two of each model to the end. A few steps favour rates that are
too high in the long run (a trial showed it), so the second round has a lower one beside the winner
of the first. Two trainings run at a time, in processes of one thread each, all for equally many
steps. Two comparisons come out of one run each: after the same steps; and after
the same processor time, where the slower of the two is taken as it was when the faster one
finished. What is measured is the mean of the last snapshots, rounded to half precision,
translating the test verses greedily.

    python experiments/verses.py [--smoke] [--resume]
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertbook.corpora.verses import VersePair, load_verses, split_by_chapter
from bertbook.shared.experiment import (
    Experiment,
    Job,
    Trained,
    load_stored,
    section,
    store,
    weights_file,
)
from bertbook.shared.symbols import END, pad_sequences
from bertbook.shared.training import seed_everything, write_atomically
from bertbook.shared.training import train as fit
from bertbook.studies.verses_translator import new_model as model_of_sizes
from bertbook.studies.verses_translator import write_all, write_greedily
from bertbook.transformer.generation import beam_search
from bertbook.transformer.translation import (
    batches_by_length,
    corpus_scores,
    inverse_square_root,
    learn_subwords,
    translation_loss,
)

NAME = "verses"
KINDS = ("transformer", "lstm")
SIZES = {
    "d_model": 192,
    "num_heads": 6,
    "num_encoder_layers": 3,
    "num_decoder_layers": 3,
    "d_ff": 768,
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    source: str = "wyc"
    target: str = "web"
    vocab_size: int = 4096
    tokens_per_batch: int = 1000
    longest: int = 120
    smoothing: float = 0.1
    warmup: int = 400
    betas: tuple[float, float] = (0.9, 0.98)
    dropout: float = 0.1
    transformer: dict[str, int] = section(**SIZES)
    lstm: dict[str, int] = section(d_embedding=192, d_state=342, num_layers=2)
    tuning_steps: int = 300
    tuning: dict[str, list] = section(
        transformer=[
            [0.002, False],
            [0.004, False],
            [0.002, True],
            [0.004, True],
            [0.008, True],
        ],
        lstm=[[0.001], [0.002], [0.004], [0.008], [0.016]],
    )
    whole: dict[str, list] = section(
        transformer=[[0.004, True], [0.002, True]], lstm=[[0.016], [0.004]]
    )
    steps: int = 4000
    snapshot_every: int = 100
    snapshots: int = 5
    measure_every: int = 500
    validation_verses: int = 400
    test_verses: int | None = None
    beam: tuple[int, float] = (4, 0.6)
    bfloat16: bool = True
    train_verses: ClassVar[int | None] = None  # all


class Few(Config):
    """Of a smoke run."""

    train_verses = 300


CONFIG = Config()
SMOKE = Few(
    vocab_size=300,
    tokens_per_batch=400,
    transformer={**SIZES, "d_model": 24, "d_ff": 32, "num_heads": 2},
    lstm={"d_embedding": 24, "d_state": 20, "num_layers": 2},
    tuning_steps=2,
    steps=4,
    snapshot_every=1,
    snapshots=2,
    measure_every=2,
    validation_verses=4,
    test_verses=4,
    bfloat16=False,
)


class Verses:
    """The verses as symbols, and the sub-words, which the training verses alone decide.

    Args:
        config: of the experiment.
    """

    def __init__(self, config: Config):
        pairs = load_verses(config.source, config.target)
        train_pairs, validation, test = split_by_chapter(pairs)
        train_pairs = train_pairs[: config.train_verses]
        self.longest = config.longest
        self.subwords = learn_subwords(
            (text for pair in train_pairs for text in (pair.source, pair.target)),
            config.vocab_size,
        )
        self.train = [
            (source, target)
            for source, target in map(self.encode_pair, train_pairs)
            if max(len(source), len(target)) <= self.longest
        ]
        self.validation = validation[: config.validation_verses]
        self.test = test[: config.test_verses]

    def encode(self, text: str) -> list[int]:
        """Symbols of a text, the end symbol last."""
        return [*self.subwords.encode(text).ids, END]

    def encode_pair(self, pair: VersePair) -> tuple[list[int], list[int]]:
        """Symbols of a verse in both versions."""
        return self.encode(pair.source), self.encode(pair.target)

    def translate(self, write, texts: list[str]) -> list[str]:
        """Translate texts, those of similar length together; ``write(source)`` is the model."""
        encoded = [self.encode(text)[-self.longest :] for text in texts]
        return [
            self.subwords.decode(symbols, skip_special_tokens=True).strip()
            for symbols in write_all(write, encoded, 32)
        ]


def new_model(config: Config, kind: str, choice: list) -> nn.Module:
    """A freshly initialised model; ``choice`` is what the tuning decides."""
    return model_of_sizes(asdict(config), kind, choice)


@torch.no_grad()
def validation_loss(model: nn.Module, verses: Verses) -> float:
    """Cross-entropy in nats a sub-word of the validation verses, without smoothing."""
    model.eval()
    total, count = 0.0, 0
    pairs = [verses.encode_pair(pair) for pair in verses.validation]
    pairs = sorted(pairs, key=lambda pair: len(pair[1]))
    for start in range(0, len(pairs), 32):
        source, target = zip(*pairs[start : start + 32], strict=True)
        batch = (pad_sequences(source)[0], None, pad_sequences(target)[0])
        symbols = sum(map(len, target))
        total += translation_loss(0.0)(model, batch).item() * symbols
        count += symbols
    return round(total / count, 4)


def train_model(
    config: Config,
    verses: Verses,
    kind: str,
    choice: list,
    steps: int,
    folder: Path | None,
) -> tuple[nn.Module, list[dict]]:
    """Train one model; with a folder, resume from it and keep snapshots and the curve there.

    Returns:
        The model, and of every ``snapshot_every`` steps the processor time of training up to
        there, in seconds; of every ``measure_every`` steps the validation loss too.
    """
    seed_everything(0)
    model = new_model(config, kind, choice)
    sources, targets = zip(*verses.train, strict=True)
    curve: list[dict] = []
    curve_file = folder and folder / "curve.pt"
    if curve_file and curve_file.exists():
        curve = torch.load(curve_file, weights_only=True)
    start = time.process_time()

    def after_step(step: int, loss: float) -> None:
        nonlocal start
        count = step + 1
        if folder is None or count % config.snapshot_every:
            return
        # After a break, what follows the last checkpoint is done again.
        curve[:] = [point for point in curve if point["step"] < count]
        spent = time.process_time() - start
        spent += curve[-1]["cpu_time_s"] if curve else 0.0
        curve.append({"step": count, "cpu_time_s": round(spent, 1)})
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state.pop("output.weight", None)  # the same as the embedding table
        write_atomically(folder / f"{count}.safetensors", lambda p: save_file(state, p))
        if count % config.measure_every == 0:
            curve[-1]["validation_loss"] = validation_loss(model, verses)
        write_atomically(curve_file, lambda p: torch.save(curve, p))
        start = time.process_time()

    fit(
        model,
        batches_by_length(sources, targets, config.tokens_per_batch, 0),
        translation_loss(config.smoothing, config.bfloat16),
        steps=steps,
        learning_rate=choice[0],
        schedule=inverse_square_root(config.warmup),
        betas=tuple(config.betas),
        seed=0,
        after_step=after_step,
        progress=f"{kind} {choice}",
        checkpoint=folder and folder / "checkpoint.pt",
        checkpoint_every=config.measure_every,
    )
    return model.eval(), curve


def after_equal_time(curves: dict[str, list[dict]]) -> dict[str, int]:
    """The step of each model at which its time is nearest to the faster one's whole time."""
    budget = min(curve[-1]["cpu_time_s"] for curve in curves.values())
    return {
        kind: min(curve, key=lambda point: abs(point["cpu_time_s"] - budget))["step"]
        for kind, curve in curves.items()
    }


def averaged(config: Config, folder: Path, mark: int) -> dict[str, Tensor]:
    """The mean of the last snapshots up to a step, in half precision."""
    window = config.snapshots * config.snapshot_every
    steps = sorted(int(file.stem) for file in folder.glob("*.safetensors"))
    states = [
        load_file(folder / f"{step}.safetensors")
        for step in steps
        if mark - window < step <= mark
    ]
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0).half()
        for name in states[0]
    }


def scores(verses: Verses, write) -> dict:
    """BLEU and chrF on the test verses."""
    written = verses.translate(write, [pair.source for pair in verses.test])
    return corpus_scores(written, [pair.target for pair in verses.test])


def work_of(job: Job, kind: str, choice: list) -> Path:
    """Where a training keeps its checkpoint, snapshots and curve."""
    return job.work / f"{kind}_{choice[0]}"


def best(choices: list[dict]) -> dict:
    """Of the choices that were trained to the end, the one that is taken."""
    return min(choices, key=lambda tried: tried["validation_loss"])


def average_model(job: Job, kind: str, choice: list, steps: int) -> nn.Module:
    """The mean of the last snapshots up to a step."""
    state = averaged(job.config, work_of(job, kind, choice), steps)
    return load_stored(new_model(job.config, kind, choice), state)


def train(job: Job) -> Trained:
    """Tune a model, train it to the end with two choices, or take it as it was at a step."""
    config, stage, kind = job.config, *job.variant.partition(": ")[::2]
    if stage not in ("copy", "tuning", "trained"):
        kind, steps = parse(job.variant)
        taken = best(job.metrics_of(f"trained: {kind}")["choices"])
        found = {"choice": taken["choice"], "steps": steps}
        if "beam" not in job.variant:
            (point,) = [point for point in taken["curve"] if point["step"] == steps]
            found["cpu_time_s"] = point["cpu_time_s"]
        return Trained(average_model(job, kind, taken["choice"], steps), found)
    verses = Verses(config)
    if stage == "copy":
        file = job.weights / f"{NAME}_subwords.json"
        write_atomically(file, lambda path: verses.subwords.save(str(path)))
        return Trained(None, parameters=0, wall_time_s=0)
    if stage == "tuning":
        found = []
        for choice in config.tuning[kind]:
            steps = config.tuning_steps
            model, _ = train_model(config, verses, kind, choice, steps, None)
            found.append([choice, validation_loss(model, verses)])
        return Trained(new_model(config, kind, found[0][0]), {"choices": found})
    found = []
    for choice in config.whole[kind]:
        folder = work_of(job, kind, choice)
        folder.mkdir(parents=True, exist_ok=True)
        _, curve = train_model(config, verses, kind, choice, config.steps, folder)
        curve = [point for point in curve if point["step"] <= config.steps]
        model = average_model(job, kind, choice, config.steps)
        loss = validation_loss(model, verses)
        found.append({"choice": choice, "validation_loss": loss, "curve": curve})
    return Trained(new_model(config, kind, found[0]["choice"]), {"choices": found})


def parse(variant: str) -> tuple[str, int]:
    """Model and steps of a run such as ``lstm, 4000 steps``."""
    kind, steps, *_ = variant.split(", ")
    return kind, int(steps.removesuffix(" steps"))


def measure(job: Job, model: nn.Module | None) -> dict:
    """Measure what is final on the test verses, and store it as it is after its last step."""
    if job.variant.startswith(("tuning", "trained")):
        return {}
    verses = Verses(job.config)
    if model is None:
        pairs = verses.test
        return corpus_scores([p.source for p in pairs], [p.target for p in pairs])
    if "beam" in job.variant:
        size, alpha = job.config.beam

        def write(source: Tensor) -> Tensor:
            rows = [row[None, : int((row != 0).sum())] for row in source]
            found = [beam_search(model, row, 160, size, alpha)[0][0] for row in rows]
            return pad_sequences([symbols.tolist() for symbols in found])[0]

        return scores(verses, write)
    kind, steps = parse(job.variant)
    if steps == job.config.steps:
        store(model, weights_file(job.weights, NAME, kind))
    loss = {"validation_loss": validation_loss(model, verses)}
    return loss | scores(verses, partial(write_greedily, model))


def describe(run: dict) -> str:
    """BLEU of what translates."""
    metrics = run["metrics"]
    return (
        f"{run['variant']:40} BLEU {metrics['bleu']:.1f}" if "bleu" in metrics else ""
    )


def plan(config: Config, seeds, results):
    """Tune both, train both side by side, measure both after equal time and equal steps."""
    yield [("copy", 0)]
    yield [(f"tuning: {kind}", 0) for kind in KINDS]
    yield [(f"trained: {kind}", 0) for kind in KINDS]
    runs = {run["variant"]: run["metrics"] for run in results.runs}
    curves = {
        kind: best(runs[f"trained: {kind}"]["choices"])["curve"] for kind in KINDS
    }
    names = [
        f"{kind}, {step} steps"
        for kind, mark in after_equal_time(curves).items()
        for step in sorted({mark, config.steps})
    ]
    yield [(name, 0) for name in (*names, f"transformer, {config.steps} steps, beam")]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    packages=("sacrebleu", "tokenizers"),
    processes=2,
    keep_work=True,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
