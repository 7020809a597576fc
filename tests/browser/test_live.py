"""The live figures on their pages: what they show is what Python computes."""

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
from bertbook.shared.results import read_results
from bertbook.transformer.encoder import sinusoids
from experiments import live_review as reviews
from tests.browser.figures import (
    FIGURES,
    WAYS,
    fresh_odds,
    in_python,
    opening,
    ready,
    wait_until_still,
)
from tools import live_figures, page_checks


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


def test_mask_lab_fills_in_as_python_does(used, python):
    seen, element, hand = used("mask-lab")
    page = ready(seen, element, "computed here in")
    _, model, tokenizer = python

    def compare(a, b, place):
        wait_until_still(element)  # a text may be there before its numbers are
        encoding = tokenizer.encode(a, b)
        ids = torch.tensor([encoding.ids])
        ids[0, place] = tokenizer.mask_id
        with torch.no_grad():
            encoded = model.bert(
                ids,
                token_type_ids=torch.tensor([encoding.token_type_ids]),
                output_hidden_states=True,
            )
            states = torch.stack(encoded.hidden_states)[:, 0, place]  # [L + 1, D]
            logits = model.cls.predictions(states)  # [L + 1, V]
            verdict = model.cls.seq_relationship(encoded.pooler_output).softmax(-1)
        best = logits.topk(10).indices.tolist()
        shown = element.locator("tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.querySelectorAll('.piece')].map(x => x.textContent))"
        )
        expected = [[tokenizer.pieces[n] for n in row] for row in best]
        assert [list(column) for column in zip(*shown, strict=True)] == expected
        if b:
            told = element.locator(".verdict").inner_text()
            assert f"{100 * verdict[0, 0].item():.0f}\xa0%" in told
        return expected[-1]

    a = "And it came to pass, that the king spoke to his servants."
    b = "And they said unto him, We will do it."
    assert compare(a, b, 5)[0] == "pass"

    # Show "pass" again, hide "king".
    hand.push(element.get_by_role("button", name="pass", exact=True))
    element.get_by_text("Hide a token, or type").wait_for()
    button = element.get_by_role("button", name="king", exact=True)
    hand.push(button)
    element.get_by_text("after layer 4").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    assert (
        page.evaluate("document.activeElement.shadowRoot.activeElement.textContent")
        == "king"
    )
    compare(a, b, 9)

    text = "The <b>film</b> is [MASK]."
    element.get_by_label("Sentence B").fill("")
    element.get_by_label("Sentence A").fill(text)
    element.get_by_text("type a sentence B").wait_for()
    compare(text, None, tokenizer.encode(text).tokens.index("[MASK]"))
    assert element.locator("b").count() == 0

    element.get_by_label("Sentence A").fill("so " * 127)
    element.get_by_text("129 pieces with the special ones, at most 128 fit").wait_for()
    assert seen.problems == []


def test_masking_rule_converges_and_rounds_as_python_does(used):
    seen, element, hand = used("masking-rule")
    ready(seen, element, "selected")
    element.get_by_text("masked, asked").first.wait_for()

    def row(name):
        cells = element.get_by_role("row", name=re.compile(f"^{name}")).get_by_role(
            "cell"
        )
        return [float(text.strip("\xa0%")) for text in cells.all_inner_texts()]

    for _ in range(5):
        hand.push(element.get_by_role("button", name="Draw 100 times"))
    assert row("selected")[1] > 2000
    for name, share in (("masked", 80), ("random", 10), ("kept", 10)):
        assert abs(row(name)[2] - share) < 5  # five standard deviations and more
        assert row(name)[4] == pytest.approx(
            row(name)[2] * row("selected")[4] / 100, abs=0.11
        )
    element.get_by_role("textbox", name="Text").fill(
        "one two three four five six seven eight nine ten"
    )
    assert row("selected")[:2] == [2, 2]  # 1.5 to the even number
    hand.slide(element.get_by_label("Rate"), 25)
    assert row("selected")[:2] == [2, 2]  # 2.5 to the even number
    selected = element.locator(".selected")
    assert selected.count() == 2
    assert not any(
        "[CLS]" in text or "[SEP]" in text for text in selected.all_inner_texts()
    )
    assert seen.problems == []


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


