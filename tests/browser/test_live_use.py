"""The live figures in use: by keyboard, at every size, with wrong input, broken files and links."""

import json
import re

import pytest
import torch

from bertbook.pretraining.fill_mask import load_minilm_mlm
from experiments.live_quantisation import dequantised
from tests.browser.figures import (
    BUILT,
    FIGURES,
    LIVE,
    WAYS,
    opening,
    place_on,
    ready,
    wait_until_still,
)
from tools import live_figures, live_model, page_checks

MODEL_FIGURES = [
    name
    for name in FIGURES
    if "extends ModelFigure" in (LIVE / f"{name}.js").read_text("utf-8")
]
CONTROLS = "input, textarea, select, button"
TEXT = 'input[type="text"], textarea'
BAD_TEXTS = {
    "markup": "<img src=x onerror=alert(1)> <script>alert(2)</script> &lt;b&gt;",
    "long": "so it goes, " * 834,
    "nothing": "",
    "only masks": "[MASK] [MASK] [MASK]",
    "other scripts": "注意力 \u202eעברית \U0001f600\u200d\U0001f469 e\u0301\u0308 \x00",
}


def opened(figure, name, **options):
    """A figure on the screen, its computation at rest."""
    seen, element = figure(name, **options)
    come_to(seen, element)
    return seen, element


def come_to(seen, element):
    """Brings a figure on the screen; returns when it has computed what it begins with."""
    element.scroll_into_view_if_needed()
    seen.settle()
    wait_until_still(element)


def status(element):
    return element.locator(".status")


def wide(seen):
    """By how much the page is wider than the screen."""
    return seen.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def test_every_figure_stands_on_its_page_and_scripts_on_no_other():
    assert set(FIGURES) == set(live_figures.FIGURES)
    for name in page_checks.contents():
        page = page_checks.read(name)
        found = [tag.name for tag in page.soup.find_all(re.compile("^live-"))]
        assert found == [
            f"live-{figure}" for figure, at in FIGURES.items() if at == name
        ]
        scripts = page.soup.find_all("script", src=re.compile("_static/live/"))
        assert bool(scripts) == bool(found), name


def test_weights_come_when_they_are_needed_and_once(figure):
    seen, element = figure("mask-lab")
    seen.settle()
    assert "weights." not in str([each.url for each in seen.responses])
    # A second figure of the same page uses the same model. A server gives bytes, not the script.
    element.evaluate("figure => figure.after(figure.cloneNode(true))")
    ready(seen, element.first, "computed here in")
    ready(seen, element.nth(1), "computed here in")
    urls = [each.url for each in seen.responses]
    assert sum("weights.bin" in url for url in urls) == 1
    assert sum("weights.js" in url for url in urls) == 0
    assert sum("vocabulary.js" in url for url in urls) == 1
    assert seen.problems == []


@pytest.mark.parametrize("name", FIGURES)
def test_figure_without_scripts(figure, name):
    _, element = figure(name, java_script_enabled=False)
    assert "that needs a browser with scripts" in element.inner_text()
    assert element.locator("p").is_visible()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FIGURES)
def test_figure_in_use(figure, name, way):
    """One visit: nothing jumps, every control works by keys and by mouse, paper goes without."""
    # What formulas load from a server is seen where every page is opened.
    seen, element = figure(name, formulas="folder" in way, **opening(way))
    before = element.bounding_box()["height"]
    come_to(seen, element)
    assert element.bounding_box()["height"] == pytest.approx(before, abs=2)
    # Keys come last: they choose the larger model, which takes its time for every change.
    for use in (use_by_mouse, use_by_keyboard_alone):
        use(seen, element)
        wait_until_still(element)
        assert seen.problems == []
        assert wide(seen) <= 0
        assert seen.findings(f"live-{name}") == []
    assert status(element).get_attribute("data-failed") is None
    seen.page.emulate_media(media="print")
    assert not element.is_visible()


def use_by_keyboard_alone(seen, element):
    page = seen.page
    element.locator(CONTROLS).first.focus()
    visited = set()
    for _ in range(150):
        found = page.evaluate("""() => {
          const active = document.activeElement?.shadowRoot?.activeElement;
          if (!active) return null;
          active.dataset.visited ??= String(document.activeElement.visits =
            (document.activeElement.visits ?? 0) + 1);
          return [active.dataset.visited, active.localName, active.type ?? "",
            active.getAttribute("aria-label") ?? active.textContent];
        }""")
        if found is None:
            break
        number, tag, kind, label = found
        if number not in visited and len(visited) < 40:
            visited.add(number)
            if kind == "range":
                page.keyboard.press("ArrowRight")
            elif kind in ("checkbox", "radio"):
                page.keyboard.press("Space")
            elif tag == "select":
                page.keyboard.press("ArrowDown")
            elif tag == "button" and label != "Link to this":
                page.keyboard.press("Enter")
            elif kind in ("text", "textarea"):
                page.keyboard.press("End")
                page.keyboard.type(" 1")
                page.keyboard.press("Backspace")
        page.keyboard.press("Tab")
    assert visited, "no control took the focus"


