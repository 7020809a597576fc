"""From examples to batches and back to a score, for the heads of ``bertbook.fine_tuning.heads``.

An example is an input and a target: a class, a class for each piece, or a first and a last piece.
Shapes, in the letters of the book: B batch, S length.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.shared.training import train
from bertbook.tokenizer.packing import Encoding, pad_batch
from bertbook.tokenizer.pieces import (
    IGNORED,
    best_spans,
    label_pieces,
    span_of_pieces,
)
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

__all__ = [
    "TaskData",
    "encode_names",
    "encode_sequences",
    "encode_spans",
    "fine_tune",
    "predict",
    "score",
    "score_spans",
]

FORMS = ("sequence", "token", "span")
ROUNDED = 8  # batches are padded to a multiple, so that few shapes occur


@dataclass(frozen=True)
class TaskData:
    """Examples of one task, ready to be batched.

    Attributes:
        form: ``"sequence"``, ``"token"`` or ``"span"``.
        encodings: the inputs.
        targets: to each input a class; a class (or ``IGNORED``) for each of its pieces; or the
            first and the last piece of the answer.
        pad_id: number of [PAD].

    Raises:
        ValueError: if there is no such form, no example, or not a target to each input.
    """

    form: str
    encodings: tuple[Encoding, ...]
    targets: tuple
    pad_id: int

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, got {self.form!r}")
        if not self.encodings or len(self.encodings) != len(self.targets):
            raise ValueError(
                f"expected a target to each of at least one input, got "
                f"{len(self.encodings)} inputs and {len(self.targets)} targets"
            )

    def __len__(self) -> int:
        return len(self.encodings)

    def take(self, numbers: Iterable[int]) -> "TaskData":
        """The examples with these numbers, in their order."""
        numbers = [int(n) for n in numbers]
        return TaskData(
            self.form,
            tuple(self.encodings[n] for n in numbers),
            tuple(self.targets[n] for n in numbers),
            self.pad_id,
        )

    def batch(self, numbers: Iterable[int]) -> tuple[dict[str, Tensor], dict]:
        """Pad examples to one length.

        Returns:
            Inputs ``[B, S]`` as :func:`bertbook.tokenizer.packing.pad_batch`, and the targets under
            the names that the head gives them.
        """
        numbers = [int(n) for n in numbers]
        encodings = [self.encodings[n] for n in numbers]
        targets = [self.targets[n] for n in numbers]
        length = -(-max(map(len, encodings)) // ROUNDED) * ROUNDED
        inputs = pad_batch(encodings, self.pad_id, pad_to=length)
        if self.form == "sequence":
            return inputs, {"labels": torch.tensor(targets)}
        if self.form == "token":
            rows = [row + [IGNORED] * (length - len(row)) for row in targets]
            return inputs, {"labels": torch.tensor(rows)}  # [B, S]
        starts, ends = torch.tensor(targets).unbind(1)  # [B] each
        return inputs, {"start_positions": starts, "end_positions": ends}


def encode_sequences(
    tokenizer: WordPieceTokenizer,
    texts: Sequence[str],
    labels: Sequence[int],
    pairs: Sequence[str] | None = None,
    max_length: int = 64,
) -> TaskData:
    """Texts, or pairs of texts, with a class each; longer inputs lose pieces at the end.

    Args:
        tokenizer: the encoder's own.
        texts: the first texts.
        labels: a class for each.
        pairs: the second texts, or ``None``.
        max_length: the most pieces, special tokens included; here and below.

    Raises:
        ValueError: if there is not a label, or not a pair, to each text.
    """
    for name, given in {"labels": labels, "pairs": pairs}.items():
        if given is not None and len(given) != len(texts):
            raise ValueError(f"{len(texts)} texts and {len(given)} {name}")
    encodings = tuple(
        tokenizer.encode(text, pair, max_length=max_length, truncation="longest_first")
        for text, pair in zip(texts, pairs or [None] * len(texts), strict=True)
    )
    return TaskData("sequence", encodings, tuple(labels), tokenizer.pad_id)


def encode_names(
    tokenizer: WordPieceTokenizer, examples: Sequence, max_length: int = 64
) -> TaskData:
    """Sentences with a label for each word: ``bertbook.corpora.tasks.NamesExample``.

    A word that is cut off loses its label.
    """
    encodings = tuple(
        tokenizer.encode(e.text, max_length=max_length, truncation="longest_first")
        for e in examples
    )
    targets = tuple(
        label_pieces(encoding, e.words, e.labels)
        for encoding, e in zip(encodings, examples, strict=True)
    )
    return TaskData("token", encodings, targets, tokenizer.pad_id)


def encode_spans(
    tokenizer: WordPieceTokenizer, examples: Sequence, max_length: int = 128
) -> TaskData:
    """Questions with passages: ``bertbook.corpora.tasks.SpanExample``.

    Left out are examples that do not fit: nothing is cut, since the answer might be.

    Raises:
        ValueError: if an answer has no piece, such as a space.
    """
    encodings, targets = [], []
    for example in examples:
        encoding = tokenizer.encode(example.question, example.passage)
        if len(encoding) <= max_length:
            span = span_of_pieces(encoding, example.start, example.end)
            if span is None:
                answer = example.passage[example.start : example.end]
                raise ValueError(f"no piece of the passage holds the answer {answer!r}")
            encodings.append(encoding)
            targets.append(span)
    return TaskData("span", tuple(encodings), tuple(targets), tokenizer.pad_id)


def batches_of(
    data: TaskData, batch_size: int, seed: int
) -> tuple[int, Callable[[int], list[int]]]:
    """Which examples each step sees: a new order every epoch, alike lengths side by side.

    Returns:
        Steps of an epoch, and a pure function from the step to its numbers. No example of an
        epoch is left out; the last batch may be smaller.
    """
    if not 1 <= batch_size <= len(data):
        raise ValueError(f"batch_size must lie in 1..{len(data)}, got {batch_size}")
    per_epoch = -(-len(data) // batch_size)
    window = 16 * batch_size

    @lru_cache(maxsize=1)
    def epoch(number: int) -> list[list[int]]:
        draw = torch.Generator().manual_seed(seed * 1_000_003 + number)
        order = torch.randperm(len(data), generator=draw).tolist()
        chunks = [order[i : i + window] for i in range(0, len(order), window)]
        for chunk in chunks:
            chunk.sort(key=lambda n: len(data.encodings[n]))
        order = [n for chunk in chunks for n in chunk]
        found = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        return [found[i] for i in torch.randperm(len(found), generator=draw).tolist()]

    return per_epoch, lambda step: epoch(step // per_epoch)[step % per_epoch]


def fine_tune(
    model: nn.Module,
    data: TaskData,
    *,
    epochs: int,
    batch_size: int = 16,
    learning_rate: float = 2e-4,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    seed: int = 0,
    mixed_precision: bool = False,
    progress: str | None = None,
) -> list[float]:
    """Train all of a model that is not frozen, as the paper does: AdamW, warm-up, linear decay.

    Args:
        model: one of ``bertbook.fine_tuning.heads``, with the head that the data's form needs.
        data: what to train on.
        epochs: how often each example is seen.
        batch_size: examples a step, at most as many as there are.
        learning_rate: at its peak.
        warmup: share of the steps until the peak.
        weight_decay: of matrices and tables.
        seed: of order and dropout; the head was drawn before.
        mixed_precision: whether matrices are multiplied in bfloat16.
        progress: label of a progress bar, or ``None``.

    Returns:
        The loss of every step. The model is left in evaluation mode.

    Raises:
        ValueError: if a number is out of range.

    Source: Devlin et al. 2019, appendix A.3.
    """
    if epochs < 1 or not 0 <= warmup < 1:
        raise ValueError(f"need epochs >= 1, 0 <= warmup < 1, got {epochs}, {warmup}")
    per_epoch, numbers = batches_of(data, batch_size, seed)
    steps = epochs * per_epoch

    def loss(model: nn.Module, batch: tuple[dict, dict]) -> Tensor:
        inputs, targets = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision):
            return model(**inputs, **targets).loss

    losses = train(
        model,
        lambda step: data.batch(numbers(step)),
        loss,
        steps=steps,
        learning_rate=learning_rate,
        schedule=warmup_and_linear_decay(int(warmup * steps), steps),
        weight_decay=weight_decay,
        decays=decays,
        seed=seed,
        progress=progress,
    )
    model.eval()
    return losses


@torch.no_grad()
def predict(model: nn.Module, data: TaskData, batch_size: int = 50) -> list:
    """What a model says of every example: a class, a class for each piece, or a span.

    Args:
        model: in evaluation mode.
        data: the examples; the targets are not read.
        batch_size: examples at a time; they go by length, which changes no answer.

    Returns:
        Answers in the form and order of ``data.targets``.

    Raises:
        ValueError: if the model is in training mode.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() first")
    order = sorted(range(len(data)), key=lambda n: len(data.encodings[n]))
    answers: list = [None] * len(data)
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        inputs, _ = data.batch(numbers)
        output = model(**inputs)
        if data.form == "span":
            passage = inputs["token_type_ids"].bool()
            passage &= inputs["input_ids"] != inputs["input_ids"][
                torch.arange(len(numbers)), inputs["attention_mask"].sum(1) - 1
            ].unsqueeze(1)  # [B, S], without the last [SEP]
            found = best_spans(output.start_logits, output.end_logits, passage)
            found = [tuple(row) for row in found.tolist()]
        else:
            found = output.logits.argmax(-1).tolist()
        for number, answer in zip(numbers, found, strict=True):
            length = len(data.encodings[number])
            answers[number] = answer[:length] if data.form == "token" else answer
    return answers


