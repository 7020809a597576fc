"""The notebooks: those of the book are fit to commit, and the tools find what is not."""

import base64
import contextlib
import io
import re
import subprocess
import sys

import matplotlib.figure
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import notebook_checks as checks
from tools import notebooks
from tools.notebooks import NotebookError

# The demo's cells.
TEXT, IMPORTS, PACKAGE, PRINT, VALUE, PLOT, DRAWN, CLAIM, TIMED, PLACE = range(10)

MODULE = '''
"""A module."""

import functools
from dataclasses import dataclass

SIZES: tuple[int, ...] = (
    2,
    3,
)
TWICE = 1
TWICE = 2


@functools.cache
def area(sizes):
    """The product."""
    # It is counted.
    return sizes[0] * sizes[1]


@dataclass(frozen=True)
class Box:
    width: int = 1  # metres
'''

FIGURE = {
    "name": "fig-line",
    "caption": "The product grows with the *first* of the sizes.",
}
ALT = "A line that rises from two at the left edge to six at the right."


def demo_cells():
    """The cells of a chapter as an author hands it in: not executed, definitions missing."""
    return [
        new_markdown_cell("# A chapter"),
        new_code_cell(
            "import functools\n"
            "import os\n"
            "import random\n"
            "import time\n"
            "from pathlib import Path\n"
            "\n"
            "import matplotlib.pyplot as plt\n"
            "from myst_nb import glue"
        ),
        new_code_cell(
            "", metadata={"bertbook_source": "demo.boxes.SIZES demo.boxes.area"}
        ),
        new_code_cell('print("one")\nprint("two", flush=True)'),
        new_code_cell('glue("product", area(SIZES), display=False)\nSIZES'),
        new_code_cell(
            'plt.plot([2, 4, 6])\nplt.title("Growth")\nplt.show()',
            metadata={
                "mystnb": {"figure": FIGURE, "image": {"alt": ALT}},
                "collapsed": False,
            },
        ),
        new_code_cell(
            'drawn = random.random()\nprint(f"{drawn:.9f}")',
            metadata={"tags": ["nbval-ignore-output"]},
        ),
        new_code_cell("percent = 100 * drawn\nassert percent <= 100"),
        new_code_cell(
            "start = time.perf_counter()\n"
            "seconds = time.perf_counter() - start\n"
            'print(f"{seconds:.9f} s")',
            metadata={"tags": ["nbval-ignore-output"]},
        ),
        new_code_cell(
            'offline = [os.environ[f"{name}_OFFLINE"] for name in ("HF_HUB", "TRANSFORMERS")]\n'
            "print(Path.cwd().name, offline)"
        ),
    ]


def read(path):
    return nbformat.read(path, as_version=4)


def save(path, cells):
    path.parent.mkdir(exist_ok=True, parents=True)
    notebook = new_notebook(
        cells=cells, metadata={"jupytext": {"main_language": "python"}}
    )
    path.write_text(nbformat.writes(notebook), "utf-8")
    return path


@contextlib.contextmanager
def edited(path):
    """The notebook's cells, to be changed in place and then saved as they are."""
    notebook = read(path)
    yield notebook.cells
    path.write_text(notebooks.to_text(notebook), "utf-8")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    (source / "demo").mkdir()
    (source / "demo" / "__init__.py").write_text("NAME = 'demo'\n")
    (source / "demo" / "boxes.py").write_text(MODULE)
    return source


@pytest.fixture
def demo_package(package, monkeypatch):
    """A package in place of the book's."""
    monkeypatch.setattr(notebooks, "SRC", package)


@pytest.fixture(scope="module")
def processed(package, tmp_path_factory):
    """The demo chapter after `make notebooks`."""
    path = save(
        tmp_path_factory.mktemp("book") / "chapter" / "demo.ipynb", demo_cells()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "SRC", package)
        notebooks.process(path)
    return path


@pytest.fixture
def demo(processed, demo_package, tmp_path):
    """A copy of the processed chapter, to be broken."""
    path = tmp_path / "chapter" / "demo.ipynb"
    path.parent.mkdir()
    path.write_bytes(processed.read_bytes())
    return path


