"""What a committed notebook must be: checks that each return a list of problems.

tests/tools/test_notebooks.py runs them on every notebook, and on notebooks broken on purpose. The
style of the code is ruff's matter: ``make check`` and ``make test`` run it over all notebooks.
"""

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import notebooks
from tools.measured_time import MeasuredTime

MAX_BYTES = 300_000
MAX_LINES = 25
MAX_PACKAGE_LINES = 60  # a class is shown whole
IGNORE = "nbval-ignore-output"

NETWORK_MODULES = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "huggingface_hub",
    "pip",
    "requests",
    "socket",
    "subprocess",
    "urllib",
    "urllib3",
}


def package_cells(path: Path) -> list[str]:
    """Cells marked with definitions show them as the package has them."""
    return notebooks.stale_cells(_read(path))


def normal_form(path: Path) -> list[str]:
    """Counts, ids, metadata: the file is what ``make notebooks`` makes of its own cells."""
    notebook = _read(path)
    problems = notebooks.unknown_metadata(notebook)
    notebooks.normalise(notebook)
    found = path.read_text("utf-8").split("\n")
    expected = notebooks.to_text(notebook).split("\n")
    for number, (line, other) in enumerate(zip(found, expected, strict=False), start=1):
        if line != other:
            difference = f"{line.strip()[:80]!r}, not {other.strip()[:80]!r}"
            return [*problems, f"line {number}: {difference}"]
    if len(found) != len(expected):
        problems.append(f"{len(found)} lines, not {len(expected)}")
    return problems


def executed(path: Path) -> list[str]:
    """Every code cell has run, in order: nbval compares nothing in one without a count."""
    return [
        f"{cell.id}: execution count {cell.execution_count}, not {count}"
        for count, cell in enumerate(_code_cells(path), start=1)
        if cell.execution_count != count
    ]


def outputs_present(path: Path) -> list[str]:
    """What a cell says it prints, shows or glues is there, also where nbval ignores outputs."""
    problems = []
    for cell in _code_cells(path):
        kinds = {output.output_type for output in cell.outputs}
        metadata = [output.get("metadata", {}) for output in cell.outputs]
        glued = {
            entry["scrapbook"]["name"] for entry in metadata if "scrapbook" in entry
        }
        body = _tree(cell).body
        calls = [node for node in _always(body) if isinstance(node, ast.Call)]
        if IGNORE in _tags(cell) and not cell.outputs:
            problems.append(f"{cell.id}: {IGNORE}, but no output")
        if _figure(cell) and not _images(cell):
            problems.append(f"{cell.id}: a caption, but no image")
        if "stream" not in kinds and any(_called(call) == "print" for call in calls):
            problems.append(f"{cell.id}: prints, but has no printed output")
        if "execute_result" not in kinds and _ends_in_value(body):
            problems.append(f"{cell.id}: ends in a value, but does not show it")
        for call in calls:
            name = call.args[0] if _called(call) == "glue" and call.args else None
            if isinstance(name, ast.Constant) and name.value not in glued:
                problems.append(f"{cell.id}: {name.value!r} is not glued")
    return problems


def not_vacuous(path: Path) -> list[str]:
    """Something is compared by nbval, and something is asserted by the author."""
    cells = _code_cells(path)
    own = [
        statement
        for cell in cells
        if not _is_marked(cell)
        for statement in _tree(cell).body
    ]
    problems = []
    if not any(_compared_texts(cell) for cell in cells):
        problems.append("no output that nbval compares")
    if not any(_is_claim(node) for node in _run_at_once(own)):
        problems.append("nothing is asserted")
    return problems


def no_claim_on_a_clock(path: Path) -> list[str]:
    """No assertion hangs on a measured time: that is printed, and what is asserted is counted."""
    return [
        f"{cell.id}: line {line} asserts something of {', '.join(sorted(names))}, a measured time"
        for cell, clock in _measured_times(_code_cells(path))
        for line, names in clock.claims.items()
    ]


