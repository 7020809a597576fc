"""Random BERTs of odd sizes with their inputs, and when two results are the same."""

import torch
from hypothesis import strategies as st

from bertbook.bert.model import BertConfig

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
FLOATS = st.sampled_from([torch.float32, torch.float64])


def close(actual, expected, name=""):
    tolerance = TOLERANCE[expected.dtype]
    torch.testing.assert_close(
        actual, expected, atol=tolerance, rtol=tolerance, msg=lambda m: f"{name}: {m}"
    )


def masks(draw, batch, length):
    """No mask, real padding on the right, or holes anywhere; 0/1 or boolean."""
    kind = draw(st.sampled_from(["none", "all", "padding", "holes"]))
    if kind == "none":
        return None
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(batch):
        if kind == "padding":
            mask[row, draw(st.integers(1, length)) :] = 0
        elif kind == "holes":
            mask[row] = torch.rand(length) < 0.6
            mask[row, draw(st.integers(0, length - 1))] = 1
    return mask.bool() if draw(st.booleans()) else mask


@st.composite
def problems(draw):
    """A configuration of odd sizes, a float type and inputs of each form."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    heads, vocabulary = draw(st.integers(1, 4)), draw(st.integers(2, 40))
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=heads * draw(st.integers(3, 7)),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        intermediate_size=draw(st.integers(1, 19)),
        max_position_embeddings=length + draw(st.integers(0, 5)),
        type_vocab_size=draw(st.integers(1, 4)),
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5, 0.5])),
        pad_token_id=draw(st.none() | st.integers(0, vocabulary - 1)),
    )
    limits = {
        "input_ids": vocabulary,
        "token_type_ids": config.type_vocab_size,
        "position_ids": config.max_position_embeddings,
    }
    inputs = {n: torch.randint(k, (batch, length)) for n, k in limits.items()}
    for name in ("token_type_ids", "position_ids"):
        if draw(st.booleans()):
            del inputs[name]
    inputs["attention_mask"] = masks(draw, batch, length)
    return config, draw(FLOATS), inputs
