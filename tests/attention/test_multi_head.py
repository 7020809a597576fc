"""bertbook.attention.multi_head against nn.MultiheadAttention, and by its invariants."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertbook.attention.multi_head import (
    MultiHeadAttention,
    mask_for_heads,
    merge_heads,
    split_heads,
)
from bertbook.attention.scores import SelfAttention, causal_mask, padding_mask

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
LAYERS = ("query", "key", "value", "output")


def close(actual, expected, dtype):
    torch.testing.assert_close(
        actual, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


def twins(d_model, num_heads, dtype, *, dropout=0.0, bias=True):
    """The library's layer and ours, with the same random weights."""
    theirs = nn.MultiheadAttention(
        d_model, num_heads, dropout=dropout, bias=bias, batch_first=True, dtype=dtype
    )
    ours = MultiHeadAttention(d_model, num_heads, dropout=dropout, bias=bias).to(dtype)
    with torch.no_grad():
        if bias:
            nn.init.normal_(theirs.in_proj_bias)
            nn.init.normal_(theirs.out_proj.bias)
        for i, name in enumerate(LAYERS[:3]):
            part = slice(i * d_model, (i + 1) * d_model)
            getattr(ours, name).weight.copy_(theirs.in_proj_weight[part])
            if bias:
                getattr(ours, name).bias.copy_(theirs.in_proj_bias[part])
        ours.output.load_state_dict(theirs.out_proj.state_dict())
    return theirs, ours


