"""Exercises that check themselves: one module a chapter, one function an exercise.

A check takes the reader's answer and returns a :class:`Verdict`. It looks for the usual
mistakes before it says "wrong", and an answer still left as ``...`` is no mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

__all__ = [
    "Verdict",
    "as_number",
    "correct",
    "is_open",
    "open_answer",
    "takes_number",
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


def correct(message: str) -> Verdict:
    """The answer is right; the message says what follows from it."""
    return Verdict(True, f"✓ Right. {message}")


def wrong(hint: str) -> Verdict:
    """The answer is not right; the hint says where to look, not what to write."""
    return Verdict(False, f"✗ Not yet. {hint}")


def is_open(answer: object) -> bool:
    """Whether the reader has not put in an answer: the dots still stand."""
    return answer is ...


def open_answer() -> Verdict:
    """The dots still stand."""
    return Verdict(
        False, "○ Open. Put your answer in place of the dots and run the cell again."
    )


def as_number(answer: object) -> float | None:
    """The answer as a number, or ``None`` if it is not one."""
    try:
        return float(answer)
    except (TypeError, ValueError):
        return None


def takes_number(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Let a check's first argument be a number: dots stay open, what is none is told so."""

    @wraps(check)
    def checked(answer: object, *rest, **options) -> Verdict:
        if is_open(answer):
            return open_answer()
        value = as_number(answer)
        if value is None:
            return wrong(f"One number is asked for; this is {answer!r}.")
        return check(value, *rest, **options)

    return checked
