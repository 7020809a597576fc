"""Every page in a real browser: light and dark, desk and phone, with and without scripts."""

import functools
import os
import re
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError

from tools import page_checks
from tools.page_checks import ROOT, SITE

PAGES = page_checks.contents()
# What the theme does alike on every page is tried on one that has everything.
CHAPTER = "q1_attention/attention.html"
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MAX_WEIGHT = 1_500_000  # bytes, uncompressed

# Waits for the formulas, but not for ever: what is not typeset by then is found by UNFINISHED.
TYPESET = """() => Promise.race([
  new Promise(done => setTimeout(done, 60000)),
  (async () => {
    if (!document.querySelector("script[src*='mathjax/startup']")) return;
    while (!window.MathJax?.startup?.promise) await new Promise(done => setTimeout(done, 20));
    await MathJax.startup.promise;
  })(),
])"""
SCROLL_THROUGH = """async () => {
  for (let top = 0; top < document.documentElement.scrollHeight; top += innerHeight) {
    window.scrollTo({top, behavior: "instant"});
    await new Promise(done => setTimeout(done, 30));
  }
  window.scrollTo({top: 0, behavior: "instant"});
}"""
UNFINISHED = """() => [
  ...[...document.querySelectorAll(".math")].filter(box => !box.querySelector("mjx-container")),
  ...document.querySelectorAll("mjx-merror"),
].map(box => box.textContent.trim().slice(0, 80))"""
# What sticks out of the screen, unless it scrolls in a box of its own.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [
  ...document.body.querySelectorAll("*")
].filter(box => {
  if (box.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let up = box.parentElement; up !== document.body; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible") return false;
  return true;
}).map(box => box.outerHTML.slice(0, 120))"""
# Without `preload` axe would fetch style sheets again, and count as the page's requests.
AXE = "axe.run(document, {resultTypes: ['violations'], preload: false})"
IMAGES_NOT_SHOWN = """() => [...document.images]
  .filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"""
IMAGE_STYLES = """() => [...document.querySelectorAll(".bd-article img")].map(image => {
  const style = getComputedStyle(image);
  return [style.filter, style.backgroundColor];
})"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def serve(folder):
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="session")
def address():
    page_checks.read("index.html")  # says how to build the book where it is missing
    server, address = serve(SITE)
    yield address
    server.shutdown()
    server.server_close()


def chromium():
    """The browser's path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, names)), None
    )
    if not path or not Path(path).is_file():
        pytest.fail("no Chromium found: install it, or set CHROMIUM to its path")
    return path


@pytest.fixture(scope="session")
def contexts(browser):
    """One browser context for each size and colour mode, used again from page to page."""

    @functools.cache
    def make(size, theme):
        return browser.new_context(viewport=SIZES[size], color_scheme=theme)

    return make


class Visit:
    """An open page, with all it asked for and all it complained about.

    Attributes:
        page: playwright's page.
        problems: requests that left the machine or failed, and the page's own complaints.
        responses: all that was loaded.
    """

    def __init__(self, page, home):
        self.page, self.home = page, home
        self.problems, self.responses, self.pending = [], [], set()
        page.on("request", self._request)
        page.on("requestfinished", lambda request: self.pending.discard(request))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._console)

    def _request(self, request):
        # Data and blobs are part of the page; everything else has to come from beside it.
        if not request.url.startswith((self.home, "data:", "blob:", "about:")):
            self.problems.append(f"left the machine: {request.url}")
        self.pending.add(request)

    def _failed(self, request):
        self.pending.discard(request)
        self.problems.append(f"failed: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")
        self.responses.append(response)

    def _console(self, line):
        if line.type in ("error", "warning"):
            self.problems.append(f"{line.type}: {line.text}")

    def open(self, name, scripts=True):
        self.page.goto(self.home + name, timeout=120_000)  # on a busy machine
        if scripts:
            self.page.evaluate(TYPESET)
        self.settle()
        return self

    def settle(self, seconds=60):
        """Waits until nothing has been loading for a moment."""
        end, quiet = time.monotonic() + seconds, 0
        while quiet < 3:
            assert time.monotonic() < end, (
                f"still loading: {[each.url for each in self.pending]}"
            )
            quiet = 0 if self.pending else quiet + 1
            self.page.wait_for_timeout(40)

    def scroll_through(self):
        """Brings every part of the page into view once, so that the lazy ones load."""
        self.page.evaluate(SCROLL_THROUGH)
        self.settle()

    @property
    def weight(self):
        """Bytes of what the page itself, without its frames, has loaded."""
        own = [each for each in self.responses if each.frame == self.page.main_frame]
        return sum(len(response.body()) for response in own)

    def findings(self):
        """Serious accessibility findings, in the page and in its frames."""
        for frame in self.page.frames:
            frame.evaluate(Axe().axe_script)
        result = self.page.evaluate(AXE)
        return [
            f"{finding['id']}: {node['target']} {node['html'][:120]}"
            for finding in result["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]


@contextmanager
def visit(context, home):
    page = context.new_page()
    try:
        yield Visit(page, home)
    finally:
        page.close()


@pytest.fixture
def fresh(browser, address):
    """Opens a page with an empty cache and storage; takes the context's options."""
    contexts = []

    def open_page(name, **options):
        contexts.append(browser.new_context(**{"viewport": SIZES["desk"]} | options))
        seen = Visit(contexts[-1].new_page(), address)
        return seen.open(name, scripts=options.get("java_script_enabled", True))

    yield open_page
    for context in contexts:
        context.close()


