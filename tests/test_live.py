"""The book's BERT in the reader's browser: the same numbers as in Python, and figures that work."""

import base64
import copy
import io
import json
import random
import re
import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from sphinx.application import Sphinx

from bertbook.attention import (
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
    scaled_dot_score,
)
from bertbook.basic_tokenizer import BasicTokenizer
from bertbook.corpora.documents import KINDS, load_documents
from bertbook.encoder import sinusoids
from bertbook.mini_bert import load_mini_bert
from bertbook.pretrained import WeightsError
from bertbook.results import read_results
from experiments import live_quantisation as experiment
from experiments import live_review as reviews
from tests.test_browser import SIZES, Visit, serve
from tools import live_figures, live_model, page_checks
from tools.page_checks import ROOT, SITE

LIVE = ROOT / "book" / "_assets" / "static" / "live"
BUILT = SITE / "_static" / "live" / "mini_bert"
TOLERANCE = 3e-5
PAIRS = [
    ("And it came to [MASK], that the king spoke to his servants.", None),
    ("The acting is good, but the [MASK] is weak.", "I would not see it again."),
    ("", None),
    ("", ""),
    ("[MASK]", "[MASK] [MASK]"),
    ("He was born in London, and he died in [MASK]. " * 9, "so " * 15),
]
TEXTS = [
    "",
    " \t\n\r",
    "Hello, World! It's 3.14 (or so)...",
    "Das Café in ZÜRICH, naïve Ångström, Łódź ßtraße",
    "e\u0301 u\u0308\u0323 \u1e69 \u0130I\u0131 ΑΣΣΟΣ ὈΔΥΣΣΕΎΣ",
    "注意力机制 is 注意 and 力; カタカナ ひらがな 한국어 豈\uf900",
    "emoji 😀👩‍👩‍👧‍👦 🏳️‍🌈 done",
    "[MASK] [mask] [CLS][SEP] [PAD]x[UNK]",
    "a" * 100 + " " + "a" * 101 + " " + "é" * 100 + " " + "é" * 101,
    "unaffable unwanted running antidisestablishmentarianism",
    "zero\u200bwidth soft\u00adhyphen bom\ufeff nul\x00 bell\x07 next\x85line \x0b \x0c",
    "nbsp\u00a0thin\u2009ideographic\u3000line\u2028para\u2029",
    "\ufffd private\ue000use $5 <b>&amp;</b> ~`^| «quotes» “curly” — –",
    "\U00011070\U0001e944\U000e0041 \u2e43 \u1734 \u166d \u0897",
    "हिन्दी العربية עִבְרִית ไทย",
    "\U0001d165\U0001d16d 𝐁𝐨𝐥𝐝 ﬁ ½ ² K Å ;",
]


@pytest.fixture(scope="module")
def runtime(browser):
    """A page with the runtime, the model and the tokenizer, and nothing of the book."""
    page = browser.new_page()
    for name in ("wordpiece", "bert", "figure"):
        page.add_script_tag(path=LIVE / f"{name}.js")
    page.evaluate("window.bertFiles = {}")
    for name in ("vocabulary", "weights"):
        path = BUILT / f"{name}.js"
        assert path.is_file(), f"{path} is not there: build the book with `make book`"
        page.add_script_tag(path=path)
    page.evaluate("""() => {
      window.tokenizer = new WordPieceTokenizer(bertFiles["mini_bert/vocabulary"]);
      const binary = atob(bertFiles["mini_bert/weights"]);
      window.bert = new Bert(Uint8Array.from(binary, char => char.charCodeAt(0)).buffer);
    }""")
    return page


@pytest.fixture(scope="module")
def python():
    """The committed model, the one that the browser has, and the tokenizer."""
    model, tokenizer = load_mini_bert()
    return model, experiment.load_quantised(), tokenizer


@torch.no_grad()
def in_python(model, tokenizer, a, b, head_mask=None):
    encoding = tokenizer.encode(a, b)
    encoded = model.bert(
        torch.tensor([encoding.ids]),
        token_type_ids=torch.tensor([encoding.token_type_ids]),
        head_mask=head_mask,
        output_hidden_states=True,
        output_attentions=True,
    )
    logits, verdict = model.cls(encoded.last_hidden_state, encoded.pooler_output)
    return {
        "hidden": torch.stack(encoded.hidden_states)[:, 0],  # [L + 1, S, D]
        "attentions": torch.stack(encoded.attentions)[:, 0],  # [L, H, S, S]
        "logits": logits[0, :8],  # [8, V]
        "verdict": verdict[0],  # [2]
    }