# --- the book -------------------------------------------------------------------------------


def test_the_book_has_notebooks():
    assert notebooks.book_notebooks()


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", notebooks.book_notebooks(), ids=notebooks.shown)
def test_notebook(path, check):
    problems = check(path)
    assert not problems, "\n".join(problems)


def test_figure_names_are_unique_in_the_book():
    problems = checks.figure_names_unique(notebooks.book_notebooks())
    assert not problems, "\n".join(problems)


# --- each check finds what it is for --------------------------------------------------------


def strip(cells):
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def no_claim(cells):
    never = "def never_called():\n    assert percent < 9"
    cells[CLAIM].source = f"assert True\n\n\n{never}"


def ignore_everything(cells):
    for cell in cells:
        cell.metadata["tags"] = ["nbval-ignore-output"]


def second_image(cells):
    cells[PLOT].outputs *= 2


def count(number):
    return lambda cells: cells[DRAWN].update(execution_count=number)


def source(cell, text):
    return lambda cells: cells[cell].update(source=text)


def metadata(cell, **entries):
    return lambda cells: cells[cell].metadata.update(entries)


def figure(alt=ALT, **changes):
    return metadata(PLOT, mystnb={"figure": FIGURE | changes, "image": {"alt": alt}})


def without(cell, *kinds):
    def change(cells):
        kept = [
            entry for entry in cells[cell].outputs if entry.output_type not in kinds
        ]
        cells[cell].outputs = kept

    return change


def output(kind, **content):
    return lambda cells: cells[PRINT].outputs.append(new_output(kind, **content))


def html(text):
    return data("text/html", text)


def data(kind, value=""):
    return output("display_data", data={kind: value})


def claimed(text):
    """Another cell, in which something may be claimed of the time that was measured."""
    return source(PLACE, text)


def shown(text):
    """What the cell with the ignored time prints."""
    return source(TIMED, f"seconds = time.perf_counter()\nprint({text})")


TIMER = "def took(f):\n    start = time.time()\n    return time.time() - start"
CLAIMER = "def bounded(x, limit):\n    assert x < limit"
ALL = ("stream", "display_data", "execute_result")
WIDGET = "application/vnd.jupyter.widget-view+json"

