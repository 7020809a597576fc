"""The directive that puts a live figure on a page."""

import io
import re
import subprocess
import sys

import pytest
from sphinx.application import Sphinx

from tests.browser.figures import LIVE
from tools.page_checks import ROOT


@pytest.fixture
def sphinx(tmp_path, monkeypatch):
    """Builds a page of Markdown by Sphinx alone; returns its text and the warnings."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    book = tmp_path / "book"
    book.mkdir()
    (book / "other.md").write_text("# Other\n\nText.\n")

    def build(text, builder="html"):
        (book / "index.md").write_text(
            f"# Page\n\n{text}\n\n```{{toctree}}\nother\n```\n"
        )
        warnings = io.StringIO()
        app = Sphinx(
            book,
            None,
            tmp_path / builder,
            tmp_path / "trees",
            builder,
            confoverrides={
                "extensions": ["myst_parser", "live_figures"],
                "html_static_path": [str(LIVE.parent)],
                "myst_enable_extensions": ["substitution"],
                "html_theme": "basic",
            },
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build()
        return tmp_path / builder, warnings.getvalue()

    return build


FIGURE = "```{live} soft-lookup\nNo *scripts*.\n```"


def test_directive_adds_scripts_to_its_page_only(sphinx):
    out, warnings = sphinx(FIGURE)
    text = (out / "index.html").read_text("utf-8")
    assert "<live-soft-lookup><p>No <em>scripts</em>.</p>" in text
    scripts = re.findall(r'<script defer="defer" src="_static/live/([\w-]+)\.js', text)
    assert scripts == ["figure", "soft-lookup"]
    assert "live/" not in (out / "other.html").read_text("utf-8")
    assert not (out / "_static" / "live" / "mini_bert").exists()  # nobody asked for it
    assert "live" not in warnings


def test_directive_leaves_nothing_where_pages_are_no_html(sphinx):
    out, _ = sphinx(FIGURE, "text")
    text = (out / "index.txt").read_text("utf-8")
    assert "Page" in text
    assert "scripts" not in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "```{live} soft-looking\nText.\n```",
            "no live figure soft-looking, expected one of",
        ),
        ("```{live} soft-lookup\n```", "no text for readers without scripts"),
    ],
)
def test_directive_refuses_what_it_does_not_know(sphinx, text, told):
    _, warnings = sphinx(text)
    assert told in warnings


def test_pages_are_built_without_torch():
    code = (
        "import sys; sys.path[:0] = ['tools']; import live_model, live_figures; "
        "import live_review; "
        "live_model.packed_weights(*live_model.mini_bert()); live_model.vocabulary(); "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["False"]
