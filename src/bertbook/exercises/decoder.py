"""The exercises of the chapter *The decoder*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises.answers import describe, draw
from bertbook.exercises.checker import Code, Judged, Number, Stop, call, wrong
from bertbook.shared.symbols import BEGIN, PAD

__all__ = [
    "check_cache",
    "check_crossover",
    "check_leak_test",
    "check_masks",
    "check_parameters",
]

check_parameters = Number(
    "Exercise 1: parameters of one decoder layer of the base model (d = 512, inner width 4d), "
    "biases and LayerNorms included.",
    right=4_204_032,
    praise="16d² + 19d, against 12d² + 13d of an encoder layer.",
    hints={
        "That is an encoder layer.": 3_152_384,
        "The matrices are right. Biases and LayerNorms are missing.": 4_194_304,
        "The three LayerNorms are missing.": 4_200_960,
        "There are three sub-layers, so three LayerNorms.": 4_203_008,
        "Cross-attention has its own matrices for keys and values; none is handed over.": 3_678_720,
        "The feed-forward network has two biases.": 4_201_472,
        "That is the whole stack; one layer is asked for.": 25_224_192,
    },
    otherwise=(
        "Add up two attentions, one feed-forward network, three LayerNorms, all with biases."
    ),
)

_NAMES = "encoder", "decoder", "cross-attention"


def _source_and_inputs() -> list[tuple[Tensor, Tensor]]:
    source = torch.tensor([[5, 3, 7, 4], [6, 8, PAD, PAD]])
    return [(source, torch.tensor([[BEGIN, 4, 7], [BEGIN, 8, PAD]]))]


def _masks(source: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (B, S), T = source.shape, inputs.shape[1]
    real = (source != PAD)[:, None, :]  # [B, 1, S]
    past = torch.ones(B, T, T, dtype=torch.bool).tril()
    return real.expand(B, S, S), past, real.expand(B, T, S)


def _masks_hiding_padding(source: Tensor, inputs: Tensor) -> tuple[Tensor, ...]:
    encoder, decoder, cross = _masks(source, inputs)
    return encoder, decoder & (inputs != PAD)[:, None], cross


def _read_masks(answer: object) -> tuple[Tensor, ...]:
    right = _masks(*_source_and_inputs()[0])
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        hint = "Three masks are asked for: of encoder, decoder, cross-attention."
        raise Stop(wrong(hint))
    masks = []
    for name, mask, expected in zip(_NAMES, answer, right, strict=True):
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            hint = f"{name}: a boolean tensor is asked for, True = may look."
            raise Stop(wrong(hint))
        try:
            masks.append(mask.expand(expected.shape))
        except RuntimeError:
            shapes = f"{list(mask.shape)} does not broadcast to {list(expected.shape)}"
            raise Stop(wrong(f"{name}: {shapes}, one row a query.")) from None
    return tuple(masks)


def _masks_hint(found: tuple, right: tuple, source: Tensor, inputs: Tensor) -> str:
    (encoder, decoder, _), (real, past, _) = found, right
    if torch.equal(encoder, ~real) or torch.equal(decoder, ~past):
        return "Inverted: True means that this query may look at this key."
    if torch.equal(encoder, encoder.tril()):
        return "encoder: the source is all there, nothing has to be causal."
    if not torch.equal(encoder, real):
        return "encoder: every token may look at every real source token."
    if not decoder.diagonal(dim1=1, dim2=2)[inputs != PAD].all():
        return "decoder: a position may look at itself; what it predicts stands one step further."
    if torch.equal(decoder, past.mT):
        return "decoder: transposed; here each position sees the future."
    if (decoder & ~past).any():
        return "decoder: some position may look at what comes after it."
    if not torch.equal(
        decoder | (inputs == PAD)[:, None], past | (inputs == PAD)[:, None]
    ):
        return "decoder: every position may look at all real ones before it and itself."
    return (
        "cross-attention: the keys are the source's, so the source's padding is what hides; "
        "all of the real source is there at every step."
    )


check_masks = Code(
    "Exercise 2: the three masks of an encoder-decoder: takes the source [B, S] and the decoder's "
    "inputs [B, T], both padded behind with 0; returns the masks of encoder, decoder and "
    "cross-attention, boolean, True = may look, which broadcast to [B, S, S], [B, T, T], "
    "[B, T, S].",
    inputs=_source_and_inputs,
    right=_masks,
    praise="Two masks by the source's padding, one by the order in time.",
    also={
        "The target's padding need not be masked, though: it stands behind all real positions.": (
            _masks_hiding_padding
        )
    },
    read=_read_masks,
    form="Three masks are asked for; this is {found}.",
    otherwise=_masks_hint,
)

Decode = Callable[[Tensor, bool], Tensor]


def _running_mean(tables: dict[bool, Tensor], drop: bool) -> Decode:
    """A small decoder: each output is the mean of the vectors its row of the mask allows.

    Args:
        tables: the mask ``[T, T]`` in training (``True``) and in evaluation (``False``).
        drop: whether training draws a dropout.
    """
    vectors = draw(20, 6)

    def decode(inputs: Tensor, training: bool) -> Tensor:
        mask = tables[training].double()  # [T, T]
        states = vectors[inputs]  # [B, T, D]
        if drop and training:
            states = torch.dropout(states, 0.5, train=True)
        return mask @ states / mask.sum(dim=-1, keepdim=True)  # [B, T, D]

    return decode


def _decoders() -> dict[str, tuple[bool, Decode]]:
    """Decoders that leak and some that do not: for each what it means to judge it wrongly."""
    past = torch.ones(6, 6, dtype=torch.bool).tril()  # [T, T]
    everything = torch.ones_like(past)
    far, late = past.clone(), past.clone()
    far[1, 5] = True  # a single look, four steps ahead
    late[4, 5] = True
    hints = {
        "A clean decoder without dropout is said to leak.": (past, past),
        "A clean decoder is said to leak in training: its dropout differs between your two "
        "calls. Set the same seed before each.": (past, past),
        "No mask at all is missed.": (everything, everything),
        "A mask that exists only in training is missed: test evaluation too.": (
            past,
            everything,
        ),
        "A mask that exists only in evaluation is missed: test training too.": (
            everything,
            past,
        ),
        "A look from the last position but one at the last is missed: change that one too.": (
            (late, late)
        ),
        "A look four steps ahead is missed: compare all outputs before the changed symbol, not "
        "only the one just before it.": (far, far),
    }
    return {
        hint: (
            number > 1,
            _running_mean({True: training, False: evaluation}, number > 0),
        )
        for number, (hint, (training, evaluation)) in enumerate(hints.items())
    }


def _leak_test_hint(function: Callable[[Decode, Tensor], bool]) -> str | None:
    for hint, (leaks, decode) in _decoders().items():
        inputs = torch.tensor([[BEGIN, 4, 7, 9, 5, 12], [BEGIN, 8, 8, 3, 11, 6]])
        answer = call(function, decode, inputs)
        if not isinstance(answer, bool):
            return f"True or False is asked for; this is {describe(answer)}."
        if answer != leaks:
            return hint
    return None


check_leak_test = Judged(
    "Exercise 3: a test that tells whether a decoder looks ahead: takes decode and inputs [B, T], "
    "symbols below 20. decode(inputs, training) returns outputs [B, T, D] and draws its dropout, "
    "in training, from the global random state. Returns True if the decoder leaks.",
    praise="It passes the clean decoders and finds all five that leak.",
    hint=_leak_test_hint,
)

check_crossover = Number(
    "Exercise 4: the alpha at which two hypotheses score the same: log-probability -1.2 with 4 "
    "symbols, -1.5 with 10.",
    right=math.log(1.25) / math.log(15 / 9),
    tolerance=5e-3,
    praise="ln 1.25 / ln (15/9): above it the longer one wins.",
    hints={
        "The penalty is ((5 + length)/6) to the power of alpha, not the length itself.": 0.24353,
        "The sign: the longer one has the lower log-probability and the larger penalty.": -0.43683,
        "That is the logarithm of 1.5/1.2; divide by that of the penalties' ratio.": 0.22314,
        "Alpha is an exponent: take logarithms.": 0.75,
    },
    otherwise="Set 1.2 / (9/6)^α equal to 1.5 / (15/6)^α and solve for α.",
)

check_cache = Number(
    "Exercise 5: how many numbers the key/value cache of the base model keeps for one sentence: "
    "six decoder layers, d = 512, eight heads, a source of 30 symbols, 20 written.",
    right=307_200,
    praise="2 · L · d · (T + S); only the T in it grows as it writes.",
    hints={
        "Keys and values are kept.": 153_600,
        "That is one layer; each of the six has its own.": 51_200,
        "The heads share the width: 8 heads of 64.": 2_457_600,
        "That is one head; there are eight.": 38_400,
        "That is the self-attention's. The cross-attention's are kept too.": 122_880,
        "That is the cross-attention's. The self-attention's are kept too.": 184_320,
        "That is the number of vectors; each has 512 numbers.": 600,
    },
    otherwise=(
        "For each layer: a key and a value of width d for every symbol written and every one read."
    ),
)
