"""What a file of tests must be, as a notebook must (tests/tools/test_notebooks.py)."""

import ast
import re
from pathlib import Path

import pytest

from tools.measured_time import MeasuredTime

# Here a page, or an installation, may hang: only a deadline ends the wait.
WITH_DEADLINES = ("visits", "test_setup")
FILES = sorted(Path(__file__).parents[1].rglob("*.py"))
WITHOUT = [path for path in FILES if not path.stem.startswith(WITH_DEADLINES)]


@pytest.mark.parametrize("path", WITHOUT, ids=lambda path: path.stem)
def test_no_assertion_hangs_on_a_clock(path):
    clock = MeasuredTime()
    clock.read(ast.parse(path.read_text("utf-8")).body)
    assert not clock.claims


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_test_is_imported(path):
    # In the text of a program that a test starts neither: what is shared has a file of its own.
    imports = r"\b(?:from|import) +(?:[\w.]*\.)?(?:test_|conftest\b)\w*"
    assert not re.findall(imports, path.read_text("utf-8"))