IN_BROWSER = """async ([a, b, mask]) => {
  const numbers = (rows) => rows.map((row) => Array.from(row));
  const encoding = tokenizer.encode(a, b);
  const { hiddenStates, attentions } = await bert.forward(encoding, mask);
  const last = hiddenStates.at(-1);
  const first = last.slice(0, 8); // all of them would be a million numbers to hand over
  return {
    hidden: hiddenStates.map(numbers),
    attentions: attentions.map((heads) => heads.map(numbers)),
    logits: numbers(first.map((state) => bert.maskedLM(state))),
    verdict: Array.from(bert.nextSentence(last)),
  };
}"""


# ------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
@pytest.mark.parametrize("ablated", [False, True], ids=["whole", "without heads"])
def test_forward_is_pythons(runtime, python, pair, ablated):
    _, model, tokenizer = python
    mask = None
    if ablated:
        mask = [[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0.5], [1, 1, 1, 0]]
    expected = in_python(model, tokenizer, *pair, mask and torch.tensor(mask))
    found = runtime.evaluate(IN_BROWSER, [*pair, mask])
    for name, tolerance in [
        ("hidden", TOLERANCE),
        ("attentions", TOLERANCE),
        ("logits", 1e-4),
        ("verdict", TOLERANCE),
    ]:
        difference = (torch.tensor(found[name]) - expected[name]).abs().max().item()
        print(f"{name}: {difference:.1e}")
        assert difference < tolerance, name


@pytest.fixture(scope="module")
def held_out():
    """Real texts and pairs that the model was not trained on."""
    found = []
    for kind in KINDS:
        documents = [
            document.sentences
            for document in load_documents()
            if (document.kind, document.part) == (kind, "test")
        ]
        for sentences in documents[:: len(documents) // 7][:7]:
            found.append((sentences[0][:200], None))
            found.append((sentences[0][:200], sentences[-1][:200]))
    return found


def test_forward_is_the_exact_one_on_real_texts(runtime, python, held_out):
    """Against Python in 64 bits on the same weights: what is left is the page's own rounding."""
    _, model, tokenizer = python
    exact = copy.deepcopy(model).double()
    assert len(held_out) >= 40
    largest = dict.fromkeys(("hidden", "attentions", "logits", "verdict"), 0.0)
    for pair in held_out:
        expected = in_python(exact, tokenizer, *pair)
        found = runtime.evaluate(IN_BROWSER, [*pair, None])
        encoded = runtime.evaluate("([a, b]) => tokenizer.encode(a, b)", pair)
        encoding = tokenizer.encode(*pair)
        assert encoded["ids"] == encoding.ids
        assert encoded["types"] == encoding.token_type_ids
        assert encoded["tokens"] == encoding.tokens
        for name in largest:
            gap = (torch.tensor(found[name], dtype=torch.double) - expected[name]).abs()
            largest[name] = max(largest[name], gap.max().item())
    print({name: f"{gap:.1e}" for name, gap in largest.items()})
    assert max(largest[name] for name in ("hidden", "attentions", "verdict")) < 1e-5
    assert largest["logits"] < 3e-5  # they reach 20, so this is as exact


def test_another_engine_agrees(runtime, python, held_out, tmp_path):
    """ONNX Runtime runs the exported model: neither PyTorch's kernels nor the page's code."""
    _, model, tokenizer = python

    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, types):
            encoded = self.model.bert(
                ids,
                token_type_ids=types,
                output_hidden_states=True,
                output_attentions=True,
            )
            logits, verdict = model.cls(
                encoded.last_hidden_state, encoded.pooler_output
            )
            hidden = torch.stack(encoded.hidden_states)[:, 0]
            attentions = torch.stack(encoded.attentions)[:, 0]
            return hidden, attentions, logits[0, :8], verdict[0]

    for pair in held_out[:4]:
        encoding = tokenizer.encode(*pair)
        inputs = {"ids": encoding.ids, "types": encoding.token_type_ids}
        tensors = tuple(torch.tensor([numbers]) for numbers in inputs.values())
        path = tmp_path / "model.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the shapes are this text's, as they may be
            torch.onnx.export(
                Exported().eval(), tensors, path, input_names=list(inputs), dynamo=False
            )
        session = onnxruntime.InferenceSession(path)
        feeds = {n: t.numpy() for n, t in zip(inputs, tensors, strict=True)}
        expected = session.run(None, feeds)
        found = runtime.evaluate(IN_BROWSER, [*pair, None])
        for name, theirs in zip(
            ("hidden", "attentions", "logits", "verdict"), expected, strict=True
        ):
            gap = np.abs(np.array(found[name]) - theirs).max()
            print(f"{name}: {gap:.1e}")
            assert gap < (1e-4 if name == "logits" else TOLERANCE), name