# For each check: what is done to the good notebook, and what the check says of it.
BROKEN = {
    checks.package_cells: [
        (source(PACKAGE, "SIZES = 2, 3"), "cell-3: differs from demo.boxes.SIZES"),
        (
            metadata(PACKAGE, bertbook_source="demo.boxes.volume"),
            "cell-3: bertbook_source",
        ),
    ],
    checks.normal_form: [
        (lambda cells: cells.pop(0), '"cell-2"'),
        (metadata(PRINT, bertbook="x"), "cell-4: unknown metadata bertbook"),
        (metadata(PRINT, execution={"shell.execute_reply": "now"}), "line "),
        (count(9), "execution_count"),
    ],
    checks.executed: [
        (count(9), "cell-7: execution count 9, not 6"),
        (count(None), "cell-7: execution count None, not 6"),
        (strip, "cell-2: execution count None, not 1"),
    ],
    checks.outputs_present: [
        (without(PRINT, "stream"), "cell-4: prints"),
        (without(DRAWN, "stream"), "cell-7: prints"),
        (without(VALUE, "execute_result"), "cell-5: ends in a value"),
        (without(VALUE, "display_data"), "cell-5: 'product' is not glued"),
        (without(PLOT, *ALL), "cell-6: a caption, but no image"),
        (without(DRAWN, *ALL), "cell-7: nbval-ignore-output, but no output"),
        (source(CLAIM, "for i in 'ab':\n    print(i)"), "cell-8: prints"),
        (source(CLAIM, "with a:\n    glue('b', 1)"), "cell-8: 'b' is not glued"),
    ],
    checks.not_vacuous: [
        (strip, "no output that nbval compares"),
        (ignore_everything, "no output that nbval compares"),
        (no_claim, "nothing is asserted"),
    ],
    checks.no_claim_on_a_clock: [
        (claimed("assert seconds < 9"), "line 1 asserts something of seconds, a meas"),
        (
            claimed("assert time.time() > 9"),
            "cell-10: line 1 asserts something of time",
        ),
        (claimed("np.testing.assert_equal(seconds, 9)"), "of seconds"),
        (claimed("ms = {}\nms['a'] = 1e3 * seconds\nassert ms['a'] < 9"), "of ms"),
        (claimed("ms = []\nms.append(seconds)\nassert sum(ms) < 9"), "line 3"),
        (claimed("for ms in [9, seconds]:\n    pass\nassert ms < 9"), "line 3"),
        (claimed("ms = 9\nif ms:\n    ms = seconds\nassert ms < 9"), "line 4"),
        (claimed("if seconds < 9:\n    assert drawn < 1"), "of seconds"),
        (claimed("if seconds < 9:\n    raise ValueError"), "of seconds"),
        (claimed(f"{TIMER}\n\n\nassert took(f) < 9"), "of took"),
        (claimed(f"{TIMER}\n\n\nassert any(ms > 9 for ms in [took(f)])"), "of took"),
        (
            claimed(f"{CLAIMER}\n\n\nbounded(seconds, 9)"),
            "line 5 asserts something of sec",
        ),
        (claimed("from timeit import timeit as t\nassert t(f) < 9"), "something of t,"),
        (claimed("assert (ms := seconds) < 9"), "of seconds"),
        (claimed("def check(f):\n    assert time.time() < 9"), "line 2"),
    ],
    checks.ignored_outputs_are_claimed: [
        (source(CLAIM, "assert SIZES == (2, 3)"), "cell-7: nbval-ignore-output"),
        (no_claim, "cell-7: nbval-ignore-output"),
        (shown("SIZES"), "cell-9: nbval-ignore-output"),
        (shown("seconds)\nprint(SIZES"), "cell-9: nbval-ignore-output"),
        (source(TIMED, 'glue("sizes", SIZES)'), "cell-9: nbval-ignore-output"),
        (source(TIMED, "seconds = 9\nprint(seconds)"), "cell-9: nbval-ignore-output"),
    ],
    checks.only_known_exceptions: [
        (metadata(PRINT, tags=["nbval-skip"]), "cell-4: nbval-skip"),
        (metadata(PRINT, tags=["raises-exception"]), "cell-4: raises-exception"),
        (source(PRINT, "# NBVAL_IGNORE_OUTPUT\nx()"), "cell-4: NBVAL_IGNORE_OUTPUT"),
        (source(PRINT, "x\n #PYTEST_VALIDATE_IGNORE_OUTPUT"), "cell-4: PYTEST_VALI"),
    ],
    checks.no_silencing: [
        (source(PLOT, "plt.plot([2, 4]);\n"), "cell-6: ends in a semicolon"),
    ],
    checks.outputs_fit_to_commit: [
        (html("&lt;f at 0x7f00e3b4&gt;"), "cell-4: memory address"),
        (html("see /home/ann/book"), "cell-4: absolute path"),
        (html(f"'{notebooks.ROOT}'"), "cell-4: absolute path"),
        (html(f"file://{sys.prefix}/lib"), "cell-4: absolute path"),
        (html(r"C:\Users\ann"), "cell-4: absolute path"),
        (data("image/svg+xml"), "cell-4: image/svg+xml: figures are PNG"),
        (
            data("application/papermill.record/image/png"),
            "figures are PNG and are not glued",
        ),
        (data(WIDGET, {}), f"cell-4: {WIDGET}: not shown"),
        (output("stream", name="stderr", text="Old"), "cell-4: writes to stderr"),
        (output("error", ename="ValueError"), "cell-4: error output: ValueError"),
    ],
    checks.few_decimals: [(html("0.12345678"), "cell-4: 0.12345678")],
    checks.no_machine_paths: [
        (source(TEXT, f"In `{notebooks.ROOT}/src`."), "cell-1: absolute path"),
        (source(PRINT, 'open("/tmp/x")'), "cell-4: absolute path /tmp/x"),
    ],
    checks.small: [(source(TEXT, "x" * checks.MAX_BYTES), "bytes, more than 300000")],
    checks.figures_described: [
        (metadata(PLOT, mystnb={}), "cell-6: figure name ''"),
        (figure(name="line"), "cell-6: figure name 'line'"),
        (figure(caption="A line."), "cell-6: caption 'A line.' has fewer than 30"),
        (figure(alt="A line."), "cell-6: alt text 'A line.' has fewer than 40"),
        (
            figure(alt="x" * 50, caption="x" * 50),
            "cell-6: the alt text repeats the caption",
        ),
        (second_image, "cell-6: 2 images"),
    ],
    checks.cells_short: [
        (source(PRINT, "x = 1\n" * 25), "cell-4: 26 lines, more than 25"),
        (source(PACKAGE, "x = 1\n" * 60), "cell-3: 61 lines, more than 60"),
        (source(TEXT, " "), "cell-1: no source"),
    ],
    checks.plain_python: [
        (source(PRINT, "%matplotlib inline"), "cell-4: not plain Python: %matplotlib"),
        (source(PRINT, "!ls"), "cell-4: not plain Python: !ls"),
        (source(PRINT, "import urllib.request as r"), "cell-4: urllib.request"),
        (source(PRINT, "def f():\n    from requests import get"), "cell-4: requests"),
        (source(PRINT, 'os.system("ls")'), "cell-4: system"),
        (source(PRINT, 'IFrame("https://x.org/")'), "cell-4: https://x.org/"),
    ],
}

