"""bertviz's head view, model view and neuron view for pages without a network.

bertviz (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model") draws; the
page around its drawing is `bertbook.shared.bertviz_page`'s. Equal weights give equal text; weights
that differ in their last bits, as between two processors, can still round apart, so the cell of a
notebook that shows a view has the tag `nbval-ignore-output`.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import bertviz
import torch
from torch import Tensor

from bertbook.shared.bertviz_page import WEIGHTS, View, changed, html_page

__all__ = ["View", "head_view", "model_view", "neuron_view"]

# What bertviz draws for the mouse alone becomes a named button for finger and keyboard as well.
HEAD_VIEW_CHANGES = {
    "CHECKBOX_SIZE = 20": "CHECKBOX_SIZE = 24",
    'checkbox.on("click",': 'asButton(checkbox, (d, i) => "Head " + i);\ncheckbox.on("click",',
    '.attr("fill", (d, i) => d ?': '.attr("aria-pressed", d => d).attr("fill", (d, i) => d ?',
}
MODEL_VIEW_CHANGES = {
    'clickRegion.on("click",': (
        'asButton(clickRegion.style("opacity", null).style("fill", "transparent"), "Layer " +'
        ' config.layers[layerIndex] + ", head " + config.heads[headIndex]);\n'
        'clickRegion.on("click",'
    ),
}
# The drawing with vectors is wider than a phone and scrolls; layers and heads keep their numbers;
# a white ground would be a black box on a dark page.
NEURON_VIEW_CHANGES = {
    "getColor('background')": '"transparent"',
    '.attr("width", "100%")': '.attr("width", config.expanded ? 1010 : 450)',
    'layerSelect.append($("<option />").val(i).text(i));': (
        'layerSelect.append($("<option />").val(i).text(params.layers[i]));'
    ),
    'headSelect.append($("<option />").val(i).text(i));': (
        'headSelect.append($("<option />").val(i).text(params.heads[i]));'
    ),
    "$(`#${config.rootDivId} #filter`)": (
        '$("#vectors").on("change", function () { config.expanded = this.checked; render(); });\n'
        "$(`#${config.rootDivId} #filter`)"
    ),
    "config.expanded = true;": '$("#vectors").prop("checked", true).trigger("change");',
    # The box may have been ticked before the scripts had come.
    f"config.expanded = false;\n{' ' * 12}config.bidirectional": (
        'config.expanded = $("#vectors").prop("checked");\nconfig.bidirectional'
    ),
    f"config.expanded = false;\n{' ' * 28}showCollapsed();": (
        '$("#vectors").prop("checked", false).trigger("change");'
    ),
    'tokenContainer.on("mouseover",': (
        'textContainer.attr("tabindex", 0).attr("role", "button").on("focus", (d, index) => {\n'
        "config.index = index; highlightSelection(svg, index); showComputation(svg, index);\n"
        '}).on("blur", () => {\n'
        "config.index = null; unhighlightSelection(svg); hideComputation(svg);\n"
        "});\n"
        'tokenContainer.on("mouseover",'
    ),
    "const params = window.bertviz_params": "",
}
NEURON_VIEW_CONTROLS = """
<div id="bertviz"><label>Layer: <select id="layer"></select></label>
<label>Head: <select id="att_head"></select></label>
<label><input type="checkbox" id="vectors"> queries and keys</label>
<div id="vis" style="overflow-x: auto"></div></div>
"""
NEURON_VIEW_NUMBERS = """
const decoded = numbers => Array.isArray(numbers) ? numbers.map(decoded) : numbers / SCALE;
const whole = params.attention.all;
for (const name of ["attn", "queries", "keys"]) whole[name] = decoded(whole[name]);
"""
SUM_TOLERANCE = 1e-3


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
        attention: One tensor of weights for each layer, (1, H, T, T); rows sum to one.
        tokens: The T tokens.
        sentence_b_start: Index of sentence B's first token, to choose A → B and the like.
        title: What the view shows, for readers who cannot see it.
        include_layers: Layers that can be chosen, counted from 0; all by default.
        layer: The layer shown first; the first of `include_layers` by default.
        heads: The heads switched on at first, counted from 0; all by default.
        decimals: Decimals of the weights, 1 to 6. Two are finer than the eye.

    Raises:
        TypeError: `attention` is not a sequence of tensors (None: the model returned no weights).
        ValueError: An argument does not fit the others, or weights are not rows of probabilities.
    """
    shown = _Shown(attention, tokens, sentence_b_start, title, decimals)
    layers = _check(shown, include_layers, {"heads": heads})
    if layer is not None and layer not in layers:
        raise ValueError(
            f"layer is {layer}, expected one of the layers shown, {layers}"
        )
    options = {"include_layers": layers, "layer": layer, "heads": heads and list(heads)}
    page = _page(bertviz.head_view, shown, options, HEAD_VIEW_CHANGES)
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
        attention: One tensor of weights for each layer, (1, H, T, T); rows sum to one.
        tokens: The T tokens.
        sentence_b_start: Index of sentence B's first token, to choose A → B and the like.
        title: What the view shows, for readers who cannot see it.
        include_layers: Layers shown, counted from 0; all by default.
        include_heads: Heads shown, counted from 0; all by default.
        decimals: Decimals of the weights, 1 to 6. Two are finer than the eye.

    Raises:
        TypeError: `attention` is not a sequence of tensors (None: the model returned no weights).
        ValueError: An argument does not fit the others, or weights are not rows of probabilities.
    """
    shown = _Shown(attention, tokens, sentence_b_start, title, decimals)
    layers = _check(shown, include_layers, {"include_heads": include_heads})
    thumbnail = 10 + 84 / attention[0].shape[1] * len(tokens)
    height = min(760, 95 + int(max(len(layers) * thumbnail, 18 * len(tokens))))
    options = {
        "include_layers": layers,
        "include_heads": include_heads and list(include_heads),
        "display_mode": "light",
    }
    page = _page(bertviz.model_view, shown, options, MODEL_VIEW_CHANGES)
    return View(title, height, page)


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
        queries: One tensor for each layer, (1, H, T, Dh).
        keys: Likewise.
        tokens: The T tokens.
        title: What the view shows, for readers who cannot see it.
        include_layers: Layers that can be chosen, counted from 0; all by default.
        include_heads: Heads that can be chosen, counted from 0; all by default.
        decimals: Decimals of weights, queries and keys, 1 to 6.

    Raises:
        TypeError: `queries` or `keys` is not a sequence of tensors.
        ValueError: An argument does not fit the others, or a number is not finite.
    """
    for name, vectors in {"queries": queries, "keys": keys}.items():
        if not isinstance(vectors, Sequence) or not all(
            isinstance(of_layer, Tensor) and of_layer.dim() == 4 for of_layer in vectors
        ):
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
    shown = _Shown(attention, tokens, None, title, decimals)
    layers = _check(shown, include_layers, {"include_heads": include_heads})
    heads = list(include_heads or range(attention[0].shape[1]))
    numbers = {"attn": attention, "queries": queries, "keys": keys}
    whole = {
        name: [_scaled(of_layers[i][0, heads].tolist(), 10**decimals) for i in layers]
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
    script = importlib.resources.files(bertviz).joinpath("neuron_view.js").read_text()
    drawing = changed(script[script.index("requirejs(") :], NEURON_VIEW_CHANGES)
    decoding = NEURON_VIEW_NUMBERS.replace("SCALE", str(10**decimals))
    script = f"const params = {_data(params)};{decoding}{drawing}"
    page = html_page(title, NEURON_VIEW_CONTROLS, script)
    return View(title, min(760, 150 + 26 * len(tokens)), page)


class _Shown(NamedTuple):
    """What every view is given."""

    attention: Sequence[Tensor]
    tokens: Sequence[str]
    sentence_b_start: int | None
    title: str
    decimals: int


def _check(
    shown: _Shown,
    include_layers: Sequence[int] | None,
    choices: dict[str, Sequence[int] | None],
) -> list[int]:
    """Raises on wrong input; returns the layers to show."""
    attention, tokens, sentence_b_start, title, decimals = shown
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f"title is {title!r}, expected what the view shows, in words")
    if not isinstance(decimals, int) or not 1 <= decimals <= 6:
        raise ValueError(f"decimals is {decimals!r}, expected an integer from 1 to 6")
    strings = not isinstance(tokens, str) and all(isinstance(t, str) for t in tokens)
    if not tokens or not strings:
        raise ValueError(f"tokens is {tokens!r}, expected a list of strings, not empty")
    tensors = isinstance(attention, Sequence) and all(
        isinstance(weights, Tensor) for weights in attention
    )
    if not tensors:
        raise TypeError(
            f"attention is {type(attention).__name__}, expected a sequence of tensors, one for "
            'each layer: load the model with attn_implementation="eager" and call it with '
            "output_attentions=True"
        )
    if not attention:
        raise ValueError("attention is empty, expected one tensor for each layer")
    _check_indices("include_layers", include_layers, len(attention))
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
        if not torch.isfinite(weights).all():
            raise ValueError(f"{where} has weights that are not finite")
        if (weights < 0).any():
            raise ValueError(
                f"{where} has a negative weight, {weights.min().item():.3g}"
            )
        sums = weights.double().sum(-1)  # (1, H, T)
        worst = sums.flatten()[(sums - 1).abs().argmax()].item()
        if abs(worst - 1) > SUM_TOLERANCE:
            raise ValueError(f"{where} has a row that sums to {worst:.4f}, expected 1")
    for name, indices in choices.items():
        _check_indices(name, indices, attention[0].shape[1])
    return list(range(len(attention)) if include_layers is None else include_layers)