def test_tokenizer_is_pythons_on_hostile_strings(runtime, python):
    """Two thousand strings of what tokenizers trip over."""
    tokenizer, draw = python[2], random.Random(0)
    parts = [
        *"aZéÅßİıΣςσΑ .,!?'-_$",
        *("\u0301", "\u0308", "\u0323", "\u200b", "\u200d", "\u00ad", "\ufeff"),
        *(
            "\x00",
            "\x07",
            "\x1b",
            "\x85",
            "\t",
            "\n",
            "\r",
            "\u2028",
            "\u00a0",
            "\u3000",
        ),
        *(
            "\u202e",
            "\u2067",
            "א",
            "ש",
            "ع",
            "ر",
            "हि",
            "ไ",
            "한",
            "カ",
            "注",
            "\U00020000",
        ),
        *(
            "😀",
            "👩\u200d👧",
            "🏳\ufe0f",
            "\U0001d165",
            "𝐁",
            "ﬁ",
            "½",
            "²",
            "\u212a",
            "\ufffd",
        ),
        *(
            "[MASK]",
            "[mask]",
            "[CLS]",
            "[SEP]",
            "##",
            "the",
            "unaffable",
            "king",
            "ΟΔΟΣ",
        ),
    ]
    texts = ["".join(draw.choices(parts, k=draw.randint(0, 40))) for _ in range(2000)]
    found = runtime.evaluate("texts => texts.map(x => tokenizer.tokenize(x))", texts)
    for text, pieces in zip(texts, found, strict=True):
        assert pieces == tokenizer.tokenize(text), repr(text)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_tokenizer_is_pythons(runtime, python, text):
    tokenizer = python[2]
    assert runtime.evaluate("text => tokenizer.tokenize(text)", text) == (
        tokenizer.tokenize(text)
    )


def test_tokenizer_cuts_at_every_character_where_pythons_does(runtime, python):
    """Each code point between two letters: pieces are the same, words but for unknown ones."""
    codes = [*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)]
    found = runtime.evaluate(
        """codes => codes.map(code => {
          const words = tokenizer.words(`a${String.fromCodePoint(code)}b`);
          return [words.join(" "), words.flatMap(word => tokenizer.longestMatch(word)).join(" ")];
        })""",
        codes,
    )
    tokenizer, basic = python[2], BasicTokenizer()
    other = []
    for code, (words, pieces) in zip(codes, found, strict=True):
        text = f"a{chr(code)}b"
        assert pieces.split() == tokenizer.tokenize(text), hex(code)
        if words.split(" ") != [word.text for word in basic.words(text)]:
            other.append(code)
    # Letters that Unicode took up after the library's tables; the vocabulary has none of them.
    assert len(other) < 50


def test_broken_text_is_refused(runtime):
    for text in ("ab\ud800", "\udc00", "x\udfff\ud83d"):
        place = next(i for i, c in enumerate(text) if 0xD800 <= ord(c) < 0xE000)
        escaped = "".join(f"\\u{ord(c):04x}" for c in text)
        call = f"tokenizer.tokenize('{escaped}')"
        told = runtime.evaluate(
            f"() => {{ try {{ {call} }} catch (e) {{ return e.message }} }}"
        )
        assert told == f"position {place} of the text holds half of a surrogate pair"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("tokenizer.encode('so '.repeat(127))", "129 pieces .* at most 128 fit"),
        ("bert.forward({ids: [8192], types: [0]})", "no row for piece 8192 of type 0"),
        ("bert.forward({ids: [7], types: [2]})", "piece 7 of type 2 at position 0"),
        (
            "bert.forward({ids: Array(129).fill(7), types: Array(129).fill(0)})",
            "at position 128",
        ),
    ],
)
def test_errors_name_the_value(runtime, call, told):
    found = runtime.evaluate(
        f"async () => {{ try {{ await {call} }} catch (e) {{ return e.message }} }}"
    )
    assert re.search(told, found)


def test_time_of_twelve_tokens(runtime):
    milliseconds = runtime.evaluate("""async () => {
      const encoding = tokenizer.encode("the king spoke to his servants in the house .");
      await bert.forward(encoding);
      const start = performance.now();
      const { hiddenStates } = await bert.forward(encoding);
      bert.maskedLM(hiddenStates[4][3]);
      return [encoding.ids.length, performance.now() - start];
    }""")
    print("{:.0f} tokens: {:.0f} ms".format(*milliseconds))
    assert milliseconds[0] == 12


def test_the_runtime_is_short_enough_to_be_read():
    for name in ("bert.js", "wordpiece.js"):
        lines = (LIVE / name).read_text("utf-8").splitlines()
        assert len(lines) < 150
        assert max(map(len, lines)) <= 86  # the page shows them without scrolling


def test_the_books_styles_define_every_color_and_font_of_the_figures():
    sheet = (LIVE.parent / "book.css").read_text("utf-8")
    defined = set(re.findall(r"^  (--[a-z-]+):", sheet, re.M))
    for path in LIVE.glob("*.js"):
        taken = set(re.findall(r"var\((--[a-z-]+)\)", path.read_text("utf-8")))
        assert taken - {"--share"} <= defined, path.name


# --------------------------------------------------------------------------- what is stored


