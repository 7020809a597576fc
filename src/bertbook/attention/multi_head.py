"""Multi-head attention: h small attentions side by side, and one matrix that joins them.

Shapes, besides those of :mod:`bertbook.attention.scores`:

    H number of heads   Dh = D / H width of one head
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.attention.scores import masked_softmax, scaled_dot_score

__all__ = [
    "MultiHeadAttention",
    "check_rows",
    "check_sizes",
    "check_states",
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

    Raises:
        ValueError: if ``states`` is not three-dimensional or H does not divide D.
    """
    if states.dim() != 3:
        raise ValueError(f"states must have shape [B, T, D], got {list(states.shape)}")
    if num_heads < 1 or states.shape[-1] % num_heads:
        raise ValueError(
            f"a width of {states.shape[-1]} cannot be cut into {num_heads} equal heads"
        )
    # The head becomes a batch dimension; a plain view to [B, H, T, Dh] would mix the tokens.
    return states.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # [B, H, T, Dh]


def merge_heads(states: Tensor) -> Tensor:
    """Concatenate the heads of each token: the inverse of :func:`split_heads`.

    Args:
        states: ``[B, H, T, Dh]``.

    Returns:
        ``[B, T, D]``.

    Raises:
        ValueError: if ``states`` is not four-dimensional.
    """
    if states.dim() != 4:
        raise ValueError(
            f"states must have shape [B, H, T, Dh], got {list(states.shape)}"
        )
    return states.transpose(1, 2).flatten(-2)  # [B, T, D]


def check_states(hidden_states: Tensor, source: Tensor, d_model: int) -> None:
    """Refuse token vectors that multi-head attention cannot use, naming what is wrong.

    Args:
        hidden_states: should be ``[B, T, D]``.
        source: should be ``[B, S, D]``.
        d_model: D.

    Raises:
        TypeError: if one of them is not floating point, such as token ids.
        ValueError: if a shape does not fit.
    """
    for name, states in {
        "hidden_states": hidden_states,
        "key_value_states": source,
    }.items():
        if states.dim() != 3 or states.shape[-1] != d_model or states.shape[1] < 1:
            raise ValueError(
                f"{name} must have shape [B, length, {d_model}] with at least one token, "
                f"got {list(states.shape)}"
            )
        if not states.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {states.dtype}")
    if hidden_states.shape[0] != source.shape[0]:
        raise ValueError(
            f"the batches differ: hidden_states {list(hidden_states.shape)}, "
            f"key_value_states {list(source.shape)}"
        )


