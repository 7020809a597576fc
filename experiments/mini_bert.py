"""The book's own BERT: vocabulary and weights from scratch, out of the book's real text.

Articles of Wikipedia, films with their reviews, and the Bible in two versions, the training part of
each. The vocabulary is learned from the same text. Short sequences first, long ones at the end.
Measured on documents of every kind that no training has seen, beside what counting words achieves
and beside an LSTM that reads the same masked text from both sides.

    python experiments/mini_bert.py [--smoke] [--resume]

Started by ``accelerate launch --multi_gpu`` it trains in several processes.
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import load_weights
from bertbook.corpora.documents import KINDS, load_documents
from bertbook.pretraining.data import PairStream, Stage
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import PreTraining, pretrain, read_log
from bertbook.pretraining.masking import PieceTable
from bertbook.pretraining.mini_bert import start_with_neighbours
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.pretraining.sentence_pairs import SentencePair, collate, sentence_pairs
from bertbook.shared.experiment import Experiment, Job, Trained, section, store
from bertbook.shared.results import means
from bertbook.shared.training import seed_everything, write_atomically
from bertbook.shared.training import train as fit
from bertbook.studies.mlm_baselines import (
    CONTEXTS,
    LEFT,
    LSTMForMaskedLM,
    NeighbourModel,
)
from bertbook.studies.pretraining_measures import (
    measure_counts,
    measure_model,
    measure_next_sentence,
    measure_overlap,
)
from bertbook.tokenizer.learning import count_words, learn_vocabulary, pair_count
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

NAME = "mini_bert"
SEED = 0
COUNTED = {"frequencies": (), "neighbours on the left": LEFT, "neighbours": CONTEXTS}
# The first was planned for 13,000 steps, the last 2,500 of them at 128 pieces, and stopped when it
# named fewer pieces of unseen articles and reviews than counted neighbours do. In the second each
# kind of text is about as frequent as the others.
TRAININGS = (
    {
        "stages": [[10500, 64, 32], [2500, 128, 16]],
        "stop_after": 9000,
        "learning_rate": 1e-3,
        "warmup": 1000,
        "repeats": {"wikipedia": 1, "reviews": 1, "verses": 1},
    },
    {
        "stages": [[7500, 128, 16]],
        "stop_after": None,
        "learning_rate": 8e-4,
        "warmup": 200,
        "repeats": {"wikipedia": 3, "reviews": 3, "verses": 1},
    },
)


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    vocabulary: dict[str, int] = section(size=8192, min_count=2)
    model: dict[str, int] = section(
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=128,
    )
    # No dropout: a text returns a dozen times, each time with other masks.
    dropout_in_training: float = 0.0
    # Of each layer: the places that its heads look at in the beginning, before (-) and behind, and
    # the spread of the matrices that carry on what was seen.
    neighbours: tuple = ((-1, 1, -2, 2), (-1, 1, -2, 2), (-1, 1, 0, 0), (-1, 1, 0, 0))
    values_std: tuple[float, ...] = (0.04, 0.04, 0.02, 0.02)
    positions_std: float = 0.1
    looks_std: float = 0.1
    words_std: float = 0.05
    # Two trainings, one after the other.
    trainings: tuple[dict, ...] = TRAININGS
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    mixed_precision: str = "bf16"
    # Same text, batches and head as the mini-BERT's first steps; its rate falls to zero in them.
    lstm: dict = section(units=280, steps=4500, learning_rate=3e-3, warmup=100)
    # Held-out pairs of each kind, and which checkpoints are measured on them too.
    measured_pairs: int = 400
    measured_steps: tuple = (500, 1000, 2000, 4000, 6000, 9000, 12000, 14500)
    loss_every: int = 100
    checkpoint_every: int = 500
    documents: int | None = None


CONFIG = Config()
SMOKE = Config(
    vocabulary={"size": 700, "min_count": 2},
    model={
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
    neighbours=((-1, 1),),
    values_std=(0.04,),
    trainings=(
        {
            **TRAININGS[0],
            "stages": [[3, 16, 4], [2, 32, 2]],
            "stop_after": 2,
            "warmup": 1,
        },
        {**TRAININGS[1], "stages": [[2, 32, 2]], "warmup": 1},
    ),
    lstm={"units": 8, "steps": 3, "learning_rate": 3e-3, "warmup": 1},
    measured_pairs=4,
    measured_steps=(2,),
    loss_every=2,
    checkpoint_every=2,
    documents=6,
)


@cache
def texts(part: str, kind: str | None = None, count: int | None = None) -> tuple:
    """Documents of a part as tuples of sentences; of each kind at most ``count``."""
    found = []
    for name in KINDS if kind is None else (kind,):
        documents = [
            d.sentences
            for d in load_documents()
            if d.kind == name and d.part == part and len(d.sentences) > 1
        ]
        found += documents[:count]
    return tuple(found)


def vocabulary(config: Config) -> list[str]:
    """The pieces, learned from the training part."""
    words = count_words(
        sentence
        for document in texts("train", None, config.documents)
        for sentence in document
    )
    return learn_vocabulary(words, score=pair_count, **config.vocabulary).pieces


def numbers(tokenizer: WordPieceTokenizer, documents: tuple) -> list[list[list[int]]]:
    """Documents as the numbers of their pieces; what yields no piece is left out."""
    encoded = [[tokenizer.piece_ids(s) for s in document] for document in documents]
    encoded = [[sentence for sentence in d if sentence] for d in encoded]
    return [document for document in encoded if document]


@cache
def encoded(
    pieces: tuple[str, ...], part: str, kind: str | None, count: int | None
) -> list[list[list[int]]]:
    """:func:`numbers` of :func:`texts`, in these pieces; made once, it takes a while."""
    return numbers(WordPieceTokenizer(pieces), texts(part, kind, count))


def settings_of(config: Config, training: dict) -> PreTraining:
    """How one of the trainings is done."""
    return PreTraining(
        stages=tuple(Stage(*stage) for stage in training["stages"]),
        learning_rate=training["learning_rate"],
        warmup=training["warmup"],
        weight_decay=config.weight_decay,
        betas=tuple(config.betas),
        seed=SEED,
        checkpoint_every=config.checkpoint_every,
    )


def documents_of(config: Config, pieces: list[str], training: dict) -> list:
    """The training part, each kind as often as the training wants it.

    A text that is there several times may get a copy of itself as its random partner, seldom.
    """
    return [
        document
        for kind, times in training["repeats"].items()
        for document in encoded(tuple(pieces), "train", kind, config.documents) * times
    ]


def training_folder(work: Path, number: int) -> Path:
    """Where a training keeps its log and checkpoint."""
    return work / f"training_{number + 1}"


def train_mini_bert(
    config: Config, pieces: list[str], work: Path
) -> BertForPreTraining:
    """Train, or go on training, in the folder ``work``."""
    without = config.dropout_in_training
    sizes = BertConfig(
        vocab_size=len(pieces),
        **config.model,
        hidden_dropout_prob=without,
        attention_probs_dropout_prob=without,
    )
    seed_everything(SEED)
    fresh, done = BertForPreTraining(sizes), 0
    model = start_with_neighbours(fresh, asdict(config))
    for number, training in enumerate(config.trainings):
        documents = documents_of(config, pieces, training)
        settings = settings_of(config, training)
        model = pretrain(
            model,
            lambda shard, documents=documents: documents,
            PieceTable(pieces),
            settings,
            training_folder(work, number),
            mixed_precision=config.mixed_precision,
            progress=f"{NAME}, training {number + 1}",
            stop_after=training["stop_after"],
            after_checkpoint=lambda step, checkpoint, done=done: keep_weights(
                config, work, done + step, checkpoint
            ),
        )
        done += training["stop_after"] or settings.steps
    return model


def whole_log(config: Config, work: Path) -> list[dict]:
    """The lines of all trainings."""
    numbers = range(len(config.trainings))
    return [line for n in numbers for line in read_log(training_folder(work, n))]


def snapshot_file(work: Path, step: int) -> Path:
    """Where the weights after a step are kept until they are measured."""
    return work / "snapshots" / f"{step}.safetensors"


def keep_weights(config: Config, work: Path, step: int, checkpoint: Path) -> None:
    """Copy the weights of a checkpoint that is to be measured."""
    if step in config.measured_steps:
        write_atomically(
            snapshot_file(work, step),
            lambda path: shutil.copyfile(checkpoint / "model.safetensors", path),
        )


def store_folder(
    model: BertForPreTraining, config: Config, pieces: list[str], folder: Path
):
    """Write a folder as Hugging Face's BERT has it, in half precision."""
    store(model, folder / "model.safetensors")
    write_lines(folder / "vocab.txt", pieces)
    described = {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        **asdict(BertConfig(vocab_size=len(pieces), **config.model)),
    }
    write_lines(folder / "config.json", [json.dumps(described, indent=1)])


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file."""
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def held_out(
    config: Config,
    pieces: list[str],
    kind: str,
    part: str = "test",
    negatives: str = "random",
) -> list[SentencePair]:
    """Pairs of unseen documents of one kind, as long as the longest in training."""
    documents = encoded(tuple(pieces), part, kind, config.documents)
    generator = torch.Generator().manual_seed(7)
    longest = max(length for t in config.trainings for _, length, _ in t["stages"])
    pairs = sentence_pairs(documents, longest, generator=generator, negatives=negatives)
    order = torch.randperm(len(pairs), generator=generator).tolist()
    return [pairs[n] for n in order[: config.measured_pairs]]


def held_out_batches(config: Config, pieces: list[str], kind: str) -> list[dict]:
    """The pairs masked by BERT's rule, once and for all."""
    pairs, table = held_out(config, pieces, kind), PieceTable(pieces)
    generator = torch.Generator().manual_seed(8)
    return [
        collate(pairs[start : start + 50], table, generator=generator)
        for start in range(0, len(pairs), 50)
    ]


