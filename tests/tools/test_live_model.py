"""The book's BERT in the reader's browser: the same numbers as in Python."""

import base64
import copy
import json
import random
import re
import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from bertbook.corpora.documents import KINDS, load_documents
from bertbook.shared.experiment import Job
from bertbook.shared.files import WeightsError
from bertbook.shared.results import read_results
from bertbook.tokenizer.words import BasicTokenizer
from experiments import live_quantisation as experiment
from experiments import live_review as reviews
from tests.browser.figures import BUILT, LIVE, TOLERANCE, fresh_odds, in_python
from tools import live_figures, live_model, page_checks

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


IN_BROWSER = """async ([a, b, mask]) => {
  // As text: handed over number by number, they would take longer than the pass.
  const packed = (numbers) => {
    const shape = [], flat = [];
    for (let part = numbers; part.length !== undefined; part = part[0]) shape.push(part.length);
    const walk = (part) => part.length === undefined ? flat.push(part) : part.forEach(walk);
    walk(numbers);
    const bytes = new Uint8Array(Float64Array.from(flat).buffer);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return [shape, btoa(text)];
  };
  const encoding = tokenizer.encode(a, b);
  const { hiddenStates, attentions } = await bert.forward(encoding, mask);
  const last = hiddenStates.at(-1);
  const first = last.slice(0, 8); // all of them would be a million numbers to hand over
  return {
    hidden: packed(hiddenStates),
    attentions: packed(attentions),
    logits: packed(first.map((state) => bert.maskedLM(state))),
    verdict: packed(bert.nextSentence(last)),
  };
}"""


def in_browser(runtime, a, b, head_mask=None):
    """What `in_python` computes, by the page's own code."""
    found = runtime.evaluate(IN_BROWSER, [a, b, head_mask])
    return {
        name: torch.from_numpy(
            np.frombuffer(base64.b64decode(text)).reshape(shape).copy()
        )
        for name, (shape, text) in found.items()
    }


# ------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
@pytest.mark.parametrize("ablated", [False, True], ids=["whole", "without heads"])
def test_forward_is_pythons(runtime, python, pair, ablated):
    _, model, tokenizer = python
    mask = None
    if ablated:
        mask = [[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0.5], [1, 1, 1, 0]]
    expected = in_python(model, tokenizer, *pair, mask and torch.tensor(mask))
    found = in_browser(runtime, *pair, mask)
    for name, tolerance in [
        ("hidden", TOLERANCE),
        ("attentions", TOLERANCE),
        ("logits", 1e-4),
        ("verdict", TOLERANCE),
    ]:
        difference = (found[name] - expected[name]).abs().max().item()
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
        found = in_browser(runtime, *pair)
        encoded = runtime.evaluate("([a, b]) => tokenizer.encode(a, b)", pair)
        encoding = tokenizer.encode(*pair)
        assert encoded["ids"] == encoding.ids
        assert encoded["types"] == encoding.token_type_ids
        assert encoded["tokens"] == encoding.tokens
        for name in largest:
            gap = (found[name] - expected[name]).abs()
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
        found = in_browser(runtime, *pair)
        for name, theirs in zip(
            ("hidden", "attentions", "logits", "verdict"), expected, strict=True
        ):
            gap = np.abs(found[name].numpy() - theirs).max()
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


@pytest.mark.slow
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
    with pytest.raises(
        ValueError, match="a has dtype int64, expected float16 or float32"
    ):
        live_model.read_safetensors(file)


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


@pytest.mark.parametrize("kind", experiment.CONFIG.kinds)
def test_bytes_cost_hardly_anything(record, kind):
    before, after = (record[name][kind] for name in ("float16", "int8 by rows"))
    assert before["places"] == after["places"] > 2000
    assert abs(after["cross_entropy"] - before["cross_entropy"]) < 0.01
    assert abs(after["top_1"] - before["top_1"]) < 0.01
    assert 0.95 < after["same_best"] < 1
    assert after["attention_mean"] < 0.001
    assert 0.01 < after["attention_largest"] < 0.3


@pytest.mark.slow
def test_the_record_of_the_bytes_can_be_measured_again(record):
    job = Job(replace(experiment.CONFIG, kinds=("reviews",)), "int8 by rows")
    found = experiment.measure(job, experiment.load_quantised())
    expected = record["int8 by rows"]
    assert found["bytes"] == expected["bytes"]
    assert found["script_bytes"] == expected["script_bytes"]
    assert found["reviews"] == pytest.approx(expected["reviews"], abs=0.003)


@pytest.mark.slow
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
