"""The Sphinx extension: what it takes from packages, what it leaves of them, what it changes."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tinycss2
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from sphinx.errors import ExtensionError

from tools import book_extension, page_checks
from tools.book_extension import FORMULA as FORMULA_PATTERN
from tools.book_extension import (
    can_match,
    keep_together,
    packaged_file,
    shown_size,
    used_rules,
)
from tools.page_checks import ROOT

IMAGE = "# A page\n\n![Blue.](p.png)"
CHINESE = """---
lang: zh-Hans
---
# 注意力

正文。

```{figure} p.png
:alt: 蓝色。

蓝色。
```
"""
FORMULA = {"text/latex": "$\\displaystyle x^2$", "text/plain": "x**2"}


def notebook():
    outputs = [new_output("display_data", data=FORMULA)]
    code = new_code_cell("import math", execution_count=1, outputs=outputs)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return new_notebook(cells=[new_markdown_cell(IMAGE), code], metadata=metadata)


@pytest.fixture
def build(tmp_path):
    """Builds a book of three small pages with the book's own settings, changed as asked."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    config["sphinx"]["local_extensions"]["book_extension"] = str(ROOT / "tools")
    book = tmp_path / "book"
    (book / "_assets").parent.mkdir()
    (book / "_assets").symlink_to(ROOT / "book" / "_assets")
    (book / "references.bib").write_text("")
    (book / "index.md").write_text("# Index\n\nText.\n")
    (book / "chinese.md").write_text(CHINESE)
    nbformat.write(notebook(), book / "page.ipynb")
    Image.new("RGB", (300, 150)).save(book / "p.png", dpi=(144, 144))
    chapters = [{"file": name} for name in ("page", "chinese")]
    toc = {"format": "jb-book", "root": "index", "chapters": chapters}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))

    def run(repository=""):
        config["repository"]["url"] = repository
        (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
        command = [Path(sys.executable).with_name("jupyter-book"), "build", "book"]
        command += [
            "--config",
            "_config.yml",
            "--toc",
            "_toc.yml",
            "--path-output",
            ".",
        ]
        command += ["-W", "-n", "--keep-going"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        return tmp_path / "_build" / "html"

    return run


def soup(path):
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def buttons(page):
    links = page.select(".article-header-buttons a[href^=http]")
    return [link["href"] for link in links]


@pytest.mark.slow
def test_build_without_and_with_a_repository(build):
    site = build()
    page = soup(site / "page.html")
    assert buttons(page) == []
    # Its only formula is in an output.
    assert len(page.select(".math")) == 1
    assert len(page.select("script[src*='mathjax/startup.js']")) == 1
    assert not soup(site / "chinese.html").select("script[src*='mathjax']")
    image = page.select_one("article img")
    assert (image["width"], image["height"], image["loading"]) == ("200", "100", "lazy")
    assert image["alt"] == "Blue."
    code = page.select_one(".cell_input pre")
    assert code.text.strip() == "import math"
    assert [span["class"] for span in code.select("span[class]")] == [["kn"]]
    assert page.html["lang"] == "en"
    chinese = soup(site / "chinese.html")
    assert chinese.html["lang"] == "zh-Hans"
    assert chinese.select_one(".caption-number").text.startswith("图 ")
    for name in ("index.html", "page.html", "chinese.html", "search.html"):
        assert page_checks.outside_loads(page_checks.read(name, site)) == []
        assert page_checks.dead_links(page_checks.read(name, site)) == []

    site = build("https://github.com/someone/a-book")
    page = soup(site / "page.html")
    colab, binder = sorted(buttons(page))
    path = "someone/a-book/blob/main/book/page.ipynb"
    assert colab == f"https://colab.research.google.com/github/{path}"
    assert binder == (
        "https://mybinder.org/v2/gh/someone/a-book/main?urlpath=lab/tree/book/page.ipynb"
    )
    # A page without code has nothing to launch; no page asks for edits.
    assert buttons(soup(site / "index.html")) == []
    assert "edit" not in " ".join(buttons(page))


@pytest.mark.slow
def test_changed_style_reaches_the_pages_in_a_rebuild(build, tmp_path):
    assets = tmp_path / "assets"
    subprocess.run(["cp", "-r", ROOT / "book" / "_assets", assets], check=True)
    site = build()
    before = (site / "index.html").read_text("utf-8")
    (tmp_path / "book" / "_assets").unlink()
    assets.rename(tmp_path / "book" / "_assets")
    style = tmp_path / "book" / "_assets" / "static" / "book.css"
    style.write_text(style.read_text("utf-8") + "\n.changed { color: red }\n")
    build()
    assert ".changed" in (site / "_static" / "book.css").read_text("utf-8")
    version = re.compile(r"book\.css\?v=(\w+)")
    after = (site / "index.html").read_text("utf-8")
    assert version.search(before)[1] != version.search(after)[1]


def test_missing_package_is_named():
    with pytest.raises(
        ExtensionError, match="the package no-such-package, which is not installed"
    ):
        packaged_file("no-such-package", "d3.js")


def test_package_of_another_version_is_named():
    with pytest.raises(
        ExtensionError, match=r"the package mpld3 [\d.]+ has no mpld3/js/d3.v9.js"
    ):
        packaged_file("mpld3", "mpld3/js/d3.v9.js")


@pytest.mark.parametrize(
    "path",
    [*book_extension.VENDOR.values(), *book_extension.STYLE_SHEETS.values()],
    ids=lambda path: path[0],
)
def test_packages_have_the_files(path):
    assert packaged_file(*path).stat().st_size > 1000


def test_rules_that_match_nothing_are_left_out():
    css = """
    @charset "utf-8";
    /* a { } comment */
    .used { color: red }
    .unused { color: red }
    .used .unused, a.used { color: red }
    #gone { color: red }
    @media print { .unused { a: b } .used { content: "} .x {" } }
    @media screen { .unused { a: b } }
    @font-face { src: url(a.woff2) }
    @keyframes spin { from { a: b } to { a: c } }
    :root { --icon: url("data:;/* kept */") }
    a:not(.unused) > b[class^="x.y"] { a: b }
    """
    assert used_rules(css, {"used"}).split("\n") == [
        '@charset "utf-8";',
        ".used{ color: red }",
        "a.used{ color: red }",
        '@media print {.used{ content: "} .x {" }}',
        "@keyframes spin { from { a: b } to { a: c } }",
        ':root{ --icon: url("data:;/* kept */") }',
        'a:not(.unused) > b[class^="x.y"]{ a: b }',
    ]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a", True),
        (".a", True),
        (".a.b", False),
        ("#a .b", False),
        (".-a", False),
        (":is(.b, .c) .a", True),
        (".a:not(:has(.b))", True),
        ('[href$=".b"]', True),
        (".a::before", True),
    ],
)
def test_can_match(selector, expected):
    tokens = tinycss2.parse_component_value_list(selector)
    assert can_match(tokens, {"a"}) is expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        (" and ", " and"),
        ("(", ")."),
        ("，", "。"),
        ("“", ""),
        ("", ", "),
    ],
)
def test_punctuation_stays_with_its_formula(before, after):
    formula = '<span class="math notranslate nohighlight">\\(x &lt; 1\\)</span>'
    text = FORMULA_PATTERN.sub(keep_together, f"<p>a{before}{formula}{after}b</p>")
    found = BeautifulSoup(text, "html.parser")
    assert found.text == f"a{before}\\(x < 1\\){after}b"
    together = found.select_one(".together")
    kept = before.strip("and, ，") + "\\(x < 1\\)" + after.strip("and ")
    assert (together.text if together else "\\(x < 1\\)") == kept


@pytest.mark.parametrize(
    ("dpi", "expected"),
    [(None, (300, 150)), (72, (300, 150)), (96, (300, 150)), (192, (150, 75))],
)
def test_shown_size(tmp_path, dpi, expected):
    path = tmp_path / "a.png"
    Image.new("RGB", (300, 150)).save(path, **({"dpi": (dpi, dpi)} if dpi else {}))
    assert shown_size(path) == expected
