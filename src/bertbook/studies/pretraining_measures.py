"""How well a pre-trained model fills in [MASK] and tells next sentences, and what counting can do.

B batch   S length   N places   V vocabulary
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, PieceTable
from bertbook.pretraining.sentence_pairs import SentencePair, collate
from bertbook.studies.metrics import guess_scores
from bertbook.studies.mlm_baselines import NeighbourModel

__all__ = [
    "masked_places",
    "measure_counts",
    "measure_model",
    "measure_next_sentence",
    "measure_overlap",
]


def masked_places(batch: dict, table: PieceTable) -> Tensor:
    """Where [MASK] stands, ``[B, S]``: there no model sees what it is asked for."""
    return (batch["labels"] != IGNORED) & (batch["input_ids"] == table.mask_id)


@torch.no_grad()
def measure_model(model, batches: list[dict], table: PieceTable) -> dict[str, float]:
    """Cross-entropy in nats and shares of right guesses where [MASK] stands."""
    model.eval()
    logits, wanted = [], []
    for batch in batches:
        chosen = batch["labels"] != IGNORED
        scores = model(**batch).prediction_logits.float()  # [N, V]
        hidden = masked_places(batch, table)[chosen]
        logits.append(scores[hidden])
        wanted.append(batch["labels"][chosen][hidden])
    return guess_scores(torch.cat(logits), torch.cat(wanted))


def measure_counts(
    model: NeighbourModel, batches: list[dict], table: PieceTable
) -> dict[str, float]:
    """The same for counted neighbours."""
    chances, wanted = [], []
    for batch in batches:
        for row, place in masked_places(batch, table).nonzero().tolist():
            ids = batch["input_ids"][row]
            chances.append(
                torch.from_numpy(model.predict(ids, place, table.special)).float()
            )
            wanted.append(batch["labels"][row, place])
    return guess_scores(torch.stack(chances).log(), torch.stack(wanted))


@torch.no_grad()
def measure_next_sentence(
    model: BertForPreTraining, pairs: Sequence[SentencePair], table: PieceTable
) -> dict[str, float]:
    """Verdicts on pairs: how many are right of all, and of each class."""
    verdicts, generator = [], torch.Generator().manual_seed(9)
    for start in range(0, len(pairs), 50):
        batch = collate(pairs[start : start + 50], table, generator=generator)
        # Nothing is masked: as a reader would ask.
        whole = batch["input_ids"].where(batch["labels"] == IGNORED, batch["labels"])
        whole = {"input_ids": whole, "labels": None, "next_sentence_label": None}
        verdicts.append(model(**{**batch, **whole}).seq_relationship_logits.argmax(-1))
    truth = torch.tensor([pair.next_sentence_label for pair in pairs])
    right = (torch.cat(verdicts) == truth).double()
    return {
        "pairs": len(pairs),
        "accuracy": round(right.mean().item(), 4),
        "followed": round(right[truth == 0].mean().item(), 4),
        "not_followed": round(right[truth == 1].mean().item(), 4),
    }


def measure_overlap(
    known: Sequence[SentencePair], pairs: Sequence[SentencePair]
) -> dict[str, float]:
    """Next sentence by common pieces alone; the threshold is the best one of known pairs."""
    (values, follows), (asked, truth) = (_overlaps(some) for some in (known, pairs))
    cuts = values.unique()
    right = ((values >= cuts[:, None]) == follows).double().mean(1)
    said = asked >= cuts[right.argmax()]
    accuracy = (said == truth).double().mean().item()
    return {"pairs": len(pairs), "accuracy": round(accuracy, 4)}


def _overlaps(pairs: Sequence[SentencePair]) -> tuple[Tensor, Tensor]:
    """The share of the shorter segment's pieces that the other one has; whether it followed."""
    pieces = [(set(pair.first), set(pair.second)) for pair in pairs]
    shares = [len(a & b) / min(len(a), len(b)) for a, b in pieces]
    follows = [pair.next_sentence_label == 0 for pair in pairs]
    return torch.tensor(shares), torch.tensor(follows)
