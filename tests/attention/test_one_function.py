"""One function computes attention in the whole book: every model reaches it for its weights."""

import pytest
import torch

from bertbook.attention import multi_head, recall, scores
from bertbook.attention.multi_head import MultiHeadAttention
from bertbook.attention.recall import AttentionRecall
from bertbook.attention.scores import SelfAttention
from bertbook.bert.model import BertConfig, BertModel
from bertbook.transformer.decoder import Decoder, Transformer
from bertbook.transformer.encoder import Encoder, TransformerConfig

NAME = "scaled_dot_product_attention"
SIZES = TransformerConfig.tiny()  # 2 layers in the encoder, 3 in the decoder
X, Y = torch.randn(2, 4, 12), torch.randn(2, 6, 12)
IDS = torch.ones(2, 5, dtype=torch.long)


def decode():
    return Decoder(SIZES)(X, Y, return_weights=True)


def translate():
    _, weights = Transformer(SIZES)(IDS, IDS[:, :3], return_weights=True)
    return weights


def bert():
    return BertModel(BertConfig.tiny())(IDS, output_attentions=True).attentions


@pytest.fixture
def computed(monkeypatch):
    """The weights that the function has returned, call by call, under each name it goes by."""
    found, function = [], scores.scaled_dot_product_attention

    def counted(*inputs):
        output, weights = function(*inputs)
        found.append(weights)
        return output, weights

    for module in (scores, multi_head, recall):
        assert getattr(module, NAME) is function
        monkeypatch.setattr(module, NAME, counted)
    return found


def tensors(result):
    """All tensors in nested tuples and lists."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [x for part in result for x in tensors(part)]


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (lambda: SelfAttention(12)(X)[1], 1),
        (lambda: AttentionRecall(8, 17).weights(IDS), 1),
        (lambda: MultiHeadAttention(12, 3)(X, return_weights=True)[1], 1),
        (lambda: MultiHeadAttention(12, 3)(X, Y, return_weights=True)[1], 1),
        (lambda: Encoder(SIZES)(X, return_weights=True)[1], 2),
        (lambda: decode()[1], 6),
        (lambda: decode()[2], 6),
        (translate, 2 + 3 + 3),
        (bert, 2),
    ],
)
def test_every_model_reaches_it_and_returns_its_weights(computed, call, count):
    returned = tensors(call())
    assert len(computed) == count
    assert returned
    for weights in returned:
        assert sum(weights is one for one in computed) == 1


def test_without_weights_only_training_with_dropout_needs_it(computed):
    AttentionRecall(8, 17)(IDS)
    assert len(computed) == 1
    model = BertModel(BertConfig.tiny())
    model(IDS)
    assert len(computed) == 1 + 2
    model.eval()(IDS)
    Encoder(SIZES)(X)
    assert len(computed) == 1 + 2
