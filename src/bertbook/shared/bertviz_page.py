"""The page inside a bertviz view's frame, and the frame itself.

bertviz (Vig 2019) draws with d3 and jQuery, which it takes from the web. Here its scripts draw in
an iframe of its own and take both from where the page itself is served. The views are in
``bertbook.shared.bertviz``.
"""

from __future__ import annotations

import html
import importlib.resources
import json
import re
from dataclasses import dataclass, field

import bertviz

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
# Numbers come as integers. The weights of a sentence pair come whole; bertviz has them also cut
# into A → A, B → B and so on.
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
NEURONS = """
const decoded = numbers => Array.isArray(numbers) ? numbers.map(decoded) : numbers / SCALE;
const whole = params.attention.all;
for (const name of ["attn", "queries", "keys"]) whole[name] = decoded(whole[name]);
"""
# What bertviz draws for the mouse alone becomes a named button for finger and keyboard as well.
CHANGES = {
    "head_view": {
        "CHECKBOX_SIZE = 20": "CHECKBOX_SIZE = 24",
        'checkbox.on("click",': 'asButton(checkbox, (d, i) => "Head " + i);\ncheckbox.on("click",',
        '.attr("fill", (d, i) => d ?': '.attr("aria-pressed", d => d).attr("fill", (d, i) => d ?',
    },
    "model_view": {
        'clickRegion.on("click",': (
            'asButton(clickRegion.style("opacity", null).style("fill", "transparent"), "Layer " +'
            ' config.layers[layerIndex] + ", head " + config.heads[headIndex]);\n'
            'clickRegion.on("click",'
        ),
    },
    # The drawing with vectors is wider than a phone and scrolls; layers and heads keep their
    # numbers; a white ground would be a black box on a dark page.
    "neuron_view": {
        "getColor('background')": '"transparent"',
        '.attr("width", "100%")': '.attr("width", config.expanded ? 1010 : 450)',
        'layerSelect.append($("<option />").val(i).text(i));': (
            'layerSelect.append($("<option />").val(i).text(params.layers[i]));'
        ),
        'headSelect.append($("<option />").val(i).text(i));': (
            'headSelect.append($("<option />").val(i).text(params.heads[i]));'
        ),
        "$(`#${config.rootDivId} #filter`)": (
            '$("#vectors").on("change", function () { '
            "config.expanded = this.checked; render(); });\n"
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
    },
}
NOTICE = "/* Drawn by bertviz 1.4.1 (Jesse Vig, Apache License 2.0), with changes. */"
NO_SCRIPTS = "This view needs JavaScript. The static heatmap shows the same weights."
# JupyterLab strips the iframe of a notebook that is not trusted yet and shows what is inside it.
UNTRUSTED = "Run this cell to see the interactive view."


@dataclass(frozen=True)
class View:
    """An interactive view; the last expression of a notebook cell shows it.

    Attributes:
        title: what the view shows, for readers who cannot see it.
        height: height in pixels; the page inside scrolls when it needs more.
        page: the complete HTML page inside the iframe.
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


def html_page(view: str, title: str, controls: str, params: dict, decimals: int) -> str:
    """The complete page.

    Args:
        view: the name of bertviz's script, such as ``head_view``.
        title: what the view shows, in words.
        controls: the elements above the drawing, with ``#vis`` for the drawing itself.
        params: what the script draws; its numbers are integers.
        decimals: how many decimals the integers stand for.

    Raises:
        RuntimeError: A text that is changed is not in the script exactly once: it is of another
            version.
    """
    script = importlib.resources.files(bertviz).joinpath(f"{view}.js").read_text()
    script = script[script.index("requirejs(") :]
    for old, new in CHANGES[view].items():
        if script.count(old) != 1:
            raise RuntimeError(
                f"bertviz's script is not that of 1.4.1: {old!r} is not in it once"
            )
        script = script.replace(old, new)
    start, drawing = re.split("const params = .*", script, maxsplit=1)
    # A token may contain `</script>`.
    data = json.dumps(params, separators=(",", ":")).replace("<", "\\u003c")
    decoding = NEURONS if view == "neuron_view" else WEIGHTS
    data = f"const params = {data};{decoding.replace('SCALE', str(10**decimals))}"
    parts = (data, start) if decoding is NEURONS else (start, data)
    script = "\n".join(line.strip() for line in "".join((*parts, drawing)).splitlines())
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<main>{controls.strip()}<noscript>{NO_SCRIPTS}</noscript></main>"
        f"<script>{LOADER}{NOTICE}\n{script}</script></body></html>"
    )
