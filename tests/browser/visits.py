"""A page opened in Chromium: what it asked for, what it complained about, what is wrong with it."""

import functools
import os
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError

SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
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
IMAGES_NOT_SHOWN = """() => [...document.images]
  .filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"""
IMAGE_STYLES = """() => [...document.querySelectorAll(".bd-article img")].map(image => {
  const style = getComputedStyle(image);
  return [style.filter, style.backgroundColor];
})"""
# Colours are chosen by classes, so of elements that agree in theirs, and in those of all that
# they stand in, the contrast of one is measured: a listing has a thousand words in six colours.
# What was measured stays so at another size, and after a figure was used; another theme has other
# colours, which makes other kinds.
MARK_ONE_OF_A_KIND = """(within) => {
  const kinds = new Map([[null, ""]]);
  const met = (globalThis.kindsMet ??= {})[within] ??= new Set();
  const kind = (box) => {
    if (!kinds.has(box)) {
      const { color, backgroundColor, fontSize, fontWeight, opacity } = getComputedStyle(box);
      const around = box.parentElement ?? box.getRootNode().host ?? null;
      kinds.set(box, [kind(around), box.localName, box.className, box.style.cssText,
        color, backgroundColor, fontSize, fontWeight, opacity].join("|"));
    }
    return kinds.get(box);
  };
  const writes = (box) => "value" in box || [...box.childNodes].some(
    (child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
  const mark = (root) => {
    for (const box of root.querySelectorAll("*")) {
      delete box.dataset?.oneOfAKind;
      if (box.shadowRoot) mark(box.shadowRoot);
      if (!writes(box) || !box.checkVisibility() || met.has(kind(box))) continue;
      met.add(kind(box));
      box.setAttribute("data-one-of-a-kind", "");
    }
  };
  mark(document);
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-one-of-a-kind]" }] });
}"""
MEASURED = """() => [...document.querySelectorAll("pre, .pst-scrollable-table-container")].every(
  (box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"""
# With `preload` axe would fetch style sheets again, and count as the page's requests. The two rules
# take as long as all others, and what they find is minor or moderate, never serious.
AXE = "([within, options]) => axe.run(within ?? document, options)"
AXE_OPTIONS = {
    "resultTypes": ["violations"],
    "preload": False,
    "rules": {"region": {"enabled": False}, "hidden-content": {"enabled": False}},
}
# The rules that look at colours; what the others find is alike in both themes.
COLOURS = ("color-contrast", "link-in-text-block")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *arguments):
        pass


@contextmanager
def serve(folder):
    """Serves a folder on this machine; gives the address."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
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
        self.leaving = False
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
        # What we cut off ourselves by leaving is no fault of the page.
        if not self.leaving:
            self.problems.append(f"failed: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")
        self.responses.append(response)

    def _console(self, line):
        if line.type in ("error", "warning"):
            self.problems.append(f"{line.type}: {line.text}")

    def open(self, name, scripts=True):
        """Opens a page of the book, and waits until it stands."""
        with self.leave():
            self.page.goto(self.home + name, timeout=120_000)  # on a busy machine
        if scripts:
            self.page.evaluate(TYPESET)
        self.settle()
        return self

    @contextmanager
    def leave(self):
        """Around what leads to another page: the open one has loaded what it wants by then."""
        self.settle()
        self.leaving = True
        yield
        self.leaving = False

    def close(self):
        """Leaves for good."""
        self.leaving = True
        self.page.close()

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
        # Lazily loaded, they may come in late on a busy machine.
        with suppress(TimeoutError):
            self.page.wait_for_function(
                "[...document.images].every(image => image.complete)", timeout=10_000
            )
        self.settle()

    def look(self, size, theme):
        """Shows the page at a size and in a theme, as to a reader whose system asks for it."""
        self.page.set_viewport_size(SIZES[size])
        self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        self.page.wait_for_function(
            "theme => document.documentElement.dataset.theme === theme", arg=theme
        )
        # The theme and the book measure again, which boxes scroll, a while after the last change.
        with suppress(TimeoutError):
            self.page.wait_for_function(MEASURED, timeout=2_000)

    @property
    def weight(self):
        """Bytes of what the page itself, without its frames, has loaded."""
        own = [each for each in self.responses if each.frame == self.page.main_frame]
        return sum(len(response.body()) for response in own)

    def findings(self, within=None, rules=()):
        """Serious accessibility findings, in the page and in its frames.

        Args:
            within: a selector, if not the whole page.
            rules: the names of axe's rules, if not all.
        """
        for frame in self.page.frames:
            if not frame.evaluate("typeof axe === 'object'"):
                frame.evaluate(Axe().axe_script)
            frame.evaluate(MARK_ONE_OF_A_KIND, within)
        options = AXE_OPTIONS | ({"runOnly": list(rules)} if rules else {})
        result = self.page.evaluate(AXE, [within, options])
        return [
            f"{finding['id']}: {node['target']} {node['html'][:120]}"
            for finding in result["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]
