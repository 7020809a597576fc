"""The score of guesses against numbers by hand."""

import math

import pytest
import torch

from bertbook.studies.metrics import guess_scores


def test_guesses_are_scored_by_hand():
    # The true pieces come first, second and last of six.
    chances = torch.tensor([[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]] * 3)
    found = guess_scores(chances.log(), torch.tensor([0, 1, 5]))
    assert found["places"] == 3
    assert found["top_1"] == 0.3333
    assert found["top_5"] == 0.6667
    expected = -(math.log(0.5) + math.log(0.3) + math.log(0.02)) / 3
    assert found["cross_entropy"] == pytest.approx(expected, abs=1e-4)
    assert guess_scores(chances.log() + 7, torch.tensor([0, 1, 5])) == found  # logits