def occurrences(model, tokenizer, word, sentences):
    """Cosines of a word's occurrences [L + 1, N, N] and of different pieces [L + 1]."""
    pieces, found, rest, ids, source = tokenizer.tokenize(word), [], [], [], []
    for number, sentence in enumerate(sentences):
        encoding = tokenizer.encode(sentence)
        hidden = in_python(model, tokenizer, sentence, None)["hidden"]
        text = " ".join(encoding.tokens) + " "
        start = re.search(re.escape(" ".join(pieces)) + " (?!##)", text).start()
        at = text[:start].count(" ")
        found.append(hidden[:, at : at + len(pieces)].mean(1))
        rest.append(hidden[:, 1:-1])
        ids += encoding.ids[1:-1]
        source += [number] * (len(encoding.ids) - 2)
    unit, others = (
        torch.nn.functional.normalize(x, dim=-1)
        for x in (torch.stack(found, 1), torch.cat(rest, 1))
    )
    ids, source = torch.tensor(ids), torch.tensor(source)
    pick = (ids[:, None] != ids) & (source[:, None] != source)
    return unit @ unit.mT, (others @ others.mT)[:, pick].mean(1)


def lines_of(element):
    """The table as it is shown: of each line its cells, by the heads of the columns."""
    heads = element.locator("thead th").all_inner_texts()
    rows = element.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    # A line that is left out has one cell, with the reason.
    return {row[0].split()[1]: dict(zip(heads, row[1:], strict=False)) for row in rows}


def nearest_of(cosines):
    """Of each line the numbers of those that are nearest; several if they are equally near."""
    rest = cosines - 3 * torch.eye(len(cosines))
    near = rest >= rest.amax(-1, keepdim=True) - 1e-5
    return [[str(j + 1) for j in row.nonzero().flatten().tolist()] for row in near]


def expect_occurrences(element, cosines, base, less=False):
    shown = lines_of(element)
    for i, near in enumerate(nearest_of(cosines)):
        line = shown[str(i + 1)]
        assert line["nearest"] == ", ".join(near)
        for j in range(len(cosines)):
            if i != j:
                number = float(line[str(j + 1)].replace("−", "-"))
                expected = (cosines[i, j] - less * base).item()
                assert number == pytest.approx(expected, abs=0.0055)
    told = element.locator(".told").inner_text()
    mean = cosines[torch.triu(torch.ones_like(cosines), 1) > 0].mean().item()
    numbers = [float(x) for x in re.findall(r"−?\d\.\d\d", told.replace("−", "-"))]
    expected = [base.item(), mean, mean - base.item()]
    assert numbers == pytest.approx(expected, abs=0.0055)


def test_contexts_compares_occurrences_as_python_does(used, python):
    seen, element, hand = used("contexts")
    ready(seen, element, "New sentences: 6, computed here in")
    _, model, tokenizer = python
    senses = [{"1", "3", "5"}, {"2", "4", "6"}]

    def right(cosines):
        nearest = nearest_of(cosines)
        return sum(set(near) <= senses[i % 2] for i, near in enumerate(nearest))

    def compare(word, less=False):
        sentences = element.get_by_label("Sentences").input_value().split("\n")
        cosines, base = occurrences(model, tokenizer, word, sentences)
        layer = element.get_by_label("layer")
        for number in range(4, -1, -1):
            hand.slide(layer, number)
            assert layer.get_attribute("aria-valuetext") == str(number)
            expect_occurrences(element, cosines[number], base[number], less)
        hand.slide(layer, "max")
        odd = torch.arange(6) % 2
        alike = (odd[:, None] == odd) & ~torch.eye(6).bool()
        gap = cosines[:, alike].mean(1) - cosines[:, odd[:, None] != odd].mean(1)
        return [right(each) for each in cosines], gap

    # What the hint and the chapter promise: noun and verb part, the two nouns hardly.
    count, gap = compare("cast")
    assert count == [0, 6, 6, 6, 6]
    assert gap[4] > 0.15
    order = element.locator("thead th").all_inner_texts()[:6]
    assert [set(order[:3]), set(order[3:])] == senses
    hand.slide(element.get_by_label("layer"), "min")
    assert [lines_of(element)[n]["nearest"] for n in "123456"] == list("214365")
    hand.tick(element.get_by_label("like lines together"))
    assert element.locator("thead th").all_inner_texts()[:6] == list("123456")
    assert "New sentences: 6," in element.locator(".status").inner_text()

    hand.push(element.get_by_role("button", name="Take “bank”"))
    element.get_by_text("paid her wages").wait_for()
    element.get_by_text("Two of “bank” have").wait_for()
    hand.tick(element.get_by_label("less the mean"))
    count, gap = compare("bank", less=True)
    assert max(count) == count[0]
    assert abs(gap[4]) < 0.03

    reviews = [
        "The cast of the film is very good.",
        "He was cast as the king in the film.",
        "The whole cast gives a fine performance.",
        "She was cast as a nurse in the movie.",
        "A very good cast cannot save the movie.",
        "He was cast in the lead of the show.",
    ]
    cosines, _ = occurrences(model, tokenizer, "cast", reviews)
    assert right(cosines[4]) == 6
    assert seen.problems == []


