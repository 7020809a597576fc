"""A head of masked language modelling for MiniLM, and low-rank adapters of its encoder.

MiniLM comes without the head that it was pre-trained with. Here one is trained on the book's
training text: dense, GELU, LayerNorm, a decoder that is the frozen table of word embeddings, and a
bias; and adapters on the linear maps of the encoder, whose states were trained for comparing
sentences. The control trains the same head on the untouched encoder, just as long in steps.

What is measured is the model as it is stored, on documents that training never saw, kind by kind:
at the selected positions of BERT's rule, and among them at those that show [MASK]; beside it, what
the frequencies of the pieces in the training text of the same kind give.

    python experiments/minilm_mlm.py [--smoke] [--resume]
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bertbook.bert.minilm import minilm_folder
from bertbook.corpora.documents import KINDS, load_documents
from bertbook.pretraining.fill_mask import (
    NAME,
    BertForMaskedLM,
    adapted_minilm,
    load_minilm_mlm,
)
from bertbook.pretraining.masking import (
    IGNORED,
    MASK,
    Masked,
    MaskingRule,
    PieceTable,
    mask_tokens,
)
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.shared.experiment import Experiment, Job, Trained, section, store
from bertbook.shared.results import means
from bertbook.shared.training import (
    count_parameters,
    has_bf16,
    minibatches,
    seed_everything,
)
from bertbook.shared.training import train as fit
from bertbook.studies.metrics import guess_scores
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

VARIANTS = {"head and adapters": {"rank": 16}, "head alone": {"rank": 0}}


@dataclass(frozen=True)
class Config:
    """What the runs depend on."""

    variants: dict[str, dict] = section(**VARIANTS)
    stored: str = "head and adapters"
    rate: float = 0.15
    # Every fourth batch has short texts, such as readers type.
    lengths: tuple[int, ...] = (128, 128, 128, 32)
    pieces_per_batch: int = 2048
    # Of Wikipedia there is the least, and the language is the most general.
    shares: dict[str, float] = section(wikipedia=0.5, reviews=0.25, verses=0.25)
    chunks_per_kind: int | None = None
    training: dict = section(
        steps=1800,
        warmup=100,
        learning_rate=0.002,
        weight_decay=0.01,
        betas=(0.9, 0.98),
    )
    loss_every: int = 50
    checkpoint_every: int = 200
    # How many texts, and the seed of their masks.
    measured: dict[str, tuple[int, int]] = section(validation=(100, 21), test=(250, 22))


CONFIG = Config()
SMOKE = Config(
    pieces_per_batch=512,
    chunks_per_kind=8,
    training={**CONFIG.training, "steps": 4, "warmup": 1},
    loss_every=2,
    checkpoint_every=2,
    measured={"validation": (2, 21), "test": (2, 22)},
)


@cache
def vocabulary() -> tuple[WordPieceTokenizer, PieceTable]:
    """MiniLM's tokenizer, and what masking must know of its pieces."""
    tokenizer = WordPieceTokenizer.from_folder(minilm_folder())
    return tokenizer, PieceTable(tokenizer.pieces)


@cache
def sentences(kind: str, part: str) -> list[list[list[int]]]:
    """The documents of one kind and part, each sentence as numbers of pieces."""
    tokenizer, _ = vocabulary()
    return [
        [tokenizer.piece_ids(text) for text in document.sentences]
        for document in load_documents()
        if (document.kind, document.part) == (kind, part)
    ]


