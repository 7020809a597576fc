"""The exercises of the chapter *Word embeddings*."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_loss",
    "check_noise",
    "check_optimum",
    "check_pairs",
]

check_pairs = Number(
    "Exercise 1: mean number of pairs that a word of a long text is the centre of, window 5.",
    right=6,
    tolerance=6e-3,
    praise="The mean reach is 3, on two sides; a distance k has (6 - k)/5.",
    hints={
        "That is a fixed window of 5. Here the reach is drawn from 1 to 5.": 10,
        "That is one side. A word has neighbours on the left and right.": 3,
        "The mean of 1, 2, 3, 4, 5 is not 2.5.": 5,
    },
    otherwise="What is the mean of 1, 2, 3, 4, 5, and how many sides are there?",
)

check_noise = Number(
    "Exercise 2: the noise probability of the more frequent of two words, counts 81 and 16, to "
    "two decimals or better.",
    right=27 / 35,
    tolerance=6e-3,
    praise="81^¾ = 27, 16^¾ = 8. Of the text it is 84 %, of the noise 77 %.",
    hints={
        "That is its share of the text. Raise both counts to the ¾ first.": 0.83505,
        "Power first, then divide by the sum: the two must sum to one.": 0.87356,
        "That is the square root; the exponent is ¾.": 9 / 13,
        "That is the rarer word.": 8 / 35,
    },
    otherwise="81 is 3⁴ and 16 is 2⁴. What are they to the power ¾?",
)

check_optimum = Number(
    "Exercise 3: the score at the optimum, to two decimals or better: a pair occurs 20 times, its "
    "centre in 100 pairs, the context is 5 % of the noise; K = 2.",
    right=math.log(2),
    tolerance=6e-3,
    praise="log(0.20 / 0.05) - log 2 = log 2.",
    hints={
        "That is the PMI; the K noise words shift it.": math.log(4),
        "The shift has the other sign: more noise words, lower scores.": math.log(8),
        "That is the odds of true against noise. The score is their log.": 2,
        "The logarithm is the natural one.": 1,
    },
    otherwise="The pair is met 20 times as true, and 100·K·0.05 times as noise.",
)


def _loss(centre: Tensor, context: Tensor, noise: Tensor) -> Tensor:
    return -logsigmoid(context @ centre) - logsigmoid(-(noise @ centre)).sum()


def _softmax(centre: Tensor, context: Tensor, noise: Tensor) -> Tensor:
    return cross_entropy(torch.cat([context[None], noise]) @ centre, torch.tensor(0))


def _vectors(scale: float = 1.0, sign: float = 1.0) -> list[tuple[Tensor, ...]]:
    vectors = [scale * math.log(3), 0], [sign, 2 * sign], [[-1.0, 4], [0, 2]]
    return [tuple(torch.tensor(v, dtype=torch.float64) for v in vectors)]


check_loss = Code(
    "Exercise 4: the loss of one pair and its noise words: takes the centre's vector [D], the "
    "context's [D] and the noise words' [K, D], returns the loss, a scalar.",
    inputs=_vectors,
    right=_loss,
    praise="A logistic regression: one true word against K drawn ones.",
    form="A tensor with one number is asked for; this is {found}.",
    hints={
        "The sign: a loss is minus the log-probability.": lambda v, u, n: (
            -_loss(v, u, n)
        ),
        "The noise words' scores need a minus inside σ: they should be called noise.": (
            lambda v, u, n: _loss(v, u, -n)
        ),
        "Sum over the K noise words; this is their mean.": (
            lambda v, u, n: -logsigmoid(u @ v) - logsigmoid(-(n @ v)).mean()
        ),
        "The noise words are missing.": lambda v, u, n: -logsigmoid(u @ v),
        "Take the logarithm of each σ before adding.": (
            lambda v, u, n: -(u @ v).sigmoid() - (-n @ v).sigmoid().sum()
        ),
        "This is a softmax over the K + 1 words. Here each is a yes-or-no question.": _softmax,
    },
    otherwise=lambda found, right, *vectors: (
        f"For the example by hand it should be log(32/9); it is {found.item():.3f}."
    ),
    further={
        "At a score of -1000 it is infinite: log σ(x) needs a stable form.": (
            lambda: _vectors(scale=1000, sign=-1)
        )
    },
)
