"""What BERT accepts: numbers that have a vector, and masks, each in one form.

B batch   S length   P positions
"""

import torch
from torch import Tensor

from bertbook.bert.config import BertConfig
from bertbook.shared.checks import check_mask, check_symbols

__all__ = ["check_key_mask", "check_numbers", "mask_of_keys"]


def check_numbers(
    config: BertConfig,
    input_ids: Tensor,
    token_type_ids: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> None:
    """Refuse numbers that have no vector, naming them.

    Args:
        config: the sizes.
        input_ids: should be ``[B, S]``, S at most P.
        token_type_ids: should be ``[B, S]`` or ``None``.
        position_ids: should be ``[B, S]`` or ``None``.

    Raises:
        TypeError: if they are not ``torch.long``.
        ValueError: if a shape is another or a number has no vector.
    """
    check_symbols("input_ids", input_ids, config.vocab_size)
    length, positions = input_ids.shape[1], config.max_position_embeddings
    if length > positions:
        raise ValueError(
            f"input_ids has {length} tokens a row, more than the {positions} positions"
        )
    for name, numbers, count in (
        ("token_type_ids", token_type_ids, config.type_vocab_size),
        ("position_ids", position_ids, positions),
    ):
        if numbers is None:
            continue
        check_symbols(name, numbers, count)
        if numbers.shape != input_ids.shape:
            raise ValueError(
                f"{name} must have the shape of input_ids, {list(input_ids.shape)}, "
                f"got {list(numbers.shape)}"
            )


def check_key_mask(mask: Tensor, batch: int, length: int) -> None:
    """Refuse a mask that a tokenizer would not make, naming what is wrong.

    Args:
        mask: should be as :func:`mask_of_keys` takes it.
        batch: B.
        length: S.

    Raises:
        TypeError: if the mask is floating point, such as one that is added to the scores.
        ValueError: if its shape does not fit, it holds other numbers, or a row allows no key.
    """
    if torch.compiler.is_compiling():
        return
    full = [batch, length, length]
    by_query = mask.dim() == 3 and mask.shape[-1] == length
    if by_query:
        sizes = zip(mask.shape, full, strict=True)
        by_query = all(size in (1, whole) for size, whole in sizes)
    if not by_query and list(mask.shape) != [batch, length]:
        raise ValueError(
            f"attention_mask must have shape [B, S] = {[batch, length]} or [B, S, S] = "
            f"{full}, got {list(mask.shape)}; one [S, S] for all is mask[None]"
        )
    if mask.is_floating_point() or mask.is_complex():
        raise TypeError(
            f"attention_mask must be boolean or hold integers 0 and 1, got {mask.dtype}"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"attention_mask must hold 0 and 1, got {mask.unique().tolist()[:5]}"
        )
    check_mask(mask.bool() if by_query else mask.bool()[:, None], full)


def mask_of_keys(mask: Tensor | None, batch: int, length: int) -> Tensor | None:
    """Bring a tokenizer's mask, or one with a row for each query, to the form of the scores.

    Args:
        mask: boolean or 0/1, 1 = may be looked at. ``[B, S]``: by every token, as tokenizers mark
            padding; ``[B, S, S]``: by the token of that row (B and the first S may also be 1).
        batch: B.
        length: S.

    Returns:
        Boolean ``[B, 1, 1, S]`` or ``[B, 1, S, S]``, or ``None`` if nothing is forbidden: attention
        is faster without a mask.

    Raises:
        TypeError: as :func:`check_key_mask`.
        ValueError: likewise.
    """
    if mask is None:
        return None
    check_key_mask(mask, batch, length)
    mask = mask.bool()[:, None] if mask.dim() == 3 else mask.bool()[:, None, None]
    unknown = torch.compiler.is_compiling()  # what a tensor holds would cut the graph
    return mask if unknown or not mask.all() else None  # [B, 1, 1 or S, S]