@cache
def chunks(kind: str, part: str, length: int, count: int | None) -> list[Tensor]:
    """Texts of at most ``length`` pieces, [CLS] and [SEP] included: neighbouring sentences.

    As many sentences of one document as fit; a longer sentence is cut.

    Args:
        kind: of the documents.
        part: of the documents.
        length: S, the most pieces.
        count: how many, evenly from all of them; ``None`` or more than there are: all.
    """
    tokenizer, table = vocabulary()
    room, found = length - 2, []
    for document in sentences(kind, part):
        text: list[int] = []
        for sentence in document:
            for start in range(0, len(sentence), room):
                piece = sentence[start : start + room]
                if len(text) + len(piece) > room:
                    found.append(text)
                    text = []
                text = text + piece
        found.append(text)
    found = [text for text in found if not table.special[text].all()]
    if count is not None and count < len(found):
        found = [found[i * len(found) // count] for i in range(count)]
    return [torch.tensor([tokenizer.cls_id, *x, tokenizer.sep_id]) for x in found]


def padded(texts: list[Tensor]) -> Tensor:
    """Texts as ``[B, S]``, padded on the right."""
    return nn.utils.rnn.pad_sequence(
        texts, batch_first=True, padding_value=vocabulary()[0].pad_id
    )


def training_batches(config: Config, seed: int) -> Callable[[int], Masked]:
    """The batch of each step, a function of the step alone; each draw of the mask is new."""
    _, table = vocabulary()
    rule = MaskingRule(rate=config.rate)
    lengths = config.lengths
    sources = {}
    for length in set(lengths):
        size = config.pieces_per_batch // length
        for number, (kind, share) in enumerate(config.shares.items()):
            texts = chunks(kind, "train", length, config.chunks_per_kind)
            order = minibatches(len(texts), round(size * share), seed * 10 + number)
            sources[length, kind] = (texts, order)

    def batch(step: int) -> Masked:
        turn, place = divmod(step, len(lengths))
        length = lengths[place]
        # How many batches of this length came before.
        before = turn * lengths.count(length) + lengths[:place].count(length)
        texts = [
            texts[number]
            for kind in KINDS
            for texts, order in [sources[length, kind]]
            for number in order(before)
        ]
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return mask_tokens(padded(texts), table, rule, generator=generator)

    return batch


def loss_function(model: BertForMaskedLM, batch: Masked) -> Tensor:
    """Cross-entropy at the selected positions; matrix products in bf16 where the processor has it.

    The fused attention is slow backwards on processors, so it is not taken here.
    """
    seen = batch.input_ids != vocabulary()[0].pad_id  # [B, S]
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        return model(batch.input_ids, seen, labels=batch.labels).loss


def train(job: Job) -> Trained:
    """Train one model, from its checkpoint on if there is one; ``unigram`` only counts.

    The bias starts at the log-frequencies of the pieces in the mix: at this rate a bias could not
    walk that far.
    """
    config, variant, seed = job.config, job.variant, job.seed
    if variant == "unigram":
        return Trained(None, parameters=len(vocabulary()[0]), wall_time_s=0)
    training = config.training
    seed_everything(seed)
    model = adapted_minilm(config.variants[variant]["rank"])
    mix = sum(share * unigram(kind).exp() for kind, share in config.shares.items())
    with torch.no_grad():
        model.cls["predictions"].bias.copy_(mix.log())  # [V]
    losses = fit(
        model,
        training_batches(config, seed),
        loss_function,
        steps=training["steps"],
        learning_rate=training["learning_rate"],
        schedule=warmup_and_linear_decay(training["warmup"], training["steps"]),
        weight_decay=training["weight_decay"],
        decays=decays,
        betas=tuple(training["betas"]),
        seed=seed,
        progress=f"{NAME}: {variant}",
        checkpoint=job.work / f"{variant}.pt",
        checkpoint_every=config.checkpoint_every,
    )
    found = {"training_loss": means(losses, config.loss_every), "bf16": has_bf16()}
    return Trained(model, found, count_parameters(model, trainable_only=True))


@cache
def unigram(kind: str) -> Tensor:
    """Log-probability of each piece in the training text of a kind, ``[V]``; one is added each."""
    counts = torch.ones(len(vocabulary()[0]))
    for document in sentences(kind, "train"):
        for sentence in document:
            counts.index_add_(0, torch.tensor(sentence), torch.ones(len(sentence)))
    return (counts / counts.sum()).log()


def held_out(config: Config, kind: str, part: str) -> list[Masked]:
    """The batches on which a kind is measured, masked once and for all."""
    _, table = vocabulary()
    count, seed = config.measured[part]
    texts = sorted(chunks(kind, part, max(config.lengths), count), key=len)
    generator = torch.Generator().manual_seed(seed)
    rule = MaskingRule(rate=config.rate)
    return [
        mask_tokens(padded(texts[i : i + 25]), table, rule, generator=generator)
        for i in range(0, len(texts), 25)
    ]


@torch.no_grad()
def score(
    predict: Callable[[Masked], Tensor], batches: list[Masked]
) -> dict[str, dict[str, float]]:
    """Measure guesses.

    Args:
        predict: gives ``[N, V]``, the scores at the selected positions of a batch.
        batches: from :func:`held_out`.

    Returns:
        Of ``selected`` positions, and of those that show ``mask``: how many ``positions``; the
        shares ``top_1`` and ``top_5`` and the ``cross_entropy`` of
        :func:`bertbook.studies.metrics.guess_scores`.
    """
    guesses, wanted, shown = [], [], []
    for batch in batches:
        where = batch.labels != IGNORED  # [B, S]
        guesses.append(predict(batch).float())  # [N, V]
        wanted.append(batch.labels[where])  # [N]
        shown.append(batch.branches[where] == MASK)
    guess, true, masked = map(torch.cat, (guesses, wanted, shown))
    found = {}
    for name, taken in (("selected", masked | ~masked), ("mask", masked)):
        scores = guess_scores(guess[taken], true[taken])
        found[name] = {"positions": scores.pop("places"), **scores}
    return found


def measure(job: Job, model: BertForMaskedLM | None) -> dict[str, dict]:
    """:func:`score` on each kind of each part, of the model as it is stored, or of frequencies."""
    config, path = job.config, job.work / f"{job.variant}.safetensors"
    metrics: dict = {}
    if job.variant == config.stored:
        path = job.weights / f"{NAME}.safetensors"
    if model is not None:
        store(model, path)
        model, _ = load_minilm_mlm(path)
        if job.variant == config.stored:
            metrics["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    def predict(batch: Masked, kind: str) -> Tensor:
        if model is None:
            return unigram(kind).expand(int((batch.labels != IGNORED).sum()), -1)
        seen = batch.input_ids != vocabulary()[0].pad_id  # [B, S]
        return model(batch.input_ids, seen, labels=batch.labels).prediction_logits

    for part in config.measured:
        metrics[part] = {
            kind: score(partial(predict, kind=kind), held_out(config, kind, part))
            for kind in KINDS
        }
    return metrics


def describe(run: dict) -> str:
    """The guesses at [MASK] in each kind of text."""
    at = {kind: scores["mask"] for kind, scores in run["metrics"]["test"].items()}
    return "\n".join(
        f"{run['variant']:18} {kind:10} top-1 {scores['top_1']:.3f}, "
        f"top-5 {scores['top_5']:.3f}, cross-entropy {scores['cross_entropy']:.2f}"
        for kind, scores in at.items()
    )


def plan(config: Config, seeds, results):
    """The frequencies, and what is trained."""
    yield [(variant, 0) for variant in ("unigram", *config.variants)]


EXPERIMENT = Experiment(
    NAME,
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    packages=("gensim", "safetensors"),
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
