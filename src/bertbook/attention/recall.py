"""The recall task: a question at the end of a long sequence asks for a marked letter in it.

With one item a sequence is noise, one marked letter, noise again, and the question:

    b d a h F c a … g e ?        answer: f, the letter that is written as a capital

With several items each has a number, and the question names the number:

    b A3 a h F1 c B2 … g e ?1    answer: f

The ``distance`` is the number of steps from the asked item to the question. Mark and number are
part of the token, so no model needs positions. The models differ in how the letter reaches the
end: through a recurrent state, or through one head of self-attention.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bertbook.attention.scores import (
    SelfAttention,
    scaled_dot_product_attention,
)

__all__ = [
    "LETTERS",
    "WIDTHS",
    "AttentionRecall",
    "RecallBatch",
    "RecurrentRecall",
    "make_model",
    "random_distance",
    "recall_accuracy",
    "recall_batch",
    "set_forget_bias",
    "token_names",
    "vocabulary_size",
]

LETTERS = 8


def vocabulary_size(items: int) -> int:
    """Count the tokens: 8 plain letters, and for each item 8 marked letters and one question.

    Args:
        items: number of items, at least 1.

    Returns:
        The number of different tokens.

    Raises:
        ValueError: if ``items`` is below 1.
    """
    if items < 1:
        raise ValueError(f"items must be at least 1, got {items}")
    return LETTERS + (LETTERS + 1) * items


@dataclass(frozen=True)
class RecallBatch:
    """Sequences of one length and their answers.

    Attributes:
        tokens: ``[B, n]``.
        answers: ``[B]``, in 0..7.
    """

    tokens: Tensor
    answers: Tensor


def recall_batch(
    size: int,
    distance: int,
    generator: torch.Generator,
    *,
    items: int = 1,
    prefix: int = 8,
) -> RecallBatch:
    """Draw sequences in which the asked item stands ``distance`` before the question.

    Args:
        size: B, number of sequences.
        distance: steps from the asked item to the question, at least 1.
        generator: source of all randomness.
        items: number of marked letters; those not asked for stand at random positions.
        prefix: positions before the asked item, at least one for every other item.

    Returns:
        Tokens ``[B, prefix + distance + 1]`` and answers ``[B]`` in 0..7.

    Raises:
        ValueError: if a number is out of its range.
    """
    least = {"size": (size, 1), "distance": (distance, 1), "items": (items, 1)}
    least["prefix"] = (prefix, max(0, items - 1))
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}, got {value}")
    n = prefix + distance + 1
    tokens = torch.randint(LETTERS, (size, n), generator=generator)  # [B, n]
    answers = tokens[:, prefix].clone()  # [B]
    numbers = torch.rand(size, items, generator=generator).argsort(
        -1
    )  # [B, items], asked first
    order = torch.rand(size, n, generator=generator)  # [B, n]
    order[:, prefix], order[:, -1] = (
        -1.0,
        2.0,
    )  # the asked item comes first, the question last
    places = order.argsort(-1)[:, :items]  # [B, items]
    marked = tokens.gather(1, places) + LETTERS * (1 + numbers)  # [B, items]
    tokens.scatter_(1, places, marked)
    tokens[:, -1] = LETTERS * (1 + items) + numbers[:, 0]
    return RecallBatch(tokens, answers)


def token_names(tokens: Tensor, items: int = 1) -> list[str]:
    """Write the tokens of one sequence as text, such as ``a``, ``A`` and ``?``.

    With several items the marked letters and the question have numbers: ``A3``, ``?3``.

    Args:
        tokens: ``[n]``.
        items: number of items of the task.

    Returns:
        n names.

    Raises:
        ValueError: if ``items`` is below 1, or a token is not in the vocabulary.
    """
    size = vocabulary_size(items)
    if ((tokens < 0) | (tokens >= size)).any():
        raise ValueError(f"tokens must lie in 0..{size - 1}, got {tokens.tolist()}")
    names = list("abcdefgh")
    suffixes = [str(number + 1) if items > 1 else "" for number in range(items)]
    names += [letter + suffix for suffix in suffixes for letter in "ABCDEFGH"]
    names += ["?" + suffix for suffix in suffixes]
    return [names[token] for token in tokens.tolist()]


def set_forget_bias(lstm: nn.LSTM, bias: float | Tensor) -> None:
    """Set the forget gate's bias in place; PyTorch stores it as the sum of two biases.

    Args:
        lstm: any ``nn.LSTM`` with biases; its order of the gates is i, f, g, o.
        bias: one number, or ``[hidden_size]``, one number per unit.

    Source: Gers et al. 2000 (the gate).
    """
    units = slice(lstm.hidden_size, 2 * lstm.hidden_size)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias_ih"):
                parameter[units] = bias
            elif name.startswith("bias_hh"):
                parameter[units] = 0.0


class RecurrentRecall(nn.Module):
    """Embedding, a recurrent layer, and a classifier on its last state.

    Args:
        kind: ``"rnn"`` (tanh) or ``"lstm"``.
        hidden_size: width of the state.
        start: how the recurrent layer is initialised. RNN: ``"default"`` or ``"orthogonal"``. LSTM:
            the forget gate's bias, ``"0"``, ``"1"`` or ``"chrono"``. With ``"chrono"`` it is log u,
            u drawn uniformly from 1..T - 1, and the input gate's bias is -log u. Units then
            remember for up to T steps (Tallec and Ollivier 2018).
        vocabulary: number of tokens.
        d_model: width of the embedding.
        horizon: T of ``"chrono"``.

    Raises:
        ValueError: if ``kind`` is unknown, or ``start`` is unknown for this ``kind``.
    """

    def __init__(
        self,
        kind: str,
        hidden_size: int,
        start: str,
        vocabulary: int,
        d_model: int = 32,
        horizon: int = 512,
    ):
        super().__init__()
        starts = {"rnn": ("default", "orthogonal"), "lstm": ("0", "1", "chrono")}
        if kind not in starts:
            raise ValueError(f"kind must be one of {list(starts)}, got {kind!r}")
        if start not in starts[kind]:
            raise ValueError(
                f"start of the {kind} must be one of {starts[kind]}, got {start!r}"
            )
        self.embedding = nn.Embedding(vocabulary, d_model)
        layer = nn.RNN if kind == "rnn" else nn.LSTM
        self.layer = layer(d_model, hidden_size, batch_first=True)
        self.classifier = nn.Linear(hidden_size, LETTERS)
        if start == "orthogonal":
            nn.init.orthogonal_(self.layer.weight_hh_l0)
        elif start == "chrono":
            bias = torch.empty(hidden_size).uniform_(1, horizon - 1).log()
            set_forget_bias(self.layer, bias)
            with torch.no_grad():
                self.layer.bias_ih_l0[:hidden_size] = -bias
                self.layer.bias_hh_l0[:hidden_size] = 0.0
        elif kind == "lstm":
            set_forget_bias(self.layer, float(start))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, n]`` → scores of the letters ``[B, 8]``."""
        states, _ = self.layer(self.embedding(tokens))  # [B, n, hidden]
        return self.classifier(states[:, -1])  # [B, 8]


