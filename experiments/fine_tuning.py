"""One encoder, four forms of task: what pre-training is worth, and what fine-tuning changes.

The encoder is the book's own mini-BERT, beside the same network with random weights. Film reviews
(fresh or rotten) are classified from few labels and from all: fine-tuned, from frozen features of
each layer, by words alone. Pairs of verses, names and spans beside baselines that count words. What
makes few labels unstable, a grid of settings on the validation part, how far each layer moved.

    python experiments/fine_tuning.py [--smoke] [--resume]
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import initialise
from bertbook.bert.minilm import minilm_folder
from bertbook.bert.model import BertModel
from bertbook.corpora.tasks import name_tasks, pair_tasks, review_tasks, span_tasks
from bertbook.fine_tuning.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bertbook.fine_tuning.task_data import (
    TaskData,
    encode_names,
    encode_sequences,
    encode_spans,
    fine_tune,
    predict,
    score,
)
from bertbook.pretraining.mini_bert import start_with_neighbours
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.results import WEIGHTS, read_results
from bertbook.shared.training import seed_everything
from bertbook.studies import task_baselines as baselines
from bertbook.studies.layer_change import layer_changes
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

NAME = "fine_tuning"
MINI_BERT = WEIGHTS / "mini_bert"
ENCODERS = ("mini_bert", "random", "minilm")
PARTS = ("train", "validation", "test")
HEADS = {
    "reviews": (BertForSequenceClassification, "classifier."),
    "pairs": (BertForSequenceClassification, "classifier."),
    "names": (BertForTokenClassification, "classifier."),
    "spans": (BertForQuestionAnswering, "qa_outputs."),
}
BASE = {
    "task": "reviews",
    "start": "mini_bert",
    "labels": 300,
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 3e-4,
    "part": "test",
    "vary": ["labels", "head", "order"],
    "seeds": [0, 1, 2, 3, 4],
    "frozen": [],
}
EPOCHS = {100: 10, 300: 6, 1000: 4, None: 2}  # None: all labels
FEW = {"pairs": (2000, 2), "names": (1000, 3), "spans": (1500, 2)}


def variants() -> dict[str, dict]:
    """What each run changes of ``BASE``; the first ones count most."""
    found = {}
    starts = ("mini_bert", "random")
    for labels, epochs in EPOCHS.items():
        few = {"labels": labels, "epochs": epochs}
        for start in starts if labels else ():
            found[f"reviews, {start}, {labels}"] = {**few, "start": start}
    for task, (most, last) in FEW.items():
        for labels in (100, 300, most) if task == "names" else (most,):
            for start in starts:
                alone = task != "names" and start == "random"
                found[f"{task}, {start}, {labels}"] = {
                    "task": task,
                    "start": start,
                    "labels": labels,
                    "epochs": EPOCHS[labels] if labels < most else last,
                    "seeds": [0] if alone else [0, 1, 2],
                }
    for start, seeds in zip(starts, ([0, 1], [0]), strict=True):
        found[f"reviews, {start}, all"] = {
            "start": start,
            "labels": None,
            "epochs": EPOCHS[None],
            "seeds": seeds,
        }
    # The mini-BERT began with heads that look at neighbours: what is that start alone worth?
    for labels in (100, 300, 1000):
        found[f"names, neighbours, {labels}"] = {
            **found[f"names, random, {labels}"],
            "start": "neighbours",
        }
    found["reviews, neighbours, 1000"] = {
        **found["reviews, random, 1000"],
        "start": "neighbours",
    }
    # Added when the mini-BERT lost to random weights on reviews: is it the pooler that NSP trained?
    found["reviews, new pooler, 1000"] = {
        "start": "new pooler",
        "labels": 1000,
        "epochs": EPOCHS[1000],
    }
    for varied in BASE["vary"]:
        found[f"only {varied}"] = {"vary": [varied]}
    grid = {"part": "validation", "labels": 1000, "seeds": [0]}
    for rate in (1e-4, 3e-4, 1e-3):
        for epochs in (1, 4):
            for size in (16, 64):
                found[f"grid, {rate:g}, {epochs}, {size}"] = {
                    **grid,
                    "learning_rate": rate,
                    "epochs": epochs,
                    "batch_size": size,
                }
        found[f"grid, random, {rate:g}, 4, 16"] = {
            **grid,
            "start": "random",
            "learning_rate": rate,
            "epochs": 4,
        }
    return found


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    base: dict = section(**BASE)
    variants: dict[str, dict] = section(**variants())
    max_length: dict[str, int] = section(reviews=64, pairs=80, names=64, spans=112)
    measured: int = 1000  # of pairs, names and spans; of reviews all
    words_labels: tuple[int | None, ...] = (100, 300, 1000, None)
    frozen_labels: tuple[int, ...] = (100, 300, 1000)
    frozen_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    probe_labels: int = 1000
    mixed_precision: bool = False
    warmup: float = 0.1
    changes_measured: int = 200


CONFIG = Config()
SMOKE = Config(
    variants={
        name: {
            **choice,
            "labels": 8 if choice.get("task", "reviews") == "reviews" else 4,
            "epochs": 1,
            "batch_size": 4,
            "seeds": [0],
        }
        for name, choice in CONFIG.variants.items()
        if name.startswith(("pairs, mini", "names, mini_bert, 100", "spans, mini"))
        or name == "names, neighbours, 100"
        or name in ("reviews, mini_bert, all", "reviews, random, 100", "only head")
    },
    measured=8,
    words_labels=(100,),
    frozen_labels=(100,),
    frozen_seeds=(0,),
    probe_labels=20,
    changes_measured=4,
)


def settings(config: Config, variant: str) -> dict:
    """All settings of a variant.

    Raises:
        ValueError: if it changes something that is unknown.
    """
    changes = config.variants[variant]
    if unknown := set(changes) - set(config.base):
        raise ValueError(f"variant {variant!r} changes {unknown}, which is unknown")
    return {**config.base, **changes}


@cache
def tokenizer(folder: Path) -> WordPieceTokenizer:
    """The encoder's own."""
    return WordPieceTokenizer.from_folder(folder)


