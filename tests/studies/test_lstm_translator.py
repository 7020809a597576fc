"""studies.lstm_translator: its encoder, its attention, what it may see, and what it writes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.symbols import BEGIN, END, PAD
from bertbook.shared.training import count_parameters
from bertbook.studies.lstm_translator import LSTMTranslator, LSTMTranslatorConfig


def model(seed=0, **choices):
    torch.manual_seed(seed)
    sizes = {"d_embedding": 6, "d_state": 8, **choices}
    made = LSTMTranslator(LSTMTranslatorConfig(11, **sizes)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 2  # choices that are not all alike
    return made


def batch(rows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, 11, (rows, 5), generator=generator)
    for row in range(rows):
        source[row, 5 - 2 * row % 5 :] = PAD
    target = torch.randint(3, 11, (rows, 6), generator=generator)
    return source, shift_right(target)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_encoder_reads_each_source_alone_and_in_both_directions(layers):
    """Against the library without packing, one source at a time."""
    translator = model(num_layers=layers)
    source, _ = batch()
    states, (hidden, cell) = translator.encode(source)
    assert states.shape == (3, 5, 8)
    assert hidden.shape == cell.shape == (layers, 3, 8)
    for row in range(3):
        symbols = source[row][source[row] != PAD][None]
        vectors = translator.tokens(symbols) * 6**0.5
        own, (last, last_cell) = translator.encoder(vectors)
        close(states[row, : symbols.shape[1]], own[0])
        assert (states[row, symbols.shape[1] :] == 0).all()
        for layer in range(layers):
            forwards, backwards = last[2 * layer, 0], last[2 * layer + 1, 0]
            close(hidden[layer, row], torch.cat([forwards, backwards]))
            cells = last_cell[2 * layer, 0], last_cell[2 * layer + 1, 0]
            close(cell[layer, row], torch.cat(cells))
    # The last layer's final states are those of the last and of the first token.
    length = int((source[0] != PAD).sum())
    close(hidden[-1, 0, :4], states[0, length - 1, :4])
    close(hidden[-1, 0, 4:], states[0, 0, 4:])


def test_logits_are_attention_by_the_bilinear_score():
    translator = model()
    source, inputs = batch()
    logits, weights = translator(source, inputs, return_weights=True)
    assert torch.equal(translator(source, inputs), logits)
    memory, state = translator.encode(source)
    hidden, _ = translator.decoder(translator.tokens(inputs) * 6**0.5, state)
    for row in range(3):
        real = source[row] != PAD
        scores = hidden[row] @ translator.score.weight.T @ memory[row, real].T
        own = scores.softmax(-1)
        close(weights[row][:, real], own)
        assert (weights[row][:, ~real] == 0).all()
        joined = torch.cat([own @ memory[row, real], hidden[row]], dim=-1)
        mixed = torch.tanh(translator.combine(joined))
        close(logits[row], mixed @ translator.tokens.weight.T)
    close(weights.sum(-1), torch.ones(3, 6, dtype=torch.float64))


@given(seed=st.integers(0, 2**31), more=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_neither_padding_nor_the_rest_of_the_batch_matters(seed, more):
    translator = model()
    source, inputs = batch(seed=seed)
    logits = translator(source, inputs)
    longer = F.pad(source, (0, more), value=PAD)
    close(translator(longer, inputs), logits)
    for row in range(3):
        close(translator(source[row : row + 1], inputs[row : row + 1])[0], logits[row])


@pytest.mark.parametrize("training", [False, True])
def test_no_symbol_sees_a_later_one(training):
    translator = model().train(training)
    source, inputs = batch()

    def logits(inputs):
        torch.manual_seed(3)
        return translator(source, inputs)

    before = logits(inputs)
    for place in range(5):
        changed = inputs.clone()
        changed[:, place + 1 :] = (changed[:, place + 1 :] - 2) % 8 + 3
        after = logits(changed)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        assert not torch.equal(after[:, place + 1], before[:, place + 1])


def test_one_symbol_at_a_time_gives_what_all_at_once_give():
    translator = model()
    source, inputs = batch()
    expected, weights = translator(source, inputs, return_weights=True)
    memory, state = translator.encode(source)
    mask = translator.source_mask(source)
    for place in range(6):
        symbol = inputs[:, place : place + 1]
        logits, state, now = translator.decode(symbol, state, memory, mask)
        close(logits[:, 0], expected[:, place])
        close(now[:, 0], weights[:, place])


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_generation_takes_the_most_probable_symbol_up_to_the_end(seed):
    translator = model(seed)
    source, _ = batch(seed=seed)
    written = translator.generate(source, 9)
    assert written.shape[1] <= 9
    for row in range(3):
        symbols = written[row].tolist()
        if END in symbols:
            end = symbols.index(END)
            assert set(symbols[end + 1 :]) <= {PAD}
            symbols = symbols[: end + 1]
        target = torch.tensor([symbols])
        logits = translator(source[row : row + 1], shift_right(target))
        assert logits.argmax(-1)[0].tolist() == symbols
        alone = translator.generate(source[row : row + 1], 9)[0].tolist()
        assert alone == symbols


def test_generation_stops_when_all_have_ended(monkeypatch):
    rows, asked = [[4, 5, END, 7], [END, 6, 6, 6], [3, END, END, 8]], []

    def decode(symbol, state, memory, mask):
        asked.append(symbol[:, 0].tolist())
        wanted = torch.tensor([[row[len(asked) - 1]] for row in rows])
        return F.one_hot(wanted, 11).double(), state, None

    translator = model()
    monkeypatch.setattr(translator, "decode", decode)
    written = translator.generate(batch()[0], 4)
    assert written.tolist() == [[4, 5, END], [END, PAD, PAD], [3, END, PAD]]
    assert asked == [[BEGIN] * 3, [4, END, 3], [5, PAD, END]]


def test_one_table_serves_both_languages_and_the_output():
    translator = model(dropout=0.0).train()
    stacks = nn.LSTM(6, 4, 2, bidirectional=True), nn.LSTM(6, 8, 2)
    expected = 11 * 6 + sum(map(count_parameters, stacks)) + 8 * 8 + 16 * 6 + 6
    assert count_parameters(translator) == expected
    source, inputs = batch()
    unused = 10
    source[source == unused] = inputs[inputs == unused] = 9
    translator(source, inputs)[..., unused].sum().backward()
    gradient = translator.tokens.weight.grad
    assert (gradient[unused] != 0).all()  # from the output
    assert (gradient[BEGIN] != 0).all()  # from the input


def test_dropout_is_on_in_training_only():
    translator = model(dropout=0.5)
    source, inputs = batch()
    assert torch.equal(translator(source, inputs), translator(source, inputs))
    translator.train()
    assert not torch.equal(translator(source, inputs), translator(source, inputs))
    assert model(
        num_layers=1, dropout=0.5
    )  # the library warns of dropout without a between


SIZES = LSTMTranslatorConfig
ONE = torch.tensor([[3, 4, 5]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: SIZES(11, d_state=7), ValueError, "d_state .*even.* got 7"),
        (lambda m: SIZES(11, d_state=0), ValueError, "d_state .* got 0"),
        (lambda m: SIZES(0), ValueError, "vocab_size .* got 0"),
        (lambda m: SIZES(11, d_embedding=0), ValueError, "d_embedding .* got 0"),
        (lambda m: SIZES(11, num_layers=0), ValueError, "num_layers .* got 0"),
        (lambda m: SIZES(11, dropout=2), ValueError, r"dropout .*0\.\.1, got 2"),
        (lambda m: m(ONE[0], ONE), ValueError, r"source .*\[B, length\], got \[3\]"),
        (lambda m: m(ONE, ONE[0]), ValueError, r"inputs .*\[B, length\], got \[3\]"),
        (lambda m: m(ONE + 10, ONE), ValueError, r"source .*0\.\.10, got 13\.\.15"),
        (lambda m: m(ONE, ONE + 10), ValueError, r"inputs .*0\.\.10, got 13\.\.15"),
        (lambda m: m(ONE.float(), ONE), TypeError, "source .*torch.float32"),
        (lambda m: m(ONE, ONE.int()), TypeError, "inputs .*torch.int32"),
        (lambda m: m(ONE.expand(2, 3), ONE), ValueError, r"differ: source \[2, 3\]"),
        (lambda m: m(ONE * PAD, ONE), ValueError, r"lengths .*1\.\.3, got \[0\]"),
        (lambda m: m.generate(ONE * PAD, 3), ValueError, r"1\.\.3, got \[0\]"),
        (lambda m: m.generate(ONE, 0), ValueError, "max_length .*got 0"),
        (lambda m: m.train().generate(ONE, 3), ValueError, r"training mode.*eval\(\)"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(model())


def test_tiny_is_tiny():
    assert count_parameters(LSTMTranslator(LSTMTranslatorConfig.tiny())) < 3000