def score(data: TaskData, answers: Sequence) -> dict[str, float]:
    """Compare answers with the targets by the metric of the form.

    Args:
        data: the examples.
        answers: from :func:`predict`, or a baseline's.

    Returns:
        ``accuracy`` of classes; ``precision``, ``recall`` and ``f1`` of class 1 among the pieces
        that count; of spans see :func:`score_spans`. Shares, from 0 to 1.

    Raises:
        ValueError: if there is not an answer to each example.
    """
    if len(answers) != len(data):
        raise ValueError(f"{len(data)} examples and {len(answers)} answers")
    both = list(zip(data.targets, answers, strict=True))
    if data.form == "sequence":
        return {"accuracy": sum(t == a for t, a in both) / len(both)}
    if data.form == "span":
        return score_spans(data.targets, answers)
    pieces = [
        (t, a)
        for row, given in both
        for t, a in zip(row, given, strict=True)
        if t != IGNORED
    ]
    precision, recall, f1, _ = precision_recall_fscore_support(
        *zip(*pieces, strict=True), labels=[1], average="micro", zero_division=0.0
    )
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


def score_spans(
    targets: Sequence[tuple[int, int]], answers: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """``exact_match``: the share of spans right at both ends; ``f1``: mean overlap in pieces.

    The overlap of two spans is twice their common pieces over all pieces of both.
    """
    exact, overlap = 0, 0.0
    for (start, end), (first, last) in zip(targets, answers, strict=True):
        exact += (start, end) == (first, last)
        common = max(0, min(end, last) - max(start, first) + 1)
        overlap += 2 * common / (end - start + 1 + last - first + 1)
    return {"exact_match": exact / len(targets), "f1": overlap / len(targets)}
