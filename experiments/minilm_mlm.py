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
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import save_file
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
from bertbook.shared.results import (
    RESULTS,
    Results,
    experiment_arguments,
    means,
)
from bertbook.shared.training import (
    count_parameters,
    has_bf16,
    minibatches,
    seed_everything,
    train,
    trained_tensors,
    write_atomically,
)
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

SEED = 0
CONFIG = {
    "variants": {"head and adapters": {"rank": 16}, "head alone": {"rank": 0}},
    "stored": "head and adapters",
    "rate": 0.15,
    # Every fourth batch has short texts, such as readers type.
    "lengths": [128, 128, 128, 32],
    "pieces_per_batch": 2048,
    # Of Wikipedia there is the least, and the language is the most general.
    "shares": {"wikipedia": 0.5, "reviews": 0.25, "verses": 0.25},
    "chunks_per_kind": None,
    "training": {
        "steps": 1800,
        "warmup": 100,
        "learning_rate": 0.002,
        "weight_decay": 0.01,
        "betas": [0.9, 0.98],
    },
    "loss_every": 50,
    "checkpoint_every": 200,
    "measured": {"validation": [100, 21], "test": [250, 22]},
}
SMOKE = {
    **CONFIG,
    "pieces_per_batch": 512,
    "chunks_per_kind": 8,
    "training": {**CONFIG["training"], "steps": 4, "warmup": 1},
    "loss_every": 2,
    "checkpoint_every": 2,
    "measured": {"validation": [2, 21], "test": [2, 22]},
}


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


def training_batches(config: dict, seed: int) -> Callable[[int], Masked]:
    """The batch of each step, a function of the step alone; each draw of the mask is new."""
    _, table = vocabulary()
    rule = MaskingRule(rate=config["rate"])
    lengths = config["lengths"]
    sources = {}
    for length in set(lengths):
        size = config["pieces_per_batch"] // length
        for number, (kind, share) in enumerate(config["shares"].items()):
            texts = chunks(kind, "train", length, config["chunks_per_kind"])
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


def train_variant(
    config: dict, variant: str, seed: int, checkpoint: Path | None
) -> tuple[BertForMaskedLM, list[float]]:
    """Train one model, from its checkpoint on if there is one.

    The bias starts at the log-frequencies of the pieces in the mix: at this rate a bias could not
    walk that far.

    Returns:
        The model and the loss of every step.
    """
    training = config["training"]
    seed_everything(seed)
    model = adapted_minilm(config["variants"][variant]["rank"])
    mix = sum(share * unigram(kind).exp() for kind, share in config["shares"].items())
    with torch.no_grad():
        model.cls["predictions"].bias.copy_(mix.log())  # [V]
    losses = train(
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
        checkpoint=checkpoint,
        checkpoint_every=config["checkpoint_every"],
    )
    return model, losses


@cache
def unigram(kind: str) -> Tensor:
    """Log-probability of each piece in the training text of a kind, ``[V]``; one is added each."""
    counts = torch.ones(len(vocabulary()[0]))
    for document in sentences(kind, "train"):
        for sentence in document:
            counts.index_add_(0, torch.tensor(sentence), torch.ones(len(sentence)))
    return (counts / counts.sum()).log()


