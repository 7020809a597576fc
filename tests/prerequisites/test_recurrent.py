"""bertbook.prerequisites.recurrent against PyTorch, by its equations, and on bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertbook.prerequisites.recurrent import (
    LSTM,
    RNN,
    LSTMCell,
    RNNCell,
    copy_weights,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
PAIRS = {"rnn": (nn.RNN, RNN), "lstm": (nn.LSTM, LSTM)}


def close(actual, expected, dtype):
    torch.testing.assert_close(
        actual, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


def tensors(state):
    return state if isinstance(state, tuple) else (state,)


def library_state(state):
    """The library's states have a dimension for the layers in front."""
    wide = tuple(tensor.unsqueeze(0) for tensor in tensors(state))
    return wide if isinstance(state, tuple) else wide[0]


@given(
    st.sampled_from(sorted(PAIRS)),
    st.sampled_from(sorted(TOLERANCE, key=str)),
    st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 9)] * 2),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=120, deadline=None)
def test_equals_torch_forward_and_backward(kind, dtype, sizes, with_state, seed):
    """Outputs, last states and the gradients of inputs, states and parameters."""
    torch.manual_seed(seed)
    batch, length, d, units = sizes
    library_class, our_class = PAIRS[kind]
    library = library_class(d, units, batch_first=True, dtype=dtype)
    ours = our_class(d, units).to(dtype)
    copy_weights(library, ours)

    inputs = torch.randn(batch, length, d, dtype=dtype, requires_grad=True)
    states = tuple(
        torch.randn(batch, units, dtype=dtype, requires_grad=True)
        for _ in range(2 if kind == "lstm" else 1)
    )
    state = (states if kind == "lstm" else states[0]) if with_state else None
    leaves = [inputs, *(states if with_state else ())]
    upstream = [torch.randn(batch, length, units, dtype=dtype)]
    upstream += [torch.randn(batch, units, dtype=dtype) for _ in states]

    results = []
    for layer in (library, ours):
        if layer is library:
            outputs, last = layer(
                inputs, None if state is None else library_state(state)
            )
            last = tuple(tensor.squeeze(0) for tensor in tensors(last))
        else:
            outputs, last = layer(inputs, state)
            last = tensors(last)
        gradients = torch.autograd.grad(
            [outputs, *last], [*leaves, *layer.parameters()], upstream
        )
        results.append([outputs, *last, *gradients])
    for mine, reference in zip(results[1], results[0], strict=True):
        assert mine.shape == reference.shape
        close(mine, reference, dtype)


@pytest.mark.parametrize(
    ("library_class", "our_class"), [(nn.RNNCell, RNNCell), (nn.LSTMCell, LSTMCell)]
)
def test_cells_load_the_state_of_the_library(library_class, our_class):
    torch.manual_seed(0)
    library, ours = library_class(3, 5).double(), our_class(3, 5).double()
    ours.load_state_dict(library.state_dict())
    x, h, c = (torch.randn(2, n, dtype=torch.float64) for n in (3, 5, 5))
    state = (h, c) if our_class is LSTMCell else h
    for mine, reference in zip(
        tensors(ours(x, state)), tensors(library(x, state)), strict=True
    ):
        close(mine, reference, torch.float64)


def test_relu_equals_the_library():
    torch.manual_seed(0)
    library = nn.RNN(3, 5, nonlinearity="relu", batch_first=True)
    ours = RNN(3, 5, torch.relu)
    copy_weights(library, ours)
    inputs = torch.randn(2, 6, 3)
    close(ours(inputs)[0], library(inputs)[0], torch.float32)


@pytest.mark.parametrize("layer_class", [RNN, LSTM])
def test_a_sequence_can_be_read_in_two_parts(layer_class):
    torch.manual_seed(0)
    layer = layer_class(3, 4).double()
    inputs = torch.randn(2, 7, 3, dtype=torch.float64)
    whole, last = layer(inputs)
    first, state = layer(inputs[:, :3])
    second, end = layer(inputs[:, 3:], state)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert all(
        torch.equal(a, b) for a, b in zip(tensors(last), tensors(end), strict=True)
    )


@pytest.mark.parametrize("layer_class", [RNN, LSTM])
def test_a_state_knows_nothing_of_later_inputs(layer_class):
    torch.manual_seed(0)
    layer = layer_class(3, 4)
    inputs = torch.randn(2, 7, 3)
    changed = inputs.clone()
    changed[:, 4:] = 9.0
    assert torch.equal(layer(inputs)[0][:, :4], layer(changed)[0][:, :4])
    assert not torch.equal(layer(inputs)[0][:, 4], layer(changed)[0][:, 4])