@st.composite
def problems(draw):
    """Layer, inputs and a mask of each form: shapes, masks, self and cross, both float types."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    batch, target = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    cross, bias = draw(st.booleans()), draw(st.booleans())
    source = draw(st.integers(1, 6)) if cross else target
    torch.manual_seed(draw(st.integers(0, 2**31)))
    layers = twins(heads * width, heads, dtype, bias=bias)
    hidden = torch.randn(batch, target, heads * width, dtype=dtype)
    other = torch.randn(batch, source, heads * width, dtype=dtype) if cross else None
    shapes = {
        "none": None,
        "[T, S]": (target, source),
        "[B, T, S]": (batch, target, source),
        "[B, 1, S]": (batch, 1, source),
        "[B, H, T, S]": (batch, heads, target, source),
        "[1, H, 1, S]": (1, heads, 1, source),
    }
    shape = shapes[draw(st.sampled_from(sorted(shapes)))]
    mask = None
    if shape is not None:
        mask = torch.rand(shape) < 0.6
        mask[..., 0] = True
    return layers, hidden, other, mask


def full_mask(mask, shape):
    """The mask spelled out to [B, H, T, S], by hand."""
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    return (mask[:, None] if mask.dim() == 3 else mask).expand(shape)


@given(problems())
@settings(max_examples=200, deadline=None)
def test_equals_the_library_forward_and_backward(problem):
    """Output, weights of every head, gradients of all inputs and parameters."""
    (theirs, ours), hidden, other, mask = problem
    dtype = hidden.dtype
    inputs = [hidden] if other is None else [hidden, other]
    shape = (len(hidden), ours.num_heads, hidden.shape[1], inputs[-1].shape[1])
    forbidden = ~full_mask(mask, shape).flatten(0, 1)  # [B·H, T, S]

    leaves = [x.clone().requires_grad_() for x in inputs]
    expected, expected_weights = theirs(
        leaves[0],
        leaves[-1],
        leaves[-1],
        attn_mask=forbidden,
        average_attn_weights=False,
    )
    own_leaves = [x.clone().requires_grad_() for x in inputs]
    output, weights = ours(*own_leaves, attention_mask=mask, return_weights=True)
    fused, nothing = ours(*own_leaves, attention_mask=mask)
    assert nothing is None
    close(fused, output, dtype)
    close(output, expected, dtype)
    close(weights, expected_weights, dtype)

    # Both the output and the weights send gradients.
    up = torch.linspace(-1, 1, output.numel(), dtype=dtype).view_as(output)
    up_weights = torch.linspace(1, -1, weights.numel(), dtype=dtype).view_as(weights)
    ((expected * up).sum() + (expected_weights * up_weights).sum()).backward()
    ((output * up).sum() + (weights * up_weights).sum()).backward()
    for mine, reference in zip(own_leaves, leaves, strict=True):
        close(mine.grad, reference.grad, dtype)
    for kind in ("weight", "bias") if ours.query.bias is not None else ("weight",):
        joint = torch.cat([getattr(getattr(ours, n), kind).grad for n in LAYERS[:3]])
        close(joint, getattr(theirs, f"in_proj_{kind}").grad, dtype)
        close(
            getattr(ours.output, kind).grad, getattr(theirs.out_proj, kind).grad, dtype
        )


def test_dropout_equals_the_library_in_training_and_is_off_in_evaluation():
    theirs, ours = twins(12, 3, torch.float64, dropout=0.4)
    hidden = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.manual_seed(1)
    expected, expected_weights = theirs(
        hidden, hidden, hidden, average_attn_weights=False
    )
    torch.manual_seed(1)
    output, weights = ours(hidden, return_weights=True)
    assert (weights == 0).any()
    close(output, expected, hidden.dtype)
    close(weights, expected_weights, hidden.dtype)
    theirs.eval()
    ours.eval()
    expected, _ = theirs(hidden, hidden, hidden)
    close(ours(hidden)[0], expected, hidden.dtype)


@given(problems())
@settings(max_examples=80, deadline=None)
def test_the_fused_path_has_the_same_gradients(problem):
    (_, layer), hidden, other, mask = problem
    gradients = []
    for return_weights in (False, True):
        layer.zero_grad()
        leaves = [x.clone().requires_grad_() for x in (hidden, other) if x is not None]
        output, _ = layer(*leaves, attention_mask=mask, return_weights=return_weights)
        up = torch.linspace(-1, 1, output.numel(), dtype=output.dtype)
        output.backward(up.view_as(output))
        gradients.append([x.grad for x in (*leaves, *layer.parameters())])
    for fused, plain in zip(*gradients, strict=True):
        close(fused.clone(), plain, hidden.dtype)


def test_the_fused_path_is_taken_where_nothing_speaks_against_it(monkeypatch):
    calls = []
    fused = F.scaled_dot_product_attention

    def counted(*inputs):
        calls.append(len(inputs))
        return fused(*inputs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    hidden = torch.randn(2, 3, 8)
    dropping = MultiHeadAttention(8, 2, dropout=0.5)
    plain = MultiHeadAttention(8, 2)
    for layer, options, expected in (
        (plain, {}, 1),
        (plain, {"return_weights": True}, 0),
        (dropping, {}, 0),
        (MultiHeadAttention(8, 2, dropout=0.5).eval(), {}, 1),
    ):
        calls.clear()
        layer(hidden, **options)
        assert len(calls) == expected
    with torch.autocast("cpu", torch.bfloat16):
        calls.clear()
        plain(hidden)
        assert not calls
        with torch.no_grad():
            plain(hidden)
        assert calls


def test_in_bfloat16_both_paths_agree():
    torch.manual_seed(0)
    layer, hidden = MultiHeadAttention(12, 3), torch.randn(2, 5, 12)
    expected, _ = layer(hidden, attention_mask=causal_mask(5))
    with torch.autocast("cpu", torch.bfloat16):
        slow, _ = layer(hidden, attention_mask=causal_mask(5))
        with torch.no_grad():
            fused, _ = layer(hidden, attention_mask=causal_mask(5))
    for output in (slow, fused):
        torch.testing.assert_close(output.float(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_only_where_they_are_asked_for(dropout, dtype):
    """Also where the fused kernel is not taken, in training with dropout or in bfloat16."""
    layer = MultiHeadAttention(8, 2, dropout=dropout).to(dtype)
    hidden = torch.randn(2, 3, 8).to(dtype)
    assert layer(hidden)[1] is None
    assert layer(hidden, return_weights=True)[1].shape == (2, 2, 3, 3)


@pytest.mark.parametrize("return_weights", [True, False])
def test_a_forbidden_key_gets_nothing_however_low_the_others_score(return_weights):
    """Scores of 1e40 and more: no number that is added in place of minus infinity is enough."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(24, 6).double()
    with torch.no_grad():
        layer.query.weight *= 1e20
        layer.key.weight *= 1e20
    hidden = torch.randn(4, 5, 24, dtype=torch.float64)
    seen, weights = layer(hidden, return_weights=True)
    for place in range(5):
        assert (weights[..., place] == 1).any()  # each would be the winner somewhere
        mask = (torch.arange(5) != place)[None, None]
        output, used = layer(hidden, None, mask, return_weights)
        assert not torch.equal(output, seen)
        if return_weights:
            assert (used[..., place] == 0).all()
        changed = hidden.clone()
        changed[:, place] += 1
        again, _ = layer(changed, None, mask, return_weights)
        others = torch.arange(5) != place
        assert torch.equal(again[:, others], output[:, others])


