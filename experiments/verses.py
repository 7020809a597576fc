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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertbook.corpora.verses import VersePair, load_verses, split_by_chapter
from bertbook.shared.results import RESULTS, Results, experiment_arguments
from bertbook.shared.symbols import END, pad_sequences
from bertbook.shared.training import (
    count_parameters,
    seed_everything,
    train,
    write_atomically,
)
from bertbook.studies.lstm_translator import (
    LSTMTranslator,
    LSTMTranslatorConfig,
)
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.encoder import TransformerConfig
from bertbook.transformer.generation import beam_search, greedy
from bertbook.transformer.translation import (
    batches_by_length,
    corpus_scores,
    inverse_square_root,
    learn_subwords,
    translation_loss,
)

NAME = "verses"
CONFIG = {
    "source": "wyc",
    "target": "web",
    "vocab_size": 4096,
    "tokens_per_batch": 1000,
    "longest": 120,
    "smoothing": 0.1,
    "warmup": 400,
    "betas": [0.9, 0.98],
    "dropout": 0.1,
    "transformer": {
        "d_model": 192,
        "num_heads": 6,
        "num_encoder_layers": 3,
        "num_decoder_layers": 3,
        "d_ff": 768,
    },
    "lstm": {"d_embedding": 192, "d_state": 342, "num_layers": 2},
    "tuning_steps": 300,
    "tuning": {
        "transformer": [
            [0.002, False],
            [0.004, False],
            [0.002, True],
            [0.004, True],
            [0.008, True],
        ],
        "lstm": [[0.001], [0.002], [0.004], [0.008], [0.016]],
    },
    "whole": {
        "transformer": [[0.004, True], [0.002, True]],
        "lstm": [[0.016], [0.004]],
    },
    "steps": 4000,
    "snapshot_every": 100,
    "snapshots": 5,
    "measure_every": 500,
    "validation_verses": 400,
    "test_verses": None,
    "beam": [4, 0.6],
    "bfloat16": True,
}
SEED = 0
SMOKE = {
    **CONFIG,
    "train_verses": 300,
    "vocab_size": 300,
    "tokens_per_batch": 400,
    "transformer": {**CONFIG["transformer"], "d_model": 24, "d_ff": 32, "num_heads": 2},
    "lstm": {"d_embedding": 24, "d_state": 20, "num_layers": 2},
    "tuning_steps": 2,
    "steps": 4,
    "snapshot_every": 1,
    "snapshots": 2,
    "measure_every": 2,
    "validation_verses": 4,
    "test_verses": 4,
    "bfloat16": False,
}


class Verses:
    """The verses as symbols, and the sub-words, which the training verses alone decide.

    Args:
        config: of the experiment.
    """

    def __init__(self, config: dict):
        pairs = load_verses(config["source"], config["target"])
        train_pairs, validation, test = split_by_chapter(pairs)
        train_pairs = train_pairs[: config.get("train_verses")]  # all, but for --smoke
        self.longest = config["longest"]
        self.subwords = learn_subwords(
            (text for pair in train_pairs for text in (pair.source, pair.target)),
            config["vocab_size"],
        )
        self.train = [
            (source, target)
            for source, target in map(self.encode_pair, train_pairs)
            if max(len(source), len(target)) <= self.longest
        ]
        self.validation = validation[: config["validation_verses"]]
        self.test = test[: config["test_verses"]]

    def encode(self, text: str) -> list[int]:
        """Symbols of a text, the end symbol last."""
        return [*self.subwords.encode(text).ids, END]

    def encode_pair(self, pair: VersePair) -> tuple[list[int], list[int]]:
        """Symbols of a verse in both versions."""
        return self.encode(pair.source), self.encode(pair.target)

    def translate(self, write, texts: list[str]) -> list[str]:
        """Translate texts, those of similar length together; ``write(source)`` is the model."""
        encoded = [self.encode(text)[-self.longest :] for text in texts]
        order = sorted(range(len(texts)), key=lambda number: len(encoded[number]))
        translated = [""] * len(texts)
        for start in range(0, len(order), 32):
            numbers = order[start : start + 32]
            written = write(pad_sequences([encoded[n] for n in numbers])[0])
            for number, symbols in zip(numbers, written.tolist(), strict=True):
                translated[number] = self.subwords.decode(
                    symbols, skip_special_tokens=True
                ).strip()
        return translated


def new_model(config: dict, kind: str, choice: list) -> nn.Module:
    """A freshly initialised model; ``choice`` is what the tuning decides."""
    sizes, shared = config[kind], {"dropout": config["dropout"]}
    if kind == "lstm":
        return LSTMTranslator(
            LSTMTranslatorConfig(config["vocab_size"], **sizes, **shared)
        )
    return Transformer(
        TransformerConfig(
            config["vocab_size"],
            norm_first=choice[1],
            max_length=256,
            **sizes,
            **shared,
        )
    )