def test_contexts_names_the_lines_that_it_leaves_out(figure, python):
    seen, element = figure("contexts")
    ready(seen, element, "New sentences: 6, computed here in")
    _, model, tokenizer = python
    word = element.get_by_label("Word", exact=True)
    text = element.get_by_label("Sentences")
    sentences = ["The bat slept.", "He saw a <b>bat</b>, then a bat."]  # ba ##t
    word.fill("Bat")
    text.fill("\n".join([*sentences, "A batter.", "bat " * 64, "No such thing."]))
    element.get_by_text("Left out: line 3, 4, 5").wait_for()
    shown = lines_of(element)
    assert shown["3"] == {"1": "no “Bat” in line 3"}
    assert "at most 128 fit" in shown["4"]["1"]
    assert shown["5"] == {"1": "no “Bat” in line 5"}
    assert element.locator("b").count() == 0
    cosines, base = occurrences(model, tokenizer, "bat", sentences)
    expect_occurrences(element, cosines[4], base[4])

    text.fill("\n\n".join([*sentences, "A bat.", *["The bat slept."] * 4]))
    element.get_by_text("Left out: line 13 (six are read)").wait_for()
    assert lines_of(element)["1"]["nearest"] == "7, 9, 11"  # they share the place
    # What has been computed is kept: one sentence is new.
    element.get_by_text("New sentences: 1,").wait_for()
    word.fill("slept")
    element.get_by_text("Left out: line 3, 5, 13").wait_for()
    element.get_by_text("New sentences: 0,").wait_for()
    for wrong, told in [("q\u2603", "does not know"), (" ", "no word to look for")]:
        word.fill(wrong)
        element.get_by_text(told).first.wait_for()
        element.get_by_text("Two lines with the word are needed").wait_for()
        element.get_by_label("layer").press("Home")
    word.fill("bat")
    element.get_by_text("different pieces in different sentences").wait_for()


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
        output, weights = scaled_dot_product_attention(
            Q, K, V, masks[mask], return_weights=True
        )
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

    # Other numbers, large and small, and what is no number.
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