class AttentionRecall(nn.Module):
    """Embedding, one head of self-attention with its output matrix, and a classifier.

    There are no positions, no residual connection and no feed-forward layer. Only the last position
    gives the answer, so only its query is computed; :meth:`weights` gives all rows.

    Args:
        d_model: D, width of embeddings, queries, keys and values.
        vocabulary: number of tokens.

    Raises:
        ValueError: if ``d_model`` is below 1.
    """

    def __init__(self, d_model: int, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.attention = SelfAttention(d_model)
        self.output = nn.Linear(d_model, d_model)
        self.classifier = nn.Linear(d_model, LETTERS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, n]`` → scores of the letters ``[B, 8]``."""
        hidden = self.embedding(tokens)  # [B, n, D]
        query = self.attention.query(hidden[:, -1:])  # [B, 1, D]
        key, value = (
            self.attention.key(hidden),
            self.attention.value(hidden),
        )  # [B, n, D]
        mixed, _ = scaled_dot_product_attention(query, key, value)  # [B, 1, D]
        return self.classifier(self.output(mixed[:, 0]))  # [B, 8]

    def weights(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, n]`` → attention weights of every position ``[B, n, n]``."""
        return self.attention(self.embedding(tokens))[1]


# For each number of items: widths that make the numbers of parameters equal to within 2 %.
WIDTHS = {
    1: {"rnn": 75, "lstm": 32, "attention": 45},
    8: {"rnn": 75, "lstm": 32, "attention": 43},
    16: {"rnn": 75, "lstm": 32, "attention": 41},
}


def make_model(name: str, start: str | None, seed: int, items: int = 1) -> nn.Module:
    """Build a model of the comparison; the global random state is not changed.

    Args:
        name: ``"rnn"``, ``"lstm"`` or ``"attention"``.
        start: see :class:`RecurrentRecall`; ``None`` for attention.
        seed: seed of the initial weights.
        items: number of items of the task.

    Returns:
        A :class:`RecurrentRecall` or an :class:`AttentionRecall`.

    Raises:
        ValueError: if ``items`` has no entry in :data:`WIDTHS`, ``name`` is unknown, or ``start``
            is unknown for the RNN or LSTM.
    """
    if items not in WIDTHS:
        raise ValueError(f"items must be one of {list(WIDTHS)}, got {items}")
    if name not in WIDTHS[items]:
        raise ValueError(f"name must be one of {list(WIDTHS[items])}, got {name!r}")
    width = WIDTHS[items][name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "attention":
            return AttentionRecall(width, vocabulary_size(items))
        return RecurrentRecall(name, width, start, vocabulary_size(items))


@torch.no_grad()
def recall_accuracy(
    model: nn.Module,
    distance: int,
    generator: torch.Generator,
    *,
    items: int = 1,
    prefix: int = 8,
    sequences: int = 512,
) -> float:
    """Measure the share of right answers at one distance; chance is 1/8.

    Args:
        model: maps tokens ``[B, n]`` to scores ``[B, 8]``.
        distance: see :func:`recall_batch`.
        generator: source of the sequences.
        items: see :func:`recall_batch`.
        prefix: see :func:`recall_batch`.
        sequences: B, number of sequences.

    Returns:
        A share in 0..1.

    Raises:
        ValueError: if a number is out of its range.
    """
    batch = recall_batch(sequences, distance, generator, items=items, prefix=prefix)
    return (model(batch.tokens).argmax(-1) == batch.answers).float().mean().item()


def random_distance(longest: int, generator: torch.Generator) -> int:
    """Draw a distance whose logarithm is about uniform: each doubling is equally likely.

    Args:
        longest: the largest possible distance.
        generator: source of randomness.

    Returns:
        A distance in 1..``longest``.

    Raises:
        ValueError: if ``longest`` is less than 1.
    """
    if longest < 1:
        raise ValueError(f"longest must be at least 1, got {longest}")
    draw = torch.rand((), generator=generator).item()
    return min(longest, math.floor(math.exp(draw * math.log(longest + 1))))
