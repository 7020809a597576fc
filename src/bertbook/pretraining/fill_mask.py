"""Fill in a [MASK]: BERT with the head of masked language modelling alone.

MiniLM is published without such a head. ``experiments/minilm_mlm.py`` trained one together with
low-rank adapters of the encoder. Only the difference to the installed weights is stored.

B batch   S length   V vocabulary   N selected positions of the whole batch
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertbook.bert.config import BertConfig
from bertbook.bert.loading import bert_files, initialise, load_weights
from bertbook.bert.minilm import minilm_folder
from bertbook.bert.model import BertModel
from bertbook.pretraining.heads import BertLMPredictionHead, TiedToEmbeddings
from bertbook.pretraining.low_rank import add_adapters, merge_adapters
from bertbook.pretraining.masking import IGNORED
from bertbook.shared.files import WeightsError, check_sha256
from bertbook.shared.results import WEIGHTS, read_results
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

__all__ = [
    "BertForMaskedLM",
    "Guess",
    "MaskedLMOutput",
    "adapted_minilm",
    "fill_mask",
    "load_masked_lm",
    "load_minilm_mlm",
    "load_trained",
    "minilm_mlm_file",
    "minilm_without_head",
    "recorded_file",
]

NAME = "minilm_mlm"
REMEDY = "Take it out of the repository again, or make it: python experiments/{}.py"


class MaskedLMOutput(NamedTuple):
    """The output of one forward pass; what was not asked for is ``None``.

    Attributes:
        loss: mean cross-entropy at the selected positions, in nats.
        prediction_logits: with labels ``[N, V]``, only at the selected positions, in reading
            order; without, ``[B, S, V]``.
        hidden_states: as :class:`bertbook.bert.model.BertModelOutput`.
        attentions: as :class:`bertbook.bert.model.BertModelOutput`.
    """

    loss: Tensor | None
    prediction_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class BertForMaskedLM(TiedToEmbeddings):
    """BERT that predicts masked pieces: no pooler, no next-sentence head.

    Args:
        config: the sizes.

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = nn.ModuleDict({"predictions": BertLMPredictionHead(config)})
        initialise(self.cls, config.initializer_range)
        self.tie_weights()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> MaskedLMOutput:
        """Predict pieces; with labels, only at the positions they select, and compute the loss.

        Args:
            input_ids: this and the next three as :meth:`bertbook.bert.model.BertModel.forward`.
            attention_mask: see there.
            token_type_ids: see there.
            position_ids: see there.
            labels: ``[B, S]``, the number of the piece to predict, or
                :data:`bertbook.pretraining.masking.IGNORED`.
            output_hidden_states: as :meth:`bertbook.bert.model.BertModel.forward`.
            output_attentions: as :meth:`bertbook.bert.model.BertModel.forward`.

        Raises:
            TypeError: as the encoder.
            ValueError: if labels are of another shape or select nothing, or as the encoder.
        """
        if labels is not None and labels.shape != input_ids.shape:
            raise ValueError(
                f"labels must have shape {list(input_ids.shape)}, got {list(labels.shape)}"
            )
        selected = None if labels is None else labels != IGNORED  # [B, S]
        if selected is not None and not selected.any():
            raise ValueError(f"labels select no position: all are {IGNORED}")
        encoded = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        states, loss = encoded.last_hidden_state, None  # [B, S, D]
        if labels is not None:
            states = states[selected]  # [N, D]
        logits = self.cls.predictions(states)  # [N or B, S, V]
        if labels is not None:
            loss = F.cross_entropy(logits.float(), labels[selected])
        return MaskedLMOutput(loss, logits, encoded.hidden_states, encoded.attentions)


def minilm_without_head() -> BertForMaskedLM:
    """MiniLM's encoder from the installed package with a new random head, without dropout.

    Raises:
        WeightsError: as :func:`bertbook.bert.minilm.minilm_folder`.
    """
    config_path, weights_path = bert_files(minilm_folder())
    config = replace(
        BertConfig.from_json(config_path),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config)
    load_weights(model.bert, weights_path, ignore="pooler.")
    return model


def adapted_minilm(rank: int) -> BertForMaskedLM:
    """The model for training: MiniLM frozen, adapters and a new head trainable.

    Args:
        rank: of the adapters on all linear maps of the encoder; 0: none.

    Raises:
        ValueError: as :class:`bertbook.pretraining.low_rank.LowRank`.
        WeightsError: as :func:`bertbook.bert.minilm.minilm_folder`.
    """
    model = minilm_without_head()
    model.bert.requires_grad_(False)  # the decoder's matrix too: it is the word table
    if rank:
        add_adapters(model.bert.encoder, rank)
    return model


