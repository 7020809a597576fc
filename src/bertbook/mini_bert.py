"""The book's own BERT, as `experiments/mini_bert.py` trained it: 4 layers of 256, 8,192 pieces."""

from pathlib import Path

from bertbook.pretrained import check_sha256
from bertbook.pretraining import BertForPreTraining
from bertbook.results import RESULTS
from bertbook.wordpiece import WordPieceTokenizer

__all__ = ["FOLDER", "SHA256", "load_mini_bert"]

FOLDER = RESULTS.parent / "weights" / "mini_bert"
SHA256 = {
    "model.safetensors": "55818fb822f3a1c2da8751e9931aa2f14debad951bb2aa31074b0319c5d140be",
    "vocab.txt": "3816ee5e3619d45262e56e611149c9deccabfb5011edc98e4972fb25f61843d2",
}


def load_mini_bert(
    folder: Path | str = FOLDER,
) -> tuple[BertForPreTraining, WordPieceTokenizer]:
    """Load the committed model with both heads, in evaluation mode, and its tokenizer.

    Args:
        folder: where ``config.json``, ``vocab.txt`` and ``model.safetensors`` stand.

    Returns:
        Model and tokenizer; new ones each time.

    Raises:
        WeightsError: if a file is missing or is not the committed one.
    """
    folder = Path(folder)
    for name, expected in SHA256.items():
        remedy = f"Take it from the repository: weights/mini_bert/{name}."
        check_sha256(folder / name, expected, remedy)
    model = BertForPreTraining.from_pretrained(folder, local_files_only=True)
    tokenizer = WordPieceTokenizer.from_vocab_file(
        folder / "vocab.txt", max_length=model.config.max_position_embeddings
    )
    return model, tokenizer
