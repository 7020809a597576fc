"""Skip-gram with negative sampling: vocabulary, pairs, model, loss, training.

Shapes:

    V size of the vocabulary   D width of a vector   P pairs   B pairs in a batch
    K noise words a pair

Every random draw comes from a generator that the caller gives or a seed that the caller names.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bertbook.shared.training import train

__all__ = [
    "SkipGram",
    "Vocabulary",
    "keep_probability",
    "negative_sampling_loss",
    "noise_distribution",
    "sample",
    "skip_gram_pairs",
    "subsample",
    "tokenize",
    "train_skip_gram",
]


def tokenize(text: str) -> list[str]:
    """Cut a text into its words: runs of letters, of any alphabet, in lower case."""
    return re.findall(r"[^\W\d_]+", text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that get a vector, the most frequent first.

    Attributes:
        words: V words; a word's place is its id.
        counts: ``[V]``, how often each occurs in the text.
    """

    words: tuple[str, ...]
    counts: Tensor

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], min_count: int = 5) -> "Vocabulary":
        """Count the words of tokenized texts, and keep those that occur ``min_count`` times.

        Raises:
            ValueError: if ``min_count`` is below 1, or no word occurs often enough.
        """
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        counter = Counter(word for text in texts for word in text)
        kept = {w: c for w, c in counter.most_common() if c >= min_count}
        if not kept:
            raise ValueError(f"no word occurs {min_count} times or more")
        return cls(tuple(kept), torch.tensor(list(kept.values())))

    def __post_init__(self):
        if self.counts.shape != (len(self.words),) or (self.counts < 1).any():
            raise ValueError(
                f"counts must be {len(self.words)} positive numbers, one a word, "
                f"got shape {list(self.counts.shape)}"
            )
        index = {word: number for number, word in enumerate(self.words)}
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def __getitem__(self, word: str) -> int:
        """The id of a word.

        Raises:
            KeyError: if the word is not in the vocabulary.
        """
        if word not in self._index:
            raise KeyError(f"{word!r} is not among the {len(self)} words")
        return self._index[word]

    def encode(self, text: Sequence[str]) -> list[int]:
        """The ids of a tokenized text; words outside the vocabulary are left out."""
        return [self._index[word] for word in text if word in self._index]


def keep_probability(counts: Tensor, threshold: float = 1e-3) -> Tensor:
    """With what probability an occurrence of each word stays in the training text.

    Args:
        counts: ``[V]``, of every word.
        threshold: t, a share of the text; words rarer than that are all kept.

    Returns:
        ``[V]``: ``sqrt(t / f) + t / f`` for a word's share f of the text, at most 1.

    Raises:
        ValueError: if the threshold is not positive.

    Source: the C code of Mikolov et al. 2013b; section 2.3 of the paper has ``sqrt(t / f)``.
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    ratio = threshold * counts.sum() / counts.double()  # [V], t / f
    return (ratio.sqrt() + ratio).clamp(max=1)  # [V]


def noise_distribution(counts: Tensor, exponent: float = 0.75) -> Tensor:
    """How often each word is drawn as noise: in proportion to a power of its count.

    Returns:
        ``[V]``, summing to one.

    Source: Mikolov et al. 2013b, section 2.2.
    """
    powers = counts.double() ** exponent  # [V]
    return powers / powers.sum()  # [V]


def sample(probabilities: Tensor, shape: tuple[int, ...], generator=None) -> Tensor:
    """Draw ids from a distribution ``[V]``, with replacement; ``shape`` of them."""
    edges = probabilities.cumsum(0)  # [V]
    draws = torch.rand(shape, generator=generator, dtype=edges.dtype)
    return torch.searchsorted(edges / edges[-1], draws, right=True)


def subsample(
    texts: Sequence[Sequence[int]], keep: Tensor, generator=None
) -> list[Tensor]:
    """Drop occurrences of frequent words at random.

    Args:
        texts: of word ids.
        keep: ``[V]``, see :func:`keep_probability`.
        generator: of the random numbers.

    Returns:
        The texts without what was dropped: the rest moves together.
    """
    flat = torch.tensor([word for text in texts for word in text])
    stays = torch.rand(len(flat), generator=generator) < keep[flat]
    pieces = torch.split(flat, [len(text) for text in texts])
    return [
        p[s] for p, s in zip(pieces, stays.split([len(p) for p in pieces]), strict=True)
    ]


def skip_gram_pairs(texts: Sequence[Tensor], window: int = 5, generator=None) -> Tensor:
    """Pair every word with its neighbours, the near ones more often.

    Each occurrence draws its own reach from 1 to ``window``: a neighbour at distance k is paired
    with probability ``(window - k + 1) / window``. No pair crosses from one text into the next.

    Args:
        texts: of word ids, each a tensor.
        window: the largest reach.
        generator: of the random numbers.

    Returns:
        ``[P, 2]``: centre and context.

    Raises:
        ValueError: if the window is below 1.

    Source: Mikolov et al. 2013a, section 3.2.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    flat = torch.cat(list(texts))  # [N]
    lengths = torch.tensor([len(text) for text in texts])
    home = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # [N]
    reach = torch.randint(1, window + 1, (len(flat),), generator=generator)  # [N]
    pairs = []
    for k in range(1, min(window, len(flat) - 1) + 1):
        left, right = flat[:-k], flat[k:]
        together = home[:-k] == home[k:]
        from_left, from_right = (
            together & (reach[:-k] >= k),
            together & (reach[k:] >= k),
        )
        pairs.append(torch.stack([left, right], 1)[from_left])
        pairs.append(torch.stack([right, left], 1)[from_right])
    return torch.cat(pairs) if pairs else flat.new_empty(0, 2)  # [P, 2]


