"""The checks accept right answers in any form and name the likely mistake in wrong ones."""

import pytest
import torch

from bertbook.exercises import fine_tuning as exercises
from bertbook.exercises import open_answer
from bertbook.tokenizer.pieces import IGNORED


def refused(verdict, hint):
    assert not verdict
    assert hint in str(verdict)


@pytest.mark.parametrize(
    ("check", "function"),
    [
        (exercises.check_head_parameters, False),
        (exercises.check_piece_labels, True),
        (exercises.check_span, True),
        (exercises.check_f1, False),
    ],
)
def test_an_empty_answer_is_open_and_not_wrong(check, function):
    assert str(check(...)) == str(open_answer())
    if function:
        assert str(check(lambda *arguments: ...)) == str(open_answer())


def test_head_parameters():
    check = exercises.check_head_parameters
    assert check(2307)
    assert check(torch.tensor(2307))
    refused(check(2304), "biases")
    refused(check(769), "one output")
    refused(check(2307 + 590592), "not new")
    refused(check(590592), "the pooler")
    refused(check(5), "One linear map")
    refused(check("many"), "'many'")


def label(words, labels, first=True, special=IGNORED, later=IGNORED):
    """The right answer, or a wrong one."""
    found, seen = [], set()
    for word in words:
        if word is None:
            found.append(special)
        elif word in seen and first:
            found.append(later)
        else:
            found.append(labels[word])
        seen.add(word)
    return found


def test_piece_labels():
    check = exercises.check_piece_labels
    assert check(label)
    assert check(lambda w, k: torch.tensor(label(w, k)))
    refused(check(lambda w, k: label(w, k, first=False)), "Every piece")
    refused(check(lambda w, k: label(w[::-1], k)[::-1]), "last piece")
    refused(check(lambda w, k: label(w, k, later=0)), "no non-name")
    refused(check(lambda w, k: label(w, k, special=0)), "[CLS]")
    refused(check(lambda w, k: k), "8 pieces")
    refused(check(lambda w, k: 3), "list of numbers")
    refused(check(lambda w, k: [0] * 8), "first piece gets")


def best(start, end):
    sums = start[:, None] + end
    sums = sums.masked_fill(torch.ones_like(sums).triu() == 0, -torch.inf)
    return divmod(int(sums.argmax()), len(start))


def start_first(start, end):
    first = int(start.argmax())
    return first, first + int(end[first:].argmax())


def end_first(start, end):
    last = int(end.argmax())
    return int(start[: last + 1].argmax()), last


def test_span():
    check = exercises.check_span
    assert check(best)
    assert check(lambda s, e: torch.tensor(best(s, e)))
    refused(check(lambda s, e: (s.argmax(), e.argmax())), "two argmaxes".capitalize())
    refused(check(lambda s, e: sorted((s.argmax(), e.argmax()))), "Exchanging")
    refused(check(lambda s, e: (e.argmax(), e.argmax())), "look at all pairs")
    refused(check(start_first), "all pairs")
    refused(check(end_first), "all pairs")
    refused(check(lambda s, e: (1, 2)), "all pairs")
    refused(check(lambda s, e: (0, 0)), "all pairs")
    refused(check(lambda s, e: 3), "Two places")


def test_f1():
    check = exercises.check_f1
    assert check(2 / 3)
    assert check(0.667)
    refused(check(0.94), "accuracy")
    refused(check(0.75), "precision")
    refused(check(0.6), "recall")
    refused(check(0.675), "harmonic")
    refused(check(200 / 3), "percentage")
    refused(check(0.1), "Twice the hits")
    refused(check("high"), "One number")
