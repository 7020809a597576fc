"""Low-rank adapters: what is frozen, how they begin, what merging gives back."""

import math

import pytest
import torch
from torch import nn

from bertbook.pretraining.low_rank import LowRank, add_adapters, merge_adapters


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(9, 6), nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    )


IDS = torch.tensor([[1, 2, 3], [4, 5, 8]])


def moved(model):
    """Give every adapter a change that is not zero."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LowRank):
                module.up.normal_()
    return model


def test_at_first_nothing_changes_and_only_the_adapters_are_trained():
    model = network()
    before = model(IDS)
    add_adapters(model, 2)
    assert torch.equal(model(IDS), before)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"1.down", "1.up", "2.0.down", "2.0.up"}
    assert model[1].down.shape == (2, 6)
    assert model[1].up.shape == (8, 2)
    model(IDS).sum().backward()
    assert model[1].up.grad.abs().sum() > 0  # the first step leads away from zero


def test_a_map_alone_is_frozen_too():
    linear = nn.Linear(5, 3)
    adapter = LowRank(linear, 2)
    assert not linear.weight.requires_grad
    assert not linear.bias.requires_grad
    assert {n for n, p in adapter.named_parameters() if p.requires_grad} == {
        "down",
        "up",
    }


def test_a_change_is_the_product_and_merging_adds_it():
    model = network()
    add_adapters(model, 3)
    moved(model)
    adapter = model[1]
    states = torch.randn(4, 6)
    whole = adapter.linear.weight + adapter.up @ adapter.down
    expected = states @ whole.T + adapter.linear.bias
    torch.testing.assert_close(adapter(states), expected, atol=1e-5, rtol=1e-5)
    adapted, names = model(IDS), list(network().state_dict())
    merge_adapters(model)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(IDS), adapted, atol=1e-5, rtol=1e-5)


def test_what_goes_through_down_keeps_its_size():
    torch.manual_seed(0)
    down = LowRank(nn.Linear(400, 50), 40).down
    assert down.std().item() == pytest.approx(1 / math.sqrt(400), rel=0.05)


def test_the_rank_is_at_most_the_smaller_width():
    for rank in (0, 4):
        with pytest.raises(ValueError, match=rf"rank must lie in 1\.\.3, got {rank}"):
            LowRank(nn.Linear(5, 3), rank)
    assert LowRank(nn.Linear(5, 3), 3).up.shape == (3, 3)