def mask_for_heads(attention_mask: Tensor | None, shape: torch.Size) -> Tensor | None:
    """Bring a mask to four dimensions, so that it means the same for every head.

    Args:
        attention_mask: boolean; ``[B, H, T, S]``, ``[B, T, S]`` (as
            :func:`bertbook.attention.scores.padding_mask` makes it, for all heads alike) or ``[T,
            S]`` (as :func:`bertbook.attention.scores.causal_mask` makes it); each size may also be
            1.
        shape: of the scores, ``[B, H, T, S]``.

    Returns:
        A mask that broadcasts to ``shape``, or ``None`` if there is none.

    Raises:
        ValueError: if the mask does not fit. A padding mask ``[B, S]`` needs a dimension for the
            queries: ``mask[:, None, :]``.
    """
    if attention_mask is None:
        return None
    # By the rules of broadcasting [B, T, S] would be read as [H, T, S].
    mask = attention_mask.unsqueeze(1) if attention_mask.dim() == 3 else attention_mask
    fits = mask.dim() in (2, 4) and all(
        size in (1, full)
        for size, full in zip(reversed(mask.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"attention_mask of shape {list(attention_mask.shape)} does not fit the scores "
            f"{list(shape)}: expected [B, H, T, S], [B, T, S] or [T, S], each size possibly 1"
        )
    return mask


def check_rows(mask: Tensor | None) -> None:
    """Refuse a mask that is not boolean or leaves a query without any key.

    Args:
        mask: ``[..., T, S]`` or ``None``; its sizes of one need not be spread out.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if a row allows nothing: the softmax over it would be 0/0.
    """
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(
            f"attention_mask must be boolean with True = may look, got {mask.dtype}; "
            "turn a 0/1 mask into one by mask.bool()"
        )
    empty = ~mask.any(dim=-1)
    if empty.any():
        raise ValueError(
            f"{int(empty.sum())} of {empty.numel()} rows of attention_mask allow no key at all, "
            f"the first at index {empty.nonzero()[0].tolist()}; is the mask inverted?"
        )


def check_sizes(d_model: int, num_heads: int, d_k: int | None) -> None:
    """Refuse sizes that heads cannot have.

    Raises:
        ValueError: if a size is not positive, or the heads do not divide the width.
    """
    if d_model < 1 or num_heads < 1 or d_model % num_heads:
        raise ValueError(
            "d_model must be a positive multiple of num_heads, "
            f"got d_model={d_model}, num_heads={num_heads}"
        )
    if d_k is not None and d_k < 1:
        raise ValueError(f"d_k must be at least 1, got {d_k}")


def mix_values(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: nn.Dropout,
    return_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    """Mean of the values under each query's weights, by formula or by PyTorch's fused kernel.

    The kernel computes the same and never stores the scores; it is taken where nobody asks for
    the weights and none is dropped.

    Args:
        query: ``[B, H, T, Dh]``.
        key: ``[B, H, S, Dh]``.
        value: ``[B, H, S, Dh]``.
        mask: boolean, broadcastable to ``[B, H, T, S]``, or ``None``.
        dropout: of the weights.
        return_weights: whether the weights are needed.

    Returns:
        ``[B, H, T, Dh]``, and the weights ``[B, H, T, S]`` or ``None``.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if a query may look at no key.
    """
    # PyTorch 2.13's fused gradient in bfloat16 is slower than the two products on a CPU.
    slow = query.dtype == torch.bfloat16 and torch.is_grad_enabled()
    check_rows(mask)
    if return_weights or slow or (dropout.training and dropout.p > 0):
        scores = scaled_dot_score(query, key)  # [B, H, T, S]
        weights = dropout(masked_softmax(scores, mask))  # [B, H, T, S]
        return weights @ value, weights if return_weights else None
    return F.scaled_dot_product_attention(query, key, value, mask), None


class MultiHeadAttention(nn.Module):
    """Self- or cross-attention with several heads.

    Head i uses columns ``i * Dh`` to ``(i + 1) * Dh`` of the query, key and value projections and
    the same rows of the output projection's transpose, as in BERT and in PyTorch. The number of
    parameters, 4 D² + 4 D with biases, does not depend on the number of heads.

    Args:
        d_model: D, width of the token vectors.
        num_heads: H, a divisor of D.
        d_k: width of one head's queries and keys; ``None`` means Dh = D / H, which the width of
            its values always is.
        dropout: probability with which a weight is dropped in training, in 0..1.
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
        check_sizes(d_model, num_heads, d_k)
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
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let every token gather, in each head, from the tokens that the mask allows.

        Args:
            hidden_states: ``[B, T, D]``, where the queries come from.
            key_value_states: ``[B, S, D]``, where keys and values come from; ``None`` means
                ``hidden_states`` (self-attention).
            attention_mask: boolean, ``True`` = may look; see :func:`mask_for_heads`.
            return_weights: whether the weights are returned as well.

        Returns:
            Output ``[B, T, D]``, or ``(output, weights)`` with weights ``[B, H, T, S]`` as they
            were used: each row sums to one, except in training, where dropout has been applied.

        Raises:
            TypeError: if the mask is not boolean.
            ValueError: if a shape does not fit, or a query may look at no key.
        """
        source = hidden_states if key_value_states is None else key_value_states
        check_states(hidden_states, source, self.query.in_features)
        key, value = self.keys_and_values(source)  # [B, H, S, Dh] each
        return self.attend(hidden_states, key, value, attention_mask, return_weights)

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens to what they are found by and what they hand over.

        Args:
            states: ``[B, S, D]``.

        Returns:
            Keys and values, ``[B, H, S, Dh]`` each. Neither depends on the queries, so a decoder
            may keep them.
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
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let every token gather from keys and values that are there already.

        Args:
            hidden_states: ``[B, T, D]``, where the queries come from.
            key: ``[B, H, S, Dh]``.
            value: ``[B, H, S, Dh]``.
            attention_mask: as in :meth:`forward`.
            return_weights: as in :meth:`forward`.

        Returns:
            As :meth:`forward`.

        Raises:
            TypeError: as :meth:`forward`.
            ValueError: as :meth:`forward`.
        """
        query = split_heads(self.query(hidden_states), self.num_heads)  # [B, H, T, Dh]
        shape = (*query.shape[:-1], key.shape[-2])  # [B, H, T, S]
        mask = mask_for_heads(attention_mask, shape)  # [B, H, T, S] or with ones
        context, weights = mix_values(
            query, key, value, mask, self.dropout, return_weights
        )
        output = self.output(merge_heads(context))  # [B, T, D]
        return (output, weights) if return_weights else output
