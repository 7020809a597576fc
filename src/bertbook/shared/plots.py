"""One way to draw attention, and the look of every figure in the book.

Figures are drawn in black on a transparent ground, at a width that stays legible on a phone.
The pages turn them over for dark mode, so weight 0 is always the colour of the page.
"""

import warnings
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import fontManager
from matplotlib.image import AxesImage

__all__ = ["ATTENTION_COLORS", "COLORS", "attention_heatmap", "use_book_style"]

# Okabe and Ito's colours, told apart by people with any common colour-blindness.
COLORS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "pink": "#CC79A7",
    "yellow": "#E69F00",
    "sky": "#56B4E9",
}

# From nothing to dark blue, steadily darker: readable without colour as well.
ATTENTION_COLORS = LinearSegmentedColormap.from_list(
    "attention",
    [(1, 1, 1, 0), (0.62, 0.79, 0.93, 1), (0.13, 0.47, 0.73, 1), (0.02, 0.17, 0.38, 1)],
)

# Fonts with Chinese characters: Linux, macOS, Windows. The first one installed is used.
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)


def use_book_style() -> None:
    """Give matplotlib the book's fonts, colours and sizes; once, at the top of a chapter.

    Where no Chinese font is installed, Chinese characters are drawn as boxes, without a warning.
    """
    installed = {font.name for font in fontManager.ttflist}
    chinese = [name for name in CHINESE_FONTS if name in installed][:1]
    if not chinese:
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    mpl.rcParams.update(
        {
            "figure.figsize": (5.4, 3.2),
            "figure.dpi": 128,
            "figure.constrained_layout.use": True,
            "savefig.transparent": True,
            "savefig.bbox": "tight",
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "axes.prop_cycle": mpl.cycler(
                color=list(COLORS.values()), linestyle=["-", "--", "-.", ":", "-", "--"]
            ),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "axes.grid": True,
            "grid.color": "#000000",
            "grid.alpha": 0.12,
            "grid.linewidth": 0.6,
            "font.size": 10,
            "font.family": ["DejaVu Sans", *chinese],
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 2,
        }
    )


def attention_heatmap(
    weights: object,
    query_tokens: Sequence[str],
    key_tokens: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    annotate: bool = False,
    vmax: float = 1.0,
    colorbar: bool = False,
) -> AxesImage:
    """Draw attention weights: one row a query, one column a key, the same colours everywhere.

    Args:
        weights: ``[T, S]``, array or tensor; each row sums to one.
        query_tokens: T labels, from top to bottom.
        key_tokens: S labels, from left to right; ``None`` means the query tokens.
        ax: where to draw; ``None`` makes a figure of fitting size.
        title: a short heading above the map.
        annotate: whether each cell shows its weight.
        vmax: the weight that is darkest; 1 unless all weights are small.
        colorbar: whether a scale stands at the right.

    Returns:
        The drawn image, its figure under ``.figure``.

    Raises:
        ValueError: if the weights are not a matrix of the tokens' size, or a row is not a
            distribution (negative, not finite or not summing to one).
    """
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().double()
    matrix = np.asarray(weights, dtype=float)  # [T, S]
    key_tokens = query_tokens if key_tokens is None else key_tokens
    if matrix.shape != (len(query_tokens), len(key_tokens)):
        raise ValueError(
            f"weights have shape {list(matrix.shape)}, but there are {len(query_tokens)} query "
            f"tokens and {len(key_tokens)} key tokens"
        )
    sums = matrix.sum(axis=1)
    wrong = ~np.isclose(sums, 1, atol=1e-3) | ~(matrix >= 0).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"row {row} ({query_tokens[row]!r}) is not a distribution: it sums to {sums[row]:.4f}, "
            f"its smallest entry is {matrix[row].min():.4f}"
        )
    if ax is None:
        height, width = matrix.shape
        cell = min(0.55, 4.4 / width)
        _, ax = plt.subplots(figsize=(1.2 + cell * width, 0.9 + cell * height))
    image = ax.imshow(matrix, cmap=ATTENTION_COLORS, vmin=0, vmax=vmax, aspect="equal")
    ax.set_xticks(range(len(key_tokens)), key_tokens, rotation=90)
    ax.set_yticks(range(len(query_tokens)), query_tokens)
    ax.set_xlabel("key (attended to)")
    ax.set_ylabel("query (attending)")
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#888888", linewidth=0.6)
    if title is not None:
        ax.set_title(title)
    if annotate:
        for (row, column), weight in np.ndenumerate(matrix):
            ax.text(
                column,
                row,
                f"{weight:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if weight > 0.55 * vmax else "black",
            )
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.8)
    return image
