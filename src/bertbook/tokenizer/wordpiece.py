"""BERT's tokenizer: words to pieces of a vocabulary, pieces to ``[CLS] A [SEP] B [SEP]``.

Shapes, in the letters of the book: B batch, S length.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from bertbook.tokenizer.packing import Encoding, pad_batch, truncated_lengths
from bertbook.tokenizer.words import WHITESPACE, BasicTokenizer, check_text

__all__ = ["SPECIAL_TOKENS", "WordPieceTokenizer", "longest_match"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"
SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")
NOT_SPACE = re.compile(f"[^{WHITESPACE}]+")
CACHED_WORDS, CACHED_LENGTH = 1 << 16, 40  # about 30 MB when full

Piece = tuple[int, int, int]
"""A piece's number, and where it starts and ends in its text."""


def longest_match(
    word: str, vocabulary: Mapping[str, int], max_input_chars: int = 100
) -> list[str]:
    """Cut a word into pieces: each time the longest that the vocabulary has, from the left.

    Args:
        word: without spaces.
        vocabulary: pieces; one that continues a word starts with ``##``.
        max_input_chars: a longer word is not tried.

    Returns:
        The pieces; ``["[UNK]"]`` if the word is too long or what is left of it fits no piece. One
        letter that is missing costs the whole word.

    Source: Devlin et al. 2019, section 3 (WordPiece), and the code released with it (how).
    """
    if len(word) > max_input_chars:
        return ["[UNK]"]
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = PREFIX if start else ""
        for end in range(len(word), start, -1):
            piece = prefix + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