def held_out(config: dict, kind: str, part: str) -> list[Masked]:
    """The batches on which a kind is measured, masked once and for all."""
    _, table = vocabulary()
    count, seed = config["measured"][part]
    texts = sorted(chunks(kind, part, max(config["lengths"]), count), key=len)
    generator = torch.Generator().manual_seed(seed)
    rule = MaskingRule(rate=config["rate"])
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
        shares ``top_1`` and ``top_5`` whose piece is the first, or among the first five;
        ``cross_entropy`` in nats.
    """
    ranks, losses, shown = [], [], []
    for batch in batches:
        where = batch.labels != IGNORED  # [B, S]
        labels = batch.labels[where]  # [N]
        log_p = predict(batch).float().log_softmax(-1)  # [N, V]
        true = log_p.gather(1, labels[:, None])  # [N, 1]
        ranks.append((log_p > true).sum(1))
        losses.append(-true[:, 0])
        shown.append(batch.branches[where] == MASK)
    rank, loss, masked = map(torch.cat, (ranks, losses, shown))
    return {
        name: {
            "positions": int(taken.sum()),
            "top_1": round((rank[taken] < 1).float().mean().item(), 4),
            "top_5": round((rank[taken] < 5).float().mean().item(), 4),
            "cross_entropy": round(loss[taken].mean().item(), 4),
        }
        for name, taken in (("selected", masked | ~masked), ("mask", masked))
    }


def measure(model: BertForMaskedLM, config: dict, part: str) -> dict[str, dict]:
    """:func:`score` of a model on each kind of a part."""

    def predict(batch: Masked) -> Tensor:
        seen = batch.input_ids != vocabulary()[0].pad_id  # [B, S]
        return model(batch.input_ids, seen, labels=batch.labels).prediction_logits

    return {kind: score(predict, held_out(config, kind, part)) for kind in KINDS}


def measure_unigram(config: dict, part: str) -> dict[str, dict]:
    """:func:`score` of the frequencies of pieces on each kind of a part."""

    def predict(batch: Masked, kind: str) -> Tensor:
        return unigram(kind).expand(int((batch.labels != IGNORED).sum()), -1)

    return {
        kind: score(partial(predict, kind=kind), held_out(config, kind, part))
        for kind in KINDS
    }


def run(config: dict, folder: Path, weights: Path, resume: bool) -> Results:
    """Train and measure what is missing; a finished run's checkpoint is removed."""
    packages = ["gensim", "safetensors"]
    results = Results(
        NAME, config, [SEED], folder=folder, resume=resume, packages=packages
    )
    parts = config["measured"]
    if not results.has("unigram", SEED):
        results.add(
            "unigram",
            SEED,
            parameters=len(vocabulary()[0]),
            wall_time_s=0,
            metrics={part: measure_unigram(config, part) for part in parts},
        )
    work = folder.parent / "checkpoints" if folder == RESULTS else folder
    for variant in config["variants"]:
        if results.has(variant, SEED):
            continue
        checkpoint = work / f"{NAME}_{variant.replace(' ', '_')}.pt"
        if not resume:
            checkpoint.unlink(missing_ok=True)
        started = time.perf_counter()
        model, losses = train_variant(config, variant, SEED, checkpoint)
        wall = time.perf_counter() - started
        stored = variant == config["stored"]
        path = checkpoint.with_suffix(".safetensors")
        if stored:
            path = weights / f"{NAME}.safetensors"
        tensors = trained_tensors(model)
        write_atomically(path, lambda path, tensors=tensors: save_file(tensors, path))
        measured, _ = load_minilm_mlm(path)
        metrics = {part: measure(measured, config, part) for part in parts}
        metrics["training_loss"] = means(losses, config["loss_every"])
        metrics["bf16"] = has_bf16()
        if stored:
            metrics["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            path.unlink()
        results.add(
            variant,
            SEED,
            parameters=count_parameters(model, trainable_only=True),
            wall_time_s=wall,
            metrics=metrics,
        )
        checkpoint.unlink()
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment from the command line."""
    options = experiment_arguments(__doc__.splitlines()[0], arguments)
    config = SMOKE if options.smoke else CONFIG
    results = run(config, options.folder, options.weights, options.resume)
    for done in results.runs:
        for kind, scores in done["metrics"]["test"].items():
            at = scores["mask"]
            print(
                f"{done['variant']:18} {kind:10} top-1 {at['top_1']:.3f}, "
                f"top-5 {at['top_5']:.3f}, cross-entropy {at['cross_entropy']:.2f}"
            )


if __name__ == "__main__":
    main()