def test_a_quantised_row_is_within_half_a_step():
    rows = np.array([(0.5, -1.27, 0.003, 0.0), (0.0, 0.0, 0.0, 0.0)], "f4")
    factors, whole = live_model.quantise(rows)
    assert whole.tolist() == [[50, -127, 0, 0], [0, 0, 0, 0]]
    assert (np.abs(whole * factors[:, None] - rows).max(1) <= factors / 2).all()
    assert factors[1] == 0


def test_all_weights_are_within_half_a_step(python):
    exact = python[0].state_dict()
    found = experiment.dequantised(experiment.packed_mini_bert())
    missing = set(exact) - set(found)
    assert missing == {
        "cls.predictions.decoder.bias",
        "cls.predictions.decoder.weight",
    }
    for name, value in found.items():
        if value.ndim == 2:
            step = exact[name].abs().amax(1, keepdim=True) / 127
            assert ((value - exact[name]).abs() <= 0.5001 * step).all(), name
        else:
            assert value.equal(exact[name]), name


def test_files_are_written_once(tmp_path):
    live_model.write_model(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [
        "vocabulary.js",
        "weights.bin",
        "weights.js",
    ]
    for file in files:
        assert file.read_bytes() == (BUILT / file.name).read_bytes()
    times = [file.stat().st_mtime_ns for file in files]
    live_model.write_model(tmp_path)
    assert [file.stat().st_mtime_ns for file in files] == times
    files[0].write_text("// another origin\n")
    live_model.write_model(tmp_path)
    assert files[0].read_bytes() == (BUILT / files[0].name).read_bytes()
    assert [file.stat().st_mtime_ns for file in files[1:]] == times[1:]
    # Both ways of loading give the same bytes.
    script = files[2].read_text()
    text = script[script.index(" = ") + 3 :].strip(";\n")
    assert base64.b64decode(json.loads(text)) == files[1].read_bytes()


def test_other_numbers_are_refused(tmp_path):
    header = b'{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}'
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="a has dtype I64, expected F16 or F32"):
        list(live_model.read_safetensors(file))


def test_another_difference_to_minilm_is_refused(tmp_path, monkeypatch):
    other = tmp_path / live_model.MINILM_HEAD.name
    whole = live_model.MINILM_HEAD.read_bytes()
    monkeypatch.setattr(live_model, "MINILM_HEAD", other)
    with pytest.raises(WeightsError, match=r"minilm_mlm.safetensors is missing"):
        live_model.minilm()
    other.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged or another file"):
        live_model.minilm()


# ------------------------------------------------------------------- what quantising costs


@pytest.fixture(scope="module")
def record():
    runs = read_results("live_quantisation")["runs"]
    return {run["variant"]: run["metrics"] for run in runs}


@pytest.mark.parametrize("kind", experiment.CONFIG["kinds"])
def test_bytes_cost_hardly_anything(record, kind):
    before, after = (record[name][kind] for name in ("float16", "int8 by rows"))
    assert before["places"] == after["places"] > 2000
    assert abs(after["cross_entropy"] - before["cross_entropy"]) < 0.01
    assert abs(after["top_1"] - before["top_1"]) < 0.01
    assert 0.95 < after["same_best"] < 1
    assert after["attention_mean"] < 0.001
    assert 0.01 < after["attention_largest"] < 0.3


def test_the_record_of_the_bytes_can_be_measured_again(record):
    assert read_results("live_quantisation")["config"] == experiment.CONFIG
    found = experiment.measure(
        {**experiment.CONFIG, "kinds": ["reviews"]}, "int8 by rows"
    )
    expected = record["int8 by rows"]
    assert found["bytes"] == expected["bytes"]
    assert found["script_bytes"] == expected["script_bytes"]
    assert found["reviews"] == pytest.approx(expected["reviews"], abs=0.003)


def test_the_smoke_run_writes_and_resumes(tmp_path):
    experiment.main(["--smoke", "--folder", str(tmp_path)])
    file = tmp_path / "live_quantisation.json"
    before = file.read_text()
    assert [run["variant"] for run in json.loads(before)["runs"]] == [
        "float16",
        "int8 by rows",
    ]
    experiment.main(["--smoke", "--resume", "--folder", str(tmp_path)])
    assert file.read_text() == before


def test_the_page_has_the_measured_numbers():
    text = page_checks.read("live/runtime.html").article.get_text()
    numbers = live_figures.measured_numbers(read_results("live_quantisation"))
    assert len(numbers) == 4 + 5 * 3
    for name, number in numbers.items():
        assert number in text, name
    assert f"more than {TOLERANCE:.5f};" in text
    assert "{{" not in text


# ------------------------------------------------------------------------------- the figures

