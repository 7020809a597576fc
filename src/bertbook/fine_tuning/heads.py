"""Fine-tuning: one encoder, and a head of a few lines for each of the paper's four forms of task.

One sentence and a pair are read off [CLS], names off every piece, an answer off two scores a piece.
Parameters have Hugging Face's names. Shapes, in the letters of the book:

    B batch   S length   D model width   L layers   K classes
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import FromPretrained, initialise
from bertbook.bert.model import BertModel, BertModelOutput
from bertbook.tokenizer.pieces import IGNORED

__all__ = [
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "HeadOutput",
    "SpanOutput",
    "freeze",
    "layer_features",
]


class HeadOutput(NamedTuple):
    """What a classifier yields.

    Attributes:
        loss: mean cross-entropy over the labels that count, in nats; ``None`` without labels.
        logits: ``[B, K]`` of a sequence, ``[B, S, K]`` of its pieces.
        encoder: the encoder's output.
    """

    loss: Tensor | None
    logits: Tensor
    encoder: BertModelOutput


class SpanOutput(NamedTuple):
    """What the span head yields.

    Attributes:
        loss: mean of the cross-entropies of start and end, in nats; ``None`` without positions.
        start_logits: ``[B, S]``.
        end_logits: ``[B, S]``.
        encoder: the encoder's output.
    """

    loss: Tensor | None
    start_logits: Tensor
    end_logits: Tensor
    encoder: BertModelOutput


class BertWithHead(FromPretrained, nn.Module):
    """An encoder, and a linear map that is called differently in each task.

    Args:
        config: the sizes.
        head: name of the linear map.
        outputs: numbers that it yields for a vector.
        add_pooling_layer: whether the encoder has a pooler.
    """

    prefix = "bert."  # a checkpoint may be of the encoder alone

    def __init__(
        self, config: BertConfig, head: str, outputs: int, add_pooling_layer: bool
    ):
        super().__init__()
        if type(outputs) is not int or outputs < 1:
            raise ValueError(f"num_labels must be a positive integer, got {outputs!r}")
        self.config = config
        self.bert = BertModel(config, add_pooling_layer=add_pooling_layer)
        setattr(self, head, nn.Linear(config.hidden_size, outputs))
        initialise(getattr(self, head), config.initializer_range)


class BertForSequenceClassification(BertWithHead):
    """One class for a sentence or a pair: dropout and a linear map on the pooled [CLS].

    Args:
        config: the sizes.
        num_labels: K.

    Source: Devlin et al. 2019, section 4.1 and figure 4 (a, b).
    """

    def __init__(self, config: BertConfig, num_labels: int = 2):
        super().__init__(config, "classifier", num_labels, add_pooling_layer=True)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, *inputs, labels: Tensor | None = None, **options) -> HeadOutput:
        """Read a batch.

        Args:
            inputs: those of :meth:`bertbook.bert.model.BertModel.forward`.
            labels: ``[B]``, numbers of classes, or ``None``.
            options: more of them.

        Raises:
            TypeError: as the encoder, or if labels are not ``torch.long``.
            ValueError: as the encoder, or if labels have another shape or there is no such class.
        """
        output = self.bert(*inputs, **options)
        logits = self.classifier(self.dropout(output.pooler_output))  # [B, K]
        if labels is None:
            return HeadOutput(None, logits, output)
        _check("labels", labels, logits.shape[:1], logits.shape[-1])
        return HeadOutput(F.cross_entropy(logits, labels), logits, output)


class BertForTokenClassification(BertWithHead):
    """A class for every piece: dropout and a linear map on its last state.

    Args:
        config: the sizes.
        num_labels: K.

    Source: Devlin et al. 2019, section 5.3 and figure 4 (d).
    """

    def __init__(self, config: BertConfig, num_labels: int = 2):
        super().__init__(config, "classifier", num_labels, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, *inputs, labels: Tensor | None = None, **options) -> HeadOutput:
        """Read a batch.

        Args:
            inputs: those of :meth:`bertbook.bert.model.BertModel.forward`.
            labels: ``[B, S]``, numbers of classes or ``bertbook.tokenizer.pieces.IGNORED``, or
            ``None``.
            options: more of them.

        Raises:
            TypeError: as the encoder, or if labels are not ``torch.long``.
            ValueError: as the encoder, or if labels have another shape, there is no such class, or
                all are ignored.
        """
        output = self.bert(*inputs, **options)
        logits = self.classifier(self.dropout(output.last_hidden_state))  # [B, S, K]
        if labels is None:
            return HeadOutput(None, logits, output)
        counted = labels[labels != IGNORED]
        _check("labels", counted, counted.shape, logits.shape[-1])
        if labels.shape != logits.shape[:2] or not len(counted):
            raise ValueError(
                f"labels must have shape {list(logits.shape[:2])} and not all be {IGNORED}, got "
                f"{len(counted)} others in {list(labels.shape)}"
            )
        loss = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        return HeadOutput(loss, logits, output)


class BertForQuestionAnswering(BertWithHead):
    """Where an answer starts and ends: two scores for every piece.

    Args:
        config: the sizes.

    Source: Devlin et al. 2019, section 4.2 and figure 4 (c).
    """

    def __init__(self, config: BertConfig):
        super().__init__(config, "qa_outputs", 2, add_pooling_layer=False)

    def forward(
        self,
        *inputs,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **options,
    ) -> SpanOutput:
        """Read a batch of questions with their passages.

        Args:
            inputs: those of :meth:`bertbook.bert.model.BertModel.forward`.
            start_positions: ``[B]``, the answer's first piece, or ``None``.
            end_positions: ``[B]``, its last piece, or ``None``.
            options: more of the inputs.

        Raises:
            TypeError: as the encoder, or if positions are not ``torch.long``.
            ValueError: as the encoder, or if positions have another shape, lie outside the input or
                only one of the two is given.
        """
        output = self.bert(*inputs, **options)
        start, end = self.qa_outputs(output.last_hidden_state).unbind(-1)  # [B, S] each
        if start_positions is None and end_positions is None:
            return SpanOutput(None, start, end, output)
        if start_positions is None or end_positions is None:
            raise ValueError("start_positions and end_positions must be given together")
        _check("start_positions", start_positions, start.shape[:1], start.shape[1])
        _check("end_positions", end_positions, end.shape[:1], end.shape[1])
        loss = F.cross_entropy(start, start_positions)
        loss = (loss + F.cross_entropy(end, end_positions)) / 2
        return SpanOutput(loss, start, end, output)


def _check(name: str, numbers: Tensor, shape: Sequence[int], count: int) -> None:
    if numbers.dtype != torch.long:
        raise TypeError(f"{name} must be torch.long, got {numbers.dtype}")
    if numbers.shape != shape:
        raise ValueError(
            f"{name} must have shape {list(shape)}, got {list(numbers.shape)}"
        )
    if numbers.numel() and not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(
            f"{name} must lie in 0..{count - 1}, got {numbers.min()}..{numbers.max()}"
        )


def freeze(model: BertWithHead, layers: int | None = None) -> None:
    """Keep the encoder's lower part as it is; what lies above, and the head, is trained.

    Frozen dropout would still be drawn: features come out of a model in evaluation mode.

    Args:
        model: one of this module's.
        layers: how many layers from below, together with the embeddings; 0: the embeddings alone;
            ``None``: the whole encoder with its pooler.

    Raises:
        ValueError: if there are not so many layers.
    """
    stack = model.bert.encoder.layer
    if layers is not None and not 0 <= layers <= len(stack):
        raise ValueError(f"layers must lie in 0..{len(stack)} or be None, got {layers}")
    model.requires_grad_(True)
    frozen = (
        [model.bert] if layers is None else [model.bert.embeddings, *stack[:layers]]
    )
    for module in frozen:
        module.requires_grad_(False)


@torch.no_grad()
def layer_features(model: BertModel, *inputs, **options) -> Tensor:
    """What each layer says of every piece, for a classifier that leaves the encoder alone.

    Args:
        model: an encoder, in evaluation mode.
        inputs: those of :meth:`bertbook.bert.model.BertModel.forward`.
        options: more of them.

    Returns:
        ``[L + 1, B, S, D]``: the embeddings, then each layer's output.

    Raises:
        ValueError: if the model is in training mode, where dropout makes every call different.

    Source: Devlin et al. 2019, section 5.3.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() first")
    output = model(*inputs, **options, output_hidden_states=True)
    return torch.stack(output.hidden_states)  # [L + 1, B, S, D]
