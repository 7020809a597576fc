"""The exercises of the chapter *Sequence to sequence*."""

import torch
from torch import Tensor

from bertbook.exercises.answers import describe, numbers
from bertbook.exercises.checker import Code, Judged, Number, Several, Stop, call, wrong
from bertbook.shared.symbols import BEGIN, END, PAD

__all__ = ["check_exact_match", "check_generate", "check_inputs", "check_mean_loss"]

check_inputs = Several(
    "Exercise 1: the numbers that the decoder reads under teacher forcing to learn the target "
    "5 3 7 end.",
    right=(BEGIN, 5, 3, 7),
    praise="Step t reads the true symbol t − 1 and has to predict symbol t.",
    read=numbers,
    form="A list of numbers is asked for, such as [5, 3]; this is {found}.",
    hints={
        "That is the target itself: the decoder would read what it has to predict.": (
            5,
            3,
            7,
            END,
        ),
        "Shifted the wrong way: a step would read what comes after its answer.": (
            3,
            7,
            END,
            PAD,
        ),
        "One too many: after the end symbol nothing is predicted, so nothing reads it.": (
            (BEGIN, 5, 3, 7, END)
        ),
        "What does the decoder read before it has written anything?": (5, 3, 7),
        "The shift is right, but 2 says end; which symbol says begin?": (END, 5, 3, 7),
        "The shift is right, but 0 is padding; which symbol says begin?": (
            PAD,
            5,
            3,
            7,
        ),
    },
    otherwise="As many inputs as targets: begin, then the target without its last.",
)

check_exact_match = Number(
    "Exercise 2: the chance that 16 symbols and the end are all right, at 98 % each, to two "
    "decimals or better.",
    right=0.98**17,
    tolerance=5.1e-3,
    praise="0.98^17 = 0.709: a high accuracy per symbol is a modest one per sequence.",
    hints={
        "A probability lies between 0 and 1.": (1.001, 100),
        "That is one step. All of them have to be right.": 0.98,
        "Chances of failure do not add up: two failures in one string count once.": 0.66,
        "Nearly: the end symbol has to come at the right place as well.": 0.7238,
    },
    otherwise="Independent events: multiply, once for every symbol written.",
)


def _losses_and_target() -> list[tuple[Tensor, Tensor]]:
    losses = torch.tensor([[1.0, 2.0, 3.0, 6.0], [4.0, 8.0, 9.0, 9.0]])
    return [(losses, torch.tensor([[5, 3, 7, END], [4, END, PAD, PAD]]))]


check_mean_loss = Code(
    "Exercise 3: the mean loss of a padded batch: takes the loss of every symbol [B, T] and the "
    "target [B, T], returns the mean over the real symbols.",
    inputs=_losses_and_target,
    right=lambda losses, target: losses[target != PAD].mean().item(),
    praise="Mask the losses of the symbols, then sum, then divide by their number.",
    form="One number is asked for, a scalar tensor or a float; this is {found}.",
    hints={
        "The mean over everything: the padding is counted.": 42 / 8,
        "Padding adds nothing to the sum now, but it is still in the divisor.": 24 / 8,
        "The mean came first: a mask on a scalar masks nothing.": 42 / 8 * 6 / 8,
        "That is the sum. By how many symbols must it be divided?": 24.0,
        "Divided by the number of sequences; the mean per symbol is asked for.": 24 / 2,
        "A mean of means: a symbol of the short sequence counts twice.": (
            12 / 4 + 12 / 2
        )
        / 2,
        "The end symbols are missing: to stop has to be learnt, too.": 10 / 4,
    },
    otherwise="Sum the losses where the target is not padding; how many are there?",
)


class _Decoder:
    """A decoder that can be followed by hand: it writes its path if it is read back rightly."""

    def __init__(self, *path: int):
        self.path = path
        self.symbols: list[int] = []
        self.states: list[object] = []

    def __call__(self, symbol: int, state: int | None) -> tuple[Tensor, int]:
        self.symbols.append(int(symbol))
        self.states.append(state)
        if len(self.symbols) > 50:
            hint = "It does not stop: at the end symbol, or after max_length symbols."
            raise Stop(wrong(hint))
        place = 0 if state is None else state
        on_path = place < len(self.path) - 1 and int(symbol) == self.path[place]
        best = self.path[place + 1] if on_path else 4
        return torch.nn.functional.one_hot(torch.tensor(best), 8).float(), place + 1


def _generate_hint(function) -> str | None:
    decoder, endless = _Decoder(BEGIN, 5, 3, 7, END), _Decoder(BEGIN, *[6] * 60)
    answers = call(function, decoder, 8), call(function, endless, 6)
    written, long = map(numbers, answers)
    if written is None or long is None:
        return f"A list of numbers is asked for; this is {describe(answers[0])}."
    symbols, states = decoder.symbols, decoder.states
    if not symbols or symbols[0] != BEGIN or states[0] is not None:
        return "The first call is step(BEGIN, None): nothing has been written yet."
    if len(symbols) > 1 and set(states) == {None}:
        return "The state is thrown away: hand the one that step returned to the next."
    if len(symbols) > 1 and set(symbols) == {BEGIN}:
        return "Every step reads begin. It has to read the symbol written last."
    if written[:1] == (BEGIN,):
        return "The begin symbol is read, not written."
    if written == (5, 3, 7):
        return "The end symbol belongs to what is written."
    if written[:4] == (5, 3, 7, END) and len(written) > 4:
        return "It writes on after the end symbol."
    if written != (5, 3, 7, END):
        symbols = [int(symbol) for symbol in written]
        return f"It should write 5, 3, 7, end; it writes {symbols}. Take the argmax."
    if len(long) != 6:
        return f"At most max_length = 6 symbols; it wrote {len(long)}."
    return None


check_generate = Judged(
    "Exercise 4: the loop of greedy generation: takes step and max_length; step(symbol, state) "
    "returns the logits [V] of the next symbol and the next state, the first state is None. It "
    "returns the list of the symbols written, the end symbol included.",
    praise="Its own last symbol goes in, the state goes on, end or max_length stops it.",
    hint=_generate_hint,
)