# A control of a figure that has not been used yet; a figure may draw its buttons anew.
NEXT = """(figure, controls) => {
  figure.used ??= new Set();
  for (const control of figure.shadowRoot.querySelectorAll(controls)) {
    const label = control.ariaLabel ?? control.closest("label")?.textContent ?? control.textContent;
    const name = [control.localName, control.type, control.value, label].join(" ");
    if (control.disabled || control.dataset.used || figure.used.has(name)) continue;
    figure.used.add(name);
    control.dataset.used = "";
    return control;
  }
  return null;
}"""
# What the mouse does comes from the browser (isTrusted), and comes to the control itself.
WATCH = """control => {
  control.got = null;
  control.addEventListener("click", (event) => { control.got = event.isTrusted; }, { once: true });
}"""


def use_by_mouse(seen, element):
    used = 0
    while used < 40:
        wait_until_still(element, looks=1)  # it may draw its buttons anew at the end
        control = element.evaluate_handle(NEXT, CONTROLS).as_element()
        if control is None:
            break
        used += 1
        kind = control.get_property("type").json_value()
        if kind == "range":
            before = control.input_value()
            for end in ("min", "max"):
                control.click(position=place_on(control, end))
                assert control.input_value() == control.get_attribute(end)
            control.click(position=place_on(control, float(before)))
            assert control.input_value() == before
        elif kind in ("text", "textarea", "select-one"):
            control.click()
            assert control.evaluate("each => each.getRootNode().activeElement === each")
            # The list of a select is the browser's own, and no part of the page.
            seen.page.keyboard.press("Escape")
        else:
            before = control.is_checked() if kind in ("checkbox", "radio") else None
            control.evaluate(WATCH)
            control.click()
            assert control.evaluate("each => each.got")
            if kind == "checkbox":
                assert control.is_checked() is not before
            elif kind == "radio":
                assert control.is_checked()
    assert used, "no control took the mouse"


@pytest.mark.parametrize("name", FIGURES)
def test_bad_text_is_survived_and_never_markup(figure, name):
    seen, element = opened(figure, name)
    fields = element.locator(TEXT)
    if not fields.count():
        pytest.skip("no text field")
    good = [fields.nth(i).input_value() for i in range(fields.count())]
    pictures = element.locator("img, script, b").count()
    for bad, text in BAD_TEXTS.items():
        for i in range(min(len(good), 3)):
            fields.nth(i).fill(text)
        wait_until_still(element)
        told = status(element)
        if bad == "long":
            assert told.get_attribute("data-failed") is not None
            assert re.search(r"\d", told.inner_text()), "no number is named"
        assert element.locator("img, script, b").count() == pictures, bad
    # The page lives on.
    for i, value in enumerate(good):
        fields.nth(i).fill(value)
    wait_until_still(element)
    assert status(element).get_attribute("data-failed") is None
    assert seen.problems == []


@pytest.mark.parametrize("name", MODEL_FIGURES)
def test_weights_that_do_not_come_are_told_of(figure, name):
    seen, element = figure(name)
    seen.page.route("**/weights.bin*", lambda route: route.abort())
    element.scroll_into_view_if_needed()
    told = element.get_by_text(re.compile(r"weights\.bin\S* could not be loaded"))
    told.wait_for(timeout=60_000)
    assert status(element).get_attribute("data-failed") is not None


@pytest.mark.parametrize("cut", [3, 4_000_000])
def test_cut_weights_are_told_of(figure, cut):
    whole = (BUILT / "weights.bin").read_bytes()
    seen, element = figure("mask-lab")
    seen.page.route("**/weights.bin*", lambda route: route.fulfill(body=whole[:cut]))
    element.scroll_into_view_if_needed()
    told = element.get_by_text(re.compile("weights"))
    told.wait_for(timeout=60_000)
    assert status(element).get_attribute("data-failed") is not None
    element.get_by_label("Sentence A").fill("still here")  # and the page lives on


def test_a_script_without_its_data_is_told_of(figure):
    seen, element = figure("masking-rule")
    seen.page.route(
        "**/vocabulary.js*",
        lambda route: route.fulfill(
            body="// nothing", content_type="application/javascript"
        ),
    )
    element.scroll_into_view_if_needed()
    element.get_by_text("could not be loaded whole").wait_for(timeout=60_000)


