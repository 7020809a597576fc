"""The mini-BERT judges film reviews, and what is stored of it is a small difference.

The page has the mini-BERT already. So its weights stay as they are: low-rank adapters are trained
on the linear maps of the encoder and of the pooler, with and without one on the table of word
vectors, and a new head, on all labelled reviews; the parts share no film. Which variant is stored
is chosen on the validation part. It is measured once on the test part, as it is stored and as the
page has it, in bytes: how often it is right, and whether its probabilities are worth anything.

    python experiments/live_review.py [--smoke] [--resume]
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bertbook.corpora.tasks import review_tasks
from bertbook.fine_tuning.heads import BertForSequenceClassification
from bertbook.fine_tuning.task_data import TaskData, batches_of, encode_sequences
from bertbook.pretraining.fill_mask import REMEDY, load_trained, recorded_file
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.low_rank import add_adapters, merge_adapters
from bertbook.pretraining.mini_bert import load_mini_bert
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.shared.experiment import Experiment, Job, Trained, section, store
from bertbook.shared.files import WeightsError
from bertbook.shared.results import WEIGHTS, means, read_results
from bertbook.shared.training import count_parameters, seed_everything
from bertbook.shared.training import train as fit
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of the two below
from experiments.live_quantisation import dequantised, load_quantised
from tools import live_review

NAME = "live_review"
FILE = WEIGHTS / f"{NAME}.safetensors"
STORED = "stored"
PARTS = ("train", "validation", "test")
VARIANTS = {  # What each changes of the next three.
    "layers": {},
    "layers, a higher rate": {"learning_rate": 0.003},
    "layers and words": {"words_rank": 4},
    "layers and words, one epoch": {"words_rank": 4, "epochs": 1},
}


@dataclass(frozen=True)
class Config:
    """What the runs depend on; ``None``: all."""

    variants: dict[str, dict] = section(**VARIANTS)
    learning_rate: float = 0.001
    words_rank: int = 0
    epochs: int = 2
    rank: int = 8
    labels: int | None = None
    max_length: int = 64
    batch_size: int = 16
    warmup: float = 0.1
    weight_decay: float = 0.01
    loss_every: int = 50
    checkpoint_every: int = 100
    bins: int = 5
    measured: int | None = None


CONFIG = Config()
SMOKE = Config(
    epochs=1, labels=16, batch_size=8, loss_every=1, checkpoint_every=1, measured=20
)


class LowRankTable(nn.Module):
    """A frozen table of V vectors, beside it the two trained matrices of its change: up · down.

    As in :class:`bertbook.pretraining.low_rank.LowRank` ``up`` starts at zero. ``down`` starts with
    variance one, so that a step of ``up`` moves a vector about as far as a step of its own would.

    Args:
        table: its parameters get frozen.
        rank: R.
    """

    def __init__(self, table: nn.Embedding, rank: int):
        super().__init__()
        self.table = table.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, table.embedding_dim))  # [R, D]
        self.up = nn.Parameter(torch.zeros(table.num_embeddings, rank))  # [V, R]

    def forward(self, ids: Tensor) -> Tensor:
        """From ``[...]`` to ``[..., D]``."""
        return self.table(ids) + self.up[ids] @ self.down


def adapted(
    base: BertForPreTraining, rank: int, words_rank: int
) -> BertForSequenceClassification:
    """A BERT with a new head, as it is trained: its own weights frozen, adapters trainable.

    Args:
        base: a pre-trained model; its encoder is taken over, not copied.
        rank: of the adapters on all linear maps of encoder and pooler.
        words_rank: of the one on the table of word vectors; 0: none.
    """
    model = BertForSequenceClassification(base.config)
    model.bert = base.bert.requires_grad_(False)
    add_adapters(model.bert.encoder, rank)
    add_adapters(model.bert.pooler, rank)
    if words_rank:
        embeddings = model.bert.embeddings
        table = LowRankTable(embeddings.word_embeddings, words_rank)
        embeddings.word_embeddings = table
    return model


def assembled(
    stored: Mapping[str, Tensor], base: BertForPreTraining
) -> BertForSequenceClassification:
    """The reviewer, adapters merged, in evaluation mode; class 1 is fresh.

    Args:
        stored: adapters and head by name.
        base: what they are added to; it is changed.

    Raises:
        WeightsError: if a tensor is missing, left over or of another shape.
    """
    ranks = {name: len(t) for name, t in stored.items() if name.endswith(".down")}
    words_rank = ranks.pop("bert.embeddings.word_embeddings.down", 0)
    model = adapted(base, max(ranks.values(), default=1), words_rank)
    load_trained(model, stored)
    merge_adapters(model)
    if words_rank:
        words = model.bert.embeddings.word_embeddings
        with torch.no_grad():
            words.table.weight += words.up @ words.down  # [V, D]
        model.bert.embeddings.word_embeddings = words.table
    return model.requires_grad_(False).eval()


def load_reviewer(
    path: Path | None = None,
) -> tuple[BertForSequenceClassification, WordPieceTokenizer]:
    """The committed mini-BERT with the stored difference, and its tokenizer.

    Args:
        path: of the difference; ``None``: the repository's, if it is the one on record.

    Raises:
        FileNotFoundError: if there is no record.
        WeightsError: if the file is missing, damaged or another one.
    """
    path = recorded_file(FILE) if path is None else path
    try:
        stored = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file: {error}. {REMEDY.format(NAME)}"
        ) from None
    base, tokenizer = load_mini_bert()
    return assembled(stored, base), tokenizer


def reviewer_in_bytes(path: Path = FILE) -> BertForSequenceClassification:
    """The reviewer as the page has it: matrices of the mini-BERT and of the difference in bytes.

    Args:
        path: of the difference.
    """
    changes = dequantised(live_review.packed_changes(path))
    return assembled(changes, load_quantised())


def reviews(config: Config, part: str, tokenizer: WordPieceTokenizer) -> TaskData:
    """The labelled reviews of a part, or so many of them."""
    count = config.labels if part == "train" else config.measured
    examples = review_tasks()[PARTS.index(part)][:count]
    texts, labels = ([getattr(e, n) for e in examples] for n in ("text", "label"))
    return encode_sequences(tokenizer, texts, labels, max_length=config.max_length)


def train(job: Job) -> Trained:
    """Train one variant, from its checkpoint on if there is one; a finished one is only read.

    ``stored`` is the one that judges the validation part best.
    """
    variant, stored = job.variant, job.variant == STORED
    if stored:
        losses = {
            v: job.metrics_of(v)["validation"]["cross_entropy"]
            for v in job.config.variants
        }
        variant = min(losses, key=losses.get)
    config = replace(job.config, **job.config.variants[variant])
    base, tokenizer = load_mini_bert()
    data = reviews(config, "train", tokenizer)
    per_epoch, numbers = batches_of(data, config.batch_size, job.seed)
    steps = config.epochs * per_epoch
    seed_everything(job.seed)
    model = adapted(base, config.rank, config.words_rank)
    losses = fit(
        model,
        lambda step: data.batch(numbers(step)),
        lambda model, batch: model(**batch[0], **batch[1]).loss,
        steps=steps,
        learning_rate=config.learning_rate,
        schedule=warmup_and_linear_decay(int(config.warmup * steps), steps),
        weight_decay=config.weight_decay,
        decays=decays,
        seed=job.seed,
        progress=f"{NAME}: {variant}",
        checkpoint=job.work / f"{variant}.pt",
        checkpoint_every=config.checkpoint_every,
    )
    found = {"chosen": variant}
    if not stored:
        found = {"training_loss": means(losses, config.loss_every)}
    size = count_parameters(model, trainable_only=True)
    return Trained(model.eval(), found, size)


@torch.no_grad()
def scores(model: BertForSequenceClassification, data: TaskData) -> Tensor:
    """Logits of rotten and fresh for each review, ``[reviews, 2]``."""
    order = sorted(range(len(data)), key=lambda n: len(data.encodings[n]))
    found = [
        model(**data.batch(order[i : i + 50])[0]).logits
        for i in range(0, len(order), 50)
    ]
    return torch.cat(found)[torch.tensor(order).argsort()]


def judge(logits: Tensor, labels: Tensor, bins: int) -> dict:
    """Measure judgements.

    Args:
        logits: of rotten and fresh, ``[reviews, 2]``.
        labels: 0 rotten, 1 fresh, ``[reviews]``.
        bins: equal parts of 0..1.

    Returns:
        ``accuracy``; ``cross_entropy`` in nats; ``brier``, the mean squared distance of the
        probability from 0 or 1; beside them ``share_cross_entropy`` and ``share_brier`` of one who
        always says the share of fresh ones; ``calibration``: of each bin of the probability of
        fresh how many ``reviews`` lie in it, the mean ``said`` and the share that ``was`` fresh.
    """
    fresh = logits.softmax(-1)[:, 1]  # [reviews]
    truth = labels.float()
    share = truth.mean()
    which = (fresh * bins).long().clamp(max=bins - 1)
    calibration = [
        {
            "reviews": len(inside),
            "said": round(fresh[inside].mean().item(), 4) if len(inside) else None,
            "was": round(truth[inside].mean().item(), 4) if len(inside) else None,
        }
        for inside in ((which == n).nonzero()[:, 0] for n in range(bins))
    ]
    numbers = {
        "accuracy": (logits.argmax(-1) == labels).float().mean(),
        "cross_entropy": F.cross_entropy(logits, labels),
        "brier": (fresh - truth).square().mean(),
        "share_cross_entropy": F.binary_cross_entropy(share.expand_as(truth), truth),
        "share_brier": (share - truth).square().mean(),
    }
    return {
        "reviews": len(labels),
        **{name: round(value.item(), 4) for name, value in numbers.items()},
        "calibration": calibration,
    }


def measure(job: Job, model: BertForSequenceClassification) -> dict:
    """:func:`judge` on the validation part; of what is stored, as it is stored, on the test part.

    There also as the page has it, in bytes, and what file it is.
    """
    _, tokenizer = load_mini_bert()

    def judged(model: BertForSequenceClassification, part: str) -> dict:
        data = reviews(job.config, part, tokenizer)
        return judge(scores(model, data), torch.tensor(data.targets), job.config.bins)

    if job.variant != STORED:
        return {"validation": judged(model, "validation")}
    path = job.weights / FILE.name
    store(model, path)
    kept, _ = load_reviewer(path)
    return {
        **{part: judged(kept, part) for part in PARTS[1:]},
        "test, in bytes": judged(reviewer_in_bytes(path), "test"),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def describe(run: dict) -> str:
    """How well it judges each part; beside what is stored, words alone and all weights tuned."""
    lines = [
        f"{run['variant']:27} {part:14} accuracy {m['accuracy']:.3f}, "
        f"cross-entropy {m['cross_entropy']:.3f}, Brier {m['brier']:.3f}"
        for part, m in run["metrics"].items()
        if isinstance(m, dict)
    ]
    for other in (
        read_results("fine_tuning")["runs"] if run["variant"] == STORED else ()
    ):
        name, found = other["variant"], other["metrics"]
        if other["seed"] == 0 and name in ("words", "reviews, mini_bert, all"):
            accuracy = found.get("all", found.get("accuracy"))
            lines.append(f"beside it {name}: test accuracy {accuracy}")
    return "\n".join(lines)


def plan(config, seeds, results):
    """All variants, then the best one for the page."""
    yield [(variant, 0) for variant in config.variants]
    yield [(STORED, 0)]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    packages=("numpy", "safetensors"),
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
