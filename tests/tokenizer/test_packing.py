"""bertbook.tokenizer.packing: how much of two texts is kept, and how inputs are padded."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertbook.tokenizer.packing import Encoding, pad_batch, truncated_lengths

LENGTHS = st.integers(0, 30)


@given(LENGTHS, LENGTHS, LENGTHS)
def test_longest_first_fills_the_room_and_evens_out(first, second, room):
    a, b = truncated_lengths(first, second, room, "longest_first")
    assert a + b == min(first + second, room)
    assert 0 <= a <= first
    assert 0 <= b <= second
    # A text that was cut is as long as the other, or longer by at most one.
    assert a == first or a >= b - 1
    assert b == second or b >= a - 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(9, 3, (4, 3)), (3, 9, (3, 4)), (9, 5, (4, 3)), (5, 9, (3, 4)), (5, 5, (3, 4))],
)
def test_who_gets_the_odd_piece(first, second, expected):
    assert truncated_lengths(first, second, 7, "longest_first") == expected


def test_only_one_text_is_cut():
    assert truncated_lengths(9, 3, 7, "only_first") == (4, 3)
    assert truncated_lengths(3, 9, 7, "only_second") == (3, 4)
    for strategy in ("none", "longest_first", "only_first", "only_second"):
        assert truncated_lengths(4, 3, 7, strategy) == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 4, 7, "first"), "got 'first'"),
        ((4, 4, 7, "none"), "8 pieces do not fit.*room for 7"),
        ((1, 9, 7, "only_first"), "only_first has 1 pieces to cut 3 from"),
        ((3, 5, 3, "only_second"), "only_second has 5 pieces to cut 5 from"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        truncated_lengths(*arguments)


def encoding(length):
    numbers = list(range(1, length + 1))
    spans = [(i, i + 1) for i in range(length)]
    return Encoding(["x"] * length, numbers, [1] * length, [1] * length, spans)


def test_padding():
    batch = pad_batch([encoding(2), encoding(3)], 9, pad_to=4, return_offsets=True)
    assert batch["input_ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 9]]
    assert batch["token_type_ids"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch["offsets"].shape == (2, 4, 2)
    assert batch["offsets"][0, 2:].tolist() == [[0, 0], [0, 0]]
    assert {values.dtype for values in batch.values()} == {torch.long}
    shortest = pad_batch([encoding(2), encoding(3)], 9)
    assert shortest["input_ids"].shape == (2, 3)
    assert "offsets" not in shortest


def test_batches_that_are_none():
    with pytest.raises(ValueError, match="at least one input"):
        pad_batch([], 0)
    with pytest.raises(ValueError, match="has 3 pieces, but pad_to is 2"):
        pad_batch([encoding(2), encoding(3)], 0, pad_to=2)