# ------------------------------------------------------------------------- every page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_page(contexts, address, name, size, theme):
    with visit(contexts(size, theme), address) as seen:
        page = seen.open(name).page
        seen.scroll_through()
        assert seen.problems == []
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate(UNFINISHED) == []
        assert page.evaluate(TOO_WIDE) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # Lazily loaded, they may come in late on a busy machine.
        with suppress(TimeoutError):
            page.wait_for_function(
                f"({IMAGES_NOT_SHOWN})().length === 0", timeout=10_000
            )
        assert page.evaluate(IMAGES_NOT_SHOWN) == []
        turned = "invert(1) hue-rotate(180deg)" if theme == "dark" else "none"
        for style in page.evaluate(IMAGE_STYLES):
            assert style == [turned, "rgba(0, 0, 0, 0)"]
        assert seen.findings() == []


@pytest.mark.parametrize("name", PAGES)
def test_page_is_light_to_load(fresh, name):
    seen = fresh(name)
    assert (
        seen.weight > 100_000
    )  # the theme alone: less would mean that nothing was counted
    assert seen.weight <= MAX_WEIGHT


@pytest.mark.parametrize("name", [name for name in PAGES if name != "search.html"])
def test_page_without_scripts(fresh, name):
    seen = fresh(name, java_script_enabled=False)
    assert seen.problems == []
    assert seen.page.locator("article h1").is_visible()
    assert len(seen.page.locator("article").inner_text()) > 100
    for image in seen.page.locator("article img").all():
        assert image.is_visible()
    shown = {response.url for response in seen.responses if response.ok}
    for image in seen.page.locator("article img").all():
        assert image.evaluate("image => image.src") in shown
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(253, 252, 250)"


@pytest.mark.parametrize("name", ["index.html", CHAPTER])
def test_page_from_a_folder(browser, name):
    """A reader may open the built files without a server."""
    context = browser.new_context(viewport=SIZES["desk"])
    with visit(context, f"{SITE.as_uri()}/") as seen:
        page = seen.open(name).page
        seen.scroll_through()
        assert seen.problems == []
        assert page.evaluate(UNFINISHED) == []
        assert page.locator("mjx-container").count() > 0
    context.close()


# ----------------------------------------------------------------------- what it can do


