"""The Transformer's decoder, and encoder and decoder joined into a model that translates.

The encoder is in :mod:`bertbook.transformer.encoder`, the legend of shapes too. Masks are boolean,
``True`` = may look.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bertbook.attention.multi_head import mask_for_heads
from bertbook.attention.scores import causal_mask
from bertbook.shared.checks import check_mask, check_states
from bertbook.shared.symbols import PAD
from bertbook.transformer.encoder import (
    AddNorm,
    Embedding,
    Encoder,
    FeedForward,
    TransformerConfig,
    make_attention,
)

__all__ = [
    "AttentionWeights",
    "Decoder",
    "DecoderLayer",
    "LayerCache",
    "Transformer",
]


class LayerCache:
    """The keys and values that one decoder layer has computed for the tokens so far.

    Args:
        memory: keys and values of the source for the cross-attention, ``[B, H, S, Dh]`` each.
    """

    def __init__(self, memory: tuple[Tensor, Tensor]):
        self.memory = memory
        self.past: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        """How many tokens there are so far."""
        return 0 if self.past is None else self.past[0].shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of new tokens; return those of all tokens, ``[B, H, T, Dh]`` each."""
        if self.past is not None:
            key = torch.cat([self.past[0], key], dim=2)  # [B, H, T, Dh]
            value = torch.cat([self.past[1], value], dim=2)  # [B, H, T, Dh]
        self.past = (key, value)
        return self.past

    def select(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in their order; a row may come twice."""
        self.memory = tuple(states[rows] for states in self.memory)
        if self.past is not None:
            self.past = tuple(states[rows] for states in self.past)


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention to the encoder's output, feed-forward.

    Args:
        config: the sizes and the choices.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.self_attention = make_attention(config)
        self.attention_norm = AddNorm(config)
        self.cross_attention = make_attention(config)
        self.cross_norm = AddNorm(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = AddNorm(config)

    def forward(
        self,
        states: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: LayerCache | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """One layer.

        Args:
            states: ``[B, T, D]``; with a cache only those of the new tokens.
            memory: output of the last encoder layer, ``[B, S, D]``.
            mask: of the self-attention, such as the causal ``[T, T]``.
            memory_mask: of the cross-attention, such as ``[B, 1, S]``.
            cache: keys and values of earlier tokens; those of the new ones are added.
            return_weights: whether the weights are needed.

        Returns:
            States ``[B, T, D]``, and the weights of the self-attention ``[B, H, T, T]`` and of
            the cross-attention ``[B, H, T, S]``, or ``None`` twice.
        """
        inner = self.attention_norm.before(states)
        key, value = self.self_attention.keys_and_values(inner)  # [B, H, T, Dh]
        if cache is not None:
            key, value = cache.append(key, value)
        update, self_weights = self.self_attention.attend(
            inner, key, value, mask, return_weights
        )
        states = self.attention_norm.after(states, update)

        inner = self.cross_norm.before(states)
        key, value = (
            cache.memory if cache else self.cross_attention.keys_and_values(memory)
        )  # [B, H, S, Dh]
        update, cross_weights = self.cross_attention.attend(
            inner, key, value, memory_mask, return_weights
        )
        states = self.cross_norm.after(states, update)

        update = self.feed_forward(self.feed_forward_norm.before(states))
        states = self.feed_forward_norm.after(states, update)
        return states, self_weights, cross_weights


class Decoder(nn.Module):
    """A stack of decoder layers; with pre-LN one more LayerNorm at its end.

    Args:
        config: the sizes and the choices.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            DecoderLayer(config) for _ in range(config.num_decoder_layers)
        )
        self.norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()

    def start_cache(self, memory: Tensor) -> list[LayerCache]:
        """An empty cache for each layer, the source's keys and values already in it."""
        return [
            LayerCache(layer.cross_attention.keys_and_values(memory))
            for layer in self.layers
        ]

    def forward(
        self,
        states: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cache: list[LayerCache] | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, list[Tensor | None], list[Tensor | None]]:
        """All layers, one after the other.

        Args:
            states: ``[B, T, D]``; with a cache only those of the new tokens.
            memory: output of the last encoder layer, ``[B, S, D]``.
            mask: of the self-attention, such as the causal ``[T, T]``; see
                :func:`~bertbook.attention.multi_head.mask_for_heads`.
            memory_mask: of the cross-attention, such as ``[B, 1, S]``.
            cache: of each layer the keys and values of earlier tokens.
            return_weights: whether the weights are needed.

        Returns:
            States ``[B, T, D]``, and of each layer the two weights of :class:`DecoderLayer`.

        Raises:
            TypeError: if states are not floating point, or a mask is not boolean.
            ValueError: if a shape does not fit, or a token may look at none.
        """
        width, heads = self.config.d_model, self.config.num_heads
        check_states("states", states, "B", "T", width)
        check_states("memory", memory, len(states), "S", width)
        batch, length, _ = states.shape
        keys = length + (cache[0].length if cache else 0)
        check_mask(mask_for_heads(mask), (batch, heads, length, keys))
        sources = memory.shape[1]  # S
        check_mask(mask_for_heads(memory_mask), (batch, heads, length, sources))
        self_weights, cross_weights = [], []
        for number, layer in enumerate(self.layers):
            states, own, cross = layer(
                states,
                memory,
                mask,
                memory_mask,
                cache[number] if cache else None,
                return_weights,
            )
            self_weights.append(own)
            cross_weights.append(cross)
        return self.norm(states), self_weights, cross_weights


