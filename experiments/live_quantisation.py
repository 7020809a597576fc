"""What it costs to store the mini-BERT's matrices in a byte a number, as the pages load them.

Each row of a matrix becomes whole numbers in -127..127 and one factor (``tools/live_model.py``).
The committed model and what comes back from the bytes read the same held-out texts.
"""

import json
import sys
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bertbook.corpora.documents import KINDS
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, PieceTable
from bertbook.pretraining.mini_bert import load_mini_bert
from bertbook.shared.experiment import Experiment, Job, Trained
from bertbook.studies.pretraining_measures import masked_places, measure_model

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of the two below
from experiments import mini_bert
from tools import live_model


@dataclass(frozen=True)
class Config:
    """What is read: kinds of text, and batches of each."""

    batches: int = 4
    kinds: tuple[str, ...] = KINDS


CONFIG = Config()
SMOKE = Config(1, ("reviews",))


def dequantised(packed: bytes) -> dict[str, Tensor]:
    """The weights as the browser has them: whole numbers times the factor of their row.

    Args:
        packed: what :func:`tools.live_model.packed_weights` returns.

    Returns:
        A state dict in single precision.
    """
    length = int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4 : 4 + length])
    floats = np.frombuffer(packed, "<f4", header["floats"], 4 + length)
    integers = np.frombuffer(packed, "i1", -1, 4 + length + floats.nbytes)
    state = {}
    for name, tensor in header["tensors"].items():
        own = floats[tensor["floats"] :][: tensor["shape"][0]]
        if "bytes" in tensor:
            rows, width = tensor["shape"]
            whole = integers[tensor["bytes"] :][: rows * width].reshape(rows, width)
            own = whole * own[:, None]
        state[name] = torch.tensor(own)
    return state


def packed_mini_bert() -> bytes:
    """The mini-BERT as the pages load it."""
    return live_model.packed_weights(*live_model.mini_bert())


def load_quantised() -> BertForPreTraining:
    """The mini-BERT with the weights that come back from the bytes."""
    model, _ = load_mini_bert()
    left = model.load_state_dict(dequantised(packed_mini_bert()), strict=False)
    tied = [
        name
        for name in left.missing_keys
        if not name.startswith("cls.predictions.decoder")
    ]
    if tied or left.unexpected_keys:
        raise ValueError(f"the bytes do not fit the model: {left}")
    model.tie_weights()
    return model


@torch.no_grad()
def differences(exact, quantised, batches: list[dict], table) -> dict[str, float]:
    """How far attention moves, and how often the best guess at [MASK] stays the same."""
    largest, total, count, same, places = 0.0, 0.0, 0, 0, 0
    for batch in batches:
        both = [model(**batch, output_attentions=True) for model in (exact, quantised)]
        keys = batch["attention_mask"].bool()
        pairs = (keys[:, :, None] & keys[:, None])[:, None]  # [B, 1, S, S]
        for ours, theirs in zip(*(output.attentions for output in both), strict=True):
            gap = (ours - theirs).abs().masked_select(pairs)
            largest = max(largest, gap.max().item())
            total, count = total + gap.double().sum().item(), count + gap.numel()
        hidden = masked_places(batch, table)
        hidden = hidden[batch["labels"] != IGNORED]
        best = [output.prediction_logits[hidden].argmax(-1) for output in both]
        same, places = same + (best[0] == best[1]).sum().item(), places + len(best[0])
    return {
        "attention_largest": round(largest, 4),
        "attention_mean": round(total / count, 6),
        "same_best": round(same / places, 4),
    }


def train(job: Job) -> Trained:
    """Nothing is trained: the committed weights, or what comes back from the bytes."""
    return Trained(
        load_mini_bert()[0] if job.variant == "float16" else load_quantised()
    )


def measure(job: Job, model: BertForPreTraining) -> dict:
    """Metrics of one way to store the weights: by kind of text, and the size in bytes."""
    exact, tokenizer = load_mini_bert()
    table = PieceTable(tokenizer.pieces)
    metrics = {}
    for kind in job.config.kinds:
        batches = mini_bert.held_out_batches(mini_bert.CONFIG, tokenizer.pieces, kind)
        batches = batches[: job.config.batches]
        metrics[kind] = measure_model(model, batches, table)
        if job.variant != "float16":
            metrics[kind] |= differences(exact, model, batches, table)
    if job.variant == "float16":
        file = live_model.MINI_BERT / "model.safetensors"
        return metrics | {"bytes": file.stat().st_size}
    packed = packed_mini_bert()
    return metrics | {"bytes": len(packed), "script_bytes": len(b64encode(packed))}


def describe(run: dict) -> str:
    """How large it is."""
    return f"{run['variant']:14} {run['metrics']['bytes']:,} bytes"


def plan(config, seeds, results):
    """The weights as they are, and as the pages have them."""
    yield [("float16", 0), ("int8 by rows", 0)]


EXPERIMENT = Experiment(
    "live_quantisation",
    __doc__,
    CONFIG,
    SMOKE,
    train,
    measure,
    describe,
    plan,
    packages=("numpy",),
)
main = EXPERIMENT.main

if __name__ == "__main__":
    main()