def part_of(task: str, part: str) -> tuple:
    """Examples of a task."""
    tasks = {
        "reviews": review_tasks,
        "pairs": pair_tasks,
        "names": name_tasks,
        "spans": span_tasks,
    }
    return tasks[task]()[PARTS.index(part)]


def chosen(config: Config, task: str, part: str, labels: int | None, seed: int) -> list:
    """So many examples at random, the larger choice holding the smaller; always the same."""
    examples = part_of(task, part)
    draw = torch.Generator().manual_seed(100 + seed)
    order = torch.randperm(len(examples), generator=draw).tolist()[:labels]
    return [examples[n] for n in order]


def measured(config: Config, task: str, part: str) -> list:
    """The examples on which a task is measured; of reviews all of the part."""
    whole = task == "reviews" and config.measured >= 1000
    return chosen(config, task, part, None if whole else config.measured, 0)


def encode(
    config: Config, task: str, examples: list, folder: Path = MINI_BERT
) -> TaskData:
    """Examples as the heads need them."""
    pieces, longest = tokenizer(folder), config.max_length[task]
    if task == "names":
        return encode_names(pieces, examples, longest)
    if task == "spans":
        return encode_spans(pieces, examples, longest)
    pairs = [e.second for e in examples] if task == "pairs" else None
    texts = [e.first if task == "pairs" else e.text for e in examples]
    labels = [e.label for e in examples]
    return encode_sequences(pieces, texts, labels, pairs, longest)


def new_model(task: str, start: str, seed: int):
    """An encoder with a fresh head.

    ``random``: all is fresh; ``neighbours``: all is fresh, and as the mini-BERT's training began;
    ``new pooler``: the pooler is fresh as well.
    """
    kind, head = HEADS[task]
    seed_everything(seed)
    if start in ("random", "neighbours"):
        model = kind(BertConfig.from_json(MINI_BERT / "config.json"))
        if start == "neighbours":
            start_with_neighbours(model, read_results("mini_bert")["config"])
        return model
    model = kind.from_pretrained(MINI_BERT, fresh=head, ignore="cls.")
    if start == "new pooler":
        initialise(model.bert.pooler, model.config.initializer_range)
    return model


def tuned(job: Job) -> Trained:
    """Fine-tune one model."""
    config, choice = job.config, settings(job.config, job.variant)
    seeds = {name: job.seed * (name in choice["vary"]) for name in BASE["vary"]}
    task, started = choice["task"], time.process_time()
    examples = chosen(config, task, "train", choice["labels"], seeds["labels"])
    data = encode(config, task, examples)
    model = new_model(task, choice["start"], seeds["head"])
    losses = fine_tune(
        model,
        data,
        epochs=choice["epochs"],
        batch_size=choice["batch_size"],
        learning_rate=choice["learning_rate"],
        warmup=config.warmup,
        seed=seeds["order"],
        mixed_precision=config.mixed_precision,
    )
    found = {
        "examples": len(data),
        "loss_first": round(float(np.mean(losses[:5])), 4),
        "loss_last": round(float(np.mean(losses[-5:])), 4),
        "cpu_time_s": round(time.process_time() - started, 1),
    }
    return Trained(model, found)


