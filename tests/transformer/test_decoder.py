"""transformer.decoder against nn.TransformerDecoderLayer and nn.Transformer, and by invariants."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.transformer import Stacks, from_library, library_transformer
from bertbook.attention.scores import causal_mask, padding_mask
from bertbook.shared.symbols import BEGIN, PAD
from bertbook.shared.training import count_parameters
from bertbook.transformer.decoder import Decoder, DecoderLayer, Transformer
from bertbook.transformer.encoder import TransformerConfig
from tests.transformer.library_twins import (
    TOLERANCE,
    close,
    compare_gradients,
    compare_weights,
    head_sizes,
    library_weights,
    randomise,
)

MASKS = ("none", "causal", "both", "rows")
MEMORY_MASKS = ("none", "padding", "rows")


@st.composite
def problems(draw):
    """Sizes, vectors of source and target, and masks of each kind, in both float types.

    Returns:
        The configuration, the two leaves, our masks (encoder, decoder, cross) and the library's.
    """
    dtype = draw(st.sampled_from(sorted(TOLERANCE, key=str)))
    heads, width = draw(head_sizes())
    batch, source, target = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 6)),
    )
    config = TransformerConfig.tiny(
        d_model=heads * width,
        num_heads=heads,
        num_encoder_layers=draw(st.integers(1, 2)),
        num_decoder_layers=draw(st.integers(1, 2)),
        d_ff=draw(st.integers(1, 9)),
        dropout=0.0,
        norm_first=draw(st.booleans()),
    )
    kind, memory_kind = (
        draw(st.sampled_from(MASKS)),
        draw(st.sampled_from(MEMORY_MASKS)),
    )
    torch.manual_seed(draw(st.integers(0, 2**31)))
    leaves = [
        torch.randn(batch, length, heads * width, dtype=dtype)
        for length in (source, target)
    ]
    lengths = torch.randint(1, source + 1, (batch,))
    real = padding_mask(lengths, source)  # [B, 1, S]
    own_real = padding_mask(torch.randint(1, target + 1, (batch,)), target)
    causal = causal_mask(target)
    rows = (torch.rand(batch, target, target) < 0.5) | torch.eye(target).bool()
    memory_rows = torch.rand(batch, target, source) < 0.5
    memory_rows[..., 0] = True

    mask = {"none": None, "causal": causal, "both": own_real & causal, "rows": rows}
    memory_mask = {"none": None, "padding": real, "rows": memory_rows}
    their_masks = {
        "none": {},
        "causal": {"tgt_mask": ~causal},
        "both": {"tgt_mask": ~causal, "tgt_key_padding_mask": ~own_real[:, 0]},
        "rows": {"tgt_mask": ~rows.repeat_interleave(heads, dim=0)},
    }[kind]
    their_masks |= {
        "none": {},
        "padding": {"memory_key_padding_mask": ~real[:, 0]},
        "rows": {"memory_mask": ~memory_rows.repeat_interleave(heads, dim=0)},
    }[memory_kind]
    padded = real if memory_kind == "padding" else None
    return config, leaves, (padded, mask[kind], memory_mask[memory_kind]), their_masks


def library_decoder(config, dtype):
    layer = nn.TransformerDecoderLayer(
        config.d_model,
        config.num_heads,
        config.d_ff,
        dropout=0.0,
        batch_first=True,
        norm_first=config.norm_first,
    )
    norm = nn.LayerNorm(config.d_model) if config.norm_first else None
    library = nn.TransformerDecoder(layer, config.num_decoder_layers, norm).to(dtype)
    randomise(library)
    return library


@given(problems())
@settings(max_examples=80, deadline=None)
def test_a_decoder_equals_the_librarys_forward_and_backward(problem):
    """Outputs, weights of both attentions, gradients of both inputs and all parameters."""
    config, (source, target), (_, mask, memory_mask), their_masks = problem
    theirs = library_decoder(config, source.dtype)
    ours = Decoder(config).to(source.dtype)
    ours.load_state_dict(from_library(theirs.state_dict()))

    references = [target.clone().requires_grad_(), source.clone().requires_grad_()]
    expected = theirs(*references, **their_masks)
    leaves = [target.clone().requires_grad_(), source.clone().requires_grad_()]
    output, *nothing = ours(*leaves, mask, memory_mask)
    assert nothing == [[None] * config.num_decoder_layers] * 2
    close(output, expected)
    again, own, cross = ours(*leaves, mask, memory_mask, return_weights=True)
    close(again, expected)
    for weights, name in ((own, "self_attn"), (cross, "multihead_attn")):
        found = library_weights(
            [getattr(layer, name) for layer in theirs.layers],
            lambda: theirs(target, source, **their_masks),
        )
        compare_weights(weights, found)

    up = torch.randn_like(output)
    expected.backward(up)
    for result in (output, again):  # the fused path and the one with weights
        ours.zero_grad()
        for leaf in leaves:
            leaf.grad = None
        result.backward(up)
        compare_gradients(ours, theirs, leaves, references)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_encoder_and_decoder_equal_nn_transformer(problem):
    """The whole, but for the library's additional LayerNorm (see the next test)."""
    config, vectors, masks, their_masks = problem
    theirs = library_transformer(config).to(vectors[0].dtype)
    randomise(theirs)
    ours = Stacks(config).to(vectors[0].dtype)
    ours.load_state_dict(from_library(theirs.state_dict()))
    if masks[0] is not None:
        their_masks = {**their_masks, "src_key_padding_mask": ~masks[0][:, 0]}
    references = [x.clone().requires_grad_() for x in vectors]
    expected = theirs(*references, **their_masks)
    leaves = [x.clone().requires_grad_() for x in vectors]
    output = ours(*leaves, *masks)
    close(output, expected)
    up = torch.randn_like(output)
    expected.backward(up)
    output.backward(up)
    compare_gradients(ours, theirs, leaves, references)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm_first", [False, True])
