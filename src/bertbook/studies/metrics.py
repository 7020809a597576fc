"""How good the guesses at masked pieces are.

N places   V vocabulary
"""

from torch import Tensor

__all__ = ["guess_scores"]


def guess_scores(scores: Tensor, wanted: Tensor) -> dict[str, float]:
    """Measure guesses at masked places.

    Args:
        scores: logits or log-probabilities of all pieces, ``[N, V]``.
        wanted: the pieces that stood there, ``[N]``.

    Returns:
        How many ``places``; ``cross_entropy`` in nats; the shares ``top_1`` and ``top_5`` whose
        piece is the best guess, or among the best five.
    """
    best = scores.topk(5, dim=-1).indices  # [N, 5]
    hits = best == wanted[:, None]
    loss = -scores.float().log_softmax(-1).gather(1, wanted[:, None]).mean()
    return {
        "places": len(wanted),
        "cross_entropy": round(loss.item(), 4),
        "top_1": round(hits[:, 0].double().mean().item(), 4),
        "top_5": round(hits.any(1).double().mean().item(), 4),
    }
