"""bertbook.attention.scores against PyTorch, and by its invariants."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertbook.attention.scores import (
    SelfAttention,
    additive_score,
    bilinear_score,
    causal_mask,
    dot_score,
    masked_softmax,
    padding_mask,
    scaled_dot_product_attention,
    scaled_dot_score,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def close(actual, expected, dtype):
    torch.testing.assert_close(
        actual, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


@st.composite
def problems(draw):
    """Random query, key, value and mask: shapes, masks and both float types."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    target, source = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    d_k, d_v = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    kind = draw(st.sampled_from(["none", "causal", "padding", "random", "broadcast"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape):
        return torch.randn(*batch, *shape, generator=generator, dtype=dtype)

    query, key, value = normal(target, d_k), normal(source, d_k), normal(source, d_v)
    mask = None
    if kind == "causal":
        mask = torch.ones(target, source, dtype=torch.bool).tril()
    elif kind == "padding":
        mask = torch.arange(source) < draw(st.integers(1, source))
    elif kind in ("random", "broadcast"):
        shape = (*batch, target, source) if kind == "random" else (target, source)
        mask = torch.rand(shape, generator=generator) < 0.6
        mask[..., 0] = True
    return query, key, value, mask


@given(problems())
@settings(max_examples=300, deadline=None)
def test_equals_torch_forward_and_backward(problem):
    """Output and all three gradients equal the library's."""
    query, key, value, mask = problem
    # The library takes no one-dimensional mask, ours broadcasts it.
    wide = None if mask is None else mask.expand(*query.shape[:-1], key.shape[-2])
    results = []
    for attend in (
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask)[0],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, wide),
    ):
        leaves = [x.clone().requires_grad_() for x in (query, key, value)]
        output = attend(*leaves)
        upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(
            output
        )
        results.append([output, *torch.autograd.grad(output, leaves, upstream)])
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, query.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_the_library(dtype):
    query, key, value = torch.randn(
        3, 2, 5, 8, generator=torch.Generator().manual_seed(0)
    ).to(dtype)
    ours, _ = scaled_dot_product_attention(query, key, value)
    exact, _ = scaled_dot_product_attention(
        query.double(), key.double(), value.double()
    )
    assert ours.dtype == dtype
    assert (ours - exact).abs().max() < 16 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_mask_leaves_the_type_of_the_scores(dtype):
    scores = torch.tensor([[1.0, 2.0, 1.0]], dtype=dtype)
    weights = masked_softmax(scores, torch.tensor([[True, False, True]]))
    assert weights.dtype == dtype
    assert weights.tolist() == [[0.5, 0.0, 0.5]]


@given(
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 7),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_inside_of_multihead_attention(
    dtype, heads, d_k, batch, length, causal, seed
):
    """Split by hand around our function, nn.MultiheadAttention's output, weights and gradients."""
    torch.manual_seed(seed)
    d_model = heads * d_k
    layer = nn.MultiheadAttention(d_model, heads, batch_first=True, dtype=dtype)
    nn.init.normal_(layer.in_proj_bias)
    hidden = torch.randn(batch, length, d_model, dtype=dtype)
    upstream = torch.randn(batch, length, d_model, dtype=dtype)
    mask = causal_mask(length) if causal else None

    theirs_in = hidden.clone().requires_grad_()
    theirs, theirs_weights = layer(
        theirs_in,
        theirs_in,
        theirs_in,
        attn_mask=None if mask is None else ~mask,
        average_attn_weights=False,
    )
    theirs_grad = torch.autograd.grad(
        theirs, [theirs_in, layer.in_proj_weight], upstream
    )

    ours_in = hidden.clone().requires_grad_()
    projected = F.linear(
        ours_in, layer.in_proj_weight, layer.in_proj_bias
    )  # [B, T, 3D]
    split = projected.view(batch, length, 3, heads, d_k).permute(
        2, 0, 3, 1, 4
    )  # [3, B, H, T, Dh]
    context, ours_weights = scaled_dot_product_attention(*split, mask)
    ours = layer.out_proj(context.transpose(1, 2).reshape(batch, length, d_model))
    ours_grad = torch.autograd.grad(ours, [ours_in, layer.in_proj_weight], upstream)

    # MultiheadAttention adds up its gradients in another order: allow the rounding of the sums.
    for mine, reference in zip(
        (ours, ours_weights, *ours_grad),
        (theirs, theirs_weights, *theirs_grad),
        strict=True,
    ):
        close(mine, reference, dtype)


