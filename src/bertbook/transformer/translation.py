"""Training and judging a translator: sub-words, batches, schedule, loss, BLEU.

Shapes as in :mod:`bertbook.transformer.encoder`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import sacrebleu
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.symbols import PAD, pad_sequences

__all__ = [
    "batches_by_length",
    "corpus_scores",
    "inverse_square_root",
    "label_smoothed_loss",
    "learn_subwords",
    "translation_loss",
]


def learn_subwords(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-pair encoding, one for both languages, so that names share their pieces.

    Args:
        texts: of the training set alone.
        vocab_size: V, the three special symbols (0 to 2) and the 256 bytes included.

    Returns:
        A tokenizer that can write any text: its smallest pieces are bytes. A text comes back with
        one space in front, if it had none; the names of the special symbols are text like any
        other.

    Raises:
        ValueError: if the vocabulary has no room for the bytes.

    Source: Sennrich et al. 2016 (sub-words); the byte alphabet is GPT-2's.
    """
    if vocab_size < 259:
        raise ValueError(f"vocab_size must be at least 259, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["[PAD]", "[BEGIN]", "[END]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True  # "[PAD]" in a text is not padding
    return tokenizer


def batches_by_length(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    tokens: int,
    seed: int = 0,
) -> Callable[[int], tuple[Tensor, Tensor, Tensor]]:
    """Batches of pairs of similar length, each padded to at most so many target symbols.

    Every epoch sorts the pairs by length, a little shaken, cuts them into batches and shuffles
    these.

    Args:
        sources: symbols of each source.
        targets: symbols of each target, the end symbol last.
        tokens: most target symbols of a batch, padding included.
        seed: of the orders; the global random state is not touched.

    Returns:
        A function from the step to its batch (source ``[B, S]``, lengths ``[B]``, target
        ``[B, T]``), a pure one: training that is resumed sees the same batches.

    Raises:
        ValueError: if the numbers of sources and targets differ, or a target has more symbols
            than a batch.
    """
    if len(sources) != len(targets) or not len(sources):
        raise ValueError(
            f"as many sources as targets are needed, got {len(sources)} and {len(targets)}"
        )
    longest = max(map(len, targets))
    if longest > tokens:
        raise ValueError(f"a target of {longest} symbols is more than tokens={tokens}")
    lengths = torch.tensor(
        [len(t) + len(s) / 1000 for s, t in zip(sources, targets, strict=True)]
    )
    sizes: list[int] = []  # batches of each epoch; they differ by a few

    @lru_cache(maxsize=1)
    def epoch_batches(epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        shaken = lengths * (1 + 0.1 * torch.rand(len(lengths), generator=generator))
        batches, batch, width = [], [], 0
        for number in shaken.argsort().tolist():
            width = max(width, len(targets[number]))
            if width * (len(batch) + 1) > tokens:
                batches.append(batch)
                batch, width = [], len(targets[number])
            batch.append(number)
        batches.append(batch)
        order = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[place] for place in order]

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        epoch = 0
        while True:
            if epoch == len(sizes):
                sizes.append(len(epoch_batches(epoch)))
            if step < sizes[epoch]:
                break
            step, epoch = step - sizes[epoch], epoch + 1
        numbers = epoch_batches(epoch)[step]
        source, source_lengths = pad_sequences([sources[n] for n in numbers])
        target, _ = pad_sequences([targets[n] for n in numbers])
        return source, source_lengths, target

    return batch


def inverse_square_root(warmup: int) -> Callable[[int], float]:
    """The factor on the learning rate: a straight rise to 1, then the inverse square root.

    The paper writes the rate as ``D^-0.5 min(s^-0.5, s w^-1.5)`` with s counted from 1; its peak
    is ``(D w)^-0.5``. Here the peak is a number of its own, and this factor is the rest.

    Args:
        warmup: w, the step at which the factor is 1.

    Returns:
        A function from the step, counted from 0.

    Raises:
        ValueError: if ``warmup`` is not positive.

    Source: Vaswani et al. 2017, section 5.3.
    """
    if warmup < 1:
        raise ValueError(f"warmup must be at least 1, got {warmup}")

    def factor(step: int) -> float:
        count = step + 1
        return min(count / warmup, math.sqrt(warmup / count))

    return factor


def label_smoothed_loss(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with a target that gives a share of its mass to all symbols alike.

    The true symbol has probability ``1 - e + e/V``, every other ``e/V``. Padding does not count.

    Args:
        logits: ``[B, T, V]``.
        target: ``[B, T]``.
        smoothing: e, in 0..1; 0 is the plain cross-entropy.

    Returns:
        The mean over the real target symbols, in nats.

    Raises:
        ValueError: if ``smoothing`` is not in 0..1 or the target is nothing but padding.

    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must lie in 0..1, got {smoothing}")
    real = target != PAD  # [B, T]
    if not real.any():
        raise ValueError("the target has no symbol but padding")
    log_probabilities = logits[real].log_softmax(dim=-1)  # [real symbols, V]
    true = log_probabilities.gather(-1, target[real][:, None]).squeeze(-1)
    uniform = log_probabilities.mean(dim=-1)
    return -((1 - smoothing) * true + smoothing * uniform).mean()


def translation_loss(
    smoothing: float = 0.1, bfloat16: bool = False
) -> Callable[[nn.Module, tuple[Tensor, Tensor, Tensor]], Tensor]:
    """A loss function for :func:`bertbook.shared.training.train`, the same for every translator.

    Args:
        smoothing: see :func:`label_smoothed_loss`.
        bfloat16: whether matrices are multiplied in bfloat16, which some processors do faster.

    Returns:
        A function from the model and a batch (source, lengths, target) to the loss.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        source, _, target = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(source, shift_right(target))
        return label_smoothed_loss(logits.float(), target, smoothing)

    return loss


def corpus_scores(
    written: Sequence[str], references: Sequence[str]
) -> dict[str, object]:
    """BLEU and chrF of a whole test set by sacrebleu, with the signatures that say how.

    Args:
        written: one translation a line.
        references: one reference each.

    Returns:
        ``bleu``, ``chrf`` (0..100, two decimals), ``bleu_signature``, ``chrf_signature``.

    Raises:
        ValueError: if the numbers of lines differ or there is none.

    Source: Papineni et al. 2002; Popović 2015; Post 2018.
    """
    if len(written) != len(references) or not len(written):
        raise ValueError(
            f"as many lines as references are needed, got {len(written)} and {len(references)}"
        )
    scores: dict[str, object] = {}
    for name, metric in {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}.items():
        scores[name] = round(
            metric.corpus_score(list(written), [list(references)]).score, 2
        )
        scores[f"{name}_signature"] = str(metric.get_signature())
    return scores
