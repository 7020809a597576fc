"""Sphinx extension: the directive ``live``, a figure that computes in the reader's browser.

::

    ```{live} mask-lab
    What a reader without scripts is told, such as where the same is shown as a picture.
    ```

The page gets the element ``<live-mask-lab>`` with that text in it, and loads the scripts that this
element needs; other pages load none of them. Where pages are no HTML, nothing is left of it.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

MODELS = "live"
RECORD = Path(__file__).parent.parent / "results" / "live_quantisation.json"

# Of each figure: what it needs of the model, and whether a larger one is offered where it is
# installed. Its script is live/NAME.js.
FIGURES = {
    "soft-lookup": (),
    "score-scale": (),
    "one-head": (),
    "order": (),
    "input-builder": ("vocabulary", "weights"),
    "contexts": ("vocabulary", "weights", "larger"),
    "head-lab": ("vocabulary", "weights"),
    "masking-rule": ("vocabulary",),
    "mask-lab": ("vocabulary", "weights", "larger"),
    "review": ("vocabulary", "weights", "review"),
}
RUNTIME = {"vocabulary": "wordpiece", "weights": "bert"}
COMMENT = re.compile(r"""\s+// [^"'`]*$""")  # after code, and in no text
SUFFIX = {"vocabulary": "js", "weights": "bin", "review": "bin"}


class live_figure(nodes.General, nodes.Element):
    """A live figure; its children are shown where there are no scripts."""


class LiveFigure(SphinxDirective):
    """The directive ``live``."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the figure's node."""
        name = self.arguments[0]
        if name not in FIGURES:
            raise self.error(f"no live figure {name}, expected one of {list(FIGURES)}")
        if not self.content:
            raise self.error(f"live figure {name}: no text for readers without scripts")
        # Kept with the page in Sphinx's environment: a rebuild may leave the page as it is.
        self.env.metadata[self.env.docname].setdefault("live_figures", []).append(name)
        figure = live_figure(name=name)
        self.state.nested_parse(self.content, self.content_offset, figure)
        return [figure]


def visit(translator: HTML5Translator, node: live_figure) -> None:
    """Open the element; its attributes are the addresses of the model's files."""
    builder = translator.builder
    here = builder.get_target_uri(builder.current_docname)
    parts = FIGURES[node["name"]]
    addresses = ""
    for prefix, model in [("", "mini_bert"), ("larger-", "minilm")]:
        folder = f"_static/{MODELS}/{model}"
        if prefix and not ("larger" in parts and Path(builder.outdir, folder).is_dir()):
            continue
        for part in [part for part in parts if part in SUFFIX]:
            with Path(builder.outdir, folder, f"{part}.js").open() as script:
                origin = script.readline().split()[-1]
            # With another model the address changes: a kept copy of the old one is not used.
            file = f"{relative_uri(here, f'{folder}/{part}.{SUFFIX[part]}')}?v={origin[:8]}"
            addresses += f' {prefix}{part}="{file}"'
    translator.body.append(f"<live-{node['name']}{addresses}>")


def depart(translator: HTML5Translator, node: live_figure) -> None:
    """Close the element."""
    translator.body.append(f"</live-{node['name']}>\n")


def skip(translator: nodes.NodeVisitor, node: live_figure) -> None:
    """Leave a figure out."""
    raise nodes.SkipNode


def figures_of(app: Sphinx, page: str) -> list[str]:
    """Return the names of a page's live figures, each once."""
    return list(dict.fromkeys(app.env.metadata[page].get("live_figures", [])))


def add_scripts(app: Sphinx, page: str, template: str, context: dict, tree) -> None:
    """Have a page load the scripts of its figures, in the order in which they need each other."""
    names = figures_of(app, page) if tree else []
    parts = {part: None for name in names for part in FIGURES[name]}
    scripts = [
        *(RUNTIME[part] for part in parts if part in RUNTIME),
        *(["figure"] if names else []),
        *names,
    ]
    for name in scripts:
        app.add_js_file(f"live/{name}.js", loading_method="defer")


def measured_numbers(record: dict) -> dict[str, str]:
    """Return the numbers of the record that the page on the runtime has in its text."""
    before, after = (
        next(run for run in record["runs"] if run["variant"] == variant)
        for variant in ("float16", "int8 by rows")
    )
    megabytes = {
        "live_megabytes_half": before["metrics"]["bytes"],
        "live_megabytes": after["metrics"]["bytes"],
        "live_megabytes_script": after["metrics"]["script_bytes"],
    }
    numbers = {name: f"{size / 1e6:.1f}" for name, size in megabytes.items()}
    numbers["live_parameters"] = f"{after['parameters']:,}"
    for kind in record["config"]["kinds"]:
        old, new = before["metrics"][kind], after["metrics"][kind]
        numbers |= {
            f"live_{kind}_before": f"{old['cross_entropy']:.3f}",
            f"live_{kind}_after": f"{new['cross_entropy']:.3f}",
            f"live_{kind}_same": f"{100 * new['same_best']:.1f} %",
            f"live_{kind}_mean": f"{new['attention_mean']:.5f}",
            f"live_{kind}_largest": f"{new['attention_largest']:.2f}",
        }
    return numbers


def substitute_numbers(app: Sphinx, config: Config) -> None:
    """Let pages write ``{{ live_megabytes }}`` for what was measured."""
    record = json.loads(RECORD.read_text("utf-8"))
    config.myst_substitutions = {
        **config.myst_substitutions,
        **measured_numbers(record),
    }


def write_model_files(app: Sphinx, env) -> list[str]:
    """Write the models once all pages are read, if one of them uses them."""
    names = {name for page in env.found_docs for name in figures_of(app, page)}
    if app.builder.format == "html" and any(FIGURES[name] for name in names):
        from live_model import models, write_model

        for model in models():
            write_model(Path(app.outdir, "_static", MODELS, model), model)
        if any("review" in FIGURES[name] for name in names):
            from live_review import write_review

            write_review(Path(app.outdir, "_static", MODELS, "mini_bert"))
    return []


def shorten_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Leave comments and indents out of the built scripts; the book shows them as they were.

    Line by line: a general tool took a division for a regular expression. No line of these scripts
    begins within a text that readers see.
    """
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir, "_static", "live").glob("*.js"):
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
            lines = [
                COMMENT.sub("", line) for line in lines if not line.startswith("//")
            ]
            path.write_text("\n".join(filter(None, lines)) + "\n", "utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect the extension to a build."""
    others = dict.fromkeys(("latex", "text", "man", "texinfo"), (skip, None))
    app.add_node(live_figure, html=(visit, depart), **others)
    app.add_directive("live", LiveFigure)
    app.connect("config-inited", substitute_numbers)
    app.connect("env-updated", write_model_files)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", shorten_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
