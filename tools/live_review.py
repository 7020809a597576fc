"""Writes what makes a reviewer of the mini-BERT, as a script that a page loads beside the model.

`experiments/live_review.py` stored low-rank changes of the mini-BERT's matrices, and a new head.
Here their rows become whole numbers and a factor, as the model's own do (`live_model.py`); the page
multiplies the changes out. With them goes what the record says of this reviewer on films that it
has not seen. Nothing here needs more than the standard library.
"""

import hashlib
import json
import struct
import sys
from base64 import b64encode
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from live_model import ROOT, quantise, read_safetensors

NAME = "live_review"
WEIGHTS = ROOT / "weights" / f"{NAME}.safetensors"
RECORD = ROOT / "results" / f"{NAME}.json"


def packed(weights: Path = WEIGHTS) -> dict[str, dict]:
    """Quantise the matrices of a difference.

    Args:
        weights: a safetensors file of matrices and vectors.

    Returns:
        For each name ``floats``, base64 of 32-bit numbers; of a matrix these are the factors of
        its rows, and there are a ``width`` and ``bytes``, base64 of its whole numbers.
    """
    tensors = {}
    for name, shape, numbers in read_safetensors(weights):
        if len(shape) == 1:
            tensors[name] = {"floats": _base64(numbers)}
            continue
        rows, width = shape
        pairs = [quantise(numbers[i * width : (i + 1) * width]) for i in range(rows)]
        tensors[name] = {
            "width": width,
            "floats": _base64([factor for factor, _ in pairs]),
            "bytes": b64encode(b"".join(row for _, row in pairs)).decode(),
        }
    return tensors


def _base64(floats) -> str:
    return b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()


def review(weights: Path = WEIGHTS, record: Path = RECORD) -> dict:
    """Pack the reviewer with what was measured of it.

    Args:
        weights: the difference.
        record: of the experiment that made it.

    Returns:
        ``tensors``, see :func:`packed`; ``measured``: of the reviewer in bytes on the test part
        ``reviews``, ``accuracy`` and ``calibration``.

    Raises:
        ValueError: if the record is of other weights.
    """
    (metrics,) = (
        run["metrics"]
        for run in json.loads(record.read_text("utf-8"))["runs"]
        if run["variant"] == "stored"
    )
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != metrics["sha256"]:
        raise ValueError(
            f"{weights.name} has SHA-256 {found}, {record.name} is of {metrics['sha256']}"
        )
    measured = metrics["test, in bytes"]
    return {
        "tensors": packed(weights),
        "measured": {n: measured[n] for n in ("reviews", "accuracy", "calibration")},
    }


def write_review(target: Path, weights: Path = WEIGHTS, record: Path = RECORD) -> None:
    """Write ``review.js``, unless it is there and of the same origin.

    Args:
        target: the folder to write to.
        weights: the difference.
        record: of the experiment that made it.
    """
    origin = hashlib.sha256()
    for path in (Path(__file__), ROOT / "tools" / "live_model.py", weights, record):
        origin.update(path.read_bytes())
    first_line = f"// {NAME}, {origin.hexdigest()}\n"
    path = target / "review.js"
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            if file.readline() == first_line:
                return
    content = json.dumps(review(weights, record), separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"{first_line}(window.bertFiles ??= {{}}).review = {content};\n", "utf-8"
    )
