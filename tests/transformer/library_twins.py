"""Comparing our Transformer with the library's: outputs, attention weights, gradients."""

import torch
from hypothesis import strategies as st
from torch import nn

from benchmarks.transformer import from_library

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def close(actual, expected):
    """Up to rounding, measured by the largest entry."""
    tolerance = TOLERANCE[expected.dtype] * (1 + expected.detach().abs().max().item())
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


@st.composite
def head_sizes(draw):
    """Number and width of heads, odd ones too; D is even, and at least 10.

    LayerNorm over a handful of entries that are nearly equal magnifies rounding beyond all bounds.
    """
    heads = draw(st.integers(1, 3))
    least = -(-10 // heads)
    widths = st.integers(least, least + 4).filter(lambda width: heads * width % 2 == 0)
    return heads, draw(widths)


def randomise(module):
    """Biases and gains of their own, so that one that is left out is noticed."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))


def library_weights(layers, call):
    """What the library's attention layers weigh in one call, head by head, layer by layer."""
    found, hooks = [], []
    for layer in layers:
        assert isinstance(layer, nn.MultiheadAttention)
        hooks += [
            layer.register_forward_pre_hook(
                lambda _, inputs, options: (
                    inputs,
                    {**options, "need_weights": True, "average_attn_weights": False},
                ),
                with_kwargs=True,
            ),
            layer.register_forward_hook(lambda _, i, output: found.append(output[1])),
        ]
    call()
    for hook in hooks:
        hook.remove()
    return found


def compare_weights(own, library):
    """Equal layer by layer, and every row sums to one."""
    for mine, theirs in zip(own, library, strict=True):
        close(mine, theirs)
        close(mine.sum(-1), torch.ones_like(mine[..., 0]))


def compare_gradients(ours, theirs, own_leaves, their_leaves):
    """Those of all inputs and all parameters."""
    for mine, reference in zip(own_leaves, their_leaves, strict=True):
        close(mine.grad, reference.grad)
    expected = from_library({n: p.grad for n, p in theirs.named_parameters()})
    own = {name: p.grad for name, p in ours.named_parameters()}
    assert own.keys() == expected.keys()
    for name, gradient in own.items():
        close(gradient, expected[name])
