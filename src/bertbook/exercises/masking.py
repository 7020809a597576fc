"""The exercises on BERT's masking strategy."""

from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises.answers import as_number, describe
from bertbook.exercises.checker import Judged, Number, call
from bertbook.pretraining.masking import IGNORED

__all__ = [
    "check_counts",
    "check_epochs",
    "check_layers_until_leak",
    "check_mask_function",
    "check_posterior",
]

check_counts = Number(
    "Exercise 1: how many [MASK] are expected in a pair of segments of 512 tokens, unpadded?",
    right=60.8,
    tolerance=0.33,  # 61.08, without rounding the 76, is right as well
    praise="509 may be selected, 76 are, 80 % of them become [MASK].",
    hints={
        "[CLS] and the two [SEP] are never selected.": 61.44,
        "That is how many are selected; not all of them become [MASK].": [76, 76.35],
        "80 % of the selected, not of all.": 407.2,
        "That is how many become random; as many stay.": 7.6,
    },
    otherwise="Count the tokens that may be selected, take 15 %, then 80 % of those.",
)

check_posterior = Number(
    "Exercise 3: the probability that a selected visible token is the true one, the context read, "
    "if the context gives the token 0.001 and 30,000 pieces are drawn from.",
    right=30 / 31 * (1 + 1 / 30_000),
    tolerance=1.9e-3,
    praise="p/(p + 1/V): a token that its context gives more than 1/V is rather believed.",
    hints={
        "That is before the context is read. A random piece fits the context rarely.": 0.5,
        "That is the share among all visible tokens; this one is selected.": 0.98295,
        "The context alone says so. That the token stands there is evidence too.": (
            (0.00099, 0.00101)
        ),
        "That is the probability that a random one stands there.": 0.03226,
    },
    otherwise="Weigh 'kept', 0.1 · p, against 'drawn', 0.1 / V.",
)

check_epochs = Number(
    "Exercise 5: the expected share of tokens never asked for in 40 readings with dynamic masks.",
    right=0.85**40,
    tolerance=3e-5,
    praise=(
        "0.85 to the power of 40: almost every token is asked for; with one fixed mask 85 % never."
    ),
    hints={
        "That is one fixed (static) mask, or one reading.": 0.85,
        "That is the share asked for at least once.": (0.98, 1),
        "That is the share asked for each time.": 0.0,
        "All selected tokens are asked for, not only those behind [MASK].": 0.006016,
    },
    otherwise=(
        "Each reading leaves a token out with probability 0.85, independently of the others."
    ),
)


def _layers_hint(function: Callable[[Tensor], int | None]) -> str | None:
    identity = torch.eye(5, dtype=torch.bool)
    everything = torch.ones_like(identity)
    ring = identity.roll(1, 0)
    broken = ring & (torch.arange(5) != 2)[:, None]
    cases = {
        "With every look allowed, one layer is enough.": (everything, 1),
        "Where only the look at itself is forbidden, two layers are enough: there and back.": (
            (~identity, 2)
        ),
        "Where all look only back, no number of layers leads a token to itself.": (
            (everything.tril(-1), None)
        ),
        "Where each looks at its neighbour in a ring, it takes as many layers as tokens.": (
            (ring, 5)
        ),
        "A ring with one link missing never closes.": (broken, None),
    }
    for hint, (mask, right) in cases.items():
        answer = call(function, mask)
        if answer is not None and as_number(answer) is None:
            return (
                f"A number of layers or None is asked for; this is {describe(answer)}."
            )
        if answer != right:
            return hint
    return None


check_layers_until_leak = Judged(
    "Exercise 4: after how many layers a token can see itself: takes who may look at whom in every "
    "layer, boolean [S, S], without residual connections; returns the smallest number of layers "
    "after which some token can see itself, or None if that never happens.",
    praise="The diagonal of the mask's powers says it.",
    hint=_layers_hint,
)


def _mask_function_hint(function: Callable[..., tuple]) -> str | None:
    V, mask_id = 105, 4
    special = torch.arange(V) < 5
    ids = torch.randint(5, V, (400, 100), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[:, 60], ids[:, 90:] = 2, 3, 0  # [B, S]
    given = ids.clone(), special.clone()
    answer = call(function, *given, mask_id, torch.Generator().manual_seed(0))
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "The model's input and the labels are asked for, two tensors."
    inputs, labels = answer
    if not torch.equal(given[0], ids):
        return "The text itself was changed: work on a copy."
    if any(not isinstance(x, Tensor) or x.shape != ids.shape for x in answer):
        return f"Both have the shape of the ids, {list(ids.shape)}."
    if inputs.dtype != ids.dtype or ((inputs < 0) | (inputs >= V)).any():
        return "The model's input consists of pieces: whole numbers below V."
    ordinary, hidden = ~special[ids], inputs == mask_id  # [B, S]
    asked, changed = labels != IGNORED, inputs != ids  # [B, S]
    if (~ordinary & (asked | changed)).any():
        return "[CLS], [SEP] or padding was selected or changed."
    if not asked.any() or asked[ordinary].all():
        return "Only some tokens must be asked for: 15 %."
    if not torch.equal(labels[asked], ids[asked]):
        return "The label is the token that stood there at first."
    if (changed & ~asked).any():
        return "A token that is changed must be asked for."
    if torch.equal(asked, hidden):
        return "The loss is on all selected tokens, not only on [MASK]."
    if torch.equal(asked, changed):
        return "Tokens that stay are asked for too: their label is not -100."
    if special[inputs[changed & ~hidden]].any():
        return "A random piece is an ordinary one, not a special token."
    count = int(asked.sum())
    shares = {
        "selected": (count / int(ordinary.sum()), 0.15),
        "[MASK] among the selected": (int((hidden & asked).sum()) / count, 0.8),
        "changed to another piece among the selected": (
            int((changed & ~hidden).sum()) / count,
            0.1,
        ),
    }
    for name, (share, right) in shares.items():
        # Five standard deviations, and the random piece that is by chance the true one.
        bound = 5 * (right * (1 - right) / count) ** 0.5 + 0.002
        if abs(share - right) > bound:
            return f"{name}: {share:.3f}, expected about {right}."
    return None


check_mask_function = Judged(
    "Exercise 2: the rule, with a coin for each token: takes ids [B, S], which pieces are special "
    "[V], the number of [MASK] and a generator; returns the model's input and the labels, both "
    "[B, S], -100 where nothing is asked.",
    praise="Selected, hidden, replaced and kept as in BERT; the loss is on all selected.",
    hint=_mask_function_hint,
)