FIGURES = {
    "soft-lookup": "q1_attention/attention.html",
    "score-scale": "q1_attention/attention.html",
    "one-head": "q1_attention/multi_head.html",
    "order": "q2_transformer/encoder.html",
    "input-builder": "q3_bert_input/input.html",
    "contexts": "q3_bert_input/inside_bert.html",
    "head-lab": "q3_bert_input/inside_bert.html",
    "masking-rule": "q4_pretraining/masking.html",
    "mask-lab": "q4_pretraining/pretraining.html",
    "review": "q4_pretraining/fine_tuning.html",
}


@pytest.fixture(scope="module")
def home():
    """The book under an address with a folder in it."""
    server, address = serve(SITE.parent)
    yield f"{address}{SITE.name}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def figure(browser, home):
    """Opens a figure's page; returns the visit and the figure, which is not on the screen yet."""
    contexts = []

    def open_page(name, address=home, fragment="", **options):
        options = {"viewport": SIZES["desk"], "color_scheme": "light"} | options
        contexts.append(browser.new_context(**options))
        seen = Visit(contexts[-1].new_page(), address)
        seen.page.goto(address + FIGURES[name] + fragment, timeout=120_000)
        return seen, seen.page.locator(f"live-{name}")

    yield open_page
    for context in contexts:
        context.close()


# Four of the eight combinations: any two choices meet in each of their ways.
WAYS = (
    "desk, light, server",
    "desk, dark, folder",
    "phone, light, folder",
    "phone, dark, server",
)


def opening(way):
    """What `figure` needs to open a page in one of the ways."""
    size, theme, place = way.split(", ")
    options = {"viewport": SIZES[size], "color_scheme": theme}
    if theme == "dark":
        options["reduced_motion"] = "reduce"
    if place == "folder":
        options["address"] = f"{SITE.as_uri()}/"
    return options


class Hand:
    """Works controls: by keys alone, or by the mouse alone."""

    def push(self, button):
        button.press("Enter")

    def tick(self, box):
        box.press("Space")

    def slide(self, slider, value):
        """Moves a slider to a value, or by how it names it: "min", "max"."""
        slider.press("End" if value == "max" else "Home")
        if value not in ("min", "max"):
            least, step = (float(slider.get_attribute(a)) for a in ("min", "step"))
            for _ in range(round((value - least) / step)):
                slider.press("ArrowRight")


class MouseHand(Hand):
    """The buttons of the mouse are pressed where the control stands on the screen."""

    def push(self, button):
        # A button that says it is of no use just now can be clicked all the same.
        button.click(force=button.get_attribute("aria-disabled") == "true")

    def tick(self, box):
        box.click()

    def slide(self, slider, value):
        slider.click(position=place_on(slider, value))


def place_on(slider, value):
    """Where a slider has its thumb, 16 pixels wide, at a value."""
    least, most = (float(slider.get_attribute(a)) for a in ("min", "max"))
    value = {"min": least, "max": most}.get(value, value)
    box = slider.bounding_box()
    share = (value - least) / (most - least)
    return {"x": 8 + share * (box["width"] - 16), "y": box["height"] / 2}


@pytest.fixture(params=["keys: desk, light, server", "mouse: phone, dark, folder"])
def used(figure, request):
    """Opens a figure in one of two ways that have nothing alike; returns the hand as well."""
    hand, way = request.param.split(": ")

    def open_page(name):
        hands = {"keys": Hand, "mouse": MouseHand}
        return *figure(name, **opening(way)), hands[hand]()

    return open_page


def wait_until_still(element, looks=5):
    """Waits until a figure has begun, and has computed what it was asked, at so many looks."""
    element.evaluate(
        """async (figure, looks) => {
          const wait = () => new Promise(resolve => setTimeout(resolve, 20));
          for (let free = 0; free < looks; free = figure.busy === false ? free + 1 : 0)
            await wait();
        }""",
        looks,
    )


def ready(seen, element, text):
    """Brings the figure on the screen and waits for a text in it."""
    element.scroll_into_view_if_needed()
    element.get_by_text(text).first.wait_for(timeout=60_000)
    return seen.page


def loaded(seen):
    names = [response.url.split("/")[-1] for response in seen.responses]
    return [name.split("?")[0] for name in names if "/live/" in name or ".js" in name]


def test_every_figure_stands_on_its_page_and_scripts_on_no_other():
    assert set(FIGURES) == set(live_figures.FIGURES)
    for name in page_checks.contents():
        page = page_checks.read(name)
        found = [tag.name for tag in page.soup.find_all(re.compile("^live-"))]
        assert found == [
            f"live-{figure}" for figure, at in FIGURES.items() if at == name
        ]
        scripts = page.soup.find_all("script", src=re.compile("_static/live/"))
        assert bool(scripts) == bool(found), name


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", SIZES)
def test_nothing_jumps(figure, name, size):
    seen, element = figure(name, viewport=SIZES[size])
    before = element.bounding_box()["height"]
    element.scroll_into_view_if_needed()
    seen.settle()
    wait_until_still(element)
    assert element.bounding_box()["height"] == pytest.approx(before, abs=2)
    assert seen.problems == []


