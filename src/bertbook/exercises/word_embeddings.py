"""Checks for the exercises of the chapter *Word embeddings*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises import Verdict, as_number, correct, is_open, open_answer, wrong

__all__ = [
    "check_loss",
    "check_noise",
    "check_optimum",
    "check_pairs",
]


def _near(number: float, expected: float) -> bool:
    return math.isclose(number, expected, abs_tol=6e-3)


def check_pairs(answer: object) -> Verdict:
    """Exercise 1: mean number of pairs that a word of a long text is the centre of, window 5.

    Args:
        answer: a number.
    """
    if is_open(answer):
        return open_answer()
    number = as_number(answer)
    if number is None:
        return wrong(f"One number is asked for; this is {answer!r}.")
    if _near(number, 6):
        return correct("The mean reach is 3, on two sides; a distance k has (6 - k)/5.")
    if _near(number, 10):
        return wrong(
            "That is a fixed window of 5. Here the reach is drawn from 1 to 5."
        )
    if _near(number, 3):
        return wrong("That is one side. A word has neighbours on the left and right.")
    if _near(number, 5):
        return wrong("The mean of 1, 2, 3, 4, 5 is not 2.5.")
    return wrong("What is the mean of 1, 2, 3, 4, 5, and how many sides are there?")


def check_noise(answer: object) -> Verdict:
    """Exercise 2: the noise probability of the more frequent of two words, counts 81 and 16.

    Args:
        answer: a number, to two decimals or better.
    """
    if is_open(answer):
        return open_answer()
    number = as_number(answer)
    if number is None:
        return wrong(f"One number is asked for; this is {answer!r}.")
    if _near(number, 27 / 35):
        return correct(
            "81^¾ = 27, 16^¾ = 8. Of the text it is 84 %, of the noise 77 %."
        )
    if _near(number, 81 / 97):
        return wrong("That is its share of the text. Raise both counts to the ¾ first.")
    if _near(number, (81 / 97) ** 0.75):
        return wrong("Power first, then divide by the sum: the two must sum to one.")
    if _near(number, 9 / 13):
        return wrong("That is the square root; the exponent is ¾.")
    if _near(number, 8 / 35):
        return wrong("That is the rarer word.")
    return wrong("81 is 3⁴ and 16 is 2⁴. What are they to the power ¾?")


def check_optimum(answer: object) -> Verdict:
    """Exercise 3: the score at the optimum for given counts.

    A pair occurs 20 times, its centre in 100 pairs, the context is 5 % of the noise; K = 2.

    Args:
        answer: a number, to two decimals or better.
    """
    if is_open(answer):
        return open_answer()
    number = as_number(answer)
    if number is None:
        return wrong(f"One number is asked for; this is {answer!r}.")
    if _near(number, math.log(2)):
        return correct("log(0.20 / 0.05) - log 2 = log 2.")
    if _near(number, math.log(4)):
        return wrong("That is the PMI; the K noise words shift it.")
    if _near(number, math.log(8)):
        return wrong("The shift has the other sign: more noise words, lower scores.")
    if _near(number, 2):
        return wrong("That is the odds of true against noise. The score is their log.")
    if _near(number, 1):
        return wrong("The logarithm is the natural one.")
    return wrong("The pair is met 20 times as true, and 100·K·0.05 times as noise.")


def check_loss(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: the loss of one pair and its noise words, from vectors.

    Args:
        function: takes the centre's vector ``[D]``, the context's ``[D]`` and the noise words'
            ``[K, D]``, returns the loss, a scalar.
    """
    if is_open(function):
        return open_answer()
    centre = torch.tensor([math.log(3), 0], dtype=torch.float64)
    context = torch.tensor([1.0, 2], dtype=torch.float64)
    noise = torch.tensor([[-1.0, 4], [0, 2]], dtype=torch.float64)
    loss = function(centre, context, noise)
    if is_open(loss):
        return open_answer()
    if not isinstance(loss, Tensor) or loss.shape != ():
        kind = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        return wrong(f"A tensor with one number is asked for; this is {kind}.")
    positive, negative = context @ centre, noise @ centre
    log_sigmoid = torch.nn.functional.logsigmoid
    mistakes = {
        "The sign: a loss is minus the log-probability.": (
            log_sigmoid(positive) + log_sigmoid(-negative).sum()
        ),
        "The noise words' scores need a minus inside σ: they should be called noise.": (
            -log_sigmoid(positive) - log_sigmoid(negative).sum()
        ),
        "Sum over the K noise words; this is their mean.": (
            -log_sigmoid(positive) - log_sigmoid(-negative).mean()
        ),
        "The noise words are missing.": -log_sigmoid(positive),
        "Take the logarithm of each σ before adding.": (
            -positive.sigmoid() - (-negative).sigmoid().sum()
        ),
        "This is a softmax over the K + 1 words. Here each is a yes-or-no question.": (
            torch.logsumexp(torch.cat([positive[None], negative]), 0) - positive
        ),
    }
    for hint, value in mistakes.items():
        if torch.isclose(loss.double(), value):
            return wrong(hint)
    expected = -log_sigmoid(positive) - log_sigmoid(-negative).sum()
    if not torch.isclose(loss.double(), expected):
        return wrong(
            f"For the example by hand it should be log(32/9); it is {loss:.3f}."
        )
    if not torch.isfinite(function(1000 * centre, -context, noise)):
        return wrong(
            "At a score of -1000 it is infinite: log σ(x) needs a stable form."
        )
    return correct("A logistic regression: one true word against K drawn ones.")