def train_lstm(
    config: Config, pieces: list[str], work: Path
) -> tuple[LSTMForMaskedLM, list[float], float]:
    """Train the LSTM on the mini-BERT's first batches, and go on if a checkpoint is there.

    Returns:
        The model, the loss of every step, and the seconds that all steps took.
    """
    choice = config.lstm
    first = config.trainings[0]
    documents = documents_of(config, pieces, first)
    stream = PairStream(lambda shard: documents, PieceTable(pieces), seed=SEED)
    stage = Stage(*first["stages"][0])
    seed_everything(SEED)
    model = LSTMForMaskedLM(len(pieces), config.model["hidden_size"], choice["units"])
    drawn = 0

    def batches(step: int) -> dict:
        nonlocal drawn
        while drawn < step:  # after a break
            stream.batch(stage, drawn)
            drawn += 1
        drawn += 1
        return stream.batch(stage, step)

    def loss(model, batch):
        bf16 = config.mixed_precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(**batch).loss

    work.mkdir(parents=True, exist_ok=True)
    log, started = work / "lstm_seconds.txt", time.perf_counter()

    def log_time(step: int, loss: float) -> None:
        nonlocal started
        with log.open("a") as file:
            file.write(f"{step} {time.perf_counter() - started:.4f}\n")
        started = time.perf_counter()

    losses = fit(
        model,
        batches,
        loss,
        steps=choice["steps"],
        learning_rate=choice["learning_rate"],
        schedule=warmup_and_linear_decay(choice["warmup"], choice["steps"]),
        weight_decay=config.weight_decay,
        decays=decays,
        betas=tuple(config.betas),
        seed=SEED,
        progress="lstm",
        after_step=log_time,
        checkpoint=work / "lstm.pt",
        checkpoint_every=100,
    )
    lines = log.read_text().splitlines()
    seconds = {line.split()[0]: float(line.split()[1]) for line in lines}
    return model, losses, sum(seconds.values())