def test_nn_transformer_normalises_once_more_than_the_paper_in_post_ln_mode(norm_first):
    """After each post-LN stack; with pre-LN the norm at the end is needed, and both have it."""
    config = TransformerConfig.tiny(norm_first=norm_first, dropout=0.0)
    theirs = nn.Transformer(12, 3, 2, 3, 20, norm_first=norm_first, batch_first=True)
    theirs = theirs.eval()
    assert isinstance(theirs.encoder.norm, nn.LayerNorm)
    assert isinstance(theirs.decoder.norm, nn.LayerNorm)
    randomise(theirs)
    own_names = Stacks(config).state_dict().keys()
    surplus = from_library(theirs.state_dict()).keys() - own_names
    ends = {
        f"{part}.norm.{kind}"
        for part in ("encoder", "decoder")
        for kind in ("weight", "bias")
    }
    assert surplus == (set() if norm_first else ends)
    ours = Stacks(config)
    ours.load_state_dict(from_library(theirs.state_dict()), strict=norm_first)
    source, target = torch.randn(2, 4, 5, 12)
    same = torch.allclose(
        ours(source, target, None, None, None), theirs(source, target)
    )
    assert same == norm_first


def test_one_layer_equals_the_librarys_in_evaluation_mode():
    torch.manual_seed(0)
    config = TransformerConfig.tiny(num_decoder_layers=1)
    theirs = library_decoder(config, torch.float32).layers[0].eval()
    ours = DecoderLayer(config).eval()
    ours.load_state_dict(from_library(theirs.state_dict()))
    target, memory = torch.randn(2, 4, 12), torch.randn(2, 6, 12)
    close(ours(target, memory)[0], theirs(target, memory))


def model(**choices):
    torch.manual_seed(2)
    made = Transformer(TransformerConfig.tiny(**choices))
    randomise(made)
    return made


def symbols(batch, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 11, (batch, length), generator=generator)


SWITCHES = [
    {},
    {"norm_first": True},
    {"positions": "none", "d_k": 3},
    {"residual": False, "positions": "learned"},
    {"attention_dropout": 0.3},
]


