"""What a built page must be: checks that each return a list of problems.

tests/pages/test_pages.py runs them on every page of the book, and on pages broken on purpose.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"

# Attributes that hold one address.
ADDRESSES = ("href", "src", "data", "poster", "action", "formaction", "xlink:href")
# A <link> that only names something; every other kind makes the browser fetch or connect.
NAMING_LINKS = {
    "author",
    "canonical",
    "index",
    "license",
    "next",
    "prev",
    "search",
    "up",
}
OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
CSS_ADDRESS = re.compile(
    r"""@import\s+(?:url\()?\s*["']?([^"')\s;]+)|url\(\s*(?:"([^"]*)"|'([^']*)'|([^)"']*))\s*\)"""
)
# Of all addresses in a script, only the names of XML vocabularies are never fetched.
SCRIPT_ADDRESS = re.compile(
    r"(?:https?:)?//(?!www\.w3\.org/)[\w-]+(?:\.[\w-]+)+[^\s\"'`<>)]*"
)
LEFTOVER = re.compile(
    r"\{[a-z][\w:.-]*\}`|\{glue|KeyError|could not be found|undefined label|:{3,}|`{3,}|\[\?\]"
)


@dataclass(frozen=True)
class Page:
    """One page of a built book.

    Attributes:
        name: its path below the site, such as ``q1_attention/attention.html``.
        site: the folder of the built book.
        html: its text; an iframe's ``srcdoc`` is a page too, under the name of its parent.
    """

    name: str
    site: Path
    html: str

    @cached_property
    def soup(self) -> BeautifulSoup:
        """The parsed page."""
        return BeautifulSoup(self.html, "html.parser")

    @cached_property
    def article(self) -> Tag:
        """The page without the theme's frame around it."""
        return self.soup.find("article") or self.soup

    @cached_property
    def frames(self) -> list["Page"]:
        """The pages that stand inside this one."""
        frames = self.soup.find_all("iframe", srcdoc=True)
        return [Page(self.name, self.site, frame["srcdoc"]) for frame in frames]

    @cached_property
    def ids(self) -> set[str]:
        """Everything a ``#…`` can point at."""
        names = {tag["id"] for tag in self.soup.find_all(id=True)}
        return names | {
            tag["name"] for tag in self.soup.find_all("a", attrs={"name": True})
        }


def contents() -> list[str]:
    """Return the pages that ``_toc.yml`` lists, as paths below the site, and the search page."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [f"{name}.html" for name in [toc["root"], *_files(toc)]] + ["search.html"]


def _files(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "file" in node:
            yield str(PurePosixPath(node["file"]).with_suffix(""))
        for value in node.values():
            yield from _files(value)
    elif isinstance(node, list):
        for value in node:
            yield from _files(value)


def read(name: str, site: Path = SITE) -> Page:
    """Read a page of the built book.

    Raises:
        FileNotFoundError: if it has not been built; the message says how to.
    """
    path = site / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: build the book first with `make book`"
        )
    return _read(path, name, site, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, name: str, site: Path, changed: int) -> Page:
    return Page(name, site, path.read_text("utf-8"))


# ------------------------------------------------------------------------------ the checks


def dead_links(page: Page) -> list[str]:
    """Links and sources inside the book lead to a file, and to a place in it."""
    problems = []
    for tag, address in _addresses(page):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        if parts.path.startswith("/"):
            problems.append(
                f"{_name(page, tag)}: {address} starts at the root of the server"
            )
            continue
        if parts.path:
            target = (
                page.site.joinpath(page.name)
                .parent.joinpath(unquote(parts.path))
                .resolve()
            )
            if not target.is_relative_to(page.site.resolve()):
                problems.append(f"{_name(page, tag)}: {address} is not below the book")
                continue
            if not target.is_file():
                problems.append(f"{_name(page, tag)}: {address} is not there")
                continue
            if target.suffix != ".html":
                continue
            other = read(target.relative_to(page.site.resolve()).as_posix(), page.site)
        else:
            other = page
        anchor = unquote(parts.fragment)
        if anchor and anchor not in other.ids:
            problems.append(
                f"{_name(page, tag)}: {address}: no #{anchor} in {other.name}"
            )
    for frame in page.frames:
        problems += dead_links(frame)
    return problems


def outside_loads(page: Page) -> list[str]:
    """Nothing is loaded from outside the book; a link for the reader to follow is no load."""
    problems = []
    for tag, address in _addresses(page):
        if tag.name in ("a", "area") or not OUTSIDE.match(address):
            continue
        if tag.name == "link" and set(tag.get("rel", [])) <= NAMING_LINKS:
            continue
        problems.append(f"{_name(page, tag)} loads {address}")
    for tag in page.soup.find_all(style=True):
        problems += [
            f"{_name(page, tag)} {found}" for found in outside_styles(tag["style"])
        ]
    for tag in page.soup.find_all("style"):
        problems += [
            f"{_name(page, tag)} {found}" for found in outside_styles(tag.text)
        ]
    for tag in page.soup.find_all("script", src=False):
        problems += [
            f"{_name(page, tag)} names {found}" for found in _outside_names(tag.text)
        ]
    for tag in page.soup.find_all(
        "meta", attrs={"http-equiv": re.compile("refresh", re.I)}
    ):
        problems.append(f"{_name(page, tag)} leads away")
    for frame in page.frames:
        problems += outside_loads(frame)
    return problems


def _outside_names(script: str) -> list[str]:
    without_comments = re.sub(
        r"/\*.*?\*/|(?<![:\w\"'])//[^\n]*", "", script, flags=re.DOTALL
    )
    return SCRIPT_ADDRESS.findall(without_comments)


def outside_styles(css: str) -> list[str]:
    """A style sheet loads nothing from outside the book."""
    return [
        f"loads {address}" for address in _css_addresses(css) if OUTSIDE.match(address)
    ]


def dead_styles(path: Path) -> list[str]:
    """The files that a style sheet loads are there."""
    problems = []
    for address in _css_addresses(path.read_text("utf-8")):
        if address.startswith(("data:", "#")) or OUTSIDE.match(address):
            continue
        target = path.parent / unquote(urlsplit(address).path)
        if not target.is_file():
            problems.append(f"{path.name}: {address} is not there")
    return problems


def _css_addresses(css: str) -> Iterator[str]:
    for match in CSS_ADDRESS.finditer(re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)):
        if address := next(filter(None, match.groups()), "").strip():
            yield address


def images(page: Page) -> list[str]:
    """Each image says what is to be seen; those of the text are lazy and keep their place."""
    problems = []
    for image in page.soup.find_all("img"):
        source, alt = image.get("src", ""), image.get("alt", "").strip()
        if not alt:
            problems.append(f"image {source} has no alt text")
        elif alt == source or re.search(r"\.(?:png|svg|jpe?g|gif|webp)$", alt):
            problems.append(f"image {source} has a file name for alt text: {alt}")
    for image in page.article.find_all("img"):
        if image.get("loading") != "lazy":
            problems.append(f"image {image.get('src')} is not loaded lazily")
        if not (image.get("width", "").isdigit() and image.get("height", "").isdigit()):
            problems.append(f"image {image.get('src')} has no width and height")
    return problems


def figures(page: Page) -> list[str]:
    """Each image of the text stands in a figure, and each figure has a number and a caption."""
    problems = [
        f"image {image.get('src')} stands in no figure"
        for image in page.article.find_all("img")
        if image.find_parent("figure") is None
    ]
    for figure in page.article.find_all("figure"):
        name = figure.get("id")
        if not name:
            problems.append("a figure has no name to refer to")
        number = figure.select_one("figcaption .caption-number")
        if number is None or not re.search(r"\d", number.text):
            problems.append(f"figure {name} has no number")
        caption = figure.select_one("figcaption .caption-text")
        if caption is None or not caption.text.strip():
            problems.append(f"figure {name} has no caption")
    return problems


def leftovers(page: Page) -> list[str]:
    """No markup, no reference and no glued value is left unresolved in the text."""
    problems = [
        f"unresolved: {tag.text.strip()}" for tag in page.article.select(".problematic")
    ]
    problems += [
        f"message: {tag.text.strip()}" for tag in page.article.select(".system-message")
    ]
    for text in page.article.find_all(string=LEFTOVER):
        if text.find_parent(["code", "pre", "script", "style"]) is None:
            problems.append(f"left in the text: {text.strip()[:80]}")
    return problems


def notebook_download(page: Page) -> list[str]:
    """The page of a notebook offers that notebook, complete with its outputs."""
    link = page.soup.select_one("a.btn-download-source-button")
    if link is None:
        return [f"{page.name} offers no download"]
    path = page.site.joinpath(page.name).parent / urlsplit(link["href"]).path
    if path.suffix != ".ipynb":
        return [f"{page.name} offers {path.name}, not a notebook"]
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{page.name} offers {path.name}, which cannot be read: {error!r}"]
    if not any(cell.get("outputs") for cell in cells):
        return [f"{page.name} offers {path.name}, which has no outputs"]
    return []


def buttons(page: Page, repository: str) -> list[str]:
    """Colab, Binder and their like lead to the repository; without one there are none."""
    problems = []
    for link in page.soup.select(".article-header-buttons a[href]"):
        parts = urlsplit(link["href"])
        if not parts.netloc:
            continue
        if not repository:
            problems.append(f"dead button: {link['href']}")
        elif urlsplit(repository).path.strip("/") not in parts.path:
            problems.append(f"button to another repository: {link['href']}")
    return problems


def outline(page: Page) -> list[str]:
    """The page has a language, a title, one main heading, and no name twice."""
    problems = []
    if not page.soup.html.get("lang"):
        problems.append("no language")
    if not (page.soup.title and page.soup.title.text.strip()):
        problems.append("no title")
    if len(page.soup.find_all("h1")) != 1:
        problems.append(f"{len(page.soup.find_all('h1'))} main headings, expected 1")
    names = Counter(tag["id"] for tag in page.soup.find_all(id=True))
    problems += [
        f"name given twice: {name}" for name, count in names.items() if count > 1
    ]
    return problems


def _addresses(page: Page) -> Iterator[tuple[Tag, str]]:
    """All addresses that a page's elements carry."""
    for tag in page.soup.find_all(True):
        for attribute in ADDRESSES:
            # "data" is an address on <object> alone.
            if tag.has_attr(attribute) and (
                attribute != "data" or tag.name == "object"
            ):
                yield tag, tag[attribute].strip()
        for attribute in ("srcset", "imagesrcset"):
            for candidate in tag.get(attribute, "").split(","):
                if candidate.strip():
                    yield tag, candidate.split()[0]


def _name(page: Page, tag: Tag) -> str:
    return f"{page.name}: <{tag.name}>"