def test_order_permutes_outputs_and_positions_change_them(used):
    seen, element, hand = used("order")
    ready(seen, element, "is rounding")
    vectors, weights = element.evaluate("figure => [figure.vectors, figure.weights]")
    vectors, weights = (torch.tensor(x).double() for x in (vectors, weights))
    assert vectors.shape == (5, 8)
    assert weights.shape == (3, 8, 8)
    sentence = ["the", "dog", "bites", "the", "man"]
    positions = element.get_by_label("positions", exact=True)
    first = list(range(5))

    def attend(order):
        X = vectors[order]
        if positions.is_checked():
            X = X + sinusoids(5, 8).double()
        Q, K, V = X @ weights  # [S, D] each
        return scaled_dot_product_attention(Q, K, V)

    def compare():
        """The order as it is shown, and each word's difference."""
        rows = element.locator("tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
        )
        order = [int(row[2]) for row in rows]
        assert sorted(order) == first
        names = [sentence[i] for i in order]
        assert [row[1] for row in rows] == names
        group = element.get_by_role("group", name="words in their order")
        assert group.get_by_role("button").all_inner_texts() == names
        now, before = attend(order), attend(first)[order]
        shown = [float(row[5]) for row in rows]
        expected = (now - before).abs().amax(-1).tolist()
        assert shown == pytest.approx(expected, abs=6e-4)
        bars = element.locator("tbody svg").evaluate_all(
            "bars => bars.map(each => each.ariaLabel.split(', ').map(Number))"
        )
        found = torch.tensor(bars).double()  # [2 S, D]
        for vectors_shown, wanted in ((found[0::2], before), (found[1::2], now)):
            torch.testing.assert_close(vectors_shown, wanted, atol=6e-3, rtol=0)
        return order, shown, now

    order, shown, now = compare()
    assert order == [0, 4, 2, 3, 1]
    assert shown == [0] * 5
    torch.testing.assert_close(now[0], now[3])  # twice "the"
    hand.tick(positions)
    order, shown, now = compare()
    assert min(shown) > 0.5
    assert not torch.allclose(now[0], now[3], atol=0.5)

    # "dog" is chosen; it walks to the front and not further.
    for _ in range(5):
        hand.push(element.get_by_role("button", name="Move left"))
    order, *_ = compare()
    assert order == [1, 0, 4, 2, 3]
    hand.push(element.get_by_role("button", name="man", exact=True))
    hand.push(element.get_by_role("button", name="Move right"))
    order, *_ = compare()
    assert order == [1, 0, 2, 4, 3]
    hand.push(element.get_by_role("button", name="Shuffle"))
    after, shown, _ = compare()
    assert after != order
    hand.tick(positions)
    _, shown, _ = compare()
    assert shown == [0] * 5
    hand.push(element.get_by_role("button", name="First order"))
    assert compare()[0] == first
    assert seen.problems == []


def test_head_lab_shows_pythons_weights_and_what_a_head_is_worth(used, python):
    seen, element, hand = used("head-lab")
    page = ready(seen, element, "computed here in")
    _, model, tokenizer = python
    a, b = (
        "The king sent his servants to the city.",
        "They came to the city and told the king.",
    )
    tokens = tokenizer.encode(a, b).tokens
    whole = in_python(model, tokenizer, a, b)

    def cells():
        return element.locator(".map tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.title))"
        )

    def expect(weights, rows, columns):
        expected = [
            [f"{tokens[i]} → {tokens[j]}: {weights[i, j]:.3f}" for j in columns]
            for i in rows
        ]
        for found, wanted in zip(cells(), expected, strict=True):
            for one, other in zip(found, wanted, strict=True):
                assert one[:-5] == other[:-5]
                assert float(one[-5:]) == pytest.approx(float(other[-5:]), abs=0.0011)

    places = range(len(tokens))
    expect(whole["attentions"][0, 0], places, places)
    hand.tick(element.get_by_label("hide [CLS] and [SEP]"))
    words = [i for i in places if tokens[i] not in ("[CLS]", "[SEP]")]
    expect(whole["attentions"][0, 0], words, words)
    hand.tick(element.get_by_label("only from A to B"))
    middle = tokens.index("[SEP]")
    expect(
        whole["attentions"][0, 0],
        [i for i in words if i < middle],
        [i for i in words if i > middle],
    )
    hand.tick(element.get_by_label("hide [CLS] and [SEP]"))
    hand.tick(element.get_by_label("only from A to B"))

    def loss_without(layer, head):
        button = element.get_by_role("button", name=f"layer {layer}, head {head}")
        hand.push(button)
        assert button.get_attribute("aria-pressed") == "true"
        hand.push(element.get_by_role("button", name="Switch this head off"))
        told = element.get_by_text(f"Without {layer}.{head} (layer.head)")
        told.wait_for()
        mask = torch.ones(4, 4)
        mask[layer - 1, head - 1] = 0
        without = in_python(model, tokenizer, a, b, mask)
        turned = 1 - torch.cosine_similarity(
            whole["hidden"][-1], without["hidden"][-1], dim=-1
        )
        shown = float(re.search(r"turn by (\d\.\d+)", told.inner_text())[1])
        assert shown == pytest.approx(turned.mean().item(), abs=0.0011)
        shares = [x["verdict"].softmax(-1)[0].item() for x in (whole, without)]
        assert "{:.0f}\xa0% before, {:.0f}\xa0% now".format(
            *(100 * x for x in shares)
        ) in (told.inner_text())
        expect(without["attentions"][layer - 1, head - 1], places, places)
        hand.push(element.get_by_role("button", name="All heads on"))
        element.get_by_text("All heads are on.").wait_for()
        return shown

    # What the figure asks the reader to find.
    assert loss_without(1, 1) > 5 * loss_without(3, 4)
    assert whole["attentions"][2, 3, :middle, middle + 1 :].sum(1).mean() > 0.5
    hand.push(element.get_by_role("button", name="king, place 2"))
    focused = page.evaluate("document.activeElement.shadowRoot.activeElement.ariaLabel")
    assert focused == "king, place 2"
    element.get_by_text("where king looks").wait_for()
    assert seen.problems == []


