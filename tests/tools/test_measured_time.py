"""No test hangs on a measured time, as no notebook does (tests/tools/test_notebooks.py)."""

import ast
from pathlib import Path

import pytest

from tools.measured_time import MeasuredTime

# Here a page, or an installation, may hang: only a deadline ends the wait.
WITH_DEADLINES = ("visits", "test_setup")
FILES = [
    path
    for path in sorted(Path(__file__).parents[1].rglob("*.py"))
    if not path.stem.startswith(WITH_DEADLINES)
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_assertion_hangs_on_a_clock(path):
    clock = MeasuredTime()
    clock.read(ast.parse(path.read_text("utf-8")).body)
    assert not clock.claims
