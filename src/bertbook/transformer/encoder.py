"""The Transformer's encoder: embedding, positions, and a stack of layers.

The decoder, and the two joined, are in :mod:`bertbook.transformer.decoder`. Shapes, in the letters
used through the whole book:

    B batch   S source length   T target length   D model width   F inner width   H heads
    Dh width of one head   V vocabulary   L layers of a stack

Masks are boolean, ``True`` = may look.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.attention.multi_head import MultiHeadAttention, mask_for_heads
from bertbook.shared.checks import check_mask, check_sizes, check_states, check_symbols

__all__ = [
    "POSITIONS",
    "AddNorm",
    "Embedding",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "TransformerConfig",
    "make_attention",
    "sinusoids",
]

POSITIONS = ("sinusoid", "learned", "none")


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a Transformer, and the choices that the book switches.

    Args:
        vocab_size: V, one vocabulary for source and target, the three special symbols included.
        d_model: D.
        num_heads: H, a divisor of D.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        d_ff: F, inner width of the feed-forward network.
        d_k: width of one head's queries and keys; ``None`` means D / H.
        dropout: on the embeddings and on the output of every sub-layer.
        attention_dropout: on the attention weights. The paper names none; PyTorch's layers and
            BERT have it.
        norm_first: ``False``: LayerNorm after each addition, as in the paper (post-LN); ``True``:
            before each sub-layer and once more at the end of each stack (pre-LN).
        residual: whether the input of a sub-layer is added to its output.
        positions: ``sinusoid``, ``learned`` or ``none``.
        max_length: the longest sequence that has positions.
        tie_weights: whether the output matrix is the embedding table.

    Raises:
        ValueError: if a size is too small, H does not divide D, a dropout is not in 0..1, the
            positions have another name, or sinusoids would have an odd width.
    """

    vocab_size: int
    d_model: int = 512
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    d_ff: int = 2048
    d_k: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_first: bool = False
    residual: bool = True
    positions: str = "sinusoid"
    max_length: int = 512
    tie_weights: bool = True

    def __post_init__(self):
        sizes = ("vocab_size", "d_model", "num_heads", "d_ff", "max_length", "d_k")
        layers = ("num_encoder_layers", "num_decoder_layers")
        given = {name: getattr(self, name) for name in (*sizes, *layers)}
        check_sizes(**{name: size for name, size in given.items() if size is not None})
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} does not divide d_model={self.d_model}"
            )
        if self.positions not in POSITIONS:
            raise ValueError(
                f"positions must be one of {POSITIONS}, got {self.positions!r}"
            )
        if self.positions == "sinusoid" and self.d_model % 2:
            raise ValueError(f"sinusoids need an even d_model, got {self.d_model}")

    @classmethod
    def tiny(cls, vocab_size: int = 11, **choices) -> "TransformerConfig":
        """Small enough for a test; ``choices`` replace single fields."""
        sizes = {
            "d_model": 12,
            "num_heads": 3,
            "num_encoder_layers": 2,
            "num_decoder_layers": 3,
            "d_ff": 20,
            "max_length": 40,
        }
        return cls(vocab_size, **{**sizes, **choices})

    @classmethod
    def base(cls, vocab_size: int = 37000, **choices) -> "TransformerConfig":
        """The paper's base model for English and German (Vaswani et al. 2017, Table 3)."""
        return cls(vocab_size, **choices)


def sinusoids(length: int, d_model: int) -> Tensor:
    """Positions as sines and cosines: column 2i is sin(p w_i), column 2i+1 is cos(p w_i).

    The frequencies w_i = 10000^(-2i/D) fall from 1 to nearly 1/10000 radians per token.

    Args:
        length: number of positions, from 0 on.
        d_model: D, even.

    Returns:
        ``[length, D]``, each entry in -1..1.

    Raises:
        ValueError: if the length is not positive or D is odd.

    Source: Vaswani et al. 2017, section 3.5.
    """
    if length < 1 or d_model < 2 or d_model % 2:
        raise ValueError(
            f"length must be at least 1 and d_model even, got length={length}, d_model={d_model}"
        )
    places = torch.arange(length, dtype=torch.float64)[:, None]  # [length, 1]
    pairs = torch.arange(0, d_model, 2, dtype=torch.float64)  # [D/2]
    angles = places * 10000.0 ** (-pairs / d_model)  # [length, D/2]
    table = torch.stack([angles.sin(), angles.cos()], dim=-1)  # [length, D/2, 2]
    return table.flatten(-2).to(torch.get_default_dtype())  # [length, D]