def ignored_outputs_are_claimed(path: Path) -> list[str]:
    """Something is asserted of what nbval does not compare, or of what follows from it.

    Of a measured time nothing can be asserted, so a cell that shows nothing else is exempt.
    """
    cells = _code_cells(path)
    statements = [statement for cell in cells for statement in _tree(cell).body]
    no_values = set(dir(builtins))
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom):
            no_values |= {
                (alias.asname or alias.name).partition(".")[0] for alias in node.names
            }
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            no_values.add(node.name)
    problems = []
    for cell, clock in _measured_times(cells):
        if IGNORE not in _tags(cell) or (clock.used and all(clock.shown.values())):
            continue
        values = _names(_tree(cell), ast.Load | ast.Store) - no_values
        for statement in statements:
            if _names(statement, ast.Load) & values:
                if any(_is_claim(node) for node in _run_at_once([statement])):
                    break
                values |= _names(statement, ast.Store) - no_values
        else:
            problems.append(f"{cell.id}: {IGNORE}, and nothing asserted of its values")
    return problems


def only_known_exceptions(path: Path) -> list[str]:
    """No cell is left out, allowed to fail or spared comparison but by the one tag for that."""
    exceptions = re.compile(
        "(nbval|pytest.validate).*|raises-exception|skip-execution", re.I
    )
    problems = []
    for cell in _code_cells(path):
        lines = [line.strip() for line in cell.source.split("\n")]
        comments = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
        found = [tag for tag in _tags(cell) if tag != IGNORE] + comments
        problems += [
            f"{cell.id}: {word}" for word in found if exceptions.fullmatch(word)
        ]
    return problems


def no_silencing(path: Path) -> list[str]:
    """No cell ends in a semicolon: under nbval IPython shows the value all the same."""
    return [
        f"{cell.id}: ends in a semicolon; end it in plt.show() or assign the value"
        for cell in _code_cells(path)
        if cell.source.rstrip().endswith(";")
    ]


def outputs_fit_to_commit(path: Path) -> list[str]:
    """Nothing in the outputs differs by run or by machine."""
    return notebooks.output_problems(_read(path))


def few_decimals(path: Path) -> list[str]:
    """No compared number has six decimals or more: the last may depend on the processor."""
    many = re.compile(r"\d\.\d{6,}")
    return [
        f"{cell.id}: {match[0]}: round it, or tag the cell {IGNORE}"
        for cell in _code_cells(path)
        for text in _compared_texts(cell)
        if (match := many.search(text))
    ]


def no_machine_paths(path: Path) -> list[str]:
    """No absolute path in the text or the code."""
    return [
        f"{cell.id}: absolute path {found}"
        for cell in _read(path).cells
        if (found := notebooks.machine_path(cell.source))
    ]


def small(path: Path) -> list[str]:
    """The file is small enough to be kept in the repository with every version of it."""
    size = path.stat().st_size
    return [f"{size} bytes, more than {MAX_BYTES}"] if size > MAX_BYTES else []


def figures_described(path: Path) -> list[str]:
    """Each image has a name to refer to, a caption, and a text for those who do not see it."""
    problems = []
    for cell in _code_cells(path):
        if not (count := len(_images(cell))):
            continue
        name, caption = (
            _figure(cell).get("name", ""),
            _figure(cell).get("caption", "").strip(),
        )
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
        if count > 1:
            problems.append(f"{cell.id}: {count} images; one cell, one figure")
        if not re.fullmatch("fig(-[a-z0-9]+)+", name):
            problems.append(f"{cell.id}: figure name {name!r}, expected 'fig-…'")
        if len(caption) < 30:
            problems.append(
                f"{cell.id}: caption {caption!r} has fewer than 30 characters"
            )
        if len(alt) < 40:
            problems.append(f"{cell.id}: alt text {alt!r} has fewer than 40 characters")
        if alt == caption:
            problems.append(f"{cell.id}: the alt text repeats the caption")
    return problems


def cells_short(path: Path) -> list[str]:
    """Each cell has a source, and code that fits on a screen."""
    problems = []
    for cell in _read(path).cells:
        if not cell.source.strip():
            problems.append(f"{cell.id}: no source")
        elif cell.cell_type == "code":
            limit = MAX_PACKAGE_LINES if _is_marked(cell) else MAX_LINES
            if (lines := cell.source.count("\n") + 1) > limit:
                problems.append(f"{cell.id}: {lines} lines, more than {limit}")
    return problems


