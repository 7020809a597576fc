"""bertviz's views: nothing random, nothing from outside, and they work in a real browser."""

import html
import importlib.metadata
import json
import re
import shutil

import pytest
import torch

from bertbook.shared.bertviz import View, head_view, model_view, neuron_view
from tests.browser.visits import serve

SENTENCES = "[CLS] the cat sat [SEP] it was as ##leep . ! [SEP]"
TOKENS = SENTENCES.split()
SENTENCE_B = 5
LAYERS, HEADS, LENGTH = 2, 12, len(TOKENS)
TITLE = 'Attention of two layers, "by head" & token'
VIEWS = {"head": head_view, "model": model_view}


def weights(layers=LAYERS, heads=HEADS, length=LENGTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(layers, 1, heads, length, length, generator=generator)
    return tuple(torch.softmax(scores, -1))


@pytest.fixture(params=VIEWS.values(), ids=VIEWS)
def view(request):
    return request.param


def page_parameters(result):
    return json.loads(re.search(r"const params = (.*);\n", result.page).group(1))


def test_html_is_one_titled_lazy_iframe(view):
    text = view(weights(), TOKENS, title=TITLE)._repr_html_()
    tag = re.fullmatch(
        r"<iframe ([^>]*?) srcdoc=\"[^\"]*\">[^<]*</iframe>", text, re.S
    ).group(1)
    assert 'class="bertviz"' in tag
    assert 'loading="lazy"' in tag
    assert 'width="100%"' in tag
    assert html.unescape(re.search('title="(.*?)"', tag).group(1)) == TITLE


def test_srcdoc_is_the_page(view):
    result = view(weights(), TOKENS, title=TITLE)
    srcdoc = re.search('srcdoc="([^"]*)"', result._repr_html_()).group(1)
    assert html.unescape(srcdoc) == result.page
    assert '<html lang="en">' in result.page


def test_no_address_of_another_host(view):
    text = view(weights(), TOKENS, SENTENCE_B, title=TITLE)._repr_html_()
    assert re.findall(r"//\s*[\w.-]+\.\w|https?:|cdnjs|localhost", text) == []


def test_the_same_weights_give_the_same_text(view):
    first, second = (view(weights(), TOKENS, SENTENCE_B, title=TITLE) for _ in range(2))
    assert first._repr_html_() == second._repr_html_()
    assert (
        repr(first) == repr(second) == f"View(title={TITLE!r}, height={first.height})"
    )
    assert first.page != view(weights(seed=1), TOKENS, SENTENCE_B, title=TITLE).page


def test_differences_below_the_rounding_do_not_show(view):
    even = [torch.full((1, HEADS, LENGTH, LENGTH), 1 / LENGTH)] * LAYERS
    noisy = [layer + 1e-6 for layer in even]
    assert view(even, TOKENS, title=TITLE).page == view(noisy, TOKENS, title=TITLE).page


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_weights_are_rounded_and_stored_once(view, decimals):
    attention = weights()
    text = view(attention, TOKENS, SENTENCE_B, title=TITLE, decimals=decimals)
    whole, *parts = page_parameters(text)["attention"]
    expected = torch.cat(attention).double().mul(10**decimals).round()
    assert torch.equal(torch.tensor(whole["attn"]).double(), expected)
    assert [part["name"] for part in parts] == [
        f"Sentence {a} -> Sentence {b}" for a, b in ("AA", "BB", "AB", "BA")
    ]
    assert not any("attn" in part for part in parts)


def test_a_view_of_two_layers_is_small(view):
    text = view(weights(), TOKENS, SENTENCE_B, title=TITLE)._repr_html_()
    assert len(text.encode()) < 40_000


def test_tokens_cannot_break_out_of_the_script(view):
    code = ["</script>", "<b>", "&amp;", "PYTHON_PARAMS", "const params = 1;"]
    tokens = [*code, *"\"'\\句"]
    result = view(weights(length=9), tokens, title=TITLE)
    assert result.page.count("</script>") == 1
    assert page_parameters(result)["attention"][0]["left_text"] == tokens


def test_chosen_layers_and_heads():
    result = head_view(
        weights(4), TOKENS, title=TITLE, include_layers=(3, 1), layer=1, heads=[2]
    )
    parameters = page_parameters(result)
    assert parameters["include_layers"] == [3, 1]
    assert (parameters["layer"], parameters["heads"]) == (1, [2])
    stored = torch.tensor(parameters["attention"][0]["attn"])
    attention = torch.cat(weights(4)).double()
    assert torch.equal(stored.double(), attention[[3, 1]].mul(100).round())
    result = model_view(
        weights(4), TOKENS, title=TITLE, include_layers=(3, 1), include_heads=[5]
    )
    stored = torch.tensor(page_parameters(result)["attention"][0]["attn"])
    assert torch.equal(stored.double(), attention[[3, 1]][:, [5]].mul(100).round())


def with_value(value):
    attention = weights()
    attention[1][0, 3, 2, 1] = value
    return attention


def by_error(table):
    """The cases of a table: for each error, what is changed and what is said."""
    names = ("error", "change", "message")
    cases = [(error, *case) for error, found in table.items() for case in found]
    return pytest.mark.parametrize(names, cases)


@by_error(
    {
        TypeError: [
            ({"attention": None}, 'NoneType.*attn_implementation="eager"'),
            ({"attention": (None, None)}, "output_attentions=True"),
            ({"attention": weights()[0]}, "attention is Tensor"),
        ],
        ValueError: [
            ({"title": " "}, "title is ' '"),
            ({"title": None}, "title is None"),
            ({"decimals": 0}, "decimals is 0"),
            ({"decimals": 2.0}, "decimals is 2.0"),
            ({"tokens": []}, "tokens is"),
            ({"tokens": "a text"}, "tokens is 'a text'"),
            (
                {"tokens": TOKENS[1:]},
                r"shape \(1, 12, 12, 12\), expected \(1, 12, 11, 11",
            ),
            ({"attention": ()}, "attention is empty"),
            (
                {"attention": (weights()[0][0],)},
                r"attention\[0\] has shape \(12, 12, 12",
            ),
            ({"attention": (weights()[0].repeat(2, 1, 1, 1),)}, r"shape \(2, 12"),
            (
                {"attention": (weights()[0], weights(heads=3)[0])},
                r"attention\[1\] has shape \(1, 3, 12, 12\), expected \(1, 12, 12, 12\)",
            ),
            ({"attention": with_value(torch.nan)}, r"attention\[1\].*not finite"),
            ({"attention": with_value(torch.inf)}, r"attention\[1\].*not finite"),
            ({"attention": with_value(-0.5)}, r"attention\[1\].*negative weight, -0.5"),
            ({"attention": with_value(4.0)}, r"attention\[1\].*row that sums to [45]"),
            ({"sentence_b_start": 0}, "sentence_b_start is 0, expected 1 to 11"),
            ({"sentence_b_start": 12}, "sentence_b_start is 12"),
            ({"include_layers": []}, r"include_layers is \[\], .* 0 to 1"),
            ({"include_layers": [2]}, r"include_layers is \[2\]"),
            ({"include_layers": [-1]}, r"include_layers is \[-1\]"),
            ({"include_layers": [1, 1]}, r"include_layers is \[1, 1\]"),
        ],
    }
)
def test_wrong_input_is_named(view, error, change, message):
    arguments = {"attention": weights(), "tokens": TOKENS, "title": TITLE} | change
    with pytest.raises(error, match=message):
        view(**arguments)


def test_wrong_choice_of_layer_or_head_is_named():
    with pytest.raises(
        ValueError, match=r"layer is 1, expected one of the layers shown, \[0\]"
    ):
        head_view(weights(), TOKENS, title=TITLE, include_layers=[0], layer=1)
    with pytest.raises(ValueError, match=r"heads is \[12\], .* 0 to 11"):
        head_view(weights(), TOKENS, title=TITLE, heads=[12])
    with pytest.raises(ValueError, match=r"include_heads is \[\]"):
        model_view(weights(), TOKENS, title=TITLE, include_heads=[])


def test_more_than_a_browser_can_draw_is_refused():
    rows = torch.full((1, 12, 210, 210), 1 / 210)
    few = {"tokens": ["a"] * 210, "title": TITLE}
    for layers in (1, 2):
        with pytest.raises(ValueError, match=r"529,200 weights.* at most 500,000"):
            head_view([rows] * layers, **few)
    message = r"1,058,400 weights.* fewer tokens, include_layers or include_heads"
    with pytest.raises(ValueError, match=message):
        model_view([rows] * 2, **few)
    page = model_view([rows] * 2, **few, include_layers=[1], include_heads=[3]).page
    assert page.count(",") > 210**2


# ---------------------------------------------------------------- the neuron view's page

WIDTH = 8


def vectors(seed, layers=LAYERS, heads=HEADS, length=LENGTH):
    generator = torch.Generator().manual_seed(seed)
    return tuple(2 * torch.randn(layers, 1, heads, length, WIDTH, generator=generator))


def neurons(**options):
    arguments = {"queries": vectors(0), "keys": vectors(1), "tokens": TOKENS}
    return neuron_view(**arguments | {"title": TITLE} | options)


def softmax_of(queries, keys):
    scores = torch.einsum("bhid,bhjd->bhij", queries.double(), keys.double())
    return torch.softmax(scores / WIDTH**0.5, -1)[0]  # (H, T, T)


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_neuron_view_stores_rounded_vectors_and_their_weights(decimals):
    parameters = page_parameters(
        neurons(include_layers=(1,), include_heads=(7, 2), decimals=decimals)
    )
    assert (parameters["layers"], parameters["heads"]) == ([1], [7, 2])
    stored = parameters["attention"]["all"]
    assert stored["left_text"] == stored["right_text"] == TOKENS
    expected = {
        "queries": vectors(0)[1][0],
        "keys": vectors(1)[1][0],
        "attn": softmax_of(vectors(0)[1], vectors(1)[1]),
    }
    for name, numbers in expected.items():
        rounded_ones = torch.tensor(stored[name]).double() / 10**decimals
        limit = 0.5 * 10**-decimals + 1e-6
        assert rounded_ones.shape[0] == 1, name
        assert (rounded_ones[0] - numbers[[7, 2]]).abs().max() <= limit, name


def test_neuron_view_is_one_page_without_a_foreign_address():
    first, second = neurons(), neurons()
    assert first == second
    assert isinstance(first, View)
    text = first._repr_html_()
    assert re.findall(r"//\s*[\w.-]+\.\w|https?:|cdnjs|localhost", text) == []
    assert "window.bertviz_params" not in text
    hostile = ["</script>", "<b>", *TOKENS[2:]]
    assert neurons(tokens=hostile).page.count("</script>") == 1


def test_neuron_view_of_four_heads_is_small():
    view = neurons(include_layers=[0], include_heads=[0, 1, 2, 3])
    assert len(view._repr_html_().encode()) < 60_000


@by_error(
    {
        TypeError: [
            ({"queries": None}, "queries is NoneType"),
            ({"keys": vectors(1)[0]}, "keys is Tensor"),
            ({"keys": [k[0] for k in vectors(1)]}, "keys is list.*Dh"),
        ],
        ValueError: [
            ({"title": ""}, "title is ''"),
            ({"tokens": TOKENS[1:]}, r"expected \(1, 12, 11, 11"),
            ({"keys": vectors(1, layers=1)}, "queries have the shapes"),
            ({"keys": vectors(1, heads=6)}, "keys .*6, 12, 8"),
            ({"queries": [q / 0 for q in vectors(0)]}, "not finite"),
            ({"include_layers": [2]}, r"include_layers is \[2\]"),
            ({"include_heads": [12]}, r"include_heads is \[12\]"),
            ({"include_heads": []}, r"include_heads is \[\]"),
            ({"decimals": 7}, "decimals is 7"),
        ],
    }
)
def test_wrong_input_of_the_neuron_view_is_named(error, change, message):
    with pytest.raises(error, match=message):
        neurons(**change)


# ---------------------------------------------------------------- in a real browser

LIBRARIES = ["_static/vendor/jquery.min.js", "_static/vendor/d3.v5.min.js"]
PAGE = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>A page</title>'
    '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
    "<body>{}</body></html>"
)


