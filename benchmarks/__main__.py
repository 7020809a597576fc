"""Print how fast the package is beside the library, section by section.

python -m benchmarks [SECTION ...] [--seconds S] [--threads N] [--json FILE]
"""

import argparse
import json
import os
import platform
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.timing import Comparison

SECTIONS = ("transformer", "wordpiece", "sentences", "bert", "pretraining")


def table(columns: Iterable[str], rows: Iterable[tuple[tuple, Comparison]]) -> list:
    """Print rows as they come; return them as records."""
    columns = list(columns)
    head = [*columns, "ours ms", "theirs ms", "theirs/ours", "calls"]
    print("  ".join(f"{name:>12}" for name in head))
    records = []
    for case, found in rows:
        cells = [f"{value!s:>12}" for value in case]
        cells += [f"{found.ours:12.2f}", f"{found.theirs:12.2f}"]
        cells += [f"{found.ratio:12.3f}", f"{found.calls:12d}"]
        print("  ".join(cells), flush=True)
        records.append({**dict(zip(columns, case, strict=True)), **found._asdict()})
    return records


def main(arguments: list[str] | None = None) -> None:
    """Run the sections that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=str(SECTIONS))
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"no such section: {unknown}; there are {list(SECTIONS)}")

    torch.set_num_threads(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread on that side too
    print(f"PyTorch {torch.__version__}, threads: {options.threads}")
    print("Medians of alternating calls, in processor time; above 1 ours is faster.")
    record = {"torch": torch.__version__, "python": platform.python_version()}
    record["threads"] = options.threads
    for name in options.sections or SECTIONS:
        section = import_module(f"benchmarks.{name}")
        print(f"\n{section.TITLE}")
        rows = table(section.COLUMNS, section.rows(options.seconds))
        ratios = [row["ratio"] for row in rows]
        print(f"least ratio {min(ratios):.3f}, greatest {max(ratios):.3f}")
        record[name] = rows
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