def test_weights_come_when_they_are_needed_and_once(figure):
    seen, element = figure("mask-lab")
    seen.settle()
    assert "weights." not in str([each.url for each in seen.responses])
    # A second figure of the same page uses the same model. A server gives bytes, not the script.
    element.evaluate("figure => figure.after(figure.cloneNode(true))")
    ready(seen, element.first, "computed here in")
    ready(seen, element.nth(1), "computed here in")
    urls = [each.url for each in seen.responses]
    assert sum("weights.bin" in url for url in urls) == 1
    assert sum("weights.js" in url for url in urls) == 0
    assert sum("vocabulary.js" in url for url in urls) == 1
    assert seen.problems == []


@pytest.mark.parametrize("name", FIGURES)
def test_figure_without_scripts_and_on_paper(figure, name):
    seen, element = figure(name, java_script_enabled=False)
    assert "that needs a browser with scripts" in element.inner_text()
    assert element.locator("p").is_visible()
    seen, element = figure(name)
    seen.page.emulate_media(media="print")
    assert not element.is_visible()


def test_mask_lab_fills_in_as_python_does(used, python):
    seen, element, hand = used("mask-lab")
    page = ready(seen, element, "computed here in")
    _, model, tokenizer = python

    def compare(a, b, place):
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


def test_soft_lookup_opens_on_the_chapters_numbers(used):
    seen, element, hand = used("soft-lookup")
    ready(seen, element, "Output: (6.00, 7.00)")
    weights = element.locator("td.bar")
    assert weights.all_inner_texts() == ["0.125", "0.250", "0.625"]
    hand.slide(element.get_by_label("sharpness"), "min")
    assert weights.all_inner_texts() == ["0.333"] * 3
    element.get_by_text("with β = 0 the keys do not matter").wait_for()
    hand.slide(element.get_by_label("sharpness"), "max")
    assert float(weights.nth(2).inner_text()) > 0.99
    hand.slide(element.get_by_label("q₂"), "min")
    assert float(weights.nth(1).inner_text()) > 0.99
    assert seen.problems == []


# Where the plane of the soft lookup has a point, on the screen.
ON_SCREEN = """(svg, [x, y]) => {
  const at = new DOMPoint(40 * x, -40 * y).matrixTransform(svg.getScreenCTM());
  return [at.x, at.y];
}"""


@pytest.fixture
def plane(figure):
    """Opens the soft lookup; returns the visit, the figure, its plane and its two sliders."""

    def open_page(**options):
        seen, element = figure("soft-lookup", **options)
        ready(seen, element, "Output: (6.00, 7.00)")
        svg = element.locator("svg").first
        svg.evaluate(
            "svg => svg.scrollIntoView({behavior: 'instant', block: 'center'})"
        )
        sliders = [element.get_by_label(name) for name in ("q₁", "q₂")]
        return seen, element, svg, sliders

    return open_page


def values_of(sliders):
    return [slider.input_value() for slider in sliders]


@pytest.mark.parametrize("way", WAYS)
def test_the_query_of_the_soft_lookup_can_be_dragged(plane, way):
    seen, element, svg, sliders = plane(**opening(way))
    mouse = seen.page.mouse

    def move(x, y, steps=1):
        mouse.move(*svg.evaluate(ON_SCREEN, [x, y]), steps=steps)

    move(-2, -2)
    mouse.down()  # beside the query: nothing is taken hold of
    move(2, -1)
    mouse.up()
    assert values_of(sliders) == ["1", "1"]
    move(1, 1)
    mouse.down()
    move(0, 0, steps=4)
    move(2, -1, steps=4)
    mouse.up()
    assert values_of(sliders) == ["2", "-1"]
    element.get_by_text("Output: (").wait_for()
    weights = [float(text) for text in element.locator("td.bar").all_inner_texts()]
    expected = np.exp([0, 2 * np.log(2), -np.log(5)])
    assert weights == pytest.approx(list(expected / expected.sum()), abs=0.0006)
    move(-1, 2)  # it was let go
    assert values_of(sliders) == ["2", "-1"]
    move(2, -1)
    mouse.down()
    move(3.2, 3.2, steps=4)
    mouse.up()
    assert values_of(sliders) == ["3", "3"]
    assert seen.problems == []


