"""Two tasks that need a memory as long as the text: look up values by keys, and copy a string.

Associative recall gives N pairs of a key and a value, and then asks for all keys in another order.
At each question the model answers with the value. A pair stands *together*, at one position, or
*apart*, the value after its key:

    together    (k1 v1) (k2 v2) (k3 v3) (k2 ?) (k3 ?) (k1 ?)
    apart       k1 v1 k2 v2 k3 v3 k2 k3 k1                      answers: v2 v3 v1

Copying gives n symbols and a sign, and the model writes the symbols again. It reads each symbol of
the copy before it writes the next:

    copy        s1 s2 s3 ? s1 s2                                answers: s1 s2 s3

The models differ in what they carry along: a recurrent net has a state of fixed size, attention
has all the tokens that it has read.

Sources: Arora et al. 2024 (recall of many keys); Jelassi et al. 2024 (copying).
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bertbook.attention.multi_head import MultiHeadAttention
from bertbook.attention.scores import causal_mask
from bertbook.shared.checks import check_sizes

__all__ = [
    "LONGEST",
    "QUESTION",
    "SYMBOLS",
    "TASKS",
    "Asked",
    "AttentionReader",
    "RecurrentReader",
    "make_reader",
    "right_answers",
    "task_batch",
]

SYMBOLS = 64  # different keys, values, and symbols to copy
LONGEST = 64  # most pairs, and most symbols to copy
QUESTION = 2 * SYMBOLS  # the last token of the vocabulary
TASKS = ("together", "apart", "copy")


@dataclass(frozen=True)
class Asked:
    """Sequences of one length, and the answers that their last positions are to give.

    Attributes:
        tokens: ``[B, n, k]``; the k tokens of a position are read together.
        answers: ``[B, m]``, in 0..63, of the last m positions.
    """

    tokens: Tensor
    answers: Tensor


def task_batch(task: str, size: int, count: int, generator: torch.Generator) -> Asked:
    """Draw sequences of a task.

    Args:
        task: ``"together"``, ``"apart"`` or ``"copy"``; see the head of this module.
        size: B, number of sequences.
        count: N pairs, or n symbols to copy, in 1..64. No key stands twice; a value or a symbol to
            copy may.
        generator: source of all randomness.

    Returns:
        ``together``: tokens ``[B, 2 N, 2]`` and answers ``[B, N]``; ``apart``: ``[B, 3 N, 1]`` and
        ``[B, N]``; ``copy``: ``[B, 2 n, 1]`` and ``[B, n]``. Keys and symbols to copy are 0..63,
        values 64..127; 128 is the question mark, and the sign of copying.

    Raises:
        ValueError: if ``task`` is unknown, ``size`` is less than 1 or ``count`` out of its range.
    """
    check_sizes(size=size)
    if not 1 <= count <= LONGEST:
        raise ValueError(f"count must lie in 1..{LONGEST}, got {count}")
    if task not in TASKS:
        raise ValueError(f"task must be one of {list(TASKS)}, got {task!r}")
    values = torch.randint(SYMBOLS, (size, count), generator=generator)  # [B, N]
    if task == "copy":
        sign = torch.full((size, 1), QUESTION)
        return Asked(torch.cat([values, sign, values[:, :-1]], 1)[..., None], values)
    keys = torch.rand(size, SYMBOLS, generator=generator).argsort(-1)[:, :count]
    order = torch.rand(size, count, generator=generator).argsort(-1)  # [B, N]
    given = torch.stack([keys, values + SYMBOLS], -1)  # [B, N, 2]
    asked = keys.gather(1, order)[..., None]  # [B, N, 1]
    if task == "together":
        asked = torch.cat([asked, torch.full_like(asked, QUESTION)], -1)
        tokens = torch.cat([given, asked], 1)  # [B, 2 N, 2]
    else:
        tokens = torch.cat([given.flatten(1)[..., None], asked], 1)  # [B, 3 N, 1]
    return Asked(tokens, values.gather(1, order))


class AttentionReader(nn.Module):
    """Embedding, learned positions, layers of causal self-attention, a classifier.

    A layer is attention with a residual connection. There is no feed-forward layer.

    Args:
        d_model: D.
        layers: how many.
        num_heads: H of each layer.

    Raises:
        ValueError: if a size is less than 1, or H does not divide D.
    """

    def __init__(self, d_model: int, layers: int, num_heads: int = 1):
        super().__init__()
        check_sizes(d_model=d_model, layers=layers)
        self.embedding = nn.Embedding(QUESTION + 1, d_model)
        self.position = nn.Embedding(3 * LONGEST, d_model)
        self.layers = nn.ModuleList(
            MultiHeadAttention(d_model, num_heads) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(layers + 1))
        self.classifier = nn.Linear(d_model, SYMBOLS)

    def forward(
        self, tokens: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Tokens ``[B, n, k]`` → scores ``[B, n, 64]``, and each layer's weights or ``None``."""
        n = tokens.shape[1]
        if n > len(self.position.weight):
            raise ValueError(f"at most {len(self.position.weight)} positions, got {n}")
        hidden = self.embedding(tokens).sum(-2) + self.position.weight[:n]  # [B, n, D]
        mask, all_weights = causal_mask(n), []
        for norm, layer in zip(self.norms[:-1], self.layers, strict=True):
            change, weights = layer(norm(hidden), None, mask, return_weights)
            hidden = hidden + change  # [B, n, D]
            all_weights.append(weights)  # [B, H, n, n]
        return self.classifier(self.norms[-1](hidden)), all_weights


class RecurrentReader(nn.Module):
    """Embedding, an LSTM or GRU, and a classifier on the state of each position.

    Args:
        kind: ``"lstm"`` or ``"gru"``.
        d_model: width of the embedding and of the state.

    Raises:
        ValueError: if ``kind`` is unknown, or ``d_model`` is less than 1.
    """

    def __init__(self, kind: str, d_model: int):
        super().__init__()
        check_sizes(d_model=d_model)
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU}
        if kind not in kinds:
            raise ValueError(f"kind must be one of {list(kinds)}, got {kind!r}")
        self.embedding = nn.Embedding(QUESTION + 1, d_model)
        self.layer = kinds[kind](d_model, d_model, batch_first=True)
        self.classifier = nn.Linear(d_model, SYMBOLS)

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        """Tokens ``[B, n, k]`` → scores ``[B, n, 64]``, and ``None`` in place of weights."""
        states, _ = self.layer(self.embedding(tokens).sum(-2))  # [B, n, D]
        return self.classifier(states), None


def make_reader(name: str, seed: int) -> nn.Module:
    """Build a model by its name; the global random state stays as it is.

    Args:
        name: kind and width, such as ``"lstm-128"``, or for attention kind, layers, heads and
            width, such as ``"attention-2x1-64"``.
        seed: of the initial weights.

    Raises:
        ValueError: if the name does not say this.
    """
    found = re.fullmatch(r"(lstm|gru|attention-(\d+)x(\d+))-(\d+)", name)
    if not found:
        raise ValueError(f"expected a name such as lstm-128, got {name!r}")
    kind, layers, heads, width = found.groups()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if layers is None:
            return RecurrentReader(kind, int(width))
        return AttentionReader(int(width), int(layers), int(heads))


@torch.no_grad()
def right_answers(model: nn.Module, batch: Asked) -> Tensor:
    """Which answers are right.

    Args:
        model: as made by :func:`make_reader`.
        batch: of one of the tasks.

    Returns:
        Boolean ``[B, m]``.
    """
    scores, _ = model(batch.tokens)
    return scores[:, -batch.answers.shape[1] :].argmax(-1) == batch.answers