class WordPieceTokenizer:
    """BERT's tokenizer.

    A special token that is typed in a text, such as ``[MASK]``, is found before anything else and
    kept whole, in capitals only.

    Args:
        pieces: the vocabulary: each piece stands at its number.
        do_lower_case: as :class:`BasicTokenizer`.
        tokenize_chinese_chars: as :class:`BasicTokenizer`.
        strip_accents: as :class:`BasicTokenizer`.
        max_length: the most pieces of an input, special tokens included. BERT has no position
            beyond 512.
        max_input_chars_per_word: a longer word is [UNK].

    Attributes:
        pieces: the vocabulary.
        vocabulary: the number of each piece.
        pad_id, unk_id, cls_id, sep_id, mask_id: the numbers of the special tokens.

    Raises:
        ValueError: if a piece is empty or occurs twice, or a special token is missing.
    """

    def __init__(
        self,
        pieces: Iterable[str],
        *,
        do_lower_case: bool = True,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        max_length: int = 512,
        max_input_chars_per_word: int = 100,
    ):
        self.pieces = list(pieces)
        self.vocabulary = {piece: i for i, piece in enumerate(self.pieces)}
        twice = [p for p, n in Counter(self.pieces).items() if n > 1 or not p]
        if twice:
            raise ValueError(
                f"a vocabulary holds each piece once and no empty one, got {twice}"
            )
        missing = [token for token in SPECIAL_TOKENS if token not in self.vocabulary]
        if missing:
            raise ValueError(f"the vocabulary lacks the special tokens {missing}")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self.vocabulary[token] for token in SPECIAL_TOKENS
        )
        self.basic = BasicTokenizer(
            do_lower_case, tokenize_chinese_chars, strip_accents
        )
        self.max_length = max_length
        self.max_input_chars_per_word = max_input_chars_per_word
        self._known: dict[str, list[Piece]] = {}

    @classmethod
    def from_vocab_file(cls, path: Path | str, **options) -> "WordPieceTokenizer":
        """Read a vocabulary of one piece a line.

        Args:
            path: such as ``vocab.txt``.
            options: keyword arguments of the class.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: as the class.
        """
        lines = Path(path).read_text("utf-8").split("\n")
        return cls(lines[:-1] if lines[-1] == "" else lines, **options)

    @classmethod
    def from_folder(cls, folder: Path | str, **options) -> "WordPieceTokenizer":
        """Read the tokenizer of a Hugging Face BERT folder.

        The vocabulary is that of ``tokenizer.json``, else of ``vocab.txt``; whether it is cased
        stands in ``tokenizer_config.json``.

        Args:
            folder: the folder.
            options: keyword arguments of the class; they go before what the folder says.

        Raises:
            FileNotFoundError: if the folder has neither vocabulary.
            ValueError: if the tokenizer is not WordPiece or has tokens of its own, or as the class.
        """
        folder = Path(folder)
        config = folder / "tokenizer_config.json"
        given = json.loads(config.read_text("utf-8")) if config.is_file() else {}
        names = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")
        options = {name: given[name] for name in names if name in given} | options
        if not (folder / "tokenizer.json").is_file():
            return cls.from_vocab_file(folder / "vocab.txt", **options)
        stored = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        model = stored["model"]
        if model.get("type") != "WordPiece":
            kind = model.get("type", "one whose kind is not named")
            raise ValueError(f"expected a WordPiece tokenizer, got {kind}")
        extra = {token["content"] for token in stored["added_tokens"]}
        extra -= set(SPECIAL_TOKENS)
        if extra:
            raise ValueError(f"tokens added to the vocabulary: {sorted(extra)}")
        pieces = sorted(model["vocab"], key=model["vocab"].get)
        if [model["vocab"][piece] for piece in pieces] != list(range(len(pieces))):
            raise ValueError("the pieces are not numbered 0, 1, 2, … without a gap")
        return cls(pieces, **options)

    def __len__(self) -> int:
        return len(self.pieces)

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text, with no special token put in.

        Raises:
            TypeError: if ``text`` is not a string.
            ValueError: if it holds half of a surrogate pair.
        """
        return [self.pieces[number] for number in self.piece_ids(text)]

    def piece_ids(self, text: str) -> list[int]:
        """The numbers of a text's pieces; errors as :meth:`tokenize`."""
        return [number for number, _, _ in self._pieces_of_text(text)]

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        max_length: int | None = None,
        truncation: str = "none",
    ) -> Encoding:
        """Pack a text, or two, as BERT reads them.

        An empty text has no pieces: ``[CLS] [SEP]``. An empty ``pair`` is a pair all the same.

        Args:
            text: the first text.
            pair: the second text.
            max_length: the most pieces, special tokens included; ``None``: the tokenizer's.
            truncation: what to do with more: as :func:`truncated_lengths`; pieces go from the end.

        Raises:
            TypeError: if a text is not a string.
            ValueError: if a text holds half of a surrogate pair, or the input does not fit.
        """
        first = self._pieces_of_text(text)
        second = [] if pair is None else self._pieces_of_text(pair)
        limit = self.max_length if max_length is None else max_length
        special = 2 if pair is None else 3
        if limit < special:
            raise ValueError(f"{special} special tokens do not fit into {limit}")
        n, m = truncated_lengths(len(first), len(second), limit - special, truncation)
        opening, closing = (self.cls_id, 0, 0), (self.sep_id, 0, 0)
        packed = [opening, *first[:n], closing]
        types = [0] * len(packed)
        if pair is not None:
            packed += [*second[:m], closing]
            types += [1] * (m + 1)
        return Encoding(
            tokens=[self.pieces[number] for number, _, _ in packed],
            ids=[number for number, _, _ in packed],
            token_type_ids=types,
            attention_mask=[1] * len(packed),
            offsets=[(start, end) for _, start, end in packed],
        )

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: str = "none",
        pad_to: int | None = None,
        return_offsets: bool = False,
    ) -> dict[str, Tensor]:
        """Pack B texts, or B pairs, and pad them on the right.

        Args:
            texts: the first texts.
            pairs: the second texts.
            max_length: as :meth:`encode`.
            truncation: as :meth:`encode`.
            pad_to: S; ``None``: the longest of the batch.
            return_offsets: whether the offsets are returned too.

        Returns:
            ``input_ids``, ``token_type_ids``, ``attention_mask`` (1 = a token, 0 = padding), each
            ``[B, S]``, and ``offsets`` ``[B, S, 2]`` if asked for: whole numbers. Padding is
            [PAD] of type 0 with offsets (0, 0).

        Raises:
            TypeError: as :meth:`encode`, or if ``texts`` is one string.
            ValueError: as :meth:`encode`, or if there is no text, not a pair to each text, or an
                input longer than ``pad_to``.
        """
        if isinstance(texts, str) or isinstance(pairs, str):
            raise TypeError("expected a list of texts, got one str; encode takes one")
        if not texts or (pairs is not None and len(pairs) != len(texts)):
            count = "no pairs" if pairs is None else f"{len(pairs)} pairs"
            raise ValueError(
                "expected at least one text, and a pair to each or none at all, got "
                f"{len(texts)} texts, {count}"
            )
        encodings = [
            self.encode(text, pair, max_length=max_length, truncation=truncation)
            for text, pair in zip(texts, pairs or [None] * len(texts), strict=True)
        ]
        return pad_batch(
            encodings, self.pad_id, pad_to=pad_to, return_offsets=return_offsets
        )

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Join pieces: a space before each, none before one that continues a word.

        What the way to pieces lost stays lost: capitals, accents, where spaces stood.

        Args:
            ids: numbers of pieces.
            skip_special_tokens: whether [PAD], [UNK], [CLS], [SEP] and [MASK] are left out.

        Raises:
            ValueError: if a number is not in the vocabulary.
        """
        text = ""
        for number in map(int, ids):
            if not 0 <= number < len(self):
                raise ValueError(f"ids must lie in 0..{len(self) - 1}, got {number}")
            piece = self.pieces[number]
            if skip_special_tokens and piece in SPECIAL_TOKENS:
                continue
            glued = text and piece.startswith(PREFIX)
            text += piece[len(PREFIX) :] if glued else f" {piece}" if text else piece
        return text

    def _pieces_of_text(self, text: str) -> list[Piece]:
        check_text(text)
        pieces: list[Piece] = []
        start = 0
        for part in SPECIAL.split(text):
            if part in SPECIAL_TOKENS:
                pieces.append((self.vocabulary[part], start, start + len(part)))
            else:
                for run in NOT_SPACE.finditer(part):
                    shift = start + run.start()
                    pieces += [
                        (number, begin + shift, end + shift)
                        for number, begin, end in self._pieces_of_run(run.group())
                    ]
            start += len(part)
        return pieces

    def _pieces_of_run(self, run: str) -> list[Piece]:
        """The pieces of what stands between spaces; texts repeat most of it, so it is kept."""
        if run in self._known:
            return self._known[run]
        pieces: list[Piece] = []
        for word in self.basic.words(run):
            found = longest_match(
                word.text, self.vocabulary, self.max_input_chars_per_word
            )
            if found == ["[UNK]"]:
                ends = [len(word.text)]
            else:
                ends = accumulate(
                    len(p) - len(PREFIX) * (i > 0) for i, p in enumerate(found)
                )
            begin = 0
            for piece, end in zip(found, ends, strict=True):
                span = (word.positions[begin], word.positions[end - 1] + 1)
                pieces.append((self.vocabulary[piece], *span))
                begin = end
        if len(run) <= CACHED_LENGTH and len(self._known) < CACHED_WORDS:
            self._known[run] = pieces
        return pieces
