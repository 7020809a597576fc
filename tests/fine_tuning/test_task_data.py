"""Batches keep what the examples say, training sees each once an epoch, metrics are by hand."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertbook.bert.config import BertConfig
from bertbook.fine_tuning.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bertbook.fine_tuning.task_data import (
    TaskData,
    batches_of,
    encode_names,
    encode_sequences,
    encode_spans,
    fine_tune,
    predict,
    score,
    score_spans,
)
from bertbook.shared.training import seed_everything
from bertbook.studies.layer_change import layer_changes, weight_changes
from bertbook.tokenizer.pieces import IGNORED
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "good",
    "bad",
    "film",
    "##s",
    "a",
    "b",
    "c",
    "d",
    "e",
]
TOKENIZER = WordPieceTokenizer(PIECES)
CONFIG = BertConfig.tiny(num_hidden_layers=2)
TEXTS = ["good film", "bad films", "good good a", "bad b", "a good b c d e", "bad"]
LABELS = [1, 0, 1, 0, 1, 0]
DATA = encode_sequences(TOKENIZER, TEXTS, LABELS)


@dataclass
class Names:
    text: str
    words: tuple
    labels: tuple


@dataclass
class Span:
    question: str
    passage: str
    start: int
    end: int


NAMES = encode_names(
    TOKENIZER,
    [
        Names("a films b", ((0, 1), (2, 7), (8, 9)), (IGNORED, 1, 0)),
        Names("bad a", ((0, 3), (4, 5)), (0, 1)),
    ],
    max_length=6,
)
SPANS = encode_spans(
    TOKENIZER,
    [Span("a", "b c d e", 2, 5), Span("a", "b c d e b c", 0, 1), Span("b", "a", 0, 1)],
    max_length=8,
)


# --- encoding and batches ---------------------------------------------------------------------


def test_labels_stand_at_first_pieces_and_cut_words_lose_theirs():
    assert NAMES.encodings[0].tokens == ["[CLS]", "a", "film", "##s", "b", "[SEP]"]
    assert NAMES.targets[0] == [IGNORED, IGNORED, 1, IGNORED, 0, IGNORED]
    short = encode_names(TOKENIZER, [Names("a bad b", ((6, 7),), (1,))], max_length=4)
    assert set(short.targets[0]) == {IGNORED}


def test_spans_that_do_not_fit_are_left_out_and_others_point_at_the_answer():
    assert len(SPANS) == 2  # the second one has nine pieces
    start, end = SPANS.targets[0]
    assert SPANS.encodings[0].tokens[start : end + 1] == ["c", "d"]


def test_lists_of_unlike_lengths_and_answers_without_a_piece_are_named():
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        encode_sequences(TOKENIZER, ["a", "b"], [1])
    for pairs in (["a"], []):
        with pytest.raises(ValueError, match=f"2 texts and {len(pairs)} pairs"):
            encode_sequences(TOKENIZER, ["a", "b"], [1, 0], pairs)
    with pytest.raises(
        ValueError, match="no piece of the passage holds the answer ' '"
    ):
        encode_spans(TOKENIZER, [Span("a", "b c", 1, 2)])


def test_as_many_pieces_as_may_be_are_kept():
    assert len(SPANS.encodings[0]) == 8
    fits = encode_spans(TOKENIZER, [Span("a", "b c d e", 2, 5)] * 2, max_length=8)
    assert len(fits) == 2


def test_long_pairs_lose_pieces_at_the_end():
    data = encode_sequences(TOKENIZER, ["a b c"], [1], ["d e"], max_length=7)
    assert data.encodings[0].tokens == ["[CLS]", "a", "b", "[SEP]", "d", "e", "[SEP]"]


@given(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=6))
def test_a_batch_holds_its_examples_and_padding_only(numbers):
    inputs, targets = DATA.batch(numbers)
    length = inputs["input_ids"].shape[1]
    assert length % 8 == 0
    for row, number in enumerate(numbers):
        ids = DATA.encodings[number].ids
        assert inputs["input_ids"][row].tolist() == ids + [0] * (length - len(ids))
        assert inputs["attention_mask"][row].sum() == len(ids)
    assert targets["labels"].tolist() == [LABELS[n] for n in numbers]


def test_padding_of_tokens_counts_for_nothing():
    _, targets = NAMES.batch([0, 1])
    assert targets["labels"].shape == (2, 8)
    assert (targets["labels"] != IGNORED).sum() == 4


@given(st.integers(1, 6), st.integers(0, 5))
def test_an_epoch_sees_every_example_once(size, seed):
    per_epoch, numbers = batches_of(DATA, size, seed)
    for epoch in range(2):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        assert sorted(n for s in steps for n in numbers(s)) == list(range(6))
    assert numbers(0) == batches_of(DATA, size, seed)[1](0)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="'word'"):
        TaskData("word", DATA.encodings, DATA.targets, 0)
    with pytest.raises(ValueError, match="6 inputs and 5"):
        TaskData("sequence", DATA.encodings, DATA.targets[1:], 0)
    with pytest.raises(ValueError, match=r"1\.\.6, got 7"):
        batches_of(DATA, 7, 0)
    with pytest.raises(ValueError, match="epochs"):
        fine_tune(BertForSequenceClassification(CONFIG), DATA, epochs=0)
    with pytest.raises(ValueError, match="training mode"):
        predict(BertForSequenceClassification(CONFIG).train(), DATA)
    with pytest.raises(ValueError, match="6 examples and 1"):
        score(DATA, [1])


# --- training and predicting ------------------------------------------------------------------


def trained(seed=0, **choices):
    seed_everything(1)
    model = BertForSequenceClassification(CONFIG)
    choices = {"epochs": 40, "batch_size": 3, "learning_rate": 1e-2, **choices}
    losses = fine_tune(model, DATA, seed=seed, **choices)
    return model, losses


def test_a_head_learns_and_the_seed_repeats_it():
    model, losses = trained()
    assert len(losses) == 80
    assert losses[-1] < 0.3 < losses[0]
    assert not model.training
    assert score(DATA, predict(model, DATA)) == {"accuracy": 1.0}
    assert trained()[1] == losses != trained(seed=1)[1]


def test_sixteen_examples_are_a_batch_if_nothing_is_chosen():
    seed_everything(1)
    data = DATA.take([n % 6 for n in range(40)])
    losses = fine_tune(BertForSequenceClassification(CONFIG), data, epochs=2)
    assert len(losses) == 2 * 3


def test_mixed_precision_changes_little():
    _, losses = trained(epochs=1)
    _, mixed = trained(epochs=1, mixed_precision=True)
    assert mixed != losses
    assert mixed == pytest.approx(losses, abs=0.1)


def by_hand(warmup_steps, learning_rate=2e-4, weight_decay=0.01, seed=0, clip_norm=1.0):
    """Five epochs of two batches with PyTorch's own AdamW, LambdaLR and clipping."""
    seed_everything(1)
    model = BertForSequenceClassification(CONFIG)
    added = ("bias", "LayerNorm.weight")  # what does not decay
    groups = [
        {"params": [p], "weight_decay": 0.0 if n.endswith(added) else weight_decay}
        for n, p in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    up = [(step + 1) / warmup_steps for step in range(warmup_steps)]
    down = [(10 - step) / (10 - warmup_steps) for step in range(warmup_steps, 11)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [*up, *down].__getitem__)
    _, numbers = batches_of(DATA, 3, seed)
    torch.manual_seed(seed)
    for step in range(10):
        inputs, targets = DATA.batch(numbers(step))
        optimizer.zero_grad()
        model.train()(**inputs, **targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        schedule.step()
    return model


def difference(model, other):
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


@pytest.mark.parametrize(
    ("choices", "same"),
    [
        ({}, {"warmup_steps": 1}),  # a tenth of the steps
        ({"warmup": 0.0}, {"warmup_steps": 0}),
        ({"warmup": 0.45}, {"warmup_steps": 4}),
        ({"learning_rate": 1e-2}, {"warmup_steps": 1, "learning_rate": 1e-2}),
        ({"weight_decay": 50.0}, {"warmup_steps": 1, "weight_decay": 50.0}),
        ({"seed": 3}, {"warmup_steps": 1, "seed": 3}),
    ],
)
def test_every_weight_is_that_of_pytorchs_optimizer_driven_by_hand(choices, same):
    seed_everything(1)
    model = BertForSequenceClassification(CONFIG)
    fine_tune(model, DATA, epochs=5, batch_size=3, **choices)
    assert difference(model, by_hand(**same)) < 1e-6
    if choices:  # each choice matters, so that the equality can fail
        assert difference(model, by_hand(1)) > 1e-5
    else:
        assert difference(model, by_hand(1, clip_norm=0.01)) > 1e-6


def lengths_of_batches(data, size, seed=0):
    per_epoch, numbers = batches_of(data, size, seed)
    return [[len(data.encodings[n]) for n in numbers(s)] for s in range(2 * per_epoch)]


def test_alike_lengths_stand_side_by_side_and_batches_come_in_any_order():
    draw = torch.Generator().manual_seed(0)
    texts = ["a " * n for n in torch.randint(1, 60, (320,), generator=draw).tolist()]
    data = encode_sequences(TOKENIZER, texts, [0] * 320)
    batches = lengths_of_batches(data, 4)
    spread = [max(batch) - min(batch) for batch in batches]
    assert sum(spread) / len(spread) < 8  # of four drawn at random it would be 36
    means = torch.tensor(batches).double().mean(1)[:16]  # of the first window
    places = torch.arange(16).double()
    assert torch.corrcoef(torch.stack([places, means]))[0, 1].abs() < 0.8
    assert batches[:80] != batches[80:]  # another order each epoch
    first, second = (
        {
            tuple(sorted(batches_of(data, 4, 0)[1](s)))
            for s in range(80 * e, 80 * e + 80)
        }
        for e in range(2)
    )
    assert len(first & second) < 8  # and other batches


@pytest.mark.parametrize("size", [1, 2, 50])
def test_answers_do_not_depend_on_batch_or_order(size):
    torch.manual_seed(0)
    for kind, data in (
        (BertForSequenceClassification, DATA),
        (BertForTokenClassification, NAMES),
        (BertForQuestionAnswering, SPANS),
    ):
        model = kind(CONFIG).eval()
        answers = predict(model, data, size)
        for number, answer in enumerate(answers):
            assert predict(model, data.take([number])) == [answer]
            if data.form == "token":
                assert len(answer) == len(data.encodings[number])


def test_a_predicted_span_lies_in_the_passage():
    for seed in range(20):
        torch.manual_seed(seed)
        model = BertForQuestionAnswering(CONFIG).eval()
        torch.nn.init.normal_(model.qa_outputs.weight)
        for (start, end), encoding in zip(
            predict(model, SPANS), SPANS.encodings, strict=True
        ):
            assert start <= end
            kinds = encoding.token_type_ids[start : end + 1]
            assert set(kinds) == {1}
            assert "[SEP]" not in encoding.tokens[start : end + 1]


# --- metrics ----------------------------------------------------------------------------------


def test_metrics_by_hand():
    assert score(DATA, [1, 0, 1, 1, 0, 0]) == {"accuracy": 4 / 6}
    # True names: "films" and the last a; said: "films", the first b. Ignored pieces do not count.
    answers = [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0]]
    assert score(NAMES, answers) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert score(NAMES, [[0] * 6, [0] * 4])["f1"] == 0
    every = score(NAMES, [[1] * 6, [1] * 4])  # four said, two of them names
    assert every == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    one = score(NAMES, [[0, 0, 1, 0, 0, 0], [0] * 4])
    assert one == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    # Of pieces 3..4: right; 4..5: one of two and two in common.
    assert score_spans([(3, 4), (3, 4)], [(3, 4), (4, 5)]) == {
        "exact_match": 0.5,
        "f1": 0.75,
    }
    assert score(SPANS, list(SPANS.targets)) == {"exact_match": 1.0, "f1": 1.0}


# --- how far layers moved ---------------------------------------------------------------------


def test_nothing_changed_is_zero_and_a_change_is_found_where_it_was_made():
    torch.manual_seed(0)
    before = BertForSequenceClassification(CONFIG).eval()
    after = BertForSequenceClassification(CONFIG).eval()
    after.load_state_dict(before.state_dict())
    same = layer_changes(before.bert, after.bert, DATA)
    assert set(same["weights"].values()) == {0.0}
    assert all(abs(v) < 1e-4 for k in ("states", "cls", "attention") for v in same[k])
    with torch.no_grad():
        for weight in after.bert.encoder.layer[1].parameters():
            weight.mul_(1.5)
    changes = layer_changes(before.bert, after.bert, DATA)
    assert changes["weights"] == {
        "embeddings": 0.0,
        "layer 1": 0.0,
        "layer 2": pytest.approx(0.5),
        "pooler": 0.0,
    }
    assert changes["states"][:2] == pytest.approx([0, 0], abs=1e-4)
    assert changes["attention"][0] == pytest.approx(0, abs=1e-4)
    assert changes["attention"][1] > 0
    with pytest.raises(ValueError, match="training mode"):
        layer_changes(before.bert.train(), after.bert, DATA)


def test_without_a_pooler_there_is_none():
    model = BertForTokenClassification(CONFIG)
    assert list(weight_changes(model.bert, model.bert)) == [
        "embeddings",
        "layer 1",
        "layer 2",
    ]
