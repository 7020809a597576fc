"""Streams of pairs and the weights of a batch's parts."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.bert.config import BertConfig
from bertbook.corpora.sentences import A_DOCUMENT, A_SENTENCE
from bertbook.pretraining import data as module
from bertbook.pretraining.data import PairStream, Stage, micro_batch
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import MaskingRule, PieceTable

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
TABLE = PieceTable(PIECES)


def documents(count=12, seed=0):
    """Sentences of 1 to 6 pieces, 2 to 9 a document."""
    drawn = torch.Generator().manual_seed(seed)

    def number(low, high):
        return torch.randint(low, high, (), generator=drawn).item()

    return [
        [[number(5, 31) for _ in range(number(1, 7))] for _ in range(number(2, 10))]
        for _ in range(count)
    ]


def stream(seed=3, **options):
    return PairStream(lambda shard: documents(seed=shard), TABLE, seed=seed, **options)


def same(one, other):
    return one.keys() == other.keys() and all(one[n].equal(other[n]) for n in one)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.data(), st.integers(0, 1000), st.sampled_from([0.15, 0.6]))
def test_the_weighted_parts_are_the_batch(rows, data, seed, rate):
    parts = data.draw(st.integers(1, rows))
    made = stream(seed, rule=MaskingRule(rate=rate))
    batch = made.batch(Stage(1, 12, rows), 0)
    cut = [micro_batch(batch, part, parts) for part in range(parts)]
    assert sum(len(own["input_ids"]) for own, *_ in cut) == rows
    places = torch.arange(rows)
    order = torch.cat([places[part::parts] for part in range(parts)])
    for name, tensor in batch.items():
        assert torch.cat([own[name] for own, *_ in cut]).equal(tensor[order])
    # Any numbers as losses: one for each selected position, one for each row.
    losses = torch.randn(rows, 12, generator=torch.Generator().manual_seed(seed))
    selected = batch["labels"] >= 0
    pieces = pairs = 0.0
    for part, (own, of_pieces, of_pairs) in enumerate(cut):
        assert (own["labels"] >= 0).any(1).all()  # none is left without a target
        own_losses = losses[part::parts].double()
        pieces += of_pieces.double() * own_losses[own["labels"] >= 0].mean()
        pairs += of_pairs.double() * own_losses[:, 0].mean()
    torch.testing.assert_close(
        pieces, losses.double()[selected].mean(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(pairs, losses.double()[:, 0].mean(), atol=1e-6, rtol=0)


def test_the_gradient_does_not_depend_on_how_a_batch_is_cut():
    batch = stream().batch(Stage(1, 24, 7), 0)
    torch.manual_seed(0)
    config = BertConfig.tiny(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = BertForPreTraining(config).double()
    found = []
    for parts in (1, 2, 3, 7):
        model.zero_grad()
        for part in range(parts):
            own, of_pieces, of_pairs = micro_batch(batch, part, parts)
            out = model(**own)
            loss = of_pieces * out.masked_lm_loss + of_pairs * out.next_sentence_loss
            loss.backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for other in found[1:]:
        for mine, theirs in zip(other, found[0], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("part", "parts"), [(2, 2), (-1, 2), (0, 4), (0, 0)])
def test_parts_that_are_none(part, parts):
    batch = stream().batch(Stage(1, 12, 3), 0)
    with pytest.raises(ValueError, match=r"part must lie in 0\.\."):
        micro_batch(batch, part, parts)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 13), st.integers(0, 50))
def test_a_stream_goes_on_from_its_state(broken_off, seed):
    stages = [Stage(8, 12, 5), Stage(6, 24, 3)]
    plan = [stage for stage in stages for _ in range(stage.steps)]
    whole = stream(seed)
    batches = [whole.batch(stage, step) for step, stage in enumerate(plan)]
    first = stream(seed)
    for step in range(broken_off):
        first.batch(plan[step], step)
    second = stream(seed)
    second.load_state_dict(first.state_dict())
    for step in range(broken_off, len(plan)):
        assert same(second.batch(plan[step], step), batches[step])
    assert second.state_dict() == whole.state_dict()
    assert whole.shard > 1


def test_each_turn_and_each_seed_makes_other_batches():
    stage = Stage(1, 16, 4)
    one = PairStream(lambda shard: documents(), TABLE, seed=0)
    turns = {}
    for step in range(40):
        batch = one.batch(stage, step)
        turns.setdefault(one.shard, batch["input_ids"])
    assert len(turns) > 2
    assert not turns[0].equal(turns[1])
    other = PairStream(lambda shard: documents(), TABLE, seed=1).batch(stage, 0)
    assert not other["input_ids"].equal(turns[0])


def restored(batch):
    """The pieces as they stood before masking, as tuples without padding."""
    ids = batch["labels"].where(batch["labels"] >= 0, batch["input_ids"])
    return [tuple(n for n in row if n != TABLE.pad_id) for row in ids.tolist()]


def numbered(count):
    """Documents of two sentences, each of one piece; both say which document it is."""
    table = PieceTable([*PIECES[:5], *map(chr, range(0x4E00, 0x4E00 + count))])
    return table, [[[5 + n], [5 + n]] for n in range(count)]


def test_each_turn_makes_other_pairs_of_the_same_texts_in_another_order():
    documents = [[[5 + n % 26] for n in range(d, d + 9)] for d in range(12)]
    one = PairStream(lambda shard: documents, TABLE, negatives="none", seed=0)
    turns = {}
    for step in range(60):
        rows = restored(one.batch(Stage(1, 9, 4), step))
        turns.setdefault(one.shard, []).extend(rows)
    whole = [sorted(rows) for shard, rows in sorted(turns.items())[:-1]]
    assert len(whole) > 2
    for first, second in itertools.combinations(whole, 2):
        assert first != second


def test_pairs_are_handed_out_in_random_order():
    table, documents = numbered(400)
    one = PairStream(lambda shard: documents, table, negatives="none", seed=0)
    batch = one.batch(Stage(1, 5, 400), 0)
    found = torch.tensor([row[1] for row in restored(batch)]).double()
    assert len(found.unique()) == 400
    r = torch.corrcoef(torch.stack([torch.arange(400).double(), found]))[0, 1]
    assert abs(r.item()) < 4.5 / math.sqrt(400)


def test_a_turn_ends_when_no_whole_batch_is_left():
    table, documents = numbered(12)
    for size, turns in (
        (12, [0, 1, 2]),
        (6, [0, 0, 1]),
        (5, [0, 0, 1]),
        (7, [0, 1, 2]),
    ):
        one = PairStream(lambda shard: documents, table, negatives="none")
        shards = []
        for step in range(3):
            one.batch(Stage(1, 5, size), step)
            shards.append(one.shard)
        assert shards == turns


def test_rule_and_negatives_are_the_ones_chosen():
    table, documents = numbered(30)
    stage = Stage(1, 5, 30)
    rule = MaskingRule(1.0, mask=1.0, random=0.0, keep=0.0)
    labels = {}
    for negatives in ("none", "swapped", "random"):
        made = PairStream(lambda shard: documents, table, rule, negatives=negatives)
        batch = made.batch(stage, 0)
        hidden = batch["labels"] >= 0
        assert (batch["input_ids"][hidden] == table.mask_id).all()
        assert (batch["labels"] >= 0).sum() == 60
        mixed = [row[1] != row[3] for row in restored(batch)]
        assert any(mixed) == (negatives == "random")
        labels[negatives] = set(batch["next_sentence_label"].tolist())
    assert labels == {"none": {0}, "swapped": {0, 1}, "random": {0, 1}}


def test_no_two_draws_begin_with_the_same_numbers(monkeypatch):
    """Of pairs and of masks, in all turns and steps, for all seeds."""
    seen = []

    def recorded(function):
        def call(*inputs, generator, **options):
            seen.append(generator.initial_seed())
            return function(*inputs, generator=generator, **options)

        return call

    for name in ("collate", "sentence_pairs"):
        monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    table, documents = numbered(12)
    for seed in range(5):
        one = PairStream(lambda shard: documents, table, negatives="none", seed=seed)
        for step in range(6):
            one.batch(Stage(1, 5, 6), step)
    assert len(seen) == len(set(seen)) == 5 * (3 + 6)


def test_masks_are_drawn_anew_each_step():
    stage, plain = Stage(1, 16, 4), stream()
    batch = plain.batch(stage, 0)
    plain.load_state_dict({"shard": 0, "place": 0, "length": 16})
    again = plain.batch(stage, 1)
    assert batch["attention_mask"].equal(again["attention_mask"])
    assert not batch["labels"].equal(again["labels"])


def test_numbers_that_are_none():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        stream(-1)
    for numbers in ((0, 1, 1), (1, -1, 1), (1, 1, 1.0), (True, 1, 1)):
        with pytest.raises(ValueError, match="must be a positive integer"):
            Stage(*numbers)
    with pytest.raises(ValueError, match="length must be at least 5, got 4"):
        Stage(1, 4, 1)


def test_shards_with_few_pairs_share_a_turn():
    """Also those with no document, or with one that has no partner."""
    table, documents = numbered(12)
    parts = [documents[:3], [], documents[3:4], documents[4:9], documents[9:]]
    plan = [Stage(1, 5, 7)] * 3 + [Stage(1, 5, 2)] * 6 + [Stage(1, 5, 9)] * 2

    def made():
        return PairStream(lambda n: parts[n % 5], table, negatives="random", seed=1)

    whole = made()
    batches = [whole.batch(stage, step) for step, stage in enumerate(plan)]
    assert [len(b["input_ids"]) for b in batches] == [
        stage.batch_size for stage in plan
    ]
    for broken_off in range(1, len(plan)):
        first, second = made(), made()
        for step in range(broken_off):
            first.batch(plan[step], step)
        second.load_state_dict(first.state_dict())
        for step in range(broken_off, len(plan)):
            assert same(second.batch(plan[step], step), batches[step])


def test_pairs_of_unknown_pieces_alone_are_left_out_and_counted():
    unknown, known = [[1], [1]], [[5], [6]]
    documents = [unknown, known, unknown, known]
    one = PairStream(lambda n: documents, TABLE, negatives="none")
    counts = []
    for step in range(4):
        batch = one.batch(Stage(1, 8, 1), step)
        assert restored(batch) == [(2, 5, 3, 6, 3)]
        counts.append(one.left_out)
    assert counts == [2, 0, 2, 0]


@pytest.mark.parametrize(
    ("documents", "negatives", "advice"),
    [
        ([], "none", "documents found: 0, .* Give other text"),
        ([[[5]], [[6]]], "none", "documents found: 2, .* no document has two"),
        ([[[5], [6]]], "random", "sentences: 2; .*--negatives swapped or none"),
        ([[[1], [1]]], "none", r"all 1 pairs are \[UNK\] alone.*--learn-vocab"),
    ],
)
def test_where_no_pair_can_be_made_the_message_helps(documents, negatives, advice):
    class Shards:
        count = 1

        def __call__(self, number):
            return documents

    one = PairStream(Shards(), TABLE, negatives=negatives)
    with pytest.raises(ValueError, match=advice) as error:
        one.batch(Stage(1, 12, 4), 0)
    assert A_DOCUMENT in str(error.value)
    assert A_SENTENCE in str(error.value)
