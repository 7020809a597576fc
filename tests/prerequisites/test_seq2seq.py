"""The encoder-decoder: padding, teacher forcing, attention, generation, bad input."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.attention.scores import additive_score, bilinear_score, dot_score
from bertbook.prerequisites.seq2seq import (
    SCORES,
    Score,
    Seq2Seq,
    Seq2SeqConfig,
    sequence_loss,
    shift_right,
)
from bertbook.shared.symbols import BEGIN, END, PAD, exact_match, pad_sequences
from bertbook.shared.training import count_parameters, train

SOURCE = torch.tensor([[3, 4, 5, 6, 7], [8, 3, 5, PAD, PAD], [4, PAD, PAD, PAD, PAD]])
LENGTHS = torch.tensor([5, 3, 1])
TARGET = torch.tensor([[3, 4, 5, END], [7, 6, END, PAD], [5, END, PAD, PAD]])


def model(score="general", dtype=torch.float64):
    torch.manual_seed(1)
    return Seq2Seq(Seq2SeqConfig.tiny(score)).to(dtype).eval()


@pytest.mark.parametrize("score", SCORES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_padding_changes_nothing(score, data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    rows = [torch.randint(3, 9, (n,), generator=generator).tolist() for n in lengths]
    source, sizes = pad_sequences(rows)
    source = F.pad(source, (0, data.draw(st.integers(0, 3))), value=PAD)
    inputs = torch.randint(3, 8, (len(rows), 4), generator=generator)
    network = model(score)
    together, weights = network(source, sizes, inputs, return_weights=True)
    written = network.generate(source, sizes, 6)
    for i, row in enumerate(rows):
        alone, look = network(
            torch.tensor([row]),
            sizes[i : i + 1],
            inputs[i : i + 1],
            return_weights=True,
        )
        torch.testing.assert_close(together[i], alone[0], atol=1e-12, rtol=1e-12)
        assert exact_match(
            network.generate(torch.tensor([row]), sizes[i : i + 1], 6),
            written[i : i + 1],
        )
        if score != "none":
            assert (weights[i, :, len(row) :] == 0).all()
            torch.testing.assert_close(weights[i, :, : len(row)], look[0])


@pytest.mark.parametrize("score", SCORES)
def test_what_stands_under_the_padding_has_no_influence(score):
    network = model(score)
    other = SOURCE.masked_fill(SOURCE == PAD, 6)
    inputs = shift_right(TARGET)
    assert torch.equal(
        network(SOURCE, LENGTHS, inputs), network(other, LENGTHS, inputs)
    )


@pytest.mark.parametrize("score", SCORES[1:])
def test_attention_rows_sum_to_one(score):
    network = model(score)
    _, weights = network(SOURCE, LENGTHS, shift_right(TARGET), return_weights=True)
    assert weights.shape == (3, 4, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    written, looks = network.generate(SOURCE, LENGTHS, 6, return_weights=True)
    assert looks.shape == (*written.shape, 5)
    torch.testing.assert_close(
        looks.sum(-1), torch.ones(written.shape, dtype=torch.float64)
    )


def test_without_attention_there_are_no_weights():
    network = model("none")
    assert network(SOURCE, LENGTHS, TARGET, return_weights=True)[1] is None
    assert network.generate(SOURCE, LENGTHS, 3, return_weights=True)[1] is None


def test_without_attention_only_the_last_state_reaches_the_decoder():
    network = model("none")
    memory, state = network.encode(SOURCE, LENGTHS)
    for i, n in enumerate(LENGTHS):
        torch.testing.assert_close(state[0][0, i], memory[i, n - 1])
    mask = torch.ones(3, 1, 5, dtype=torch.bool)
    logits = network.decode(shift_right(TARGET), state, memory, mask)[0]
    other = network.decode(shift_right(TARGET), state, memory * 0, mask)[0]
    assert torch.equal(logits, other)
    assert torch.equal(logits, network(SOURCE, LENGTHS, shift_right(TARGET)))


def test_the_scores_are_those_of_the_attention_chapter():
    query, key = torch.randn(2, 3, 7), torch.randn(2, 5, 7)
    assert torch.equal(Score("dot", 7, 4)(query, key), dot_score(query, key))
    general = Score("general", 7, 4)
    assert torch.equal(general(query, key), bilinear_score(query, key, general.weight))
    additive = Score("additive", 7, 4)
    expected = additive_score(
        query, key, additive.query_weight, additive.key_weight, additive.vector
    )
    assert torch.equal(additive(query, key), expected)
    counts = [count_parameters(Score(kind, 7, 4)) for kind in SCORES[1:]]
    assert counts == [0, 49, 2 * 28 + 4]


def test_teacher_forcing_shifts_right():
    assert shift_right(TARGET).tolist() == [
        [BEGIN, 3, 4, 5],
        [BEGIN, 7, 6, END],
        [BEGIN, 5, END, PAD],
    ]


@pytest.mark.parametrize("score", SCORES)
def test_a_logit_depends_on_the_true_symbols_before_it_alone(score):
    network = model(score)
    logits = network(SOURCE, LENGTHS, shift_right(TARGET))
    for step in range(4):
        changed = TARGET.clone()
        changed[:, step] = 6
        moved = network(SOURCE, LENGTHS, shift_right(changed)) != logits
        assert not moved[:, : step + 1].any()
        assert step == 3 or moved[0, step + 1].any()


@pytest.mark.parametrize("score", SCORES)
def test_forcing_the_models_own_symbols_is_generation(score):
    network = model(score)
    written, looks = network.generate(SOURCE, LENGTHS, 6, return_weights=True)
    logits, weights = network(
        SOURCE, LENGTHS, shift_right(written), return_weights=True
    )
    real = written != PAD
    assert (logits.argmax(-1) == written)[real].all()
    if score != "none":
        torch.testing.assert_close(weights[real], looks[real])


def test_generation_stops_at_the_end_symbol():
    network = model()
    with torch.no_grad():
        network.output.bias[END] = 100.0
    assert network.generate(SOURCE, LENGTHS, 9).tolist() == [[END]] * 3
    with torch.no_grad():
        network.output.bias[END] = -100.0
    assert network.generate(SOURCE, LENGTHS, 9).shape == (3, 9)


def test_generation_does_not_write_after_the_end():
    network = model("dot")
    torch.manual_seed(0)
    source = torch.randint(3, 9, (40, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(6)
    written = network.generate(source, torch.full((40,), 5), 12)
    ended = (written == END).long().cumsum(1) - (written == END).long() > 0
    assert ended.any(), "no sequence ended early: the test would be empty"
    assert (written[ended] == PAD).all()


def test_the_loss_leaves_padding_out():
    network = model()
    alone = [
        sequence_loss(
            network, (SOURCE[i : i + 1, :n], LENGTHS[i : i + 1], TARGET[i : i + 1, :m])
        )
        * m
        for i, (n, m) in enumerate([(5, 4), (3, 3), (1, 2)])
    ]
    together = sequence_loss(network, (SOURCE, LENGTHS, TARGET))
    torch.testing.assert_close(together, sum(alone) / 9)


@pytest.mark.parametrize("score", SCORES)
def test_it_overfits_a_tiny_batch(score):
    torch.manual_seed(0)
    network = Seq2Seq(Seq2SeqConfig(9, 8, 16, 32, score))
    batch = SOURCE, LENGTHS, TARGET
    losses = train(
        network, lambda step: batch, sequence_loss, steps=80, learning_rate=0.02, seed=0
    )
    network.eval()
    assert losses[-1] < 0.05 < losses[0]
    assert exact_match(network.generate(SOURCE, LENGTHS, 6), TARGET).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"score": "cosine"}, "got 'cosine'"),
        ({"d_state": 0}, "d_state must be at least 1, got 0"),
        ({"d_score": 0}, "d_score"),
        ({"source_vocabulary": 3}, "source_vocabulary .* got 3"),
    ],
)
def test_a_wrong_size_is_named(sizes, message):
    right = {
        "source_vocabulary": 9,
        "target_vocabulary": 8,
        "d_embedding": 4,
        "d_state": 4,
    }
    with pytest.raises(ValueError, match=message):
        Seq2SeqConfig(**{**right, **sizes})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"source": SOURCE + 3}, ValueError, r"source must hold numbers in 0\.\.8"),
        ({"source": SOURCE.float()}, TypeError, "source must hold torch.long"),
        ({"source": SOURCE[0]}, ValueError, r"source must have shape .* got \[5\]"),
        ({"lengths": LENGTHS[:2]}, ValueError, r"lengths must have shape \[3\]"),
        ({"lengths": LENGTHS - 1}, ValueError, r"1\.\.5, got \[0\]"),
        ({"lengths": LENGTHS + 1}, ValueError, r"1\.\.5, got \[6\]"),
        ({"inputs": TARGET[:2]}, ValueError, "batch sizes differ"),
        ({"inputs": TARGET - 1}, ValueError, "inputs must hold numbers"),
    ],
)
def test_wrong_tensors_are_named(change, error, message):
    right = {"source": SOURCE, "lengths": LENGTHS, "inputs": TARGET}
    with pytest.raises(error, match=message):
        model()(**{**right, **change})


def test_generation_checks_its_input_too():
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        model().generate(SOURCE, LENGTHS, 0)
    with pytest.raises(ValueError, match="source must hold numbers"):
        model().generate(SOURCE + 3, LENGTHS, 2)


@pytest.mark.parametrize("score", SCORES)
def test_the_logits_by_hand(score):
    """Number by number: the look, the mean it takes, tanh of both together, the output map."""
    network = model(score)
    inputs = shift_right(TARGET)
    memory, state = network.encode(SOURCE, LENGTHS)
    hidden, _ = network.decoder(network.target_embedding(inputs), state)
    expected = torch.zeros(3, 4, 8, dtype=torch.float64)
    for row in range(3):
        real = memory[row, : LENGTHS[row]]  # [S, D]
        for step in range(4):
            h = hidden[row, step]
            if score == "none":
                expected[row, step] = network.output.weight @ h + network.output.bias
                continue
            part = network.score
            if score == "dot":
                scores = [h @ key for key in real]
            elif score == "general":
                scores = [h @ part.weight @ key for key in real]
            else:
                scores = [
                    part.vector @ (h @ part.query_weight + key @ part.key_weight).tanh()
                    for key in real
                ]
            shares = torch.stack(scores).exp()
            context = (shares / shares.sum()) @ real
            both = torch.cat([context, h])
            attentional = (network.combine.weight @ both).tanh()
            expected[row, step] = (
                network.output.weight @ attentional + network.output.bias
            )
    logits = network(SOURCE, LENGTHS, inputs)
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=1e-12)


def test_parameters_are_as_many_as_the_sizes_say():
    """E=5, D=7: two tables, two LSTMs, the output; with attention the score and its mixing."""
    lstm = 4 * 7 * (5 + 7 + 2)
    without = (9 + 8) * 5 + 2 * lstm + 8 * (7 + 1)
    mixing = 7 * 14  # without a bias
    for score, more in {"none": 0, "dot": 0, "general": 49, "additive": 15 * 7}.items():
        expected = without + more + (mixing if score != "none" else 0)
        assert count_parameters(Seq2Seq(Seq2SeqConfig.tiny(score))) == expected
    narrow = Seq2SeqConfig(9, 8, 5, 7, "additive", d_score=3)
    assert count_parameters(Seq2Seq(narrow)) == without + mixing + 15 * 3


def test_scores_are_drawn_evenly_by_their_width():
    torch.manual_seed(0)
    for kind in ("general", "additive"):
        for parameter in Score(kind, 100, 25).parameters():
            bound = parameter.shape[0] ** -0.5
            assert parameter.abs().max() <= bound
            if parameter.dim() > 1:
                assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_bilinear_score_as_wide_as_the_state_is_what_is_not_chosen():
    assert (
        Seq2SeqConfig(9, 8, 5, 7)
        == Seq2SeqConfig.tiny()
        == Seq2SeqConfig.tiny("general")
    )
    additive = Seq2SeqConfig(9, 8, 5, 7, "additive")
    assert Seq2Seq(additive).score.vector.shape == (7,)
