"""Attention: scores, masks, softmax, weighted mean.

Shapes, in the letters used through the whole book:

    B batch   T target (query) length   S source (key, value) length
    D model width   Dk width of queries and keys   Dv width of values

A leading ``...`` stands for any batch dimensions, such as ``B`` or ``B, H`` with H heads.
Every mask is boolean: ``True`` means *this query may look at this key*. Every query needs at least
one allowed key; models check this when they receive a mask (:mod:`bertbook.shared.checks`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.shared.checks import check_lengths, check_mask, check_sizes, check_states

__all__ = [
    "SelfAttention",
    "additive_score",
    "bilinear_score",
    "causal_mask",
    "dot_score",
    "masked_softmax",
    "padding_mask",
    "scaled_dot_product_attention",
    "scaled_dot_score",
]


def dot_score(query: Tensor, key: Tensor) -> Tensor:
    """Score every query against every key by their dot product.

    Args:
        query: ``[..., T, Dk]``.
        key: ``[..., S, Dk]``.

    Returns:
        Scores ``[..., T, S]``.

    Source: Luong et al. 2015, section 3.1 ("dot").
    """
    return query @ key.transpose(-2, -1)  # [..., T, S]


def scaled_dot_score(query: Tensor, key: Tensor) -> Tensor:
    """Score by the dot product divided by the square root of the key width.

    Args:
        query: ``[..., T, Dk]``.
        key: ``[..., S, Dk]``.

    Returns:
        Scores ``[..., T, S]``.

    Source: Vaswani et al. 2017, section 3.2.1.
    """
    return dot_score(query, key) * query.shape[-1] ** -0.5  # [..., T, S]


def bilinear_score(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """Score by a learned bilinear form, so that query and key may differ in width.

    Args:
        query: ``[..., T, Dq]``.
        key: ``[..., S, Dk]``.
        weight: ``[Dq, Dk]``.

    Returns:
        Scores ``[..., T, S]``.

    Source: Luong et al. 2015, section 3.1 ("general").
    """
    return query @ weight @ key.transpose(-2, -1)  # [..., T, S]


def additive_score(
    query: Tensor, key: Tensor, query_weight: Tensor, key_weight: Tensor, vector: Tensor
) -> Tensor:
    """Score by a small network with one hidden layer of width A.

    Args:
        query: ``[..., T, Dq]``.
        key: ``[..., S, Dk]``.
        query_weight: ``[Dq, A]``.
        key_weight: ``[Dk, A]``.
        vector: ``[A]``, from the hidden layer to one number.

    Returns:
        Scores ``[..., T, S]``. An intermediate tensor has the shape ``[..., T, S, A]``.

    Source: Bahdanau et al. 2015, appendix A.1.2.
    """
    query_part = (query @ query_weight).unsqueeze(-2)  # [..., T, 1, A]
    key_part = (key @ key_weight).unsqueeze(-3)  # [..., 1, S, A]
    return torch.tanh(query_part + key_part) @ vector  # [..., T, S]


def padding_mask(lengths: Tensor, source_length: int) -> Tensor:
    """Allow each sequence of a batch to look at its own tokens and not at its padding.

    Args:
        lengths: ``[B]``, whole numbers: how many tokens of each sequence are real.
        source_length: S, the length to which the batch is padded.

    Returns:
        Boolean mask ``[B, 1, S]``; the middle dimension broadcasts over the queries.

    Raises:
        TypeError: if ``lengths`` does not hold integers.
        ValueError: if ``lengths`` is not one-dimensional or a length is not in 1..S.
    """
    check_lengths(lengths, source_length)
    positions = torch.arange(source_length, device=lengths.device)  # [S]
    return (positions < lengths[:, None])[:, None]  # [B, 1, S]


def causal_mask(length: int, device: torch.device | str | None = None) -> Tensor:
    """Allow each position to look at itself and at the positions before it.

    Args:
        length: T, at least 1.
        device: device of the mask.

    Returns:
        Boolean lower-triangular mask ``[T, T]``.

    Raises:
        ValueError: if ``length`` is not positive.
    """
    check_sizes(length=length)
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()  # [T, T]


def masked_softmax(scores: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Turn scores into weights: softmax over the keys that the mask allows.

    A forbidden score is set to minus infinity *before* the softmax, so a forbidden key is absent
    from the denominator too. In a row without any allowed key all weights are 0/0, that is NaN.

    Args:
        scores: ``[..., T, S]``, floating point.
        attention_mask: boolean, broadcastable to the scores; ``True`` = may look. ``None`` allows
            all keys.

    Returns:
        Weights ``[..., T, S]``; none is negative, and each row sums to one.
    """
    if attention_mask is not None:
        bias = torch.where(attention_mask, 0.0, -math.inf)  # the shape of the mask
        scores = scores + bias.to(scores.dtype)  # [..., T, S]
    return scores.softmax(dim=-1)  # [..., T, S]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Average the values by how well each key matches the query: softmax(Q Kᵀ / √Dk) V.

    The whole book computes attention with this one function: single and multiple heads, encoder,
    decoder and BERT.

    Args:
        query: ``[..., T, Dk]``.
        key: ``[..., S, Dk]``.
        value: ``[..., S, Dv]``.
        attention_mask: boolean, broadcastable to ``[..., T, S]``; ``True`` = may look. ``None``
            allows all keys.
        dropout: probability p that a weight is set to zero; the others are divided by 1 - p.

    Returns:
        Output ``[..., T, Dv]`` and the weights ``[..., T, S]`` that were used.

    Source: Vaswani et al. 2017, section 3.2.1, equation 1.
    """
    scores = scaled_dot_score(query, key)  # [..., T, S]
    weights = masked_softmax(scores, attention_mask)  # [..., T, S]
    weights = F.dropout(weights, dropout) if dropout else weights
    return weights @ value, weights  # [..., T, Dv], [..., T, S]


class SelfAttention(nn.Module):
    """One head of self-attention: queries, keys and values are projections of the same tokens.

    Args:
        d_model: D, width of the token vectors.
        d_k: Dk, width of queries and keys; ``None`` means ``d_model``.
        d_v: Dv, width of the values; ``None`` means ``d_k``.
        bias: whether the three projections have a bias. BERT's have one; the formulas of the 2017
            paper have none.

    Raises:
        ValueError: if a width is not positive.

    Source: Vaswani et al. 2017, section 3.2.3, with a single head and no output projection.
    """

    def __init__(
        self, d_model: int, d_k: int | None = None, d_v: int | None = None, bias=True
    ):
        super().__init__()
        d_k = d_model if d_k is None else d_k
        d_v = d_k if d_v is None else d_v
        check_sizes(d_model=d_model, d_k=d_k, d_v=d_v)
        self.query = nn.Linear(d_model, d_k, bias=bias)
        self.key = nn.Linear(d_model, d_k, bias=bias)
        self.value = nn.Linear(d_model, d_v, bias=bias)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let every token attend to the tokens that its row of the mask allows.

        Args:
            hidden_states: ``[..., T, D]``.
            attention_mask: boolean, broadcastable to ``[..., T, T]``; ``True`` = may look.

        Returns:
            Output ``[..., T, Dv]`` and the weights ``[..., T, T]``.

        Raises:
            TypeError: if the states are not floating point, or the mask is not boolean.
            ValueError: if a shape does not fit, or the mask leaves a token without any key.
        """
        check_states("hidden_states", hidden_states, "...", "T", self.query.in_features)
        shape = hidden_states.shape[:-1]  # [..., T]
        check_mask(attention_mask, (*shape, shape[-1]))
        return scaled_dot_product_attention(
            self.query(hidden_states),  # [..., T, Dk]
            self.key(hidden_states),  # [..., T, Dk]
            self.value(hidden_states),  # [..., T, Dv]
            attention_mask,
        )