# What looks alike and is in order.
ACCEPTED = {
    checks.outputs_present: [
        source(CLAIM, "if drawn > 9:\n    print()"),
        source(CLAIM, "plt.show()"),
    ],
    checks.not_vacuous: [
        source(CLAIM, "np.testing.assert_allclose(drawn, 0)"),
        source(CLAIM, "check_answer(area)"),
    ],
    checks.no_claim_on_a_clock: [
        claimed("seconds = 9\nassert seconds == 9"),
        claimed("assert all(seconds == 9 for seconds in [9])"),
        claimed("def least(seconds):\n    assert seconds\n\n\nleast(9)"),
        claimed("ms = [seconds]\ncalls = len('ab')\nassert calls == 2"),
        claimed("run = {'wall_time_s': 9}\nassert run['wall_time_s'] == 9"),
        claimed("for seconds in (9, 10):\n    assert seconds > 8"),
        claimed("time.sleep(0)\nassert drawn < 1"),
    ],
    checks.ignored_outputs_are_claimed: [
        source(CLAIM, "for x in [drawn]:\n    assert x < 9"),
        shown("seconds, drawn"),
        shown('"seconds")\nprint(seconds'),
        source(TIMED, 'glue("ms", f"{1e3 * time.time()}", display=False)'),
        source(TIMED, "plt.plot([time.time()])\nplt.show()"),
    ],
    checks.outputs_fit_to_commit: [
        html("home/ann, and/or, </tmp>, 1/opt/2, https://x.org/tmp/x"),
    ],
    checks.few_decimals: [html("0.12345")],
    checks.cells_short: [
        source(PRINT, "x = 1\n" * 24),
        source(PACKAGE, "x = 1\n" * 59),
    ],
}


def cases(table):
    return [(check, case) for check, entries in table.items() for case in entries]


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_check_passes_a_good_notebook(check, demo):
    assert check(demo) == []


@pytest.mark.parametrize(("check", "case"), cases(BROKEN))
def test_check_finds(check, case, demo):
    change, message = case
    with edited(demo) as cells:
        change(cells)
    assert message in "\n".join(check(demo))


@pytest.mark.parametrize(("check", "change"), cases(ACCEPTED))
def test_check_accepts(check, change, demo):
    with edited(demo) as cells:
        change(cells)
    assert check(demo) == []


def test_every_check_is_seen_to_find_something():
    assert set(BROKEN) == set(checks.CHECKS)


