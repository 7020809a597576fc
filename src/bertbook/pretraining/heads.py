"""BERT with the two heads of pre-training.

Parameters are named as in Hugging Face's state dict. B batch   S length   D model width
V vocabulary   N selected positions of the whole batch
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import FromPretrained, initialise
from bertbook.bert.model import BertModel
from bertbook.pretraining.masking import IGNORED

__all__ = [
    "BertForPreTraining",
    "BertLMPredictionHead",
    "BertPreTrainingHeads",
    "BertPreTrainingOutput",
    "BertPredictionHeadTransform",
    "TiedToEmbeddings",
]


class BertPredictionHeadTransform(nn.Module):
    """Linear map from D to D, GELU, LayerNorm: from a state to a kind of word vector."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states: Tensor) -> Tensor:
        """From ``[..., D]`` to ``[..., D]``."""
        return self.LayerNorm(F.gelu(self.dense(states)))


class BertLMPredictionHead(nn.Module):
    """Scores of all pieces: the transformed state times each word vector, plus a bias.

    Args:
        config: the sizes.

    The decoder has its own matrix until :meth:`tie` replaces it by the table of word embeddings.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = self.decoder.bias  # the same bias has two names in checkpoints

    def tie(self, word_embeddings: nn.Parameter) -> None:
        """Use the table ``[V, D]`` as the decoder's matrix; both names of the bias share it."""
        self.decoder.weight = word_embeddings
        self.decoder.bias = self.bias

    def forward(self, states: Tensor) -> Tensor:
        """From ``[..., D]`` to ``[..., V]``."""
        return self.decoder(self.transform(states))


class BertPreTrainingHeads(nn.Module):
    """The head over the vocabulary and the head of next-sentence prediction."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.predictions = BertLMPredictionHead(config)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)

    def forward(self, states: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """From states ``[..., D]`` and the pooler's ``[B, D]`` to ``[..., V]`` and ``[B, 2]``."""
        return self.predictions(states), self.seq_relationship(pooled)


class BertPreTrainingOutput(NamedTuple):
    """The output of one forward pass; what was not asked for is ``None``.

    Attributes:
        loss: the sum of the losses there are labels for, a scalar.
        masked_lm_loss: cross-entropy at the selected positions, their mean in nats.
        next_sentence_loss: cross-entropy of the next-sentence labels, their mean in nats.
        prediction_logits: scores of the pieces. With labels ``[N, V]``, only at the selected
            positions, in reading order, row by row; without, ``[B, S, V]``.
        seq_relationship_logits: ``[B, 2]``: "B follows A", "B does not".
        hidden_states: as :class:`bertbook.bert.model.BertModelOutput`.
        attentions: as :class:`bertbook.bert.model.BertModelOutput`.
    """

    loss: Tensor | None
    masked_lm_loss: Tensor | None
    next_sentence_loss: Tensor | None
    prediction_logits: Tensor
    seq_relationship_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class TiedToEmbeddings(FromPretrained, nn.Module):
    """Base of models whose head over the vocabulary (``cls.predictions``) uses the embedding table.

    Source: Press and Wolf 2017.
    """

    def tie_weights(self) -> None:
        """Make the decoder's matrix the table of word embeddings, one parameter."""
        self.cls.predictions.tie(self.bert.embeddings.word_embeddings.weight)

    def _apply(self, fn, recurse=True):
        # PyTorch replaces the parameters one by one when a model leaves the meta device.
        super()._apply(fn, recurse)
        self.tie_weights()
        return self


class BertForPreTraining(TiedToEmbeddings):
    """BERT that predicts masked pieces and whether segment B follows A.

    Args:
        config: the sizes.

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.cls = BertPreTrainingHeads(config)
        initialise(self.cls, config.initializer_range)
        self.tie_weights()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertPreTrainingOutput:
        """Predict pieces and sentence order; with labels, compute the loss.

        The head over the vocabulary costs as much as several layers, so with labels it is applied
        only at the selected positions. The gradients are the same as if it was applied everywhere.

        Args:
            input_ids: this and the next three as :meth:`bertbook.bert.model.BertModel.forward`.
            attention_mask: see there.
            token_type_ids: see there.
            position_ids: see there.
            labels: ``[B, S]``, the number of the piece to predict, or
                :data:`bertbook.pretraining.masking.IGNORED`.
            next_sentence_label: ``[B]``: 0 if B follows A, else 1.
            output_hidden_states: as :meth:`bertbook.bert.model.BertModel.forward`.
            output_attentions: as :meth:`bertbook.bert.model.BertModel.forward`.

        Raises:
            TypeError: if labels are not ``torch.long``; else as the encoder.
            ValueError: if labels are of another shape, out of range, or select nothing, or as the
                encoder.
        """
        vocabulary = self.config.vocab_size
        if labels is not None:
            _check_labels("labels", labels, input_ids.shape, vocabulary, IGNORED)
        if next_sentence_label is not None:
            shape = input_ids.shape[:1]
            _check_labels("next_sentence_label", next_sentence_label, shape, 2)
        encoded = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        states = encoded.last_hidden_state  # [B, S, D]
        if labels is not None:
            selected = (labels != IGNORED).flatten().nonzero()[:, 0]  # [N]
            states = states.flatten(0, 1)[selected]  # [N, D]
        pieces, follows = self.cls(
            states, encoded.pooler_output
        )  # [N or B, S, V], [B, 2]

        masked_lm_loss = next_sentence_loss = None
        if labels is not None:
            masked_lm_loss = F.cross_entropy(pieces, labels.flatten()[selected])
        if next_sentence_label is not None:
            next_sentence_loss = F.cross_entropy(follows, next_sentence_label)
        losses = [x for x in (masked_lm_loss, next_sentence_loss) if x is not None]
        return BertPreTrainingOutput(
            sum(losses) if losses else None,
            masked_lm_loss,
            next_sentence_loss,
            pieces,
            follows,
            encoded.hidden_states,
            encoded.attentions,
        )


def _check_labels(
    name: str,
    labels: Tensor,
    shape: torch.Size,
    classes: int,
    ignored: int | None = None,
) -> None:
    if torch.compiler.is_compiling():
        return
    if labels.shape != shape:
        raise ValueError(
            f"{name} must have shape {list(shape)}, got {list(labels.shape)}"
        )
    if labels.dtype != torch.long:
        raise TypeError(f"{name} must hold torch.long numbers, got {labels.dtype}")
    counted = labels if ignored is None else labels[labels != ignored]
    if not counted.numel():
        why = "there are none" if ignored is None else f"all are {ignored}"
        raise ValueError(f"{name} select no position: {why}")
    if counted.min() < 0 or counted.max() >= classes:
        also = "" if ignored is None else f" or {ignored}"
        raise ValueError(
            f"{name} must hold numbers in 0..{classes - 1}{also}, got "
            f"{counted.min().item()}..{counted.max().item()}"
        )