def read_pieces(folder: Path) -> list[str]:
    """The stored vocabulary."""
    return WordPieceTokenizer.from_vocab_file(folder / "vocab.txt").pieces


def train(job: Job) -> Trained:
    """Pre-train the mini-BERT, take one of its snapshots, count neighbours, or train the LSTM."""
    config, work, folder = job.config, job.work, job.weights / NAME
    if job.variant == NAME:
        if not (work / "vocab.txt").exists():
            write_lines(work / "vocab.txt", vocabulary(config))
        pieces = read_pieces(work)
        store_folder(train_mini_bert(config, pieces, work), config, pieces, folder)
        log, width = whole_log(config, work), config.loss_every
        losses = {
            name: means([line[name] for line in log], width)
            for name in ("masked_lm_loss", "next_sentence_loss")
        }
        found = {"tokens": sum(line["tokens"] for line in log), **losses}
        seconds = sum(line["seconds"] for line in log)
        model = BertForPreTraining.from_pretrained(folder)  # as it is stored
        return Trained(model, found, wall_time_s=seconds)
    pieces = read_pieces(folder)
    if job.variant in COUNTED:
        documents = encoded(tuple(pieces), "train", None, config.documents)
        model = NeighbourModel(documents, len(pieces), COUNTED[job.variant])
        entries = sum(len(counts) for *_, counts in model.tables.values())
        return Trained(model, parameters=entries + len(pieces))
    if job.variant == "lstm":
        model, losses, seconds = train_lstm(config, pieces, work)
        losses = means(losses, config.loss_every)
        return Trained(model, {"masked_lm_loss": losses}, wall_time_s=seconds)
    step = snapshots(config)[job.variant]
    model = BertForPreTraining(BertConfig(vocab_size=len(pieces), **config.model))
    load_weights(model, snapshot_file(work, step))
    seconds = sum(line["seconds"] for line in whole_log(config, work)[:step])
    return Trained(model, wall_time_s=seconds)


