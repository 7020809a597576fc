"""Brings notebooks in step with the package: ``python tools/notebooks.py [NOTEBOOK…]``.

For each notebook (all of ``book/`` unless some are named):

1. *write*: a cell with the metadata ``"bertbook_source": "bertbook.attention.scores.causal_mask
…"`` gets
   the exact source of these definitions, docstrings cut to their first line;
2. *execute*: from a fresh kernel, offline, in the notebook's folder;
3. *normalise*: what differs from run to run or from machine to machine is removed.

The file is replaced when all three succeed and is left alone when one fails.

What nbval, which executes the committed notebooks in ``make test``, makes of the outputs:

- It compares streams and every MIME type but ``image/png``, ``image/jpeg`` and widget views; of an
  image only its ``text/plain`` (``<Figure size …>``) is compared.
- It compares glued values: ``glue(name, value, display=False)`` stores its text under
  ``application/papermill.record/text/plain``, an output type like any other. A value that comes of
  training or timing is therefore glued in a cell with the tag ``nbval-ignore-output``, and a glued
  figure (``application/papermill.record/image/png``) would be compared byte by byte: not allowed.
- It compares nothing in a cell without an execution count, so a stripped notebook passes;
  tests/tools/test_notebooks.py finds that.
- It runs cells without a history, in which IPython looks for the semicolon that silences the last
  value: a cell that ends in one differs from its committed self. End it in ``plt.show()``.
"""

import argparse
import ast
import base64
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
SRC = ROOT / "src"

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
BUDGET_SECONDS = 120  # of a chapter; beyond it a warning
CELL_TIMEOUT_SECONDS = 600

# All else in the metadata comes from an editor or from a run.
NOTEBOOK_METADATA = {"myst", "mystnb"}
CELL_METADATA = {"bertbook_source", "mystnb", "tags"}
EDITOR_METADATA = {
    "collapsed",
    "editable",
    "execution",
    "jp-MarkdownHeadingCollapsed",
    "jupyter",
    "scrolled",
    "slideshow",
    "trusted",
}

# Root mean square difference, of 255, that a palette may make on a white or on a black page.
PALETTE_RMS = 2.0


class NotebookError(Exception):
    """A notebook that cannot be written, executed or committed; the message says which and why."""


def main(arguments: list[str] | None = None) -> int:
    """Process the notebooks named on the command line; return 1 if one of them failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="default: all under book/"
    )
    paths = parser.parse_args(arguments).notebooks or book_notebooks()
    status = 0
    for path in paths:
        try:
            seconds, changed = process(path)
        except NotebookError as error:
            status = 1
            print(error, file=sys.stderr)
            continue
        print(
            f"{shown(path)}: {seconds:.1f} s, {path.stat().st_size / 1000:.0f} kB,"
            f" {'written' if changed else 'unchanged'}",
            flush=True,
        )
        if seconds > BUDGET_SECONDS:
            print(
                f"{shown(path)}: over the budget of {BUDGET_SECONDS} s", file=sys.stderr
            )
    return status


def book_notebooks() -> list[Path]:
    """The notebooks of the book, without the copies that editors and builds keep."""
    return sorted(
        path
        for path in BOOK.rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in path.relative_to(BOOK).parts)
    )


def process(path: Path) -> tuple[float, bool]:
    """Write, execute and normalise one notebook and replace its file.

    Returns:
        Wall time of the execution, start of the kernel included, in seconds; and whether the file
        has changed.

    Raises:
        NotebookError: A step failed, or the file was saved by someone else meanwhile. The file
            is as it was.
    """
    try:
        before = path.read_bytes()
    except OSError as error:
        raise NotebookError(f"{shown(path)}: {error.strerror}") from None
    try:
        notebook = nbformat.reads(before.decode(), as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise NotebookError(f"{shown(path)}: not a notebook: {error}") from error
    if problems := unknown_metadata(notebook) + write_definitions(notebook):
        raise _failure(path, problems)
    seconds = execute(notebook, path)
    normalise(notebook)
    if problems := output_problems(notebook):
        raise _failure(path, problems)
    text = to_text(notebook)
    if path.read_bytes() != before:
        raise NotebookError(
            f"{shown(path)}: changed on disk while it ran; run it again"
        )
    if text.encode() == before:
        return seconds, False
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
    return seconds, True


def shown(path: Path) -> str:
    """The path as messages print it: from the checkout's root where it lies in it."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def to_text(notebook: NotebookNode) -> str:
    """The text of a notebook's file."""
    return nbformat.writes(notebook) + "\n"


