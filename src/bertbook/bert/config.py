"""BERT's sizes: the known configurations, Hugging Face's ``config.json``, and what they add up to.

Letters, besides those of :mod:`bertbook.attention.scores`:

    N positions   C token types   F inner width of the feed-forward network   L layers
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["BertConfig", "parameter_table"]

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
# What else a config.json may ask for; `null` always stands for the supported value.
ONLY_SUPPORTED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT, under the names of Hugging Face's ``config.json``; the defaults are base's.

    Args:
        vocab_size: V, word pieces and special tokens.
        hidden_size: D.
        num_hidden_layers: L.
        num_attention_heads: H, a divisor of D.
        intermediate_size: F.
        max_position_embeddings: P, the longest input in word pieces.
        type_vocab_size: C, token types (segments).
        hidden_dropout_prob: on the embeddings and on the output of both halves of a layer.
        attention_probs_dropout_prob: on the attention weights.
        layer_norm_eps: what LayerNorm adds to the variance, inside the root.
        initializer_range: standard deviation of all matrices at the start.
        pad_token_id: the row of the word embeddings that starts at zero and is never trained;
            ``None``: no row is special.
        hidden_act: ``gelu``, the exact one.

    Raises:
        ValueError: if a size is not a positive integer, H does not divide D, a dropout is not in
            0..1, or another activation is named.

    Source: Devlin et al. 2019, section 3.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = 0
    hidden_act: str = "gelu"

    def __post_init__(self):
        for name in SIZES:
            size = getattr(self, name)
            if type(size) is not int or size < 1:
                raise ValueError(f"{name} must be a positive integer, got {size!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                "hidden_size must be a multiple of num_attention_heads, got "
                f"hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads}"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("layer_norm_eps", "initializer_range"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if (
            self.pad_token_id is not None
            and not 0 <= self.pad_token_id < self.vocab_size
        ):
            raise ValueError(
                f"pad_token_id must lie in 0..{self.vocab_size - 1}, got {self.pad_token_id}"
            )
        if self.hidden_act != "gelu":
            raise ValueError(f"hidden_act must be 'gelu', got {self.hidden_act!r}")

    @classmethod
    def tiny(cls, **choices) -> "BertConfig":
        """Small enough for a test; ``choices`` replace single fields, here and below."""
        return cls._sized(31, 12, 2, 3, 20, {"max_position_embeddings": 40, **choices})

    @classmethod
    def mini(cls, **choices) -> "BertConfig":
        """The size that the book trains itself."""
        return cls._sized(8192, 256, 4, 4, 1024, choices)

    @classmethod
    def minilm(cls, **choices) -> "BertConfig":
        """The size of the weights that :mod:`bertbook.bert.minilm` finds."""
        return cls._sized(30522, 384, 6, 12, 1536, choices)

    @classmethod
    def base(cls, **choices) -> "BertConfig":
        """BERT base, uncased English (Devlin et al. 2019, section 3)."""
        return cls(**choices)

    @classmethod
    def large(cls, **choices) -> "BertConfig":
        """BERT large, uncased English (Devlin et al. 2019, section 3)."""
        return cls._sized(30522, 1024, 24, 16, 4096, choices)

    @classmethod
    def chinese_base(cls, **choices) -> "BertConfig":
        """BERT base with the Chinese vocabulary."""
        return cls._sized(21128, 768, 12, 12, 3072, choices)

    @classmethod
    def _sized(cls, vocabulary, width, layers, heads, inner, choices) -> "BertConfig":
        sizes = zip(SIZES, (vocabulary, width, layers, heads, inner), strict=False)
        return cls(**{**dict(sizes), **choices})

    @classmethod
    def from_json(cls, path: Path | str) -> "BertConfig":
        """Read Hugging Face's ``config.json``.

        Keys that do not change what the encoder computes are skipped.

        Args:
            path: the file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a JSON object, a size is missing, or it asks for something that
                this BERT does not have; the message names file, key and value.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        if not isinstance(stored, dict):
            raise ValueError(f"{path} must hold a JSON object, got {stored!r}")
        problems = [f"{name} is missing" for name in SIZES if name not in stored]
        problems += [
            f"{name} is {stored[name]!r}, only {only!r} is supported"
            for name, only in ONLY_SUPPORTED.items()
            if stored.get(name) not in (only, None)
        ]
        if problems:
            raise ValueError(f"{path}: {'; '.join(problems)}")
        known = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        try:
            return cls(**known)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None


def parameter_table(
    config: BertConfig, add_pooling_layer: bool = True
) -> list[tuple[str, str, int]]:
    """Count the parameters of a BERT term by term, from its sizes alone.

    Args:
        config: the sizes.
        add_pooling_layer: whether the pooler is counted.

    Returns:
        A row for each term: its name, its formula in the letters of this module, and the number
        of parameters, all L layers together. The numbers add up to the whole model.
    """
    V, N, C = (
        config.vocab_size,
        config.max_position_embeddings,
        config.type_vocab_size,
    )
    D, F, L = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    rows = [
        ("word embeddings", "V·D", V * D),
        ("position embeddings", "N·D", N * D),
        ("token type embeddings", "C·D", C * D),
        ("LayerNorm of the embeddings", "2·D", 2 * D),
        ("query, key and value", "L·3·(D·D + D)", L * 3 * (D * D + D)),
        ("attention output", "L·(D·D + D)", L * (D * D + D)),
        ("LayerNorm after attention", "L·2·D", L * 2 * D),
        ("feed-forward, inner", "L·(D·F + F)", L * (D * F + F)),
        ("feed-forward, outer", "L·(F·D + D)", L * (F * D + D)),
        ("LayerNorm after feed-forward", "L·2·D", L * 2 * D),
    ]
    pooler = ("pooler", "D·D + D", D * D + D)
    return [*rows, pooler] if add_pooling_layer else rows
