"""A BERT's weights: its random start, or real ones out of a folder or from the hub.

A checkpoint is Hugging Face's pair of ``config.json`` and ``model.safetensors``. Pickled weights
are
refused: unpickling runs whatever code the file holds.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from bertbook.bert.config import BertConfig
from bertbook.shared.files import WeightsError, check_sha256

__all__ = ["FromPretrained", "bert_files", "initialise", "load_weights"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Older checkpoints store what is not a weight: the default positions and token types.
DEFAULTS = ("embeddings.position_ids", "embeddings.token_type_ids")
SHOWN = 20  # names in a message; a wrong number of layers makes hundreds


@torch.no_grad()
def initialise(model: nn.Module, std: float) -> None:
    """Start as BERT does: matrices normal, biases zero, LayerNorm at the identity.

    The row of a table's padding is zero.

    Args:
        model: a model of linear maps, tables and LayerNorms.
        std: standard deviation of the matrices.

    Source: the code released with Devlin et al. 2019, which also cuts off the normal's tails.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


def bert_files(
    name_or_folder: str | Path, *, local_files_only: bool = False
) -> tuple[Path, Path]:
    """Find the two files of a checkpoint.

    Args:
        name_or_folder: a folder, or (only as a string, if no such folder exists) a name on the
            Hugging Face hub, ``owner/name``.
        local_files_only: whether a hub name is looked up only in what was downloaded before.

    Returns:
        The paths of ``config.json`` and ``model.safetensors``.

    Raises:
        WeightsError: if a file is missing, or the hub cannot be reached or does not have it.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise WeightsError(_missing_file(folder, name))
        return folder / CONFIG, folder / WEIGHTS
    if folder.exists() or isinstance(name_or_folder, Path):
        raise WeightsError(
            f"{folder} is not a folder; expected one with {CONFIG}, {WEIGHTS}"
        )

    from huggingface_hub import hf_hub_download

    paths = []
    for name in (CONFIG, WEIGHTS):
        try:
            path = hf_hub_download(
                name_or_folder, name, local_files_only=local_files_only
            )
        except (OSError, ValueError) as error:  # no network, no such name, no such file
            raise WeightsError(
                f"{name_or_folder!r} is not a folder, and the Hugging Face hub did not give "
                f"{name}: {type(error).__name__}: {error}\nWithout network, give a folder that "
                f"holds {CONFIG} and {WEIGHTS}."
            ) from error
        paths.append(Path(path))
    return paths[0], paths[1]


def _missing_file(folder: Path, name: str) -> str:
    found = sorted(p.name for p in folder.iterdir())
    message = f"{folder} has no {name}, only {found}"
    if name == WEIGHTS and f"{WEIGHTS}.index.json" in found:
        return f"{message}; weights in several files are not supported"
    if name == WEIGHTS and any(
        n.endswith((".bin", ".pt", ".pth", ".ckpt")) for n in found
    ):
        return (
            f"{message}; pickled weights are refused, since reading them can run any code. "
            "Where you trust the file, transformers' save_pretrained writes safetensors"
        )
    return message


def load_weights(
    model: nn.Module,
    source: Mapping[str, Tensor] | Path | str,
    *,
    ignore: Iterable[str] | str = (),
    fresh: Iterable[str] | str = (),
    prefix: str = "",
) -> None:
    """Copy weights into a model: every one of its parameters, and nothing is left over.

    Names are Hugging Face's. The prefix ``bert.`` that a model with heads gives its encoder may be
    there or not, and LayerNorm's old names ``gamma`` and ``beta`` are understood. Half precision
    is widened. If anything does not fit, the model stays as it was.

    Args:
        model: the model; weights that it uses twice need be given once.
        source: the tensors by name, or a safetensors file
            (``check_sha256(path, expected)`` returns its path once it is the expected one).
        ignore: beginnings of names that may be left over, such as ``cls.`` for the heads of
            pre-training.
        fresh: beginnings of names of the model's parameters that stay as they are, whatever the
            source has, such as ``classifier.`` for the head of a task.
        prefix: what a name of the source may lack: ``bert.`` fits an encoder alone into a model
            with a head.

    Raises:
        ValueError: if the model stands on the meta device, where it cannot hold weights.
        WeightsError: if the file is not safetensors, or a tensor is missing, left over, of another
            shape, or of a type that the model's cannot represent. Each one is named.
    """
    ignore, fresh = _beginnings(ignore), _beginnings(fresh)
    own = model.state_dict(keep_vars=True)
    if any(parameter.is_meta for parameter in own.values()):
        raise ValueError(
            "the model is on the meta device: call to_empty(device=...) first"
        )
    stored = source if isinstance(source, Mapping) else _read(Path(source))
    fitting: dict[str, str] = {}
    extra, misfits = [], []
    for given in stored:
        name = _own_name(given, own, prefix)
        if name in own and name.startswith(fresh):
            continue
        if name in DEFAULTS and name not in own:
            misfits += _unusual_default(given, stored[given])
        elif name not in own:
            extra += [] if name.startswith(ignore) else [given]
        elif name in fitting:
            misfits.append(f"{fitting[name]} and {given} both stand for {name}")
        else:
            fitting[name] = given
            misfits += _misfit(given, stored[given], own[name])
    filled = {id(own[name]) for name in fitting}
    missing = [
        name
        for name in own
        if id(own[name]) not in filled and not name.startswith(fresh)
    ]
    problems = {"missing": missing, "left over": extra, "not fitting": misfits}
    if any(problems.values()):
        listed = "\n".join(_listed(k, names) for k, names in problems.items() if names)
        where = "" if isinstance(source, Mapping) else f" of {source}"
        raise WeightsError(
            f"The tensors{where} do not fit {type(model).__name__} (leftovers that are meant can "
            f"be named in `ignore`, now {list(ignore)}, and what is to start anew must be named in "
            f"`fresh`, now {list(fresh)}):\n{listed}"
        )
    with torch.no_grad():
        for name, given in fitting.items():
            own[name].copy_(stored[given])


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"{path} is missing")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from None


def _beginnings(names: Iterable[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _own_name(given: str, own: Mapping[str, Tensor], prefix: str) -> str:
    for old, new in {"LayerNorm.gamma": "weight", "LayerNorm.beta": "bias"}.items():
        if given.endswith(old):
            given = f"{given.rpartition('.')[0]}.{new}"
    for name in (given, prefix + given):
        if name in own:
            return name
    return given.removeprefix("bert.")


def _unusual_default(given: str, stored: Tensor) -> list[str]:
    flat = stored.flatten()
    usual = torch.arange(len(flat)) if given.endswith("position_ids") else 0 * flat
    return [] if torch.equal(flat, usual.to(flat)) else [f"{given} are not the default"]


def _misfit(given: str, stored: Tensor, own: Tensor) -> list[str]:
    if stored.shape != own.shape:
        return [f"{given} has shape {list(stored.shape)}, expected {list(own.shape)}"]
    if (
        not stored.is_floating_point()
        or torch.promote_types(stored.dtype, own.dtype) != own.dtype
    ):
        return [f"{given} has type {stored.dtype}, which does not fit in {own.dtype}"]
    return []


def _listed(kind: str, names: list[str]) -> str:
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return f"{kind} ({len(names)}): {', '.join(names[:SHOWN] + more)}"


class FromPretrained:
    """What a BERT that can be loaded inherits.

    Attributes:
        prefix: see :func:`load_weights`.
    """

    prefix = ""

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        sha256: str | None = None,
        ignore: Iterable[str] | str = (),
        fresh: Iterable[str] | str = (),
        local_files_only: bool = False,
        **options,
    ) -> Self:
        """Load a checkpoint, in evaluation mode and in PyTorch's default type.

        Nothing starts fresh unless it is named. To fine-tune what was pre-trained:
        ``from_pretrained(folder, fresh="classifier.", ignore="cls.", num_labels=2)``.

        Args:
            name_or_folder: see :func:`bert_files`.
            sha256: the expected SHA-256 of ``model.safetensors``, in hexadecimal.
            ignore: see :func:`load_weights`. A model without a pooler ignores the pooler's weights.
            fresh: see :func:`load_weights`; what is fresh is drawn from PyTorch's global generator.
            local_files_only: see :func:`bert_files`.
            options: passed on to the class, such as ``add_pooling_layer`` or ``num_labels``.

        Raises:
            ValueError: if ``config.json`` asks for what the model does not have, or no parameter
                has a name that starts as ``fresh`` says.
            WeightsError: if a file cannot be found, is not the expected one, or does not fit.
        """
        config_path, weights_path = bert_files(
            name_or_folder, local_files_only=local_files_only
        )
        if sha256 is not None:
            check_sha256(weights_path, sha256)
        config = BertConfig.from_json(config_path)
        ignore, fresh = _beginnings(ignore), _beginnings(fresh)
        if fresh:
            model = cls(config, **options)
        else:
            # On the meta device nothing is drawn that the weights would only replace.
            with torch.device("meta"):
                model = cls(config, **options)
            model.to_empty(device="cpu")
        names = list(model.state_dict())
        for beginning in fresh:
            if not any(name.startswith(beginning) for name in names):
                raise ValueError(
                    f"no parameter of {cls.__name__} starts with {beginning!r}: {names[-4:]}"
                )
        if not any("pooler." in name for name in names):
            ignore = (*ignore, "pooler.")
        load_weights(model, weights_path, ignore=ignore, fresh=fresh, prefix=cls.prefix)
        return model.eval()
