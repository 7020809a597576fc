"""bertviz's head view and model view for pages without a network.

bertviz (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model") draws with
d3 and jQuery, which it takes from the web. Here its drawing stands in an iframe of its own and
takes both from where the page itself is served. Equal weights give equal text; weights that differ
in their last bits, as between two processors, can still round apart, so the cell of a notebook that
shows a view has the tag `nbval-ignore-output`.
"""

from __future__ import annotations

import html
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import bertviz
import torch
from torch import Tensor

STYLE = """
body { margin: 4px; color: black; font-family: Arial, sans-serif }
select { font: inherit }
label { margin-right: 0.6em; white-space: nowrap }
#vis { margin-top: 6px }
[role=button] { cursor: pointer }
.attn_background[fill=white] { fill: transparent }
"""
# bertviz asks require.js for its libraries; `requirejs` stands in. JupyterLab is known by the
# settings in its page: its address alone ("…/lab/…") could be a book's as well. Browsers differ in
# whether `loading="lazy"` holds for `srcdoc`, so the libraries wait for the reader here.
LOADER = """
async function requirejs(names, draw) {
  await new Promise(near => new IntersectionObserver(
    seen => seen.some(entry => entry.isIntersecting) && near(), {rootMargin: "800px"}
  ).observe(document.body));
  let lab = null;
  try { lab = parent.document.getElementById("jupyter-config-data"); } catch { }
  if (lab) document.body.style.background = "white";
  const folder = lab ? JSON.parse(lab.textContent).baseUrl + "static/" : "../_static/vendor/";
  for (const name of ["jquery.min.js", "d3.v5.min.js"]) {
    const script = document.createElement("script");
    script.src = folder + name;
    const loaded = new Promise(done => {
      script.onload = () => done(true);
      script.onerror = () => done(false);
    });
    document.head.append(script);
    if (!await loaded) {
      document.getElementById("vis").textContent =
        "This view could not load " + script.src + ". The static heatmap shows the same weights.";
      return;
    }
  }
  draw(jQuery, d3);
}
function asButton(shapes, name) {
  shapes.attr("tabindex", 0).attr("role", "button").attr("aria-label", name)
    .on("keydown", function () {
      if (d3.event.key !== "Enter" && d3.event.key !== " ") return;
      d3.event.preventDefault();
      this.dispatchEvent(new MouseEvent("click"));
    })
    .append("title").text(name);
}
"""
# bertviz stores the weights of a sentence pair twice: whole, then cut into A → A, B → B and so on.
WEIGHTS = """
const decoded = weights => Array.isArray(weights) ? weights.map(decoded) : weights / SCALE;
const [whole, ...parts] = params.attention;
whole.attn = decoded(whole.attn);
for (const part of parts) {
  const b = parts[0].left_text.length;
  const [rows, columns] = part.name.split(" -> ").map(side => side.endsWith("A") ? [0, b] : [b]);
  part.attn = whole.attn.map(layer => layer.map(
    head => head.slice(...rows).map(row => row.slice(...columns))));
}
"""
NOTICE = "/* Drawn by bertviz 1.4.1 (Jesse Vig, Apache License 2.0), with changes. */"
NO_SCRIPTS = "This view needs JavaScript. The static heatmap shows the same weights."
# JupyterLab strips the iframe of a notebook that is not trusted yet and shows what is inside it.
UNTRUSTED = "Run this cell to see the interactive view."
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
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class View:
    """An interactive view; the last expression of a notebook cell shows it.

    Attributes:
        title: What the view shows, for readers who cannot see it.
        height: Height in pixels; the page inside scrolls when it needs more.
        page: The complete HTML page inside the iframe.
    """

    title: str
    height: int
    page: str = field(repr=False)

    def _repr_html_(self) -> str:
        srcdoc = self.page.replace("&", "&amp;").replace('"', "&quot;")
        # A scheme other than the page's would get an opaque ground in dark mode.
        return (
            f'<iframe class="bertviz" title="{html.escape(self.title)}" loading="lazy" '
            f'width="100%" height="{self.height}" style="border: 0; color-scheme: light" '
            f'srcdoc="{srcdoc}">{UNTRUSTED}</iframe>'
        )


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
    layers = _check(
        attention, tokens, sentence_b_start, title, include_layers, decimals
    )
    _check_indices("heads", heads, attention[0].shape[1])
    if layer is not None and layer not in layers:
        raise ValueError(
            f"layer is {layer}, expected one of the layers shown, {layers}"
        )
    height = min(640, 100 + 23 * len(tokens))
    options = {"include_layers": layers, "layer": layer, "heads": heads and list(heads)}
    arguments = (attention, list(tokens), sentence_b_start)
    page = _page(
        bertviz.head_view, arguments, options, HEAD_VIEW_CHANGES, title, decimals
    )
    return View(title, height, page)


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
    layers = _check(
        attention, tokens, sentence_b_start, title, include_layers, decimals
    )
    num_heads = attention[0].shape[1]
    _check_indices("include_heads", include_heads, num_heads)
    thumbnail = 10 + 84 / num_heads * len(tokens)
    height = min(760, 95 + int(max(len(layers) * thumbnail, 18 * len(tokens))))
    options = {
        "include_layers": layers,
        "include_heads": include_heads and list(include_heads),
        "display_mode": "light",
    }
    arguments = (attention, list(tokens), sentence_b_start)
    page = _page(
        bertviz.model_view, arguments, options, MODEL_VIEW_CHANGES, title, decimals
    )
    return View(title, height, page)


def _check(
    attention, tokens, sentence_b_start, title, include_layers, decimals
) -> list[int]:
    """Raises on wrong input; returns the layers to show."""
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


def _page(view, arguments, options, changes, title, decimals) -> str:
    """The page of one of bertviz's views, with nothing random and no address in it."""
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
    whole["attn"] = _scaled(whole["attn"], 10**decimals)
    for part in parts:
        del part["attn"]
    controls = re.sub(
        r"(Layer|Attention): (<select.*?</select>)",
        r"<label>\1: \2</label>",
        controls,
        flags=re.S,
    )
    for old, new in changes.items():
        if drawing.count(old) != 1:
            raise RuntimeError(
                f"bertviz's script is not that of 1.4.1: {old!r} is not in it once"
            )
        drawing = drawing.replace(old, new)
    # A token may contain "</script>".
    data = json.dumps(params, separators=(",", ":")).replace("<", "\\u003c")
    weights = WEIGHTS.replace("SCALE", str(10**decimals))
    script = f"{before}{marker}{data};{weights}{drawing}"
    script = "\n".join(line.strip() for line in script.splitlines())
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<main>{controls.strip()}<noscript>{NO_SCRIPTS}</noscript></main>"
        f"<script>{LOADER}{NOTICE}\n{script}</script></body></html>"
    )


def _scaled(weights: list | float, scale: int) -> list | int:
    """Weights as integers: 0.125 at scale 100 is 12."""
    if isinstance(weights, list):
        return [_scaled(part, scale) for part in weights]
    return round(weights * scale)
