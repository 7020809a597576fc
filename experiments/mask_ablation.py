"""Table 8 in miniature: six mixes of [MASK], same and random, and next-sentence prediction off.

Small BERTs are pre-trained alike on the Bible in two versions, and differ in what stands at the
selected places: [MASK], the token itself or a random one. Then each is measured on which words of a
verse in small letters were names, and on whether two verses say the same: *fine-tuned*, all weights
with a fresh head, and as *frozen features*, a logistic regression on the outputs of its layers. A
model that was not pre-trained is measured beside them.

In these few minutes so small a BERT stays a bag of words if it starts as usual (one variant does).
So the others start with heads that look at neighbours, see ``start_looking_at_neighbours``, and so
does the model without pre-training. What to make of the neighbours is learnt.

Sizes, start and the tasks' numbers of examples were chosen with another seed on validation text, by
the mix 80/10/10 and the model without pre-training alone. At the learning rate chosen so, 2e-3, the
first run of 100/0/0 never left the frequencies of the pieces; all was stopped after these two runs,
and the rate halved for every mix, at which 100/0/0 learns too (by its loss in pre-training).
What is compared, and what counts as a difference, stands in ``bertbook.studies.mask_ablation``;
that rule was written before the first result was seen.

    python experiments/mask_ablation.py [--smoke] [--resume]
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from bertbook.bert.config import BertConfig
from bertbook.corpora.documents import load_documents
from bertbook.corpora.tasks import name_tasks, pair_tasks
from bertbook.fine_tuning.heads import (
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bertbook.fine_tuning.task_data import (
    TaskData,
    encode_names,
    encode_sequences,
    predict,
    score,
)
from bertbook.pretraining.data import PairStream, Stage
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, MaskingRule, PieceTable
from bertbook.pretraining.mini_bert import start_looking_at_neighbours
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.pretraining.sentence_pairs import SentencePair, collate, sentence_pairs
from bertbook.shared.experiment import Experiment, Job, Trained, section
from bertbook.shared.results import WEIGHTS, means
from bertbook.shared.training import minibatches, seed_everything
from bertbook.shared.training import train as fit
from bertbook.studies.mask_probes import attention_from, frozen_scores, masked_scores
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

NAME = "mask_ablation"
KIND = "verses"
# Shares of [MASK], random, unchanged in percent, and whether NSP is trained.
VARIANTS = {
    "80/10/10": {"mix": [80, 10, 10], "nsp": True},
    "100/0/0": {"mix": [100, 0, 0], "nsp": True},
    "80/20/0": {"mix": [80, 20, 0], "nsp": True},
    "80/0/20": {"mix": [80, 0, 20], "nsp": True},
    "0/80/20": {"mix": [0, 80, 20], "nsp": True},
    "0/100/0": {"mix": [0, 100, 0], "nsp": True},
    "usual start": {"mix": [80, 10, 10], "nsp": True, "usual_start": True},
    "without NSP": {"mix": [80, 10, 10], "nsp": False},
    "not pre-trained": {"mix": None, "nsp": False},
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    vocabulary: str = "weights/mini_bert/vocab.txt"
    kind: str = KIND
    documents: int | None = None  # at most so many; None: all
    model: dict = section(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=64,
        initializer_range=0.05,  # BERT's 0.02 at a width of 768, scaled by its root
    )
    # Of each layer: the places that its heads look at in the beginning, before (-) and behind.
    neighbours: tuple[tuple[int, ...], ...] = ((-1, 1, -2, 2), (-1, 1, 0, 0))
    positions_std: float = 0.1
    looks_std: float = 0.1
    pretraining: dict = section(
        steps=1600,
        batch_size=16,
        learning_rate=1e-3,
        warmup=150,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        dropout=0.0,
        bf16=True,
    )
    variants: dict[str, dict] = section(**VARIANTS)
    # Examples to train on and to test on.
    tasks: dict[str, tuple[int, int]] = section(names=(500, 1500), pairs=(2000, 1768))
    fine_tuning: dict = section(
        steps=200, batch_size=32, learning_rate=1e-3, warmup=20, dropout=0.1
    )
    held_out_pairs: int = 400
    loss_every: int = 50
    part: str = "test"


CONFIG = Config()
FEW = {"steps": 2, "batch_size": 4, "warmup": 1}
SMOKE = Config(
    documents=6,
    model={**CONFIG.model, "hidden_size": 16, "intermediate_size": 32},
    pretraining={**CONFIG.pretraining, **FEW},
    tasks={"names": (20, 20), "pairs": (20, 20)},
    fine_tuning={**CONFIG.fine_tuning, **FEW},
    held_out_pairs=10,
    loss_every=1,
)


@cache
def tokenizer() -> WordPieceTokenizer:
    """The vocabulary that all runs share, the mini-BERT's."""
    return WordPieceTokenizer.from_vocab_file(WEIGHTS / "mini_bert" / "vocab.txt")


