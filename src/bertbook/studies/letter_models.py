"""Small models of letters that differ in what is hidden, and what their states still hold.

Only the task changes: what the model reads, what it may look at, where it is asked. Encoder, text,
order of the text and initial weights are the same.

B batch   S length   D model width   V vocabulary   N positions
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import average_precision_score
from torch import Tensor

from bertbook.attention.scores import causal_mask
from bertbook.bert.model import BertConfig
from bertbook.corpora.letters import LETTER_PIECES, Windows
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, MaskingRule, PieceTable, mask_tokens

__all__ = [
    "STATES",
    "TABLE",
    "Task",
    "TaskBatch",
    "ask_at_one_place",
    "features",
    "letter_model",
    "make_batch",
    "neighbour_probes",
    "own_loss",
    "posterior_of_visible",
    "task_loss",
]

TABLE = PieceTable(LETTER_PIECES)
STATES = ("mask", "true", "random")


@dataclass(frozen=True)
class Task:
    """What a model is trained to do.

    Args:
        kind: ``"masked"`` by a rule; ``"both"``: nothing is hidden and every token is asked for;
            ``"causal"``: each token from those before it.
        rule: for ``"masked"``; ``None``: BERT's.
        static: whether a text is masked the same way each time.

    Raises:
        ValueError: if there is no such kind.
    """

    kind: str = "masked"
    rule: MaskingRule | None = None
    static: bool = False

    def __post_init__(self):
        if self.kind not in ("masked", "both", "causal"):
            raise ValueError(
                f"kind must be 'masked', 'both' or 'causal', got {self.kind!r}"
            )


class TaskBatch(NamedTuple):
    """Inputs, labels ``[B, S]``; which token may look at which, ``[1, S, S]`` or ``None``."""

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor | None


def letter_model(
    width: int = 64, layers: int = 2, heads: int = 4
) -> BertForPreTraining:
    """A BERT over letters, freshly initialised, without dropout.

    Matrices start wider than BERT's: at this width 0.02 leaves attention flat for long.
    """
    return BertForPreTraining(
        BertConfig(
            vocab_size=len(TABLE),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.08,
        )
    )


def make_batch(
    ids: Tensor, task: Task, seed: int, numbers: Tensor | None = None
) -> TaskBatch:
    """Make a task of windows.

    Args:
        ids: ``[B, S]``.
        task: what is to be learnt.
        seed: of the masks.
        numbers: ``[B]``, of the windows, by which a static task draws its masks.
    """
    if task.kind == "both":
        return TaskBatch(ids, ids.masked_fill(TABLE.special[ids], IGNORED), None)
    if task.kind == "causal":
        following = torch.cat([ids[:, 1:], ids[:, :1]], 1)  # [B, S]
        labels = following.masked_fill(TABLE.special[following], IGNORED)
        return TaskBatch(ids, labels, causal_mask(ids.shape[1])[None])
    if not task.static:
        generator = torch.Generator().manual_seed(seed)
        masked = mask_tokens(ids, TABLE, task.rule, generator=generator)
        return TaskBatch(masked.input_ids, masked.labels, None)
    rows = []
    for row, number in zip(ids, numbers.tolist(), strict=True):
        generator = torch.Generator().manual_seed(number)
        rows.append(mask_tokens(row[None], TABLE, task.rule, generator=generator))
    return TaskBatch(
        torch.cat([row.input_ids for row in rows]),
        torch.cat([row.labels for row in rows]),
        None,
    )


def task_loss(model: BertForPreTraining, batch: TaskBatch) -> Tensor:
    """Mean cross-entropy where the batch asks, in nats."""
    return model(batch.input_ids, batch.attention_mask, labels=batch.labels).loss


@torch.no_grad()
def own_loss(model: BertForPreTraining, ids: Tensor, task: Task) -> dict[str, float]:
    """Cross-entropy and accuracy of a task on windows ``[N, S]``, masks always the same."""
    batch = make_batch(ids, task, seed=0, numbers=torch.arange(len(ids)))
    output = model.eval()(batch.input_ids, batch.attention_mask, labels=batch.labels)
    truth = batch.labels[batch.labels != IGNORED]
    right = output.prediction_logits.argmax(-1) == truth
    return {
        "cross_entropy": round(output.loss.item(), 5),
        "accuracy": round(right.float().mean().item(), 5),
    }


@torch.no_grad()
def ask_at_one_place(
    model: BertForPreTraining, ids: Tensor, state: str, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Ask for one letter of each window, all others visible.

    Args:
        model: not a causal one.
        ids: ``[N, S]``.
        state: what stands at the place: ``"mask"``, the ``"true"`` letter, or a ``"random"`` other
            one, all equally likely.
        seed: of places and letters; the same places for all states.

    Returns:
        Probabilities of all pieces ``[N, V]``, the true letters ``[N]``, what stood there ``[N]``.

    Raises:
        ValueError: if there is no such state.
    """
    if state not in STATES:
        raise ValueError(f"state must be one of {STATES}, got {state!r}")
    generator = torch.Generator().manual_seed(seed)
    rows, letters = torch.arange(len(ids)), len(TABLE.ordinary)
    place = torch.randint(1, ids.shape[1] - 1, (len(ids),), generator=generator)
    step = torch.randint(1, letters, (len(ids),), generator=generator)
    first = int(TABLE.ordinary[0])
    truth = ids[rows, place]
    other = (truth - first + step) % letters + first
    stands = {
        "mask": torch.full_like(truth, TABLE.mask_id),
        "true": truth,
        "random": other,
    }[state]
    asked = ids.clone()
    asked[rows, place] = stands
    states = model.eval().bert(asked).last_hidden_state[rows, place]  # [N, D]
    return model.cls.predictions(states).softmax(-1), truth, stands