@given(problems())
@settings(max_examples=100, deadline=None)
def test_weights_are_a_distribution_over_the_allowed_keys(problem):
    query, key, value, mask = problem
    output, weights = scaled_dot_product_attention(query, key, value, mask)
    assert weights.shape == (*query.shape[:-1], key.shape[-2])
    assert output.shape == (*query.shape[:-1], value.shape[-1])
    assert (weights >= 0).all()
    close(weights.sum(-1), torch.ones_like(weights[..., 0]), query.dtype)
    if mask is not None:
        assert (weights[~mask.expand_as(weights)] == 0).all()


@given(problems(), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_masked_key_has_no_influence(problem, seed):
    """Replacing what is masked for every query leaves the output bit-equal."""
    query, key, value, mask = problem
    if mask is None:
        return
    unseen = ~mask.expand(*query.shape[:-1], key.shape[-2]).any(-2)  # [..., S]
    generator = torch.Generator().manual_seed(seed)
    before, _ = scaled_dot_product_attention(query, key, value, mask)
    other_key = torch.where(
        unseen[..., None],
        torch.randn(key.shape, generator=generator, dtype=key.dtype) * 9,
        key,
    )
    other_value = torch.where(
        unseen[..., None],
        torch.randn(value.shape, generator=generator, dtype=value.dtype),
        value,
    )
    after, _ = scaled_dot_product_attention(query, other_key, other_value, mask)
    assert torch.equal(before, after)


@pytest.mark.parametrize("training", [True, False])
def test_causal_mask_lets_nothing_leak_from_the_future(training):
    torch.manual_seed(0)
    layer = SelfAttention(12, 5).train(training)
    hidden = torch.randn(2, 7, 12)
    before, _ = layer(hidden, causal_mask(7))
    for t in range(7):
        changed = hidden.clone()
        changed[:, t:] = torch.randn(2, 7 - t, 12)
        after, _ = layer(changed, causal_mask(7))
        assert torch.equal(before[:, :t], after[:, :t])
        assert not torch.equal(before[:, t], after[:, t])


@given(st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_self_attention_is_permutation_equivariant(length, seed):
    torch.manual_seed(seed)
    layer = SelfAttention(6, 4, 3).double()
    hidden = torch.randn(2, length, 6, dtype=torch.float64)
    order = torch.randperm(length)
    output, weights = layer(hidden)
    moved, moved_weights = layer(hidden[:, order])
    close(moved, output[:, order], torch.float64)
    close(moved_weights, weights[:, order][:, :, order], torch.float64)
    close(moved.mean(1), output.mean(1), torch.float64)


@given(problems(), st.floats(-3, 3))
@settings(max_examples=50, deadline=None)
def test_linear_in_the_values_and_inside_their_hull(problem, factor):
    query, key, value, mask = problem
    other = value.roll(1, -2).sin()
    mixed, _ = scaled_dot_product_attention(query, key, value + factor * other, mask)
    output, _ = scaled_dot_product_attention(query, key, value, mask)
    added, _ = scaled_dot_product_attention(query, key, other, mask)
    close(mixed, output + factor * added, query.dtype)
    slack = TOLERANCE[query.dtype] * (1 + value.abs().max())
    assert (output <= value.amax(-2, keepdim=True) + slack).all()
    assert (output >= value.amin(-2, keepdim=True) - slack).all()


def test_large_scores_stay_finite():
    weights = masked_softmax(torch.tensor([[1e4, 0.0, -1e4]]))
    assert torch.equal(weights, torch.tensor([[1.0, 0.0, 0.0]]))


def test_the_score_functions_by_hand():
    query, key = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, -1.0]])
    assert torch.equal(dot_score(query, key), torch.tensor([[11.0, -2.0]]))
    scaled = torch.tensor([[11.0, -2.0]]) / math.sqrt(2)
    close(scaled_dot_score(query, key), scaled, torch.float32)
    weight = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert torch.equal(bilinear_score(query, key, weight), torch.tensor([[10.0, -1.0]]))
    eye, vector = torch.eye(2), torch.tensor([1.0, -1.0])
    expected = [math.tanh(4) - math.tanh(6), math.tanh(1) - math.tanh(1)]
    close(
        additive_score(query, key, eye, eye, vector),
        torch.tensor([expected]),
        torch.float32,
    )