def test_dropout_falls_alike_whether_the_weights_are_returned_or_not():
    layer, hidden = MultiHeadAttention(12, 3, dropout=0.4), torch.randn(2, 5, 12)
    torch.manual_seed(1)
    expected, _ = layer(hidden, return_weights=True)
    torch.manual_seed(1)
    assert torch.equal(layer(hidden)[0], expected)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_keys_and_values_can_be_made_beforehand(problem):
    (_, layer), hidden, other, mask = problem
    source = hidden if other is None else other
    key, value = layer.keys_and_values(source)
    assert key.shape == value.shape
    assert key.shape[:3] == (len(source), layer.num_heads, source.shape[1])
    expected, _ = layer(hidden, other, mask)
    mask = mask_for_heads(mask)
    assert torch.equal(layer.attend(hidden, key, value, mask)[0], expected)
    # One query alone gets what it gets among the others.
    if mask is None:
        last, _ = layer.attend(hidden[:, -1:], key, value)
        close(last, expected[:, -1:], hidden.dtype)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.none() | st.integers(1, 6),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_equals_separate_heads(heads, width, d_k, seed):
    """The fused projections are h heads of their own, joined by a concatenation."""
    torch.manual_seed(seed)
    layer = MultiHeadAttention(heads * width, heads, d_k=d_k).double()
    widths = {"query": d_k or width, "key": d_k or width, "value": width}
    hidden = torch.randn(2, 4, heads * width, dtype=torch.float64)
    outputs = []
    for i in range(heads):
        head = SelfAttention(heads * width, d_k or width, width).double()
        for name, size in widths.items():
            part = slice(i * size, (i + 1) * size)
            joint = getattr(layer, name)
            own = {"weight": joint.weight[part], "bias": joint.bias[part]}
            getattr(head, name).load_state_dict(own)
        outputs.append(head(hidden)[0])
    expected = layer.output(torch.cat(outputs, -1))
    close(layer(hidden)[0], expected, torch.float64)
    close(layer(hidden, return_weights=True)[0], expected, torch.float64)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_splitting_keeps_each_token_and_merging_undoes_it(batch, length, heads, width):
    states = torch.arange(batch * length * heads * width).view(batch, length, -1)
    parts = split_heads(states, heads)
    assert parts.shape == (batch, heads, length, width)
    for i in range(heads):
        assert torch.equal(parts[:, i], states[..., i * width : (i + 1) * width])
    assert torch.equal(merge_heads(parts), states)


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_do_not_depend_on_the_number_of_heads(bias):
    for heads in (1, 2, 3, 4, 6, 12):
        layer = MultiHeadAttention(12, heads, bias=bias)
        count = sum(p.numel() for p in layer.parameters())
        assert count == 4 * 12**2 + bias * 4 * 12


