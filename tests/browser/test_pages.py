"""Every page in a real browser: light and dark, desk and phone, with and without scripts."""

import re

import pytest

from tests.browser.visits import (
    COLOURS,
    IMAGE_STYLES,
    IMAGES_NOT_SHOWN,
    SIZES,
    THEMES,
    TOO_WIDE,
    UNFINISHED,
    serve,
)
from tools import page_checks
from tools.page_checks import ROOT, SITE

PAGES = page_checks.contents()
# What the theme does alike on every page is tried on one that has everything.
CHAPTER = "q1_attention/attention.html"
MAX_WEIGHT = 1_500_000  # bytes, uncompressed


@pytest.fixture
def fresh(visit, address):
    """Opens a page with an empty cache and storage; takes the context's options."""

    def open_page(name, home=address, **options):
        scripts = options.get("java_script_enabled", True)
        return visit(home, **options).open(name, scripts)

    return open_page


# ------------------------------------------------------------------------- every page


@pytest.mark.parametrize("name", PAGES)
def test_page(fresh, name):
    """One visit: its weight, then what it looks like at both sizes, light and dark."""
    seen = fresh(name)
    page = seen.page
    # The theme alone is more: less would mean that nothing was counted.
    assert 100_000 < seen.weight <= MAX_WEIGHT
    seen.scroll_through()
    assert page.evaluate(UNFINISHED) == []
    assert page.evaluate(IMAGES_NOT_SHOWN) == []
    for size in SIZES:
        for theme in THEMES:
            seen.look(size, theme)
            assert page.evaluate(TOO_WIDE) == [], (size, theme)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            turned = "invert(1) hue-rotate(180deg)" if theme == "dark" else "none"
            for style in page.evaluate(IMAGE_STYLES):
                assert style == [turned, "rgba(0, 0, 0, 0)"]
            rules = () if theme == THEMES[0] else COLOURS
            assert seen.findings(rules=rules) == [], (size, theme)
    assert seen.problems == []


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
def test_page_from_a_folder(fresh, name):
    """A reader may open the built files without a server."""
    seen = fresh(name, home=f"{SITE.as_uri()}/")
    seen.scroll_through()
    assert seen.problems == []
    assert seen.page.evaluate(UNFINISHED) == []
    assert seen.page.locator("mjx-container").count() > 0


# ----------------------------------------------------------------------- what it can do


def test_colour_mode_is_chosen_and_kept(fresh):
    seen = fresh("index.html", color_scheme="light")
    page = seen.page
    mode = "[document.documentElement.dataset.mode, document.documentElement.dataset.theme]"
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(mode) == ["auto", "light"]
    light = page.evaluate(colour)
    page.get_by_role("button", name="Color mode").click()
    assert page.evaluate(mode) == ["dark", "dark"]
    assert page.evaluate(colour) != light
    with seen.leave():
        page.reload()
    assert page.evaluate(mode) == ["dark", "dark"]
    page.get_by_role("button", name="Color mode").click()
    assert page.evaluate(mode) == ["light", "light"]
    assert page.evaluate(colour) == light


def test_search_finds_the_chapter(fresh):
    seen = fresh("index.html")
    seen.page.keyboard.press("Control+k")
    seen.page.get_by_role("searchbox").first.fill("attention")
    with seen.leave():
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/search.html?q=attention")
    seen.page.locator(f"#search-results a[href*='{CHAPTER}']").first.wait_for()
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
        page.wait_for_function(  # it slides in
            """dialog => {
              const { left, right } = document.querySelector(dialog).getBoundingClientRect();
              return left >= 0 && right <= innerWidth + 1;
            }""",
            arg=dialog,
        )
        background = page.locator(dialog).evaluate(
            "box => getComputedStyle(box).backgroundColor"
        )
        assert background == "rgb(253, 252, 250)"
        assert page.locator(dialog).get_by_role("link").first.is_visible()
        assert seen.findings() == []
        page.keyboard.press("Escape")
        page.locator(dialog).wait_for(state="hidden")
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
def broken(visit, tmp_path):
    """Opens a page with the given body from a server of its own."""
    with serve(tmp_path) as home:
        seen = visit(home, viewport=SIZES["phone"])

        def open_page(body):
            # A name of its own: the browser may keep a page of the same second and name.
            name = f"page{len(list(tmp_path.iterdir()))}.html"
            (tmp_path / name).write_text(BROKEN.format(body))
            seen.open(name)
            seen.scroll_through()
            return seen

        yield open_page


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


def test_contrast_is_measured_again_where_colours_changed(broken):
    seen = broken("<div style='background: #fff; color: #000'><p>Text.</p></div>")
    assert seen.findings() == []
    seen.page.evaluate("document.querySelector('div').style.color = '#bbb'")
    assert any(found.startswith("color-contrast") for found in seen.findings())


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