def write_greedily(model: nn.Module, source: Tensor) -> Tensor:
    """Symbols that a model of either kind writes for ``[B, S]``."""
    longest = min(source.shape[1] * 2 + 10, 160)
    if isinstance(model, LSTMTranslator):
        return model.generate(source, longest)
    return greedy(model, source, longest)


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
    config: dict,
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
    seed_everything(SEED)
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
        if folder is None or count % config["snapshot_every"]:
            return
        # After a break, what follows the last checkpoint is done again.
        curve[:] = [point for point in curve if point["step"] < count]
        spent = time.process_time() - start
        spent += curve[-1]["cpu_time_s"] if curve else 0.0
        curve.append({"step": count, "cpu_time_s": round(spent, 1)})
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state.pop("output.weight", None)  # the same as the embedding table
        write_atomically(folder / f"{count}.safetensors", lambda p: save_file(state, p))
        if count % config["measure_every"] == 0:
            curve[-1]["validation_loss"] = validation_loss(model, verses)
        write_atomically(curve_file, lambda p: torch.save(curve, p))
        start = time.process_time()

    train(
        model,
        batches_by_length(sources, targets, config["tokens_per_batch"], SEED),
        translation_loss(config["smoothing"], config["bfloat16"]),
        steps=steps,
        learning_rate=choice[0],
        schedule=inverse_square_root(config["warmup"]),
        betas=tuple(config["betas"]),
        seed=SEED,
        after_step=after_step,
        progress=f"{kind} {choice}",
        checkpoint=folder and folder / "checkpoint.pt",
        checkpoint_every=config["measure_every"],
    )
    return model.eval(), curve


def train_curve(config: dict, kind: str, choice: list, folder: Path) -> list[dict]:
    """Train one model to its last step, in a process of its own; its curve."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    verses = Verses(config)
    _, curve = train_model(config, verses, kind, choice, config["steps"], folder)
    return [point for point in curve if point["step"] <= config["steps"]]


def average_loss(config: dict, kind: str, choice: list, folder: Path) -> float:
    """The validation loss of the mean of the last snapshots."""
    torch.set_num_threads(1)
    state = averaged(config, folder, config["steps"])
    return validation_loss(load_model(config, kind, choice, state), Verses(config))


def after_equal_time(curves: dict[str, list[dict]]) -> dict[str, int]:
    """The step of each model at which its time is nearest to the faster one's whole time."""
    budget = min(curve[-1]["cpu_time_s"] for curve in curves.values())
    return {
        kind: min(curve, key=lambda point: abs(point["cpu_time_s"] - budget))["step"]
        for kind, curve in curves.items()
    }


def averaged(config: dict, folder: Path, mark: int) -> dict[str, Tensor]:
    """The mean of the last snapshots up to a step, in half precision."""
    window = config["snapshots"] * config["snapshot_every"]
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


def load_model(
    config: dict, kind: str, choice: list, state: dict[str, Tensor]
) -> nn.Module:
    """A model with stored weights, in evaluation mode."""
    model = new_model(config, kind, choice)
    state = {name: tensor.float() for name, tensor in state.items()}
    if kind == "transformer":
        state["output.weight"] = state["embedding.tokens.weight"]
    model.load_state_dict(state)
    return model.eval()


def scores(verses: Verses, write) -> dict:
    """BLEU and chrF on the test verses."""
    written = verses.translate(write, [pair.source for pair in verses.test])
    return corpus_scores(written, [pair.target for pair in verses.test])


def weights_file(folder: Path, kind: str) -> Path:
    """Where the weights of a model after its last step are stored."""
    return folder / f"{NAME}_{kind}.safetensors"


def tune(config: dict, kind: str) -> list[tuple[list, float]]:
    """The validation loss of every choice after a short training."""
    torch.set_num_threads(1)
    verses = Verses(config)
    found = []
    for choice in config["tuning"][kind]:
        model, _ = train_model(
            config, verses, kind, choice, config["tuning_steps"], None
        )
        found.append((choice, validation_loss(model, verses)))
    return found


