"""bertbook.transformer.encoder against nn.TransformerEncoderLayer, and by its invariants."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.transformer import from_library
from bertbook.attention.scores import causal_mask, padding_mask
from bertbook.transformer.encoder import (
    AddNorm,
    Embedding,
    Encoder,
    EncoderLayer,
    FeedForward,
    TransformerConfig,
    sinusoids,
)
from tests.transformer.library_twins import (
    TOLERANCE,
    close,
    compare_gradients,
    compare_weights,
    head_sizes,
    library_weights,
    randomise,
)

MASKS = ("none", "padding", "causal", "both", "rows")


@st.composite
def problems(draw):
    """A configuration, vectors and a mask of each kind, in both float types."""
    dtype = draw(st.sampled_from(sorted(TOLERANCE, key=str)))
    heads, width = draw(head_sizes())
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    layers, inner = draw(st.integers(1, 2)), draw(st.integers(1, 9))
    config = TransformerConfig.tiny(
        d_model=heads * width,
        num_heads=heads,
        num_encoder_layers=layers,
        d_ff=inner,
        dropout=0.0,
        norm_first=draw(st.booleans()),
    )
    kind = draw(st.sampled_from(MASKS))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    vectors = torch.randn(batch, length, heads * width, dtype=dtype)
    padding = padding_mask(torch.randint(1, length + 1, (batch,)), length)
    rows = torch.rand(batch, length, length) < 0.5
    rows |= torch.eye(length, dtype=torch.bool)
    mask = {
        "none": None,
        "padding": padding,
        "causal": causal_mask(length),
        "both": padding & causal_mask(length),
        "rows": rows,
    }[kind]
    return config, vectors, mask, kind


def library_masks(mask, kind, heads):
    """The same in the library's form, True = forbidden, through its own arguments."""
    if kind == "none":
        return {}
    if kind == "padding":
        return {"src_key_padding_mask": ~mask[:, 0]}
    if kind == "causal":
        return {"mask": ~mask}
    if kind == "both":  # the last query may look at all that is not padding
        causal = ~causal_mask(mask.shape[-1])
        return {"src_key_padding_mask": ~mask[:, -1], "mask": causal}
    return {"mask": ~mask.repeat_interleave(heads, dim=0)}  # [B·H, S, S]


@pytest.mark.slow
@given(problems())
@settings(max_examples=120, deadline=None)
def test_a_stack_equals_the_librarys_forward_and_backward(problem):
    """Outputs, weights of every head and layer, gradients of inputs and all parameters."""
    config, vectors, mask, kind = problem
    layer = nn.TransformerEncoderLayer(
        config.d_model,
        config.num_heads,
        config.d_ff,
        dropout=0.0,
        batch_first=True,
        norm_first=config.norm_first,
    )
    theirs = nn.TransformerEncoder(
        layer,
        config.num_encoder_layers,
        nn.LayerNorm(config.d_model) if config.norm_first else None,
        enable_nested_tensor=False,
    ).to(vectors.dtype)
    randomise(theirs)
    ours = Encoder(config).to(vectors.dtype)
    ours.load_state_dict(from_library(theirs.state_dict()))
    masks = library_masks(mask, kind, config.num_heads)

    reference = vectors.clone().requires_grad_()
    expected = theirs(reference, **masks)
    leaf = vectors.clone().requires_grad_()
    output, no_weights = ours(leaf, mask)
    assert no_weights == [None] * config.num_encoder_layers
    close(output, expected)
    again, weights = ours(leaf, mask, return_weights=True)
    close(again, expected)
    attentions = [layer.self_attn for layer in theirs.layers]
    found = library_weights(attentions, lambda: theirs(vectors, **masks))
    compare_weights(weights, found)

    up = torch.randn_like(output)
    expected.backward(up)
    for result in (output, again):  # the fused path and the one with weights
        ours.zero_grad()
        leaf.grad = None
        result.backward(up)
        compare_gradients(ours, theirs, [leaf], [reference])


