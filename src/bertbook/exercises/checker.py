"""The checker of all exercises: an exercise is data, and calling it judges an answer.

A right answer is recognised first; only then are the usual mistakes looked for, in the order in
which they are listed. An answer still left as ``...`` is not a mistake.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import extract_tb

import numpy as np
import torch

from bertbook.exercises.answers import alike, as_number, describe, same

__all__ = [
    "Code",
    "Exercise",
    "Judged",
    "Number",
    "Several",
    "Stop",
    "Verdict",
    "call",
    "correct",
    "wrong",
]


@dataclass(frozen=True)
class Verdict:
    """What a check says: whether the answer passed, and a sentence; true if it passed."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.message


OPEN = Verdict(
    False, "○ Open. Put your answer in place of the dots and run the cell again."
)


def correct(message: str) -> Verdict:
    """The answer is right; the message says what follows from it."""
    return Verdict(True, f"✓ Right. {message}")


def wrong(hint: str) -> Verdict:
    """The answer is not right; the hint says where to look, not what to write."""
    return Verdict(False, f"✗ Not yet. {hint}")


class Stop(Exception):
    """Ends a check with a verdict, wherever the check stands."""

    def __init__(self, verdict: Verdict):
        super().__init__(verdict)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class Exercise:
    """A question. Calling it with an answer returns a :class:`Verdict`, whatever the answer is.

    Attributes:
        question: what is asked for; of a function, what it takes and what it returns.
        right: the right answer.
        praise: what follows from it.
        hints: for each hint the mistake that it answers, or a list of them.
        otherwise: the hint when none of them fits, or a function that makes it.
    """

    question: str = field(kw_only=False)
    right: object = None
    praise: str
    hints: Mapping[str, object] = field(default_factory=dict)
    otherwise: str | Callable[..., str] = ""

    def __call__(self, answer: object) -> Verdict:
        """Judge an answer. The random generators of the process are left as they were."""
        if answer is ...:
            return OPEN
        with _generators_kept():
            try:
                return self.judge(answer)
            except Stop as stop:
                return stop.verdict

    def judge(self, answer: object) -> Verdict:
        """Compare an answer that is not open with the right one, then with the mistakes.

        Raises:
            Stop: it cannot be compared; the verdict says why.
        """
        raise NotImplementedError

    def first_hint(self, meets: Callable[[object], bool]) -> str | None:
        """The hint to the first mistake that the answer meets."""
        for hint, mistakes in self.hints.items():
            if any(map(meets, mistakes if isinstance(mistakes, list) else [mistakes])):
                return hint
        return None

    def last_hint(self, *details: object) -> str:
        """The hint when the answer meets none; the details are for a function that makes it."""
        made = callable(self.otherwise)
        return self.otherwise(*details) if made else self.otherwise