@pytest.mark.parametrize("choices", SWITCHES)
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("mode", ["dropout", "training, no dropout", "evaluation"])
def test_no_symbol_sees_a_later_one(choices, return_weights, mode):
    """Change what stands after position t: all up to t stays equal bit by bit."""
    if mode == "training, no dropout":
        choices = {**choices, "dropout": 0.0, "attention_dropout": 0.0}
    transformer = model(**choices).train(mode != "evaluation")
    source, inputs = symbols(2, 5), symbols(2, 8, seed=1)

    def logits(inputs):
        torch.manual_seed(7)
        output = transformer(source, inputs, return_weights)
        return output[0] if return_weights else output

    before = logits(inputs)
    for place in range(7):
        changed = inputs.clone()
        changed[:, place + 1 :] = (changed[:, place + 1 :] - 3 + 1) % 8 + 3
        after = logits(changed)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        assert not torch.equal(after[:, place + 1], before[:, place + 1])
    if mode == "dropout":
        torch.manual_seed(8)
        assert not torch.equal(transformer(source, inputs), before)


def test_no_gradient_goes_to_later_symbols():
    transformer = model().eval()
    vectors = torch.randn(1, 6, 12, requires_grad=True)
    memory = torch.randn(1, 3, 12)
    states, _, _ = transformer.decoder(vectors, memory, causal_mask(6))
    states[:, 2].sum().backward()
    assert (vectors.grad[:, 3:] == 0).all()
    assert (vectors.grad[:, :3] != 0).any(-1).all()


def test_without_the_mask_there_would_be_a_leak():
    transformer = model().eval()
    vectors, memory = torch.randn(1, 6, 12), torch.randn(1, 3, 12)
    other = vectors.clone()
    other[:, -1] += 1
    before, after = (transformer.decoder(x, memory)[0] for x in (vectors, other))
    assert not torch.allclose(before[:, 0], after[:, 0])


@pytest.mark.parametrize("choices", SWITCHES)
@given(seed=st.integers(0, 2**31), more=st.integers(0, 3), after=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_neither_content_nor_amount_of_padding_matters(choices, seed, more, after):
    transformer = model(**choices, tie_weights=False).eval()
    source, inputs = symbols(2, 5, seed), symbols(2, 4, seed + 1)
    source[1, 3:] = PAD
    before = transformer(source, inputs)
    padded = transformer(
        nn.functional.pad(source, (0, more), value=PAD),
        nn.functional.pad(inputs, (0, after), value=PAD),
    )
    close(padded[:, :4], before)
    with torch.no_grad():
        transformer.embedding.tokens.weight[PAD] = 100 * torch.randn(12)
    assert torch.equal(transformer(source, inputs), before)


@pytest.mark.parametrize("choices", SWITCHES)
def test_the_rows_of_a_batch_do_not_meet(choices):
    transformer = model(**choices).eval()
    source, inputs = symbols(3, 5), symbols(3, 4, seed=1)
    source[1, 2:] = PAD
    logits, weights = transformer(source, inputs, return_weights=True)
    for row in range(3):
        alone = transformer(source[row : row + 1], inputs[row : row + 1], True)
        close(alone[0][0], logits[row])
        for kind, all_kind in zip(alone[1], weights, strict=True):
            for one, joint in zip(kind, all_kind, strict=True):
                close(one[0], joint[row])
    shuffled = transformer(source[[2, 0, 1]], inputs[[2, 0, 1]])
    close(shuffled, logits[[2, 0, 1]])


def test_all_weights_are_returned_and_keep_to_their_masks():
    transformer = model().eval()
    source, inputs = symbols(2, 5), symbols(2, 4)
    source[1, 3:] = PAD
    logits, weights = transformer(source, inputs, return_weights=True)
    close(logits, transformer(source, inputs))
    assert [w.shape for w in weights.encoder] == [(2, 3, 5, 5)] * 2
    assert [w.shape for w in weights.decoder] == [(2, 3, 4, 4)] * 3
    assert [w.shape for w in weights.cross] == [(2, 3, 4, 5)] * 3
    for weight in (*weights.encoder, *weights.decoder, *weights.cross):
        close(weight.sum(-1), torch.ones_like(weight[..., 0]))
    for weight in (*weights.encoder, *weights.cross):
        assert (weight[1, ..., 3:] == 0).all()
        assert (weight[0] > 0).all()
    for weight in weights.decoder:
        assert (weight.triu(1) == 0).all()
        assert (weight[..., causal_mask(4)] > 0).all()


def test_every_decoder_layer_reads_the_last_encoder_layer():
    transformer = model().eval()
    source = symbols(1, 5)
    seen = []
    for layer in transformer.decoder.layers:
        layer.cross_attention.key.register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0])
        )
    transformer(source, symbols(1, 4))
    memory = transformer.encode(source)
    assert len(seen) == 3
    assert all(torch.equal(states, memory) for states in seen)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("return_weights", [True, False])
