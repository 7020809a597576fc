"""Training steps of our ``BertForPreTraining`` beside `transformers`', with the same weights.

A step is forward, backward, clipping and AdamW (fused in both), on the same batch, at the size of
the book's mini-BERT. The library is trained in two ways. The ordinary one: float32, dropout 0.1
everywhere, scores of all pieces at all positions. Its best one: fused attention, which wants no
dropout of attention weights, and bfloat16 where that is asked for. Ours is always without dropout
of attention weights and scores pieces at the selected positions only; all three drop states alike.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
import transformers
from torch import Tensor, nn

from benchmarks.timing import Comparison, compare
from bertbook.bert.config import BertConfig
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import MaskingRule, PieceTable
from bertbook.pretraining.optimizer import decay_groups
from bertbook.pretraining.sentence_pairs import SentencePair, collate
from bertbook.shared.training import has_bf16

__all__ = ["matrix_peak", "matrix_work", "measure", "rows", "training_step"]

TITLE = (
    "Pre-training steps at mini-BERT's size, against transformers.BertForPreTraining"
)
COLUMNS = ("against", "arithmetic", "ours tok/s", "their tok/s", "of the peak")
BATCH, LENGTH = 32, 128
CLIP = 1.0
WAYS = {
    "ordinary": {"attention_probs_dropout_prob": 0.1, "attn_implementation": "eager"},
    "best": {"attention_probs_dropout_prob": 0.0, "attn_implementation": "sdpa"},
}


def batch_of_pairs(config: BertConfig, batch: int, length: int) -> dict[str, Tensor]:
    """Random pieces, masked as in training; one row in ten is padded from the half on."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    table = PieceTable(
        specials + [f"piece{n}" for n in range(config.vocab_size - len(specials))]
    )
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for row in range(batch):
        room = (length if row % 10 else length // 2) - 3
        ids = torch.randint(5, config.vocab_size, (room,), generator=generator).tolist()
        pairs.append(SentencePair(ids[: room // 2], ids[room // 2 :], row % 2, (0, 0)))
    return collate(pairs, table, MaskingRule(), generator=generator, pad_to=length)


def training_step(
    model: nn.Module, batch: dict[str, Tensor], bf16: bool
) -> Callable[[], Tensor]:
    """A function that trains a model by one step and returns the loss."""
    own = list(model.parameters())
    optimizer = torch.optim.AdamW(
        decay_groups(model), lr=1e-4, weight_decay=0.01, fused=True
    )
    model.train()

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(own, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def models(
    config: BertConfig, way: str
) -> tuple[BertForPreTraining, transformers.BertForPreTraining]:
    """Ours and the library's, the same weights in both."""
    torch.manual_seed(0)
    ours = BertForPreTraining(replace(config, attention_probs_dropout_prob=0.0))
    theirs = transformers.BertForPreTraining(
        transformers.BertConfig(**{**vars(config), **WAYS[way]})
    )
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def matrix_work(config: BertConfig, batch: int, length: int, selected: int) -> float:
    """Multiplications and additions in the matrix products of one step, backward twice forward.

    The products are those of our model: attention over all positions, scores of pieces at the
    selected ones.
    """
    width, inner, layers = (
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
    )
    token = layers * (4 * width**2 + 2 * width * inner + 2 * length * width)
    chosen = width**2 + width * config.vocab_size
    return 6 * (batch * length * token + selected * chosen + batch * width**2)


def matrix_peak(bf16: bool, seconds: float = 0.5, size: int = 1024) -> float:
    """Multiplications and additions a second in the product of two square matrices."""
    kind = torch.bfloat16 if bf16 else torch.float32
    one, other = torch.randn(2, size, size).to(kind)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.process_time()
        one @ other
        times.append(time.process_time() - start)
    return 2 * size**3 / median(times)


def measure(
    way: str,
    bf16: bool,
    seconds: float,
    config: BertConfig | None = None,
    batch: int = BATCH,
    length: int = LENGTH,
) -> tuple[Comparison, float]:
    """Time one case.

    Args:
        way: the library's, ``"ordinary"`` (in float32) or ``"best"`` (in our arithmetic).
        bf16: whether ours computes in bfloat16 where autocast does.
        seconds: how long.
        config: the sizes; ``None``: mini-BERT's.
        batch: B.
        length: S.

    Returns:
        What was measured, and the share of the peak of matrix products that our step reaches.

    Raises:
        AssertionError: if, without dropout and in float32, losses or gradients differ.
    """
    config = config or BertConfig.mini(max_position_embeddings=length)
    given = batch_of_pairs(config, batch, length)
    ours, theirs = models(config, way)
    check_equal(ours.eval(), theirs.eval(), given)
    found = compare(
        training_step(ours, given, bf16),
        training_step(theirs, given, bf16 and way == "best"),
        seconds,
    )
    selected = int((given["labels"] >= 0).sum())
    work = matrix_work(config, batch, length, selected)
    return found, work / (found.ours * 1e-3) / matrix_peak(bf16)


def check_equal(ours: nn.Module, theirs: nn.Module, batch: dict[str, Tensor]) -> None:
    """Compare loss and gradients; leave none behind."""
    losses = []
    for model in (ours, theirs):
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-5, rtol=1e-4, msg=name
        )
    for model in (ours, theirs):
        model.zero_grad()


def rows(seconds: float) -> Iterator[tuple[tuple, Comparison]]:
    """Every case, and what was measured; bfloat16 only where the processor has it."""
    for bf16 in (True, False) if has_bf16() else (False,):
        for way in WAYS:
            found, share = measure(way, bf16, seconds)
            speeds = [
                round(BATCH * LENGTH / (ms * 1e-3)) for ms in (found.ours, found.theirs)
            ]
            name = "bf16" if bf16 else "fp32"
            if bf16 and way == "ordinary":
                name = "bf16 : fp32"
            yield (way, name, *speeds, f"{share:.0%}"), found
