"""Write a trained model as a checkpoint in Hugging Face's format."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import CheckpointError
from bertbook.shared.training import write_atomically
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

__all__ = ["save_folder"]


def save_folder(
    model: BertForPreTraining, tokenizer: WordPieceTokenizer, folder: Path | str
) -> None:
    """Write a checkpoint that :meth:`BertForPreTraining.from_pretrained` and ``transformers`` load.

    Args:
        model: with both heads, compiled or not; what it uses twice is stored once.
        tokenizer: its vocabulary.
        folder: where ``config.json``, ``vocab.txt``, ``tokenizer_config.json`` and, last,
            ``model.safetensors`` go, each whole or not at all.

    Raises:
        CheckpointError: if the names of the weights are not those of ``BertForPreTraining``, or
            ``transformers`` does not find all weights in the folder.
    """
    folder = Path(folder)
    config = {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        **asdict(model.config),
    }
    reading = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.basic.do_lower_case,
        "model_max_length": model.config.max_position_embeddings,
    }
    texts = {
        "config.json": json.dumps(config, indent=1) + "\n",
        "tokenizer_config.json": json.dumps(reading, indent=1) + "\n",
        "vocab.txt": "".join(f"{piece}\n" for piece in tokenizer.pieces),
    }
    for name, text in texts.items():
        write_atomically(
            folder / name,
            lambda path, text=text: path.write_text(text, "utf-8", newline="\n"),
        )
    # torch.compile puts its prefix before a model's or a layer's names.
    state = {
        name.replace("_orig_mod.", ""): parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
    }
    with torch.device("meta"):
        expected = dict(BertForPreTraining(model.config).named_parameters())
    if odd := sorted(state.keys() ^ expected.keys()):
        raise CheckpointError(f"weights have other names than a BERT's: {odd[:5]}")
    write_atomically(
        folder / "model.safetensors",
        lambda path: save_file(state, path, {"format": "pt"}),
    )
    _load_once(folder)


def _load_once(folder: Path) -> None:
    import transformers  # slow to import, and only here needed

    progress = transformers.utils.logging
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        _, report = transformers.BertForPreTraining.from_pretrained(
            folder, output_loading_info=True
        )
    finally:
        if shown:
            progress.enable_progress_bar()
    if wrong := {name: list(keys)[:5] for name, keys in report.items() if keys}:
        raise CheckpointError(f"transformers does not load {folder} whole: {wrong}")
