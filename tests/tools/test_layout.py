"""The package is laid out as the book teaches: a folder a part, and imports that run one way."""

import ast
import json
import re

import pytest

import bertbook
from tools.page_checks import ROOT

SRC = ROOT / "src" / "bertbook"
ORDER = re.findall(r"``(\w+)``", bertbook.__doc__)
MODULES = [
    path.relative_to(SRC).as_posix()
    for path in sorted(SRC.glob("*/*.py"))
    if path.name != "__init__.py"
]
# Named in the README as a folder, not one by one.
WHOLE = ("corpora", "exercises")


def imported(path):
    """The parts of the package that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "bertbook"
        ):
            names = node.module.split(".")[1:] or [alias.name for alias in node.names]
            yield names[0]


def test_every_folder_has_its_place():
    folders = {path.parent.name for path in SRC.glob("*/__init__.py")}
    assert sorted(ORDER) == sorted(folders)
    assert not [path for path in SRC.glob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_up(module):
    place = ORDER.index(module.split("/")[0])
    up = [part for part in imported(SRC / module) if ORDER.index(part) > place]
    assert not up


def test_the_readme_names_every_module_once():
    named = re.findall(r"`(\w+/\w+\.py)`", (ROOT / "README.md").read_text("utf-8"))
    expected = [module for module in MODULES if not module.startswith(WHOLE)]
    assert sorted(named) == sorted(expected)


def test_a_chapter_uses_the_modules_of_its_row():
    rows = re.findall(
        r"^\| \[[^]]*\]\((book/[\w/]+\.ipynb)\) \|([^|]*)\|",
        (ROOT / "README.md").read_text("utf-8"),
        flags=re.M,
    )
    assert len(rows) == len(list((ROOT / "book").glob("*/*.ipynb")))
    for notebook, modules in rows:
        cells = json.loads((ROOT / notebook).read_text("utf-8"))["cells"]
        text = json.dumps([(cell["source"], cell["metadata"]) for cell in cells])
        for part, name in re.findall(r"`(\w+)/(\w+)\.py`", modules):
            uses = rf"bertbook\.{part}(\.| import [^\"]*\b){name}\b"
            assert re.search(uses, text), (notebook, part, name)


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_says_what_it_teaches_and_exports_nothing(folder):
    tree = ast.parse((SRC / folder / "__init__.py").read_text("utf-8"))
    assert ast.get_docstring(tree)
    if folder not in WHOLE:
        assert len(tree.body) == 1
        named = set(re.findall(r"[`.](\w+)`", ast.get_docstring(tree)))
        inside = [module for module in MODULES if module.startswith(f"{folder}/")]
        assert {module.split("/")[1][:-3] for module in inside} <= named