def test_the_learned_scores_pair_by_pair():
    """Query, key and hidden layer of three widths: every matrix meets what it belongs to."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 3).double(), torch.randn(2, 5, 6).double()
    matrix, vector = torch.randn(3, 6).double(), torch.randn(7).double()
    w_q, w_k = torch.randn(3, 7).double(), torch.randn(6, 7).double()
    bilinear = bilinear_score(query, key, matrix)
    additive = additive_score(query, key, w_q, w_k, vector)
    assert bilinear.shape == additive.shape == (2, 4, 5)
    for b, t, s in itertools.product(range(2), range(4), range(5)):
        q, k = query[b, t], key[b, s]
        close(bilinear[b, t, s], q @ (matrix @ k), torch.float64)
        hidden = torch.tanh(w_q.T @ q + w_k.T @ k)
        close(additive[b, t, s], vector @ hidden, torch.float64)


def test_a_dot_product_of_projections_is_a_bilinear_form_of_low_rank():
    torch.manual_seed(0)
    tokens = torch.randn(4, 9, 16, dtype=torch.float64)
    w_q, w_k = torch.randn(2, 16, 3, dtype=torch.float64)
    joint = w_q @ w_k.T
    close(
        dot_score(tokens @ w_q, tokens @ w_k),
        bilinear_score(tokens, tokens, joint),
        tokens.dtype,
    )
    assert torch.linalg.matrix_rank(joint) == 3


def test_masks():
    assert padding_mask(torch.tensor([1, 3]), 3).tolist() == [
        [[True, False, False]],
        [[True] * 3],
    ]
    assert causal_mask(3).long().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_masks_are_made_where_they_are_needed():
    """On the device that is named, and where the lengths are, not where new tensors go."""
    assert causal_mask(3, device="meta").device.type == "meta"
    lengths = torch.tensor([1, 3])
    with torch.device("meta"):
        assert padding_mask(lengths, 3).sum().item() == 4


@pytest.mark.parametrize("masked", [-1e9, -1e4])
def test_a_forbidden_key_gets_nothing_however_low_the_others_score(masked):
    """Minus infinity, not a large negative number: that would win here."""
    scores = torch.tensor([[10 * masked, 0.0]])
    mask = torch.tensor([[True, False]])
    assert masked_softmax(scores, mask).tolist() == [[1.0, 0.0]]


@given(problems(), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_one_head_is_projections_and_attention(problem, seed):
    """The class against the library: forward, weights, gradients of all parameters."""
    query, key, _, mask = problem
    torch.manual_seed(seed)
    if mask is not None and (mask.dim() < 2 or mask.shape[-1] != query.shape[-2]):
        mask = None
    d_model, d_k, d_v = query.shape[-1], key.shape[-1], 1 + seed % 5
    layer = SelfAttention(d_model, d_k + 1, d_v).to(query.dtype)
    output, weights = layer(query, mask)
    q, k, v = (F.linear(query, p.weight, p.bias) for p in layer.children())
    wide = None if mask is None else mask.expand(*q.shape[:-1], q.shape[-2])
    expected = F.scaled_dot_product_attention(q, k, v, wide)
    close(output, expected, query.dtype)
    close(weights @ v, expected, query.dtype)
    up = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    parameters = list(layer.parameters())
    ours, theirs = (torch.autograd.grad(y, parameters, up) for y in (output, expected))
    for mine, reference in zip(ours, theirs, strict=True):
        close(mine, reference, query.dtype)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ({}, (6, 6, 6)),
        ({"d_k": 4}, (4, 4, 4)),
        ({"d_v": 3}, (6, 6, 3)),
        ({"d_k": 4, "d_v": 3}, (4, 4, 3)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_the_three_projections_have_the_widths_and_biases_asked_for(
    widths, expected, bias
):
    layer = SelfAttention(6, **widths, bias=bias)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    wanted = {}
    for name, width in zip(("query", "key", "value"), expected, strict=True):
        wanted[f"{name}.weight"] = (width, 6)
        if bias:
            wanted[f"{name}.bias"] = (width,)
    assert shapes == wanted
    output, weights = layer(torch.zeros(2, 5, 6))
    assert (output.shape, weights.shape) == ((2, 5, expected[2]), (2, 5, 5))


def test_the_projections_have_biases_unless_told_otherwise():
    assert all(
        projection.bias is not None for projection in SelfAttention(6).children()
    )


def test_dropped_weights_are_zero_and_the_others_grow():
    query, key, value = torch.randn(
        3, 40, 8, generator=torch.Generator().manual_seed(0)
    )
    _, kept = scaled_dot_product_attention(query, key, value)
    torch.manual_seed(0)
    output, weights = scaled_dot_product_attention(query, key, value, dropout=0.25)
    dropped = weights == 0
    assert abs(dropped.float().mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 1600)
    close(weights[~dropped], kept[~dropped] / 0.75, torch.float32)
    close(output, weights @ value, torch.float32)


def test_an_empty_row_is_refused_where_the_mask_enters():
    mask = torch.tensor([[True, False], [False, False]])
    assert masked_softmax(torch.zeros(2, 2), mask).isnan().any(-1).tolist() == [
        False,
        True,
    ]
    with pytest.raises(ValueError, match=r"1 of 2 rows.*index \[1\].*inverted"):
        SelfAttention(4)(torch.zeros(3, 2, 4), mask)


X = torch.zeros(2, 3, 4)
ONE, TRUE = SelfAttention(4), torch.ones(3, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ONE(X, torch.ones(3, 3)), TypeError, "torch.float32.*mask.bool"),
        (lambda: ONE(X, TRUE[:, :2]), ValueError, r"\[3, 2\].*\[2, 3, 3\]"),
        (lambda: ONE(X, TRUE[0]), ValueError, r"shape \[3\] does not fit"),
        (lambda: ONE(X, TRUE.expand(5, 2, 3, 3)), ValueError, r"\[5, 2, 3, 3\]"),
        (lambda: ONE(X.int()), TypeError, "hidden_states.*torch.int32"),
        (lambda: ONE(X[:, :0]), ValueError, r"\[2, 0, 4\]"),
        (lambda: ONE(X[0, 0]), ValueError, r"got \[4\]"),
        (lambda: padding_mask(torch.tensor([0, 2]), 3), ValueError, r"1..3, got \[0\]"),
        (lambda: padding_mask(torch.tensor([4]), 3), ValueError, r"got \[4\]"),
        (lambda: padding_mask(torch.tensor([1.0]), 3), TypeError, "torch.float32"),
        (lambda: padding_mask(torch.tensor([[1]]), 3), ValueError, r"\[1, 1\]"),
        (lambda: causal_mask(0), ValueError, "got 0"),
        (lambda: SelfAttention(0), ValueError, "d_model.*got 0"),
        (lambda: SelfAttention(4, 0), ValueError, "d_k.*got 0"),
        (lambda: SelfAttention(4, d_v=-1), ValueError, "d_v.*got -1"),
        (lambda: SelfAttention(5)(X), ValueError, r"\[..., T, 5\], got \[2, 3, 4\]"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
