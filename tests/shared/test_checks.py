"""What each check lets pass and what it refuses, at the edge on both sides."""

import pytest
import torch

from bertbook.shared.checks import (
    check_lengths,
    check_mask,
    check_sizes,
    check_states,
    check_symbols,
)

LONG = torch.tensor([[0, 4], [3, 1]])
LENGTHS = torch.tensor([1, 3, 2])
X = torch.zeros(2, 3, 4)
MASK = torch.ones(2, 1, 3, 5, dtype=torch.bool)
SCORES = (2, 4, 3, 5)


def hiding(shape, *place):
    """A mask of that shape that forbids all keys at one place."""
    mask = torch.ones(shape, dtype=torch.bool)
    mask[place] = False
    return mask


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_sizes(),
        lambda: check_sizes(width=1, length=7),
        lambda: check_symbols("ids", LONG, 5),
        lambda: check_symbols("ids", LONG[:1, :1], 1),
        lambda: check_lengths(LENGTHS, 3),
        lambda: check_lengths(LENGTHS.int(), 4),
        lambda: check_lengths(LENGTHS.to(torch.uint8), 3),
        lambda: check_states("states", X, 2, 3, 4),
        lambda: check_states("states", X, "B", "T", 4),
        lambda: check_states("states", X.double(), "B", "T", "D"),
        lambda: check_states("states", X[:1, :1].bfloat16(), "B", "T", 4),
        lambda: check_states("states", X, "...", "T", 4),
        lambda: check_states("states", X[0], "...", "T", 4),
        lambda: check_states("states", X[None, None], "...", "T", 4),
        lambda: check_mask(None, SCORES),
        lambda: check_mask(MASK, SCORES),
        lambda: check_mask(MASK.expand(SCORES), SCORES),
        lambda: check_mask(MASK[0, 0], SCORES),
        lambda: check_mask(MASK[0], SCORES),
        lambda: check_mask(MASK[0, 0, :1], SCORES),
        lambda: check_mask(MASK[..., :1], SCORES),
        lambda: check_mask(torch.eye(5, dtype=torch.bool), (2, 4, 5, 5)),
        # A key that no query may look at is no mistake: padding.
        lambda: check_mask(hiding((3, 5), slice(None), 4), SCORES),
    ],
)
def test_what_is_right_passes(call):
    assert call() is None


REFUSED = [
    (lambda: check_sizes(width=3, length=0), ValueError, "length .*1, got 0"),
    (lambda: check_sizes(width=-1), ValueError, "width must be at least 1, got -1"),
    (lambda: check_symbols("ids", LONG, 4), ValueError, r"ids .*0\.\.3, got 0\.\.4"),
    (lambda: check_symbols("ids", LONG - 1, 9), ValueError, r"0\.\.8, got -1\.\.3"),
    (lambda: check_symbols("ids", LONG[0], 5), ValueError, r"length\], got \[2\]"),
    (lambda: check_symbols("ids", LONG[None], 5), ValueError, r"got \[1, 2, 2\]"),
    (lambda: check_symbols("ids", LONG[:0], 5), ValueError, r"got \[0, 2\]"),
    (lambda: check_symbols("ids", LONG[:, :0], 5), ValueError, r"got \[2, 0\]"),
    (lambda: check_symbols("ids", LONG.int(), 5), TypeError, "long .*torch.int32"),
    (lambda: check_symbols("ids", LONG.bool(), 5), TypeError, "torch.bool"),
    (lambda: check_symbols("ids", LONG.float(), 5), TypeError, "torch.float32"),
    (lambda: check_lengths(LENGTHS, 2), ValueError, r"in 1\.\.2, got \[3\]"),
    (lambda: check_lengths(LENGTHS - 1, 3), ValueError, r"in 1\.\.3, got \[0\]"),
    (lambda: check_lengths(LENGTHS - 3, 3), ValueError, r"got \[-2, 0, -1\]"),
    (lambda: check_lengths(LENGTHS[0], 3), ValueError, r"\[B\], got \[\]"),
    (lambda: check_lengths(LENGTHS[None], 3), ValueError, r"\[B\], got \[1, 3\]"),
    (lambda: check_lengths(LENGTHS.bool(), 3), TypeError, "integers, got torch.bool"),
    (lambda: check_lengths(LENGTHS.half(), 3), TypeError, "torch.float16"),
    (lambda: check_lengths(LENGTHS + 0j, 3), TypeError, "torch.complex64"),
    (
        lambda: check_states("x", X, "B", 2, 4),
        ValueError,
        r"x must have shape \[B, 2, 4\], got \[2, 3, 4\]",
    ),
    (lambda: check_states("x", X, 1, "T", 4), ValueError, r"\[1, T, 4\], got"),
    (lambda: check_states("x", X, "B", "T", 5), ValueError, r"\[B, T, 5\]"),
    (lambda: check_states("x", X[None], "B", "T", 4), ValueError, r"got \[1, 2, 3, 4"),
    (lambda: check_states("x", X[0], "B", "T", 4), ValueError, r"got \[3, 4\]"),
    (lambda: check_states("x", X[0, 0], "...", "T", 4), ValueError, r"got \[4\]"),
    (lambda: check_states("x", X, "...", "T", 5), ValueError, r"\[\.\.\., T, 5\]"),
    (lambda: check_states("x", X[:0], "B", "T", 4), ValueError, r"got \[0, 3, 4\]"),
    (lambda: check_states("x", X[:, :0], "B", "T", 4), ValueError, r"got \[2, 0, 4\]"),
    (lambda: check_states("x", X.long(), "B", "T", 4), TypeError, "x .*torch.int64"),
    (lambda: check_states("x", X.bool(), "B", "T", 4), TypeError, "torch.bool"),
    (lambda: check_mask(MASK.int(), SCORES), TypeError, "torch.int32; .*mask.bool"),
    (lambda: check_mask(MASK.float(), SCORES), TypeError, "boolean .*torch.float32"),
    (
        lambda: check_mask(MASK[:, 0], SCORES),
        ValueError,
        r"shape \[2, 3, 5\] does not fit the scores, \[2, 4, 3, 5\]",
    ),
    (lambda: check_mask(MASK[0, 0, 0], SCORES), ValueError, r"shape \[5\]"),
    (lambda: check_mask(MASK[None], SCORES), ValueError, r"\[1, 2, 1, 3, 5\]"),
    (lambda: check_mask(MASK[..., :4], SCORES), ValueError, r"\[2, 1, 3, 4\]"),
    (lambda: check_mask(MASK[:, :, :2], SCORES), ValueError, r"\[2, 1, 2, 5\]"),
    (
        lambda: check_mask(hiding((2, 1, 3, 5), 1, 0, 2), SCORES),
        ValueError,
        r"^1 of 6 rows .*no key at all, the first at index \[1, 0, 2\]; .*inverted",
    ),
    (lambda: check_mask(~MASK, SCORES), ValueError, r"6 of 6 rows .*\[0, 0, 0\]"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_under_the_compiler_no_number_in_a_tensor_is_asked_for(monkeypatch):
    """Neither of symbols nor of lengths nor of a mask; sizes and types stay refused."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    check_symbols("ids", LONG, 1)
    check_lengths(LENGTHS, 1)
    check_mask(~MASK, SCORES)
    with pytest.raises(ValueError, match="width"):
        check_sizes(width=0)
    with pytest.raises(ValueError, match="states"):
        check_states("states", X, "B", "T", 5)