@cache
def table() -> PieceTable:
    """What masking knows of it."""
    return PieceTable(tokenizer().pieces)


@cache
def documents(part: str, count: int | None) -> list[list[list[int]]]:
    """Chapters as numbers of pieces, at most ``count``."""
    chosen = [
        document
        for document in load_documents()
        if (document.kind, document.part) == (KIND, part)
        and len(document.sentences) > 1
    ]
    return [
        [tokenizer().piece_ids(sentence) for sentence in document.sentences]
        for document in chosen[:count]
    ]


def sizes(config: Config, dropout: float) -> BertConfig:
    """Of all models."""
    return BertConfig(
        vocab_size=len(tokenizer()),
        **config.model,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def new_model(config: Config, usual_start: bool = False) -> BertForPreTraining:
    """A freshly initialised model."""
    model = BertForPreTraining(sizes(config, config.pretraining["dropout"]))
    if usual_start:
        return model
    start_looking_at_neighbours(
        model.bert, config.neighbours, config.positions_std, config.looks_std
    )
    return model


def rule_of(config: Config, variant: str) -> MaskingRule:
    """The masking of one variant; the paper writes the shares in another order."""
    mask, random, same = (share / 100 for share in config.variants[variant]["mix"])
    return MaskingRule(mask=mask, keep=same, random=random)


def train(job: Job) -> Trained:
    """Pre-train one model; the seed decides the start, the pairs and the masks.

    It comes as it is stored, in half precision's values, with the two losses, means of
    ``loss_every`` steps.
    """
    config, variant, seed = job.config, job.variant, job.seed
    seed_everything(seed)
    usual_start = config.variants[variant].get("usual_start", False)
    model, curves = new_model(config, usual_start), {}
    choice = config.pretraining
    if config.variants[variant]["mix"] is not None:
        nsp = config.variants[variant]["nsp"]
        texts = documents("train", config.documents)
        stream = PairStream(
            lambda shard: texts,
            table(),
            rule_of(config, variant),
            negatives="random" if nsp else "none",
            seed=seed,
        )
        length = config.model["max_position_embeddings"]
        stage = Stage(choice["steps"], length, choice["batch_size"])
        parts = {"masked_lm_loss": [], "next_sentence_loss": []}

        def loss(model: BertForPreTraining, batch: dict[str, Tensor]) -> Tensor:
            if not nsp:
                batch["next_sentence_label"] = None
            with torch.autocast("cpu", torch.bfloat16, enabled=choice["bf16"]):
                output = model(**batch)
            for name, values in parts.items():
                if getattr(output, name) is not None:
                    values.append(getattr(output, name).item())
            return output.loss

        fit(
            model,
            lambda step: stream.batch(stage, step),
            loss,
            steps=choice["steps"],
            learning_rate=choice["learning_rate"],
            schedule=warmup_and_linear_decay(choice["warmup"], choice["steps"]),
            weight_decay=choice["weight_decay"],
            decays=decays,
            betas=tuple(choice["betas"]),
            seed=seed,
        )
        curves = {
            name: means(values, config.loss_every) for name, values in parts.items()
        }
    model.load_state_dict({n: t.half().float() for n, t in model.state_dict().items()})
    return Trained(model.eval(), curves)


@cache
def examples(task: str, part: str, count: int, length: int) -> TaskData:
    """Examples of a task, drawn from a part, always the same ones.

    Args:
        task: ``names``, in verses, or ``pairs``.
        part: ``train``, ``validation`` or ``test``.
        count: how many.
        length: the most pieces; what is longer is cut.
    """
    tasks = {"names": name_tasks, "pairs": pair_tasks}[task]()
    chosen = tasks[("train", "validation", "test").index(part)]
    chosen = [e for e in chosen if task == "pairs" or e.kind == KIND]
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(5))
    chosen = [chosen[number] for number in order.tolist()]
    if task == "pairs":
        first, second, labels = zip(
            *((e.first, e.second, e.label) for e in chosen[:count]), strict=True
        )
        return encode_sequences(tokenizer(), first, labels, second, length)
    data = encode_names(tokenizer(), chosen[: 2 * count], length)
    labelled = (n for n, row in enumerate(data.targets) if {*row} != {IGNORED})
    return data.take(islice(labelled, count))


def batch_of(data: TaskData, numbers: Sequence[int]) -> dict[str, Tensor]:
    """Examples with their labels, ``[B]`` or ``[B, S]``, padded to the longest and no further."""
    inputs, labels = data.batch(numbers)
    longest = int(inputs["attention_mask"].sum(1).max())
    both = inputs | labels
    return {name: x[:, :longest] if x.dim() == 2 else x for name, x in both.items()}