def measure(
    config: dict, kind: str, choice: list, folder: Path, weights: Path, marks: list[int]
) -> list[tuple[str, dict]]:
    """Measure one model at some steps; the weights of its last step are stored."""
    torch.set_num_threads(1)
    verses = Verses(config)
    curve = torch.load(folder / "curve.pt", weights_only=True)
    measured = []
    for mark in sorted({*marks, config["steps"]}):
        state = averaged(config, folder, mark)
        model = load_model(config, kind, choice, state)
        (point,) = [point for point in curve if point["step"] == mark]
        metrics = {"steps": mark, "cpu_time_s": point["cpu_time_s"]}
        metrics["validation_loss"] = validation_loss(model, verses)
        metrics |= scores(verses, lambda source, m=model: write_greedily(m, source))
        measured.append((f"{kind}, {mark} steps", metrics))
    write_atomically(weights_file(weights, kind), lambda path: save_file(state, path))
    if kind == "transformer" and config["beam"]:
        size, alpha = config["beam"]

        def write(source: Tensor) -> Tensor:
            rows = [row[None, : int((row != 0).sum())] for row in source]
            found = [beam_search(model, row, 160, size, alpha)[0][0] for row in rows]
            return pad_sequences([symbols.tolist() for symbols in found])[0]

        name = f"{kind}, {mark} steps, beam"
        measured.append((name, {"steps": mark, **scores(verses, write)}))
    return measured


def run(config: dict, folder: Path, weights: Path, resume: bool) -> Results:
    """Tune both, train both side by side, measure."""
    results = Results(
        NAME,
        config,
        [SEED],
        folder=folder,
        resume=resume,
        packages=["sacrebleu", "tokenizers"],
    )
    kinds = ["transformer", "lstm"]
    work = folder.parent / "checkpoints" if folder == RESULTS else folder
    verses = Verses(config)
    subwords_file = weights / f"{NAME}_subwords.json"
    write_atomically(subwords_file, lambda path: verses.subwords.save(str(path)))
    if not results.has("copy", SEED):
        pairs = verses.test
        copied = corpus_scores([p.source for p in pairs], [p.target for p in pairs])
        results.add("copy", SEED, parameters=0, wall_time_s=0, metrics=copied)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        if not results.has("tuning: lstm", SEED):
            started = time.perf_counter()
            found = dict(zip(kinds, pool.map(tune, [config] * 2, kinds), strict=True))
            for kind in kinds:
                results.add(
                    f"tuning: {kind}",
                    SEED,
                    parameters=count_parameters(
                        new_model(config, kind, found[kind][0][0])
                    ),
                    wall_time_s=time.perf_counter() - started,
                    metrics={"choices": found[kind]},
                )
        jobs = [
            (kind, choice, work / f"{NAME}_{kind}_{choice[0]}")
            for kind in kinds
            for choice in config["whole"][kind]
        ]
        if not results.has("trained: lstm", SEED):
            started = time.perf_counter()
            for measured in (train_curve, average_loss):
                pending = [pool.submit(measured, config, *job) for job in jobs]
                if measured is train_curve:
                    curves = [job.result() for job in pending]
                else:
                    losses = [job.result() for job in pending]
            for kind in kinds:
                results.add(
                    f"trained: {kind}",
                    SEED,
                    parameters=count_parameters(
                        new_model(config, kind, config["whole"][kind][0])
                    ),
                    wall_time_s=time.perf_counter() - started,
                    metrics={
                        "choices": [
                            {"choice": choice, "validation_loss": loss, "curve": curve}
                            for (of, choice, _), loss, curve in zip(
                                jobs, losses, curves, strict=True
                            )
                            if of == kind
                        ]
                    },
                )
        taken = {
            kind: min(
                done["metrics"]["choices"], key=lambda tried: tried["validation_loss"]
            )
            for kind in kinds
            for done in results.runs
            if done["variant"] == f"trained: {kind}"
        }
        best = {kind: taken[kind]["choice"] for kind in kinds}
        curves = {kind: taken[kind]["curve"] for kind in kinds}
        folders = {
            kind: folder for kind, choice, folder in jobs if choice == best[kind]
        }
        started = time.perf_counter()
        mark = after_equal_time(curves)
        jobs = {
            kind: pool.submit(
                measure, config, kind, best[kind], folders[kind], weights, [mark[kind]]
            )
            for kind in kinds
        }
        for kind, job in jobs.items():
            for name, metrics in job.result():
                if not results.has(name, SEED):
                    results.add(
                        name,
                        SEED,
                        parameters=count_parameters(
                            new_model(config, kind, best[kind])
                        ),
                        wall_time_s=time.perf_counter() - started,
                        metrics={"choice": best[kind], **metrics},
                    )
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    config = SMOKE if options.smoke else CONFIG
    results = run(config, options.folder, options.weights, options.resume)
    for done in results.runs:
        if "bleu" in done["metrics"]:
            print(f"{done['variant']:40} BLEU {done['metrics']['bleu']:.1f}")


if __name__ == "__main__":
    main()
