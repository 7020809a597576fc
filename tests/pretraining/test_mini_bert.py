"""How the book's own BERT begins: heads that look at neighbours, small steps; bad choices."""

import copy
import math

import pytest
import torch

from bertbook.bert.config import BertConfig
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.mini_bert import start_with_neighbours

CONFIG = BertConfig.tiny(
    hidden_size=64,
    num_attention_heads=2,
    num_hidden_layers=2,
    max_position_embeddings=40,
    vocab_size=200,
)
CHOICES = {
    "neighbours": [[-1, 1], [-2, 3]],
    "positions_std": 0.7,
    "looks_std": 0.3,
    "words_std": 0.05,
    "values_std": [0.02, 0.2],
}


def fresh():
    torch.manual_seed(0)
    return BertForPreTraining(CONFIG)


@pytest.fixture(scope="module")
def started():
    model = fresh()
    assert start_with_neighbours(model, CHOICES) is model
    return model


@torch.no_grad()
def test_the_query_of_each_place_is_the_key_of_the_place_that_its_head_looks_at(
    started,
):
    """By positions alone."""
    positions = started.bert.embeddings.position_embeddings.weight  # [P, D]
    for layer, row in zip(
        started.bert.encoder.layer, CHOICES["neighbours"], strict=True
    ):
        attention = layer.attention.self
        queries = (positions @ attention.query.weight.T).view(-1, 2, 32)
        keys = (positions @ attention.key.weight.T).view(-1, 2, 32)
        for head, offset in enumerate(row):
            here = slice(max(0, -offset), len(positions) - max(0, offset))
            there = slice(max(0, offset), len(positions) - max(0, -offset))
            torch.testing.assert_close(
                queries[here, head], keys[there, head], atol=1e-4, rtol=0
            )


def test_each_part_has_the_size_that_was_chosen(started):
    embeddings = started.bert.embeddings
    positions = embeddings.position_embeddings.weight.detach()
    assert positions.square().mean().sqrt().item() == pytest.approx(0.7, rel=1e-5)
    sizes = [(embeddings.word_embeddings.weight, 0.05)]
    for layer, std in zip(
        started.bert.encoder.layer, CHOICES["values_std"], strict=True
    ):
        sizes += [
            (layer.attention.self.value.weight, std),
            (layer.attention.output.dense.weight, std),
            (layer.attention.self.key.weight, 0.3),
            (layer.attention.self.query.weight, 0.3),
        ]
    for weight, std in sizes:
        assert weight.std().item() == pytest.approx(std, rel=0.1)
        assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel())


def test_positions_are_waves_from_4_to_256_places_long(started):
    positions = started.bert.embeddings.position_embeddings.weight.detach()
    waves = positions / (0.7 * math.sqrt(2))
    places = torch.arange(40)
    for column, length in ((0, 4.0), (62, 256.0)):
        angles = 2 * math.pi * places / length
        torch.testing.assert_close(waves[:, column], angles.sin(), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            waves[:, column + 1], angles.cos(), atol=1e-5, rtol=0
        )


def test_the_rest_stays_as_it_was(started):
    before = fresh().state_dict()
    moved = {
        n for n, t in started.state_dict().items() if not torch.equal(t, before[n])
    }
    ends = (
        "query.weight",
        "key.weight",
        "value.weight",
        "attention.output.dense.weight",
    )
    layers = {n for n in before if ".layer." in n and n.endswith(ends)}
    tables = {
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.weight",
    }
    assert moved == layers | tables | {"bert.embeddings.position_embeddings.weight"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values_std": [0.1]}, r"expected 2 values_std, got \[0\.1\]"),
        ({"neighbours": [[1, 1]]}, r"expected 2 neighbours for each of 2 layers"),
        ({"neighbours": [[1, 1], [1]]}, r"got \[\[1, 1\], \[1\]\]"),
    ],
)
def test_choices_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        start_with_neighbours(fresh(), {**CHOICES, **change})


def test_an_odd_width_has_no_pairs_of_waves():
    model = BertForPreTraining(
        BertConfig.tiny(hidden_size=9, num_attention_heads=3, num_hidden_layers=1)
    )
    choices = {**CHOICES, "neighbours": [[1, 1, 1]], "values_std": [0.1]}
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="hidden_size must be even, got 9"):
        start_with_neighbours(model, choices)
    positions = "bert.embeddings.position_embeddings.weight"
    assert torch.equal(model.state_dict()[positions], before[positions])