def _failure(path: Path, problems: list[str]) -> NotebookError:
    return NotebookError("\n".join(f"{shown(path)}: {problem}" for problem in problems))


def _code_cells(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """The code cells, each with the name it goes by: its place among all cells."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            yield f"cell-{number}", cell


# --- write ----------------------------------------------------------------------------------


def write_definitions(notebook: NotebookNode) -> list[str]:
    """Write the package's definitions into the cells marked with them.

    Returns:
        One problem for each name that the package does not define; its cell is left alone.
    """
    problems = []
    for name, cell in _code_cells(notebook):
        if "bertbook_source" in cell.metadata:
            try:
                cell.source = definitions(cell.metadata["bertbook_source"])
            except NotebookError as error:
                problems.append(f"{name}: bertbook_source: {error}")
    return problems


def stale_cells(notebook: NotebookNode) -> list[str]:
    """One problem for each marked cell that differs from the package."""
    fresh = nbformat.from_dict(notebook)
    problems = write_definitions(fresh)
    for (name, cell), (_, expected) in zip(
        _code_cells(notebook), _code_cells(fresh), strict=True
    ):
        if cell.source != expected.source:
            problems.append(f"{name}: differs from {cell.metadata['bertbook_source']}")
    return problems


def definitions(names: str) -> str:
    """The source of definitions of the package, as its files have it, docstrings cut short.

    The first line names the file, so that a reader of the page finds it.

    Args:
        names: Dotted names of functions, classes or assigned module-level names, separated by
            spaces: ``"bertbook.attention.scores.causal_mask
            bertbook.attention.scores.padding_mask"``.

    Raises:
        NotebookError: A name has no module, or its module does not define it, or does so twice.
    """
    if not isinstance(names, str) or not names.split():
        raise NotebookError(f"expected dotted names separated by spaces, got {names!r}")
    parts, before = [], None
    for name in names.split():
        file, text = _definition(name)
        place = f"# src/{file.relative_to(SRC).as_posix()}\n"
        parts.append(text if file == before else place + text)
        before = file
    return "\n\n\n".join(parts)


def _definition(dotted: str) -> tuple[Path, str]:
    # Read, not imported: needs no torch, and sees what the file says now.
    module, _, name = dotted.rpartition(".")
    stem = SRC.joinpath(*module.split("."))
    files = [
        file
        for file in (stem.with_suffix(".py"), stem / "__init__.py")
        if file.is_file()
    ]
    if not module or not files:
        raise NotebookError(f"{dotted}: there is no module {module!r}")
    text = files[0].read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(text).body if name in _defines(node)]
    if len(nodes) != 1:
        count = "not defined" if not nodes else "defined more than once"
        raise NotebookError(
            f"{dotted}: {name!r} is {count} at the top level of {module}"
        )
    lines = text.splitlines()
    left_out = set()
    for node in ast.walk(nodes[0]):
        # The chapter says in prose what the rest of a docstring says.
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            docstring = node.body[0]
            if docstring.end_lineno > docstring.lineno:
                lines[docstring.lineno - 1] += '"""'
                left_out.update(range(docstring.lineno, docstring.end_lineno))
    start = min(
        [nodes[0].lineno, *(d.lineno for d in getattr(nodes[0], "decorator_list", []))]
    )
    kept = [i for i in range(start - 1, nodes[0].end_lineno) if i not in left_out]
    return files[0], "\n".join(lines[i] for i in kept)


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if (
        isinstance(node, ast.AnnAssign)
        and node.value
        and isinstance(node.target, ast.Name)
    ):
        return [node.target.id]
    return []


# --- execute --------------------------------------------------------------------------------


def execute(notebook: NotebookNode, path: Path) -> float:
    """Execute all cells, in place, from a fresh kernel in the folder of ``path``.

    Returns:
        Wall time in seconds.

    Raises:
        NotebookError: A cell raised, ran too long, or ended the kernel.
    """
    # A hash seed that differs from the tests': what depends on the order of a set shows there.
    environment = {**os.environ, **OFFLINE, "PYTHONHASHSEED": "0"}
    environment.pop("MPLBACKEND", None)  # the kernel chooses the one that shows figures
    running = 0

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal running
        running = cell_index

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(path.resolve().parent)}},
        extra_arguments=["--log-level=ERROR"],
        on_cell_execute=remember,
    )
    start = time.perf_counter()
    try:
        client.execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        reason = (
            error.traceback if isinstance(error, CellExecutionError) else str(error)
        )
        reason = re.sub(r"\x1b\[[0-9;]*m", "", reason)
        source = notebook.cells[running].source
        raise NotebookError(
            f"{shown(path)}: cell-{running + 1} failed:\n\n{source}\n\n{reason}"
        ) from error
    return time.perf_counter() - start