def vendor(folder):
    """Copies both libraries out of their wheels, as the build of the book does."""
    folder.mkdir(parents=True)
    for package, name in (
        ("mpld3", "d3.v5.min.js"),
        ("xstatic-jquery", "jquery.min.js"),
    ):
        (file,) = (f for f in importlib.metadata.files(package) if f.name == name)
        shutil.copy(file.locate(), folder / name)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A small book at /q1_attention/ and a JupyterLab's libraries at /user/me/static/."""
    root = tmp_path_factory.mktemp("site")
    vendor(root / "_static" / "vendor")
    vendor(root / "user" / "me" / "static")
    with serve(root) as home:
        yield root, home


@pytest.fixture
def shown(visit, site):
    """Opens a page with a view; returns the visit and the view's frame."""
    root, home = site

    def open_page(result, path="q1_attention/x.html", before="", **options):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(PAGE.format(before + result._repr_html_()))
        scripts = options.get("java_script_enabled", True)
        seen = visit(home, **options).open(path, scripts)
        return seen, seen.page.frame_locator("iframe.bertviz")

    return open_page


def loaded(seen):
    """What was asked for, beside the page itself."""
    return [each.url.removeprefix(seen.home) for each in seen.responses[1:]]


def opacities(seen):
    """Stroke opacities by head, left and right token, of all lines drawn."""
    return in_frame(
        seen,
        """() => [...document.querySelectorAll(".headAttention")].map(head =>
             [...head.querySelectorAll(".tokenAttention")].map(token =>
               [...token.querySelectorAll("line")].map(
                 line => +line.getAttribute("stroke-opacity"))))""",
    )


