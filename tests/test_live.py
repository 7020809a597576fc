"""The book's BERT in the reader's browser: the same numbers as in Python, and figures that work."""

import base64
import json
import time

import numpy as np
import pytest
import torch
from playwright.sync_api import sync_playwright

from bertbook.mini_bert import FOLDER, load_mini_bert
from tests.test_browser import FLAGS, chromium
from tools import live_model
from tools.page_checks import ROOT, SITE

LIVE = ROOT / "book" / "_assets" / "static" / "live"
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
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runtime(browser):
    """A page with the runtime, the model and the tokenizer, and nothing of the book."""
    page = browser.new_page()
    for path in (LIVE / "wordpiece.js", LIVE / "bert.js"):
        page.add_script_tag(path=path)
    for name in ("vocabulary", "weights"):
        path = SITE / "_static" / "live" / "mini_bert" / f"{name}.js"
        assert path.is_file(), f"{path} is not there: build the book with `make book`"
        page.add_script_tag(path=path)
    page.evaluate("window.tokenizer = new WordPieceTokenizer(bertFiles.vocabulary)")
    page.evaluate("window.bert = new Bert(bertFiles.weights)")
    return page


@pytest.fixture(scope="module")
def python():
    """The committed model, the one that the browser has, and the tokenizer."""
    exact, tokenizer = load_mini_bert()
    quantised, _ = load_mini_bert()
    quantised.load_state_dict(dequantised(), strict=False)
    quantised.tie_weights()
    return exact, quantised, tokenizer


def dequantised():
    """The weights that come out of the script, computed as the browser does."""
    stored = live_model.quantised_weights(FOLDER)
    floats = np.frombuffer(base64.b64decode(stored["floats"]), "<f4")
    integers = np.frombuffer(base64.b64decode(stored["bytes"]), "i1")
    state = {}
    for name, tensor in stored["tensors"].items():
        own = floats[tensor["floats"] :][: tensor["shape"][0]]
        if "bytes" in tensor:
            count = tensor["shape"][0] * tensor["shape"][1]
            whole = integers[tensor["bytes"] :][:count].reshape(tensor["shape"])
            own = whole * own[:, None]
        state[name] = torch.tensor(own)
    return state


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
        "logits": logits[0],  # [S, V]
        "verdict": verdict[0],  # [2]
    }


IN_BROWSER = """([a, b, mask]) => {
  const numbers = (rows) => rows.map((row) => Array.from(row));
  const encoding = tokenizer.encode(a, b);
  const { hiddenStates, attentions } = bert.forward(encoding, mask);
  const last = hiddenStates.at(-1);
  return {
    hidden: hiddenStates.map(numbers),
    attentions: attentions.map((heads) => heads.map(numbers)),
    logits: numbers(last.map((state) => bert.maskedLM(state))),
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
        ("hidden", 3e-5),
        ("attentions", 3e-5),
        ("logits", 1e-4),
        ("verdict", 1e-5),
    ]:
        difference = (torch.tensor(found[name]) - expected[name]).abs().max().item()
        print(f"{name}: {difference:.1e}")
        assert difference < tolerance, name


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_tokenizer_is_pythons(runtime, python, text):
    tokenizer = python[2]
    assert runtime.evaluate("text => tokenizer.tokenize(text)", text) == (
        tokenizer.tokenize(text)
    )
