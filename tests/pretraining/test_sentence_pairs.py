"""pretraining.sentence_pairs: what pairs hold, their labels, and the batches made of them."""

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.pretraining.masking import IGNORED, MaskingRule, PieceTable
from bertbook.pretraining.sentence_pairs import (
    NEGATIVES,
    SentencePair,
    collate,
    pack,
    sentence_pairs,
)

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TABLE = PieceTable([*SPECIALS, *map(chr, range(0x4E00, 0x4E00 + 3000))])
Z = 4.5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(sizes):
    """Documents in which every piece of the whole collection has a number of its own."""
    count, documents = 5, []
    for document in sizes:
        documents.append([])
        for size in document:
            documents[-1].append(list(range(count, count + size)))
            count += size
    return documents


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def homes(documents):
    """Document, sentence and place in the document of each piece."""
    found = {}
    for number, document in enumerate(documents):
        place = 0
        for sentence_number, sentence in enumerate(document):
            for piece in sentence:
                found[piece] = number, sentence_number, place
                place += 1
    return found


SIZES = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=2, max_size=6
)


@given(SIZES, st.integers(5, 40), st.sampled_from(NEGATIVES), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_what_a_pair_holds(sizes, length, negatives, seed):
    documents = numbered(sizes)
    where = homes(documents)
    before = [[list(s) for s in d] for d in documents]
    pairs = sentence_pairs(
        documents, length, generator=seeded(seed), negatives=negatives
    )
    assert documents == before
    again = sentence_pairs(
        documents, length, generator=seeded(seed), negatives=negatives
    )
    assert pairs == again
    for pair in pairs:
        first, second = pair.first, pair.second
        assert min(len(first), len(second)) >= 1
        assert len(first) + len(second) + 3 <= length
        for segment, document in zip((first, second), pair.documents, strict=True):
            # One run of one document.
            assert segment == list(range(segment[0], segment[-1] + 1))
            assert {where[piece][0] for piece in segment} == {document}
        follows = first[-1] + 1 == second[0] and pair.documents[0] == pair.documents[1]
        assert pair.next_sentence_label == (0 if follows else 1)
        if negatives == "random":
            assert (pair.documents[0] != pair.documents[1]) == (not follows)
        if pair.next_sentence_label == 0:
            assert (
                where[first[-1]][1] + 1 == where[second[0]][1]
            )  # split between sentences
        elif negatives == "swapped":
            assert pair.documents[0] == pair.documents[1]
            assert second[-1] < first[0]
        else:
            assert negatives == "random"
            assert second[0] in [s[0] for s in documents[pair.documents[1]]]
    if (
        negatives != "random"
    ):  # every sentence once, but what was cut and a lone last one
        seen = [piece for p in pairs for piece in (*p.first, *p.second)]
        assert len(seen) == len(set(seen))


def test_nothing_is_lost_where_nothing_is_too_long():
    documents = numbered([[2, 2, 2, 2], [2, 2]])
    for negatives in ("swapped", "none"):
        pairs = sentence_pairs(
            documents, 11, generator=seeded(), negatives=negatives, short=0.0
        )
        assert [len(p.first) + len(p.second) for p in pairs] == [8, 4]
        for pair in pairs:
            halves = (pair.first, pair.second)
            text = joined(halves[::-1] if pair.next_sentence_label else halves)
            assert text == joined(documents[pair.documents[0]])


def test_what_a_random_partner_replaces_is_read_later():
    documents = numbered([[2] * 30, [2] * 30])
    pairs = sentence_pairs(documents, 13, generator=seeded(), short=0.0)
    first = {piece for p in pairs if p.documents[0] == 0 for piece in p.first}
    own = {piece for p in pairs if p.documents == (0, 0) for piece in p.second}
    missing = set(joined(documents[0])) - first - own
    assert missing <= set(documents[0][-1])  # a sentence that was left alone


def many(negatives="random", count=600, short=0.1, length=40, seed=2):
    random.seed(seed)
    documents = [
        [[5 + (7 * d + s) % 90] * random.randint(3, 12) for s in range(14)]
        for d in range(count)
    ]
    return documents, sentence_pairs(
        documents, length, generator=seeded(seed), negatives=negatives, short=short
    )


@pytest.mark.parametrize("negatives", ["random", "swapped"])
def test_half_of_the_pairs_follow(negatives):
    _, pairs = many(negatives)
    negative = sum(p.next_sentence_label for p in pairs)
    assert len(pairs) > 1000
    assert abs(negative - len(pairs) / 2) <= Z * math.sqrt(len(pairs) / 4)
    assert not any(p.next_sentence_label for p in many("none", count=50)[1])


def test_partners_are_drawn_from_all_other_documents_alike():
    documents = [[[5, 6]] * 500 for _ in range(6)]
    pairs = sentence_pairs(documents, 9, generator=seeded(), short=0.0)
    counts = torch.zeros(6, 6)
    for pair in pairs:
        if pair.next_sentence_label:
            counts[pair.documents] += 1
    assert not counts.diagonal().any()
    for row in range(6):
        total = counts[row].sum().item()
        others = counts[row][torch.arange(6) != row]
        assert total > 100
        deviation = math.sqrt(total * 0.2 * 0.8)
        assert (others - total / 5).abs().max() <= Z * deviation


def test_one_pair_in_ten_aims_at_a_shorter_length():
    """Sentences of one piece: lengths are exactly those aimed at, but at a document's end."""
    documents = [[[5]] * 2000, [[6]] * 2000]
    for share in (0.0, 0.1, 1.0):
        pairs = sentence_pairs(
            documents, 23, generator=seeded(1), negatives="none", short=share
        )
        inner = [p for p, q in itertools.pairwise(pairs) if p.documents == q.documents]
        lengths = [len(p.first) + len(p.second) for p in inner]
        shorter = sum(n < 20 for n in lengths)
        expected = share * 18 / 19  # targets are 2..20
        deviation = math.sqrt(len(lengths) * expected * (1 - expected))
        assert abs(shorter - len(lengths) * expected) <= Z * deviation
        if share == 1.0:
            assert set(lengths) == set(range(2, 21))


def test_what_is_too_long_loses_nothing_at_the_seam():
    documents = numbered([[30, 30], [30, 30]])
    for pair in sentence_pairs(
        documents, 13, generator=seeded(), negatives="none", short=0
    ):
        assert (len(pair.first), len(pair.second)) == (5, 5)
        assert pair.first[-1] + 1 == pair.second[0]


def even(values, choices):
    """Each choice is as frequent as any other, to Z standard deviations."""
    share = 1 / len(choices)
    deviation = math.sqrt(len(values) * share * (1 - share))
    assert set(values) <= set(choices)
    for choice in choices:
        count = values.count(choice)
        assert abs(count - len(values) * share) <= Z * deviation, choice


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_a_stretch_is_split_between_any_two_of_its_sentences_alike(negatives):
    """Ten sentences of one piece: the first part has one to nine of them, equally often."""
    documents = [[[5]] * 3000, [[6]] * 3000, [[7]] * 3000]
    pairs = sentence_pairs(
        documents, 13, generator=seeded(), negatives=negatives, short=0.0
    )
    inner = [
        p for p, q in itertools.pairwise(pairs) if p.documents[0] == q.documents[0]
    ]
    for label in {0, int(negatives != "none")}:
        mine = [p for p in inner if p.next_sentence_label == label]
        assert len(mine) > 250
        swapped = label and negatives == "swapped"
        even([len(p.second if swapped else p.first) for p in mine], range(1, 10))


def test_a_random_partner_begins_at_any_sentence_of_its_document_alike():
    documents = [numbered([[2] * 400, [2] * 8])[0], *numbered([[2] * 6] * 3)]
    begins = [[s[0] for s in d] for d in documents]
    found = []
    for seed in range(12):
        for p in sentence_pairs(documents, 9, generator=seeded(seed), short=0.0):
            if p.documents[0] == 0 and p.next_sentence_label:
                found.append(begins[p.documents[1]].index(p.second[0]))
    assert len(found) > 1000
    even(found, range(6))


def test_a_random_partner_fills_the_room_that_the_first_part_leaves():
    """No more: nothing of the first part is cut, and of the partner no whole sentence."""
    documents = numbered([[3] * 400, [3] * 400])
    where = homes(documents)
    sizes = set()
    for p in sentence_pairs(documents, 33, generator=seeded(), short=0.0):
        if p.next_sentence_label and where[p.second[-1]][1] < 399:
            assert len(p.first) % 3 == 0
            assert len(p.first) + len(p.second) == 30
            sizes.add(len(p.first))
    assert sizes == set(range(3, 30, 3))


def test_a_pair_is_cut_to_the_length_aimed_at():
    """Sentences of four pieces: without a cut all lengths were multiples of four."""
    documents = numbered([[4] * 2000, [4] * 2000])
    for negatives in NEGATIVES:
        pairs = sentence_pairs(
            documents, 23, generator=seeded(), negatives=negatives, short=1.0
        )
        lengths = {len(p.first) + len(p.second) for p in pairs}
        assert lengths == set(range(2, 21))


def test_one_in_ten_is_what_is_not_chosen():
    documents = numbered([[1] * 300, [1] * 300])
    usual = sentence_pairs(documents, 23, generator=seeded())
    assert usual == sentence_pairs(documents, 23, generator=seeded(), short=0.1)
    assert usual != sentence_pairs(documents, 23, generator=seeded(), short=0.0)
    follow = {p.documents[0] == p.documents[1] for p in usual}
    assert follow == {True, False}  # random partners are usual too


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        (
            [[[5], [6]]],
            {},
            "at least 2 documents, since a random partner comes from another, got 1",
        ),
        ([], {"negatives": "none"}, "at least 1 documents, got 0"),
        ([[[5]], []], {}, "document 1 has no sentence"),
        ([[[5]], [[6], []]], {}, "sentence 1 of document 1 is empty"),
        ([[[5]], [[6, -3]]], {}, "sentence 0 of document 1 holds the number -3"),
        ([[[5]], [[6]]], {"negatives": "sop"}, "got 'sop'"),
        ([[[5]], [[6]]], {"short": 1.1}, "short must lie in 0..1, got 1.1"),
        ([[[5]], [[6]]], {"length": 4}, "length must be at least 5, got 4"),
    ],
)
def test_what_makes_no_pairs(documents, options, message):
    options = {"length": 20, **options}
    with pytest.raises(ValueError, match=message):
        sentence_pairs(documents, generator=seeded(), **options)


