"""Checks for the exercises of the chapter *Sequence to sequence*."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bertbook.exercises import Verdict, correct, is_open, open_answer, wrong
from bertbook.shared.symbols import BEGIN, END, PAD

__all__ = ["check_exact_match", "check_generate", "check_inputs", "check_mean_loss"]


def check_inputs(answer: object) -> Verdict:
    """Exercise 1: what the decoder reads under teacher forcing to learn the target 5 3 7 end.

    Args:
        answer: the numbers of the decoder's inputs.
    """
    if is_open(answer):
        return open_answer()
    try:
        numbers = [int(x) for x in answer]
    except (TypeError, ValueError):
        return wrong(
            f"A list of numbers is asked for, such as [5, 3]; this is {answer!r}."
        )
    if numbers == [5, 3, 7, END]:
        return wrong(
            "That is the target itself: the decoder would read what it has to predict."
        )
    if numbers == [3, 7, END, PAD]:
        return wrong(
            "Shifted the wrong way: at each step it would read the answer's successor."
        )
    if numbers == [BEGIN, 5, 3, 7, END]:
        return wrong(
            "One too many: after the end symbol nothing is predicted, so nothing reads it."
        )
    if numbers == [5, 3, 7]:
        return wrong("What does the decoder read before it has written anything?")
    if numbers == [END, 5, 3, 7]:
        return wrong("The shift is right, but 2 says end; which symbol says begin?")
    if numbers == [PAD, 5, 3, 7]:
        return wrong("The shift is right, but 0 is padding; which symbol says begin?")
    if numbers == [BEGIN, 5, 3, 7]:
        return correct(
            "Step t reads the true symbol t − 1 and has to predict symbol t."
        )
    return wrong("As many inputs as targets: begin, then the target without its last.")


def check_exact_match(answer: object) -> Verdict:
    """Exercise 2: the chance that 16 symbols and the end are all right, at 98 % each.

    Args:
        answer: the probability, to two decimals or better.
    """
    if is_open(answer):
        return open_answer()
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return wrong(f"One number is asked for; this is {answer!r}.")
    if 1 < value <= 100:
        return wrong("A probability lies between 0 and 1.")
    if math.isclose(value, 0.98):
        return wrong("That is one step. All of them have to be right.")
    if math.isclose(value, 1 - 17 * 0.02, abs_tol=1e-3):
        return wrong(
            "Chances of failure do not add up: two failures in one string count once."
        )
    if math.isclose(value, 0.98**16, abs_tol=1e-3):
        return wrong("Nearly: the end symbol has to come at the right place as well.")
    if math.isclose(value, 0.98**17, abs_tol=5.1e-3):
        return correct(
            "0.98^17 = 0.709: a high accuracy per symbol is a modest one per sequence."
        )
    return wrong("Independent events: multiply, once for every symbol written.")


def check_mean_loss(function: Callable[[Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 3: the mean loss of a padded batch.

    Args:
        function: takes the loss of every symbol ``[B, T]`` and the target ``[B, T]``, returns the
            mean over the real symbols.
    """
    if is_open(function):
        return open_answer()
    losses = torch.tensor([[1.0, 2.0, 3.0, 6.0], [4.0, 8.0, 9.0, 9.0]])
    target = torch.tensor([[5, 3, 7, END], [4, END, PAD, PAD]])
    result = function(losses.clone(), target.clone())
    if is_open(result):
        return open_answer()
    try:
        value = float(result)
    except (TypeError, ValueError, RuntimeError):
        return wrong("One number is asked for, a scalar tensor or a float.")
    hints = {
        42 / 8: "The mean over everything: the padding is counted.",
        24 / 8: "Padding adds nothing to the sum now, but it is still in the divisor.",
        42 / 8 * 6 / 8: "The mean came first: a mask on a scalar masks nothing.",
        24.0: "That is the sum. By how many symbols must it be divided?",
        24 / 2: "Divided by the number of sequences; the mean per symbol is asked for.",
        (12 / 4 + 12 / 2)
        / 2: "A mean of means: a symbol of the short sequence counts twice.",
        10 / 4: "The end symbols are missing: to stop has to be learnt, too.",
    }
    for mistake, hint in hints.items():
        if math.isclose(value, mistake, rel_tol=1e-6):
            return wrong(hint)
    if not math.isclose(value, 24 / 6, rel_tol=1e-6):
        return wrong(
            "Sum the losses where the target is not padding; how many are there?"
        )
    return correct(
        "Mask the losses of the symbols, then sum, then divide by their number."
    )


class _TooManyCalls(Exception):
    pass


class _Decoder:
    """A decoder that can be followed by hand: it writes 5, 3, 7, end if it is read back rightly."""

    def __init__(self, path: tuple[int, ...]):
        self.path = path
        self.calls: list[tuple[int, object]] = []

    def __call__(self, symbol: int, state: int | None) -> tuple[Tensor, int]:
        self.calls.append((int(symbol), state))
        if len(self.calls) > 50:
            raise _TooManyCalls
        place = 0 if state is None else state
        on_path = place < len(self.path) - 1 and int(symbol) == self.path[place]
        best = self.path[place + 1] if on_path else 4
        return torch.nn.functional.one_hot(torch.tensor(best), 8).float(), place + 1


def check_generate(function: Callable[[Callable, int], list[int]]) -> Verdict:
    """Exercise 4: the loop of greedy generation.

    Args:
        function: takes ``step`` and ``max_length``; ``step(symbol, state)`` returns the logits
            ``[V]`` of the next symbol and the next state, the first state is ``None``. It returns
            the list of the symbols written, the end symbol included.
    """
    if is_open(function):
        return open_answer()
    decoder = _Decoder((BEGIN, 5, 3, 7, END))
    endless = _Decoder((BEGIN, *[6] * 60))
    try:
        written = function(decoder, 8)
        if is_open(written):
            return open_answer()
        long = function(endless, 6)
    except _TooManyCalls:
        return wrong(
            "It does not stop: at the end symbol, or after max_length symbols."
        )
    try:
        written, long = [int(x) for x in written], [int(x) for x in long]
    except (TypeError, ValueError):
        return wrong(f"A list of numbers is asked for; this is {written!r}.")
    symbols = [symbol for symbol, _ in decoder.calls]
    states = [state for _, state in decoder.calls]
    if not symbols or symbols[0] != BEGIN or states[0] is not None:
        return wrong(
            "The first call is step(BEGIN, None): nothing has been written yet."
        )
    if len(symbols) > 1 and set(states) == {None}:
        return wrong(
            "The state is thrown away: hand the one that step returned to the next."
        )
    if len(symbols) > 1 and set(symbols) == {BEGIN}:
        return wrong("Every step reads begin. It has to read the symbol written last.")
    if written[:1] == [BEGIN]:
        return wrong("The begin symbol is read, not written.")
    if written == [5, 3, 7]:
        return wrong("The end symbol belongs to what is written.")
    if written[:4] == [5, 3, 7, END] and len(written) > 4:
        return wrong("It writes on after the end symbol.")
    if written != [5, 3, 7, END]:
        return wrong(
            f"It should write 5, 3, 7, end; it writes {written}. Take the argmax."
        )
    if len(long) != 6:
        return wrong(f"At most max_length = 6 symbols; it wrote {len(long)}.")
    return correct(
        "Its own last symbol goes in, the state goes on, end or max_length stops it."
    )