@pytest.mark.parametrize("norm_first", [False, True])
def test_one_layer_equals_the_librarys_in_evaluation_mode(norm_first):
    """Without gradients the library takes its fused inference path."""
    torch.manual_seed(0)
    config = TransformerConfig.tiny(norm_first=norm_first)
    theirs = nn.TransformerEncoderLayer(
        config.d_model,
        config.num_heads,
        config.d_ff,
        batch_first=True,
        norm_first=norm_first,
    ).eval()
    randomise(theirs)
    ours = EncoderLayer(config).eval()
    ours.load_state_dict(from_library(theirs.state_dict()))
    vectors = torch.randn(2, 5, config.d_model)
    with torch.no_grad():
        close(ours(vectors)[0], theirs(vectors))


def stack(**choices):
    torch.manual_seed(1)
    encoder = Encoder(TransformerConfig.tiny(**choices))
    randomise(encoder)
    return encoder


SWITCHES = [{}, {"norm_first": True}, {"d_k": 5}, {"residual": False}]


@pytest.mark.parametrize("choices", SWITCHES)
@given(seed=st.integers(0, 2**31), more=st.integers(0, 4))
@settings(max_examples=15, deadline=None)
def test_neither_content_nor_amount_of_padding_matters(choices, seed, more):
    encoder = stack(**choices).eval()
    torch.manual_seed(seed)
    lengths = torch.tensor([4, 2])
    vectors = torch.randn(2, 4, 12)
    states, _ = encoder(vectors, padding_mask(lengths, 4))
    other = vectors.clone()
    other[1, 2:] = 100 * torch.randn(2, 12)
    assert torch.equal(
        encoder(other, padding_mask(lengths, 4))[0][1, :2], states[1, :2]
    )
    longer = torch.cat([vectors, torch.randn(2, more, 12)], dim=1)
    padded, _ = encoder(longer, padding_mask(lengths, 4 + more))
    close(padded[0, :4], states[0])
    close(padded[1, :2], states[1, :2])
    # Seen, it would matter.
    assert not torch.allclose(encoder(other)[0][1, :2], states[1, :2], atol=1e-3)


@pytest.mark.parametrize("choices", SWITCHES)
@given(seed=st.integers(0, 2**31), length=st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_without_positions_the_encoder_is_permutation_equivariant(
    choices, seed, length
):
    encoder = stack(**choices).double().eval()
    torch.manual_seed(seed)
    vectors = torch.randn(2, length, 12, dtype=torch.float64)
    mask = padding_mask(torch.randint(1, length + 1, (2,)), length)
    order = torch.randperm(length)
    states, weights = encoder(vectors, mask, return_weights=True)
    moved, moved_weights = encoder(
        vectors[:, order], mask[..., order], return_weights=True
    )
    close(moved, states[:, order])
    for one, other in zip(weights, moved_weights, strict=True):
        close(other, one[:, :, order][..., order])


def test_with_positions_it_is_not():
    ids = torch.arange(3, 9)[None]
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    encoder = stack().eval()
    for positions, same in {"none": True, "sinusoid": False, "learned": False}.items():
        torch.manual_seed(0)
        embedding = Embedding(TransformerConfig.tiny(positions=positions)).eval()
        states, moved = (encoder(embedding(x))[0] for x in (ids, ids[:, order]))
        assert torch.allclose(moved, states[:, order], atol=1e-5) == same


def test_the_rows_of_a_batch_do_not_meet():
    encoder = stack().double().eval()
    vectors = torch.randn(3, 5, 12, dtype=torch.float64)
    states, _ = encoder(vectors)
    for row in range(3):
        close(encoder(vectors[row : row + 1])[0][0], states[row])


@given(
    st.integers(1, 20), st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**31)
)
@settings(max_examples=60, deadline=None)
def test_a_shift_turns_the_sinusoids_and_distance_decides_their_product(
    length, pairs, shift, seed
):
    d_model = 2 * pairs
    table = sinusoids(length + shift, d_model)
    assert table.shape == (length + shift, d_model)
    assert table.dtype == torch.float32
    assert (table.abs() <= 1).all()
    # The same by the formula, entry by entry.
    for place in {0, length - 1, length + shift - 1}:
        for i in range(pairs):
            angle = place / 10000 ** (2 * i / d_model)
            assert table[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)

    turns = shift * 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    turn = torch.stack([turns.cos(), turns.sin(), -turns.sin(), turns.cos()], dim=-1)
    # One 2x2 rotation for each frequency, the same for every position.
    turn = torch.block_diag(*turn.view(pairs, 2, 2))  # [D, D]
    torch.testing.assert_close(
        table[:length] @ turn.T, table[shift:], atol=3e-5, rtol=0
    )

    products = table @ table.T
    for distance in range(length + shift):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(
            diagonal, diagonal[:1].expand_as(diagonal), atol=3e-5, rtol=1e-5
        )
    close(products.diagonal(), torch.full((length + shift,), float(pairs)))


