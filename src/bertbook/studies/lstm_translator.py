"""The Transformer's rival: a translator of two LSTM stacks with attention.

Shapes, besides those of :mod:`bertbook.prerequisites.seq2seq`:

    N layers of an LSTM stack
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bertbook.attention.scores import masked_softmax, padding_mask
from bertbook.shared.checks import check_symbols
from bertbook.shared.symbols import BEGIN, END, PAD
from bertbook.shared.training import lstm_precision

__all__ = ["LSTMTranslator", "LSTMTranslatorConfig"]


@dataclass(frozen=True)
class LSTMTranslatorConfig:
    """Sizes of the rival.

    Args:
        vocab_size: V.
        d_embedding: E.
        d_state: D, width of a decoder state and of both encoder directions together; even.
        num_layers: N, of the encoder and of the decoder.
        dropout: on the embeddings, between the layers and before the output.

    Raises:
        ValueError: if a size is too small, D is odd, or the dropout is not in 0..1.
    """

    vocab_size: int
    d_embedding: int = 192
    d_state: int = 336
    num_layers: int = 2
    dropout: float = 0.1

    def __post_init__(self):
        for name in ("vocab_size", "d_embedding", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}"
                )
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"d_state must be even and positive, got {self.d_state}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must lie in 0..1, got {self.dropout}")

    @classmethod
    def tiny(cls, vocab_size: int = 11) -> "LSTMTranslatorConfig":
        """Small enough for a test."""
        return cls(vocab_size, d_embedding=6, d_state=8)


class LSTMTranslator(nn.Module):
    """Two LSTM stacks with attention, as strong as the Transformer's tricks make it.

    The encoder reads in both directions; the decoder's layers start from the last states of the
    encoder's; the attention is Luong's bilinear one. One table serves both languages and the
    output, as in the Transformer.

    Args:
        config: the sizes.

    Source: Luong et al. 2015; Press & Wolf 2017 (tied tables).
    """

    def __init__(self, config: LSTMTranslatorConfig):
        super().__init__()
        self.config = config
        width, state, layers = config.d_embedding, config.d_state, config.num_layers
        self.tokens = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        options = {
            "num_layers": layers,
            "batch_first": True,
            "dropout": config.dropout if layers > 1 else 0.0,
        }
        self.encoder = nn.LSTM(width, state // 2, bidirectional=True, **options)
        self.decoder = nn.LSTM(width, state, **options)
        self.score = nn.Linear(state, state, bias=False)
        self.combine = nn.Linear(2 * state, width)

    def embed(self, ids: Tensor) -> Tensor:
        """Vectors ``[B, T, E]`` of symbols ``[B, T]``, with variance near one."""
        return self.dropout(self.tokens(ids) * math.sqrt(self.config.d_embedding))

    def source_mask(self, source: Tensor) -> Tensor:
        """Which source symbols are real: boolean ``[B, 1, S]``."""
        check_symbols("source", source, self.config.vocab_size)
        return padding_mask((source != PAD).sum(dim=1), source.shape[1])  # [B, 1, S]

    def encode(self, source: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read the source ``[B, S]``.

        Returns:
            The states ``[B, S, D]`` and the decoder's first ``(h, c)``, ``[N, B, D]`` each.
        """
        lengths = self.source_mask(source).sum(dim=(1, 2))  # [B]
        packed = pack_padded_sequence(
            self.embed(source), lengths, batch_first=True, enforce_sorted=False
        )
        with lstm_precision():
            states, last = self.encoder(packed)
        states, _ = pad_packed_sequence(
            states, batch_first=True, total_length=source.shape[1]
        )

        def join(both: Tensor) -> Tensor:  # [2N, B, D/2], the directions in turn
            pairs = both.unflatten(0, (-1, 2))  # [N, 2, B, D/2]
            return pairs.transpose(1, 2).flatten(-2)  # [N, B, D]

        return states, (join(last[0]), join(last[1]))

    def decode(
        self, inputs: Tensor, state: tuple[Tensor, Tensor], memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Logits ``[B, T, V]``, the state after the last step, the weights ``[B, T, S]``."""
        with lstm_precision():
            hidden, state = self.decoder(self.embed(inputs), state)  # [B, T, D]
        scores = self.score(hidden) @ memory.transpose(1, 2)  # [B, T, S]
        weights = masked_softmax(scores, mask)  # [B, T, S]
        joined = torch.cat([weights @ memory, hidden], dim=-1)  # [B, T, 2D]
        hidden = self.dropout(torch.tanh(self.combine(joined)))  # [B, T, E]
        return hidden @ self.tokens.weight.T, state, weights

    def forward(
        self, source: Tensor, inputs: Tensor, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict every target symbol from the true ones before it: teacher forcing.

        Args:
            source: ``[B, S]``, padded.
            inputs: ``[B, T]``, the target shifted right.
            return_weights: whether the attention weights ``[B, T, S]`` are returned as well.

        Returns:
            Logits ``[B, T, V]``, or ``(logits, weights)``.

        Raises:
            TypeError: if the symbols are not ``torch.long``.
            ValueError: if shapes do not fit, a symbol is not in the vocabulary, or a source has
                nothing but padding.
        """
        check_symbols("inputs", inputs, self.config.vocab_size)
        memory, state = self.encode(source)
        if len(inputs) != len(source):
            raise ValueError(
                f"the batches differ: source {list(source.shape)}, inputs {list(inputs.shape)}"
            )
        mask = self.source_mask(source)  # [B, 1, S]
        logits, _, weights = self.decode(inputs, state, memory, mask)
        return (logits, weights) if return_weights else logits

    @torch.no_grad()
    def generate(self, source: Tensor, max_length: int) -> Tensor:
        """Write greedily: ``[B, T]``, padding after the end symbol.

        Raises:
            ValueError: if ``max_length`` is not positive or the model is in training mode.
        """
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        if self.training:
            raise ValueError("the model is in training mode; call model.eval() first")
        memory, state = self.encode(source)
        mask = self.source_mask(source)  # [B, 1, S]
        symbol = torch.full_like(source[:, :1], BEGIN)  # [B, 1]
        ended = torch.zeros_like(symbol, dtype=torch.bool)
        written = []
        while len(written) < max_length and not ended.all():
            logits, state, _ = self.decode(symbol, state, memory, mask)
            symbol = logits.argmax(dim=-1).masked_fill(ended, PAD)  # [B, 1]
            ended = ended | (symbol == END)
            written.append(symbol)
        return torch.cat(written, dim=1)