def in_order(data: TaskData) -> list[dict[str, Tensor]]:
    """All examples in batches, those of a length together."""
    order = sorted(range(len(data)), key=lambda number: len(data.encodings[number]))
    return [
        batch_of(data, order[start : start + 64]) for start in range(0, len(order), 64)
    ]


def task_parts(config: Config, task: str) -> list[TaskData]:
    """What a task trains on and is tested on."""
    length = config.model["max_position_embeddings"]
    parts = zip(("train", config.part), config.tasks[task], strict=True)
    return [examples(task, part, count, length) for part, count in parts]


def fine_tune(config: Config, task: str, model: BertForPreTraining, seed: int) -> float:
    """Train a copy with a fresh head on a task; F1 of names in 0..1, else accuracy."""
    choice = config.fine_tuning
    data, tests = task_parts(config, task)
    seed_everything(seed)
    kind = (
        BertForTokenClassification if task == "names" else BertForSequenceClassification
    )
    tuned = kind(sizes(config, choice["dropout"]))
    own = tuned.bert.state_dict()
    given = model.bert.state_dict()
    tuned.bert.load_state_dict({name: given[name] for name in own})
    numbers = minibatches(len(data), choice["batch_size"], seed)
    fit(
        tuned,
        lambda step: batch_of(data, numbers(step).tolist()),
        lambda tuned, batch: tuned(**batch).loss,
        steps=choice["steps"],
        learning_rate=choice["learning_rate"],
        schedule=warmup_and_linear_decay(choice["warmup"], choice["steps"]),
        weight_decay=0.01,
        decays=decays,
        seed=seed,
    )
    found = score(tests, predict(tuned.eval(), tests))
    return round(found["f1" if task == "names" else "accuracy"], 4)


@cache
def held_out(count: int, length: int, documents_a_kind: int | None, part: str):
    """Pairs of unseen documents, always the same ones."""
    generator = torch.Generator().manual_seed(7)
    texts = documents(part, documents_a_kind)
    pairs: list[SentencePair] = sentence_pairs(
        texts, length, generator=generator, negatives="none"
    )
    order = torch.randperm(len(pairs), generator=generator).tolist()
    return [pairs[number] for number in order[:count]]


def held_out_batches(config: Config, branch: str) -> list[dict[str, Tensor]]:
    """The same places selected each time, with ``mask``, ``keep`` or ``random`` at all of them."""
    pairs = held_out(
        config.held_out_pairs,
        config.model["max_position_embeddings"],
        config.documents,
        config.part,
    )
    shares = {name: float(name == branch) for name in ("mask", "keep", "random")}
    generator = torch.Generator().manual_seed(8)
    batches = []
    for start in range(0, len(pairs), 50):
        batch = collate(
            pairs[start : start + 50],
            table(),
            MaskingRule(**shares),
            generator=generator,
        )
        batch.pop("next_sentence_label")
        batches.append(batch)
    return batches


def measure_model(config: Config, model: BertForPreTraining) -> dict[str, dict]:
    """What needs no training but that of a logistic regression.

    Returns:
        ``places``: cross-entropy and share of right guesses at held-out places where [MASK], the
        token itself or a random one stands; ``attention``: where [MASK] looks; ``frozen``: the
        scores of frozen features on each task.
    """
    places = {
        branch: masked_scores(model, held_out_batches(config, branch))
        for branch in ("mask", "keep", "random")
    }
    frozen = {}
    for task in config.tasks:
        parts = [in_order(data) for data in task_parts(config, task)]
        frozen[task] = frozen_scores(model.bert, *parts)
    attention = attention_from(model, held_out_batches(config, "mask"), table())
    return {"places": places, "attention": attention, "frozen": frozen}


def measure(job: Job, model: BertForPreTraining) -> dict:
    """:func:`measure_model`, and the scores of the fine-tuned model on each task."""
    started = time.perf_counter()
    metrics = measure_model(job.config, model)
    metrics["tuned"] = {
        task: fine_tune(job.config, task, model, job.seed) for task in job.config.tasks
    }
    return {**metrics, "measuring_s": round(time.perf_counter() - started, 1)}


def describe(run: dict) -> str:
    """Fine-tuned and frozen scores on each task."""
    tuned, frozen = run["metrics"]["tuned"], run["metrics"]["frozen"]
    scores = (f"{t} {tuned[t]:.3f} (frozen {frozen[t]:.3f})" for t in tuned)
    return " ".join([f"{run['variant']:16} seed {run['seed']}", *scores])


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    seeds=(0, 1, 2),
    packages=("safetensors", "scikit-learn"),
    stored=("80/10/10", "0/100/0"),  # to look at and to measure again
    processes=2,
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
