"""One encoder, four forms of task: what pre-training is worth, and what fine-tuning changes.

The encoder is the book's own mini-BERT, beside the same network with random weights. Film reviews
(fresh or rotten) are classified from few labels and from all: fine-tuned, from frozen features of
each layer, by words alone. Pairs of verses, names and spans beside baselines that count words. What
makes few labels unstable, a grid of settings on the validation part, how far each layer moved.

    python experiments/fine_tuning.py [--smoke] [--resume]
"""

import os
import re
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from tqdm import tqdm

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import initialise
from bertbook.bert.minilm import minilm_folder
from bertbook.bert.model import BertModel
from bertbook.corpora.tasks import (
    name_tasks,
    pair_tasks,
    review_tasks,
    span_tasks,
    word_overlap,
)
from bertbook.fine_tuning.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    layer_features,
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
from bertbook.shared.results import (
    RESULTS,
    Results,
    experiment_arguments,
    read_results,
)
from bertbook.shared.training import count_parameters, seed_everything
from bertbook.studies.layer_change import layer_changes
from bertbook.tokenizer.pieces import IGNORED, span_of_pieces
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

NAME = "fine_tuning"
MINI_BERT = RESULTS.parent / "weights" / "mini_bert"
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
    """What each run changes of `BASE`; the first ones count most."""
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


CONFIG = {
    "base": BASE,
    "variants": variants(),
    "max_length": {"reviews": 64, "pairs": 80, "names": 64, "spans": 112},
    "measured": 1000,  # of pairs, names and spans; of reviews all
    "words_labels": [100, 300, 1000, None],
    "frozen_labels": [100, 300, 1000],
    "frozen_seeds": [0, 1, 2, 3, 4],
    "probe_labels": 1000,
    "mixed_precision": False,
    "warmup": 0.1,
    "changes_measured": 200,
}
SMOKE = {
    **CONFIG,
    "variants": {
        name: {
            **choice,
            "labels": 8 if choice.get("task", "reviews") == "reviews" else 4,
            "epochs": 1,
            "batch_size": 4,
            "seeds": [0],
        }
        for name, choice in CONFIG["variants"].items()
        if name.startswith(("pairs, mini", "names, mini_bert, 100", "spans, mini"))
        or name == "names, neighbours, 100"
        or name in ("reviews, mini_bert, all", "reviews, random, 100", "only head")
    },
    "measured": 8,
    "words_labels": [100],
    "frozen_labels": [100],
    "frozen_seeds": [0],
    "probe_labels": 20,
    "changes_measured": 4,
}


def settings(config: dict, variant: str) -> dict:
    """All settings of a variant.

    Raises:
        ValueError: if it changes something that is unknown.
    """
    changes = config["variants"][variant]
    if unknown := set(changes) - set(config["base"]):
        raise ValueError(f"variant {variant!r} changes {unknown}, which is unknown")
    return {**config["base"], **changes}


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


def chosen(config: dict, task: str, part: str, labels: int | None, seed: int) -> list:
    """So many examples at random, the larger choice holding the smaller; always the same."""
    examples = part_of(task, part)
    draw = torch.Generator().manual_seed(100 + seed)
    order = torch.randperm(len(examples), generator=draw).tolist()[:labels]
    return [examples[n] for n in order]


def measured(config: dict, task: str, part: str) -> list:
    """The examples on which a task is measured; of reviews all of the part."""
    whole = task == "reviews" and config["measured"] >= 1000
    return chosen(config, task, part, None if whole else config["measured"], 0)


def encode(config: dict, task: str, examples: list, folder: Path) -> TaskData:
    """Examples as the heads need them."""
    pieces, longest = tokenizer(folder), config["max_length"][task]
    if task == "names":
        return encode_names(pieces, examples, longest)
    if task == "spans":
        return encode_spans(pieces, examples, longest)
    pairs = [e.second for e in examples] if task == "pairs" else None
    texts = [e.first if task == "pairs" else e.text for e in examples]
    labels = [e.label for e in examples]
    return encode_sequences(pieces, texts, labels, pairs, longest)