def test_a_padding_mask_is_read_by_sequence_also_when_batch_and_heads_agree():
    """[B, 1, S] must not be broadcast as [H, 1, S], which would fit here."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2)
    hidden = torch.randn(2, 4, 8)
    mask = padding_mask(torch.tensor([4, 2]), 4)
    _, weights = layer(hidden, attention_mask=mask, return_weights=True)
    assert (weights[0] > 0).all()
    assert (weights[1, :, :, 2:] == 0).all()
    both = mask & causal_mask(4)
    _, weights = layer(hidden, attention_mask=both, return_weights=True)
    assert (weights[0, :, 0, 1:] == 0).all()
    assert (weights[1, :, :, 2:] == 0).all()


def test_no_token_sees_what_its_mask_hides():
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 4)
    hidden, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = padding_mask(torch.tensor([3, 5]), 5)
    before, _ = layer(hidden, memory, mask)
    memory[0, 3:] = 100.0
    assert torch.equal(before, layer(hidden, memory, mask)[0])
    assert not torch.equal(before[0], layer(hidden, memory)[0][0])


def test_mask_for_heads():
    assert mask_for_heads(None) is None
    for given_shape, expected in {
        (4, 5): (4, 5),
        (1, 5): (1, 5),
        (2, 4, 5): (2, 1, 4, 5),
        (2, 1, 5): (2, 1, 1, 5),
        (2, 1, 1, 5): (2, 1, 1, 5),
    }.items():
        mask = torch.ones(given_shape, dtype=torch.bool)
        assert mask_for_heads(mask).shape == expected


X = torch.zeros(2, 3, 8)
LAYER = MultiHeadAttention(8, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MultiHeadAttention(8, 3), ValueError, "num_heads=3 .*d_model=8"),
        (lambda: MultiHeadAttention(8, 0), ValueError, "num_heads .*got 0"),
        (lambda: MultiHeadAttention(0, 1), ValueError, "d_model .*got 0"),
        (lambda: MultiHeadAttention(8, -4), ValueError, "num_heads .*got -4"),
        (lambda: MultiHeadAttention(8, 4, dropout=1.5), ValueError, "1.5"),
        (
            lambda: MultiHeadAttention(8, 4, d_k=0),
            ValueError,
            "d_k .*at least 1, got 0",
        ),
        (lambda: LAYER(X[0]), ValueError, r"hidden_states .*got \[3, 8\]"),
        (lambda: LAYER(X[..., :7]), ValueError, r"\[B, T, 8\], got \[2, 3, 7\]"),
        (lambda: LAYER(X, X[:, :0]), ValueError, r"key_value_states .*\[2, 0, 8\]"),
        (lambda: LAYER(X, X[..., :4]), ValueError, r"key_value_states .*\[2, 3, 4\]"),
        (
            lambda: LAYER(X, X[:1]),
            ValueError,
            r"key_value_states .*\[2, S, 8\], got \[1, 3, 8\]",
        ),
        (lambda: LAYER(X.long()), TypeError, "hidden_states .*torch.int64"),
        (
            lambda: LAYER(X, attention_mask=torch.ones(3, 3)),
            TypeError,
            "torch.float32.*mask.bool",
        ),
        (
            lambda: LAYER(X, attention_mask=torch.ones(2, 4, dtype=torch.bool)),
            ValueError,
            r"\[2, 4\] does not fit the scores, \[2, 4, 3, 3\]",
        ),
        (
            # H masks of [T, S]: three dimensions always mean [B, T, S].
            lambda: LAYER(X, attention_mask=torch.ones(4, 3, 3, dtype=torch.bool)),
            ValueError,
            r"\[4, 1, 3, 3\] does not fit the scores, \[2, 4, 3, 3\]",
        ),
        (
            lambda: LAYER(X, attention_mask=torch.ones(3, dtype=torch.bool)),
            ValueError,
            r"shape \[3\]",
        ),
        (
            lambda: LAYER(X, attention_mask=torch.zeros(3, 3, dtype=torch.bool)),
            ValueError,
            "no key at all.*inverted",
        ),
        (
            lambda: LAYER(X, None, torch.zeros(3, 3, dtype=torch.bool), True),
            ValueError,
            "3 of 3 rows .*no key at all, the first at index .0.*inverted",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
