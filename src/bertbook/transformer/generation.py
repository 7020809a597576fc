"""Writing with a Transformer: greedily or by beam search, with or without a cache.

Shapes as in :mod:`bertbook.transformer.encoder`, and K, the width of the beam.
"""

import torch
from torch import Tensor

from bertbook.attention.scores import causal_mask
from bertbook.shared.symbols import BEGIN, END, PAD
from bertbook.transformer.decoder import Transformer

__all__ = ["Reader", "beam_search", "greedy", "length_penalty"]


class Reader:
    """The decoder at work on a batch of sources: give it the prefixes, get the next logits.

    With the cache it computes the newest position alone; without, all positions anew. Both give
    the same logits up to rounding.

    Args:
        model: in evaluation mode.
        source: ``[B, S]``.
        use_cache: whether keys and values are kept.

    Raises:
        ValueError: if the model is in training mode: dropout would make its choices random.
    """

    def __init__(self, model: Transformer, source: Tensor, use_cache: bool = True):
        if model.training:
            raise ValueError("the model is in training mode; call model.eval() first")
        self.model = model
        self.memory = model.encode(source)  # [B, S, D]
        self.mask = model.source_mask(source)  # [B, 1, S]
        self.cache = model.decoder.start_cache(self.memory) if use_cache else None

    def next_logits(self, prefix: Tensor) -> Tensor:
        """Logits ``[B, V]`` of the symbol after ``prefix`` ``[B, T]``, one longer each call."""
        length = prefix.shape[1]
        if self.cache is None:
            vectors = self.model.embedding(prefix)  # [B, T, D]
            mask = causal_mask(length)  # [T, T]
        else:
            vectors = self.model.embedding(prefix[:, -1:], length - 1)  # [B, 1, D]
            mask = None  # the newest position may look at all before it
        states, _, _ = self.model.decoder(
            vectors, self.memory, mask, self.mask, self.cache
        )
        return self.model.output(states[:, -1])  # [B, V]

    def select(self, rows: Tensor) -> None:
        """Go on with the given rows of the batch, in their order."""
        self.memory, self.mask = self.memory[rows], self.mask[rows]
        for layer in self.cache or ():
            layer.select(rows)


@torch.no_grad()
def greedy(
    model: Transformer, source: Tensor, max_length: int, use_cache: bool = True
) -> Tensor:
    """Write the most probable symbol, again and again.

    Args:
        model: in evaluation mode.
        source: ``[B, S]``, padded.
        max_length: at most so many symbols, the end symbol included.
        use_cache: whether keys and values are kept; the result is the same.

    Returns:
        Symbols ``[B, T]``, padding after the end symbol.

    Raises:
        ValueError: if ``max_length`` is not positive or the model is in training mode.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    reader = Reader(model, source, use_cache)
    prefix = torch.full_like(source[:, :1], BEGIN)  # [B, 1]
    ended = torch.zeros_like(prefix, dtype=torch.bool)
    while prefix.shape[1] <= max_length and not ended.all():
        symbol = reader.next_logits(prefix).argmax(dim=-1, keepdim=True)  # [B, 1]
        symbol = symbol.masked_fill(ended, PAD)
        ended = ended | (symbol == END)
        prefix = torch.cat([prefix, symbol], dim=1)  # [B, T]
    return prefix[:, 1:]


def length_penalty(length: int, alpha: float) -> float:
    """What a hypothesis' log-probability is divided by: ``((5 + length) / 6) ** alpha``.

    Source: Wu et al. 2016, section 7, equation 14.
    """
    return ((5 + length) / 6) ** alpha


@torch.no_grad()
def beam_search(
    model: Transformer,
    source: Tensor,
    max_length: int,
    beam_size: int = 4,
    alpha: float = 0.6,
    use_cache: bool = True,
) -> tuple[Tensor, float]:
    """Keep the K best prefixes instead of one.

    Args:
        model: in evaluation mode.
        source: one source ``[1, S]``.
        max_length: at most so many symbols, the end symbol included.
        beam_size: K. With 1, and alpha 0, the result is the greedy one.
        alpha: of :func:`length_penalty`; 0 compares bare log-probabilities, which favours short
            hypotheses.
        use_cache: whether keys and values are kept; the result is the same.

    Returns:
        The symbols ``[1, T]`` of the best hypothesis, and its score: the log-probability divided
        by the penalty. If none ends within ``max_length``, the best unfinished one.

    Raises:
        ValueError: if there is more than one source, a number is out of range, or the model is in
            training mode.

    Source: Wu et al. 2016, section 7; Vaswani et al. 2017, section 6.1 (K = 4, alpha = 0.6).
    """
    if len(source) != 1:
        raise ValueError(f"one source is needed, got {len(source)}")
    vocab_size = model.config.vocab_size
    if min(max_length, beam_size) < 1 or alpha < 0:
        raise ValueError(
            "expected max_length >= 1, beam_size >= 1 and alpha >= 0, got "
            f"max_length={max_length}, beam_size={beam_size}, alpha={alpha}"
        )
    reader = Reader(model, source, use_cache)
    prefixes = torch.full((1, 1), BEGIN)  # [K, T], one row to begin with
    scores = torch.zeros(1)  # [K]
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, max_length + 1):
        steps = reader.next_logits(prefixes).log_softmax(dim=-1)  # [K, V]
        totals = (scores[:, None] + steps).flatten()  # [K·V]
        best, places = totals.topk(min(2 * beam_size, len(totals)))
        rows, symbols = places // vocab_size, places % vocab_size

        keep = []
        for number in range(len(best)):
            if symbols[number] != END:
                keep.append(number)
            elif number < beam_size:  # ended among the best K
                whole = torch.cat(
                    [prefixes[rows[number]], symbols[number : number + 1]]
                )
                score = best[number].item() / length_penalty(length, alpha)
                finished.append((score, whole))
        keep = torch.tensor(keep[:beam_size])
        scores, rows = best[keep], rows[keep]
        prefixes = torch.cat([prefixes[rows], symbols[keep, None]], dim=1)  # [K, T]
        reader.select(rows)
        # A longer hypothesis can only lose probability, and no penalty exceeds the last one.
        bound = scores.max().item() / length_penalty(max_length, alpha)
        if finished and max(score for score, _ in finished) >= bound:
            break
    if not finished:
        best = scores.max().item() / length_penalty(length, alpha)
        finished.append((best, prefixes[scores.argmax()]))
    score, whole = max(finished, key=lambda pair: pair[0])
    return whole[None, 1:], score