def new_model(task: str, start: str, seed: int, folder: Path):
    """An encoder with a fresh head.

    ``random``: all is fresh; ``neighbours``: all is fresh, and as the mini-BERT's training began;
    ``new pooler``: the pooler is fresh as well.
    """
    kind, head = HEADS[task]
    seed_everything(seed)
    if start in ("random", "neighbours"):
        model = kind(BertConfig.from_json(folder / "config.json"))
        if start == "neighbours":
            start_with_neighbours(model, read_results("mini_bert")["config"])
        return model
    model = kind.from_pretrained(folder, fresh=head, ignore="cls.")
    if start == "new pooler":
        initialise(model.bert.pooler, model.config.initializer_range)
    return model


def run_variant(config: dict, variant: str, seed: int, folder: Path) -> dict:
    """Fine-tune and measure one model, in a process of its own."""
    torch.set_num_threads(1)
    choice = settings(config, variant)
    seeds = {name: seed * (name in choice["vary"]) for name in BASE["vary"]}
    task = choice["task"]
    wall, cpu = time.perf_counter(), time.process_time()
    examples = chosen(config, task, "train", choice["labels"], seeds["labels"])
    data = encode(config, task, examples, folder)
    model = new_model(task, choice["start"], seeds["head"], folder)
    losses = fine_tune(
        model,
        data,
        epochs=choice["epochs"],
        batch_size=choice["batch_size"],
        learning_rate=choice["learning_rate"],
        warmup=config["warmup"],
        seed=seeds["order"],
        mixed_precision=config["mixed_precision"],
    )
    unseen = encode(config, task, measured(config, task, choice["part"]), folder)
    metrics = {
        **rounded(score(unseen, predict(model, unseen))),
        "examples": len(data),
        "measured_on": len(unseen),
        "loss_first": round(float(np.mean(losses[:5])), 4),
        "loss_last": round(float(np.mean(losses[-5:])), 4),
        "cpu_time_s": round(time.process_time() - cpu, 1),
    }
    if variant == "reviews, mini_bert, all" and seed == 0:
        before = new_model(task, choice["start"], 0, folder)
        some = unseen.take(range(config["changes_measured"]))
        metrics["changes"] = layer_changes(before.bert, model.bert, some)
        metrics["probes"] = probes(config, model.bert, folder)
    return {
        "parameters": count_parameters(model),
        "wall_time_s": time.perf_counter() - wall,
        "metrics": metrics,
    }


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Shares to four decimals."""
    return {name: round(float(value), 4) for name, value in numbers.items()}


# --- features of a frozen encoder, and words alone --------------------------------------------


def features(model: BertModel, data: TaskData) -> dict[str, Tensor]:
    """For each layer [CLS] and the mean of the pieces, ``[L + 1, examples, D]`` each."""
    found = {"cls": [], "mean": []}
    order = sorted(range(len(data)), key=lambda n: len(data.encodings[n]))
    for start in range(0, len(order), 50):
        inputs, _ = data.batch(order[start : start + 50])
        states = layer_features(model, **inputs)  # [L + 1, B, S, D]
        real = inputs["attention_mask"][None, :, :, None].float()
        found["cls"].append(states[:, :, 0])
        found["mean"].append((states * real).sum(2) / real.sum(2))
    back = torch.tensor(order).argsort()
    return {kind: torch.cat(parts, 1)[:, back] for kind, parts in found.items()}


def regression(folds: int = 3) -> LogisticRegressionCV:
    """Logistic regression; how strongly it is held back is chosen among the labels it gets."""
    return LogisticRegressionCV(
        Cs=[1e-4, 1e-3, 1e-2, 1e-1, 1, 10],
        cv=folds,
        scoring="accuracy",
        max_iter=1000,
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )


def feature_accuracy(train, train_labels, test, test_labels) -> float:
    """Share of right classes, from features ``[examples, D]``, each scaled to variance one."""
    model = make_pipeline(StandardScaler(), regression())
    model.fit(np.asarray(train), train_labels)
    return round(float(model.score(np.asarray(test), test_labels)), 4)


def sample(labels: int, seed: int) -> list[int]:
    """The numbers of the reviews that ``chosen`` takes."""
    draw = torch.Generator().manual_seed(100 + seed)
    count = len(part_of("reviews", "train"))
    return torch.randperm(count, generator=draw).tolist()[:labels]


def labels_of(part) -> np.ndarray:
    """Classes of examples."""
    return np.array([e.label for e in part])


def probes(config: dict, model: BertModel, folder: Path) -> dict[str, list[float]]:
    """Accuracy from each layer's frozen states, 1000 labels, before a head of its own."""
    train = chosen(config, "reviews", "train", config["probe_labels"], 0)
    test = measured(config, "reviews", "test")
    known, unseen = (
        features(model.eval(), encode(config, "reviews", part, folder))
        for part in (train, test)
    )
    return {
        kind: [
            feature_accuracy(a, labels_of(train), b, labels_of(test))
            for a, b in zip(known[kind], unseen[kind], strict=True)
        ]
        for kind in known
    }


