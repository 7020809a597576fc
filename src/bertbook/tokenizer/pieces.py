"""From words to pieces and back: labels for the pieces of words, answers as spans of pieces.

Shapes, in the letters of the book: B batch, S length.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bertbook.tokenizer.packing import Encoding

__all__ = ["IGNORED", "best_spans", "label_pieces", "span_of_pieces"]

IGNORED = -100  # the label of a piece that does not count: cross_entropy leaves it out


def label_pieces(
    encoding: Encoding, words: Sequence[tuple[int, int]], labels: Sequence[int]
) -> list[int]:
    """Give each word's label to its first piece and ``IGNORED`` to every other piece.

    Args:
        encoding: of one text.
        words: start and end of each word in the text, in characters.
        labels: one for each word.

    Returns:
        S labels.

    Raises:
        ValueError: if there is not a label for each word.

    Source: Devlin et al. 2019, section 5.3.
    """
    if len(words) != len(labels):
        raise ValueError(f"{len(words)} words and {len(labels)} labels")
    word_at = {place: i for i, (s, e) in enumerate(words) for place in range(s, e)}
    pieces = [IGNORED] * len(encoding)
    seen: set[int] = set()
    for piece, (start, end) in enumerate(encoding.offsets):
        word = word_at.get(start)
        if end > start and word is not None and word not in seen:
            pieces[piece] = labels[word]
            seen.add(word)
    return pieces


def span_of_pieces(encoding: Encoding, start: int, end: int) -> tuple[int, int] | None:
    """Find the pieces of an answer in the second text of a pair.

    Args:
        encoding: of question and passage.
        start: of the answer in the passage, in characters.
        end: likewise, behind its last character.

    Returns:
        First and last piece, or ``None`` if a part of the answer was cut off.

    Raises:
        ValueError: if the answer is empty.
    """
    if not 0 <= start < end:
        raise ValueError(f"an answer needs 0 <= start < end, got {start} and {end}")
    passage = [
        i
        for i, (kind, (first, last)) in enumerate(
            zip(encoding.token_type_ids, encoding.offsets, strict=True)
        )
        if kind == 1 and last > first
    ]
    inside = [
        i
        for i in passage
        if encoding.offsets[i][0] < end and start < encoding.offsets[i][1]
    ]
    if not inside or encoding.offsets[inside[-1]][1] < end:
        return None
    return inside[0], inside[-1]


@torch.no_grad()
def best_spans(
    start_logits: Tensor, end_logits: Tensor, passage: Tensor, max_length: int = 64
) -> Tensor:
    """The span with the largest sum of start and end score, among those that can be an answer.

    Args:
        start_logits: ``[B, S]``.
        end_logits: ``[B, S]``.
        passage: boolean ``[B, S]``, ``True`` = a piece of the passage; the question, special tokens
            and padding are ``False``. A span holds nothing else.
        max_length: the most pieces of a span.

    Returns:
        First and last piece, ``[B, 2]``.

    Raises:
        ValueError: if shapes differ, ``max_length`` is below 1 or a row has no passage.

    Source: Devlin et al. 2019, section 4.2.
    """
    if not start_logits.shape == end_logits.shape == passage.shape:
        raise ValueError(
            f"start_logits, end_logits and passage must have one shape, got "
            f"{[list(x.shape) for x in (start_logits, end_logits, passage)]}"
        )
    if max_length < 1 or not passage.any(1).all():
        raise ValueError(
            f"max_length must be at least 1 and every row have a passage, got {max_length} and "
            f"{passage.sum(1).tolist()} pieces"
        )
    length = passage.shape[1]
    distance = torch.arange(length) - torch.arange(length)[:, None]  # [S, S]
    gaps = (~passage).cumsum(1)  # [B, S]; equal at two pieces: no gap between them
    valid = (gaps[:, :, None] == gaps[:, None]) & passage[:, :, None] & passage[:, None]
    valid &= (distance >= 0) & (distance < max_length)  # [B, S, S]
    scores = start_logits[:, :, None] + end_logits[:, None]  # [B, S, S]
    best = scores.masked_fill(~valid, -torch.inf).flatten(1).argmax(1)  # [B]
    return torch.stack([best // length, best % length], 1)  # [B, 2]