@dataclass(frozen=True, kw_only=True, eq=False)
class Number(Exercise):
    """An exercise whose answer is one number.

    A mistake in ``hints`` is a number or the ends ``(low, high)`` of a range.

    Attributes:
        tolerance: how far from a value an answer may be, right or mistaken; in the value's unit.
    """

    tolerance: float = 0.0

    def judge(self, answer: object) -> Verdict:
        """See :class:`Exercise`."""
        value = as_number(answer)
        if value is None:
            return wrong(f"One number is asked for; this is {describe(answer)}.")

        def meets(number: float | tuple[float, float]) -> bool:
            if isinstance(number, tuple):
                return number[0] <= value <= number[1]
            return abs(value - number) <= self.tolerance

        if meets(self.right):
            return correct(self.praise)
        return wrong(self.first_hint(meets) or self.last_hint(value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Several(Exercise):
    """An exercise whose answer is several numbers or strings.

    The right answer is a tuple, or a frozen set where the order is without meaning. A mistake in
    ``hints`` is such a value, in which ``...`` stands for anything, or a function that says
    whether the values show it. ``otherwise`` may be a function of the values.

    Attributes:
        read: turns an answer into such a value, or into ``None`` if it has another form.
        form: what to say then; ``{found}`` stands for the answer.
        tolerance: how far from a number an answer may be, right or mistaken.
    """

    read: Callable[[object], tuple | frozenset | None]
    form: str
    tolerance: float = 0.0

    def judge(self, answer: object) -> Verdict:
        """See :class:`Exercise`."""
        values = self.read(answer)
        if values is None:
            return wrong(self.form.format(found=describe(answer)))

        def meets(mistake: object) -> bool:
            if callable(mistake):
                return mistake(values)
            return same(values, mistake, self.tolerance)

        if meets(self.right):
            return correct(self.praise)
        return wrong(self.first_hint(meets) or self.last_hint(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class Code(Exercise):
    """An exercise whose answer is a function, tried on the same inputs as the right one.

    A mistake in ``hints`` is a function that makes it, or what such a function returns (``...``
    in it stands for anything). ``otherwise`` may be a function of the reader's result, the right
    one and the arguments, those of the first call that went wrong.

    Attributes:
        inputs: makes the arguments of each call, anew every time.
        also: other right functions, by what is said to them.
        read: turns what the reader's function returns into what can be compared, or ``None``.
        form: what to say when the result has another type or shape than the right one; ``{found}``
            stands for it.
        tolerance: how far from another a result may be that counts as the same.
        kept: the hint for a function that changes its arguments, if it must not.
        further: for each hint more inputs, on which a function must be right as well.
    """

    inputs: Callable[[], Sequence[tuple]]
    also: Mapping[str, Callable] = field(default_factory=dict)
    read: Callable[[object], object] = lambda result: result
    form: str
    tolerance: float = 1e-6
    kept: str = ""
    further: Mapping[str, Callable[[], Sequence[tuple]]] = field(default_factory=dict)

    def judge(self, answer: object) -> Verdict:
        """See :class:`Exercise`."""
        given = self.inputs()
        results = [call(answer, *arguments) for arguments in given]
        if self.kept and not same(given, self.inputs(), 0):
            return wrong(self.kept)
        found = list(map(self.read, results))

        def meets(other: object) -> bool:
            return same(found, self._results(other), self.tolerance)

        for praise, function in {self.praise: self.right, **self.also}.items():
            if meets(function):
                hint = self._further_hint(answer)
                return wrong(hint) if hint else correct(praise)
        if hint := self.first_hint(meets):
            return wrong(hint)
        right = self._results(self.right)
        for result, *pair in zip(results, found, right, strict=True):
            if not alike(*pair):
                return wrong(self.form.format(found=describe(result)))
        calls = zip(found, right, self.inputs(), strict=True)
        one, other, arguments = next(
            call for call in calls if not same(*call[:2], self.tolerance)
        )
        return wrong(self.last_hint(one, other, *arguments))

    def _results(self, function: object) -> list:
        if not callable(function):
            return [function for _ in self.inputs()]
        return [function(*arguments) for arguments in self.inputs()]

    def _further_hint(self, answer: Callable) -> str | None:
        for hint, inputs in self.further.items():
            found = [self.read(call(answer, *arguments)) for arguments in inputs()]
            right = [self.right(*arguments) for arguments in inputs()]
            if not same(found, right, self.tolerance):
                return hint
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged(Exercise):
    """An exercise whose answer is a function that no comparison of results can judge.

    Attributes:
        hint: tries the reader's function, through :func:`call`, and returns a hint, or ``None``
            if it is right.
    """

    hint: Callable[[Callable], str | None]

    def judge(self, answer: object) -> Verdict:
        """See :class:`Exercise`."""
        hint = self.hint(answer)
        return correct(self.praise) if hint is None else wrong(hint)


def call(
    function: object,
    *arguments: object,
    errors: Mapping[type[Exception], str] | None = None,
) -> object:
    """Call the reader's function.

    Args:
        function: the reader's answer.
        arguments: what it is called with.
        errors: hints for exceptions of some types.

    Returns:
        What it returns.

    Raises:
        Stop: it is not a function, it raises an exception, or it still returns dots.
    """
    if not callable(function):
        raise Stop(wrong(f"A function is asked for; this is {describe(function)}."))
    try:
        result = function(*arguments)
    except Stop:
        raise
    except Exception as error:
        places = extract_tb(error.__traceback__)[1:2]  # the first behind this function
        where = "".join(f" in the line: {place.line}" for place in places)
        hint = f"The function raises {type(error).__name__} ({error}){where}"
        for kind, special in (errors or {}).items():
            hint = special if isinstance(error, kind) else hint
        raise Stop(wrong(hint)) from error
    parts = result if isinstance(result, tuple | list) else [result]
    if any(part is ... for part in parts):
        raise Stop(OPEN)
    return result


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put the random generators of Python, NumPy and torch back to where they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
