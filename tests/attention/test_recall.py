"""The recall task: what is asked, who can answer, and that the experiment's record is true."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bertbook.attention.recall import (
    LETTERS,
    WIDTHS,
    AttentionRecall,
    RecurrentRecall,
    make_model,
    random_distance,
    recall_accuracy,
    recall_batch,
    set_forget_bias,
    token_names,
    vocabulary_size,
)
from bertbook.attention.scores import scaled_dot_product_attention
from bertbook.shared.results import RESULTS, read_results
from bertbook.shared.training import count_parameters
from experiments import recall as experiment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_answer_is_the_asked_item_and_stands_at_its_distance(
    size, distance, items, more, seed
):
    prefix = items - 1 + more
    batch = recall_batch(size, distance, generator(seed), items=items, prefix=prefix)
    assert batch.tokens.shape == (size, prefix + distance + 1)
    for tokens, answer in zip(batch.tokens, batch.answers, strict=True):
        *body, question = tokens.tolist()
        number = question - LETTERS * (1 + items)
        assert 0 <= number < items
        marked = [token for token in body if token >= LETTERS]
        assert sorted((token - LETTERS) // LETTERS for token in marked) == list(
            range(items)
        )
        asked = LETTERS * (1 + number) + answer.item()
        assert body.count(asked) == 1
        assert body[-distance] == asked


def test_a_batch_depends_on_its_generator_alone():
    torch.manual_seed(0)
    one = recall_batch(4, 9, generator(3), items=8)
    torch.manual_seed(1)
    two = recall_batch(4, 9, generator(3), items=8)
    assert torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.tokens, recall_batch(4, 9, generator(4), items=8).tokens)


def test_answers_and_asked_numbers_are_even():
    batch = recall_batch(8000, 3, generator(), items=8)
    for values in (batch.answers, batch.tokens[:, -1] - LETTERS * 9):
        assert ((values.bincount(minlength=8) / 1000 - 1).abs() < 0.15).all()


def test_token_names():
    assert token_names(torch.tensor([0, 7, 8, 15, 16])) == ["a", "h", "A", "H", "?"]
    assert token_names(torch.tensor([8, 16, 24, 25]), items=2) == [
        "A1",
        "A2",
        "?1",
        "?2",
    ]
    assert vocabulary_size(2) == 26


def test_distances_are_even_on_a_logarithmic_scale():
    draws = torch.tensor(
        [random_distance(512, source) for source in [generator()] * 4000]
    )
    assert draws.min() == 1
    assert draws.max() <= 512
    for low in (1, 8, 64):
        share = ((draws >= low) & (draws < 2 * low)).float().mean()
        assert share == pytest.approx(math.log(2) / math.log(513), abs=0.03)


@pytest.mark.parametrize("items", list(WIDTHS))
def test_parameters_are_equal_to_two_percent(items):
    sizes = [
        count_parameters(make_model(name, start, 0, items))
        for name, start in (("rnn", "default"), ("lstm", "1"), ("attention", None))
    ]
    assert max(sizes) < 1.02 * min(sizes)


def test_forget_bias_is_the_sum_and_touches_no_other_gate():
    lstm = nn.LSTM(3, 4)
    before = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().clone()
    set_forget_bias(lstm, 2.5)
    after = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    assert (after[4:8] == 2.5).all()
    others = torch.tensor([i for i in range(16) if not 4 <= i < 8])
    assert torch.equal(after[others], before[others])


def test_forget_bias_holds_the_cell():
    """With an open forget gate and a closed input gate the cell state stays."""
    lstm = nn.LSTM(3, 4)
    set_forget_bias(lstm, 50.0)
    with torch.no_grad():
        lstm.bias_ih_l0[:4] = -50.0
    cell = torch.randn(1, 1, 4, generator=generator())
    _, (_, end) = lstm(torch.randn(30, 1, 3), (torch.zeros(1, 1, 4), cell))
    torch.testing.assert_close(end, cell)


def test_chrono_starts_with_memories_up_to_the_horizon():
    model = RecurrentRecall("lstm", 400, "chrono", 17, horizon=512)
    bias = (model.layer.bias_ih_l0 + model.layer.bias_hh_l0).detach()
    assert bias[400:800].max() <= math.log(511)
    assert bias[400:800].exp().mean() == pytest.approx(256, rel=0.15)
    assert torch.equal(bias[:400], -bias[400:800])


def test_no_chrono_unit_starts_with_a_memory_shorter_than_one_step():
    torch.manual_seed(0)
    bias = RecurrentRecall("lstm", 200, "chrono", 17, horizon=4).layer.bias_ih_l0
    assert bias[200:400].min() >= 0
    assert bias[200:400].max() <= math.log(3)


def test_the_horizon_is_512_unless_another_is_named():
    torch.manual_seed(0)
    default = RecurrentRecall("lstm", 200, "chrono", 17)
    assert default.embedding.embedding_dim == 32
    longest = default.layer.bias_ih_l0[200:400].exp().max().item()
    assert longest == pytest.approx(511, rel=0.05)


@pytest.mark.parametrize("start", ["0", "1"])
def test_the_forget_gate_starts_at_the_number_that_names_it(start):
    layer = RecurrentRecall("lstm", 5, start, 17).layer
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()
    assert bias[5:10].tolist() == [float(start)] * 5


def test_orthogonal_start():
    weight = RecurrentRecall("rnn", 20, "orthogonal", 17).layer.weight_hh_l0
    torch.testing.assert_close(weight @ weight.T, torch.eye(20), atol=1e-5, rtol=0)


def test_attention_answers_from_its_last_row():
    model = make_model("attention", None, 0)
    tokens = recall_batch(3, 5, generator()).tokens
    weights = model.weights(tokens)
    hidden = model.embedding(tokens)
    mixed = weights[:, -1:] @ model.attention.value(hidden)
    torch.testing.assert_close(
        model.classifier(model.output(mixed[:, 0])), model(tokens)
    )
    torch.testing.assert_close(
        weights @ model.attention.value(hidden),
        scaled_dot_product_attention(*[p(hidden) for p in model.attention.children()])[
            0
        ],
    )


def test_attention_cannot_see_order():
    model = make_model("attention", None, 0)
    tokens = recall_batch(1, 9, generator()).tokens
    order = torch.cat([torch.randperm(17, generator=generator()), torch.tensor([17])])
    torch.testing.assert_close(model(tokens[:, order]), model(tokens))


def test_a_recurrent_model_reads_to_the_end():
    model = make_model("lstm", "1", 0)
    tokens = recall_batch(2, 4, generator()).tokens
    other = tokens.clone()
    other[:, -1] = 0
    assert not torch.allclose(model(tokens), model(other))


def test_models_depend_on_their_seed_alone():
    torch.manual_seed(5)
    one, state = make_model("rnn", "default", 7), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)
    two = make_model("rnn", "default", 7)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )


def test_accuracy_counts_right_answers():
    class Oracle(nn.Module):
        def forward(self, tokens):
            answer = (tokens - LETTERS).where((tokens >= 8) & (tokens < 16), 0).sum(-1)
            return nn.functional.one_hot(answer, LETTERS).float()

    assert recall_accuracy(Oracle(), 7, generator()) == 1
    assert recall_accuracy(lambda t: -Oracle()(t), 7, generator()) < 0.3


def test_accuracy_asks_the_sequences_it_is_told_to():
    seen = []

    def model(tokens):
        seen.append(tokens)
        return torch.zeros(len(tokens), LETTERS)

    recall_accuracy(model, 7, generator())
    recall_accuracy(model, 3, generator(), items=4, prefix=5, sequences=6)
    assert [tuple(tokens.shape) for tokens in seen] == [
        (512, 8 + 7 + 1),
        (6, 5 + 3 + 1),
    ]
    assert torch.equal(seen[0], recall_batch(512, 7, generator()).tokens)
    expected = recall_batch(6, 3, generator(), items=4, prefix=5).tokens
    assert torch.equal(seen[1], expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall_batch(0, 1, generator()), "size.*got 0"),
        (lambda: recall_batch(1, 0, generator()), "distance.*got 0"),
        (lambda: recall_batch(1, 1, generator(), items=0), "items.*got 0"),
        (
            lambda: recall_batch(1, 1, generator(), items=8, prefix=6),
            "at least 7, got 6",
        ),
        (lambda: token_names(torch.tensor([17])), r"0..16, got \[17\]"),
        (lambda: random_distance(0, generator()), "got 0"),
        (lambda: make_model("gru", None, 0), "'gru'"),
        (lambda: make_model("rnn", "default", 0, items=3), "got 3"),
        (lambda: RecurrentRecall("gru", 4, "1", 17), "'gru'"),
        (lambda: RecurrentRecall("lstm", 4, "orthogonal", 17), "'orthogonal'"),
        (lambda: RecurrentRecall("rnn", 4, "1", 17), "'1'"),
        (lambda: AttentionRecall(0, 17), "d_model.*got 0"),
        (lambda: vocabulary_size(0), "got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the experiment ---------------------------------------------------------------------------


def test_smoke_and_resume(tmp_path):
    experiment.main(["--smoke", "--folder", str(tmp_path)])
    first = json.loads((tmp_path / "recall.json").read_text("utf-8"))
    names = {run["variant"] for run in first["runs"]}
    assert {f"{s}/{v}" for s in experiment.SMOKE for v in experiment.VARIANTS} <= names
    experiment.main(["--smoke", "--resume", "--folder", str(tmp_path)])
    assert json.loads((tmp_path / "recall.json").read_text("utf-8")) == first


def test_steps_to_learn():
    assert experiment.steps_to_learn([1.0] * 30 + [0.0] * 30) == 51
    assert experiment.steps_to_learn([1.0] * 60) is None


def test_variants_with_a_seed_see_the_same_batches():
    setting = experiment.SETTINGS["items"][0]
    one, two = setting.batch(1, 7), setting.batch(1, 7)
    assert torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.answers, setting.batch(2, 7).answers)


def test_the_record_is_complete():
    record = read_results("recall")
    found = [(run["variant"], run["seed"]) for run in record["runs"]]
    assert len(found) == len(set(found))
    for setting in experiment.SETTINGS:
        for variant in experiment.VARIANTS:
            for seed in experiment.SEEDS:
                assert (f"{setting}/{variant}", seed) in found
    assert record["config"]["settings"] == {
        key: vars(final) for key, (final, _) in experiment.SETTINGS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(experiment.VARIANTS))
@pytest.mark.parametrize("setting", ["mixed", "only-16", "only-128", "items"])
def test_the_saved_weights_reach_what_the_record_says(setting, variant):
    """The same held-out sequences; a few near ties may fall otherwise on another processor."""
    record = read_results("recall")
    final = experiment.SETTINGS[setting][0]
    weights = Path(RESULTS).parent / "weights" / "recall.safetensors"
    for seed in experiment.SEEDS:
        (run,) = [
            r
            for r in record["runs"]
            if r["variant"] == f"{setting}/{variant}" and r["seed"] == seed
        ]
        model = experiment.load_model(setting, variant, seed, record, weights)
        assert count_parameters(model) == run["parameters"]
        distances = [1, 16, 128]
        measured = experiment.accuracies(model, final, distances)
        for distance in map(str, distances):
            recorded = run["metrics"]["accuracy"][distance]
            assert measured[distance] == pytest.approx(recorded, abs=0.01)