@pytest.mark.parametrize("name", FIGURES)
def test_a_link_leads_to_the_same_state(figure, name):
    seen, element = opened(figure, name)
    fields, ranges = element.locator(TEXT), element.locator('input[type="range"]')
    if name in MODEL_FIGURES and fields.count():
        fields.first.fill("In the beginning the king was in the house.")
    for i in range(ranges.count()):
        ranges.nth(i).press("ArrowRight")
    wait_until_still(element)
    element.get_by_role("button", name="Link to this").click()
    element.get_by_text("leads here").wait_for()
    address = seen.page.url
    assert f"#live-{name}=" in address

    def values(element):
        return element.evaluate("""figure => figure.inputs.map(
          input => ["checkbox", "radio"].includes(input.type) ? input.checked : input.value)""")

    other, again = figure(name, fragment=address[address.index("#") :])
    other.settle()
    wait_until_still(again)
    other.page.wait_for_function(  # the page scrolls there smoothly
        "figure => figure.getBoundingClientRect().top < 1000",
        arg=again.element_handle(),
    )
    assert values(again) == values(element)
    state = "figure => JSON.stringify(figure.state ?? null)"
    assert again.evaluate(state) == element.evaluate(state)
    assert other.problems == seen.problems == []


def test_a_damaged_link_harms_nothing(figure):
    seen, element = opened(figure, "mask-lab")
    for text in ("x", "%", "[1", "[[{}],7]", "[[],{}]", '["a","b"]', "[[9,null],[]]"):
        seen.page.evaluate("text => { location.hash = 'live-mask-lab=' + text }", text)
        wait_until_still(element)
    assert seen.problems == []
    element.get_by_label("Sentence A").fill("The king said: so be it.")
    ready(seen, element, "computed here in")


def test_the_larger_model_fills_in_as_python_does(figure):
    seen, element = opened(figure, "mask-lab")
    text = "She closed the [MASK] behind her."
    element.get_by_label("Sentence B").fill("")
    element.get_by_label("Sentence A").fill(text)
    element.get_by_label("Model").select_option("larger-")
    element.get_by_text("after layer 6").wait_for(timeout=120_000)
    wait_until_still(element)
    assert "not trained on next sentences" in element.locator(".verdict").inner_text()

    model, tokenizer = load_minilm_mlm()
    packed = live_model.packed_weights(*live_model.minilm())
    left = model.load_state_dict(dequantised(packed), strict=False)
    assert not left.unexpected_keys
    assert all(name.startswith("cls.predictions.decoder") for name in left.missing_keys)
    model.tie_weights()
    encoding = tokenizer.encode(text)
    place = encoding.tokens.index("[MASK]")
    with torch.no_grad():
        states = model(
            torch.tensor([encoding.ids]), output_hidden_states=True
        ).hidden_states
        logits = model.cls.predictions(torch.stack(states)[:, 0, place])  # [L + 1, V]
    shares, best = logits.softmax(-1).topk(10)
    shown = element.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.piece')].map(x => x.textContent))"
    )
    for layer in range(7):
        pieces = [tokenizer.pieces[number] for number in best[layer].tolist()]
        assert [row[layer] for row in shown] == pieces
    told = element.locator("tbody tr").first.locator("td").last.inner_text()
    assert told.endswith(f"{100 * shares[6, 0].item():.0f}\xa0%")
    assert seen.problems == []


def test_typing_is_not_held_up(figure):
    """The longest text that fits: keys are taken while the model computes."""
    seen, element = opened(figure, "mask-lab")
    element.get_by_label("Sentence B").fill("")
    field = element.get_by_label("Sentence A")
    field.fill("so " * 120)
    seen.page.wait_for_timeout(400)  # the pass has begun
    field.press("End")
    field.press_sequentially("and on", delay=20)
    assert field.input_value().endswith("so and on")
    ready(seen, element, "124 pieces, computed here in")


def test_sizes_are_within_their_budgets():
    scripts = sum(path.stat().st_size for path in BUILT.parent.glob("*.js"))
    print(f"scripts: {scripts:,} bytes")
    assert scripts <= 80_000
    sizes = {p.name: p.stat().st_size for p in BUILT.iterdir()}
    print(json.dumps(sizes))
    # What a reader's browser is given: from a server never a script with weights.
    given = sum(sizes.values()) - sizes["weights.js"] - sizes["review.js"]
    assert given <= 6_000_000


def test_nothing_moves_by_itself():
    """No animation, so none has to be left out for readers who want reduced motion."""
    for path in LIVE.glob("*.js"):
        text = path.read_text("utf-8")
        assert not re.search(
            r"animation|transition:|setInterval|requestAnimationFrame|\.animate\(", text
        ), path