STRIPES = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, 1, 24);
  // Red is stronger than blue in brown; the last of four is how strong the colour is.
  return Array.from({ length: 24 }, (_, i) =>
    (data[4 * i] > data[4 * i + 2] ? -1 : 1) * data[4 * i + 3] / 255);
}"""


def test_input_builder_builds_what_python_reads(used, python):
    seen, element, hand = used("input-builder")
    ready(seen, element, "The first 24 of 256 numbers")
    _, model, tokenizer = python

    def row(name):
        found = element.get_by_role("row").filter(
            has=seen.page.get_by_role("rowheader", name=name, exact=True)
        )
        return found.locator("td")

    def compare(a, b, pads):
        encoding = tokenizer.encode(a, b)
        count = len(encoding.ids)
        rows = {
            "number": encoding.ids + [0] * pads,
            "segment": encoding.token_type_ids + [0] * pads,
            "position": list(range(count + pads)),
            "mask": [1] * count + [0] * pads,
        }
        heads = element.locator(".rows thead th").all_inner_texts()
        assert heads == encoding.tokens + ["[PAD]"] * pads
        for name, numbers in rows.items():
            assert row(name).all_inner_texts() == [str(number) for number in numbers], (
                name
            )
        with torch.no_grad():
            vectors = model.bert.embeddings(
                torch.tensor([rows["number"]]), torch.tensor([rows["segment"]])
            )[0]
        for i in (0, 4, count - 1):
            shown = row("= normalised").nth(i).locator("canvas").evaluate(STRIPES)
            expected = (vectors[i, :24] / 2).clamp(-1, 1).tolist()
            assert shown == pytest.approx(expected, abs=0.01)

    compare("The film is unwatchable.", "Disappointingly, nobody laughed.", 3)
    tries = element.locator(".tries li")
    assert tries.count() == 15
    assert element.locator(".tries .found").all_inner_texts() == [
        "unw ✓",
        "##atch ✓",
        "##able ✓",
    ]
    hand.push(element.get_by_role("button", name="From the start"))
    assert tries.all_inner_texts() == ["unwatchable ✗"]
    hand.push(element.get_by_role("button", name="Next try"))
    assert tries.all_inner_texts() == ["unwatchable ✗", "unwatchabl ✗"]

    hand.slide(element.get_by_role("slider"), "min")
    element.get_by_label("Sentence B").fill("")
    element.get_by_label("Sentence A").fill("注意 is all, qq\u2603z")
    hand.push(element.get_by_role("button", name="qq\u2603z"))
    hand.push(element.get_by_role("button", name="To the end"))
    element.get_by_text("Pieces: [UNK]").wait_for()
    compare("注意 is all, qq\u2603z", None, 0)
    assert seen.problems == []


BAD_FILM, NOT_BAD_FILM = "This is a bad film.", "This is not a bad film."


def test_review_shows_pythons_verdict_and_what_each_word_adds(used, python):
    seen, element, hand = used("review")
    ready(seen, element, "passes, computed here in")
    model, tokenizer = reviews.reviewer_in_bytes(), python[2]
    metrics = {
        run["variant"]: run["metrics"] for run in read_results("live_review")["runs"]
    }["stored"]["test, in bytes"]

    def number(text):
        return float(text.replace("−", "-"))

    def compare(text, masked):
        encoding = tokenizer.encode(text)
        words = []
        for i, token in enumerate(encoding.tokens[1:-1], 1):
            if token.startswith("##"):
                words[-1].append(i)
            else:
                words.append([i])
        whole = fresh_odds(model, encoding.ids)
        fresh = 1 / (1 + np.exp(-whole))
        told = element.locator(".verdict").inner_text()
        assert told.startswith("Fresh:" if whole >= 0 else "Rotten:")
        shown = re.search(r"of fresh (\d+)\xa0%, .* log-odds (\S+)\.$", told)
        assert float(shown[1]) == pytest.approx(100 * fresh, abs=0.51)
        assert number(shown[2]) == pytest.approx(whole, abs=0.0051)
        part = metrics["calibration"][min(4, int(fresh * 5))]
        worth = element.locator(".worth").inner_text()
        assert f"is right in {100 * metrics['accuracy']:.1f}\xa0%" in worth
        assert f"To {part['reviews']} of them it gave" in worth
        assert f"; {100 * part['was']:.0f}\xa0% of these were fresh" in worth
        rows = element.get_by_role("listitem")
        names = ["".join(encoding.tokens[i].strip("#") for i in w) for w in words]
        assert rows.locator(".piece").all_inner_texts() == names
        numbers = rows.locator(".number").all_inner_texts()
        for places, name, shown in zip(words, names, numbers, strict=True):
            ids = [
                tokenizer.mask_id if i in places else number
                for i, number in enumerate(encoding.ids)
                if masked or i not in places
            ]
            adds = whole - fresh_odds(model, ids)
            assert number(shown) == pytest.approx(adds, abs=0.0051), name
        sides = rows.locator("i").evaluate_all("bars => bars.map(bar => bar.className)")
        assert sides == ["rotten" if "−" in n else "fresh" for n in numbers]
        return dict(zip(names, map(number, numbers), strict=True)), whole

    box = element.get_by_label("Review", exact=True)
    adds, whole = compare(box.input_value(), True)
    assert whole > 0
    assert max(adds, key=lambda name: abs(adds[name])) == "wonderful"
    checkbox = element.get_by_label("take a word out")
    hand.tick(checkbox)
    wait_until_still(element)
    ready(seen, element, "passes, computed here in")
    compare(box.input_value(), False)
    hand.tick(checkbox)

    # What the figure promises: each is judged as it says.
    judged = {}
    for text in (box.input_value().replace("wonderful", ""), BAD_FILM, NOT_BAD_FILM):
        box.fill(text)
        count = len(tokenizer.tokenize(text))  # a piece each
        ready(seen, element, f"{count} words and marks, {count + 1} passes")
        judged[text] = compare(text, True)
    assert all(whole < 0 for _, whole in judged.values())
    assert judged[NOT_BAD_FILM][1] < judged[BAD_FILM][1] - 0.3
    assert judged[NOT_BAD_FILM][0]["not"] < -0.3

    text = "An <b>unwatchable</b> mess."
    box.fill(text)
    ready(seen, element, "11 words and marks, 12 passes")
    compare(text, True)
    assert element.locator("b").count() == 0
    # Typing cancels what is under way, and too long a text is named.
    box.fill("so " * 40)
    box.fill("so " * 41)
    element.get_by_text(
        "has 41 words and marks; this figure takes at most 40"
    ).wait_for()
    assert element.get_by_role("listitem").count() == 0
    box.fill("")
    ready(seen, element, "0 words and marks, 1 passes")
    assert seen.problems == []
