"""Anybody's text to pre-train on: a file, a folder, or a data set, read as a stream.

Nothing is in memory but one shard, so the text may be larger than the machine. A shard is decided
by its number alone: a training that breaks off and goes on reads the same shards.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bertbook.corpora.sentences import LINE_ENDS, cut_by_length, document_sentences
from bertbook.tokenizer.wordpiece import PREFIX, WordPieceTokenizer

__all__ = ["DataSet", "TextError", "TextFiles", "TextShards", "open_texts"]

CHECKED = 1000  # lines of each file that are read before the training starts

TEXT = ".txt"
BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


class TextError(ValueError):
    """A text cannot be read; the message says which, where and why."""


@dataclass(frozen=True)
class TextFiles:
    """Plain text in UTF-8. A blank line ends a document, and so does the end of a file.

    After the first ``CHECKED`` lines of a file a broken byte does not end the training: U+FFFD
    takes its place, which the tokenizer leaves out.

    Attributes:
        paths: the files in the order in which they are read.
    """

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[str]:
        """One document after the other, its lines as they are.

        Raises:
            TextError: if a file is missing, or not UTF-8 in its first ``CHECKED`` lines.
        """
        for path in self.paths:
            lines: list[str] = []
            for line in _lines(path):
                if line.strip():
                    lines.append(line)
                elif lines:
                    yield "".join(lines)
                    lines = []
            if lines:
                yield "".join(lines)


@dataclass(frozen=True)
class DataSet:
    """Rows that ``datasets`` streams, from files or from the Hugging Face hub.

    Each row is a document; rows whose text is missing or blank are left out. After the first text a
    row that holds something else, or lacks the column, counts as an empty document.

    Attributes:
        name: what ``datasets.load_dataset`` takes: a builder (``"json"``), a name on the hub, a
            folder.
        files: of a builder; none for the hub.
        column: that holds the text.
        subset: of a data set that has several.
        split: of the data set.
    """

    name: str
    files: tuple[Path, ...] = ()
    column: str = "text"
    subset: str | None = None
    split: str = "train"

    def __iter__(self) -> Iterator[str]:
        """One document after the other.

        Raises:
            TextError: if the data set, the split or the column is not there, the first text is
                not a string, or ``datasets`` cannot read a file.
        """
        begun = False
        for number, row in enumerate(self._rows()):
            if begun and not isinstance(row.get(self.column, 0), str | None):
                yield ""  # an error here would end a long training, also a resumed one
                continue
            if self.column not in row:
                raise TextError(
                    f"{self._called} has no column {self.column!r}, only {sorted(row)}"
                )
            text = row[self.column]
            if not isinstance(text, str | None):
                raise TextError(
                    f"column {self.column!r} of {self._called} must hold text; row {number} "
                    f"holds {type(text).__name__}"
                )
            if text and text.strip():
                begun = True
                yield text

    @property
    def _called(self) -> str:
        if not self.files:
            return f"the data set {self.name!r}"
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"

    def _rows(self) -> Iterator[dict]:
        import datasets

        # `datasets` stops with StopIteration at an empty file.
        files = [str(path) for path in self.files if path.stat().st_size]
        if self.files and not files:
            return
        try:
            rows = iter(
                datasets.load_dataset(
                    self.name,
                    self.subset,
                    split=self.split,
                    streaming=True,
                    data_files=files or None,
                )
            )
            yield from rows
        except Exception as error:  # of pyarrow, fsspec, the hub's client, the network
            for path in self.files:
                if self.name == "json":
                    for _ in _lines(path):  # names the place if it is not UTF-8
                        pass
            hint = "" if self.files else "; it is not a file or folder here either"
            raise TextError(
                f"{self._called} cannot be read{hint}: {type(error).__name__}: {error}"
            ) from error


def open_texts(
    source: Path | str,
    *,
    column: str = "text",
    subset: str | None = None,
    split: str = "train",
) -> TextFiles | DataSet:
    """Find out what a source is; try its first document and the first lines of each file.

    Args:
        source: a file; a folder, of which all files of one kind are read, also in its folders, by
            name; or a data set's name on the Hugging Face hub, ``owner/name``. Files ending in
            ``.jsonl``, ``.json`` (a row a line) and ``.parquet`` are data sets, others plain text;
            in a folder plain text ends in ``.txt``.
        column: of a data set, that holds the text.
        subset: of a data set on the hub that has several.
        split: of a data set on the hub.

    Raises:
        TextError: if there is nothing to read, a folder holds both kinds, or as the classes.
    """
    path = Path(source)
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(
            p for p in path.rglob("*") if p.suffix in (TEXT, *BUILDERS) and p.is_file()
        )
        kinds = sorted({p.suffix for p in found})
        if not found:
            raise TextError(f"{path} has no file ending in {(TEXT, *BUILDERS)}")
        if len(kinds) > 1:
            raise TextError(
                f"{path} holds files ending in {kinds}; give a folder with one kind"
            )
    elif (
        isinstance(source, Path)
        or not HUB_NAME.fullmatch(source)
        or path.suffix == TEXT
    ):
        raise TextError(f"{path} is missing")
    else:
        found = []
    texts: TextFiles | DataSet
    if not found:
        texts = DataSet(str(source), column=column, subset=subset, split=split)
    elif found[0].suffix in BUILDERS:
        texts = DataSet(BUILDERS[found[0].suffix], tuple(found), column)
    else:
        texts = TextFiles(tuple(found))
    for path in found:
        if path.suffix != ".parquet":
            for _ in islice(_lines(path), CHECKED):
                pass
    if next(iter(texts), None) is None:
        raise TextError(f"{source} holds no text")
    return texts


class TextShards:
    """Shards of a fixed number of documents, without end: after the last document comes the first.

    What a shard holds depends on its number alone. Asked for in turn, they are read in one go;
    asked for any other (a resumed training's first), the text is read up to there. If all the text
    is smaller than a shard, every shard is all of it.

    Args:
        texts: yields all documents each time it is iterated over, always in the same order.
        tokenizer: makes numbers of a sentence.
        size: documents a shard. Random partners of next-sentence prediction come from the same
            shard; it should be thousands, and fit into memory.
        line_ends: ``"sentence"``: each line end ends a sentence. ``"space"``: none does.
            ``"auto"``: see ``A_SENTENCE``.

    Attributes:
        total: number of documents, once the end has been seen; else ``None``.
        count: number of shards that hold all of them, once the end has been seen; else ``None``.

    Raises:
        ValueError: if the size is below 1, or ``line_ends`` is not one of ``LINE_ENDS``.
    """

    def __init__(
        self,
        texts: Iterable[str],
        tokenizer: WordPieceTokenizer,
        size: int = 10_000,
        line_ends: str = "auto",
    ):
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if line_ends not in LINE_ENDS:
            raise ValueError(f"line_ends must be one of {LINE_ENDS}, got {line_ends!r}")
        self.line_ends = line_ends
        self._continues = [piece.startswith(PREFIX) for piece in tokenizer.pieces]
        self.texts, self.tokenizer, self.size = texts, tokenizer, size
        self.total: int | None = None
        self._rest, self._place = (
            iter(()),
            -1,
        )  # what is still to be read, and from where

    @property
    def count(self) -> int | None:
        """Shards that hold all documents."""
        return None if self.total is None else -(-self.total // self.size)

    def __call__(self, number: int) -> list[list[list[int]]]:
        """The documents of a shard, sentence by sentence, as numbers of pieces.

        Documents that yield no piece are left out.

        Args:
            number: 0 or more.

        Raises:
            TextError: if there is no text, or it cannot be read.
        """
        found = self._read(number * self.size)
        documents = [self._encode(text) for text in found]
        return [document for document in documents if document]

    def _read(self, start: int) -> list[str]:
        start = self._go_to(start)
        found = self._take(self.size)
        if len(found) < self.size:
            self._end()
            self._go_to(0)
            if self.total <= self.size:
                return self._take(self.size)
            found += self._take(self.size - len(found))
        return found

    def _go_to(self, start: int) -> int:
        """Stand before a document; where that is, counted from the first one."""
        if self.total is not None:
            start = 0 if self.total <= self.size else start % self.total
        if self._place != start:
            self._rest = iter(self.texts)
            self._place = sum(1 for _ in islice(self._rest, start))
            if self._place < start:
                self._end()
                return self._go_to(start)
        return start

    def _take(self, count: int) -> list[str]:
        found = list(islice(self._rest, count))
        self._place += len(found)
        return found

    def _end(self) -> None:
        """Remember how many documents there are."""
        self.total, self._rest = self._place, iter(())
        self._place = -1
        if not self.total:
            raise TextError("the text holds no document")

    def _encode(self, text: str) -> list[list[int]]:
        # Half of a surrogate pair, which JSON can hold, becomes a question mark.
        text = text.encode("utf-8", "replace").decode()
        numbers = map(
            self.tokenizer.piece_ids, document_sentences(text, self.line_ends)
        )
        return cut_by_length([n for n in numbers if n], self._continues)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, one at a time; broken bytes are replaced after ``CHECKED`` lines.

    Raises:
        TextError: if it is missing, or is not UTF-8 before; the message names line and byte.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                errors = "strict" if number <= CHECKED else "replace"
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
                except UnicodeDecodeError as error:
                    raise TextError(
                        f"{path} is not UTF-8: line {number}, byte {error.start + 1} of it is "
                        f"0x{line[error.start]:02x} ({error.reason})"
                    ) from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
