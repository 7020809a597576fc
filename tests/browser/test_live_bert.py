"""The live figures of the third question: what they show is what Python computes."""

import re

import pytest
import torch

from tests.browser.figures import (
    in_python,
    ready,
)


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
