"""transformer.generation: cache, greedy choice and beam search against what they stand for."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.symbols import BEGIN, END, PAD
from bertbook.transformer import generation
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.encoder import TransformerConfig
from bertbook.transformer.generation import (
    Reader,
    beam_search,
    greedy,
    length_penalty,
)
from tests.transformer.library_twins import close


def model(vocab_size=11, seed=0, sharpness=3.0, **choices):
    """Random weights whose choices are neither even nor the same everywhere."""
    torch.manual_seed(seed)
    config = TransformerConfig.tiny(
        vocab_size, num_decoder_layers=2, tie_weights=False, **choices
    )
    made = Transformer(config).eval()
    with torch.no_grad():
        made.output.weight *= sharpness
    return made


def sources(batch, vocab_size=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, vocab_size, (batch, 5), generator=generator)
    for row in range(batch):
        source[row, 5 - row % 4 :] = PAD
    return source


@torch.no_grad()
def log_probability(transformer, source, written):
    """Of a whole sequence, by teacher forcing."""
    target = torch.tensor([written])
    steps = transformer(source, shift_right(target)).log_softmax(-1)
    return steps.gather(-1, target[..., None]).sum().item()


CHOICES = [{}, {"norm_first": True, "positions": "learned"}, {"d_k": 3}]


@pytest.mark.parametrize("choices", CHOICES)
@given(seed=st.integers(0, 2**31), length=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_the_cache_changes_no_logit(choices, seed, length):
    """Step by step with it, step by step without, and all at once."""
    transformer = model(seed=seed, **choices)
    source = sources(3, seed=seed)
    inputs = torch.randint(3, 11, (3, length))
    inputs[:, 0] = BEGIN
    with torch.no_grad():
        whole = transformer(source, inputs)
        kept, anew = Reader(transformer, source), Reader(transformer, source, False)
        for step in range(length):
            for reader in (kept, anew):
                logits = reader.next_logits(inputs[:, : step + 1])
                close(logits, whole[:, step])


def test_with_the_cache_the_newest_symbol_alone_is_computed(monkeypatch):
    """And the source's keys once, not at every step."""
    transformer, lengths, source_keys = model(), [], []
    transformer.embedding.register_forward_pre_hook(
        lambda _, inputs: lengths.append(inputs[0].shape[1])
    )
    transformer.decoder.layers[0].cross_attention.key.register_forward_pre_hook(
        lambda *_: source_keys.append(None)
    )
    # No end symbol, so that both write all four.
    monkeypatch.setattr(generation, "END", -1)
    for use_cache, expected in ((True, [1, 1, 1, 1]), (False, [1, 2, 3, 4])):
        lengths.clear()
        source_keys.clear()
        greedy(transformer, sources(2), 4, use_cache)
        assert lengths == [5, *expected]  # the source first
        assert len(source_keys) == (1 if use_cache else 4)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_greedy_writes_the_same_with_and_without_cache_alone_and_in_a_batch(seed):
    transformer, source = model(seed=seed), sources(4, seed=seed)
    written = greedy(transformer, source, 12)
    assert torch.equal(greedy(transformer, source, 12, use_cache=False), written)
    for row in range(4):
        alone = greedy(transformer, source[row : row + 1], 12)[0]
        length = len(alone)
        assert torch.equal(alone, written[row, :length])
        assert (written[row, length:] == PAD).all()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_greedy_takes_the_most_probable_symbol_each_time(seed):
    transformer, source = model(seed=seed), sources(1, seed=seed)
    written = greedy(transformer, source, 8)
    with torch.no_grad():
        best = transformer(source, shift_right(written)).argmax(-1)
    assert torch.equal(best, written)


def scripted(monkeypatch, rows):
    """Let the model want to write given symbols, whatever it reads."""
    steps = []

    def next_logits(self, prefix):
        steps.append(prefix.shape[1])
        every = (rows * len(prefix))[: len(prefix)]
        wanted = [row[prefix.shape[1] - 1] for row in every]
        return torch.nn.functional.one_hot(torch.tensor(wanted), 11).float() * 50

    monkeypatch.setattr(Reader, "next_logits", next_logits)
    return steps


def test_after_the_end_symbol_there_is_padding_and_nothing_is_computed(monkeypatch):
    rows = [[4, 5, END, 6, 7, 8, 9], [3, END, 9, 9, END, 9, 9], [END, 5, 5, 5, 5, 5, 5]]
    steps = scripted(monkeypatch, rows)
    written = greedy(model(), sources(3), 7)
    assert written.tolist() == [[4, 5, END], [3, END, PAD], [END, PAD, PAD]]
    assert steps == [1, 2, 3]
    written = greedy(model(), sources(3), 2)
    assert written.tolist() == [[4, 5], [3, END], [END, PAD]]


