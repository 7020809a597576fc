"""How far fine-tuning moved each layer: its weights, its states, its attention."""

import torch

from bertbook.bert.model import BertModel
from bertbook.fine_tuning.task_data import TaskData

__all__ = ["layer_changes", "weight_changes"]


def weight_changes(before: BertModel, after: BertModel) -> dict[str, float]:
    """Length of the difference of all weights of a part over their length before.

    Args:
        before: an encoder.
        after: the same one, trained further.

    Returns:
        ``embeddings``, ``layer 1``, …, ``layer L`` and, if there is one, ``pooler``.
    """
    parts = {"embeddings": "embeddings."}
    for number in range(len(before.encoder.layer)):
        parts[f"layer {number + 1}"] = f"encoder.layer.{number}."
    if before.pooler is not None:
        parts["pooler"] = "pooler."
    old, new = before.state_dict(), after.state_dict()
    changes = {}
    for name, beginning in parts.items():
        names = [n for n in old if n.startswith(beginning)]
        moved = sum((new[n] - old[n]).double().square().sum() for n in names)
        length = sum(old[n].double().square().sum() for n in names)
        changes[name] = round((moved / length).sqrt().item(), 5)
    return changes


@torch.no_grad()
def layer_changes(before: BertModel, after: BertModel, data: TaskData) -> dict:
    """What changed in each layer, on real texts; padding is left out.

    Args:
        before: an encoder, in evaluation mode; so must the other be.
        after: the same one, trained further.
        data: the texts.

    Returns:
        ``weights``: see :func:`weight_changes`. ``states`` and ``cls``: for the embeddings and each
        layer, one minus the mean cosine of a state before and after, of all pieces and of [CLS].
        ``attention``: for each layer the mean over heads and pieces of the total variation, half
        the sum of absolute differences: the share of the weight that went elsewhere.
        ``cls_attention``: the same of [CLS] alone.

    Raises:
        ValueError: if a model is in training mode.
    """
    if before.training or after.training:
        raise ValueError("a model is in training mode; call eval() first")
    totals: dict[str, torch.Tensor] = {}
    counts = {"pieces": 0, "texts": 0}
    for start in range(0, len(data), 50):
        inputs, _ = data.batch(range(start, min(start + 50, len(data))))
        wanted = {"output_hidden_states": True, "output_attentions": True}
        old, new = before(**inputs, **wanted), after(**inputs, **wanted)
        real = inputs["attention_mask"].bool()  # [B, S]
        cosine = torch.cosine_similarity(
            torch.stack(old.hidden_states), torch.stack(new.hidden_states), dim=-1
        )  # [L + 1, B, S]
        moved = torch.stack(old.attentions) - torch.stack(new.attentions)
        moved = moved.abs().sum(-1).mean(2) / 2  # [L, B, S]
        found = {
            "states": (1 - cosine)[:, real].sum(1),
            "cls": (1 - cosine)[:, :, 0].sum(1),
            "attention": moved[:, real].sum(1),
            "cls_attention": moved[:, :, 0].sum(1),
        }
        for name, total in found.items():
            totals[name] = totals.get(name, 0) + total.double()
        counts["pieces"] += int(real.sum())
        counts["texts"] += len(real)
    changes: dict = {"weights": weight_changes(before, after)}
    for name, total in totals.items():
        count = counts["texts" if name.startswith("cls") else "pieces"]
        changes[name] = [round(value, 5) for value in (total / count).tolist()]
    return changes
