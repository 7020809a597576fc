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


def test_sequences_are_padded():
    padded, lengths = pad_sequences([[5], [6, 7, 8]])
    assert padded.tolist() == [[5, PAD, PAD], [6, 7, 8]]
    assert lengths.tolist() == [1, 3]
    with pytest.raises(ValueError, match="none may be empty"):
        pad_sequences([[5], []])
    with pytest.raises(ValueError, match="at least one"):
        pad_sequences([])


def test_exact_match_asks_for_the_end_too():
    written = torch.tensor([[3, END, PAD], [3, 4, END], [3, 3, 3], [4, END, PAD]])
    target = torch.tensor([[3, END], [3, END], [3, END], [3, END]])
    assert exact_match(written, target).tolist() == [True, False, False, False]
    assert exact_match(target, written).tolist() == [True, False, False, False]