def measure(job: Job, model) -> dict:
    """Measure a fine-tuned model; of one also how far its layers moved and what they say."""
    if job.variant not in job.config.variants:
        return {}
    config, choice = job.config, settings(job.config, job.variant)
    task = choice["task"]
    unseen = encode(config, task, measured(config, task, choice["part"]))
    scores = rounded(score(unseen, predict(model, unseen)))
    metrics = {**scores, "measured_on": len(unseen)}
    if (job.variant, job.seed) == ("reviews, mini_bert, all", 0):
        before = new_model(task, choice["start"], 0)
        some = unseen.take(range(config.changes_measured))
        metrics["changes"] = layer_changes(before.bert, model.bert, some)
        train, test = (
            chosen(config, "reviews", "train", config.probe_labels, 0),
            measured(config, "reviews", "test"),
        )
        known, unseen = (
            baselines.features(model.bert.eval(), encode(config, "reviews", part))
            for part in (train, test)
        )
        metrics["probes"] = {
            kind: baselines.layer_accuracies(known[kind], train, unseen[kind], test)
            for kind in known
        }
    return metrics


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Shares to four decimals."""
    return {name: round(float(value), 4) for name, value in numbers.items()}


def frozen(job: Job, encoder: str) -> Trained:
    """Accuracy of every layer, pooling and number of labels, from an encoder as it is."""
    config, folder = job.config, MINI_BERT
    if encoder == "minilm":
        folder = minilm_folder()
        model = BertModel.from_pretrained(folder)
    elif encoder == "random":
        seed_everything(0)
        model = BertModel(BertConfig.from_json(folder / "config.json")).eval()
    else:
        model = BertModel.from_pretrained(folder, ignore="cls.").eval()
    train = chosen(config, "reviews", "train", max(config.frozen_labels), job.seed)
    test = measured(config, "reviews", "test")
    known, unseen = (
        baselines.features(model, encode(config, "reviews", part, folder))
        for part in (train, test)
    )
    found = {
        kind: {
            str(count): baselines.layer_accuracies(
                known[kind][:, :count], train[:count], unseen[kind], test
            )
            for count in config.frozen_labels
        }
        for kind in known
    }
    return Trained(model, found)


def name_baseline(config: Config, labels: int | None) -> dict[str, float]:
    """Names by what each word mostly was in so many training sentences."""
    known = chosen(config, "names", "train", labels, 0)
    test = measured(config, "names", "test")
    return baselines.names_by_word(known, test, encode(config, "names", test))


def span_baseline(config: Config) -> dict[str, float]:
    """Spans by words in common; what does not fit into the model is not asked here either."""
    test, longest = measured(config, "spans", "test"), config.max_length["spans"]
    pieces = tokenizer(MINI_BERT)
    kept = [e for e in test if len(pieces.encode(e.question, e.passage)) <= longest]
    return baselines.spans_by_words(kept, encode(config, "spans", test))


def majority(config: Config, task: str) -> dict[str, float]:
    """The class that is more frequent in the training part, always."""
    test = measured(config, task, "test")
    return {"accuracy": baselines.majority(part_of(task, "train"), test)}


def pair_baseline(config: Config) -> dict[str, float]:
    """Pairs by the share of common words, and by the more frequent class."""
    test = measured(config, "pairs", "test")
    accuracy = baselines.pairs_by_overlap(part_of("pairs", "train"), test)
    return {"accuracy": accuracy, "majority": majority(config, "pairs")["accuracy"]}


BASELINES = {
    "baseline, reviews": lambda config: majority(config, "reviews"),
    "baseline, pairs": pair_baseline,
    "baseline, names": lambda config: name_baseline(config, FEW["names"][0]),
    "baseline, names, all": lambda config: name_baseline(config, None),
    "baseline, spans": span_baseline,
}


# --- all of it --------------------------------------------------------------------------------


def train(job: Job) -> Trained:
    """What a run trains: a baseline, words, a frozen encoder's readers, or a whole model."""
    kind, _, encoder = job.variant.partition(", ")
    if job.variant in BASELINES:
        found = rounded(BASELINES[job.variant](job.config))
        return Trained(None, found, parameters=0)
    if kind == "words":
        test = measured(job.config, "reviews", "test")
        found = {
            str(labels or "all"): baselines.words_alone(
                chosen(job.config, "reviews", "train", labels, job.seed), test
            )
            for labels in job.config.words_labels
            if labels or not job.seed
        }
        return Trained(None, found, parameters=0)
    return frozen(job, encoder) if kind == "frozen" else tuned(job)


def describe(run: dict) -> str:
    """All numbers."""
    numbers = {k: v for k, v in run["metrics"].items() if isinstance(v, float)}
    return f"{run['variant']:32} seed {run['seed']}: {numbers}"


def plan(config: Config, seeds, results):
    """What needs no encoder, then every variant with its seeds and the frozen encoders."""
    labels = config.frozen_seeds
    yield [(name, 0) for name in BASELINES] + [("words", seed) for seed in labels]
    yield [
        (variant, seed)
        for variant in config.variants
        for seed in settings(config, variant)["seeds"]
    ] + [(f"frozen, {encoder}", seed) for encoder in ENCODERS for seed in labels]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    seeds=(0, 1, 2, 3, 4),
    packages=("scikit-learn", "safetensors"),
    processes=2,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