def test_sinusoids_follow_the_default_type():
    torch.set_default_dtype(torch.float64)
    try:
        assert sinusoids(3, 4).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_embedding_is_the_table_times_root_d_plus_positions():
    ids = torch.tensor([[3, 4, 3]])
    for positions in ("none", "learned", "sinusoid"):
        config = TransformerConfig.tiny(positions=positions)
        embedding = Embedding(config).eval()
        expected = embedding.tokens.weight[ids] * math.sqrt(config.d_model)
        if positions != "none":
            expected = expected + embedding.positions[:3]
        close(embedding(ids), expected)
        # Started later, the same symbols stand at later positions.
        later = embedding(torch.tensor([[5, 5, 3, 4, 3]]))[:, 2:]
        assert torch.equal(embedding(ids, start=2), later)


def test_positions_are_learned_only_where_they_should_be():
    def names(positions):
        embedding = Embedding(TransformerConfig.tiny(positions=positions))
        return {name: p.shape for name, p in embedding.named_parameters()}

    assert names("learned") == {"tokens.weight": (11, 12), "positions": (40, 12)}
    assert names("sinusoid") == names("none") == {"tokens.weight": (11, 12)}
    for positions in ("sinusoid", "none"):  # and not stored
        embedding = Embedding(TransformerConfig.tiny(positions=positions))
        assert list(embedding.state_dict()) == ["tokens.weight"]
    embedding = Embedding(TransformerConfig.tiny(positions="learned", dropout=0.0))
    embedding(torch.tensor([[3, 4, 5]])).sum().backward()
    assert (embedding.positions.grad[:3] == 1).all()
    assert (embedding.positions.grad[3:] == 0).all()


def test_an_odd_width_needs_no_sinusoids():
    for positions in ("none", "learned"):
        config = TransformerConfig.tiny(d_model=9, num_heads=3, positions=positions)
        assert Embedding(config)(torch.tensor([[3, 4]])).shape == (1, 2, 9)
    with pytest.raises(ValueError, match="sinusoids need an even d_model, got 9"):
        TransformerConfig.tiny(d_model=9, num_heads=3)


def test_token_vectors_start_with_variance_one_after_the_factor():
    torch.manual_seed(0)
    config = TransformerConfig.tiny(2000, d_model=240, positions="none", dropout=0.0)
    vectors = Embedding(config)(torch.arange(2000)[:, None])
    assert vectors.var().item() == pytest.approx(1, abs=0.02)


def test_learned_positions_start_small():
    torch.manual_seed(0)
    config = TransformerConfig.tiny(d_model=240, positions="learned")
    positions = Embedding(config).positions
    assert positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(positions.mean().item()) < 0.001


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoid"])
def test_the_longest_sequence_is_max_length(positions):
    embedding = Embedding(TransformerConfig.tiny(positions=positions))
    assert embedding(torch.ones(1, 40, dtype=torch.long)).shape == (1, 40, 12)
    assert embedding(torch.ones(1, 1, dtype=torch.long), start=39).shape == (1, 1, 12)


