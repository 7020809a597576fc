"""Multi-head attention: H small attentions in parallel, and one matrix that combines them.

Shapes, besides those of :mod:`bertbook.attention.scores`:

    H number of heads   Dh = D / H width of one head
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.attention.scores import scaled_dot_product_attention
from bertbook.shared.checks import check_mask, check_sizes, check_states

__all__ = [
    "MultiHeadAttention",
    "check_inputs",
    "mask_for_heads",
    "merge_heads",
    "mix_values",
    "split_heads",
]


def split_heads(states: Tensor, num_heads: int) -> Tensor:
    """Cut the width into heads: head i gets columns ``i * Dh`` to ``(i + 1) * Dh``.

    Args:
        states: ``[B, T, D]``.
        num_heads: H, a divisor of D.

    Returns:
        ``[B, H, T, Dh]``.
    """
    # The head becomes a batch dimension; a plain view to [B, H, T, Dh] would mix the tokens.
    return states.unflatten(-1, (num_heads, -1)).transpose(-3, -2)  # [B, H, T, Dh]


def merge_heads(states: Tensor) -> Tensor:
    """Concatenate the heads of each token: the inverse of :func:`split_heads`.

    Args:
        states: ``[B, H, T, Dh]``.

    Returns:
        ``[B, T, D]``.
    """
    return states.transpose(-3, -2).flatten(-2)  # [B, T, D]


def mask_for_heads(attention_mask: Tensor | None) -> Tensor | None:
    """Add a head dimension to a mask ``[B, T, S]``; masks of other shapes stay unchanged.

    Otherwise broadcasting would read it as ``[H, T, S]``.

    Args:
        attention_mask: boolean ``[B, H, T, S]``, ``[B, T, S]`` (the same for all heads, as from
            :func:`~bertbook.attention.scores.padding_mask`) or ``[T, S]`` (as from
            :func:`~bertbook.attention.scores.causal_mask`), or ``None``. Each size may also be 1.

    Returns:
        A mask that broadcasts to ``[B, H, T, S]``, or ``None`` for ``None``.
    """
    if attention_mask is None or attention_mask.dim() != 3:
        return attention_mask
    return attention_mask[:, None]  # [B, 1, T, S]


def mix_values(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Compute attention by the formula, or by PyTorch's fused kernel if no weights are needed.

    The kernel gives the same output but never stores the weights.

    Args:
        query: ``[B, H, T, Dh]``.
        key: ``[B, H, S, Dh]``.
        value: ``[B, H, S, Dh]``.
        attention_mask: boolean, broadcastable to ``[B, H, T, S]``, or ``None``.
        dropout: probability that a weight is set to zero.
        return_weights: whether to return the weights.

    Returns:
        ``[B, H, T, Dh]``, and the weights ``[B, H, T, S]`` or ``None``.
    """
    # In bfloat16 the kernel's backward pass takes three times as long as that of the formula
    # (PyTorch 2.13, CPU).
    slow = query.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if not (return_weights or dropout or slow):
        return F.scaled_dot_product_attention(query, key, value, attention_mask), None
    context, weights = scaled_dot_product_attention(
        query, key, value, attention_mask, dropout
    )
    return context, weights if return_weights else None


def check_inputs(
    layer: "MultiHeadAttention", states: Tensor, source: Tensor, mask: Tensor | None
) -> None:
    """Refuse inputs that an attention layer cannot use.

    Args:
        layer: the layer, whose width and number of heads are required.
        states: should be ``[B, T, D]``.
        source: should be ``[B, S, D]``.
        mask: should be as :func:`mask_for_heads` takes it, or ``None``.

    Raises:
        TypeError: if states are not floating point, or the mask is not boolean.
        ValueError: if a shape does not fit, or a query may look at no key.
    """
    width = layer.query.in_features
    check_states("hidden_states", states, "B", "T", width)
    check_states("key_value_states", source, len(states), "S", width)
    scores = len(source), layer.num_heads, states.shape[1], source.shape[1]
    check_mask(mask_for_heads(mask), scores)


class MultiHeadAttention(nn.Module):
    """Self- or cross-attention with several heads.

    Head i uses components ``i * Dh`` to ``(i + 1) * Dh`` of the projected queries, keys and values.
    The output projection reads the heads in the same order, as in BERT and in PyTorch. With the
    default ``d_k`` and biases there are 4 D² + 4 D parameters, however many heads there are.

    Args:
        d_model: D, width of the token vectors.
        num_heads: H, a divisor of D.
        d_k: width of one head's queries and keys; ``None`` means Dh = D / H. The values always
            have the width Dh.
        dropout: probability that a weight is dropped in training, in 0..1.
        bias: whether the four projections have a bias.

    Raises:
        ValueError: if a size is not positive, H does not divide D, or ``dropout`` is not in 0..1.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        d_k: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        check_sizes(d_model=d_model, num_heads=num_heads, d_k=1 if d_k is None else d_k)
        if d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide d_model={d_model}")
        self.num_heads = num_heads
        d_keys = d_model if d_k is None else num_heads * d_k
        self.query = nn.Linear(d_model, d_keys, bias=bias)
        self.key = nn.Linear(d_model, d_keys, bias=bias)
        self.value = nn.Linear(d_model, d_model, bias=bias)
        self.output = nn.Linear(d_model, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token attend, in each head, to the tokens that the mask allows.

        Args:
            hidden_states: ``[B, T, D]``, where the queries come from.
            key_value_states: ``[B, S, D]``, where keys and values come from; ``None`` means
                ``hidden_states`` (self-attention).
            attention_mask: boolean, ``True`` = may look; see :func:`mask_for_heads`.
            return_weights: whether to return the weights.

        Returns:
            Output ``[B, T, D]``, and the weights ``[B, H, T, S]`` as they were used, or ``None``.
            Each row sums to one, except in training, where dropout has been applied.

        Raises:
            TypeError: if states are not floating point, or the mask is not boolean.
            ValueError: if a shape does not fit, or a query may look at no key.
        """
        source = hidden_states if key_value_states is None else key_value_states
        check_inputs(self, hidden_states, source, attention_mask)
        key, value = self.keys_and_values(source)  # [B, H, S, Dh] each
        return self.attend(hidden_states, key, value, attention_mask, return_weights)

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens to keys and values.

        Args:
            states: ``[B, S, D]``.

        Returns:
            Keys and values, ``[B, H, S, Dh]`` each. Neither depends on the queries, so a decoder
            can cache them.
        """
        key = split_heads(self.key(states), self.num_heads)  # [B, H, S, Dh]
        value = split_heads(self.value(states), self.num_heads)  # [B, H, S, Dh]
        return key, value

    def attend(
        self,
        hidden_states: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token attend to keys and values that are already computed.

        Args:
            hidden_states: ``[B, T, D]``, where the queries come from.
            key: ``[B, H, S, Dh]``.
            value: ``[B, H, S, Dh]``.
            attention_mask: boolean; see :func:`mask_for_heads`.
            return_weights: as in :meth:`forward`.

        Returns:
            As :meth:`forward`.
        """
        query = split_heads(self.query(hidden_states), self.num_heads)  # [B, H, T, Dh]
        dropout = self.dropout.p if self.training else 0.0
        context, weights = mix_values(
            query, key, value, mask_for_heads(attention_mask), dropout, return_weights
        )  # [B, H, T, Dh], [B, H, T, S]
        return self.output(merge_heads(context)), weights