def measure(job: Job, model) -> dict:
    """Masked pieces of each kind; of the whole mini-BERT next sentences too."""
    config, pieces = job.config, read_pieces(job.weights / NAME)
    table = PieceTable(pieces)
    scores = measure_counts if job.variant in COUNTED else measure_model
    metrics = {
        "masked": {
            kind: scores(model, held_out_batches(config, pieces, kind), table)
            for kind in KINDS
        }
    }
    if job.variant == NAME:
        metrics |= {"next_sentence": {}, "next_sentence_by_overlap": {}}
        for kind in KINDS:
            pairs = {
                how: held_out(config, pieces, kind, negatives=how)
                for how in ("random", "swapped")
            }
            metrics["next_sentence"][kind] = {
                how: measure_next_sentence(model, pairs[how], table) for how in pairs
            }
            known = held_out(config, pieces, kind, "validation")
            by_overlap = measure_overlap(known, pairs["random"])
            metrics["next_sentence_by_overlap"][kind] = by_overlap
    return metrics


def describe(run: dict) -> str:
    """Right guesses in each kind of text."""
    scores = run["metrics"]["masked"]
    found = " ".join(f"{kind} {scores[kind]['top_1']:.3f}" for kind in KINDS)
    return f"{run['variant']:30} {found}"


def snapshots(config: Config) -> dict[str, int]:
    """The runs that measure an early checkpoint, and after which step."""
    return {f"{NAME} after {step} steps": step for step in config.measured_steps}


def plan(config: Config, seeds, results):
    """The mini-BERT, its snapshots, and what it is compared with."""
    names = [NAME, *snapshots(config), *COUNTED, "lstm"]
    yield [(name, SEED) for name in names]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    packages=("accelerate", "safetensors"),
    keep_work=True,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