def test_colour_mode_is_chosen_and_kept(fresh):
    page = fresh("index.html", color_scheme="light").page
    mode = "[document.documentElement.dataset.mode, document.documentElement.dataset.theme]"
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(mode) == ["auto", "light"]
    light = page.evaluate(colour)
    page.get_by_role("button", name="Color mode").click()
    assert page.evaluate(mode) == ["dark", "dark"]
    assert page.evaluate(colour) != light
    page.reload()
    assert page.evaluate(mode) == ["dark", "dark"]
    page.get_by_role("button", name="Color mode").click()
    assert page.evaluate(mode) == ["light", "light"]
    assert page.evaluate(colour) == light


def test_search_finds_the_chapter(fresh):
    seen = fresh("index.html")
    seen.page.keyboard.press("Control+k")
    seen.page.get_by_role("searchbox").first.fill("attention")
    seen.page.keyboard.press("Enter")
    seen.page.locator(f"#search-results a[href*='{CHAPTER}']").first.wait_for()
    assert "search.html?q=attention" in seen.page.url
    seen.settle()
    assert seen.problems == []
    assert seen.findings() == []


def test_code_is_copied_without_its_output(fresh):
    seen = fresh(CHAPTER, permissions=["clipboard-read", "clipboard-write"])
    cell = seen.page.locator("div.cell_input").first
    code = cell.locator("pre").inner_text()
    cell.hover()
    cell.get_by_role("button", name="Copy").click()
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == code.strip()
    assert "\n" in copied.strip()


def test_notebook_is_saved_by_its_button(fresh):
    page = fresh(CHAPTER).page
    menu = page.get_by_role("button", name="Download this page")
    assert menu.get_attribute("aria-expanded") == "false"
    menu.focus()
    page.keyboard.press("Enter")
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert menu.get_attribute("aria-expanded") == "false"
    menu.click()
    with page.expect_download() as download:
        page.get_by_role("link", name=".ipynb").click()
    source = (ROOT / "book" / CHAPTER).with_suffix(".ipynb")
    assert download.value.suggested_filename == source.name
    assert download.value.path().read_bytes() == source.read_bytes()


def test_menus_of_a_phone(fresh):
    seen = fresh("index.html", viewport=SIZES["phone"])
    page = seen.page
    for button, dialog in (
        ("Toggle primary sidebar", "#pst-primary-sidebar-modal"),
        ("Toggle secondary sidebar", "#pst-secondary-sidebar-modal"),
    ):
        page.get_by_role("button", name=button).click()
        page.wait_for_timeout(400)  # slides in
        box = page.locator(dialog).bounding_box()
        assert 0 <= box["x"] <= 390 - box["width"] + 1
        background = page.locator(dialog).evaluate(
            "box => getComputedStyle(box).backgroundColor"
        )
        assert background == "rgb(253, 252, 250)"
        assert page.locator(dialog).get_by_role("link").first.is_visible()
        assert seen.findings() == []
        page.keyboard.press("Escape")
        assert not page.locator(dialog).is_visible()
    assert seen.problems == []


def test_wide_formula_scrolls_by_keyboard(fresh):
    """A formula wider than a phone scrolls in its own box and can be reached with the tab key."""
    page = fresh(CHAPTER, viewport={"width": 220, "height": 600}).page
    box = page.locator("div.math mjx-container[tabindex='0']").first
    box.focus()
    before = box.evaluate("box => box.scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())
    assert before == 0
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    # Back on a wide screen it is no stop on the way of the tab key any more.
    page.set_viewport_size({"width": 1280, "height": 900})
    assert box.count() == 0 or box.evaluate("box => box.scrollWidth > box.clientWidth")


def test_paper_is_light_and_shows_what_is_folded(fresh):
    page = fresh(CHAPTER, color_scheme="dark").page
    folds = page.locator("details:not([open]) > :not(summary)")
    assert folds.count() > 0
    assert not any(fold.is_visible() for fold in folds.all())
    page.emulate_media(media="print")
    assert all(fold.bounding_box()["height"] > 0 for fold in folds.all())
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(253, 252, 250)"
    )
    assert page.locator("article h1").is_visible()
    assert not page.locator("#pst-primary-sidebar").is_visible()
    assert not page.locator(".bd-header-article").is_visible()
    for style in page.evaluate(IMAGE_STYLES):
        assert style == ["none", "rgba(0, 0, 0, 0)"]