class Embedding(nn.Module):
    """Token vectors times the root of D, plus positions, then dropout.

    The table starts with variance 1/D, so that it can serve as the output matrix too; the factor
    brings its entries to variance one, the size of the sinusoids' entries.

    Args:
        config: the sizes.

    Source: Vaswani et al. 2017, sections 3.4, 3.5 and 5.4.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.d_model
        self.tokens = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.max_length = config.max_length
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.randn(config.max_length, width) * 0.02)
        elif config.positions == "sinusoid":
            table = sinusoids(config.max_length, width)  # [max_length, D]
            self.register_buffer("positions", table, persistent=False)
        else:
            self.positions = None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Vectors ``[B, T, D]`` of symbols ``[B, T]`` whose first stands at position ``start``.

        Raises:
            TypeError: if the ids are not ``torch.long``.
            ValueError: if they are not a batch, one is not in the vocabulary, or the last position
                is beyond ``max_length``.
        """
        check_symbols("ids", ids, self.tokens.num_embeddings)
        end = start + ids.shape[1]
        if end > self.max_length:
            raise ValueError(
                f"{end} positions are more than max_length={self.max_length}"
            )
        vectors = self.tokens(ids) * math.sqrt(self.tokens.embedding_dim)  # [B, T, D]
        if self.positions is not None:
            vectors = vectors + self.positions[start:end]  # [B, T, D]
        return self.dropout(vectors)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between, the same for every token, each token alone.

    Args:
        config: the sizes.

    Source: Vaswani et al. 2017, section 3.3, equation 2.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)

    def forward(self, states: Tensor) -> Tensor:
        """From ``[B, T, D]`` through ``[B, T, F]`` to ``[B, T, D]``."""
        return self.outer(F.relu(self.inner(states)))


class AddNorm(nn.Module):
    """What stands around every sub-layer: dropout, the residual connection, LayerNorm.

    post-LN: ``LayerNorm(x + sublayer(x))``; pre-LN: ``x + sublayer(LayerNorm(x))``.

    Args:
        config: the sizes and the choices.

    Source: Vaswani et al. 2017, sections 3.1 and 5.4; Xiong et al. 2020 (both orders).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.norm_first, self.residual = config.norm_first, config.residual
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def before(self, states: Tensor) -> Tensor:
        """What the sub-layer reads, ``[B, T, D]``."""
        return self.norm(states) if self.norm_first else states

    def after(self, states: Tensor, update: Tensor) -> Tensor:
        """The states with what the sub-layer made of them, ``[B, T, D]``."""
        update = self.dropout(update)
        states = states + update if self.residual else update
        return states if self.norm_first else self.norm(states)


def make_attention(config: TransformerConfig) -> MultiHeadAttention:
    """Multi-head attention of the sizes that a configuration names."""
    return MultiHeadAttention(
        config.d_model,
        config.num_heads,
        d_k=config.d_k,
        dropout=config.attention_dropout,
    )


class EncoderLayer(nn.Module):
    """Self-attention among the source tokens, then the feed-forward network.

    Args:
        config: the sizes and the choices.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.self_attention = make_attention(config)
        self.attention_norm = AddNorm(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = AddNorm(config)

    def forward(
        self, states: Tensor, mask: Tensor | None = None, return_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """One layer.

        Args:
            states: ``[B, S, D]``.
            mask: which tokens may be looked at, such as ``[B, 1, S]``.
            return_weights: whether the weights are needed.

        Returns:
            States ``[B, S, D]``, and the weights ``[B, H, S, S]`` or ``None``.
        """
        inner = self.attention_norm.before(states)
        key, value = self.self_attention.keys_and_values(inner)  # [B, H, S, Dh]
        update, weights = self.self_attention.attend(
            inner, key, value, mask, return_weights
        )
        states = self.attention_norm.after(states, update)

        update = self.feed_forward(self.feed_forward_norm.before(states))
        return self.feed_forward_norm.after(states, update), weights


class Encoder(nn.Module):
    """A stack of encoder layers; with pre-LN one more LayerNorm at its end.

    Args:
        config: the sizes and the choices.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            EncoderLayer(config) for _ in range(config.num_encoder_layers)
        )
        self.norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()

    def forward(
        self, states: Tensor, mask: Tensor | None = None, return_weights: bool = False
    ) -> tuple[Tensor, list[Tensor | None]]:
        """All layers, one after the other.

        Args:
            states: ``[B, S, D]``.
            mask: which tokens may be looked at, such as ``[B, 1, S]``; see
                :func:`~bertbook.attention.multi_head.mask_for_heads`.
            return_weights: whether the weights are needed.

        Returns:
            States ``[B, S, D]``, and of each layer the weights ``[B, H, S, S]`` or ``None``.

        Raises:
            TypeError: if the states are not floating point, or the mask is not boolean.
            ValueError: if a shape does not fit, or a token may look at none.
        """
        check_states("states", states, "B", "S", self.config.d_model)
        batch, length, _ = states.shape
        check_mask(mask_for_heads(mask), (batch, self.config.num_heads, length, length))
        all_weights = []
        for layer in self.layers:
            states, weights = layer(states, mask, return_weights)
            all_weights.append(weights)
        return self.norm(states), all_weights