def in_frame(seen, script, *arguments):
    """The numbers that a script finds in the view, once it is drawn."""
    lines = seen.page.frame_locator("iframe").locator("line")
    lines.first.wait_for(state="attached")
    found = seen.page.frames[1].evaluate(script, *arguments)
    return torch.tensor(found, dtype=torch.float64)


def rounded(attention):
    return attention[0].double().mul(100).round().div(100)  # (H, T, T)


def test_head_view_draws_the_weights_from_local_files_alone(shown):
    seen, _ = shown(head_view(weights(), TOKENS, SENTENCE_B, title=TITLE))
    torch.testing.assert_close(opacities(seen), rounded(weights()[0]) / HEADS)
    assert loaded(seen) == LIBRARIES
    assert seen.problems == []
    assert seen.page.locator("iframe").get_attribute("title") == TITLE
    assert seen.page.frames[1].title() == TITLE


def test_head_view_changes_layer_and_sentences(shown):
    seen, inside = shown(head_view(weights(), TOKENS, SENTENCE_B, title=TITLE))
    inside.get_by_label("Layer").select_option("1")
    torch.testing.assert_close(opacities(seen), rounded(weights()[1]) / HEADS)
    a, b = slice(None, SENTENCE_B), slice(SENTENCE_B, None)
    for choice, rows, columns in [
        ("Sentence A -> Sentence A", a, a),
        ("Sentence B -> Sentence B", b, b),
        ("Sentence A -> Sentence B", a, b),
        ("Sentence B -> Sentence A", b, a),
        ("All", slice(None), slice(None)),
    ]:
        inside.get_by_label("Attention").select_option(choice)
        expected = rounded(weights()[1])[:, rows, columns] / HEADS
        torch.testing.assert_close(opacities(seen), expected)
        assert inside.locator("#left text").all_text_contents() == TOKENS[rows]
        assert inside.locator("#right text").all_text_contents() == TOKENS[columns]
    assert seen.problems == []