def _check_indices(name: str, indices: Sequence[int] | None, count: int) -> None:
    if indices is None:
        return
    different = set(indices)
    if (
        not indices
        or len(different) < len(indices)
        or not different <= set(range(count))
    ):
        raise ValueError(
            f"{name} is {list(indices)}, expected different numbers from 0 to {count - 1}"
        )


def _page(view, shown: _Shown, options: dict, changes: dict[str, str]) -> str:
    """The page of one of bertviz's views, with nothing random and no address in it."""
    arguments = (shown.attention, list(shown.tokens), shown.sentence_b_start)
    scale = 10**shown.decimals
    with warnings.catch_warnings():
        # bertviz leaves its open file to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        output = view(*arguments, **options, html_action="return").data
    # require.js | controls | comment, addresses of the libraries, requirejs(… params … drawing)
    _, _, rest = output.partition("</script>")
    controls, _, script = rest.partition("<script")
    script = script[script.index("requirejs(") : script.rindex("</script>")]
    # bertviz writes the parameters twice, the second time into a comment on the same line.
    before, marker, after = script.partition("const params = ")
    params, end = json.JSONDecoder().raw_decode(after)
    drawing = after[after.index("\n", end) :]
    controls = controls.replace(params["root_div_id"], "bertviz")
    params["root_div_id"] = "bertviz"
    whole, *parts = params["attention"]
    whole["attn"] = _scaled(whole["attn"], scale)
    for part in parts:
        del part["attn"]
    controls = re.sub(
        r"(Layer|Attention): (<select.*?</select>)",
        r"<label>\1: \2</label>",
        controls,
        flags=re.S,
    )
    weights = WEIGHTS.replace("SCALE", str(scale))
    script = f"{before}{marker}{_data(params)};{weights}{changed(drawing, changes)}"
    return html_page(shown.title, controls, script)


def _data(params: dict) -> str:
    """Parameters as they stand in a script: a token may contain `</script>`."""
    return json.dumps(params, separators=(",", ":")).replace("<", "\\u003c")


def _scaled(weights: list | float, scale: int) -> list | int:
    """Weights as integers: 0.125 at scale 100 is 12."""
    if isinstance(weights, list):
        return [_scaled(part, scale) for part in weights]
    return round(weights * scale)
