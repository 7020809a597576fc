"""BERT: the Transformer's encoder over tokens, positions and segments, with Hugging Face's names.

Every parameter is called as in Hugging Face's state dict, so real weights load as they are: see
:meth:`BertModel.from_pretrained`. Every class takes its sizes from a :class:`BertConfig`. Shapes:

    B batch   S length   D model width   F inner width   H heads   Dh = D / H   L layers
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.attention.multi_head import merge_heads, mix_values, split_heads
from bertbook.bert.config import BertConfig, parameter_table
from bertbook.bert.inputs import check_numbers, mask_of_keys
from bertbook.bert.loading import FromPretrained, initialise

__all__ = [
    "BertAttention",
    "BertConfig",
    "BertEmbeddings",
    "BertEncoder",
    "BertIntermediate",
    "BertLayer",
    "BertModel",
    "BertModelOutput",
    "BertOutput",
    "BertPooler",
    "BertSelfAttention",
    "BertSelfOutput",
    "parameter_table",
]


class BertEmbeddings(nn.Module):
    """The sum of a token's, a segment's and a position's vector, then LayerNorm and dropout.

    Source: Devlin et al. 2019, section 3 and figure 2.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config, width = config, config.hidden_size
        self.word_embeddings = nn.Embedding(
            config.vocab_size, width, padding_idx=config.pad_token_id
        )
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Vectors ``[B, S, D]``; the arguments are those of :meth:`BertModel.forward`."""
        check_numbers(self.config, input_ids, token_type_ids, position_ids)
        types = self.token_type_embeddings.weight[0]  # [D]
        if token_type_ids is not None:
            types = self.token_type_embeddings(token_type_ids)  # [B, S, D]
        positions = self.position_embeddings.weight[: input_ids.shape[1]]  # [S, D]
        if position_ids is not None:
            positions = self.position_embeddings(position_ids)  # [B, S, D]
        vectors = self.word_embeddings(input_ids) + types + positions  # [B, S, D]
        return self.dropout(self.LayerNorm(vectors))


class BertSelfAttention(nn.Module):
    """Multi-head self-attention up to the concatenated heads.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, states, attention_mask=None, head_mask=None, output_attentions=False
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token gather from the tokens that the mask allows.

        Args:
            states: ``[B, S, D]``.
            attention_mask: boolean ``[B, 1, 1 or S, S]``, ``True`` = may look, or ``None``.
            head_mask: a factor on the output of each head, ``[H]``, or ``None``.
            output_attentions: whether the weights are returned.

        Returns:
            Context ``[B, S, D]``, and the weights ``[B, H, S, S]`` as they were used, or ``None``.
        """
        query = split_heads(self.query(states), self.num_heads)  # [B, H, S, Dh]
        key = split_heads(self.key(states), self.num_heads)  # [B, H, S, Dh]
        value = split_heads(self.value(states), self.num_heads)  # [B, H, S, Dh]
        dropout = self.dropout.p if self.training else 0.0
        context, weights = mix_values(
            query, key, value, attention_mask, dropout, output_attentions
        )  # [B, H, S, Dh], [B, H, S, S]
        if head_mask is not None:
            context = context * head_mask[:, None, None]  # [B, H, S, Dh]
        return merge_heads(context), weights


class BertSelfOutput(nn.Module):
    """The end of both halves of a layer: a linear map, dropout, the residual sum, LayerNorm.

    Args:
        config: the sizes.
        inner: width of what comes in; ``None`` means D.
    """

    def __init__(self, config: BertConfig, inner: int | None = None):
        super().__init__()
        self.dense = nn.Linear(inner or config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, update: Tensor, states: Tensor) -> Tensor:
        """From ``[B, S, inner]``, and ``[B, S, D]`` to be added to, to ``[B, S, D]``."""
        return self.LayerNorm(states + self.dropout(self.dense(update)))


class BertAttention(nn.Module):
    """First half of a layer: self-attention, the heads joined, added and normalised."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertSelfOutput(config)

    def forward(
        self, states, attention_mask=None, head_mask=None, output_attentions=False
    ) -> tuple[Tensor, Tensor | None]:
        """As :class:`BertSelfAttention`, to new states ``[B, S, D]`` and the weights."""
        context, weights = self.self(
            states, attention_mask, head_mask, output_attentions
        )
        return self.output(context, states), weights