def test_a_finger_drags_the_query_and_leaves_the_page_where_it_is(plane):
    options = {"has_touch": True, "is_mobile": True}
    seen, _, svg, sliders = plane(**opening("phone, dark, server"), **options)
    touch = seen.page.context.new_cdp_session(seen.page)

    def drag(*points):
        for kind, point in zip(
            ("Start", *["Move"] * len(points)), points, strict=False
        ):
            x, y = svg.evaluate(ON_SCREEN, point)
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": f"touch{kind}", "touchPoints": [{"x": x, "y": y}]},
            )
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def top():
        return svg.evaluate("svg => svg.getBoundingClientRect().top")

    before = top()
    drag([1, 1], [1, 0], [1, -1], [2, -2])
    assert values_of(sliders) == ["2", "-2"]
    assert top() == pytest.approx(before, abs=1)
    seen.page.wait_for_timeout(500)  # a swipe goes on for a while after the finger
    assert top() == pytest.approx(before, abs=1)
    # Beside the query a finger scrolls the page, as everywhere.
    drag([-2, -2], [-2, -1], [-2, 1], [-2, 3])
    seen.page.wait_for_function(
        "([svg, before]) => svg.getBoundingClientRect().top < before - 50",
        arg=[svg.element_handle(), before],
    )
    assert values_of(sliders) == ["2", "-2"]
    assert seen.problems == []


def test_score_scale_shows_what_the_scale_does(used):
    seen, element, hand = used("score-scale")
    ready(seen, element, "no scale")
    hand.slide(element.get_by_label("width d"), "max")
    best = {name: [] for name in ("no scale", "1/√d", "1/d")}
    for _ in range(20):
        hand.push(element.get_by_role("button", name="Draw again"))
        for name, text in zip(
            best, element.locator(".told").all_inner_texts(), strict=True
        ):
            best[name].append(float(re.search(r"keys (\d+)", text)[1]))
    assert np.mean(best["no scale"]) > 70
    assert 5 < np.mean(best["1/√d"]) < 30
    assert np.mean(best["1/d"]) < 3
    assert seen.problems == []


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


def test_one_head_computes_as_python_does_and_writes_out_each_number(used):
    seen, element, hand = used("one-head")
    page = ready(seen, element, "The weight of query q₃ on key k₂")
    told = element.locator(".told")
    matrices = {
        "X": [[1, 0], [0, 1], [1, 1]],
        "W_Q": [[0, 1], [1, 0]],
        "W_K": [[1.296, 0], [0, 2.276]],
        "W_V": [[8, 0], [0, 8]],
    }
    masks = {
        "none": torch.ones(3, 3, dtype=torch.bool),
        "causal": causal_mask(3),
        "padding (token 3)": padding_mask(torch.tensor([2]), 3)[0].expand(3, 3),
    }

    def field(name, i, j):
        return element.get_by_label(f"{name}, row {i + 1}, column {j + 1}", exact=True)

    def cells(name):
        rows = element.get_by_role("grid", name=name).locator("tbody tr")
        return rows.evaluate_all(
            "rows => rows.map(row => [...row.querySelectorAll('td')].map(x => x.textContent))"
        )

    def compare(mask):
        X, W_Q, W_K, W_V = (torch.tensor(m).double() for m in matrices.values())
        Q, K, V = X @ W_Q, X @ W_K, X @ W_V
        output, weights = scaled_dot_product_attention(
            Q, K, V, masks[mask], return_weights=True
        )
        for name, expected in {
            "Q = ": Q,
            "K = ": K,
            "V = ": V,
            "scores": scaled_dot_score(Q, K),
            "weights: softmax": weights,
            "output": output,
        }.items():
            found = [[float(x.replace("−", "-")) for x in row] for row in cells(name)]
            # Three decimals, fewer of larger numbers.
            torch.testing.assert_close(
                torch.tensor(found).double(), expected, atol=6e-4, rtol=6e-4
            )

    compare("none")
    assert cells("weights: softmax")[2] == ["0.125", "0.250", "0.625"]
    assert cells("output")[2] == ["6", "7"]
    assert "5.00 / (2.50 + 5.00 + 12.50) = 0.250" in told.inner_text()
    hand.tick(element.get_by_label("causal"))
    compare("causal")
    assert cells("weights: softmax")[0] == ["1.000", "0", "0"]
    assert cells("weights: softmax")[2] == ["0.125", "0.250", "0.625"]
    hand.tick(element.get_by_label("padding"))
    compare("padding (token 3)")

    # By keyboard: to the weights, up, and on to the output.
    weights = element.get_by_role("grid", name="weights: softmax")
    weights.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    assert "(exp(0.916) + exp(1.609) + exp(−∞))" in told.inner_text()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # there is no row above the first
    assert "The weight of query q₁ on key k₃" in told.inner_text()
    assert element.locator(".from").all_inner_texts() == cells("scores")[0]
    page.keyboard.press("Tab")
    assert "The output of query q₁, number 1" in told.inner_text()
    assert element.locator(".from").count() == 3 + 3
    element.get_by_role("grid", name="Q = ").locator("td").nth(3).hover()
    assert "row 2 of X times column 2 of WQ" in told.inner_text()
    assert "0·1 + 1·0 = 0" in told.inner_text()

    # Other numbers, large and small, and what is no number.
    matrices |= {"X": [[-3, 2.5], [0.25, 1], [9, -10]], "W_Q": [[2, -1], [0.5, 10]]}
    for name in ("X", "W_Q"):
        for i, row in enumerate(matrices[name]):
            for j, number in enumerate(row):
                field(name, i, j).fill(str(number).replace("-", "−"))
    compare("padding (token 3)")
    before = cells("output")
    for text in ("<b>x", "", "11", "1,5"):
        field("W_K", 0, 1).fill(text)
        element.get_by_text(
            f"W_K, row 1, column 2: “{text}” is not a number from −10 to 10."
        ).wait_for()
        assert cells("output") == before
    assert element.locator("b").count() == 0
    hand.push(element.get_by_role("button", name="The first numbers"))
    assert element.get_by_role("status").inner_text() == ""
    assert cells("weights: softmax")[2] == ["0.333", "0.667", "0"]
    assert seen.problems == []


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
        return scaled_dot_product_attention(Q, K, V)

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