def test_the_causal_mask_holds_in_every_mode(mode, return_weights):
    """Without dropout training and evaluation, with weights and without, are the same."""
    transformer = model(dropout=0.0)
    source, inputs = symbols(2, 5), symbols(2, 6, seed=1)
    expected = transformer.output(
        transformer.decoder(
            transformer.embedding(inputs),
            transformer.encode(source),
            torch.ones(6, 6).tril().bool(),
        )[0]
    )
    result = transformer.train(mode)(source, inputs, return_weights)
    close(result[0] if return_weights else result, expected)


def test_encoding_alone_hides_the_padding_too():
    """What is encoded once for a whole translation is what one pass encodes."""
    transformer = model().eval()
    source = symbols(2, 5)
    source[1, 3:] = PAD
    memory = transformer.encode(source)
    close(memory[1, :3], transformer.encode(source[1:, :3])[0])
    seen = []
    transformer.encoder.register_forward_hook(lambda *call: seen.append(call[-1][0]))
    transformer(source, symbols(2, 4))
    assert torch.equal(seen[0], memory)


def test_tied_weights_are_one_tensor_and_get_both_gradients():
    tied, free = model(dropout=0.0), model(dropout=0.0, tie_weights=False)
    table = tied.embedding.tokens.weight
    assert tied.output.weight is table
    assert tied.output.weight.data_ptr() == table.data_ptr()
    assert count_parameters(free) - count_parameters(tied) == 11 * 12
    assert "output.weight" not in dict(tied.named_parameters())

    state = tied.state_dict()
    assert torch.equal(state["output.weight"], table)
    free.load_state_dict(state)
    assert free.output.weight.data_ptr() != free.embedding.tokens.weight.data_ptr()
    source, inputs = symbols(2, 5), symbols(2, 4, seed=1)
    up = torch.randn(2, 4, 11)
    for transformer in (tied, free):
        transformer(source, inputs).backward(up)
    both = free.embedding.tokens.weight.grad + free.output.weight.grad
    close(table.grad, both)
    assert (free.embedding.tokens.weight.grad != 0).any()
    assert (free.output.weight.grad != 0).any()


def test_tied_weights_stay_tied_through_copies_storage_training_and_types(tmp_path):
    source, inputs = symbols(2, 5), symbols(2, 4)
    original = model().eval()
    expected = original(source, inputs)

    torch.save(original.state_dict(), tmp_path / "state.pt")
    loaded = Transformer(original.config).eval()
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for other in (loaded, copy.deepcopy(original), copy.deepcopy(original).double()):
        assert other.output.weight is other.embedding.tokens.weight
        assert other.output.weight is not original.output.weight
        torch.testing.assert_close(other(source, inputs).float(), expected)

    optimizer = torch.optim.Adam(original.parameters(), lr=0.1)
    original(source, inputs).sum().backward()
    optimizer.step()
    assert original.output.weight is original.embedding.tokens.weight
    assert not torch.equal(original.output.weight, loaded.output.weight)