def run_frozen(config: dict, encoder: str, folder: Path) -> dict[tuple, dict]:
    """Accuracy of every layer, pooling and number of labels; a few seeds of labels."""
    torch.set_num_threads(1)
    wall = time.perf_counter()
    if encoder == "minilm":
        folder = minilm_folder()
        model = BertModel.from_pretrained(folder)
    elif encoder == "random":
        seed_everything(0)
        model = BertModel(BertConfig.from_json(folder / "config.json")).eval()
    else:
        model = BertModel.from_pretrained(folder, ignore="cls.").eval()
    train, test = part_of("reviews", "train"), measured(config, "reviews", "test")
    most = config["frozen_labels"]
    needed = sorted({n for s in config["frozen_seeds"] for n in sample(max(most), s)})
    place = {n: i for i, n in enumerate(needed)}
    known, unseen = (
        features(model, encode(config, "reviews", part, folder))
        for part in ([train[n] for n in needed], test)
    )
    truth, right = labels_of(train), labels_of(test)
    seeds = config["frozen_seeds"]
    found = {}
    for seed in seeds:
        metrics = defaultdict(dict)
        for labels in most:
            numbers = sample(labels, seed)
            rows = [place[n] for n in numbers]
            for kind in known:
                metrics[kind][str(labels)] = [
                    feature_accuracy(a[rows], truth[numbers], b, right)
                    for a, b in zip(known[kind], unseen[kind], strict=True)
                ]
        found[seed] = {
            "parameters": count_parameters(model),
            "metrics": dict(metrics),
            "wall_time_s": time.perf_counter() - wall,
        }
    return found


def word_accuracy(config: dict, labels: int | None, seed: int) -> float:
    """TF-IDF of words and pairs of words, and logistic regression."""
    train = chosen(config, "reviews", "train", labels, seed)
    test = measured(config, "reviews", "test")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(words, regression())
    model.fit([e.text for e in train], labels_of(train))
    return round(float(model.score([e.text for e in test], labels_of(test))), 4)


# --- baselines of the other tasks -------------------------------------------------------------


def pair_baseline(config: dict) -> dict[str, float]:
    """The share of common words, with the threshold that is best on the training part."""
    train, test = part_of("pairs", "train"), measured(config, "pairs", "test")
    overlap = np.array([e.overlap for e in train])
    best = (0.0, 0.0, True)
    for cut in np.unique(overlap):
        for above in (True, False):
            right = float(np.mean(((overlap >= cut) == above) == labels_of(train)))
            best = max(best, (right, float(cut), above))
    _, cut, above = best
    said = (np.array([e.overlap for e in test]) >= cut) == above
    return {"accuracy": float(np.mean(said == labels_of(test)))}


