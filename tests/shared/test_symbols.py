"""Symbols as numbers, there and back."""

import pytest
import torch

from bertbook.shared.symbols import (
    BEGIN,
    END,
    PAD,
    CharacterVocabulary,
    exact_match,
    pad_sequences,
)


def test_a_vocabulary_goes_there_and_back():
    vocabulary = CharacterVocabulary("banana年")
    assert len(vocabulary) == 7
    numbers = vocabulary.encode("nab年", end=True)
    assert numbers == [5, 3, 4, 6, END]
    assert vocabulary.decode([BEGIN, *numbers, 4, PAD]) == "nab年"
    with pytest.raises(ValueError, match=r"'box' has .* \['o', 'x'\]"):
        vocabulary.encode("box")


def test_the_special_symbols_are_the_first_three_numbers():
    assert (PAD, BEGIN, END) == (0, 1, 2)
    vocabulary = CharacterVocabulary("bab")
    assert vocabulary.characters == ["a", "b"]
    assert len(vocabulary) == 5
    assert vocabulary.encode("ab") == [3, 4]
    assert vocabulary.encode("", end=True) == [END]
    assert vocabulary.decode([PAD, 4, BEGIN, 3, PAD]) == "ba"
    assert vocabulary.decode([END, 3]) == ""
    assert CharacterVocabulary("").encode("") == []


def test_sequences_are_padded():
    padded, lengths = pad_sequences([[5], [6, 7, 8]])
    assert padded.tolist() == [[5, PAD, PAD], [6, 7, 8]]
    assert lengths.tolist() == [1, 3]
    assert padded.dtype == lengths.dtype == torch.long
    with pytest.raises(ValueError, match="none may be empty"):
        pad_sequences([[5], []])
    with pytest.raises(ValueError, match="at least one"):
        pad_sequences([])


def test_exact_match_asks_for_the_end_too():
    written = torch.tensor([[3, END, PAD], [3, 4, END], [3, 3, 3], [4, END, PAD]])
    target = torch.tensor([[3, END], [3, END], [3, END], [3, END]])
    assert exact_match(written, target).tolist() == [True, False, False, False]
    assert exact_match(target, written).tolist() == [True, False, False, False]


@pytest.mark.parametrize("more", [0, 1, 3])
def test_the_amount_of_padding_does_not_decide_a_match(more):
    written = torch.tensor([[3, 4, END], [3, END, PAD]])
    target = torch.nn.functional.pad(written, (0, more), value=PAD)
    assert exact_match(written, target).tolist() == [True, True]
    assert exact_match(target, written).tolist() == [True, True]
    target[0, 1] = 5
    assert exact_match(written, target).tolist() == [False, True]
    longer = torch.tensor([[3, 4, END, END], [3, END, PAD, END]])
    assert exact_match(written, longer).tolist() == [False, False]
    assert exact_match(longer, written).tolist() == [False, False]