def test_the_number_of_parameters_by_hand():
    """Base without vocabulary: 6 layers of 3.15 M and 6 of 4.20 M."""
    attention, norm = 4 * 512**2 + 4 * 512, 2 * 512
    feed_forward = 2 * 512 * 2048 + 2048 + 512
    encoder = 6 * (attention + feed_forward + 2 * norm)
    decoder = 6 * (2 * attention + feed_forward + 3 * norm)
    with torch.device("meta"):
        base = TransformerConfig.base()
        stacks = Stacks(base)
    assert count_parameters(stacks) == encoder + decoder
    tiny = model(norm_first=True)
    layers = (4 * 12**2 + 4 * 12, 2 * 12 * 20 + 20 + 12, 2 * 12)
    attention, feed_forward, norm = layers
    assert count_parameters(tiny) == (
        2 * (attention + feed_forward + 2 * norm)
        + 3 * (2 * attention + feed_forward + 3 * norm)
        + 2 * norm  # at the end of each stack
        + 11 * 12
    )


def test_matrices_start_as_glorot_and_bengio_say_and_biases_at_zero():
    torch.manual_seed(0)
    config = TransformerConfig.tiny(50, d_model=48, num_heads=4, d_ff=96)
    transformer = Transformer(config)
    table = transformer.embedding.tokens.weight
    assert table.std().item() == pytest.approx(48**-0.5, rel=0.1)
    for name, parameter in transformer.named_parameters():
        if name.startswith("embedding"):
            continue
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        else:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert parameter.abs().max() <= bound, name
            assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_an_output_matrix_of_its_own_starts_as_glorot_and_bengio_say():
    torch.manual_seed(0)
    config = TransformerConfig.tiny(50, d_model=48, num_heads=4, tie_weights=False)
    weight = Transformer(config).output.weight
    bound = (6 / (48 + 50)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("choices", SWITCHES)
def test_a_layer_fed_one_token_at_a_time_does_what_it_does_at_once(
    choices, return_weights
):
    decoder = model(**choices).double().eval().decoder
    vectors = torch.randn(2, 5, 12, dtype=torch.float64)
    memory = torch.randn(2, 4, 12, dtype=torch.float64)
    real = padding_mask(torch.tensor([4, 2]), 4)
    expected, own, cross = decoder(
        vectors, memory, causal_mask(5), real, return_weights=True
    )
    cache = decoder.start_cache(memory)
    for place in range(5):
        states, own_now, cross_now = decoder(
            vectors[:, place : place + 1], memory, None, real, cache, return_weights
        )
        close(states[:, 0], expected[:, place])
        if return_weights:
            for mine, joint in zip(own_now, own, strict=True):
                close(mine[:, :, 0], joint[:, :, place, : place + 1])
            for mine, joint in zip(cross_now, cross, strict=True):
                close(mine[:, :, 0], joint[:, :, place])
    keys, values = cache[0].past
    assert keys.shape[:3] == values.shape[:3] == (2, 3, 5)
    cache[0].select(torch.tensor([1, 1, 0]))
    assert torch.equal(cache[0].past[0], keys[[1, 1, 0]])
    assert cache[0].memory[1].shape[:3] == (3, 3, 4)


def test_several_tokens_can_be_added_at_once_under_a_mask():
    """The mask of new tokens has a column for each token so far."""
    decoder = model().double().eval().decoder
    vectors = torch.randn(2, 5, 12, dtype=torch.float64)
    memory = torch.randn(2, 4, 12, dtype=torch.float64)
    expected, _, _ = decoder(vectors, memory, causal_mask(5))
    cache, mask = decoder.start_cache(memory), causal_mask(5)
    first, _, _ = decoder(vectors[:, :2], memory, mask[:2, :2], None, cache)
    assert cache[0].length == 2
    rest, _, _ = decoder(vectors[:, 2:], memory, mask[2:], None, cache)
    assert [kept.length for kept in cache] == [5] * 3
    close(torch.cat([first, rest], dim=1), expected)
    with pytest.raises(ValueError, match=r"\[1, 5\] does not fit .*\[2, 3, 1, 6\]"):
        decoder(vectors[:, :1], memory, mask[:1], None, cache)


def test_the_source_is_projected_once_and_rows_are_selected_with_it():
    """What a cache holds of the source is used, not made anew from the memory."""
    decoder = model().double().eval().decoder
    vectors = torch.randn(2, 3, 12, dtype=torch.float64)
    memory = torch.randn(2, 4, 12, dtype=torch.float64)
    expected, _, _ = decoder(vectors, memory, causal_mask(3))
    cache, calls = decoder.start_cache(memory), []
    for layer in decoder.layers:
        for name in ("key", "value"):
            projection = getattr(layer.cross_attention, name)
            projection.register_forward_hook(lambda *inputs: calls.append(inputs))
    decoder(vectors[:, :2], memory, causal_mask(2), None, cache)
    assert not calls
    rows = torch.tensor([1, 0, 1])
    for kept in cache:
        kept.select(rows)
    last, _, _ = decoder(vectors[rows, 2:], 0 * memory[rows], None, None, cache)
    close(last[:, 0], expected[rows, 2])
    assert not calls


def test_rows_are_selected_before_there_is_a_token():
    decoder = model().double().eval().decoder
    vectors = torch.randn(2, 1, 12, dtype=torch.float64)
    memory = torch.randn(2, 4, 12, dtype=torch.float64)
    expected, _, _ = decoder(vectors, memory)
    cache, rows = decoder.start_cache(memory), torch.tensor([1, 1, 0])
    for kept in cache:
        kept.select(rows)
        assert kept.length == 0
    close(decoder(vectors[rows], memory[rows], cache=cache)[0], expected[rows])


X = torch.zeros(2, 3, 12)
LONG = torch.full((1, 41), BEGIN)
ONE = torch.ones(1, 3, dtype=torch.long)
TINY = model()
DECODER = Decoder(TransformerConfig.tiny())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TINY(LONG, ONE), ValueError, "41 positions .*max_length=40"),
        (lambda: TINY(ONE, LONG), ValueError, "41 positions .*max_length=40"),
        (lambda: TINY(ONE + 10, ONE), ValueError, r"0\.\.10, got 11\.\.11"),
        (lambda: TINY(ONE, ONE - 2), ValueError, r"0\.\.10, got -1\.\.-1"),
        (lambda: TINY(ONE[0], ONE), ValueError, r"\[B, length\], got \[3\]"),
        (lambda: TINY(ONE, ONE[:, :0]), ValueError, r"\[B, length\], got \[1, 0\]"),
        (lambda: TINY(ONE.float(), ONE), TypeError, "torch.float32"),
        (lambda: TINY(ONE, ONE.int()), TypeError, "torch.int32"),
        (
            lambda: TINY(ONE.expand(2, 3), ONE),
            ValueError,
            r"memory .*\[1, S, 12\], got \[2, 3, 12\]",
        ),
        (lambda: TINY(ONE * PAD, ONE), ValueError, "allow no key at all"),
        (lambda: DECODER(X[..., :8], X), ValueError, r"12\].* got \[2, 3, 8\]"),
        (lambda: DECODER(X, X[..., :8]), ValueError, r"12\].* got \[2, 3, 8\]"),
        (lambda: DECODER(X[..., :8], X[..., :8]), ValueError, r"got \[2, 3, 8\]"),
        (
            lambda: DECODER(X, X[:1]),
            ValueError,
            r"memory .*\[2, S, 12\], got \[1, 3, 12\]",
        ),
        (
            lambda: DECODER(X, X, causal_mask(4)),
            ValueError,
            r"\[4, 4\] does not fit the scores, \[2, 3, 3, 3\]",
        ),
        (lambda: DECODER(X, X, causal_mask(3).int()), TypeError, "boolean .*int32"),
        (
            lambda: DECODER(X, X, None, causal_mask(4)),
            ValueError,
            r"\[4, 4\] does not fit the scores, \[2, 3, 3, 3\]",
        ),
        (lambda: DECODER(X, X, None, causal_mask(3).int()), TypeError, "int32"),
        (
            lambda: DECODER(X, X, None, ~causal_mask(3)),
            ValueError,
            "1 of 3 rows .*no key at all",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