def test_hovering_a_token_shows_only_its_lines(shown):
    seen, inside = shown(head_view(weights(), TOKENS, title=TITLE))
    inside.locator("#left text").nth(2).hover()
    lines = inside.locator('line[visibility="visible"]')
    assert lines.count() == HEADS * LENGTH
    assert {line.get_attribute("left-token-index") for line in lines.all()} == {"2"}
    assert inside.locator("#attention").get_attribute("visibility") == "hidden"
    seen.page.mouse.move(1200, 800)
    assert inside.locator("#attention").get_attribute("visibility") == "visible"
    assert seen.problems == []


@pytest.mark.parametrize("by", ["click", "Enter", " "])
def test_a_head_is_switched_by_mouse_and_keyboard(shown, by):
    seen, inside = shown(head_view(weights(), TOKENS, title=TITLE, heads=[1, 3, 4]))
    button = inside.get_by_role("button", name="Head 3", exact=True)
    assert button.get_attribute("aria-pressed") == "true"
    button.click() if by == "click" else button.press(by)
    assert button.get_attribute("aria-pressed") == "false"
    expected = torch.zeros(HEADS, LENGTH, LENGTH, dtype=torch.float64)
    expected[[1, 4]] = rounded(weights()[0])[[1, 4]] / 2
    torch.testing.assert_close(opacities(seen), expected)
    assert seen.problems == []


