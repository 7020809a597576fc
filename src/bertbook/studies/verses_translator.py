"""The committed translators from Wycliffe's English into modern English, ready to use.

``experiments/verses.py`` trained them and kept the record; here they are loaded and translate what
they are given. Shapes as in :mod:`bertbook.transformer.encoder`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.experiment import load_stored
from bertbook.shared.files import check_sha256
from bertbook.shared.results import WEIGHTS, read_results
from bertbook.shared.symbols import END, pad_sequences
from bertbook.studies.lstm_translator import LSTMTranslator, LSTMTranslatorConfig
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.encoder import TransformerConfig
from bertbook.transformer.generation import beam_search, greedy

__all__ = [
    "Alignment",
    "VerseTranslator",
    "load_subwords",
    "load_translator",
    "new_model",
    "write_all",
    "write_greedily",
]

SHA256 = {
    "verses_transformer.safetensors": (
        "e46fbab8bcf0b9d7eeb5ffcb1285003b5e119559e7036af75fd6d6109c1337ea"
    ),
    "verses_lstm.safetensors": "db0ae7f95e6b3b90a814e2560da8d93e4222ae661adac95a0cb05ab50c3398d6",
    "verses_subwords.json": "6de5a62f49d963d2063168e1d82d5b92865b0d93f58cb1df980112a919ea1fa2",
}
KINDS = ("transformer", "lstm")
MAX_POSITIONS = 256  # of the Transformer's table; no parameter depends on it
MAX_WRITTEN = 160  # sub-words of a translation, the end symbol included

# The byte that each character of a byte-level piece stands for: its own code where that can be
# printed, the others in turn from 256 on.
_PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTED]
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(256 + place): byte for place, byte in enumerate(_OTHERS)
}


@dataclass(frozen=True)
class Alignment:
    """Where a translator looked while it wrote.

    Attributes:
        source: S pieces of the source, ``▁`` for a space, ``⟨end⟩`` last.
        target: T pieces of the translation, likewise.
        weights: of the cross-attention, ``[L, H, T, S]``; row t is the look for piece t. The LSTM
            has one layer with one head.
    """

    source: list[str]
    target: list[str]
    weights: Tensor


class VerseTranslator:
    """A trained model with its sub-words: text in, text out.

    Args:
        model: a :class:`Transformer` or an :class:`LSTMTranslator`, in evaluation mode.
        subwords: that it was trained with.
        longest: most sub-words of a source, the end symbol included: what training went up to.
    """

    def __init__(
        self, model: Transformer | LSTMTranslator, subwords: Tokenizer, longest: int
    ):
        self.model, self.subwords, self.longest = model, subwords, longest

    def encode(self, text: str) -> list[int]:
        """Symbols of a source, the end symbol last.

        Every text can be written in these sub-words; characters that training never showed become
        bytes, which the model has not learnt to read.

        Raises:
            TypeError: if the text is not a string.
            ValueError: if there is nothing in it, or it is longer than any text in training.
        """
        if not isinstance(text, str):
            raise TypeError(f"the text must be a string, got {type(text).__name__}")
        if not text.strip():
            raise ValueError(f"the text must have at least one word, got {text!r}")
        symbols = [*self.subwords.encode(text.strip()).ids, END]
        if len(symbols) > self.longest:
            raise ValueError(
                f"the text has {len(symbols)} sub-words with the end symbol, and the model has "
                f"learnt from texts of at most {self.longest}; translate it in parts"
            )
        return symbols

    def decode(self, symbols: Sequence[int]) -> str:
        """The text of written symbols; padding, begin and end are left out."""
        return self.subwords.decode(list(symbols), skip_special_tokens=True).strip()

    def translate(self, text: str, beam_size: int | None = None) -> str:
        """Translate one text.

        Args:
            text: in Wycliffe's English, at most ``longest`` sub-words.
            beam_size: K of a beam search with length penalty 0.6; ``None``: greedily.

        Returns:
            The translation; nothing if the model writes the end symbol at once.

        Raises:
            TypeError: as :meth:`encode`.
            ValueError: as :meth:`encode`; or if a beam is asked for and the model is an LSTM, or
                the beam's size is out of range.
        """
        if beam_size is None:
            return self.translate_all([text])[0]
        if not isinstance(self.model, Transformer):
            raise ValueError(
                f"beam search is for the Transformer alone; got beam_size={beam_size} for an "
                f"{type(self.model).__name__}"
            )
        source = torch.tensor([self.encode(text)])  # [1, S]
        written, _ = beam_search(self.model, source, MAX_WRITTEN, beam_size)
        return self.decode(written[0].tolist())

    def translate_all(self, texts: Sequence[str], batch_size: int = 32) -> list[str]:
        """Translate many texts greedily, those of similar length together.

        Args:
            texts: as :meth:`translate`.
            batch_size: texts at a time.

        Returns:
            The translations, in the order of the texts.

        Raises:
            TypeError: as :meth:`encode`.
            ValueError: as :meth:`encode`.
        """
        encoded = [self.encode(text) for text in texts]
        written = write_all(partial(write_greedily, self.model), encoded, batch_size)
        return [self.decode(symbols) for symbols in written]

    def pieces(self, symbols: Sequence[int]) -> list[str]:
        """Symbols as readable pieces: ``▁`` for a space, ``⟨C3⟩`` for a byte, not a letter."""
        names = []
        for symbol in symbols:
            text = self.subwords.decode([symbol]).replace(" ", "▁")
            if "\ufffd" in text:  # a part of a character
                token = self.subwords.id_to_token(symbol)
                text = "".join(f"⟨{_BYTES[character]:02X}⟩" for character in token)
            names.append("⟨end⟩" if symbol == END else text)
        return names

    @torch.no_grad()
    def align(self, text: str, translation: str | None = None) -> Alignment:
        """The looks of the model while it writes a translation, its own unless one is given.

        Args:
            text: as :meth:`translate`.
            translation: that the model is made to write; ``None``: what it writes greedily.

        Raises:
            TypeError: as :meth:`encode`.
            ValueError: as :meth:`encode`.
        """
        source = self.encode(text)
        translation = self.translate(text) if translation is None else translation
        target = [*self.subwords.encode(translation).ids, END]
        inputs = shift_right(torch.tensor([target]))  # [1, T]
        _, weights = self.model(torch.tensor([source]), inputs, return_weights=True)
        # The Transformer has L layers of [1, H, T, S], the LSTM one look of [1, T, S].
        is_lstm = isinstance(self.model, LSTMTranslator)
        looks = weights[None] if is_lstm else torch.cat(weights.cross)  # [L, H, T, S]
        return Alignment(self.pieces(source), self.pieces(target), looks)


def load_subwords(folder: Path | str = WEIGHTS) -> Tokenizer:
    """The sub-words that both models were trained with.

    Args:
        folder: where ``verses_subwords.json`` stands.

    Raises:
        WeightsError: if the file is missing or is not the committed one.
    """
    subwords = Tokenizer.from_file(str(_committed(folder, "verses_subwords.json")))
    subwords.encode_special_tokens = True  # "[PAD]" in a text is not padding
    return subwords


def load_translator(
    kind: str = "transformer", folder: Path | str = WEIGHTS
) -> VerseTranslator:
    """Load one of the two committed models.

    Args:
        kind: ``"transformer"`` or ``"lstm"``, its rival of equal size after as many steps.
        folder: where ``verses_KIND.safetensors`` and ``verses_subwords.json`` stand.

    Returns:
        The translator; a new model each time.

    Raises:
        ValueError: if there is no such kind.
        WeightsError: if a file is missing or is not the committed one.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    path = _committed(folder, f"verses_{kind}.safetensors")
    record = read_results("verses")
    config = record["config"]
    choice = next(
        run["metrics"]["choice"]
        for run in record["runs"]
        if run["variant"].startswith(kind)
    )
    model = load_stored(new_model(config, kind, choice), path)
    return VerseTranslator(model, load_subwords(folder), config["longest"])