def test_lstm_by_hand():
    """One unit: forget 3/4, take in 1/2, candidate 4/5, show 4/5; so c is 0.75·2 + 0.5·0.8."""
    cell = LSTMCell(1, 1).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_ih.copy_(
            torch.tensor([0, math.log(3), math.log(3), math.log(4)]).double()
        )
    x, h, c = (torch.full((1, 1), v).double() for v in (5.0, 7.0, 2.0))
    gates = [gate.item() for gate in cell.gates(x, h)]
    assert gates == pytest.approx([0.5, 0.75, 0.8, 0.8], rel=1e-6)
    h, c = cell(x, (h, c))
    assert c.item() == pytest.approx(1.9, rel=1e-6)
    assert h.item() == pytest.approx(0.8 * math.tanh(1.9), rel=1e-6)


@given(st.integers(1, 9), st.floats(-3, 3), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_forget_bias_is_set_and_nothing_else(units, bias, seed):
    torch.manual_seed(seed)
    plain = LSTMCell(2, units)
    torch.manual_seed(seed)
    biased = LSTMCell(2, units, forget_bias=bias)
    both = biased.bias_ih + biased.bias_hh
    torch.testing.assert_close(both[units : 2 * units], torch.full((units,), bias))
    rest = torch.ones(4 * units, dtype=torch.bool)
    rest[units : 2 * units] = False
    for (name, one), (_, other) in zip(
        plain.named_parameters(), biased.named_parameters(), strict=True
    ):
        keep = rest if name.startswith("bias") else slice(None)
        assert torch.equal(one[keep], other[keep])


def test_a_layer_hands_the_forget_bias_to_its_cell():
    cell = LSTM(3, 5, forget_bias=2.5).cell
    both = cell.bias_ih + cell.bias_hh
    assert both[5:10].tolist() == [2.5] * 5
    assert 2.5 not in [*both[:5].tolist(), *both[10:].tolist()]


def test_parameters_are_drawn_like_the_library():
    torch.manual_seed(0)
    ours, library = LSTM(20, 100), nn.LSTM(20, 100)
    assert sum(p.numel() for p in ours.parameters()) == sum(
        p.numel() for p in library.parameters()
    )
    for mine, reference in zip(ours.parameters(), library.parameters(), strict=True):
        assert mine.abs().max() <= 0.1
        assert mine.std().item() == pytest.approx(reference.std().item(), rel=0.1)


X, H = torch.zeros(2, 3), torch.zeros(2, 4)
SEQUENCE = torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RNNCell(0, 4), ValueError, "input_size.*got 0"),
        (lambda: LSTM(3, -1), ValueError, "hidden_size.*got -1"),
        (
            lambda: RNNCell(3, 4)(X[:, :2], H),
            ValueError,
            r"x .*\[B, D=3\], got \[2, 2\]",
        ),
        (lambda: RNNCell(3, 4)(X[0], H), ValueError, r"x .*got \[3\]"),
        (lambda: RNNCell(3, 4)(X, H[:1]), ValueError, r"h .*B=2, U=4\], got \[1, 4\]"),
        (lambda: RNNCell(3, 4)(X.double(), H), TypeError, "x .*float32.*float64"),
        (lambda: RNNCell(3, 4)(X, H.double()), TypeError, "h .*float32.*float64"),
        (
            lambda: LSTMCell(3, 4)(X, (H, H[:, :2])),
            ValueError,
            r"c .*U=4\], got \[2, 2\]",
        ),
        (lambda: LSTMCell(3, 4)(X, (H, H.half())), TypeError, "c .*float16"),
        (
            lambda: RNN(3, 4)(X),
            ValueError,
            r"inputs .*\[B, T, D=3\], got \[2, 3\]",
        ),
        (lambda: RNN(3, 4)(SEQUENCE[:, :0]), ValueError, "T = 0"),
        (lambda: RNN(3, 4)(SEQUENCE.long()), TypeError, "inputs .*int64"),
        (lambda: RNN(3, 4)(SEQUENCE, H[None]), ValueError, r"h .*got \[1, 2, 4\]"),
        (lambda: LSTM(3, 4)(SEQUENCE, (H[:1], H)), ValueError, r"h .*got \[1, 4\]"),
        (
            lambda: copy_weights(nn.RNN(3, 4), LSTM(3, 4)),
            ValueError,
            r"\[16, 3\] for LSTM, got \[4, 3\] from RNN",
        ),
        (
            lambda: copy_weights(nn.GRU(3, 4), RNN(3, 4)),
            ValueError,
            r"\[4, 3\] for RNN, got \[12, 3\] from GRU",
        ),
        (
            lambda: copy_weights(nn.RNN(3, 4, num_layers=2), RNN(3, 4)),
            ValueError,
            "weight_ih_l1",
        ),
        (
            lambda: copy_weights(nn.RNN(3, 4, bias=False), RNN(3, 4)),
            ValueError,
            r"got \['weight_ih', 'weight_hh'\]",
        ),
        (
            lambda: copy_weights(nn.LSTM(3, 4), LSTM(3, 5)),
            ValueError,
            r"weight_ih .*\[20, 3\] .*got \[16, 3\]",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
