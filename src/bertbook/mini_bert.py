"""The book's own BERT, as `experiments/mini_bert.py` trained it: 4 layers of 256, 8,192 pieces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertbook.mask_probes import start_looking_at_neighbours
from bertbook.pretrained import check_sha256
from bertbook.pretraining import BertForPreTraining
from bertbook.results import RESULTS
from bertbook.wordpiece import WordPieceTokenizer

__all__ = ["FOLDER", "SHA256", "load_mini_bert", "start_with_neighbours"]

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
        folder: where ``config.json``, ``vocab.txt`` and ``model.safetensors`` stand.

    Returns:
        Model and tokenizer; new ones each time.

    Raises:
        WeightsError: if a file is missing or is not the committed one.
    """
    folder = Path(folder)
    for name, expected in SHA256.items():
        remedy = f"Take it from the repository: weights/mini_bert/{name}."
        check_sha256(folder / name, expected, remedy)
    model = BertForPreTraining.from_pretrained(folder, local_files_only=True)
    tokenizer = WordPieceTokenizer.from_vocab_file(
        folder / "vocab.txt", max_length=model.config.max_position_embeddings
    )
    return model, tokenizer


@torch.no_grad()
def start_with_neighbours(model: nn.Module, choices: Mapping[str, Any]) -> nn.Module:
    """Let the heads of a fresh model begin with neighbours, and the layers with small steps.

    Begun as usual, so small a BERT stays at the frequencies of pieces for long: nothing useful can
    be read from an attention that is even, and nothing makes it uneven that has no use.

    Args:
        model: with an encoder ``bert``, freshly initialised; it is changed.
        choices: ``neighbours``, ``positions_std`` and ``looks_std``, see
            :func:`bertbook.mask_probes.start_looking_at_neighbours`; ``words_std`` of the word
            embeddings; ``values_std``, for each layer that of the matrices which carry on what
            was looked at.

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
