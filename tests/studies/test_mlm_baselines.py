"""Counted neighbours against counts by hand, and the two-way LSTM."""

import numpy as np
import pytest
import torch

from bertbook.pretraining.masking import IGNORED
from bertbook.studies.mlm_baselines import (
    CONTEXTS,
    LEFT,
    LSTMForMaskedLM,
    NeighbourModel,
)

MASK = 9
SPECIAL = torch.arange(10) == MASK


def test_frequencies_alone_are_counts_plus_one():
    model = NeighbourModel([[[1, 1, 2]], [[1]]], 10, ())
    chances = model.predict(torch.tensor([1, MASK, 2]), 1, SPECIAL)
    assert chances.sum() == pytest.approx(1)
    assert chances[1] == pytest.approx(4 / 14)
    assert chances[2] == pytest.approx(2 / 14)
    assert chances[7] == pytest.approx(1 / 14)


def test_one_context_is_mixed_in_by_witten_and_bells_weight():
    # After 1 stood 2 twice and 3 once: n = 3, t = 2.
    model = NeighbourModel([[[0, 0, 1, 2, 1, 2, 1, 3, 0, 0]]], 10, ((-1,),))
    chances = model.predict(torch.tensor([5, 1, MASK, 5, 5]), 2, SPECIAL)
    frequencies = model.frequencies
    assert chances[2] == pytest.approx(frequencies[2] * 2 / 5 + 2 / 5)
    assert chances[3] == pytest.approx(frequencies[3] * 2 / 5 + 1 / 5)
    assert chances[4] == pytest.approx(frequencies[4] * 2 / 5)
    assert chances.sum() == pytest.approx(1)


@pytest.mark.parametrize("contexts", [(), LEFT, CONTEXTS])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_chances_sum_to_one_everywhere(contexts, place):
    text = torch.randint(0, 9, (400,), generator=torch.Generator().manual_seed(0))
    model = NeighbourModel([[text.tolist()]], 10, contexts)
    ids = torch.tensor([3, 4, 5, 6, 7])
    ids[place] = MASK
    chances = model.predict(ids, place, SPECIAL)
    assert chances.sum() == pytest.approx(1)
    assert (chances > 0).all()


def test_masked_and_unseen_neighbours_are_passed_over():
    model = NeighbourModel([[[0, 0, 1, 2, 3, 0, 0]]], 10)
    alone = model.predict(torch.tensor([MASK, MASK, MASK]), 1, SPECIAL)
    assert np.array_equal(alone, model.frequencies)
    unseen = model.predict(torch.tensor([7, MASK, 7]), 1, SPECIAL)
    assert np.array_equal(unseen, model.frequencies)
    between = model.predict(torch.tensor([1, MASK, 3]), 1, SPECIAL)
    assert between.argmax() == 2


def test_documents_do_not_run_into_one_another():
    joined = NeighbourModel([[[0, 0, 1], [2, 0, 0]]], 10, ((-1,),))
    apart = NeighbourModel([[[0, 0, 1]], [[2, 0, 0]]], 10, ((-1,),))
    ids = torch.tensor([1, MASK])
    assert joined.predict(ids, 1, SPECIAL)[2] > apart.predict(ids, 1, SPECIAL)[2]


def test_no_text_is_refused():
    with pytest.raises(ValueError, match="no document"):
        NeighbourModel([], 10)


def test_the_lstm_reads_both_ways_and_not_the_padding():
    torch.manual_seed(0)
    model = LSTMForMaskedLM(10, 8, 6).eval()
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    labels = torch.full_like(ids, IGNORED)
    labels[0, 2] = 7
    ones = torch.ones_like(ids)
    logits = model(ids, ones, labels=labels).prediction_logits
    assert logits.shape == (1, 10)
    for place in (0, 4):
        other = ids.clone()
        other[0, place] = 8
        changed = model(other, ones, labels=labels).prediction_logits
        assert not torch.allclose(logits, changed, atol=1e-6)
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], 1)
    mask = torch.cat([ones, torch.zeros(1, 3, dtype=torch.long)], 1)
    wide = torch.cat([labels, torch.full((1, 3), IGNORED)], 1)
    again = model(padded, mask, labels=wide).prediction_logits
    torch.testing.assert_close(logits, again)