def negative_sampling_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """How badly a logistic regression tells the true contexts from noise.

    Args:
        positive: ``[B]``, scores of the true pairs.
        negative: ``[B, K]``, scores of each centre with K noise words.

    Returns:
        ``[B]``: ``-log σ(positive) - Σ log σ(-negative)``.

    Source: Mikolov et al. 2013b, section 2.2, equation 4, with the sign of a loss.
    """
    true_part = nn.functional.logsigmoid(positive)  # [B]
    return -true_part - nn.functional.logsigmoid(-negative).sum(-1)  # [B]


class SkipGram(nn.Module):
    """Two tables: a word's vector as a centre, and its vector as a context.

    Args:
        vocabulary_size: V.
        width: D.

    Source: Mikolov et al. 2013b; the initial values are those of its C code.
    """

    def __init__(self, vocabulary_size: int, width: int):
        super().__init__()
        for name, size in {"vocabulary_size": vocabulary_size, "width": width}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.centre = nn.Embedding(vocabulary_size, width)
        self.context = nn.Embedding(vocabulary_size, width)
        nn.init.uniform_(self.centre.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.context.weight)

    def forward(self, centres: Tensor, others: Tensor) -> Tensor:
        """Score each centre with each of its other words, by the dot product.

        Args:
            centres: ``[B]``, ids.
            others: ``[B, N]``, ids: the true context, noise words.

        Returns:
            Scores ``[B, N]``.
        """
        vectors = self.centre(centres).unsqueeze(1)  # [B, 1, D]
        # On a processor faster than a batched matrix product of such small matrices.
        return (vectors * self.context(others)).sum(-1)  # [B, N]


def train_skip_gram(
    texts: Sequence[Sequence[int]],
    counts: Tensor,
    *,
    width: int = 64,
    window: int = 5,
    negatives: int = 5,
    threshold: float = 1e-3,
    epochs: int = 5,
    batch_size: int = 16384,
    learning_rate: float = 0.03,
    seed: int = 0,
    make_model: Callable[[int, int], nn.Module] = SkipGram,
) -> tuple[nn.Module, list[float]]:
    """Train word vectors with Adam; the learning rate falls in a line to nothing.

    Each epoch subsamples the text anew and draws new windows and new noise words.

    Args:
        texts: of word ids, such as paragraphs.
        counts: ``[V]``, of every word.
        width: D.
        window: see :func:`skip_gram_pairs`.
        negatives: K.
        threshold: see :func:`keep_probability`.
        epochs: passes over the text.
        batch_size: B.
        learning_rate: of the first step.
        seed: of everything random.
        make_model: makes the model from V and D.

    Returns:
        The model and the loss of every step, a mean over the batch.

    Raises:
        ValueError: if ``epochs`` or ``negatives`` is below 1, or the text has no pair.
    """
    for name, number in {"epochs": epochs, "negatives": negatives}.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    torch.manual_seed(seed)
    keep, noise = keep_probability(counts, threshold), noise_distribution(counts)
    pairs = []
    for _ in range(epochs):
        epoch = skip_gram_pairs(subsample(texts, keep), window)
        pairs.append(epoch[torch.randperm(len(epoch))])
    pairs = torch.cat(pairs)  # [P, 2], all epochs in turn
    steps = math.ceil(len(pairs) / batch_size)
    if steps == 0:
        raise ValueError("the texts have no pair of neighbouring words")

    def batch(step: int) -> tuple[Tensor, Tensor]:
        centres, contexts = pairs[step * batch_size : (step + 1) * batch_size].T
        drawn = sample(noise, (len(centres), negatives))  # [B, K]
        return centres, torch.cat([contexts[:, None], drawn], dim=1)  # [B], [B, 1 + K]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        scores = model(*batch)  # [B, 1 + K]
        return negative_sampling_loss(scores[:, 0], scores[:, 1:]).mean()

    model = make_model(len(counts), width)
    losses = train(
        model,
        batch,
        loss,
        steps=steps,
        learning_rate=learning_rate,
        schedule=lambda step: 1 - step / steps,
        clip_norm=None,
    )
    return model.eval(), losses