def plain_python(path: Path) -> list[str]:
    """No magics, no shell, no network: what a cell needs is installed."""
    problems = []
    for cell in _code_cells(path):
        try:
            nodes = ast.walk(ast.parse(cell.source))
        except SyntaxError as error:
            problems.append(
                f"{cell.id}: not plain Python: {(error.text or '').strip()}"
            )
            continue
        for node in nodes:
            found = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            if isinstance(node, ast.ImportFrom):
                found = [node.module or ""]
            found = [
                name for name in found if name.partition(".")[0] in NETWORK_MODULES
            ]
            if _called(node) in {"system", "popen", "get_ipython"}:
                found.append(_called(node))
            if isinstance(node, ast.Constant) and re.match(
                "https?://", str(node.value)
            ):
                found.append(node.value)
            problems += [
                f"{cell.id}: {name}: no shell and no network in a cell"
                for name in found
            ]
    return problems


CHECKS = [
    package_cells,
    normal_form,
    executed,
    outputs_present,
    not_vacuous,
    no_claim_on_a_clock,
    ignored_outputs_are_claimed,
    only_known_exceptions,
    no_silencing,
    outputs_fit_to_commit,
    few_decimals,
    no_machine_paths,
    small,
    figures_described,
    cells_short,
    plain_python,
]


def figure_names_unique(paths: Iterable[Path]) -> list[str]:
    """Over all notebooks: a figure's name is a label of the whole book."""
    found = Counter(
        _figure(cell)["name"]
        for path in paths
        for cell in _code_cells(path)
        if "name" in _figure(cell)
    )
    return [
        f"{name}: {count} figures have this name"
        for name, count in found.items()
        if count > 1
    ]


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def _code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in _read(path).cells if cell.cell_type == "code"]


def _tree(cell: NotebookNode) -> ast.Module:
    """The cell's syntax tree; an empty one if it is not Python, which ``plain_python`` reports."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def _measured_times(
    cells: list[NotebookNode],
) -> Iterator[tuple[NotebookNode, MeasuredTime]]:
    """Each cell, with what is found in it of measured times."""
    clock = MeasuredTime()
    for cell in cells:
        clock.begin()
        clock.read(_tree(cell).body)
        yield cell, clock


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _is_marked(cell: NotebookNode) -> bool:
    return "bertbook_source" in cell.metadata


def _figure(cell: NotebookNode) -> dict:
    return cell.metadata.get("mystnb", {}).get("figure", {})


def _images(cell: NotebookNode) -> list[str]:
    return [
        kind
        for output in cell.outputs
        for kind in output.get("data", {})
        if "image/" in kind
    ]


def _compared_texts(cell: NotebookNode) -> list[str]:
    """The texts that nbval compares, without that of an image, which says nothing of it."""
    if IGNORE in _tags(cell) or cell.execution_count is None:
        return []
    return [
        text
        for output in cell.outputs
        if not any("image/" in kind for kind in output.get("data", {}))
        for _, text in notebooks.output_texts(output)
    ]


def _run_at_once(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes within ``nodes`` but for the bodies of functions and classes."""
    for node in nodes:
        yield node
        if not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _run_at_once(ast.iter_child_nodes(node))


def _always(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes that run whenever the cell does: nothing under an if, for instance."""
    for statement in body:
        if isinstance(statement, ast.With | ast.For):
            yield from _always(statement.body)
        elif isinstance(statement, ast.Expr | ast.Assign):
            yield from _run_at_once([statement])


def _ends_in_value(body: list[ast.stmt]) -> bool:
    """Whether the last expression surely has a value to show. That of a call may be None."""
    last = (
        body[-1].value
        if body and isinstance(body[-1], ast.Expr)
        else ast.Constant(None)
    )
    if isinstance(last, ast.Constant):
        return last.value is not None
    return not isinstance(last, ast.Call | ast.Await | ast.IfExp | ast.BoolOp)


def _called(node: ast.AST) -> str:
    """The last part of the name of the function that a call calls; of any other node, nothing."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def _is_claim(node: ast.AST) -> bool:
    """Whether the node fails when something is not so: an assertion, or a call of a check."""
    if isinstance(node, ast.Assert):
        return any(isinstance(part, ast.Name) for part in ast.walk(node.test))
    return _called(node).startswith(("assert", "check"))


def _names(node: ast.AST, context: type) -> set[str]:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, context)}
