"""Writes what makes a reviewer of the mini-BERT, in a file that a page loads beside the model's.

``experiments/live_review.py`` stored low-rank changes of the mini-BERT's matrices, and a new head.
They are packed as the model is (``live_model.py``), a byte a number; the page multiplies the
changes out. With them goes what the record says of this reviewer on films that it has not seen.
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
import live_model

from bertbook.shared.files import check_sha256

NAME = "live_review"
WEIGHTS = live_model.ROOT / "weights" / f"{NAME}.safetensors"
RECORD = live_model.ROOT / "results" / f"{NAME}.json"


def packed_changes(weights: Path = WEIGHTS, measured: dict | None = None) -> bytes:
    """Pack a difference as :func:`live_model.packed_weights` does.

    Args:
        weights: the difference.
        measured: what takes the place of a configuration.
    """
    tensors = live_model.read_safetensors(weights)
    return live_model.packed_weights(measured or {}, tensors)


def measured(weights: Path = WEIGHTS, record: Path = RECORD) -> dict:
    """Read what was measured of the reviewer in bytes on the test part.

    Args:
        weights: the difference.
        record: of the experiment that made it.

    Returns:
        ``reviews``, ``accuracy`` and ``calibration``.

    Raises:
        WeightsError: if the weights are missing, or are not those on record.
    """
    runs = json.loads(record.read_text("utf-8"))["runs"]
    (metrics,) = (run["metrics"] for run in runs if run["variant"] == "stored")
    check_sha256(weights, metrics["sha256"])
    test = metrics["test, in bytes"]
    return {name: test[name] for name in ("reviews", "accuracy", "calibration")}


def write_review(target: Path, weights: Path = WEIGHTS, record: Path = RECORD) -> None:
    """Write ``review.bin`` and ``review.js``, unless they are there and of the same origin.

    Args:
        target: the model's folder.
        weights: the difference.
        record: of the experiment that made it.
    """
    origin = hashlib.sha256()
    for path in (Path(__file__), Path(live_model.__file__), weights, record):
        origin.update(path.read_bytes())
    first_line = f"// {NAME}, {origin.hexdigest()}\n"

    def content() -> str:
        packed = packed_changes(weights, measured(weights, record))
        return live_model.write_packed(target, "review", packed)

    live_model.write_script(target / "review.js", target.name, first_line, content)