@pytest.mark.parametrize("by", ["click", "Enter"])
def test_model_view_draws_and_enlarges(shown, by):
    seen, inside = shown(model_view(weights(), TOKENS, SENTENCE_B, title=TITLE))
    lines = inside.locator("g:not(.detail) > g > line")
    lines.first.wait_for(state="attached")
    assert lines.count() == LAYERS * HEADS * LENGTH**2
    drawn = lines.evaluate_all("l => l.map(x => +x.getAttribute('stroke-opacity'))")
    expected = torch.stack([rounded(layer) for layer in weights()])
    found = torch.tensor(drawn, dtype=torch.float64)
    torch.testing.assert_close(found, expected.flatten())
    thumbnail = inside.get_by_role("button", name="Layer 1, head 4", exact=True)
    thumbnail.click() if by == "click" else thumbnail.press(by)
    assert inside.locator("text.detail").text_content() == "Layer 1, Head 4"
    assert inside.locator(".attn-line-group line").count() == LENGTH**2
    assert seen.problems == []


def test_libraries_come_from_jupyterlab_inside_jupyterlab(shown):
    settings = '<script id="jupyter-config-data" type="application/json">{"baseUrl": "/user/me/"}'
    path = "user/me/lab/tree/q1_attention/x.html"
    view = head_view(weights(), TOKENS, title=TITLE)
    seen, _ = shown(view, path, settings + "</script>")
    assert opacities(seen).shape == (HEADS, LENGTH, LENGTH)
    assert loaded(seen) == [
        "user/me/static/jquery.min.js",
        "user/me/static/d3.v5.min.js",
    ]
    ground = seen.page.frames[1].evaluate(
        "getComputedStyle(document.body).backgroundColor"
    )
    assert ground == "rgb(255, 255, 255)"
    assert seen.problems == []


def test_nothing_is_loaded_before_the_reader_comes_near(shown, view):
    far = '<div style="height: 9000px"></div>'
    seen, inside = shown(view(weights(), TOKENS, title=TITLE), before=far)
    seen.page.wait_for_timeout(300)
    assert loaded(seen) == []
    seen.page.locator("iframe").scroll_into_view_if_needed()
    inside.locator("line").first.wait_for(state="attached")
    seen.settle()
    assert loaded(seen) == LIBRARIES


def test_a_missing_library_is_said_in_the_page(shown):
    path = "elsewhere/deeper/x.html"
    _, inside = shown(head_view(weights(), TOKENS, title=TITLE), path)
    inside.get_by_text("could not load").wait_for()
    assert "static heatmap" in inside.locator("#vis").inner_text()


def test_without_scripts_the_heatmap_is_named(shown, view):
    result = view(weights(), TOKENS, title=TITLE)
    _, inside = shown(result, java_script_enabled=False)
    fallback = inside.locator("noscript")
    assert "static heatmap" in fallback.text_content()
    assert fallback.bounding_box()["height"] > 10


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_is_accessible(shown, view, width):
    viewport = {"width": width, "height": 900}
    seen, inside = shown(
        view(weights(), TOKENS, SENTENCE_B, title=TITLE), viewport=viewport
    )
    inside.locator("line").first.wait_for(state="attached")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    if view is head_view:
        assert seen.page.frames[1].evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    assert seen.findings() == []


def test_the_result_is_shown_by_ipython_without_a_warning(view):
    from IPython.core.formatters import DisplayFormatter

    result = view(weights(), TOKENS, title=TITLE)
    assert isinstance(result, View)
    data, _ = DisplayFormatter().format(result)
    assert data == {"text/plain": repr(result), "text/html": result._repr_html_()}


# ---------------------------------------------------------------- the neuron view in a browser


def values(seen, selector):
    return in_frame(
        seen,
        "s => [...document.querySelectorAll(s)].map(e => +e.dataset.value)",
        selector,
    )