def test_dropout_falls_on_the_embedding_and_on_every_update_in_training_only():
    config = TransformerConfig.tiny(dropout=0.5)
    embedding = Embedding(config)
    vectors = embedding(torch.randint(3, 11, (2, 30)))
    assert 0.3 < (vectors == 0).float().mean() < 0.7
    assert (embedding.eval()(torch.randint(3, 11, (2, 30))) != 0).all()

    around = AddNorm(TransformerConfig.tiny(dropout=1.0, norm_first=True))
    states, update = torch.randn(2, 2, 5, 12)
    assert torch.equal(around.after(states, update), states)
    assert torch.equal(around.eval().after(states, update), states + update)
    encoder = stack(dropout=1.0, norm_first=True)  # every update gone
    assert torch.equal(encoder(states)[0], encoder.norm(states))


def test_attention_dropout_is_a_switch_of_its_own():
    states = torch.randn(2, 5, 12)
    _, weights = stack(dropout=0.5)(states, return_weights=True)
    assert all((weight > 0).all() for weight in weights)
    encoder = stack(dropout=0.0, attention_dropout=0.5)
    _, weights = encoder(states, return_weights=True)
    assert all((weight == 0).any() for weight in weights)
    assert torch.equal(encoder.eval()(states)[0], encoder(states)[0])


def test_without_residuals_only_the_update_goes_on():
    states, update = torch.randn(2, 2, 5, 12)
    for norm_first in (False, True):
        config = TransformerConfig.tiny(residual=False, norm_first=norm_first)
        around = AddNorm(config).eval()
        expected = update if norm_first else around.norm(update)
        assert torch.equal(around.after(states, update), expected)


def test_d_k_changes_the_width_of_queries_and_keys_alone():
    narrow, wide = stack(d_k=1), stack()
    shapes = {n: list(p.shape) for n, p in narrow.layers[0].named_parameters()}
    assert shapes["self_attention.query.weight"] == [3, 12]
    assert shapes["self_attention.key.weight"] == [3, 12]
    assert shapes["self_attention.value.weight"] == [12, 12]
    assert shapes["self_attention.output.weight"] == [12, 12]
    count = sum(p.numel() for p in wide.parameters())
    assert sum(p.numel() for p in narrow.parameters()) == count - 2 * 2 * 9 * 13
    explicit = stack(d_k=4)  # D / H
    assert explicit.state_dict().keys() == wide.state_dict().keys()
    states = torch.randn(1, 3, 12)
    assert torch.equal(explicit.eval()(states)[0], wide.eval()(states)[0])


def test_the_feed_forward_network_treats_each_token_alone():
    torch.manual_seed(0)
    layer = FeedForward(TransformerConfig.tiny()).double()
    states = torch.randn(2, 4, 12, dtype=torch.float64)
    inner = (states @ layer.inner.weight.T + layer.inner.bias).clamp(min=0)
    assert inner.shape[-1] == 20
    close(layer(states), inner @ layer.outer.weight.T + layer.outer.bias)
    close(layer(states)[:, 2:3], layer(states[:, 2:3]))


def test_two_thirds_of_a_layer_are_the_feed_forward_network():
    layer = EncoderLayer(TransformerConfig.base())
    whole = sum(p.numel() for p in layer.parameters())
    inner = sum(p.numel() for p in layer.feed_forward.parameters())
    assert inner == 8 * 512**2 + 2048 + 512
    assert inner / whole == pytest.approx(2 / 3, abs=0.002)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_stack_ends_normalised_in_either_order(norm_first):
    torch.manual_seed(0)
    encoder = Encoder(TransformerConfig.tiny(norm_first=norm_first))
    states, _ = encoder(5 + 3 * torch.randn(2, 6, 12))
    zero, one = torch.zeros(2, 6), torch.ones(2, 6)
    torch.testing.assert_close(states.mean(-1), zero, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        states.var(-1, unbiased=False), one, atol=1e-3, rtol=1e-3
    )


