"""Sphinx extension of the book: everything a page loads comes with the page.

Third-party files are not committed. They are taken at build time out of the installed packages,
at the versions that the requirements pin, and only what the pages use is taken:

* MathJax: the components that ``mathjax3_config`` names, their TeX extensions and fonts;
* d3 and jQuery, for the frames that ask for them (no page loads them by itself);
* the faces of text, headings and code (``book_fonts``);
* of the theme's style sheets, the rules whose classes occur in the book.

It also gives images their size and lazy loading, pages their language (``lang: zh-Hans`` in the
front matter), and takes the launch buttons away while no repository address is configured.
"""

import hashlib
import importlib.metadata
import re
import shutil
import sys
from itertools import groupby, pairwise
from pathlib import Path

import imagesize
import tinycss2
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator
from tinycss2.ast import Node

# Sphinx finds this folder, the tests import from above it.
sys.path.append(str(Path(__file__).resolve().parent))
import book_fonts

logger = logging.getLogger(__name__)

MATHJAX_PACKAGE = "sphinx-mathjax-offline"
MATHJAX_FOLDER = "sphinx-mathjax-offline/static/mathjax"

# built name: (distribution, file inside it)
VENDOR = {
    "d3.v5.min.js": ("mpld3", "mpld3/js/d3.v5.min.js"),
    "jquery.min.js": ("XStatic-jQuery", "xstatic/pkg/jquery/data/jquery.min.js"),
}

# pattern of the built name: (distribution, file inside it)
STYLE_SHEETS = {
    "styles/pydata-sphinx-theme.css": (
        "pydata-sphinx-theme",
        "pydata_sphinx_theme/theme/pydata_sphinx_theme/static/styles/pydata-sphinx-theme.css",
    ),
    "styles/sphinx-book-theme.css": (
        "sphinx-book-theme",
        "sphinx_book_theme/theme/sphinx_book_theme/static/styles/sphinx-book-theme.css",
    ),
    "sphinx-design.min.css": (
        "sphinx-design",
        "sphinx_design/static/sphinx-design.min.css",
    ),
    "mystnb.*.css": ("myst-nb", "myst_nb/static/mystnb.css"),
}

# Copied by the theme, loaded by no page: book.css draws the icons and colours the code, book.js
# opens the menus.
UNUSED = (
    "scripts/fontawesome.js*",
    "scripts/bootstrap.js*",
    "vendor/fontawesome",
    "**/*.map",
    "pygments.css",
)

# An inline formula with the signs that must not part from it at the end of a line.
FORMULA = re.compile(
    r'([(\[“‘(《]?)(<span class="math [^>]*>[^<]*</span>)([-,.;:!?%)\]”’…,。、;:!?)》]*)'
)

# A kind of token that has no colour of its own needs no element: that is half of a chapter's HTML.
PLAIN_TOKENS = re.compile(
    r'<span class="(?:bp|n|na|nb|ni|nn|nv|o|p|py|vm|w)">([^<]*)</span>'
)

# A bertviz view in its frame, up to its style sheets, which name several families.
FRAME = re.compile(r'<iframe class="bertviz"[^>]* srcdoc="[^"]*?</title>')
FRAME_STYLE = (
    "<style>body, body * { font-family: Book Sans, Book Rest, sans-serif !important }"
    "</style>"
)


def packaged_file(distribution: str, path: str) -> Path:
    """Find a file inside an installed package, without importing the package.

    Args:
        distribution: the name under which the package is installed.
        path: the file's (or folder's) path below the folder of installed packages.

    Returns:
        The file's place on disk.

    Raises:
        ExtensionError: if the package is not installed or has no such file.
    """
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ExtensionError(
            f"the pages need the package {distribution}, which is not installed: "
            "`make book` installs it"
        ) from None
    found = Path(str(installed.locate_file(path)))
    if not found.exists():
        raise ExtensionError(
            f"the package {distribution} {installed.version} has no {path}: "
            "`make book` installs the version that the requirements name"
        )
    return found


