"""What the tests of the live figures share: where the figures stand, and hands that use them."""

import torch

from tests.browser.visits import SIZES
from tools.page_checks import ROOT, SITE

LIVE = ROOT / "book" / "_assets" / "static" / "live"
BUILT = SITE / "_static" / "live" / "mini_bert"
TOLERANCE = 3e-5
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


def fresh_odds(model, ids):
    with torch.no_grad():
        rotten, fresh = model(torch.tensor([ids])).logits[0].tolist()
    return fresh - rotten
