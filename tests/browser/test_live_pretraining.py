"""The live figures of the fourth question: what they show is what Python computes."""

import re

import numpy as np
import pytest
import torch

from bertbook.shared.results import read_results
from experiments import live_review as reviews
from tests.browser.figures import (
    fresh_odds,
    ready,
    wait_until_still,
)


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