def test_a_figure_name_used_twice_is_found(demo, processed):
    assert checks.figure_names_unique([demo]) == []
    problems = checks.figure_names_unique([demo, processed])
    assert problems == ["fig-line: 2 figures have this name"]


def test_copies_are_no_notebooks_of_the_book(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    for folder in ("chapter", "chapter/.ipynb_checkpoints", "_build"):
        save(tmp_path / folder / "demo.ipynb", [])
    assert notebooks.book_notebooks() == [tmp_path / "chapter" / "demo.ipynb"]


# --- write ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("demo_package")
class TestDefinitions:
    def test_are_the_exact_lines_of_the_file(self):
        found = notebooks.definitions(
            "demo.boxes.Box demo.boxes.area demo.boxes.SIZES demo.NAME"
        )
        assert found == (
            "# src/demo/boxes.py\n"
            "@dataclass(frozen=True)\nclass Box:\n    width: int = 1  # metres\n\n\n"
            '@functools.cache\ndef area(sizes):\n    """The product."""\n    # It is counted.\n'
            "    return sizes[0] * sizes[1]\n\n\n"
            "SIZES: tuple[int, ...] = (\n    2,\n    3,\n)\n\n\n"
            "# src/demo/__init__.py\nNAME = 'demo'"
        )

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (
                "demo.boxes.volume",
                "'volume' is not defined at the top level of demo.boxes",
            ),
            (
                "demo.boxes.area demo.boxes.dataclass",
                "demo.boxes.dataclass: 'dataclass' is not def",
            ),
            ("demo.boxes.TWICE", "defined more than once"),
            ("demo.crates.area", "no module 'demo.crates'"),
            ("area", "no module ''"),
            ("", "expected dotted names"),
            (["demo.boxes.area"], "expected dotted names"),
        ],
    )
    def test_that_are_none(self, names, message):
        with pytest.raises(NotebookError, match=re.escape(message)):
            notebooks.definitions(names)

    def test_unknown_names_stop_the_notebook_before_it_runs(self, tmp_path):
        wrong = [new_code_cell("1 / 0", metadata={"bertbooksource": "demo.NAME"})]
        wrong += [
            new_code_cell("", metadata={"bertbook_source": f"demo.{n}"}) for n in "xy"
        ]
        path = save(tmp_path / "demo.ipynb", wrong)
        before = path.read_bytes()
        with pytest.raises(NotebookError) as error:
            notebooks.process(path)
        assert f"{path}: cell-2: bertbook_source: demo.x: " in str(error.value)
        assert f"{path}: cell-3: bertbook_source: demo.y: " in str(error.value)
        assert f"{path}: cell-1: unknown metadata bertbooksource" in str(error.value)
        assert path.read_bytes() == before


# --- execute --------------------------------------------------------------------------------


def test_a_processed_notebook_has_the_definitions_and_the_outputs(processed):
    done = read(processed).cells
    assert [cell.id for cell in done] == [f"cell-{number}" for number in range(1, 11)]
    assert done[PACKAGE].source.startswith(
        "# src/demo/boxes.py\nSIZES: tuple[int, ...] = (\n"
    )
    assert [output.text for output in done[PRINT].outputs] == ["one\ntwo\n"]
    assert [output.data for output in done[VALUE].outputs] == [
        {"application/papermill.record/text/plain": "6"},
        {"text/plain": "(2, 3)"},
    ]
    assert done[PLACE].outputs[0].text == "chapter ['1', '1']\n"
    assert "collapsed" not in done[PLOT].metadata


@pytest.mark.slow
def test_the_same_again_changes_nothing(demo, capsys):
    notebook = read(demo)
    del notebook.cells[DRAWN : TIMED + 1]
    notebooks.normalise(notebook)
    demo.write_text(notebooks.to_text(notebook))
    before = demo.read_bytes()
    assert notebooks.main([str(demo)]) == 0
    assert demo.read_bytes() == before
    report = rf"{demo}: \d+\.\d s, \d+ kB, unchanged\n"
    assert re.fullmatch(report, capsys.readouterr().out)


