"""bertviz's head view, model view and neuron view for pages without a network.

bertviz (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model") draws; the
page around its drawing is ``bertbook.shared.bertviz_page``'s. Equal weights give equal text;
weights that differ in their last bits, as between two processors, can still round apart, so the
cell of a notebook that shows a view has the tag ``nbval-ignore-output``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from bertviz.util import format_special_chars
from torch import Tensor

from bertbook.shared.bertviz_page import View, html_page

__all__ = ["View", "head_view", "model_view", "neuron_view"]

CONTROLS = """
<div id="bertviz" style="font-family:'Helvetica Neue', Helvetica, Arial, sans-serif;">
            <span style="user-select:none">
                {}
            </span>
            <div id='vis'></div>
        </div>
"""
LAYER = '<label>Layer: <select id="layer"></select></label>'
NEURON_CONTROLS = f"""
<div id="bertviz">{LAYER}
<label>Head: <select id="att_head"></select></label>
<label><input type="checkbox" id="vectors"> queries and keys</label>
<div id="vis" style="overflow-x: auto"></div></div>
"""
SUM_TOLERANCE = 1e-3
# A weight is a line, and a browser draws some 30,000 of them in a second.
MOST_LINES = 500_000


def head_view(
    attention: Sequence[Tensor],
    tokens: Sequence[str],
    sentence_b_start: int | None = None,
    *,
    title: str,
    include_layers: Sequence[int] | None = None,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    decimals: int = 2,
) -> View:
    """Shows which token looks at which, head by head, one layer at a time.

    Args:
        attention: one tensor of weights for each layer, (1, H, T, T); rows sum to one.
        tokens: the T tokens.
        sentence_b_start: index of sentence B's first token, to choose A → B and the like.
        title: what the view shows, for readers who cannot see it.
        include_layers: layers that can be chosen, counted from 0; all by default.
        layer: the layer shown first; the first of ``include_layers`` by default.
        heads: the heads switched on at first, counted from 0; all by default.
        decimals: decimals of the weights, 1 to 6. Two are finer than the eye.

    Raises:
        TypeError: ``attention`` is not a sequence of tensors (None: the model returned no weights).
        ValueError: if an argument does not fit the others, weights are not rows of
            probabilities, or a browser could not draw so many weights.
    """
    _check(attention, tokens, sentence_b_start, title, decimals)
    layers = _chosen("include_layers", include_layers, len(attention))
    _check_lines(attention[0][0].numel(), "tokens")
    _chosen("heads", heads, attention[0].shape[1])
    if layer is not None and layer not in layers:
        raise ValueError(
            f"layer is {layer}, expected one of the layers shown, {layers}"
        )
    weights = [_rounded(attention[i][0], decimals) for i in layers]
    choices, select = _choices(weights, tokens, sentence_b_start)
    params = {
        "attention": choices,
        "default_filter": "0",
        "root_div_id": "bertviz",
        "layer": layer,
        "heads": heads and list(heads),
        "include_layers": layers,
    }
    controls = CONTROLS.format(f"{LAYER}\n{16 * ' '}{select}")
    page = html_page("head_view", title, controls, params, decimals)
    return View(title, min(640, 100 + 23 * len(tokens)), page)


def model_view(
    attention: Sequence[Tensor],
    tokens: Sequence[str],
    sentence_b_start: int | None = None,
    *,
    title: str,
    include_layers: Sequence[int] | None = None,
    include_heads: Sequence[int] | None = None,
    decimals: int = 2,
) -> View:
    """Shows all heads of all layers at once, small; a click enlarges one.

    Args:
        attention: as ``head_view`` takes it, and so are the other arguments.
        tokens: the T tokens.
        sentence_b_start: index of sentence B's first token.
        title: what the view shows.
        include_layers: layers shown, counted from 0; all by default.
        include_heads: heads shown, counted from 0; all by default.
        decimals: decimals of the weights, 1 to 6.

    Raises:
        TypeError: as ``head_view``.
        ValueError: as ``head_view``.
    """
    _check(attention, tokens, sentence_b_start, title, decimals)
    layers = _chosen("include_layers", include_layers, len(attention))
    heads = _chosen("include_heads", include_heads, attention[0].shape[1])
    lines = len(layers) * len(heads) * len(tokens) ** 2
    _check_lines(lines, "tokens, include_layers or include_heads")
    weights = [_rounded(attention[i][0, heads], decimals) for i in layers]
    choices, select = _choices(weights, tokens, sentence_b_start)
    params = {
        "attention": choices,
        "default_filter": "0",
        "display_mode": "light",
        "root_div_id": "bertviz",
        "include_layers": layers,
        "include_heads": heads,
        "total_heads": attention[0].shape[1],
    }
    page = html_page("model_view", title, CONTROLS.format(select), params, decimals)
    thumbnail = 10 + 84 / attention[0].shape[1] * len(tokens)
    height = 95 + int(max(len(layers) * thumbnail, 18 * len(tokens)))
    return View(title, min(760, height), page)


def neuron_view(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    tokens: Sequence[str],
    *,
    title: str,
    include_layers: Sequence[int] | None = None,
    include_heads: Sequence[int] | None = None,
    decimals: int = 2,
) -> View:
    """Shows how one head's weights come about: query times key, number by number.

    The weights drawn are the softmax of the scaled dot products, over all tokens: for one sequence
    without padding. Every number of every head shown is in the page, so few heads keep it small.

    Args:
        queries: one tensor for each layer, (1, H, T, Dh).
        keys: likewise.
        tokens: the T tokens.
        title: what the view shows, for readers who cannot see it.
        include_layers: layers that can be chosen, counted from 0; all by default.
        include_heads: heads that can be chosen, counted from 0; all by default.
        decimals: decimals of weights, queries and keys, 1 to 6.

    Raises:
        TypeError: ``queries`` or ``keys`` is not a sequence of tensors.
        ValueError: if an argument does not fit the others, or a number is not finite.
    """
    for name, vectors in {"queries": queries, "keys": keys}.items():
        if not _are_tensors(vectors) or any(x.dim() != 4 for x in vectors):
            raise TypeError(
                f"{name} is {type(vectors).__name__}, expected a sequence of tensors "
                "(1, H, T, Dh), one for each layer"
            )
    shapes = [[list(x.shape) for x in vectors] for vectors in (queries, keys)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"queries have the shapes {shapes[0]}, keys {shapes[1]}, expected the same"
        )
    attention = [
        (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)  # (1, H, T, T)
        for q, k in zip(queries, keys, strict=True)
    ]
    _check(attention, tokens, None, title, decimals)
    layers = _chosen("include_layers", include_layers, len(attention))
    heads = _chosen("include_heads", include_heads, attention[0].shape[1])
    numbers = {"attn": attention, "queries": queries, "keys": keys}
    whole = {
        name: [_rounded(of_layers[i][0, heads], decimals) for i in layers]
        for name, of_layers in numbers.items()
    }
    whole |= {"left_text": list(tokens), "right_text": list(tokens)}
    params = {
        "attention": {"all": whole},
        "default_filter": "all",
        "root_div_id": "bertviz",
        "bidirectional": True,
        "display_mode": "light",
        "layers": layers,
        "heads": heads,
    }
    page = html_page("neuron_view", title, NEURON_CONTROLS, params, decimals)
    return View(title, min(760, 150 + 26 * len(tokens)), page)


def _are_tensors(values: object) -> bool:
    return isinstance(values, Sequence) and all(isinstance(x, Tensor) for x in values)


def _check(
    attention: Sequence[Tensor],
    tokens: Sequence[str],
    sentence_b_start: int | None,
    title: str,
    decimals: int,
) -> None:
    """Raises on wrong input."""
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f"title is {title!r}, expected what the view shows, in words")
    if not isinstance(decimals, int) or not 1 <= decimals <= 6:
        raise ValueError(f"decimals is {decimals!r}, expected an integer from 1 to 6")
    strings = not isinstance(tokens, str) and all(isinstance(t, str) for t in tokens)
    if not tokens or not strings:
        raise ValueError(f"tokens is {tokens!r}, expected a list of strings, not empty")
    if not _are_tensors(attention):
        raise TypeError(
            f"attention is {type(attention).__name__}, expected a sequence of tensors, one for "
            'each layer: load the model with attn_implementation="eager" and call it with '
            "output_attentions=True"
        )
    if not attention:
        raise ValueError("attention is empty, expected one tensor for each layer")
    length = len(tokens)
    if sentence_b_start is not None and not 0 < sentence_b_start < length:
        raise ValueError(
            f"sentence_b_start is {sentence_b_start}, expected 1 to {length - 1}, since there are "
            f"{length} tokens"
        )
    heads = attention[0].shape[1] if attention[0].dim() == 4 else "H"
    for layer, weights in enumerate(attention):
        where = f"attention[{layer}]"
        if weights.shape != (1, heads, length, length):
            raise ValueError(
                f"{where} has shape {tuple(weights.shape)}, expected (1, {heads}, {length}, "
                f"{length}) for one sequence of {length} tokens"
            )
        sums = weights.double().sum(-1).flatten()
        worst = sums[(sums - 1).abs().argmax()].item()
        if not torch.isfinite(weights).all():
            raise ValueError(f"{where} has weights that are not finite")
        if (least := weights.min().item()) < 0:
            raise ValueError(f"{where} has a negative weight, {least:.3g}")
        if abs(worst - 1) > SUM_TOLERANCE:
            raise ValueError(f"{where} has a row that sums to {worst:.4f}, expected 1")


def _check_lines(lines: int, smaller: str) -> None:
    """Raises if a browser could not draw so many lines."""
    if lines > MOST_LINES:
        raise ValueError(
            f"the view has {lines:,} weights, each a line, expected at most {MOST_LINES:,}: a "
            f"browser takes minutes to draw more. Pass fewer {smaller}"
        )


def _chosen(name: str, indices: Sequence[int] | None, count: int) -> list[int]:
    """The indices as a list, all of them by default; raises if they do not fit."""
    chosen = list(range(count) if indices is None else indices)
    if not chosen or len({*chosen}) < len(chosen) or not {*chosen} <= {*range(count)}:
        raise ValueError(
            f"{name} is {chosen}, expected different numbers from 0 to {count - 1}"
        )
    return chosen


def _rounded(numbers: Tensor, decimals: int) -> list:
    """Numbers as integers: 0.125 with two decimals is 12."""
    return numbers.double().mul(10**decimals).round().long().tolist()


def _choices(weights, tokens, sentence_b_start) -> tuple[list[dict], str]:
    """What can be chosen, all tokens or the sentences of a pair, and the control for it."""
    tokens = format_special_chars(tokens)
    whole = {"name": None, "attn": weights, "left_text": tokens, "right_text": tokens}
    if sentence_b_start is None:
        return [whole], ""
    choices = [whole | {"name": "All"}]
    sides = {"A": tokens[:sentence_b_start], "B": tokens[sentence_b_start:]}
    for a, b in ("AA", "BB", "AB", "BA"):
        name = f"Sentence {a} -> Sentence {b}"
        choices.append({"name": name, "left_text": sides[a], "right_text": sides[b]})
    options = "\n".join(
        f'<option value="{i}">{choice["name"]}</option>'
        for i, choice in enumerate(choices)
    )
    return choices, f'<label>Attention: <select id="filter">{options}</select></label>'