@torch.no_grad()
def load_trained(model: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Copy stored trained tensors into a model of the same structure.

    Args:
        model: its trainable parameters are overwritten.
        stored: a tensor for each of them, by name.

    Raises:
        WeightsError: if a tensor is missing, unexpected or of another shape.
    """
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    shapes = [{n: t.shape for n, t in given.items()} for given in (own, stored)]
    misfits = sorted(n for n in {*own, *stored} if len({s.get(n) for s in shapes}) > 1)
    if misfits:
        raise WeightsError(
            f"{len(misfits)} tensors are missing, unexpected or of another shape: {misfits[:5]}"
        )
    for name, parameter in own.items():
        parameter.copy_(stored[name])


def recorded_file(path: Path) -> Path:
    """The path of a stored difference, after its SHA-256 is compared with the experiment's record.

    Args:
        path: of the file; its name is that of the experiment that made it.

    Raises:
        FileNotFoundError: if there is no record.
        WeightsError: if the file is missing or another one.
    """
    name, remedy = path.stem, REMEDY.format(path.stem)
    runs = read_results(name)["runs"]
    expected = [r["metrics"]["sha256"] for r in runs if "sha256" in r["metrics"]]
    if len(expected) != 1:
        raise WeightsError(
            f"{name}.json names {len(expected)} files, not one. {remedy}"
        )
    return check_sha256(path, expected[0], remedy)


def minilm_mlm_file() -> Path:
    """The stored difference to MiniLM; errors as :func:`recorded_file`."""
    return recorded_file(WEIGHTS / f"{NAME}.safetensors")


def load_minilm_mlm(
    path: Path | None = None, *, merge: bool = True
) -> tuple[BertForMaskedLM, WordPieceTokenizer]:
    """MiniLM with the trained head, in float32 and evaluation mode.

    Args:
        path: of the difference; ``None``: the repository's, checked.
        merge: whether to add the adapters to the matrices, which gives an ordinary BERT.

    Returns:
        The model and its tokenizer, both new.

    Raises:
        FileNotFoundError: as :func:`minilm_mlm_file`.
        WeightsError: as :func:`minilm_mlm_file` and :func:`load_trained`.
    """
    from safetensors.torch import load_file

    stored = load_file(minilm_mlm_file() if path is None else path)
    ranks = {len(tensor) for name, tensor in stored.items() if name.endswith(".down")}
    model = adapted_minilm(max(ranks, default=0))
    load_trained(model, stored)
    if merge:
        merge_adapters(model)
    tokenizer = WordPieceTokenizer.from_folder(minilm_folder())
    return model.requires_grad_(False).eval(), tokenizer


def load_masked_lm(
    folder: Path | str, *, sha256: str | None = None
) -> tuple[BertForMaskedLM, WordPieceTokenizer]:
    """Load a BERT of your own from a Hugging Face folder with ``vocab.txt``, in evaluation mode.

    Pooler and next-sentence head are ignored if the checkpoint has them.

    Args:
        folder: with ``config.json``, ``model.safetensors`` and the vocabulary.
        sha256: the expected one of ``model.safetensors``.

    Raises:
        FileNotFoundError: if there is no vocabulary.
        ValueError: if configuration or vocabulary are not BERT's, or differ in vocabulary size.
        WeightsError: as :meth:`bertbook.bert.loading.FromPretrained.from_pretrained`.
    """
    folder = Path(folder)
    model = BertForMaskedLM.from_pretrained(
        folder, sha256=sha256, ignore=("pooler.", "cls.seq_relationship.")
    )
    tokenizer = WordPieceTokenizer.from_folder(
        folder, max_length=model.config.max_position_embeddings
    )
    if len(tokenizer) != model.config.vocab_size:
        raise ValueError(
            f"{folder} has {len(tokenizer)} pieces in its vocabulary, but its model has "
            f"{model.config.vocab_size}"
        )
    return model, tokenizer


class Guess(NamedTuple):
    """A piece that may stand at a [MASK].

    Attributes:
        piece: as in the vocabulary, ``##`` before one that continues a word.
        probability: the model's, among all pieces.
    """

    piece: str
    probability: float


@torch.no_grad()
def fill_mask(
    text: str,
    top: int = 10,
    *,
    model: nn.Module | None = None,
    tokenizer: WordPieceTokenizer | None = None,
) -> list[list[Guess]]:
    """The likeliest pieces for each [MASK]; each is guessed while the others stay masked.

    Args:
        text: with ``[MASK]`` in it, in capitals, once or more.
        top: how many guesses for each.
        model: a :class:`BertForMaskedLM` or
            :class:`bertbook.pretraining.heads.BertForPreTraining` in evaluation mode;
            ``None``: :func:`load_minilm_mlm`'s, kept after the first call.
        tokenizer: the model's; give both or neither.

    Returns:
        For each [MASK] its guesses, the likeliest first.

    Raises:
        TypeError: if ``text`` is not a string, or one of model and tokenizer is missing.
        ValueError: if the text is empty, has no [MASK] or does not fit into the model; if ``top``
            is not in 1..V; or if the model is in training mode.
        WeightsError: as :func:`load_minilm_mlm`.
    """
    if (model is None) != (tokenizer is None):
        raise TypeError("model and tokenizer must be given together")
    if not isinstance(text, str):
        raise TypeError(f"expected a text, got {type(text).__name__}")
    if not text.strip():
        raise ValueError(f"the text is empty: {text!r}")
    if "[MASK]" not in text:
        raise ValueError(f"the text has no [MASK] (in capitals): {text[:80]!r}")
    if model is None:
        model, tokenizer = _minilm_mlm()
    if not 1 <= top <= len(tokenizer):
        raise ValueError(f"top must lie in 1..{len(tokenizer)}, got {top}")
    if model.training:
        raise ValueError("the model is in training mode: call its eval() first")
    limit = model.config.max_position_embeddings
    length = len(tokenizer.tokenize(text)) + 2  # [CLS] and [SEP]
    if length > limit:
        raise ValueError(
            f"the text is too long: {length} pieces with [CLS] and [SEP], the model reads {limit}"
        )
    input_ids = torch.tensor([tokenizer.encode(text, max_length=limit).ids])  # [1, S]
    # The labels' values do not matter: they only say where to predict.
    labels = input_ids.where(input_ids == tokenizer.mask_id, IGNORED)
    logits = model(input_ids, labels=labels).prediction_logits  # [N, V]
    best = logits.float().softmax(-1).topk(top)  # [N, top]
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        [Guess(tokenizer.pieces[n], p) for n, p in zip(*row, strict=True)]
        for row in rows
    ]


@cache
def _minilm_mlm() -> tuple[BertForMaskedLM, WordPieceTokenizer]:
    return load_minilm_mlm()
