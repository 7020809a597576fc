"""Training steps of our encoder and decoder beside ``nn.Transformer``, with the same weights.

Both get the same embedded tokens and masks (padding of the source, the causal mask), run forward
and backward in training mode, and are checked to compute the same. With dropout each has it in its
own places: the library drops attention weights and inner activations of the feed-forward network
too, ours, as the paper, what every sub-layer adds.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.timing import Comparison, compare
from bertbook.attention.scores import causal_mask, padding_mask
from bertbook.transformer.decoder import Decoder
from bertbook.transformer.encoder import Encoder, TransformerConfig

__all__ = ["TOLERANCE", "Stacks", "from_library", "library_transformer", "measure"]

TITLE = (
    "Encoder and decoder, forward and backward in training mode, against nn.Transformer"
)
COLUMNS = ("dropout", "length", "width")
CASES = [
    (dropout, length, width)
    for dropout in (0.0, 0.1)
    for length in (32, 128)
    for width in (256, 512)
]
LAYERS, TOKENS, HEAD_WIDTH = 2, 1024, 64
TOLERANCE = 1e-5  # of the gradients, relative to the largest


def from_library(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of ``nn.Transformer`` or a part of it the names that they have in ours.

    Args:
        tensors: by the library's names: a state dict, or gradients.

    Returns:
        By our names; the joint projection is cut into query, key and value.
    """
    renamed = {}
    for name, tensor in tensors.items():
        *front, part, kind = name.split(".")
        prefix = "".join(f"{word}." for word in front)
        if kind.startswith("in_proj"):
            attention = {
                "self_attn": "self_attention",
                "multihead_attn": "cross_attention",
            }[part]
            for role, rows in zip(
                ("query", "key", "value"), tensor.chunk(3), strict=True
            ):
                kind_of_row = kind.removeprefix("in_proj_")
                renamed[f"{prefix}{attention}.{role}.{kind_of_row}"] = rows
            continue
        decoder_layer = f"{prefix}norm3.weight" in tensors
        part = {
            "linear1": "feed_forward.inner",
            "linear2": "feed_forward.outer",
            "norm1": "attention_norm.norm",
            "norm2": f"{'cross' if decoder_layer else 'feed_forward'}_norm.norm",
            "norm3": "feed_forward_norm.norm",
            "out_proj": "output",
        }.get(part, part)
        prefix = prefix.replace("self_attn.", "self_attention.")
        prefix = prefix.replace("multihead_attn.", "cross_attention.")
        renamed[f"{prefix}{part}.{kind}"] = tensor
    return renamed


def library_transformer(config: TransformerConfig) -> nn.Transformer:
    """The library's encoder and decoder of the same sizes.

    In post-LN mode it normalises the output of each stack once more; the paper does not, and here
    that layer is taken away.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "enable_nested_tensor")
        library = nn.Transformer(
            config.d_model,
            config.num_heads,
            config.num_encoder_layers,
            config.num_decoder_layers,
            config.d_ff,
            config.dropout,
            norm_first=config.norm_first,
            batch_first=True,
        )
    if not config.norm_first:
        library.encoder.norm = library.decoder.norm = None
    return library


class Stacks(nn.Module):
    """Our encoder and decoder, called as ``nn.Transformer`` is.

    Args:
        config: the sizes.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_mask: Tensor | None,
        mask: Tensor | None,
        memory_mask: Tensor | None,
    ) -> Tensor:
        """States ``[B, T, D]`` of vectors ``[B, S, D]`` and ``[B, T, D]``."""
        memory, _ = self.encoder(source, source_mask)
        return self.decoder(target, memory, mask, memory_mask)[0]


def measure(
    dropout: float, length: int, width: int, seconds: float, tokens: int = TOKENS
) -> Comparison:
    """Time one case; the batch has so many tokens on either side.

    Raises:
        AssertionError: if, without dropout, outputs or gradients differ.
    """
    torch.manual_seed(0)
    config = TransformerConfig(
        1,
        width,
        max(1, width // HEAD_WIDTH),
        LAYERS,
        LAYERS,
        4 * width,
        dropout=dropout,
    )
    library = library_transformer(config)
    ours = Stacks(config)
    ours.load_state_dict(from_library(library.state_dict()))
    batch = max(1, tokens // length)
    source, target = torch.randn(2, batch, length, width)
    real = padding_mask(length - torch.arange(batch) % (length // 4), length)  # [B,1,S]
    causal = causal_mask(length)
    upstream = torch.randn(batch, length, width)

    def step(model: nn.Module, *masks: Tensor, **options: Tensor) -> Tensor:
        model.zero_grad()
        output = model(source, target, *masks, **options)
        output.backward(upstream)
        return output

    def our_step() -> Tensor:
        return step(ours, real, causal, real)

    def their_step() -> Tensor:
        hidden = ~real[:, 0]
        return step(
            library,
            tgt_mask=~causal,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
            tgt_is_causal=True,
        )

    if dropout == 0:
        torch.testing.assert_close(our_step(), their_step(), atol=1e-4, rtol=1e-4)
        expected = from_library({n: p.grad for n, p in library.named_parameters()})
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name, parameter in ours.named_parameters():
            difference = (parameter.grad - expected[name]).abs().max()
            assert difference <= TOLERANCE * largest, f"{name}: {difference}"
    return compare(our_step, their_step, seconds)


def rows(seconds: float) -> Iterator[tuple[tuple, Comparison]]:
    """Every case, and what was measured."""
    for case in CASES:
        yield case, measure(*case, seconds=seconds)
