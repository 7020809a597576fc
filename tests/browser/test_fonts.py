"""The pages look alike on every machine: with its fonts, and with none but the Chinese one."""

import os

import pytest

from tests.browser.fonts import only_chinese, set_by_the_system
from tests.browser.visits import (
    FLAGS,
    SCROLL_THROUGH,
    SIZES,
    TOO_WIDE,
    Visit,
    chromium,
    serve,
)
from tools import page_checks
from tools.book_fonts import LICENCES, uncovered
from tools.page_checks import SITE

PAGES = page_checks.contents()
# Between them: headings, code, tables, live figures, frames, Chinese in the text and in formulas.
TEXT_PAGES = [
    "index.html",
    "q1_attention/attention.html",
    "q2_transformer/answer_zh.html",
    "q3_bert_input/wordpiece.html",
]
WIDTHS = [SIZES["desk"]["width"], SIZES["phone"]["width"], 320]

UNFOLD = """() => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  for (const fold of document.querySelectorAll(".toggle-hidden"))
    fold.classList.remove("toggle-hidden");
}"""
# The formulas are fitted again after a change of size.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
BOXES = """() => [...document.querySelectorAll(`article :is(
  h1, h2, h3, h4, p, ul, ol, li, dl, dt, dd, table, tr, th, td, figure, figcaption, pre, .math
)`)].map(box => {
  const {x, width, height} = box.getBoundingClientRect();
  const numbers = [x, width, height].map(Math.round);
  return [box.localName, ...numbers, box.textContent.trim().slice(0, 40)].join(" ");
})"""
FORMULAS_TOO_WIDE = """() => [...document.querySelectorAll("article .math")].filter(formula => {
  const column = formula.closest("p, li, dd, td, th, h1, h2, h3, h4, figcaption, summary, article");
  const box = formula.closest(".together") ?? formula;
  return box.getBoundingClientRect().right > column.getBoundingClientRect().right + 1;
}).map(formula => formula.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def machines(browser, tmp_path_factory):
    """A browser with the machine's fonts as they are, and one with the Chinese font alone."""
    config = only_chinese(tmp_path_factory.mktemp("machine"))
    hidden = browser.browser_type.launch(
        executable_path=chromium(),
        args=FLAGS,
        env={**os.environ, "FONTCONFIG_FILE": str(config)},
    )
    contexts = [each.new_context(viewport=SIZES["desk"]) for each in (browser, hidden)]
    yield contexts
    contexts[0].close()
    hidden.close()


@pytest.fixture
def opened(machines):
    """Opens a page on a machine: 0 has its fonts as they are, 1 the Chinese one alone."""
    visits = []

    def open_page(machine, home, name):
        visits.append(Visit(machines[machine].new_page(), home))
        page = visits[-1].open(name).page
        page.evaluate("document.fonts.ready.then(() => true)")
        return page

    yield open_page
    for seen in visits:
        seen.close()


def layout(page):
    """What is too wide on a page, and the boxes of its blocks, at each width."""
    page.evaluate(UNFOLD)
    wide, boxes = [], []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(DRAWN)
        wide += page.evaluate(TOO_WIDE) + page.evaluate(FORMULAS_TOO_WIDE)
        boxes += [f"{width}: {box}" for box in page.evaluate(BOXES)]
    return wide, boxes


@pytest.mark.parametrize("name", PAGES)
def test_page_is_the_same_with_other_fonts_hidden(opened, address, name):
    found = [layout(opened(machine, address, name)) for machine in (0, 1)]
    assert [wide for wide, _ in found] == [[], []]
    as_is, hidden = (boxes for _, boxes in found)
    assert as_is or name == "search.html"
    differing = [pair for pair in zip(as_is, hidden, strict=True) if len(set(pair)) > 1]
    assert differing == []


@pytest.mark.parametrize("name", TEXT_PAGES)
def test_system_sets_only_chinese(opened, address, name):
    page = opened(1, address, name)
    page.evaluate(UNFOLD)
    page.evaluate(SCROLL_THROUGH)
    for frame in page.frames[1:]:
        frame.locator("svg text").first.wait_for(state="attached")
    assert set_by_the_system(page) == []


def test_every_character_has_a_face():
    faces = (SITE / "_static" / "fonts" / "fonts.css").read_text("utf-8")
    scripts = [*SITE.glob("_static/live/*.js"), *SITE.glob("_static/book.*")]
    for path in [*(SITE / name for name in PAGES), *scripts]:
        assert uncovered(path.read_text("utf-8"), faces) == [], path


def test_faces_weigh_little_and_bring_their_licences():
    fonts = SITE / "_static" / "fonts"
    assert sum(path.stat().st_size for path in fonts.glob("*.woff2")) <= 200_000
    assert {path.name for path in fonts.glob("*.txt")} == set(LICENCES)


# ------------------------------------------------------- pages broken on purpose are found out

BROKEN = """<!DOCTYPE html><html lang="en"><head><title>T</title><link rel="icon" href="data:,">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="fonts/fonts.css"></head><body><article>{}</article></body>"""
OWN = "font-family: Book Sans, Book Rest, sans-serif"


@pytest.fixture
def broken(opened, tmp_path):
    """Opens a page with the given body on a machine, from a server of its own."""
    (tmp_path / "fonts").symlink_to(SITE / "_static" / "fonts")
    with serve(tmp_path) as home:

        def open_page(body, machine=1):
            (tmp_path / "page.html").write_text(BROKEN.format(body), "utf-8")
            return opened(machine, home, "page.html")

        yield open_page


@pytest.mark.parametrize(
    "body",
    [
        "<p>Latin</p>",
        "<p lang='zh'>编码器 7</p>",
        f"<p style='{OWN}'>good <code style='font-family: serif'>bad</code></p>",
        "<p lang='zh'>它说“好”。</p>",
        "<input value='typed'>",
        "<iframe srcdoc='in a frame'></iframe>",
        "<div><template shadowrootmode='open'>in a shadow</template></div>",
    ],
)
def test_text_that_the_system_sets_is_found(broken, body):
    assert len(set_by_the_system(broken(body))) == 1


def test_own_faces_set_all_but_chinese(broken):
    text = "Transformer’s “token” — 编码器，“查询”… α → ✗ 12½"
    body = f"<p lang='zh' style='{OWN}'>{text} <b>{text}</b> <i>{text}</i></p>"
    assert set_by_the_system(broken(body)) == []


def test_layout_that_hangs_on_the_fonts_is_found(broken):
    text = "The width of these words depends on the machine. " * 20
    for style, same in ((OWN, True), ("font-family: sans-serif", False)):
        (_, as_is), (_, hidden) = (
            layout(broken(f"<p style='{style}'>{text}</p>", machine))
            for machine in (0, 1)
        )
        assert (as_is == hidden) is same


def test_formula_that_is_too_wide_is_found(broken):
    math = "<span class='math' style='display: inline-block; width: {}px'>x</span>"
    page = broken(f"<p style='width: 300px'>{math.format(302)} {math.format(300)}</p>")
    assert page.evaluate(FORMULAS_TOO_WIDE) == ["x"]
    page = broken(f"<p>{math.format(600)}</p>")
    assert layout(page)[0]