def adjust_config(app: Sphinx, config: Config) -> None:
    """Settle what Jupyter Book's configuration file cannot say."""
    # Jupyter Book looks for the contents file from the working directory, Sphinx from the book's.
    config.external_toc_path = str(Path(config.external_toc_path).resolve())

    # Without an address the theme would fail over its own launch buttons.
    options = config.html_theme_options
    if not options.get("repository_url"):
        options["launch_buttons"] = {}

    # Sphinx writes a page again, and copies static files, only for a changed source or setting.
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in ("book_fonts.py", "live_figures.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    for folder in config.html_static_path:
        for path in sorted(Path(app.srcdir, folder).rglob("*")):
            if path.is_file():
                digest.update(path.read_bytes())
    config.book_assets_digest = digest.hexdigest()


def copy_vendor_files(app: Sphinx) -> None:
    """Copy MathJax, d3, jQuery and the faces out of their packages into ``_static``."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    book_fonts.write_fonts(static / "fonts", packaged_file)
    for name, (distribution, path) in VENDOR.items():
        copy_file(packaged_file(distribution, path), static / "vendor" / name)

    source = packaged_file(MATHJAX_PACKAGE, MATHJAX_FOLDER)
    patterns = [
        f"{name}.js"
        for name in ["startup", *app.config.mathjax3_config["loader"]["load"]]
    ]
    patterns += ["input/tex/extensions/*.js", "output/chtml/fonts/**/*"]
    for pattern in patterns:
        files = [path for path in source.glob(pattern) if path.is_file()]
        if not files:
            raise ExtensionError(
                f"{MATHJAX_PACKAGE} has no MathJax component {pattern}"
            )
        for path in files:
            if path.name != "all-packages.js":
                copy_file(path, static / "mathjax" / path.relative_to(source))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file unless the target is the same already."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def prepare_page(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict,
    doctree: nodes.document | None,
) -> None:
    """Set a page's language and assets, and lighten it, before its template is filled in."""
    context["language"] = (context.get("meta") or {}).get("lang", app.config.language)

    if "body" in context:
        body = PLAIN_TOKENS.sub(r"\1", context["body"])
        body = FORMULA.sub(keep_together, body)
        # Sphinx has one word for the whole book.
        if context["language"].startswith("zh"):
            body = body.replace('"caption-number">Figure ', '"caption-number">图 ')
        sheet = context["pathto"]("_static/fonts/fonts.css", 1)
        link = f"<link rel='stylesheet' href='{sheet}'>"
        body = FRAME.sub(rf"\g<0>{link}{FRAME_STYLE}", body)
        # docutils puts entries of a role that a list may not have into its lists of references.
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')

    # book.css has the colours of the code, for light and dark and without scripts.
    sheets = context["css_files"]
    sheets[:] = [
        sheet for sheet in sheets if not sheet.filename.endswith("pygments.css")
    ]


def keep_together(match: re.Match) -> str:
    """Wrap a formula and its punctuation; the browser would break the line between them."""
    if match[1] or match[3]:
        return f'<span class="together">{match[0]}</span>'
    return match[0]


def visit_image(translator: HTML5Translator, node: nodes.image) -> None:
    """Write an image with lazy loading and, so that nothing jumps, with its size."""
    path = Path(translator.builder.srcdir, node["uri"])
    attributes = ' loading="lazy"'
    if path.is_file():
        width, height = shown_size(path)
        attributes += f' width="{width}" height="{height}"'
    start = len(translator.body)
    HTML5Translator.visit_image(translator, node)
    translator.body[start:] = [
        part.replace("<img", f"<img{attributes}") for part in translator.body[start:]
    ]


def shown_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image in CSS pixels, 96 to the inch.

    Figures are drawn with more pixels than that, to be sharp on a dense screen; the resolution
    that the file names says how many.
    """
    width, height = imagesize.get(path)
    dpi = imagesize.getDPI(path)[0]
    scale = 96 / dpi if dpi > 96 else 1
    return round(width * scale), round(height * scale)


def slim_down(app: Sphinx, exception: Exception | None) -> None:
    """Leave of the theme's files what the finished pages use."""
    if exception is not None or app.builder.format != "html":
        return
    out, static = Path(app.outdir), Path(app.outdir, "_static")
    for pattern in UNUSED:
        for path in list(static.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    texts = list(out.rglob("*.html"))
    texts += [
        path
        for path in static.rglob("*.js")
        if not {"mathjax", "mini_bert", "minilm"}.intersection(path.parts)
    ]
    words = set()
    faces = (static / "fonts" / "fonts.css").read_text(encoding="utf-8")
    for path in [*texts, static / "book.css"]:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".css":
            words.update(re.findall(r"[\w-]+", text))
        if "vendor" in path.parts:
            continue
        for character in book_fonts.uncovered(text, faces):
            logger.warning(
                "%s: no face of the book has %r (U+%04X): add it in tools/book_fonts.py",
                path.relative_to(out).as_posix(),
                character,
                ord(character),
            )
    for path in out.glob("_images/*.svg"):
        drawing = path.read_text(encoding="utf-8")
        path.write_text(book_fonts.own_face(drawing, static / "fonts"), "utf-8")
    for pattern, (distribution, source) in STYLE_SHEETS.items():
        css = packaged_file(distribution, source).read_text(encoding="utf-8")
        for target in static.glob(pattern):
            target.write_text(used_rules(css, words), encoding="utf-8")


def used_rules(css: str | list[Node], words: set[str]) -> str:
    """Return the rules of a style sheet that can match.

    Args:
        css: a style sheet, or what stands in one of its rules.
        words: every word of the pages and their scripts; a selector whose classes and ids are
            not all among them matches nothing.

    Returns:
        The style sheet without comments, fonts and the rules that match nothing.
    """
    kept = []
    write = tinycss2.serialize
    for rule in tinycss2.parse_stylesheet(
        css, skip_comments=True, skip_whitespace=True
    ):
        if rule.type == "qualified-rule":
            parts = groupby(rule.prelude, lambda token: token == ",")
            selectors = [list(part) for comma, part in parts if not comma]
            used = [write(each).strip() for each in selectors if can_match(each, words)]
            if used:
                kept.append(f"{','.join(used)}{{{write(rule.content)}}}")
        elif rule.at_keyword in ("media", "supports"):
            if inner := used_rules(rule.content, words):
                kept.append(f"@{rule.at_keyword}{write(rule.prelude)}{{{inner}}}")
        elif rule.at_keyword != "font-face":
            kept.append(rule.serialize())
    return "\n".join(kept)


def can_match(selector: list[Node], words: set[str]) -> bool:
    """Tell whether all classes and ids of a selector are among the words.

    What stands in brackets (attributes, ``:not(…)``, ``:is(…)``) is left out of account, so that
    a rule is rather kept than lost.
    """
    names = [token.value for token in selector if token.type == "hash"]
    names += [name.value for dot, name in pairwise(selector) if dot == "."]
    return words.issuperset(names)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect the extension to a build."""
    app.setup_extension("live_figures")
    app.add_config_value("book_assets_digest", "", "html")
    # Jupyter Book always sets this one, for an extension that the book does without.
    app.add_config_value("comments_config", {}, "")
    app.add_node(
        nodes.image, override=True, html=(visit_image, HTML5Translator.depart_image)
    )
    app.connect("config-inited", adjust_config)
    app.connect("builder-inited", copy_vendor_files)
    app.connect("html-page-context", prepare_page)
    # After the theme has written its last files (priority 500).
    app.connect("build-finished", slim_down, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
