"""The one heatmap: what it draws, and what it refuses."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from bertbook.shared.plots import (
    ATTENTION_COLORS,
    attention_heatmap,
    use_book_style,
)


@pytest.fixture(autouse=True)
def _fresh_figures():
    mpl.use("agg")
    with mpl.rc_context():
        use_book_style()
        yield
    plt.close("all")


def test_shows_the_weights_with_tokens_on_both_axes():
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], requires_grad=True)
    image = attention_heatmap(
        weights, ["a", "b", "c"], ["x", "y"], annotate=True, colorbar=True
    )
    assert np.array_equal(image.get_array(), weights.detach().numpy())
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in image.axes.get_xticklabels()] == ["x", "y"]
    assert [label.get_text() for label in image.axes.get_yticklabels()] == [
        "a",
        "b",
        "c",
    ]
    shown = " ".join(text.get_text() for text in image.axes.texts)
    assert shown == "0.25 0.75 1.00 0.00 0.50 0.50"


def test_more_weight_is_darker_even_without_colour():
    red, green, blue, alpha = ATTENTION_COLORS(np.linspace(0, 1, 64)).T
    on_white = (0.2126 * red + 0.7152 * green + 0.0722 * blue) * alpha + 1 - alpha
    assert on_white[0] == 1
    assert (np.diff(on_white) < 0).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 3)) / 3, r"\[2, 3\].*2 query tokens and 2 key"),
        (np.array([[1.0, 0.0], [0.6, 0.6]]), r"row 1 \('b'\).*1.2000"),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), r"row 0 \('a'\).*-0.5000"),
        (np.array([[np.nan, 0.5], [0.5, 0.5]]), r"row 0 \('a'\).*nan"),
    ],
)
def test_refuses_what_is_not_attention(weights, message):
    with pytest.raises(ValueError, match=message):
        attention_heatmap(weights, ["a", "b"])


@pytest.mark.parametrize("installed", [True, False])
def test_chinese_labels_are_drawn_without_a_warning(monkeypatch, capfd, installed):
    if not installed:
        monkeypatch.setattr("bertbook.shared.plots.CHINESE_FONTS", ("No such font",))
    with mpl.rc_context():
        use_book_style()
        figure = attention_heatmap(np.eye(2), ["年", "日"]).figure
        figure.canvas.draw()
    assert capfd.readouterr() == ("", "")


def test_a_chinese_font_comes_after_the_latin_one(monkeypatch):
    monkeypatch.setattr(
        "bertbook.shared.plots.CHINESE_FONTS",
        ("No such font", "DejaVu Serif", "DejaVu Sans"),
    )
    with mpl.rc_context():
        use_book_style()
        assert mpl.rcParams["font.family"] == ["DejaVu Sans", "DejaVu Serif"]
