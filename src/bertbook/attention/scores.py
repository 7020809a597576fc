"""Attention: scores, masks, softmax, weighted mean.

Shapes, in the letters used through the whole book:

    B batch   T target (query) length   S source (key, value) length
    D model width   Dk width of queries and keys   Dv width of values

A leading ``...`` stands for any batch dimensions, such as ``B`` or ``B, H`` with H heads.
Every mask is boolean and positive: ``True`` means *this query may look at this key*.
"""

import math

import torch
from torch import Tensor, nn

__all__ = [
    "SelfAttention",
    "additive_score",
    "bilinear_score",
    "causal_mask",
    "check_attention_inputs",
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
    return dot_score(query, key) / math.sqrt(query.shape[-1])  # [..., T, S]


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
        Scores ``[..., T, S]``. On the way a tensor ``[..., T, S, A]`` exists.

    Source: Bahdanau et al. 2015, appendix A.1.2.
    """
    query_part = (query @ query_weight).unsqueeze(-2)  # [..., T, 1, A]
    key_part = (key @ key_weight).unsqueeze(-3)  # [..., 1, S, A]
    return torch.tanh(query_part + key_part) @ vector  # [..., T, S]


def padding_mask(lengths: Tensor, source_length: int) -> Tensor:
    """Allow each sequence of a batch to look at its own tokens and not at its padding.

    Args:
        lengths: ``[B]``, whole numbers: how many tokens of each sequence are real.
        source_length: S, the length that the batch is padded to.

    Returns:
        Boolean mask ``[B, 1, S]``; the middle dimension stands for every query.

    Raises:
        TypeError: if ``lengths`` does not hold integers.
        ValueError: if ``lengths`` is not one-dimensional or a length is not in 1..S.
    """
    if (
        lengths.dtype == torch.bool
        or lengths.is_floating_point()
        or lengths.is_complex()
    ):
        raise TypeError(f"lengths must hold integers, got {lengths.dtype}")
    if lengths.dim() != 1:
        raise ValueError(f"lengths must have shape [B], got {list(lengths.shape)}")
    wrong = (lengths < 1) | (lengths > source_length)
    if wrong.any():
        raise ValueError(
            f"lengths must lie in 1..{source_length}, got {lengths[wrong].tolist()}"
        )
    positions = torch.arange(source_length, device=lengths.device)  # [S]
    return (positions < lengths[:, None]).unsqueeze(1)  # [B, 1, S]


def causal_mask(length: int, device: torch.device | str | None = None) -> Tensor:
    """Allow each position to look at itself and at what stands before it.

    Args:
        length: T, at least 1.
        device: where the mask is made.

    Returns:
        Boolean lower-triangular mask ``[T, T]``.

    Raises:
        ValueError: if ``length`` is not positive.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()  # [T, T]


def masked_softmax(
    scores: Tensor,
    attention_mask: Tensor | None = None,
    *,
    allow_empty_rows: bool = False,
) -> Tensor:
    """Turn scores into weights: softmax over the keys that the mask allows.

    A forbidden score is set to minus infinity *before* the softmax, so a forbidden key is absent
    from the denominator too.

    Args:
        scores: ``[..., T, S]``, floating point.
        attention_mask: boolean, broadcastable to the scores; ``True`` = may look. ``None``: all.
        allow_empty_rows: what a query with no allowed key does. By default it is an error, since
            its weights are 0/0 and nearly always an inverted mask stands behind it; with ``True``
            its weights and their gradients are zero, as in PyTorch's fused attention.

    Returns:
        Weights ``[..., T, S]``: not negative; each row sums to one (an empty row to zero).

    Raises:
        TypeError: if the scores are not floating point or the mask is not boolean.
        ValueError: if the mask does not broadcast to the scores, or a row is empty.
    """
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}")
    if attention_mask is None:
        return scores.softmax(dim=-1)  # [..., T, S]
    if attention_mask.dtype != torch.bool:
        raise TypeError(
            f"attention_mask must be boolean with True = may look, got {attention_mask.dtype}; "
            "turn a 0/1 mask into one by mask.bool()"
        )
    try:
        mask = attention_mask.expand(scores.shape)  # [..., T, S]
    except RuntimeError:
        raise ValueError(
            f"attention_mask of shape {list(attention_mask.shape)} does not broadcast to the "
            f"scores' shape {list(scores.shape)} ([..., T, S])"
        ) from None
    empty = ~mask.any(dim=-1, keepdim=True)  # [..., T, 1]
    if not empty.any():
        return scores.masked_fill(~mask, -math.inf).softmax(dim=-1)  # [..., T, S]
    if not allow_empty_rows:
        first = empty.squeeze(-1).nonzero()[0].tolist()
        raise ValueError(
            f"{int(empty.sum())} of {empty.numel()} queries may look at no key at all, the first "
            f"at index {first}; is the mask inverted? allow_empty_rows=True gives them zero weights"
        )
    weights = scores.masked_fill(~mask & ~empty, -math.inf).softmax(
        dim=-1
    )  # [..., T, S]
    return weights.masked_fill(empty, 0.0)  # [..., T, S]