def test_packing_by_hand():
    pair = SentencePair([10, 11], [12], 1, (0, 1))
    encoding = pack(pair, TABLE)
    assert encoding.ids == [2, 10, 11, 3, 12, 3]
    assert encoding.token_type_ids == [0, 0, 0, 0, 1, 1]
    assert encoding.attention_mask == [1] * 6
    assert encoding.tokens[0] == "[CLS]"
    assert len(encoding.tokens) == len(encoding.offsets) == 6


def test_a_batch():
    _, pairs = many()
    chosen = pairs[:16]
    batch = collate(chosen, TABLE, generator=seeded(4), pad_to=48)
    names = ("input_ids", "token_type_ids", "attention_mask", "labels")
    assert set(batch) == {*names, "next_sentence_label"}
    assert all(batch[name].shape == (16, 48) for name in names)
    assert batch["next_sentence_label"].tolist() == [
        p.next_sentence_label for p in chosen
    ]
    assert {tensor.dtype for tensor in batch.values()} == {torch.long}
    for row, pair in enumerate(chosen):
        ids = pack(pair, TABLE).ids
        size = len(ids)
        assert batch["attention_mask"][row].tolist() == [1] * size + [0] * (48 - size)
        assert (batch["input_ids"][row, size:] == TABLE.pad_id).all()
        labels = batch["labels"][row]
        known = torch.tensor(ids)
        selected = labels[:size] != IGNORED
        assert (labels[size:] == IGNORED).all()
        assert torch.equal(labels[:size][selected], known[selected])
        assert selected.sum() == max(1, round(0.15 * (size - 3)))
        assert torch.equal(batch["input_ids"][row, :size][~selected], known[~selected])
    again = collate(chosen, TABLE, generator=seeded(4), pad_to=48)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert collate(chosen, TABLE, generator=seeded())["labels"].shape[1] <= 40
    every = collate(chosen, TABLE, MaskingRule(1.0, 1.0, 0, 0), generator=seeded())
    hidden = every["labels"] != IGNORED
    assert (every["input_ids"][hidden] == TABLE.mask_id).all()
    with pytest.raises(ValueError, match="at least one input"):
        collate([], TABLE, generator=seeded())