def fresh_odds(model, ids):
    with torch.no_grad():
        rotten, fresh = model(torch.tensor([ids])).logits[0].tolist()
    return fresh - rotten


REVIEWS = ["", "[MASK]", "A dull, unwatchable film.", "It is not bad at all! " * 6]


def test_the_reviewer_is_pythons_and_leaves_the_model_alone(runtime, python):
    for path in (LIVE / "review.js", BUILT / "review.js"):
        runtime.add_script_tag(path=path)
    model, tokenizer = reviews.reviewer_in_bytes(), python[2]
    name = "bert.encoder.layer.0.attention.self.query.weight"
    before = runtime.evaluate(f"Array.from(bert.weights['{name}'][3])")
    runtime.evaluate("""() => {
      const binary = atob(bertFiles["mini_bert/review"]);
      const file = Uint8Array.from(binary, char => char.charCodeAt(0)).buffer;
      window.judge = reviewer(bert, new Bert(file).weights);
    }""")
    for text in REVIEWS:
        found = runtime.evaluate(
            """async text => {
              const { hiddenStates } = await judge.forward(tokenizer.encode(text));
              return 1 / (1 + Math.exp(-freshOdds(judge, hiddenStates.at(-1))));
            }""",
            text,
        )
        odds = fresh_odds(model, tokenizer.encode(text).ids)
        assert found == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)
    assert runtime.evaluate(f"Array.from(bert.weights['{name}'][3])") == before
    changed = runtime.evaluate(f"Array.from(judge.weights['{name}'][3])")
    assert np.abs(np.subtract(changed, before)).max() > 1e-3


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
    element.get_by_text("…").first.wait_for()
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


# --------------------------------------------------------------------------- the directive


@pytest.fixture
def sphinx(tmp_path, monkeypatch):
    """Builds a page of Markdown by Sphinx alone; returns its text and the warnings."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    book = tmp_path / "book"
    book.mkdir()
    (book / "other.md").write_text("# Other\n\nText.\n")

    def build(text, builder="html"):
        (book / "index.md").write_text(
            f"# Page\n\n{text}\n\n```{{toctree}}\nother\n```\n"
        )
        warnings = io.StringIO()
        app = Sphinx(
            book,
            None,
            tmp_path / builder,
            tmp_path / "trees",
            builder,
            confoverrides={
                "extensions": ["myst_parser", "live_figures"],
                "html_static_path": [str(LIVE.parent)],
                "myst_enable_extensions": ["substitution"],
                "html_theme": "basic",
            },
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build()
        return tmp_path / builder, warnings.getvalue()

    return build


FIGURE = "```{live} soft-lookup\nNo *scripts*.\n```"


def test_directive_adds_scripts_to_its_page_only(sphinx):
    out, warnings = sphinx(FIGURE)
    text = (out / "index.html").read_text("utf-8")
    assert "<live-soft-lookup><p>No <em>scripts</em>.</p>" in text
    scripts = re.findall(r'<script defer="defer" src="_static/live/([\w-]+)\.js', text)
    assert scripts == ["figure", "soft-lookup"]
    assert "live/" not in (out / "other.html").read_text("utf-8")
    assert not (out / "_static" / "live" / "mini_bert").exists()  # nobody asked for it
    assert "live" not in warnings


def test_directive_leaves_nothing_where_pages_are_no_html(sphinx):
    out, _ = sphinx(FIGURE, "text")
    text = (out / "index.txt").read_text("utf-8")
    assert "Page" in text
    assert "scripts" not in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "```{live} soft-looking\nText.\n```",
            "no live figure soft-looking, expected one of",
        ),
        ("```{live} soft-lookup\n```", "no text for readers without scripts"),
    ],
)
def test_directive_refuses_what_it_does_not_know(sphinx, text, told):
    _, warnings = sphinx(text)
    assert told in warnings


def test_pages_are_built_without_torch():
    code = (
        "import sys; sys.path[:0] = ['tools']; import live_model, live_figures; "
        "import live_review; "
        "live_model.packed_weights(*live_model.mini_bert()); live_model.vocabulary(); "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["False"]
