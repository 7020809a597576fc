"""The live figure of the second question: what it shows is what Python computes."""

import pytest
import torch

from bertbook.attention.scores import (
    scaled_dot_product_attention,
)
from bertbook.transformer.encoder import sinusoids
from tests.browser.figures import (
    ready,
)


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
        return scaled_dot_product_attention(Q, K, V)[0]

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