def new_model(config: Mapping[str, Any], kind: str, choice: Sequence) -> nn.Module:
    """A freshly initialised model.

    Args:
        config: of the experiment.
        kind: ``"transformer"`` or ``"lstm"``.
        choice: what the tuning decides: the rate and, of the Transformer, the place of LayerNorm.
    """
    size, others = config["vocab_size"], {**config[kind], "dropout": config["dropout"]}
    if kind == "lstm":
        return LSTMTranslator(LSTMTranslatorConfig(size, **others))
    places = {"norm_first": choice[1], "max_length": MAX_POSITIONS}
    return Transformer(TransformerConfig(size, **places, **others))


def write_greedily(model: nn.Module, source: Tensor) -> Tensor:
    """Symbols that a model of either kind writes for ``[B, S]``: ``[B, T]``."""
    longest = min(2 * source.shape[1] + 10, MAX_WRITTEN)
    if isinstance(model, LSTMTranslator):
        return model.generate(source, longest)
    return greedy(model, source, longest)


def write_all(
    write: Callable[[Tensor], Tensor], encoded: Sequence[list[int]], batch_size: int
) -> list[list[int]]:
    """What ``write`` makes of many sources, those of similar length together, in their order."""
    order = sorted(range(len(encoded)), key=lambda number: len(encoded[number]))
    found: list[list[int]] = [[]] * len(encoded)
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        written = write(pad_sequences([encoded[n] for n in numbers])[0])  # [B, T]
        for number, symbols in zip(numbers, written.tolist(), strict=True):
            found[number] = symbols
    return found


def _committed(folder: Path | str, name: str) -> Path:
    """The file of this name, if it is the one that was committed."""
    remedy = f"Take it from the repository: weights/{name}."
    return check_sha256(Path(folder) / name, SHA256[name], remedy)