def visible_lines(seen):
    return in_frame(
        seen,
        """() => [...document.querySelectorAll("#collapsed .attn-line-group")].map(
             token => [...token.querySelectorAll("line")].map(
               line => +line.getAttribute("stroke-opacity")))""",
    )


def test_neuron_view_draws_the_weights_of_the_chosen_layer_and_head(shown):
    seen, inside = shown(neurons(include_layers=[1, 0], include_heads=[5, 3]))
    for layer, head in ((1, 5), (1, 3), (0, 3)):
        inside.get_by_label("Layer").select_option(label=str(layer))
        inside.get_by_label("Head").select_option(label=str(head))
        expected = softmax_of(vectors(0)[layer], vectors(1)[layer])[head]
        torch.testing.assert_close(visible_lines(seen), expected, atol=0.0051, rtol=0)
    assert loaded(seen) == LIBRARIES
    assert seen.problems == []
    ground = "[...document.querySelectorAll('body, body *')].map(box => " + (
        "getComputedStyle(box).backgroundColor).filter(c => c === 'rgb(255, 255, 255)')"
    )
    frame = seen.page.frames[1]
    assert frame.evaluate(f"{ground}.length") == 0  # black on a dark page


@pytest.mark.parametrize("by", ["hover", "focus"])
def test_a_token_shows_its_products_and_scores(shown, by):
    seen, inside = shown(neurons(include_layers=[0], include_heads=[4]))
    inside.get_by_label("queries and keys").check()
    token = inside.locator("#expanded #leftText text.token").nth(2)
    token.hover() if by == "hover" else token.focus()
    query, keys = vectors(0)[0][0, 4, 2].double(), vectors(1)[0][0, 4].double()
    query, keys = (x.mul(100).round().div(100) for x in (query, keys))
    drawn = values(seen, "#product .element").view(LENGTH, WIDTH)
    torch.testing.assert_close(drawn, query * keys)
    scores = values(seen, "#dotproducts .dotproduct")
    torch.testing.assert_close(scores, keys @ query / WIDTH**0.5)
    assert seen.problems == []


def test_queries_and_keys_open_and_close_by_box_and_by_sign(shown):
    seen, inside = shown(neurons(include_layers=[0], include_heads=[4]))
    box = inside.get_by_label("queries and keys")
    expanded = inside.locator("#expanded")
    assert expanded.get_attribute("visibility") == "hidden"
    box.check()
    assert expanded.get_attribute("visibility") == "visible"
    for group, checked in (("#expanded", False), ("#collapsed", True)):
        sign = inside.locator(f"{group} #leftText rect:not(.highlight)")
        sign.first.click()
        assert box.is_checked() is checked
    assert expanded.get_attribute("visibility") == "visible"
    assert seen.problems == []


def test_a_box_ticked_before_the_scripts_came_counts(shown):
    seen, inside = shown(neurons(include_layers=[0], include_heads=[4]))
    expanded = inside.locator("#expanded")
    expanded.wait_for(state="attached")
    waiting = []
    seen.page.route("**/d3.v5.min.js", lambda route: waiting.append(route))
    seen.page.reload(wait_until="commit")
    inside.get_by_label("queries and keys").check()
    assert expanded.count() == 0
    waiting[0].continue_()
    expanded.wait_for(state="attached")
    assert expanded.get_attribute("visibility") == "visible"
    assert inside.get_by_label("queries and keys").is_checked()
    assert seen.problems == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("opened", [False, True])
def test_the_neuron_view_fits_and_is_accessible(shown, width, opened):
    viewport = {"width": width, "height": 900}
    seen, inside = shown(neurons(include_heads=[0, 1]), viewport=viewport)
    inside.locator("#collapsed line").first.wait_for(state="attached")
    inside.get_by_label("queries and keys").set_checked(opened)
    assert seen.page.frames[1].evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert seen.findings() == []


def test_the_neuron_view_without_libraries_or_scripts_says_so(shown):
    _, inside = shown(neurons(), "elsewhere/deeper/n.html")
    inside.get_by_text("could not load").wait_for()
    _, inside = shown(neurons(), java_script_enabled=False)
    assert "static heatmap" in inside.locator("noscript").text_content()
