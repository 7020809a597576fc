"""Looking up and copying: what is asked, who could answer, and that the record is true."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.attention.associative_recall import (
    LONGEST,
    QUESTION,
    SYMBOLS,
    TASKS,
    Asked,
    AttentionReader,
    RecurrentReader,
    make_reader,
    right_answers,
    task_batch,
)
from bertbook.shared.results import read_results
from bertbook.shared.training import count_parameters
from experiments import associative_recall as experiment

DRAWS = {
    "size": st.integers(1, 4),
    "count": st.integers(1, LONGEST),
    "seed": st.integers(0, 99),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs_and_questions(tokens, count):
    """What a sequence of ``together`` or ``apart`` says: a dictionary, and the keys asked for."""
    if tokens.shape[1] == 2:
        pairs, asked = tokens[:count].tolist(), tokens[count:]
        assert (asked[:, 1] == QUESTION).all()
    else:
        pairs, asked = (
            tokens[: 2 * count, 0].unflatten(0, (count, 2)).tolist(),
            tokens[2 * count :],
        )
    return {key: value - SYMBOLS for key, value in pairs}, asked[:, 0].tolist()


@given(task=st.sampled_from(["together", "apart"]), **DRAWS)
@settings(max_examples=60, deadline=None)
def test_each_key_is_given_once_and_asked_for_once(task, size, count, seed):
    batch = task_batch(task, size, count, generator(seed))
    assert batch.answers.shape == (size, count)
    for tokens, answers in zip(batch.tokens, batch.answers, strict=True):
        given_pairs, asked = pairs_and_questions(tokens, count)
        assert len(given_pairs) == count
        assert sorted(asked) == sorted(given_pairs)
        assert [given_pairs[key] for key in asked] == answers.tolist()
        assert set(given_pairs) | set(answers.tolist()) <= set(range(SYMBOLS))


@given(**DRAWS)
@settings(max_examples=60, deadline=None)
def test_a_copy_is_asked_for_symbol_by_symbol(size, count, seed):
    batch = task_batch("copy", size, count, generator(seed))
    assert batch.tokens.shape == (size, 2 * count, 1)
    read = batch.tokens[..., 0]
    assert torch.equal(read[:, :count], batch.answers)
    assert (read[:, count] == QUESTION).all()
    assert torch.equal(read[:, count + 1 :], batch.answers[:, :-1])


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_depends_on_its_generator_alone(task):
    torch.manual_seed(0)
    one = task_batch(task, 3, 9, generator(3))
    torch.manual_seed(1)
    two = task_batch(task, 3, 9, generator(3))
    assert torch.equal(one.tokens, two.tokens)
    assert not torch.equal(one.tokens, task_batch(task, 3, 9, generator(4)).tokens)


def test_order_keys_and_values_are_drawn_evenly():
    """No place of the question, no key and no value tells anything of the others."""
    batch = task_batch("together", 6000, 4, generator())
    first_asked = (batch.tokens[:, :4, 0] == batch.tokens[:, 4, 0:1]).float().mean(0)
    assert (first_asked - 1 / 4).abs().max() < 0.03
    for drawn in (batch.tokens[:, :4, 0], batch.answers):
        shares = drawn.flatten().bincount(minlength=SYMBOLS) / drawn.numel()
        assert (shares * SYMBOLS - 1).abs().max() < 0.25


@pytest.mark.parametrize("name", ["attention-2x2-8", "lstm-8", "gru-8"])
@pytest.mark.parametrize("task", TASKS)
def test_no_model_sees_what_comes_later(name, task):
    model, tokens = (
        make_reader(name, 0).eval(),
        task_batch(task, 2, 5, generator()).tokens,
    )
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % SYMBOLS
    before, after = model(tokens)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().max() > 1e-4


def test_tokens_of_a_position_are_read_as_their_sum():
    model = make_reader("gru-8", 0)
    with torch.no_grad():
        model.embedding.weight[5] = (
            model.embedding.weight[1] + model.embedding.weight[70]
        )
    together, single = torch.tensor([[[1, 70]]]), torch.tensor([[[5]]])
    torch.testing.assert_close(model(together)[0], model(single)[0])


def test_the_weights_of_a_reader_are_causal_and_sum_to_one():
    scores, weights = make_reader("attention-2x4-8", 0)(
        task_batch("copy", 3, 4, generator()).tokens, return_weights=True
    )
    assert scores.shape == (3, 8, SYMBOLS)
    assert [list(layer.shape) for layer in weights] == [[3, 4, 8, 8]] * 2
    for layer in weights:
        torch.testing.assert_close(layer.sum(-1), torch.ones(3, 4, 8))
        assert not layer.triu(1).any()


def test_a_model_depends_on_its_seed_and_leaves_the_global_state():
    before = torch.random.get_rng_state()
    one, same, other = (make_reader("lstm-8", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_right_answers_are_those_of_the_last_positions():
    def oracle(tokens):
        scores = torch.zeros(*tokens.shape[:2], SYMBOLS)
        scores[:, -3:] = torch.eye(SYMBOLS)[torch.tensor([[4, 5, 6]])]
        return scores, None

    batch = Asked(torch.zeros(1, 7, 1, dtype=torch.long), torch.tensor([[4, 9, 6]]))
    assert right_answers(oracle, batch).tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task_batch("sort", 1, 1, generator()), "task.*sort"),
        (lambda: task_batch("copy", 0, 1, generator()), "size.*0"),
        (lambda: task_batch("copy", 1, 0, generator()), "count.*0"),
        (lambda: task_batch("apart", 1, 65, generator()), "count.*65"),
        (lambda: make_reader("attention-64", 0), "attention-64"),
        (lambda: make_reader("lstm", 0), "lstm"),
        (lambda: make_reader("rnn-8", 0), "rnn"),
        (lambda: RecurrentReader("lstm", 0), "0"),
        (lambda: AttentionReader(8, 0), "0"),
        (lambda: AttentionReader(8, 1, 3), "3"),
        (lambda: AttentionReader(8, 1)(torch.zeros(1, 193, 1).long()), "193"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the experiment ---------------------------------------------------------------------------


@pytest.mark.slow
def test_smoke_and_resume(tmp_path):
    experiment.main(["--smoke", "--folder", str(tmp_path)])
    path = tmp_path / "associative_recall.json"
    first = json.loads(path.read_text("utf-8"))
    variants = {run["variant"] for run in first["runs"]}
    assert {"together/lstm-8", "grid/copy/gru-8/0.001"} <= variants
    experiment.main(["--smoke", "--resume", "--folder", str(tmp_path)])
    assert json.loads(path.read_text("utf-8")) == first


def test_models_with_a_seed_see_the_same_batches():
    one, two, other = (
        experiment.drawn(experiment.EXPERIMENT.config, "apart", seed, 7)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.tokens, two.tokens)
    assert one.tokens.shape != other.tokens.shape or not torch.equal(
        one.tokens, other.tokens
    )


@pytest.mark.parametrize("variant", experiment.EXPERIMENT.stored)
def test_the_saved_weights_reach_what_the_record_says(variant):
    """The same held-out sequences; a few near ties may fall otherwise on another processor."""
    record = read_results("associative_recall")
    (run,) = [r for r in record["runs"] if (r["variant"], r["seed"]) == (variant, 0)]
    task, name = variant.split("/")
    model = experiment.EXPERIMENT.load(make_reader(name, 0), variant)
    assert count_parameters(model) == run["parameters"]
    measured = experiment.accuracies(experiment.EXPERIMENT.config, task, model)[
        "accuracy"
    ]
    assert measured == pytest.approx(run["metrics"]["accuracy"], abs=0.01)