class BertIntermediate(nn.Module):
    """From D to F, and GELU: x times the probability that a normal number is below x.

    Source: Hendrycks and Gimpel 2016.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, states: Tensor) -> Tensor:
        """From ``[B, S, D]`` to ``[B, S, F]``."""
        return F.gelu(self.dense(states))


class BertOutput(BertSelfOutput):
    """From F back to D, added and normalised."""

    def __init__(self, config: BertConfig):
        super().__init__(config, config.intermediate_size)


class BertLayer(nn.Module):
    """Self-attention, then the feed-forward network, each post-LN."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(
        self, states, attention_mask=None, head_mask=None, output_attentions=False
    ) -> tuple[Tensor, Tensor | None]:
        """As :class:`BertSelfAttention`, to new states ``[B, S, D]`` and the weights."""
        states, weights = self.attention(
            states, attention_mask, head_mask, output_attentions
        )
        return self.output(self.intermediate(states), states), weights


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.layer = nn.ModuleList(
            BertLayer(config) for _ in range(config.num_hidden_layers)
        )

    def forward(
        self,
        states: Tensor,
        attention_mask: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """One layer after the other.

        Args:
            states: ``[B, S, D]``.
            attention_mask: boolean ``[B, 1, 1 or S, S]`` as :func:`mask_of_keys` makes it.
            head_mask: ``[L, H]``; this and the rest as in :meth:`BertModel.forward`.
            output_hidden_states: whether the states of all layers are returned.
            output_attentions: whether the weights are returned.

        Returns:
            Last states, ``hidden_states`` and ``attentions`` of :class:`BertModelOutput`.

        Raises:
            ValueError: if ``head_mask`` is not ``[L, H]``.
        """
        heads = [None] * len(self.layer)
        if head_mask is not None:
            shape = [len(self.layer), self.layer[0].attention.self.num_heads]
            if list(head_mask.shape) != shape:
                raise ValueError(
                    f"head_mask must have shape {shape}, got {list(head_mask.shape)}"
                )
            heads = head_mask.to(states.dtype)  # [L, H]
        all_states, all_weights = [states], []
        for layer, switch in zip(self.layer, heads, strict=True):
            states, weights = layer(states, attention_mask, switch, output_attentions)
            if output_hidden_states:
                all_states.append(states)
            all_weights.append(weights)
        hidden_states = tuple(all_states) if output_hidden_states else None
        return states, hidden_states, tuple(all_weights) if output_attentions else None


class BertPooler(nn.Module):
    """A linear map and tanh on the first token's vector, [CLS]'s."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """From ``[B, S, D]`` to ``[B, D]``."""
        return torch.tanh(self.dense(states[:, 0]))


class BertModelOutput(NamedTuple):
    """What one pass yields; what was not asked for is ``None``.

    Attributes:
        last_hidden_state: ``[B, S, D]``.
        pooler_output: ``[B, D]``; ``None`` without a pooler.
        hidden_states: L + 1 times ``[B, S, D]``: the embeddings, then each layer's output.
        attentions: L times ``[B, H, S, S]``: how much each token takes from each, in each head.
            Rows sum to one, except in training, where dropout has been applied.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class BertModel(FromPretrained, nn.Module):
    """BERT without the heads of pre-training.

    Args:
        config: the sizes.
        add_pooling_layer: whether there is a pooler.

    Source: Devlin et al. 2019, section 3.
    """

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True):
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        initialise(self, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertModelOutput:
        """Read a batch of sequences.

        Args:
            input_ids: ``[B, S]``, numbers of word pieces, S at most P.
            attention_mask: which tokens may be looked at; see :func:`mask_of_keys`.
            token_type_ids: ``[B, S]``; ``None`` means 0 everywhere.
            position_ids: ``[B, S]``; ``None`` means 0, 1, 2, … in every row.
            head_mask: ``[L, H]``, a factor on the output of each head: 1 keeps it, 0 switches it
                off. The weights that are returned are those before the factor.
            output_hidden_states: whether the states of all layers are returned.
            output_attentions: whether the weights of all heads are returned.

        Returns:
            See :class:`BertModelOutput`.

        Raises:
            TypeError: if ids are not ``torch.long``, or the mask is floating point.
            ValueError: if a shape does not fit, a number has no vector (the vocabulary, types or
                positions end before it), or a token may look at none.
        """
        states = self.embeddings(input_ids, token_type_ids, position_ids)  # [B, S, D]
        mask = mask_of_keys(attention_mask, *input_ids.shape)  # [B, 1, 1 or S, S]
        states, hidden_states, attentions = self.encoder(
            states, mask, head_mask, output_hidden_states, output_attentions
        )
        pooled = None if self.pooler is None else self.pooler(states)  # [B, D]
        return BertModelOutput(states, pooled, hidden_states, attentions)
