"""The built pages: each is whole and self-contained, and the checks find what is not."""

import json
from pathlib import Path

import pytest
import yaml

from tools import page_checks as checks
from tools.page_checks import ROOT, SITE, Page

PAGES = checks.contents()
NOTEBOOKS = [
    name for name in PAGES if (ROOT / "book" / name).with_suffix(".ipynb").exists()
]
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"][
    "url"
]

CHECKS = [
    checks.dead_links,
    checks.outside_loads,
    checks.images,
    checks.figures,
    checks.leftovers,
    checks.outline,
]


# ---------------------------------------------------------------------- the book's own pages


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PAGES)
def test_page(name, check):
    assert check(checks.read(name)) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_can_be_downloaded(name):
    assert checks.notebook_download(checks.read(name)) == []


@pytest.mark.parametrize("name", PAGES)
def test_buttons_lead_to_the_repository_or_are_not_there(name):
    assert checks.buttons(checks.read(name), REPOSITORY) == []


def test_contents_name_every_page_that_was_written():
    book = ROOT / "book"
    written = [
        path.relative_to(book) for path in (*book.rglob("*.md"), *book.rglob("*.ipynb"))
    ]
    pages = {
        path.with_suffix(".html").as_posix()
        for path in written
        if not any(part.startswith((".", "_")) for part in path.parts)
    }
    assert pages - set(PAGES) == set()


def test_style_sheets_load_what_is_there():
    checks.read("index.html")
    sheets = sorted((SITE / "_static").rglob("*.css"))
    assert [sheet.name for sheet in sheets if sheet.name == "book.css"] == ["book.css"]
    for sheet in sheets:
        assert checks.outside_styles(sheet.read_text("utf-8")) == [], sheet
        assert checks.dead_styles(sheet) == []


def test_build_has_what_the_frames_ask_for_and_no_needless_third_party_files():
    checks.read("index.html")
    static = SITE / "_static"
    assert b"d3js.org" in (static / "vendor" / "d3.v5.min.js").read_bytes()[:200]
    assert b"jQuery" in (static / "vendor" / "jquery.min.js").read_bytes()[:200]
    for name in ("fontawesome.js", "bootstrap.js", "sphinx-thebe.js"):
        assert list(static.rglob(name)) == []
    # The wheel's MathJax is 24 MB with its screen-reader engine, SVG fonts and combined files.
    assert sum(path.stat().st_size for path in (static / "mathjax").rglob("*")) < 3e6


# -------------------------------------------------------------------- pages broken on purpose


@pytest.fixture
def page(tmp_path):
    """Makes a page in a small site that has another page and an image."""
    (tmp_path / "q1").mkdir()
    (tmp_path / "other.html").write_text("<h2 id='there'>There</h2>")
    (tmp_path / "plot.png").write_bytes(b"png")

    def make(
        body,
        name="q1/page.html",
        html="<html lang='en'><title>T</title><h1>H</h1>{}</html>",
    ):
        return Page(name, tmp_path, html.format(f"<article>{body}</article>"))

    return make


IMAGE = '<img src="../plot.png" alt="Two rising curves." loading="lazy" width="4" height="3">'
CAPTION = '<span class="caption-number">Figure 1.1 </span><span class="caption-text">Two.</span>'
FIGURE = f'<figure id="fig-x">{IMAGE}<figcaption><p>{CAPTION}</p></figcaption></figure>'

WHOLE = f"""
<p id="here"><a href="#here">a</a> <a href="../other.html#there">b</a> <a href="#">c</a>
<a href="https://example.org/paper">paper</a> <a href="mailto:a@b.org">mail</a>
<code>{{glue:text}}`x`</code></p>
{FIGURE}
<link rel="stylesheet" href="../other.html?v=1"><link rel="license" href="https://example.org/">
<script>// see https://example.org/
const ns = "http://www.w3.org/2000/svg", half = 1 // 2;
</script>
<iframe srcdoc="&lt;p id=q&gt;&lt;a href='#q'&gt;x&lt;/a&gt;"></iframe>
"""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_whole_page_passes(page, check):
    assert check(page(WHOLE)) == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('<a href="gone.html">x</a>', "gone.html is not there"),
        ('<a href="../gone.html#there">x</a>', "gone.html#there is not there"),
        ('<a href="../other.html#gone">x</a>', "no #gone in other.html"),
        ('<a href="#gone">x</a>', "no #gone in q1/page.html"),
        ('<a href="/other.html">x</a>', "starts at the root"),
        ('<a href="../../secret.html">x</a>', "not below the book"),
        ('<img src="gone.png">', "gone.png is not there"),
        (
            '<img src="../plot.png" srcset="../plot.png 1x, big.png 2x">',
            "big.png is not there",
        ),
        ('<script src="gone.js"></script>', "gone.js is not there"),
        ("<iframe srcdoc=\"<a href='#gone'>x</a>\"></iframe>", "no #gone"),
        (
            "<iframe srcdoc=\"<script src='gone.js'></script>\"></iframe>",
            "gone.js is not there",
        ),
    ],
)
def test_dead_link_is_found(page, body, found):
    (problem,) = checks.dead_links(page(body))
    assert found in problem


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.example.org/d3.js"></script>',
        '<script src="//cdn.example.org/d3.js"></script>',
        '<script src="HTTPS://cdn.example.org/d3.js"></script>',
        '<script type="module">import "https://cdn.example.org/d3.js"</script>',
        '<script>const THEBE = "https://unpkg.example.org/thebe/index.js"</script>',
        '<script>fetch("//api.example.org/stars")</script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<link rel="preload" href="https://fonts.example.org/a.woff2">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<link rel="icon" href="https://example.org/icon.png">',
        '<img src="https://example.org/badge.svg" alt="A badge">',
        '<img src="../plot.png" srcset="https://example.org/a.png 2x" alt="A plot">',
        '<iframe src="https://example.org/"></iframe>',
        '<object data="https://example.org/a.svg"></object>',
        '<video poster="https://example.org/a.png"></video>',
        '<form action="https://example.org/subscribe"></form>',
        '<p style="background: url(https://example.org/a.png)"></p>',
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>@font-face { src: url('//example.org/a.woff2') }</style>",
        '<meta http-equiv="refresh" content="0; url=https://example.org/">',
        "<iframe srcdoc=\"<script src='https://cdn.example.org/d3.js'></script>\"></iframe>",
    ],
)
def test_load_from_outside_is_found(page, body):
    assert len(checks.outside_loads(page(body))) == 1


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGE.replace('alt="Two rising curves."', ""), "no alt text"),
        (IMAGE.replace("Two rising curves.", " "), "no alt text"),
        (IMAGE.replace("Two rising curves.", "../plot.png"), "file name"),
        (IMAGE.replace("Two rising curves.", "_images/0fe8.png"), "file name"),
        (IMAGE.replace('loading="lazy"', ""), "not loaded lazily"),
        (IMAGE.replace('width="4"', ""), "no width and height"),
    ],
)
def test_bad_image_is_found(page, image, found):
    (problem,) = checks.images(page(image))
    assert found in problem


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (IMAGE, "stands in no figure"),
        (FIGURE.replace(' id="fig-x"', ""), "no name"),
        (FIGURE.replace("Figure 1.1", "Figure"), "no number"),
        (FIGURE.replace("Two.", ""), "no caption"),
    ],
)
def test_bad_figure_is_found(page, body, found):
    (problem,) = checks.figures(page(body))
    assert found in problem


