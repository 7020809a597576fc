"""The book's own BERT: vocabulary and weights from scratch, out of the book's real text.

Articles of Wikipedia, films with their reviews, and the Bible in two versions, the training part of
each. The vocabulary is learned from the same text. Short sequences first, long ones at the end.
Measured on documents of every kind that no training has seen, beside what counting words achieves
and beside an LSTM that reads the same masked text from both sides.

    python experiments/mini_bert.py [--smoke] [--resume]

Started by `accelerate launch` it trains in several processes.
"""

import json
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from bertbook.bert_config import BertConfig
from bertbook.corpora.documents import KINDS, load_documents
from bertbook.masking import MaskingRule, PieceTable
from bertbook.pretraining import BertForPreTraining
from bertbook.pretraining_data import Stage
from bertbook.pretraining_run import PreTraining, pretrain, read_log
from bertbook.results import RESULTS, Results, experiment_arguments
from bertbook.sentence_pairs import sentence_pairs
from bertbook.training import count_parameters, seed_everything, write_atomically
from bertbook.wordpiece import WordPieceTokenizer
from bertbook.wordpiece_training import count_words, learn_vocabulary, pair_count

NAME = "mini_bert"
WEIGHTS = RESULTS.parent / "weights"
SEED = 0
CONFIG = {
    "vocabulary": {"size": 8192, "min_count": 2},
    "model": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "max_position_embeddings": 128,
    },
    # No dropout: a text returns nine times, each time with other masks.
    "dropout_in_training": 0.0,
    "stages": [[4500, 64, 64], [700, 128, 32]],
    "learning_rate": 1e-3,
    "warmup": 300,
    "weight_decay": 0.01,
    "betas": [0.9, 0.98],
    "mixed_precision": "bf16",
    "measured_pairs": 400,
    "documents": None,
}
SMOKE = {
    **CONFIG,
    "vocabulary": {"size": 700, "min_count": 2},
    "model": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
    "stages": [[3, 16, 4], [2, 32, 2]],
    "warmup": 1,
    "measured_pairs": 4,
    "documents": 6,
}


@cache
def texts(part: str, kind: str | None = None, count: int | None = None) -> tuple:
    """Documents of a part as tuples of sentences; of each kind at most ``count``."""
    found = []
    for name in KINDS if kind is None else (kind,):
        documents = [
            d.sentences
            for d in load_documents()
            if d.kind == name and d.part == part and len(d.sentences) > 1
        ]
        found += documents[:count]
    return tuple(found)


def vocabulary(config: dict) -> list[str]:
    """The pieces, learned from the training part."""
    words = count_words(
        sentence
        for document in texts("train", None, config["documents"])
        for sentence in document
    )
    return learn_vocabulary(words, score=pair_count, **config["vocabulary"]).pieces


def numbers(tokenizer: WordPieceTokenizer, documents: tuple) -> list[list[list[int]]]:
    """Documents as the numbers of their pieces; what yields no piece is left out."""
    known = tokenizer.vocabulary
    encoded = [
        [[known[piece] for piece in tokenizer.tokenize(s)] for s in document]
        for document in documents
    ]
    encoded = [[sentence for sentence in d if sentence] for d in encoded]
    return [document for document in encoded if document]


def model_config(config: dict, pieces: list[str]) -> BertConfig:
    """Sizes, with the usual dropout, for whoever fine-tunes."""
    return BertConfig(vocab_size=len(pieces), **config["model"])


def settings_of(config: dict) -> PreTraining:
    """How it is trained."""
    return PreTraining(
        stages=tuple(Stage(*stage) for stage in config["stages"]),
        learning_rate=config["learning_rate"],
        warmup=config["warmup"],
        weight_decay=config["weight_decay"],
        betas=tuple(config["betas"]),
        seed=SEED,
        checkpoint_every=250,
    )


def train(config: dict, pieces: list[str], work: Path) -> BertForPreTraining:
    """Train, or go on training, in the folder ``work``."""
    tokenizer = WordPieceTokenizer(pieces)
    documents = numbers(tokenizer, texts("train", None, config["documents"]))
    without = config["dropout_in_training"]
    sizes = BertConfig(
        vocab_size=len(pieces),
        **config["model"],
        hidden_dropout_prob=without,
        attention_probs_dropout_prob=without,
    )
    seed_everything(SEED)
    return pretrain(
        BertForPreTraining(sizes),
        lambda shard: documents,
        PieceTable(pieces),
        settings_of(config),
        work,
        mixed_precision=config["mixed_precision"],
        progress=NAME,
    )


def store(model: BertForPreTraining, config: dict, pieces: list[str], folder: Path):
    """Write a folder as Hugging Face's BERT has it, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: t.half().contiguous() for name, t in model.state_dict().items()}
    for twice in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
        state.pop(twice, None)
    write_atomically(
        folder / "model.safetensors",
        lambda path: save_file(state, path, {"format": "pt"}),
    )
    store_vocabulary(pieces, folder)
    described = {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        **asdict(model_config(config, pieces)),
    }
    text = json.dumps(described, indent=1)
    write_atomically(
        folder / "config.json",
        lambda path: path.write_text(text + "\n", encoding="utf-8"),
    )


def store_vocabulary(pieces: list[str], folder: Path) -> None:
    """Write ``vocab.txt``."""
    write_atomically(
        folder / "vocab.txt",
        lambda path: path.write_text("\n".join(pieces) + "\n", encoding="utf-8"),
    )
