"""The live figures of the first question: what they show is what Python computes."""

import re

import numpy as np
import pytest
import torch

from bertbook.attention.scores import (
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
    scaled_dot_score,
)
from tests.browser.figures import (
    WAYS,
    opening,
    ready,
)


def test_soft_lookup_opens_on_the_chapters_numbers(used):
    seen, element, hand = used("soft-lookup")
    ready(seen, element, "Output: (6.00, 7.00)")
    weights = element.locator("td.bar")
    assert weights.all_inner_texts() == ["0.125", "0.250", "0.625"]
    hand.slide(element.get_by_label("sharpness"), "min")
    assert weights.all_inner_texts() == ["0.333"] * 3
    element.get_by_text("with β = 0 the keys do not matter").wait_for()
    hand.slide(element.get_by_label("sharpness"), "max")
    assert float(weights.nth(2).inner_text()) > 0.99
    hand.slide(element.get_by_label("q₂"), "min")
    assert float(weights.nth(1).inner_text()) > 0.99
    assert seen.problems == []


# Where the plane of the soft lookup has a point, on the screen.
ON_SCREEN = """(svg, [x, y]) => {
  const at = new DOMPoint(40 * x, -40 * y).matrixTransform(svg.getScreenCTM());
  return [at.x, at.y];
}"""


@pytest.fixture
def plane(figure):
    """Opens the soft lookup; returns the visit, the figure, its plane and its two sliders."""

    def open_page(**options):
        seen, element = figure("soft-lookup", **options)
        ready(seen, element, "Output: (6.00, 7.00)")
        svg = element.locator("svg").first
        svg.evaluate(
            "svg => svg.scrollIntoView({behavior: 'instant', block: 'center'})"
        )
        sliders = [element.get_by_label(name) for name in ("q₁", "q₂")]
        return seen, element, svg, sliders

    return open_page


def values_of(sliders):
    return [slider.input_value() for slider in sliders]


@pytest.mark.parametrize("way", WAYS)
def test_the_query_of_the_soft_lookup_can_be_dragged(plane, way):
    seen, element, svg, sliders = plane(**opening(way))
    mouse = seen.page.mouse

    def move(x, y, steps=1):
        mouse.move(*svg.evaluate(ON_SCREEN, [x, y]), steps=steps)

    move(-2, -2)
    mouse.down()  # beside the query: nothing is taken hold of
    move(2, -1)
    mouse.up()
    assert values_of(sliders) == ["1", "1"]
    move(1, 1)
    mouse.down()
    move(0, 0, steps=4)
    move(2, -1, steps=4)
    mouse.up()
    assert values_of(sliders) == ["2", "-1"]
    element.get_by_text("Output: (").wait_for()
    weights = [float(text) for text in element.locator("td.bar").all_inner_texts()]
    expected = np.exp([0, 2 * np.log(2), -np.log(5)])
    assert weights == pytest.approx(list(expected / expected.sum()), abs=0.0006)
    move(-1, 2)  # it was let go
    assert values_of(sliders) == ["2", "-1"]
    move(2, -1)
    mouse.down()
    move(3.2, 3.2, steps=4)
    mouse.up()
    assert values_of(sliders) == ["3", "3"]
    assert seen.problems == []


def test_a_finger_drags_the_query_and_leaves_the_page_where_it_is(plane):
    options = {"has_touch": True, "is_mobile": True}
    seen, _, svg, sliders = plane(**opening("phone, dark, server"), **options)
    touch = seen.page.context.new_cdp_session(seen.page)

    def drag(*points):
        for kind, point in zip(
            ("Start", *["Move"] * len(points)), points, strict=False
        ):
            x, y = svg.evaluate(ON_SCREEN, point)
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": f"touch{kind}", "touchPoints": [{"x": x, "y": y}]},
            )
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def top():
        return svg.evaluate("svg => svg.getBoundingClientRect().top")

    before = top()
    drag([1, 1], [1, 0], [1, -1], [2, -2])
    assert values_of(sliders) == ["2", "-2"]
    assert top() == pytest.approx(before, abs=1)
    seen.page.wait_for_timeout(500)  # a swipe goes on for a while after the finger
    assert top() == pytest.approx(before, abs=1)
    # Beside the query a finger scrolls the page, as everywhere.
    drag([-2, -2], [-2, -1], [-2, 1], [-2, 3])
    seen.page.wait_for_function(
        "([svg, before]) => svg.getBoundingClientRect().top < before - 50",
        arg=[svg.element_handle(), before],
    )
    assert values_of(sliders) == ["2", "-2"]
    assert seen.problems == []