class AttentionWeights(NamedTuple):
    """All attention weights of one pass, a list over the layers each.

    Attributes:
        encoder: L times ``[B, H, S, S]``.
        decoder: L times ``[B, H, T, T]``.
        cross: L times ``[B, H, T, S]``.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


class Transformer(nn.Module):
    """Encoder and decoder, one embedding table for both, and the way back to the vocabulary.

    Matrices start as Glorot and Bengio proposed, biases at zero.

    Args:
        config: the sizes and the choices.

    Source: Vaswani et al. 2017, section 3.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.embedding = Embedding(config)
        self.output = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_weights:
            self.output.weight = self.embedding.tokens.weight
        else:
            nn.init.xavier_uniform_(self.output.weight)

    def source_mask(self, source: Tensor) -> Tensor:
        """Which source symbols are real: boolean ``[B, 1, S]``."""
        return (source != PAD)[:, None, :]  # [B, 1, S]

    def encode(self, source: Tensor) -> Tensor:
        """Read the source ``[B, S]``: the output of the last encoder layer, ``[B, S, D]``."""
        return self.encoder(self.embedding(source), self.source_mask(source))[0]

    def forward(
        self, source: Tensor, inputs: Tensor, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, AttentionWeights]:
        """Predict every target symbol from the true ones before it: teacher forcing.

        The target's padding needs no mask of its own: it stands behind all real symbols, where
        the causal mask lets none of them look.

        Args:
            source: ``[B, S]``, padded.
            inputs: ``[B, T]``, the target shifted right.
            return_weights: whether all attention weights are returned as well.

        Returns:
            Logits ``[B, T, V]``, or ``(logits, weights)``.

        Raises:
            TypeError: if the symbols are not ``torch.long``.
            ValueError: if shapes do not fit, a symbol is not in the vocabulary, a sequence is
                longer than ``max_length``, or a source has nothing but padding.
        """
        vectors = self.embedding(source)  # [B, S, D]
        mask = self.source_mask(source)  # [B, 1, S]
        memory, encoder_weights = self.encoder(vectors, mask, return_weights)
        states, own, cross = self.decoder(
            self.embedding(inputs),
            memory,
            causal_mask(inputs.shape[1], inputs.device),
            mask,
            return_weights=return_weights,
        )
        logits = self.output(states)  # [B, T, V]
        if not return_weights:
            return logits
        return logits, AttentionWeights(encoder_weights, own, cross)