def test_beam_search_ends_where_the_end_symbol_is_best(monkeypatch):
    steps = scripted(monkeypatch, [[4, 5, END, 6, 7, 8, 9]])
    written, score = beam_search(model(), sources(1), 7, alpha=0)
    assert written.tolist() == [[4, 5, END]]
    assert score == pytest.approx(0, abs=1e-5)
    assert steps == [1, 2, 3]


def test_unfinished_hypotheses_are_given_if_none_ends(monkeypatch):
    scripted(monkeypatch, [[4, 5, 6, 7, 8]])
    written, score = beam_search(model(), sources(1), 3, beam_size=2)
    assert written.tolist() == [[4, 5, 6]]
    assert score == pytest.approx(0, abs=1e-5)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_beam_of_one_without_penalty_is_the_greedy_choice(seed):
    transformer, source = model(seed=seed), sources(1, seed=seed)
    written, score = beam_search(transformer, source, 9, beam_size=1, alpha=0)
    expected = greedy(transformer, source, 9)
    assert torch.equal(written, expected)
    probability = log_probability(transformer, source, expected[0].tolist())
    assert score == pytest.approx(probability, abs=1e-4)


@given(
    seed=st.integers(0, 2**31),
    beam_size=st.integers(1, 6),
    alpha=st.sampled_from([0, 0.6, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_the_score_is_the_log_probability_over_the_penalty(seed, beam_size, alpha):
    transformer, source = model(5, seed, 1.5), sources(1, 5, seed)
    written, score = beam_search(transformer, source, 7, beam_size, alpha)
    symbols = written[0].tolist()
    assert len(symbols) <= 7
    assert END not in symbols[:-1]
    expected = log_probability(transformer, source, symbols)
    expected /= length_penalty(len(symbols), alpha)
    assert score == pytest.approx(expected, abs=1e-4)
    again = beam_search(transformer, source, 7, beam_size, alpha, use_cache=False)
    assert torch.equal(again[0], written)
    assert again[1] == pytest.approx(score, abs=1e-4)


@given(seed=st.integers(0, 2**31), alpha=st.sampled_from([0, 0.6, 3.0]))
@settings(max_examples=16, deadline=None)
def test_a_beam_wide_enough_finds_the_best_of_all(seed, alpha):
    """Against every sequence of up to four symbols that ends."""
    vocab_size, longest = 4, 4
    transformer, source = model(vocab_size, seed, 1.5), sources(1, vocab_size, seed)
    scored = []
    others = [symbol for symbol in range(vocab_size) if symbol != END]
    for length in range(1, longest + 1):
        for front in product(others, repeat=length - 1):
            whole = [*front, END]
            score = log_probability(transformer, source, whole)
            scored.append((score / length_penalty(length, alpha), whole))
    best, sequence = max(scored)
    written, score = beam_search(transformer, source, longest, 3**longest, alpha)
    assert score == pytest.approx(best, abs=1e-4)
    runner_up = sorted(scored)[-2][0]
    if best - runner_up > 1e-4:
        assert written[0].tolist() == sequence


def test_a_wider_beam_finds_what_the_greedy_choice_misses(monkeypatch):
    """After 3 nothing is likely, after the less likely 4 the end is certain."""

    def next_logits(self, prefix):
        rows = []
        for row in prefix.tolist():
            chances = {3: 0.6, 4: 0.4} if len(row) == 1 else {5: 0.5, 6: 0.5, END: 0}
            if row[-1] == 4:
                chances = {END: 1.0}
            if len(row) > 2:
                chances = {END: 1.0}
            rows.append([chances.get(symbol, 0.0) + 1e-9 for symbol in range(11)])
        return torch.tensor(rows).log()

    monkeypatch.setattr(Reader, "next_logits", next_logits)
    assert greedy(model(), sources(1), 5)[0].tolist()[0] == 3
    narrow, low = beam_search(model(), sources(1), 5, beam_size=1, alpha=0)
    wide, high = beam_search(model(), sources(1), 5, beam_size=2, alpha=0)
    assert narrow[0, 0] == 3
    assert wide.tolist() == [[4, END]]
    assert high == pytest.approx(torch.tensor(0.4).log().item(), abs=1e-4)
    assert low == pytest.approx(torch.tensor(0.3).log().item(), abs=1e-4)


def test_the_search_goes_on_while_a_longer_hypothesis_could_still_win(monkeypatch):
    """Ending at once is likelier, but three more symbols are certain after the other choice."""
    certain = {
        BEGIN: {END: 0.5, 3: 0.45, 4: 0.05},
        3: {5: 1.0},
        5: {6: 1.0},
        6: {END: 1.0},
    }

    def next_logits(self, prefix):
        rows = [certain.get(row[-1], {END: 1.0}) for row in prefix.tolist()]
        return torch.tensor(
            [[row.get(symbol, 0.0) + 1e-9 for symbol in range(11)] for row in rows]
        ).log()

    monkeypatch.setattr(Reader, "next_logits", next_logits)
    for longest, alpha, expected, chance, penalty in (
        (4, 1.0, [3, 5, 6, END], 0.45, 9 / 6),
        (4, 0.0, [END], 0.5, 1),
        (3, 1.0, [END], 0.5, 1),
    ):
        written, score = beam_search(model(), sources(1), longest, 2, alpha)
        assert written.tolist() == [expected]
        best = torch.tensor(chance).log().item() / penalty
        assert score == pytest.approx(best, abs=1e-4)


def test_the_penalty_makes_up_for_length():
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(7, 1.0) == 2
    assert length_penalty(50, 0) == 1
    assert length_penalty(13, 0.5) == pytest.approx(3**0.5)


def test_the_papers_beam_is_what_is_not_chosen():
    """K = 4 and alpha = 0.6: a wider beam or another penalty gives other results."""
    others = {"beam_size": 3}, {"beam_size": 5}, {"alpha": 0.0}, {"alpha": 1.0}
    differ = [False] * len(others)
    for seed in range(12):
        transformer, source = model(7, seed, 1.5), sources(1, 7, seed)
        usual = beam_search(transformer, source, 7)
        same = beam_search(transformer, source, 7, beam_size=4, alpha=0.6)
        assert torch.equal(usual[0], same[0])
        assert usual[1] == same[1]
        for place, choice in enumerate(others):
            score = beam_search(transformer, source, 7, **choice)[1]
            differ[place] |= abs(score - usual[1]) > 1e-3
    assert all(differ)


def test_reader_follows_the_chosen_rows():
    transformer, source = model(), sources(3)
    rows = torch.tensor([2, 0, 2])
    prefix = torch.tensor([[BEGIN, 4], [BEGIN, 5], [BEGIN, 6]])
    for use_cache in (True, False):
        with torch.no_grad():
            reader = Reader(transformer, source, use_cache)
            for length in (1, 2):
                reader.next_logits(prefix[:, :length])
            reader.select(rows)
            longer = torch.cat([prefix[rows], torch.full((3, 1), 7)], dim=1)
            expected = transformer(source[rows], longer)[:, -1]
            logits = reader.next_logits(longer)
        close(logits, expected)


ONE = torch.tensor([[3, 4, 5]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: greedy(m.train(), ONE, 3), ValueError, r"training mode.*eval\(\)"),
        (lambda m: beam_search(m.train(), ONE, 3), ValueError, "training mode"),
        (lambda m: Reader(m.train(), ONE), ValueError, "training mode"),
        (lambda m: greedy(m, ONE, 0), ValueError, "max_length .*got 0"),
        (lambda m: beam_search(m, ONE, 0), ValueError, "max_length=0"),
        (lambda m: beam_search(m, ONE, 3, 0), ValueError, "beam_size=0"),
        (lambda m: beam_search(m, ONE, 3, 2, -1.0), ValueError, "alpha=-1.0"),
        (lambda m: beam_search(m, ONE.expand(2, 3), 3), ValueError, "got 2"),
        (lambda m: greedy(m, ONE + 20, 3), ValueError, r"0\.\.10, got 23"),
        (lambda m: greedy(m, ONE.float(), 3), TypeError, "torch.float32"),
        (lambda m: greedy(m, ONE * PAD, 3), ValueError, "no key at all"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(model())


def test_writing_beyond_the_last_position_is_an_error_not_a_wrong_text(monkeypatch):
    monkeypatch.setattr(generation, "END", -1)
    assert greedy(model(max_length=6), ONE, 6).shape == (1, 6)
    with pytest.raises(ValueError, match="7 positions are more than max_length=6"):
        greedy(model(max_length=6), ONE, 7)