def test_copies_are_copies():
    encoder = stack().eval()
    twin = copy.deepcopy(encoder)
    states = torch.randn(1, 3, 12)
    assert torch.equal(encoder(states)[0], twin(states)[0])
    with torch.no_grad():
        twin.layers[0].self_attention.value.weight.zero_()
    assert not torch.equal(encoder(states)[0], twin(states)[0])


def test_base_has_the_sizes_of_the_paper():
    config = TransformerConfig.base()
    assert (config.d_model, config.num_heads, config.d_ff) == (512, 8, 2048)
    assert config.num_encoder_layers == config.num_decoder_layers == 6
    assert (config.dropout, config.attention_dropout) == (0.1, 0.0)
    assert not config.norm_first
    assert config.residual
    assert config.tie_weights
    assert (config.positions, config.max_length) == ("sinusoid", 512)
    assert TransformerConfig.base(8, norm_first=True).norm_first


TINY = TransformerConfig.tiny


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TINY(0), ValueError, "vocab_size must be at least 1, got 0"),
        (lambda: TINY(d_ff=0), ValueError, "d_ff must be at least 1, got 0"),
        (lambda: TINY(d_k=0), ValueError, "d_k must be at least 1, got 0"),
        (lambda: TINY(max_length=-1), ValueError, "max_length must be .* got -1"),
        (lambda: TINY(num_encoder_layers=0), ValueError, "num_encoder_layers"),
        (lambda: TINY(num_decoder_layers=0), ValueError, "num_decoder_layers"),
        (lambda: TINY(dropout=1.5), ValueError, r"dropout must lie in 0\.\.1, got 1.5"),
        (lambda: TINY(attention_dropout=-1), ValueError, "attention_dropout .*got -1"),
        (lambda: TINY(num_heads=5), ValueError, "num_heads=5 .*d_model=12"),
        (lambda: TINY(d_model=9), ValueError, "even d_model, got 9"),
        (lambda: TINY(positions="rotary"), ValueError, "sinusoid.*got 'rotary'"),
        (lambda: sinusoids(0, 4), ValueError, "length=0"),
        (lambda: sinusoids(3, 5), ValueError, "d_model=5"),
        (
            lambda: Embedding(TINY())(torch.zeros(1, 41, dtype=torch.long)),
            ValueError,
            "41 positions are more than max_length=40",
        ),
        (
            lambda: Embedding(TINY(positions="none"))(torch.ones(1, 1).long(), 40),
            ValueError,
            "41 positions are more than max_length=40",
        ),
        (
            lambda: Embedding(TINY())(torch.tensor([[11]])),
            ValueError,
            r"ids must hold numbers in 0\.\.10, got 11",
        ),
        (
            lambda: Embedding(TINY())(torch.zeros(3, dtype=torch.long)),
            ValueError,
            r"ids must have shape \[B, length\], got \[3\]",
        ),
        (lambda: Embedding(TINY())(torch.zeros(1, 3)), TypeError, "torch.float32"),
        (
            lambda: Encoder(TINY())(torch.zeros(1, 3, 8)),
            ValueError,
            r"states .*\[B, S, 12\], got \[1, 3, 8\]",
        ),
        (
            lambda: Encoder(TINY())(torch.zeros(1, 3, 12), torch.ones(1, 1, 3)),
            TypeError,
            "boolean .*torch.float32",
        ),
        (
            lambda: Encoder(TINY())(
                torch.zeros(1, 3, 12), torch.zeros(1, 1, 3, dtype=torch.bool)
            ),
            ValueError,
            "allow no key at all",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