def test_a_failing_cell_is_shown_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(notebooks, "BUDGET_SECONDS", 0)
    good = save(tmp_path / "good.ipynb", [new_code_cell("1 + 1")])
    bad = save(
        tmp_path / "bad.ipynb",
        [
            new_markdown_cell("Text"),
            new_code_cell("a = 1"),
            new_code_cell("b = a\nassert a == 2, 'no'"),
        ],
    )
    before = bad.read_bytes()
    assert notebooks.main([str(tmp_path / "none.ipynb"), str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert f"{tmp_path}/none.ipynb: No such file" in captured.err
    assert f"{bad}: cell-3 failed:\n\nb = a\nassert a == 2, 'no'\n" in captured.err
    assert "AssertionError: no" in captured.err
    assert "\x1b" not in captured.err
    assert captured.err.endswith(f"{good}: over the budget of 0 s\n")
    assert bad.read_bytes() == before
    assert re.fullmatch(rf"{good}: \d+\.\d s, 1 kB, written\n", captured.out)
    assert read(good).cells[0].outputs[0].data == {"text/plain": "2"}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "bad.ipynb",
        "good.ipynb",
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos._exit(1)", "cell-1 failed:\n\nimport os\nos._exit(1)\n"),
        ("print(object())", "cell-1: memory address in stdout: …at 0x"),
        ("import os\nos.getcwd()", "cell-1: absolute path in text/plain: "),
    ],
)
def test_what_may_not_be_committed_is_not_written(code, message, tmp_path):
    path = save(tmp_path / "demo.ipynb", [new_code_cell(code)])
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=re.escape(message)):
        notebooks.process(path)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_cell_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "CELL_TIMEOUT_SECONDS", 2)
    path = save(tmp_path / "demo.ipynb", [new_code_cell("while True:\n    pass")])
    with pytest.raises(
        NotebookError, match="cell-1 failed:\n\nwhile True:\n    pass\n"
    ):
        notebooks.process(path)


def test_a_notebook_saved_meanwhile_is_not_overwritten(tmp_path):
    cell = new_code_cell(
        "from pathlib import Path\nPath('demo.ipynb').write_text('new');"
    )
    path = save(tmp_path / "demo.ipynb", [cell])
    with pytest.raises(NotebookError, match="changed on disk"):
        notebooks.process(path)
    assert path.read_text() == "new"


def test_a_file_that_is_no_notebook(tmp_path):
    path = tmp_path / "demo.ipynb"
    path.write_text("{")
    with pytest.raises(NotebookError, match="not a notebook"):
        notebooks.process(path)


# --- normalise ------------------------------------------------------------------------------


def test_normalising_twice_is_normalising_once(demo):
    raw = png(curves())
    with edited(demo) as cells:
        for cell in cells:
            cell.metadata["scrolled"] = True
        cells[PLOT].outputs[0].data["image/png"] = base64.b64encode(raw).decode()
    notebook = read(demo)
    notebook.metadata["widgets"] = {"state": {}}
    notebooks.normalise(notebook)
    once = notebooks.to_text(notebook)
    notebooks.normalise(notebook)
    assert notebooks.to_text(notebook) == once
    assert "widgets" not in once
    assert "scrolled" not in once
    assert len(notebook.cells[PLOT].outputs[0].data["image/png"]) < len(raw)