def check_attention_inputs(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse tensors that do not fit together, naming what is wrong.

    Args:
        query: should be ``[..., T, Dk]``.
        key: should be ``[..., S, Dk]``.
        value: should be ``[..., S, Dv]``.

    Raises:
        TypeError: if the three are not of one floating-point type.
        ValueError: if their shapes do not fit together.
    """
    if not query.is_floating_point() or not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            "query, key and value must share one floating-point type, "
            f"got {query.dtype}, {key.dtype}, {value.dtype}"
        )
    shapes = (
        f"query {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}; expected "
        "[..., T, Dk], [..., S, Dk], [..., S, Dv]"
    )
    if min(query.dim(), key.dim(), value.dim()) < 2:
        raise ValueError(f"query, key and value need at least two dimensions: {shapes}")
    if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        raise ValueError(f"the batch dimensions differ: {shapes}")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query and key differ in their last dimension Dk: {shapes}")
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"key and value differ in their length S: {shapes}")
    if 0 in (query.shape[-1], key.shape[-2]):
        raise ValueError(
            f"there must be at least one key (S) of at least width one (Dk): {shapes}"
        )


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    scale: float | None = None,
    allow_empty_rows: bool = False,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Mix the values of the keys that match each query: ``softmax(Q K^T * scale) V``.

    Args:
        query: ``[..., T, Dk]``.
        key: ``[..., S, Dk]``.
        value: ``[..., S, Dv]``.
        attention_mask: boolean, broadcastable to ``[..., T, S]``; ``True`` = may look.
        scale: factor on the dot products; ``None`` means ``1 / sqrt(Dk)``.
        allow_empty_rows: see :func:`masked_softmax`.
        return_weights: whether the weights are returned as well.

    Returns:
        Output ``[..., T, Dv]``, or ``(output, weights)`` with weights ``[..., T, S]``.

    Raises:
        TypeError: as :func:`check_attention_inputs` and :func:`masked_softmax`.
        ValueError: likewise.

    Source: Vaswani et al. 2017, section 3.2.1, equation 1.
    """
    check_attention_inputs(query, key, value)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)  # [..., T, S]
    weights = masked_softmax(scores, attention_mask, allow_empty_rows=allow_empty_rows)
    output = weights @ value  # [..., T, Dv]
    return (output, weights) if return_weights else output


class SelfAttention(nn.Module):
    """One head of self-attention: queries, keys and values are projections of the same tokens.

    Args:
        d_model: D, width of the token vectors.
        d_k: Dk, width of queries and keys; ``None`` means ``d_model``.
        d_v: Dv, width of the values; ``None`` means ``d_k``.
        bias: whether the three projections have a bias (BERT's have, those of the 2017 paper's
            formulas have none).

    Source: Vaswani et al. 2017, section 3.2.3, with a single head and no output projection.
    """

    def __init__(
        self, d_model: int, d_k: int | None = None, d_v: int | None = None, bias=True
    ):
        super().__init__()
        d_k = d_model if d_k is None else d_k
        d_v = d_k if d_v is None else d_v
        for name, width in {"d_model": d_model, "d_k": d_k, "d_v": d_v}.items():
            if width < 1:
                raise ValueError(f"{name} must be at least 1, got {width}")
        self.query = nn.Linear(d_model, d_k, bias=bias)
        self.key = nn.Linear(d_model, d_k, bias=bias)
        self.value = nn.Linear(d_model, d_v, bias=bias)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        return_weights=False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Let every token gather from the tokens that its row of the mask allows.

        Args:
            hidden_states: ``[..., T, D]``.
            attention_mask: boolean, broadcastable to ``[..., T, T]``; ``True`` = may look.
            return_weights: whether the weights ``[..., T, T]`` are returned as well.

        Returns:
            Output ``[..., T, Dv]``, or ``(output, weights)``.

        Raises:
            ValueError: if the last dimension of ``hidden_states`` is not ``d_model``.
        """
        width = self.query.in_features
        if hidden_states.dim() < 2 or hidden_states.shape[-1] != width:
            raise ValueError(
                f"hidden_states must have shape [..., T, {width}], got {list(hidden_states.shape)}"
            )
        return scaled_dot_product_attention(
            self.query(hidden_states),  # [..., T, Dk]
            self.key(hidden_states),  # [..., T, Dk]
            self.value(hidden_states),  # [..., T, Dv]
            attention_mask,
            return_weights=return_weights,
        )