# ------------------------------------------------------- pages broken on purpose are found out

BROKEN = """<!DOCTYPE html><html lang="en"><head><title>T</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"></head><body><main><h1>H</h1>{}</main></body>"""


@pytest.fixture
def broken(browser, tmp_path):
    """Opens a page with the given body from a server of its own."""
    server, home = serve(tmp_path)
    context = browser.new_context(viewport=SIZES["phone"])
    with visit(context, home) as seen:

        def open_page(body):
            # A name of its own: the browser may keep a page of the same second and name.
            name = f"page{len(list(tmp_path.iterdir()))}.html"
            (tmp_path / name).write_text(BROKEN.format(body))
            seen.open(name)
            seen.scroll_through()
            return seen

        yield open_page
    context.close()
    server.shutdown()
    server.server_close()


def test_whole_page_has_no_findings(broken):
    seen = broken("<p>Text.</p>")
    assert (seen.problems, seen.findings()) == ([], [])
    assert seen.page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            "<script src='http://127.0.0.9:9/d3.js'></script>",
            "left the machine: .*127.0.0.9",
        ),
        (
            "<iframe title='F' srcdoc=\"<img src='http://127.0.0.9:9/a.png' alt='A'>\"></iframe>",
            "left the machine: .*127.0.0.9",
        ),
        ("<script src='gone.js'></script>", "404: .*gone.js"),
        ("<script>console.error('bad')</script>", "error: bad"),
        ("<script>console.warn('bad')</script>", "warning: bad"),
        ("<script>missing()</script>", "error: missing is not defined"),
        (
            "<script>fetch('http://127.0.0.9:9/').catch(() => 0)</script>",
            "left the machine",
        ),
    ],
)
def test_complaint_is_found(broken, body, found):
    assert any(re.search(found, problem) for problem in broken(body).problems)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("<img src='data:,'>", "image-alt"),
        ("<p style='color: #bbb; background: #fff'>Pale.</p>", "color-contrast"),
        ("<button></button>", "button-name"),
        (
            "<iframe title='F' srcdoc='<html lang=en><button></button>'></iframe>",
            "button-name",
        ),
        ("<iframe srcdoc='<html lang=en><p>x</p>'></iframe>", "frame-title"),
    ],
)
def test_accessibility_finding_is_found(broken, body, found):
    assert any(finding.startswith(found) for finding in broken(body).findings())


def test_what_sticks_out_is_found(broken):
    wide = "<div style='width: 600px; height: 9px; background: red'></div>"
    (box,) = broken(wide).page.evaluate(TOO_WIDE)
    assert "600px" in box
    assert (
        broken(f"<div style='overflow-x: auto' tabindex=0>{wide}</div>").page.evaluate(
            TOO_WIDE
        )
        == []
    )


def test_formula_that_fails_is_found(broken):
    body = "<p><span class='math'>\\(x\\)</span> <mjx-merror>Undefined \\y</mjx-merror></p>"
    assert broken(body).page.evaluate(UNFINISHED) == ["\\(x\\)", "Undefined \\y"]


def test_image_that_is_not_shown_is_found(broken):
    shown = broken("<img src='gone.png' alt='A plot.'>").page.evaluate(IMAGES_NOT_SHOWN)
    assert len(shown) == 1


def test_weight_counts_the_page_without_its_frames(broken, tmp_path):
    (tmp_path / "big.js").write_bytes(b"/" * 50_000)
    assert broken("<script src='big.js'></script>").weight > 50_000
    frame = "<iframe title='F' srcdoc=\"<script src='big.js?2'></script>\"></iframe>"
    seen = broken(frame)
    assert seen.responses[-1].url.endswith("big.js?2")
    seen.responses[:] = seen.responses[-2:]  # the second page and what its frame loaded
    assert 0 < seen.weight < 50_000
