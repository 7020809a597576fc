"""bertbook.bert.model against transformers.BertModel, and by its invariants."""

import itertools
import re

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.attention.scores import causal_mask, padding_mask
from bertbook.bert.inputs import mask_of_keys
from bertbook.bert.minilm import load_minilm, minilm_folder
from bertbook.bert.model import (
    BertConfig,
    BertEmbeddings,
    BertModel,
    parameter_table,
)
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED
from tests.bert.problems import close, problems

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def library(config, attention="eager", pooler=True):
    """transformers' model of the same sizes, in evaluation mode."""
    theirs = transformers.BertConfig(**vars(config), attn_implementation=attention)
    return transformers.BertModel(theirs, add_pooling_layer=pooler).eval()


def twins(config, attention, dtype, pooler=True):
    """The library's model and ours with the same weights, none of them at zero or one."""
    theirs = library(config, attention, pooler).to(dtype)
    ours = BertModel(config, add_pooling_layer=pooler).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            is_scale = name.endswith("LayerNorm.weight")
            parameter.normal_(mean=1.0 if is_scale else 0.0, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def compare(theirs, expected, ours, output, names):
    """All outputs of these names, and the gradients that they send to all parameters."""
    losses = []
    for result in (expected, output):
        parts = []
        for name in names:
            value = getattr(result, name)
            parts += value if isinstance(value, tuple) else [value]
        # Neighbouring numbers get unlike weights: LayerNorm undoes what all of them share.
        ups = [torch.arange(p.numel(), dtype=p.dtype).mul(0.7).sin() for p in parts]
        losses.append(
            sum((p.flatten() * u).sum() for p, u in zip(parts, ups, strict=True))
        )
        losses.append(parts)
    for number, (a, b) in enumerate(zip(losses[3], losses[1], strict=True)):
        close(a, b, f"output {number} of {names}")
    losses[0].backward()
    losses[2].backward()
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if reference[name].grad is None:
            assert parameter.grad is None, name
        else:
            close(parameter.grad, reference[name].grad, name)


@pytest.mark.slow
@given(problems())
@settings(max_examples=60, deadline=None)
def test_equals_the_library_with_all_weights(problem):
    """Every hidden state, every head's weights, the pooler; gradients of all parameters."""
    config, dtype, inputs = problem
    theirs, ours = twins(config, "eager", dtype)
    expected = theirs(**inputs, **EVERYTHING)
    output = ours(**inputs, **EVERYTHING)
    assert len(output.hidden_states) == config.num_hidden_layers + 1
    assert len(output.attentions) == config.num_hidden_layers
    names = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
    compare(theirs, expected, ours, output, names)


@given(problems(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_equals_the_library_with_fused_attention(problem, pooler):
    config, dtype, inputs = problem
    theirs, ours = twins(config, "sdpa", dtype, pooler)
    expected = theirs(**inputs, output_hidden_states=True)
    output = ours(**inputs, output_hidden_states=True)
    assert output.attentions is None
    names = ("last_hidden_state", "hidden_states")
    if pooler:
        names = (*names, "pooler_output")
    else:
        assert output.pooler_output is None
    compare(theirs, expected, ours, output, names)


@given(problems(), st.sampled_from(["random", "one query", "one row", "causal"]))
@settings(max_examples=60, deadline=None)
def test_a_mask_by_query_equals_the_librarys_added_one(problem, kind):
    config, dtype, inputs = problem
    batch, length = inputs["input_ids"].shape
    shapes = {"one query": (batch, 1, length), "one row": (1, length, length)}
    mask = torch.rand(shapes.get(kind, (batch, length, length))) < 0.5
    mask[..., 0] = True
    if kind == "causal":
        mask = causal_mask(length)[None]
    inputs["attention_mask"] = mask
    theirs, ours = twins(config, "eager", dtype)
    added = torch.where(mask.expand(batch, length, length), 0.0, -torch.inf)
    added = added.to(dtype)[:, None]
    expected = theirs(**{**inputs, "attention_mask": added}, **EVERYTHING)
    names = ("last_hidden_state", "hidden_states", "attentions")
    compare(theirs, expected, ours, ours(**inputs, **EVERYTHING), names)
    close(ours(**inputs).last_hidden_state, expected.last_hidden_state)


def test_dropout_equals_the_librarys_in_training_and_is_off_in_evaluation():
    ids = torch.arange(10).view(2, 5)
    for hidden, attention in itertools.product([0.0, 0.3], repeat=2):
        config = BertConfig.tiny(
            hidden_dropout_prob=hidden, attention_probs_dropout_prob=attention
        )
        theirs, ours = twins(config, "eager", torch.float64)
        quiet = ours(ids, **EVERYTHING)
        assert torch.equal(quiet[0], ours(ids, **EVERYTHING)[0])
        close(ours(ids)[0], quiet[0])
        theirs.train()
        ours.train()
        torch.manual_seed(5)
        expected = theirs(ids, **EVERYTHING)
        torch.manual_seed(5)
        noisy = ours(ids, **EVERYTHING)
        torch.manual_seed(5)
        close(ours(ids)[0], noisy[0])
        for name in ("hidden_states", "attentions"):
            for a, b in zip(noisy._asdict()[name], expected[name], strict=True):
                close(a, b, name)
        moved = not torch.equal(noisy.hidden_states[0], quiet.hidden_states[0])
        assert moved == (hidden > 0)
        dropped = any((weights == 0).any() for weights in noisy.attentions)
        assert dropped == (attention > 0)


@given(problems(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_what_padding_holds_never_matters(problem, seed):
    """Not its words, types or positions, nor whether it is there: to the last bit, or nearly."""
    config, dtype, inputs = problem
    _, ours = twins(config, "eager", dtype)
    batch, length = inputs["input_ids"].shape
    torch.manual_seed(seed)
    lengths = torch.randint(1, length + 1, (batch,))
    real = padding_mask(lengths, length)[:, 0]
    inputs["attention_mask"] = real.long()
    others = dict(inputs)
    for name in inputs.keys() - {"attention_mask"}:
        shuffled = inputs[name].flatten()[torch.randperm(batch * length)]
        others[name] = inputs[name].where(real, shuffled.view(batch, length))
    for options in ({}, EVERYTHING):
        output = ours(**inputs, **options)
        assert torch.equal(output[0][real], ours(**others, **options)[0][real])
        for row in range(batch):
            alone = {n: x[row : row + 1, : lengths[row]] for n, x in inputs.items()}
            close(output[0][row, : lengths[row]], ours(**alone, **options)[0][0])
            close(output.pooler_output[row], ours(**alone).pooler_output[0])


def test_with_a_causal_mask_no_token_sees_a_later_one():
    torch.manual_seed(0)
    ours = twins(BertConfig.tiny(), "eager", torch.float64)[1]
    ids = torch.randint(1, 31, (2, 6))
    changed = ids.clone()
    changed[:, 4:] = (ids[:, 4:] + 1) % 31
    for options in ({}, EVERYTHING):
        before, after = (
            ours(x, causal_mask(6)[None], **options)[0] for x in (ids, changed)
        )
        assert torch.equal(before[:, :4], after[:, :4])
        assert (before[:, 4:] != after[:, 4:]).any(-1).all()
        both = ours(ids, **options)[0] - ours(changed, **options)[0]
        assert (both != 0).any(-1).all()


def test_special_tokens_can_be_hidden_as_keys():
    """What the [SEP] sink needs: nobody looks at it, while it still looks at others."""
    ours = twins(BertConfig.tiny(), "eager", torch.float64)[1]
    ids = torch.tensor([[1, 7, 2, 9, 2], [1, 7, 8, 2, 0]])
    allowed = ((ids != 2) & (ids != 0))[:, None].expand(2, 5, 5)
    for weights in ours(ids, allowed, **EVERYTHING).attentions:
        assert (weights.transpose(1, 2).masked_select(~allowed[:, :, None]) == 0).all()
        close(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    as_padding = ours(ids, allowed[:, 0])
    close(ours(ids, allowed)[0], as_padding[0])


@given(problems(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_head_mask_equals_a_changed_output_matrix(problem, switch):
    """A head with factor f is a head whose columns of the output matrix are f times as large."""
    config, dtype, inputs = problem
    _, ours = twins(config, "eager", dtype)
    _, changed = twins(config, "eager", dtype)
    changed.load_state_dict(ours.state_dict())
    heads = torch.rand(config.num_hidden_layers, config.num_attention_heads)
    heads = heads > 0.5 if switch else heads
    factors = heads.to(dtype).repeat_interleave(
        config.hidden_size // config.num_attention_heads, dim=1
    )
    with torch.no_grad():
        for layer, factor in zip(changed.encoder.layer, factors, strict=True):
            layer.attention.output.dense.weight *= factor
    for options in ({}, EVERYTHING):
        output = ours(**inputs, head_mask=heads, **options)
        expected = changed(**inputs, **options)
        for a, b in zip(output, expected, strict=True):
            if b is not None:
                for x, y in zip(a, b, strict=True):
                    close(x, y)
        close(
            ours(**inputs, head_mask=torch.ones_like(heads), **options)[0],
            ours(**inputs)[0],
        )


def test_a_head_mask_receives_gradients():
    """The slope of a loss along a head's factor measures what the head is worth."""
    ours = twins(BertConfig.tiny(), "eager", torch.float64)[1]
    ids = torch.arange(5)[None]
    ones = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    ours(ids, head_mask=ones).last_hidden_state[..., 0].sum().backward()
    step = torch.zeros_like(ones)
    step[1, 2] = 1e-6
    with torch.no_grad():
        sums = [
            ours(ids, head_mask=ones + sign * step)[0][..., 0].sum() for sign in (1, -1)
        ]
    assert (ones.grad != 0).all()
    slope = (sums[0] - sums[1]) / 2e-6
    torch.testing.assert_close(ones.grad[1, 2], slope, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("model_type", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("type_", [torch.bool, torch.long, torch.float64])
def test_a_head_mask_of_any_type_leaves_the_type_of_the_model(model_type, type_):
    model = BertModel(BertConfig.tiny()).eval().to(model_type)
    heads = torch.tensor([[1, 0, 1], [0, 1, 1]])
    output = model(IDS, head_mask=heads.to(type_))
    assert output.last_hidden_state.dtype == model_type
    assert torch.equal(output[0], model(IDS, head_mask=heads.to(model_type))[0])
    assert not torch.equal(output[0], model(IDS, head_mask=heads.flip(0))[0])


@pytest.mark.parametrize("by_query", [True, False])
def test_a_forbidden_key_gets_nothing_however_low_the_others_score(by_query):
    """Scores of 1e40 and more: no number that is added in place of minus infinity is enough."""
    ours = twins(BertConfig.tiny(), "eager", torch.float64)[1]
    with torch.no_grad():
        for layer in ours.encoder.layer:
            layer.attention.self.query.weight *= 1e20
            layer.attention.self.key.weight *= 1e20
    ids = torch.arange(1, 31).view(6, 5)
    free = ours(ids, **EVERYTHING)
    for place in range(5):
        others = torch.arange(5) != place
        for weights in free.attentions:  # each would be the winner somewhere
            assert (weights[..., place] == 1).any()
        mask = others.expand(6, 5, 5) if by_query else others.expand(6, 5)
        output = ours(ids, mask, **EVERYTHING)
        for weights in output.attentions:
            assert (weights[..., place] == 0).all()
        changed = ids.clone()
        changed[:, place] = 0
        for options in ({}, EVERYTHING):
            after = ours(changed, mask, **options)
            before = ours(ids, mask, **options)
            assert torch.equal(after[0][:, others], before[0][:, others])


@pytest.mark.parametrize("pooler", [True, False])
def test_state_dict_has_the_librarys_names_and_shapes_in_order(pooler):
    config = BertConfig.tiny()
    ours = BertModel(config, add_pooling_layer=pooler).state_dict()
    theirs = library(config, pooler=pooler).state_dict()
    assert {n: x.shape for n, x in ours.items()} == {
        n: x.shape for n, x in theirs.items()
    }
    assert list(ours) == list(theirs)


SIZED = {
    "base": 109_482_240,
    "large": 335_141_888,
    "chinese_base": 102_267_648,
    "minilm": 22_713_216,
    "mini": 5_454_080,
    "tiny": 3_424,
}
TERMS = {
    "word embeddings": r"embeddings\.word_embeddings\.",
    "position embeddings": r"embeddings\.position_embeddings\.",
    "token type embeddings": r"embeddings\.token_type_embeddings\.",
    "LayerNorm of the embeddings": r"embeddings\.LayerNorm\.",
    "query, key and value": r"encoder\.layer\.\d+\.attention\.self\.",
    "attention output": r"encoder\.layer\.\d+\.attention\.output\.dense\.",
    "LayerNorm after attention": r"encoder\.layer\.\d+\.attention\.output\.LayerNorm\.",
    "feed-forward, inner": r"encoder\.layer\.\d+\.intermediate\.",
    "feed-forward, outer": r"encoder\.layer\.\d+\.output\.dense\.",
    "LayerNorm after feed-forward": r"encoder\.layer\.\d+\.output\.LayerNorm\.",
    "pooler": r"pooler\.",
}


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("pooler", [True, False])
def test_parameters_term_by_term(name, pooler):
    """The table's counts, its formulas read as arithmetic, and the model agree on each term."""
    config = getattr(BertConfig, name)()
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=pooler)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    table = parameter_table(config, add_pooling_layer=pooler)
    letters = {
        "V": config.vocab_size,
        "N": config.max_position_embeddings,
        "C": config.type_vocab_size,
        "D": config.hidden_size,
        "F": config.intermediate_size,
        "L": config.num_hidden_layers,
    }
    assert [term for term, *_ in table] == list(TERMS)[: len(TERMS) - (not pooler)]
    for term, formula, count in table:
        assert count == eval(formula.replace("·", "*"), {}, letters), term
        assert count == sum(
            size for n, size in sizes.items() if re.match(TERMS[term], n)
        )
    total = sum(count for *_, count in table)
    width = config.hidden_size
    assert total == sum(sizes.values())
    assert total == SIZED[name] - (not pooler) * (width**2 + width)


def test_the_start_is_berts():
    torch.manual_seed(0)
    config = BertConfig.tiny(
        vocab_size=300, hidden_size=120, intermediate_size=200, pad_token_id=4
    )
    model = BertModel(config)
    for name, parameter in model.named_parameters():
        if name.endswith("LayerNorm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif parameter.numel() > 10_000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.03), name
            assert abs(parameter.mean().item()) < 0.001, name
    words = model.embeddings.word_embeddings.weight
    assert (words == 0).all(dim=1).nonzero().tolist() == [[4]]
    wide = BertModel(BertConfig.tiny(initializer_range=0.5, pad_token_id=None))
    matrix = wide.encoder.layer[1].output.dense.weight
    assert matrix.std().item() == pytest.approx(0.5, rel=0.2)
    assert (wide.embeddings.word_embeddings.weight != 0).all()


@pytest.fixture(scope="module")
def minilm():
    model, tokenizer = load_minilm()
    return BertModel.from_pretrained(minilm_folder()), model, tokenizer


TEXTS = [
    ("The bank of the river was steep.", "She sat down on it."),
    ("Short.", None),
    ("A bank lends money, " * 30, "and wants it back."),
    ("Unaffordable 東京 naïveté!", "[MASK] [UNK] ..."),
]


def batch_of(tokenizer, texts):
    rows = [tokenizer(*(t for t in pair if t is not None)) for pair in texts]
    return tokenizer.pad(rows, return_tensors="pt")


@pytest.mark.slow
@torch.no_grad()
def test_real_weights_give_the_librarys_states_and_attentions(minilm):
    ours, theirs, tokenizer = minilm
    full = tokenizer("to be or not to be " * 100, truncation=True, return_tensors="pt")
    assert full["input_ids"].shape == (1, 512)
    for inputs in (batch_of(tokenizer, TEXTS), full):
        for attention, options in (
            ("eager", EVERYTHING),
            ("sdpa", {"output_hidden_states": True}),
        ):
            theirs.set_attn_implementation(attention)
            expected, output = theirs(**inputs, **options), ours(**inputs, **options)
            names = ["last_hidden_state", "pooler_output", *options]
            for name in (n.removeprefix("output_") for n in names):
                for a, b in zip(getattr(output, name), expected[name], strict=True):
                    assert (a - b).abs().max() <= 1e-5, (attention, name)
    theirs.set_attn_implementation("eager")


@pytest.mark.slow
@torch.no_grad()
def test_real_weights_fused_or_not_agree_in_double_precision(minilm):
    """In float32 the two orders of summation differ by 5e-5 here, in the library as well."""
    _, _, tokenizer = minilm
    inputs = batch_of(tokenizer, TEXTS)
    double = BertModel.from_pretrained(minilm_folder()).double()
    fused = double(**inputs, output_hidden_states=True)
    expected = double(**inputs, **EVERYTHING)
    for a, b in zip(fused.hidden_states, expected.hidden_states, strict=True):
        close(a, b)


TINY = BertModel(BertConfig.tiny()).eval()
IDS = torch.ones(2, 5, dtype=torch.long)


def changed(value, tensor=IDS):
    tensor = tensor.clone()
    tensor[1, 3] = value
    return tensor


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TINY(changed(31)), ValueError, r"input_ids .*0\.\.30, got 1\.\.31"),
        (lambda: TINY(changed(-1)), ValueError, r"input_ids .*0\.\.30, got -1\.\.1"),
        (lambda: TINY(IDS[0]), ValueError, r"input_ids .*\[B, length\], got \[5\]"),
        (lambda: TINY(IDS[:, :0]), ValueError, r"input_ids .*got \[2, 0\]"),
        (lambda: TINY(IDS.int()), TypeError, "input_ids .*torch.int32"),
        (lambda: TINY(IDS.float()), TypeError, "input_ids .*torch.float32"),
        (
            lambda: TINY(torch.ones(1, 41, dtype=torch.long)),
            ValueError,
            "41 tokens a row, more than the 40 positions",
        ),
        (
            lambda: TINY(IDS, token_type_ids=changed(2)),
            ValueError,
            r"token_type_ids .*0\.\.1, got 1\.\.2",
        ),
        (
            lambda: TINY(IDS, token_type_ids=IDS[:, :4]),
            ValueError,
            r"token_type_ids .*\[2, 5\], got \[2, 4\]",
        ),
        (lambda: TINY(IDS, token_type_ids=IDS.bool()), TypeError, "torch.bool"),
        (
            lambda: TINY(IDS, position_ids=changed(40)),
            ValueError,
            r"position_ids .*0\.\.39, got 1\.\.40",
        ),
        (
            lambda: TINY(IDS, position_ids=IDS[:1]),
            ValueError,
            r"position_ids .*\[2, 5\], got \[1, 5\]",
        ),
        (lambda: TINY(IDS, IDS.float()), TypeError, "attention_mask .*torch.float32"),
        (lambda: TINY(IDS, changed(2)), ValueError, r"0 and 1, got \[1, 2\]"),
        (lambda: TINY(IDS, changed(-9)), ValueError, r"0 and 1, got \[-9, 1\]"),
        (lambda: TINY(IDS, IDS[:, :4]), ValueError, r"\[2, 5, 5\], got \[2, 4\]"),
        (lambda: TINY(IDS, IDS[:1]), ValueError, r"got \[1, 5\]"),
        (lambda: TINY(IDS, IDS[0]), ValueError, r"got \[5\]"),
        (
            lambda: TINY(IDS, causal_mask(5)),
            ValueError,
            r"got \[5, 5\]; one \[S, S\] for all is mask\[None\]",
        ),
        (lambda: TINY(IDS, IDS[:, None, None]), ValueError, r"got \[2, 1, 1, 5\]"),
        (lambda: TINY(IDS, IDS[..., None]), ValueError, r"got \[2, 5, 1\]"),
        (
            lambda: TINY(IDS, torch.tensor([[1] * 5, [0] * 5])),
            ValueError,
            r"1 of 2 rows .*no key at all.*\[1, 0\].*inverted",
        ),
        (
            lambda: TINY(IDS, causal_mask(5)[None] & ~torch.eye(5, dtype=torch.bool)),
            ValueError,
            "1 of 5 rows .*no key at all",
        ),
        (
            lambda: TINY(IDS, head_mask=torch.ones(3, 2)),
            ValueError,
            r"head_mask .*\[2, 3\], got \[3, 2\]",
        ),
        (lambda: TINY(IDS, head_mask=torch.ones(3)), ValueError, r"got \[3\]"),
        (
            lambda: BertEmbeddings(BertConfig.tiny())(changed(31)),
            ValueError,
            r"got 1\.\.31",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_mask_that_forbids_nothing_is_no_mask():
    for mask in (None, IDS, IDS.bool(), torch.ones(2, 5, 5, dtype=torch.bool)):
        assert mask_of_keys(mask, 2, 5) is None
    assert mask_of_keys(changed(0), 2, 5).shape == (2, 1, 1, 5)
    assert mask_of_keys(causal_mask(5)[None], 2, 5).shape == (1, 1, 5, 5)


def test_the_longest_input_has_a_position_for_each_token():
    ids = torch.ones(1, 40, dtype=torch.long)
    assert TINY(ids).last_hidden_state.shape == (1, 40, 12)


@pytest.mark.parametrize("padding", [0, 4, None])
def test_the_row_of_padding_alone_is_never_trained(padding):
    torch.manual_seed(0)
    model = BertModel(BertConfig.tiny(pad_token_id=padding)).eval()
    model(torch.arange(31)[None]).last_hidden_state.sin().sum().backward()
    gradient = model.embeddings.word_embeddings.weight.grad
    still = (gradient == 0).all(dim=1).nonzero()[:, 0].tolist()
    assert still == ([] if padding is None else [padding])


COMPILED = {
    "input_ids": torch.arange(1, 11).view(2, 5),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "token_type_ids": torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]]),
}
LABELS = torch.tensor([[IGNORED, 7, IGNORED, IGNORED, 9], [4, *[IGNORED] * 4]])


@pytest.mark.slow
# What PyTorch's tracer does with a tensor between two graphs makes PyTorch warn.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "inputs", "breaks"),
    [
        (BertModel, COMPILED, 0),
        (
            BertModel,
            {**COMPILED, "position_ids": COMPILED["input_ids"], **EVERYTHING},
            0,
        ),
        # How many labels there are decides a shape, which nobody knows beforehand.
        (BertForPreTraining, {**COMPILED, "labels": LABELS}, 1),
        (BertForPreTraining, COMPILED, 0),
    ],
)
def test_a_training_step_is_one_graph_or_two_and_computes_the_same(
    kind, inputs, breaks
):
    torch.manual_seed(0)
    model = kind(BertConfig.tiny(hidden_dropout_prob=0.3)).train()
    try:
        torch._dynamo.reset()
        explained = torch._dynamo.explain(model)(**inputs)
        assert explained.graph_break_count <= breaks, explained.break_reasons
        torch._dynamo.reset()
        torch.manual_seed(5)
        output = torch.compile(model, backend="eager")(**inputs)
    finally:
        torch._dynamo.reset()
    torch.manual_seed(5)
    expected = model(**inputs)
    ours, theirs = (
        [x for x in result if isinstance(x, torch.Tensor)]
        for result in (output, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_half_precision_training_step_is_finite():
    """Autocast, dropout and masks together, as pre-training uses them."""
    torch.manual_seed(0)
    model = BertModel(BertConfig.tiny()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(IDS, changed(0), head_mask=torch.ones(2, 3))
    (
        output.last_hidden_state.float().sin().sum() + output.pooler_output.sum()
    ).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