def test_score_scale_shows_what_the_scale_does(used):
    seen, element, hand = used("score-scale")
    ready(seen, element, "no scale")
    hand.slide(element.get_by_label("width d"), "max")
    best = {name: [] for name in ("no scale", "1/√d", "1/d")}
    for _ in range(20):
        hand.push(element.get_by_role("button", name="Draw again"))
        for name, text in zip(
            best, element.locator(".told").all_inner_texts(), strict=True
        ):
            best[name].append(float(re.search(r"keys (\d+)", text)[1]))
    assert np.mean(best["no scale"]) > 70
    assert 5 < np.mean(best["1/√d"]) < 30
    assert np.mean(best["1/d"]) < 3
    assert seen.problems == []


def test_one_head_computes_as_python_does_and_writes_out_each_number(used):
    seen, element, hand = used("one-head")
    page = ready(seen, element, "The weight of query q₃ on key k₂")
    told = element.locator(".told")
    matrices = {
        "X": [[1, 0], [0, 1], [1, 1]],
        "W_Q": [[0, 1], [1, 0]],
        "W_K": [[1.296, 0], [0, 2.276]],
        "W_V": [[8, 0], [0, 8]],
    }
    masks = {
        "none": torch.ones(3, 3, dtype=torch.bool),
        "causal": causal_mask(3),
        "padding (token 3)": padding_mask(torch.tensor([2]), 3)[0].expand(3, 3),
    }

    def field(name, i, j):
        return element.get_by_label(f"{name}, row {i + 1}, column {j + 1}", exact=True)

    def cells(name):
        rows = element.get_by_role("grid", name=name).locator("tbody tr")
        return rows.evaluate_all(
            "rows => rows.map(row => [...row.querySelectorAll('td')].map(x => x.textContent))"
        )

    def compare(mask):
        X, W_Q, W_K, W_V = (torch.tensor(m).double() for m in matrices.values())
        Q, K, V = X @ W_Q, X @ W_K, X @ W_V
        output, weights = scaled_dot_product_attention(Q, K, V, masks[mask])
        for name, expected in {
            "Q = ": Q,
            "K = ": K,
            "V = ": V,
            "scores": scaled_dot_score(Q, K),
            "weights: softmax": weights,
            "output": output,
        }.items():
            found = [[float(x.replace("−", "-")) for x in row] for row in cells(name)]
            # Three decimals, fewer of larger numbers.
            torch.testing.assert_close(
                torch.tensor(found).double(), expected, atol=6e-4, rtol=6e-4
            )

    compare("none")
    assert cells("weights: softmax")[2] == ["0.125", "0.250", "0.625"]
    assert cells("output")[2] == ["6", "7"]
    assert "5.00 / (2.50 + 5.00 + 12.50) = 0.250" in told.inner_text()
    hand.tick(element.get_by_label("causal"))
    compare("causal")
    assert cells("weights: softmax")[0] == ["1.000", "0", "0"]
    assert cells("weights: softmax")[2] == ["0.125", "0.250", "0.625"]
    hand.tick(element.get_by_label("padding"))
    compare("padding (token 3)")

    # By keyboard: to the weights, up, and on to the output.
    weights = element.get_by_role("grid", name="weights: softmax")
    weights.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    assert "(exp(0.916) + exp(1.609) + exp(−∞))" in told.inner_text()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # there is no row above the first
    assert "The weight of query q₁ on key k₃" in told.inner_text()
    assert element.locator(".from").all_inner_texts() == cells("scores")[0]
    page.keyboard.press("Tab")
    assert "The output of query q₁, number 1" in told.inner_text()
    assert element.locator(".from").count() == 3 + 3
    element.get_by_role("grid", name="Q = ").locator("td").nth(3).hover()
    assert "row 2 of X times column 2 of WQ" in told.inner_text()
    assert "0·1 + 1·0 = 0" in told.inner_text()

    # Other numbers, large and small, and what is not a number.
    matrices |= {"X": [[-3, 2.5], [0.25, 1], [9, -10]], "W_Q": [[2, -1], [0.5, 10]]}
    for name in ("X", "W_Q"):
        for i, row in enumerate(matrices[name]):
            for j, number in enumerate(row):
                field(name, i, j).fill(str(number).replace("-", "−"))
    compare("padding (token 3)")
    before = cells("output")
    for text in ("<b>x", "", "11", "1,5"):
        field("W_K", 0, 1).fill(text)
        element.get_by_text(
            f"W_K, row 1, column 2: “{text}” is not a number from −10 to 10."
        ).wait_for()
        assert cells("output") == before
    assert element.locator("b").count() == 0
    hand.push(element.get_by_role("button", name="The first numbers"))
    assert element.get_by_role("status").inner_text() == ""
    assert cells("weights: softmax")[2] == ["0.333", "0.667", "0"]
    assert seen.problems == []
