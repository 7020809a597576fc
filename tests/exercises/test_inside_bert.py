"""The checks accept right answers in any form and name the likely mistake in wrong ones."""

import pytest
import torch
import torch.nn.functional as F

from bertbook.exercises import inside_bert as exercises


def refused(verdict, hint):
    assert not verdict
    assert hint in str(verdict)


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_masked_output,
        exercises.check_mean_pooling,
        exercises.check_previous_score,
        exercises.check_sense_gap,
    ],
)
def test_an_empty_answer_is_open_and_not_wrong(check):
    for answer in (..., lambda *arguments: ...):
        if answer is ... or check is not exercises.check_masked_output:
            verdict = check(answer)
            assert not verdict
            assert str(verdict) == str(exercises.open_answer())


def test_masked_output():
    for answer in (6, 6.0, torch.tensor(6.0)):
        assert exercises.check_masked_output(answer)
    refused(exercises.check_masked_output(3), "value removed")
    refused(exercises.check_masked_output(4), "nothing masked")
    refused(exercises.check_masked_output(12), "sum of the two")
    refused(exercises.check_masked_output(5), "scale the other weights")
    refused(exercises.check_masked_output("six"), "'six'")


def pool(states, mask):
    return torch.einsum("bsd,bs->bd", states, mask.to(states)) / mask.sum(1)[:, None]


def test_mean_pooling():
    check = exercises.check_mean_pooling
    assert check(pool)
    assert check(
        lambda s, m: torch.stack(
            [x[k.bool()].mean(0) for x, k in zip(s, m, strict=True)]
        )
    )
    refused(check(lambda s, m: s.mean(1)), "mask is not used")
    refused(check(lambda s, m: (s * m[..., None]).mean(1)), "number of tokens")
    refused(check(lambda s, m: s[:, 0]), "[CLS]")
    refused(check(lambda s, m: (s * m[..., None]).sum(1)), "the sum")
    refused(check(lambda s, m: s), "[2, 4, 3]")
    refused(check(lambda s, m: 3), "int")
    refused(check(lambda s, m: s.amax(1)), "Set padding to zero")


def test_previous_score():
    check = exercises.check_previous_score
    assert check(lambda w: w.diagonal(-1).mean())
    assert check(lambda w: sum(w[i, i - 1].item() for i in range(1, 5)) / 4)
    refused(check(lambda w: w.diagonal(1).mean()), "token after")
    refused(check(lambda w: w.diagonal().mean()), "itself")
    refused(check(lambda w: w.diagonal(-1).sum() / 5), "first token")
    refused(check(lambda w: w.diagonal(-1).sum()), "the mean is asked")
    refused(check(lambda w: w.mean()), "column i − 1")
    refused(check(lambda w: w.diagonal(-1)), "One number")


def gap(states, sense, diagonal=False, unit=True):
    states = F.normalize(states, dim=-1) if unit else states
    alike = sense[:, None] == sense
    inside = alike if diagonal else alike & ~torch.eye(len(sense)).bool()
    table = states @ states.T
    return table[inside].mean() - table[~alike].mean()


def test_sense_gap():
    check = exercises.check_sense_gap
    assert check(gap)
    assert check(lambda s, k: gap(s, k).item())
    refused(check(lambda s, k: gap(s, k, diagonal=True)), "with itself")
    refused(check(lambda s, k: gap(s, k, unit=False)), "dot products")
    refused(check(lambda s, k: -gap(s, k)), "sign")
    refused(check(lambda s, k: 0.0), "mean of each kind")
    refused(check(lambda s, k: s), "One number")
