"""bertbook.attention.scores against PyTorch, and by its invariants."""

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
def problems(draw, empty_rows=False):
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
        if not empty_rows:
            mask[..., 0] = True
        elif draw(st.booleans()):
            mask[..., 0, :] = False
    return query, key, value, mask


@given(problems(empty_rows=True), st.booleans())
@settings(max_examples=300, deadline=None)
def test_equals_torch_forward_and_backward(problem, own_scale):
    """Output and all three gradients equal the library's, empty rows included."""
    query, key, value, mask = problem
    scale = 0.37 if own_scale else None
    # The library takes no one-dimensional mask, ours broadcasts it.
    wide = None if mask is None else mask.expand(*query.shape[:-1], key.shape[-2])
    results = []
    for attend in (
        lambda q, k, v: scaled_dot_product_attention(
            q, k, v, mask, scale=scale, allow_empty_rows=True
        ),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, wide, scale=scale),
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
    ours = scaled_dot_product_attention(query, key, value)
    exact = scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert ours.dtype == dtype
    assert (ours - exact).abs().max() < 16 * torch.finfo(dtype).eps


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
    context, ours_weights = scaled_dot_product_attention(
        *split, mask, return_weights=True
    )
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
    output, weights = scaled_dot_product_attention(
        query, key, value, mask, return_weights=True
    )
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
    before = scaled_dot_product_attention(query, key, value, mask)
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
    assert torch.equal(
        before, scaled_dot_product_attention(query, other_key, other_value, mask)
    )


@pytest.mark.parametrize("training", [True, False])
def test_causal_mask_lets_nothing_leak_from_the_future(training):
    torch.manual_seed(0)
    layer = SelfAttention(12, 5).train(training)
    hidden = torch.randn(2, 7, 12)
    before = layer(hidden, causal_mask(7))
    for t in range(7):
        changed = hidden.clone()
        changed[:, t:] = torch.randn(2, 7 - t, 12)
        after = layer(changed, causal_mask(7))
        assert torch.equal(before[:, :t], after[:, :t])
        assert not torch.equal(before[:, t], after[:, t])


@given(st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_self_attention_is_permutation_equivariant(length, seed):
    torch.manual_seed(seed)
    layer = SelfAttention(6, 4, 3).double()
    hidden = torch.randn(2, length, 6, dtype=torch.float64)
    order = torch.randperm(length)
    output = layer(hidden)
    close(layer(hidden[:, order]), output[:, order], torch.float64)
    close(layer(hidden[:, order]).mean(1), output.mean(1), torch.float64)


@given(problems(), st.floats(-3, 3))
@settings(max_examples=50, deadline=None)
def test_linear_in_the_values_and_inside_their_hull(problem, factor):
    query, key, value, mask = problem
    other = value.roll(1, -2).sin()
    mixed = scaled_dot_product_attention(query, key, value + factor * other, mask)
    apart = scaled_dot_product_attention(query, key, value, mask)
    apart = apart + factor * scaled_dot_product_attention(query, key, other, mask)
    close(mixed, apart, query.dtype)
    output = scaled_dot_product_attention(query, key, value, mask)
    slack = TOLERANCE[query.dtype] * (1 + value.abs().max())
    assert (output <= value.amax(-2, keepdim=True) + slack).all()
    assert (output >= value.amin(-2, keepdim=True) - slack).all()


def test_large_scores_stay_finite():
    weights = masked_softmax(torch.tensor([[1e4, 0.0, -1e4]]))
    assert torch.equal(weights, torch.tensor([[1.0, 0.0, 0.0]]))


def test_the_score_functions_by_hand():
    query, key = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, -1.0]])
    assert torch.equal(dot_score(query, key), torch.tensor([[11.0, -2.0]]))
    assert torch.equal(
        scaled_dot_score(query, key), torch.tensor([[11.0, -2.0]]) / math.sqrt(2)
    )
    weight = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert torch.equal(bilinear_score(query, key, weight), torch.tensor([[10.0, -1.0]]))
    eye, vector = torch.eye(2), torch.tensor([1.0, -1.0])
    expected = [math.tanh(4) - math.tanh(6), math.tanh(1) - math.tanh(1)]
    close(
        additive_score(query, key, eye, eye, vector),
        torch.tensor([expected]),
        torch.float32,
    )


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


def test_an_empty_row_is_an_error_unless_allowed():
    mask = torch.tensor([[True, False], [False, False]])
    scores = torch.zeros(2, 2, requires_grad=True)
    with pytest.raises(ValueError, match=r"1 of 2 queries.*index \[1\].*inverted"):
        masked_softmax(scores, mask)
    weights = masked_softmax(scores, mask, allow_empty_rows=True)
    assert weights.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    (gradient,) = torch.autograd.grad(weights[:, 0].sum(), scores)
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()


X = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: scaled_dot_product_attention(X, X[..., :2], X),
            ValueError,
            r"Dk.*\[2, 3, 2\]",
        ),
        (
            lambda: scaled_dot_product_attention(X, X, X[:, :2]),
            ValueError,
            r"length S.*\[2, 2, 4\]",
        ),
        (
            lambda: scaled_dot_product_attention(X[:1], X, X),
            ValueError,
            r"batch.*\[1, 3, 4\]",
        ),
        (
            lambda: scaled_dot_product_attention(X[0, 0], X, X),
            ValueError,
            r"dimensions.*\[4\]",
        ),
        (
            lambda: scaled_dot_product_attention(X, X[:, :0], X[:, :0]),
            ValueError,
            "one key",
        ),
        (
            lambda: scaled_dot_product_attention(X[..., :0], X[..., :0], X),
            ValueError,
            "width one",
        ),
        (
            lambda: scaled_dot_product_attention(X, X.double(), X),
            TypeError,
            "torch.float64",
        ),
        (
            lambda: scaled_dot_product_attention(*[X.long()] * 3),
            TypeError,
            "torch.int64",
        ),
        (
            lambda: scaled_dot_product_attention(X, X, X, torch.ones(3, 3)),
            TypeError,
            "torch.float32.*mask.bool",
        ),
        (
            lambda: scaled_dot_product_attention(
                X, X, X, torch.ones(3, 4, dtype=torch.bool)
            ),
            ValueError,
            r"\[3, 4\].*\[2, 3, 3\]",
        ),
        (
            lambda: masked_softmax(X, torch.ones(5, 2, 3, 4, dtype=torch.bool)),
            ValueError,
            r"\[5, 2, 3, 4\].*\[2, 3, 4\]",
        ),
        (lambda: masked_softmax(X.int()), TypeError, "torch.int32"),
        (lambda: padding_mask(torch.tensor([0, 2]), 3), ValueError, r"1..3, got \[0\]"),
        (lambda: padding_mask(torch.tensor([4]), 3), ValueError, r"got \[4\]"),
        (lambda: padding_mask(torch.tensor([1.0]), 3), TypeError, "torch.float32"),
        (lambda: padding_mask(torch.tensor([[1]]), 3), ValueError, r"\[1, 1\]"),
        (lambda: causal_mask(0), ValueError, "got 0"),
        (lambda: SelfAttention(0), ValueError, "d_model.*got 0"),
        (lambda: SelfAttention(4, d_v=-1), ValueError, "d_v.*got -1"),
        (lambda: SelfAttention(5)(X), ValueError, r"\[..., T, 5\], got \[2, 3, 4\]"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
