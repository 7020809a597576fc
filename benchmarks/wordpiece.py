"""Our WordPiece tokenizer in Python beside the library's, which is compiled Rust."""

from collections.abc import Iterator

from transformers import BertTokenizer

from benchmarks.timing import Comparison, compare
from bertbook.bert.minilm import minilm_folder
from bertbook.corpora.wikipedia import load_articles
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

__all__ = ["rows"]

TITLE = "WordPiece on paragraphs of Wikipedia, against the library's, one thread"
COLUMNS = ("ours", "theirs")
TEXTS = 300


def rows(seconds: float, count: int = TEXTS) -> Iterator[tuple[tuple, Comparison]]:
    """With words seen before and without; against the Rust core and what users call.

    Raises:
        AssertionError: if the pieces differ.
    """
    texts = [p for article in load_articles() for p in article.paragraphs][:count]
    library = BertTokenizer.from_pretrained(minilm_folder())
    core = library.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    warm = WordPieceTokenizer.from_folder(minilm_folder(), max_length=10**6)
    fresh = WordPieceTokenizer.from_folder(minilm_folder(), max_length=10**6)
    expected = [found.ids for found in core.encode_batch(texts)]
    assert [warm.encode(text).ids for text in texts] == expected

    def encode_all(tokenizer: WordPieceTokenizer) -> None:
        for text in texts:
            tokenizer.encode(text)

    def encode_all_anew() -> None:
        fresh._known.clear()
        encode_all(fresh)

    def encode_in_rust() -> None:
        for found in core.encode_batch(texts):
            _ = found.ids, found.type_ids, found.attention_mask, found.offsets

    for words, ours in {
        "known words": lambda: encode_all(warm),
        "new words": encode_all_anew,
    }.items():
        for name, theirs in {
            "Rust core": encode_in_rust,
            "transformers": lambda: library(texts, return_offsets_mapping=True),
        }.items():
            yield (words, name), compare(ours, theirs, seconds)
