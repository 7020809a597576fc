"""The book's own BERT, trained by ``experiments/mini_bert.py``: 4 layers of 256, 8,192 pieces."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertbook.bert.model import BertModel
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.shared.files import check_sha256
from bertbook.shared.results import RESULTS
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

__all__ = [
    "FOLDER",
    "SHA256",
    "load_mini_bert",
    "start_looking_at_neighbours",
    "start_with_neighbours",
]

FOLDER = RESULTS.parent / "weights" / "mini_bert"
SHA256 = {
    "model.safetensors": "076bf5c98801d7519e3d0625b28e641074bc2febae9cf8f47fc4f3a4f60dd4be",
    "vocab.txt": "3816ee5e3619d45262e56e611149c9deccabfb5011edc98e4972fb25f61843d2",
}


def load_mini_bert(
    folder: Path | str = FOLDER,
) -> tuple[BertForPreTraining, WordPieceTokenizer]:
    """Load the committed model with both heads, in evaluation mode, and its tokenizer.

    Args:
        folder: with ``config.json``, ``vocab.txt`` and ``model.safetensors``.

    Returns:
        Model and tokenizer; new ones each time.

    Raises:
        WeightsError: if a file is missing or is not the committed one (by SHA-256).
    """
    folder = Path(folder)
    for name, expected in SHA256.items():
        remedy = f"Take it from the repository: weights/mini_bert/{name}."
        check_sha256(folder / name, expected, remedy)
    model = BertForPreTraining.from_pretrained(folder)
    tokenizer = WordPieceTokenizer.from_vocab_file(
        folder / "vocab.txt", max_length=model.config.max_position_embeddings
    )
    return model, tokenizer


@torch.no_grad()
def start_with_neighbours(model: nn.Module, choices: Mapping[str, Any]) -> nn.Module:
    """Start the heads with attention to neighbours and the layers with small changes.

    With the usual initial weights so small a BERT predicts only the frequencies of pieces for a
    long time. Even attention carries nothing useful, so no gradient makes it uneven.

    Args:
        model: with an encoder ``bert``, freshly initialised; it is changed.
        choices: ``neighbours``, ``positions_std`` and ``looks_std``, see
            :func:`bertbook.pretraining.mini_bert.start_looking_at_neighbours`; ``words_std`` of the
            word embeddings; ``values_std``, for each layer, of the matrices of its values and its
            attention output.

    Returns:
        The same model.

    Raises:
        ValueError: if ``neighbours`` or ``values_std`` does not fit the model.
    """
    layers = model.bert.encoder.layer
    if len(choices["values_std"]) != len(layers):
        raise ValueError(
            f"expected {len(layers)} values_std, got {choices['values_std']}"
        )
    model.bert.embeddings.word_embeddings.weight.normal_(0, choices["words_std"])
    start_looking_at_neighbours(
        model.bert,
        choices["neighbours"],
        choices["positions_std"],
        choices["looks_std"],
    )
    for layer, std in zip(layers, choices["values_std"], strict=True):
        layer.attention.self.value.weight.normal_(0, std)
        layer.attention.output.dense.weight.normal_(0, std)
    return model


@torch.no_grad()
def start_looking_at_neighbours(
    model: BertModel,
    neighbours: Sequence[Sequence[int]],
    positions_std: float,
    looks_std: float,
) -> None:
    """Start each head with attention to a place at a fixed distance before or behind.

    Positions start as sinusoids, wavelengths 4 to 256. A step by o places turns each pair of a sine
    and a cosine by an angle; a head's query matrix is its key matrix after that turn, so the query
    of place p fits the key of place p + o best. Training may change all of it.

    Args:
        model: freshly initialised; it is changed.
        neighbours: the offset o of each head, a row for each layer.
        positions_std: root mean square of the position vectors.
        looks_std: standard deviation of the key matrices.

    Raises:
        ValueError: if there is not one o for each head, or D is odd.
    """
    heads = model.config.num_attention_heads
    shape = [len(row) for row in neighbours]
    if shape != [heads] * len(model.encoder.layer):
        raise ValueError(
            f"expected {heads} neighbours for each of {len(model.encoder.layer)} layers, got "
            f"{list(neighbours)}"
        )
    places, width = model.embeddings.position_embeddings.weight.shape
    if width % 2:
        raise ValueError(f"hidden_size must be even, got {width}")
    wavelengths = 4 * 64.0 ** torch.linspace(0, 1, width // 2)  # [D/2]
    angles = 2 * math.pi * torch.arange(places)[:, None] / wavelengths  # [P, D/2]
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)  # [P, D]
    model.embeddings.position_embeddings.weight.copy_(
        positions_std * math.sqrt(2) * waves
    )
    even = torch.arange(0, width, 2)
    for layer, row in zip(model.encoder.layer, neighbours, strict=True):
        attention = layer.attention.self
        key = attention.key.weight.normal_(0, looks_std)  # [D, D]
        for head, offset in enumerate(row):
            turn, angle = torch.zeros(width, width), 2 * math.pi * offset / wavelengths
            turn[even, even] = turn[even + 1, even + 1] = angle.cos()
            turn[even, even + 1], turn[even + 1, even] = angle.sin(), -angle.sin()
            rows = slice(head * width // heads, (head + 1) * width // heads)
            attention.query.weight[rows] = key[rows] @ turn