def posterior_of_visible(
    chance: Tensor, rule: MaskingRule, letters: int = len(TABLE.ordinary)
) -> Tensor:
    """How likely a *selected, visible* token is the true one, once its context has been read.

    Args:
        chance: probability that the context alone gives to the token that stands there.
        rule: its shares ``random`` and ``keep`` count, and one of them must be above 0.
        letters: V, how many pieces a random one is drawn from.

    Returns:
        p (k + r/V) / (k p + r/V), as large as ``chance``.

    Raises:
        ValueError: if the rule leaves no token visible.
    """
    if rule.random + rule.keep == 0:
        raise ValueError("random and keep are 0: no selected token stays visible")
    drawn = rule.random / letters
    return chance * (rule.keep + drawn) / (rule.keep * chance + drawn)


@torch.no_grad()
def features(
    model: BertForPreTraining, ids: Tensor, attention_mask: Tensor | None = None
) -> list[Tensor]:
    """States of the embeddings and of each layer, ``[N, S, D]`` each."""
    output = model.eval().bert(ids, attention_mask, output_hidden_states=True)
    return list(output.hidden_states)


def neighbour_probes(
    model: BertForPreTraining, train: Windows, test: Windows, causal: bool = False
) -> dict[str, dict[str, float]]:
    """What a linear reading of each layer finds at the places where text is visible.

    Linear discriminant analysis, on text of which nothing is hidden and, for ``name, masked``,
    learnt where 15 % of the letters are [MASK] and tested where none is.

    Args:
        model: its weights stay as they are.
        train: windows on which the readings are learnt.
        test: on which they are measured.
        causal: whether tokens look only back.

    Returns:
        For each layer, ``"layer 0"`` (embeddings) first: accuracy for the letter ``itself``,
        ``left`` and ``right`` of it; average precision for ``name``, and ``name, masked``.

    Source: Alain and Bengio 2017 (linear probes).
    """
    mask = causal_mask(train.ids.shape[1])[None] if causal else None
    learn, prove = (features(model, w.ids, mask) for w in (train, test))
    only_mask = MaskingRule(mask=1.0, random=0.0, keep=0.0)
    hidden = make_batch(train.ids, Task(rule=only_mask), seed=1)
    partly = features(model, hidden.input_ids, mask)
    seen = hidden.labels == IGNORED  # [N, S]
    inner = slice(2, -2)  # both neighbours are letters
    results: dict[str, dict[str, float]] = {}
    for layer, (fit, proof, fit_partly) in enumerate(
        zip(learn, prove, partly, strict=True)
    ):
        row: dict[str, float] = {}
        for name, shift in (("itself", 0), ("left", 1), ("right", -1)):
            targets = [w.ids.roll(shift, 1)[:, inner].flatten() for w in (train, test)]
            probe = LinearDiscriminantAnalysis().fit(
                fit[:, inner].flatten(0, 1), targets[0]
            )
            row[name] = probe.score(proof[:, inner].flatten(0, 1), targets[1])
        known, asked = train.names != IGNORED, test.names != IGNORED
        for name, states, chosen in (
            ("name", fit, known),
            ("name, masked", fit_partly, known & seen),
        ):
            probe = LinearDiscriminantAnalysis().fit(
                states[chosen], train.names[chosen]
            )
            scores = probe.decision_function(proof[asked])
            row[name] = average_precision_score(test.names[asked], scores)
        results[f"layer {layer}"] = {k: round(float(v), 5) for k, v in row.items()}
    return results