@pytest.mark.parametrize(
    "body",
    [
        "<p>The crossover is at {glue:text}`crossover` tokens.</p>",
        "<p>See {numref}`fig-x`.</p>",
        "<p>{glue:text}</p>",
        "<p>KeyError: 'crossover'</p>",
        "<p>The glued value could not be found.</p>",
        "<p>:::{note}</p>",
        "<p>[?]</p>",
        '<p><span class="problematic">fig-x</span></p>',
        '<div class="system-message">Unknown role.</div>',
    ],
)
def test_leftover_is_found(page, body):
    assert len(checks.leftovers(page(body))) == 1


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<html><title>T</title><h1>H</h1>{}</html>", "no language"),
        ("<html lang='en'><h1>H</h1>{}</html>", "no title"),
        ("<html lang='en'><title>T</title>{}</html>", "0 main headings"),
        (
            "<html lang='en'><title>T</title><h1>H</h1><h1>H</h1>{}</html>",
            "2 main headings",
        ),
        (
            "<html lang='en'><title>T</title><h1 id='a'>H</h1>{}<p id='a'></html>",
            "twice: a",
        ),
    ],
)
def test_bad_outline_is_found(page, html, found):
    (problem,) = checks.outline(page("", html=html))
    assert found in problem


DOWNLOAD = '<a class="btn-download-source-button" href="{}">x</a>'


@pytest.mark.parametrize(
    ("link", "notebook", "found"),
    [
        ("", None, "no download"),
        (DOWNLOAD.format("../_sources/a.md"), None, "not a notebook"),
        (DOWNLOAD.format("../_sources/a.ipynb"), None, "cannot be read"),
        (DOWNLOAD.format("../_sources/a.ipynb"), "{", "cannot be read"),
        (
            DOWNLOAD.format("../_sources/a.ipynb"),
            '{"cells": [{"outputs": []}]}',
            "no outputs",
        ),
    ],
)
def test_bad_download_is_found(page, tmp_path, link, notebook, found):
    if notebook is not None:
        (tmp_path / "_sources").mkdir()
        (tmp_path / "_sources" / "a.ipynb").write_text(notebook)
    (problem,) = checks.notebook_download(page(link))
    assert found in problem


def test_good_download_passes(page, tmp_path):
    (tmp_path / "_sources").mkdir()
    cells = [{"outputs": [{"text": "1"}]}]
    (tmp_path / "_sources" / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert checks.notebook_download(page(DOWNLOAD.format("../_sources/a.ipynb"))) == []


def test_dead_button_is_found(page):
    link = (
        '<a href="https://colab.example.org/github/me/book/blob/main/a.ipynb">Colab</a>'
    )
    body = (
        f'<div class="article-header-buttons">{link}<a href="../other.html">x</a></div>'
    )
    assert "dead button" in checks.buttons(page(body), "")[0]
    assert "another" in checks.buttons(page(body), "https://github.com/you/book")[0]
    assert checks.buttons(page(body), "https://github.com/me/book") == []


@pytest.mark.parametrize(
    "css",
    [
        "@import url(https://example.org/a.css);",
        '@import "//example.org/a.css";',
        "a { background: url( 'https://example.org/a.png' ) }",
        "a { cursor: url(http://example.org/a.cur), auto }",
    ],
)
def test_style_from_outside_is_found(css):
    assert len(checks.outside_styles(css)) == 1


def test_file_missing_for_a_style_is_found(tmp_path):
    sheet = tmp_path / "a.css"
    icon = 'url("data:image/svg+xml,%3Csvg/%3E")'
    sheet.write_text(f'a {{ mask: {icon}; background: url("b.png?v=1") }}')
    assert checks.dead_styles(sheet) == ["a.css: b.png?v=1 is not there"]
    (tmp_path / "b.png").write_bytes(b"png")
    assert checks.dead_styles(sheet) == []


def test_missing_page_says_how_to_build_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="`make book`"):
        checks.read("index.html", Path(tmp_path))