# --- normalise ------------------------------------------------------------------------------


def unknown_metadata(notebook: NotebookNode) -> list[str]:
    """One problem for each cell with metadata that nothing reads: a misspelt key, most likely."""
    return [
        f"cell-{number}: unknown metadata {', '.join(sorted(unknown))}"
        for number, cell in enumerate(notebook.cells, start=1)
        if (unknown := set(cell.metadata) - CELL_METADATA - EDITOR_METADATA)
    ]


def normalise(notebook: NotebookNode) -> None:
    """Bring an executed notebook, in place, into the form that is committed.

    Twice gives the same as once. Execution counts run 1..n, ids are ``cell-1``…``cell-n``, the
    kernel goes by its common name, streams that follow each other are one, images are small and
    metadata that a run or an editor leaves is gone.
    """
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = NotebookNode(
        {
            key: value
            for key, value in notebook.metadata.items()
            if key in NOTEBOOK_METADATA
        },
        kernelspec={
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        for key in EDITOR_METADATA & set(cell.metadata):
            del cell.metadata[key]
    for count, (_, cell) in enumerate(_code_cells(notebook), start=1):
        cell.execution_count = count
        cell.outputs = _merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if "image/png" in output.get("data", {}):
                png = shrink_png(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(png).decode()


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what was printed in one go: the kernel sends it in pieces whose number varies."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def shrink_png(png: bytes) -> bytes:
    """The same picture in fewer bytes, with transparency and without metadata.

    Up to 256 colours are kept exactly. More are reduced to 64, to 256 if that would be seen, or
    kept if even that would.
    A PNG without metadata is taken to have been through this and is returned as it is.
    """
    if _png_chunks(png) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
        return png
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image.info.clear()
    # One 32-bit number a pixel: alpha is its high byte, so opaque colours come last.
    pixels = np.frombuffer(image.tobytes(), "<u4")
    colors, index, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    if len(colors) > 256:
        before = _on_pages(colors)
        for size in (64, 256):
            palette, nearest = _reduce(image, colors, counts, size)
            squares = ((before - _on_pages(palette)[nearest]) ** 2).mean(1)
            if np.sqrt(np.average(squares, weights=counts)) <= PALETTE_RMS:
                break
        else:
            return _encode(image)
        colors, index = palette, nearest[index]
    indexed = Image.frombytes("P", image.size, index.astype(np.uint8).tobytes())
    indexed.putpalette(_channels(colors).tobytes(), "RGBA")
    return _encode(indexed)


def _reduce(
    image: Image.Image, colors: np.ndarray, counts: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most ``size`` colours near to ``colors``; for each of ``colors`` the nearest one's number.

    Lloyd's algorithm, begun from Pillow's octree, which alone leaves bands in a colour bar.
    """
    octree = image.quantize(size, method=Image.Quantize.FASTOCTREE).convert("RGBA")
    common = colors[np.argsort(counts, kind="stable")[::-1][:size]]
    start = list(
        dict.fromkeys([*np.unique(np.frombuffer(octree.tobytes(), "<u4")), *common])
    )[:size]
    points, centres = _on_pages(colors), _on_pages(np.array(start))
    for _ in range(10):
        nearest = _nearest(points, centres)
        weight = np.bincount(nearest, counts, len(centres))
        sums = [np.bincount(nearest, counts * axis, len(centres)) for axis in points.T]
        used = weight > 0
        centres = (np.stack(sums, 1)[used] / weight[used, None]).astype(np.float32)
    black, white = centres[:, :3], centres[:, 3:]
    alpha = 255 - (white - black).mean(1, keepdims=True)
    channels = (
        np.hstack([black * 255 / np.maximum(alpha, 1), alpha]).round().clip(0, 255)
    )
    palette = np.unique(channels.astype(np.uint8).view("<u4"))
    return palette, _nearest(points, _on_pages(palette))


def _channels(colors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(colors, "<u4").view(np.uint8).reshape(-1, 4)


def _on_pages(colors: np.ndarray) -> np.ndarray:
    """How colours look: red, green, blue on a black page, then on a white one. (n,) → (n, 6)."""
    channels = _channels(colors).astype(np.float32)
    black = channels[:, :3] * channels[:, 3:] / 255
    return np.hstack([black, black + 255 - channels[:, 3:]])


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _png_chunks(png: bytes) -> set[bytes]:
    kinds, position = set(), 8
    while position < len(png):
        kinds.add(png[position + 4 : position + 8])
        position += 12 + int.from_bytes(png[position : position + 4], "big")
    return kinds


# --- outputs that may not be committed ------------------------------------------------------

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")
# Written out, so that a path of another machine is found as well.
FOLDERS = r"/(?:home|Users|root|tmp|private|var|usr|opt|mnt|media|srv|workspace|content)/[\w.]"


def machine_path(text: str) -> str | None:
    """The beginning of an absolute path in ``text``, or None."""
    places = {ROOT, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)}
    here = [re.escape(str(place)) + r"\b" for place in places if len(place.parts) > 1]
    match = re.search(
        rf"(?<![\w.<])(?:{'|'.join([*here, FOLDERS])})|\b[A-Z]:\\Users", text
    )
    return match and text[match.start() :].split()[0][:60]


def output_problems(notebook: NotebookNode) -> list[str]:
    """One problem for each output that differs by machine or run, or cannot be shown."""
    problems = []
    for name, cell in _code_cells(notebook):
        for output in cell.outputs:
            problems += [f"{name}: {problem}" for problem in _problems_of(output)]
    return problems


def _problems_of(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"error output: {output.ename}: {output.evalue}"
    if output.get("name") == "stderr":
        yield f"writes to stderr (a warning, a progress bar?): {output.text.strip()[:200]}"
    for kind, text in output_texts(output):
        if match := ADDRESS.search(text):
            yield f"memory address in {kind}: …{match[0]}: show what does not change with each run"
        if path := machine_path(text):
            yield f"absolute path in {kind}: {path}"
    for kind in output.get("data", {}):
        if "image/" in kind and kind != "image/png":
            yield f"{kind}: figures are PNG and are not glued"
        elif kind.endswith("javascript") or "widget" in kind:
            yield f"{kind}: not shown in the book"


def output_texts(output: NotebookNode) -> Iterator[tuple[str, str]]:
    """The texts in an output, each with its kind: the stream's name or the MIME type."""
    if output.output_type == "stream":
        yield output.name, output.text
    for kind, value in output.get("data", {}).items():
        if "image/" not in kind or "svg" in kind:
            yield kind, value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
