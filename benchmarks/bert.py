"""Inference of our ``BertModel`` beside ``transformers.BertModel``, with the same weights."""

from collections.abc import Iterator

import torch
import transformers

from benchmarks.timing import Comparison, compare
from bertbook.bert.model import BertConfig, BertModel

__all__ = ["models", "rows"]

TITLE = "BERT, inference, against transformers.BertModel (its fused attention)"
COLUMNS = ("size", "batch", "length", "padded")
CASES = [
    ("minilm", 1, 16, False),
    ("minilm", 32, 64, True),
    ("minilm", 8, 512, True),
    ("base", 1, 16, False),
    ("base", 8, 128, False),
    ("base", 8, 128, True),
]


def models(config: BertConfig) -> tuple[BertModel, transformers.BertModel]:
    """Ours and the library's with random weights, the same in both."""
    torch.manual_seed(0)
    ours = BertModel(config).eval()
    theirs = transformers.BertModel(
        transformers.BertConfig(**vars(config), attn_implementation="sdpa")
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def inputs(batch: int, length: int, padded: bool, vocab_size: int) -> dict:
    """Random tokens; padded means that the rows grow shorter, the last one to the half."""
    torch.manual_seed(0)
    mask = torch.ones(batch, length, dtype=torch.long)
    if padded:
        for row in range(batch):
            mask[row, length - (row + 1) * length // (2 * batch) :] = 0
    return {
        "input_ids": torch.randint(1, vocab_size, (batch, length)),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(batch, length, dtype=torch.long),
    }


@torch.inference_mode()
def rows(seconds: float, cases: list = CASES) -> Iterator[tuple[tuple, Comparison]]:
    """Every case, and what was measured.

    Raises:
        AssertionError: if the outputs differ.
    """
    made: dict[str, tuple] = {}
    for case in cases:
        name, batch, length, padded = case
        if name not in made:
            made = {name: models(getattr(BertConfig, name)())}  # one size at a time
        ours, theirs = made[name]
        given = inputs(batch, length, padded, ours.config.vocab_size)
        torch.testing.assert_close(
            ours(**given)[0], theirs(**given)[0], atol=1e-4, rtol=1e-4
        )
        yield (
            case,
            compare(
                lambda model=ours, given=given: model(**given),
                lambda model=theirs, given=given: model(**given),
                seconds,
            ),
        )