def name_baseline(config: dict, labels: int | None, folder: Path) -> dict[str, float]:
    """A word is a name if it mostly was one in so many training sentences."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for e in chosen(config, "names", "train", labels, 0):
        for (start, end), label in zip(e.words, e.labels, strict=True):
            counts[e.text[start:end]][label] += label != IGNORED
    test = measured(config, "names", "test")
    data = encode(config, "names", test, folder)
    answers = []
    for example, encoding in zip(test, data.encodings, strict=True):
        at = {s: counts.get(example.text[s:e], Counter()) for s, e in example.words}
        answers.append(
            [
                int(at.get(s, Counter())[1] > at[s][0]) if s in at else 0
                for s, _ in encoding.offsets
            ]
        )
    return score(data, answers)


def span_baseline(config: dict, folder: Path) -> dict[str, float]:
    """Of all runs of sentences, the one with the largest share of words in common."""
    test = measured(config, "spans", "test")
    data = encode(config, "spans", test, folder)
    longest = config["max_length"]["spans"]
    kept = [
        e
        for e in test
        if len(tokenizer(folder).encode(e.question, e.passage)) <= longest
    ]
    answers = []
    for example, encoding in zip(kept, data.encodings, strict=True):
        text = example.passage
        ends = [m.end() for m in re.finditer(r"[.!?;,:]+[\"']*(?=\s|$)", text)]
        ends = sorted({*ends, len(text)})
        starts = [0, *(end + 1 for end in ends[:-1])]
        words = re.findall(r"\w+", example.question.lower())
        runs = [(s, e) for s in starts for e in ends if s < e]
        start, end = max(
            runs,
            key=lambda r: word_overlap(
                words, re.findall(r"\w+", text[r[0] : r[1]].lower())
            ),
        )
        answers.append(span_of_pieces(encoding, start, end))
    return score(data, answers)


def majority(config: dict, task: str) -> dict[str, float]:
    """The class that is more frequent in the training part, always."""
    train, test = part_of(task, "train"), measured(config, task, "test")
    said = int(labels_of(train).mean() >= 0.5)
    return {"accuracy": float((labels_of(test) == said).mean())}


def run_baselines(config: dict, folder: Path) -> dict[str, dict]:
    """What needs no encoder."""
    found = {
        "baseline, reviews": majority(config, "reviews"),
        "baseline, pairs": {
            **pair_baseline(config),
            "majority": majority(config, "pairs")["accuracy"],
        },
        "baseline, names": name_baseline(config, FEW["names"][0], folder),
        "baseline, names, all": name_baseline(config, None, folder),
        "baseline, spans": span_baseline(config, folder),
    }
    return {name: rounded(metrics) for name, metrics in found.items()}


# --- all of it --------------------------------------------------------------------------------


def run(config: dict, folder: Path, resume: bool, weights: Path = MINI_BERT) -> Results:
    """Whatever is missing, in as many processes as there are cores, at most two."""
    results = Results(
        NAME,
        config,
        BASE["seeds"],
        folder=folder,
        resume=resume,
        packages=["scikit-learn", "safetensors"],
    )

    def add(
        name: str, seed: int, metrics: dict, wall_time_s: float, parameters: int = 0
    ) -> None:
        if not results.has(name, seed):
            results.add(
                name,
                seed,
                parameters=parameters,
                wall_time_s=wall_time_s,
                metrics=metrics,
            )

    if not results.has("baseline, spans", 0):
        started = time.perf_counter()
        for name, metrics in run_baselines(config, weights).items():
            add(name, 0, metrics, time.perf_counter() - started)
    for seed in config["frozen_seeds"]:
        if not results.has("words", seed):
            started = time.perf_counter()
            metrics = {
                str(labels or "all"): word_accuracy(config, labels, seed)
                for labels in config["words_labels"]
                if labels or not seed
            }
            add("words", seed, metrics, time.perf_counter() - started)

    missing = [
        (variant, seed)
        for variant in config["variants"]
        for seed in settings(config, variant)["seeds"]
        if not results.has(variant, seed)
    ]
    frozen = [
        encoder
        for encoder in ("mini_bert", "random", "minilm")
        if not results.has(f"frozen, {encoder}", 0)
    ]
    workers = min(2, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(run_variant, config, variant, seed, weights): (variant, seed)
            for variant, seed in missing
        }
        for encoder in frozen:
            jobs[pool.submit(run_frozen, config, encoder, weights)] = (encoder, None)
        for job in tqdm(as_completed(jobs), total=len(jobs), desc=NAME):
            done, (variant, seed) = job.result(), jobs[job]
            if seed is None:
                for number, found in done.items():
                    add(f"frozen, {variant}", number, **found)
            else:
                add(variant, seed, **done)
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    config = SMOKE if options.smoke else CONFIG
    for done in run(config, options.folder, options.resume).runs:
        numbers = {k: v for k, v in done["metrics"].items() if isinstance(v, float)}
        print(f"{done['variant']:32} seed {done['seed']}: {numbers}")


if __name__ == "__main__":
    main()