def test_streams_in_pieces_are_joined_and_others_kept_apart():
    pieces = [
        new_output("stream", name="stdout", text="a"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", data={"text/plain": "1"}),
        new_output("stream", name="stdout", text="c"),
    ]
    notebook = new_notebook(cells=[new_code_cell("", outputs=pieces)])
    notebooks.normalise(notebook)
    outputs = notebook.cells[0].outputs
    assert [output.get("text") for output in outputs] == ["ab\n", None, "c"]


def curves():
    """A drawing of many more than 256 colours, translucent ones among them."""
    drawing = matplotlib.figure.Figure(figsize=(5, 3), dpi=144)
    axes = drawing.subplots()
    for shift in range(6):
        axes.plot(
            np.sin(np.linspace(0, 9, 200) + shift), alpha=0.5, label=f"curve {shift}"
        )
    axes.imshow(
        np.linspace(0, 1, 2000).reshape(20, 100), extent=(0, 200, -3, -1), cmap="Blues"
    )
    axes.legend()
    return drawing


def few_colours():
    drawing = matplotlib.figure.Figure(figsize=(3, 2))
    drawing.text(0.1, 0.5, "black on nothing")
    return drawing


def png(drawing) -> bytes:
    file = io.BytesIO()
    drawing.savefig(file, format="png", transparent=True)
    return file.getvalue()


def rgba(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def on(page: float, pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + page * (1 - alpha)


def test_an_image_of_few_colours_is_shrunk_without_loss():
    before = png(few_colours())
    after = notebooks.shrink_png(before)
    assert np.array_equal(rgba(after), rgba(before))
    assert len(after) < 0.7 * len(before)
    assert b"tEXt" in before
    assert b"tEXt" not in after
    assert notebooks.shrink_png(after) == after


def test_an_image_of_many_colours_looks_the_same_on_any_page():
    before = png(curves())
    assert len(np.unique(rgba(before).reshape(-1, 4), axis=0)) > 1000
    after = notebooks.shrink_png(before)
    assert len(after) < 0.5 * len(before)
    for page in (0, 255):
        difference = on(page, rgba(after)) - on(page, rgba(before))
        assert np.sqrt((difference**2).mean()) < 2
    alpha_before, alpha_after = rgba(before)[..., 3], rgba(after)[..., 3]
    assert (alpha_after[alpha_before == 0] == 0).all()
    assert alpha_before[alpha_after == 0].max() < 0.05 * 255


def test_an_image_that_256_colours_would_spoil_is_kept():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", dpi=(72, 72))
    after = notebooks.shrink_png(file.getvalue())
    assert np.array_equal(rgba(after), noise)
    assert b"pHYs" not in after


# --- nbval ----------------------------------------------------------------------------------


def change_everything(cells):
    image = base64.b64encode(png(few_colours())).decode()
    cells[PRINT].outputs[0].text = "one\nthree\n"
    cells[VALUE].outputs[0].data["application/papermill.record/text/plain"] = "7"
    cells[PLOT].outputs[0].data["image/png"] = image
    cells[DRAWN].outputs[0].text = "0.5\n"
    cells[PLACE].outputs = []
    # As `make notebooks` would have it: its hash seed is not that of the tests.
    seed = new_code_cell('print(os.environ["PYTHONHASHSEED"])', execution_count=10)
    seed.outputs = [new_output("stream", name="stdout", text="0\n")]
    silenced = new_code_cell("x = 1\nx;", execution_count=11)
    cells += [seed, silenced]


@pytest.mark.slow
def test_nbval_under_the_settings_of_the_book(processed, tmp_path):
    """What it finds, and what not: each of that is found above, or meant to pass."""
    changes = {"good": list, "stripped": strip, "changed": change_everything}
    for name, change in changes.items():
        path = tmp_path / "chapter" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(processed.read_bytes())
        with edited(path) as cells:
            change(cells)
    options = [
        "--color=no",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--rootdir",
    ]
    config = notebooks.ROOT / "pyproject.toml"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", config, *options, tmp_path, tmp_path],
        capture_output=True,
        text=True,
    )
    expected = {
        PRINT: "three",
        VALUE: "'7'",
        PLACE: "Unexpected output fields",
        PLACE + 1: "'0",
        PLACE + 2: "Unexpected output fields",
    }
    section = r"^_+ chapter/changed\.ipynb::Cell (\d+) _+$(.*?)(?=^[_=]{9})"
    found = dict(re.findall(section, run.stdout, re.M | re.S))
    # nbval counts code cells, from 0; the first cell of the demo is text.
    assert set(found) == {str(cell - 1) for cell in expected}, run.stdout
    for cell, message in expected.items():
        assert message in found[str(cell - 1)]
    assert "5 failed, 24 passed" in run.stdout
