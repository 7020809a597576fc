"""pretraining.masking: exact properties; statistics within bounds in standard deviations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.pretraining.masking import (
    IGNORED,
    KEEP,
    MASK,
    RANDOM,
    UNITS,
    UNTOUCHED,
    MaskingRule,
    PieceTable,
    draw_in_random_order,
    mask_tokens,
    starts_of_spans,
    starts_of_words,
)

SPECIALS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Specials are not all at the beginning: a range would not do.
PIECES = [*SPECIALS[:4], *"abcdefghij", *SPECIALS[4:], *(f"##{c}" for c in "klmno")]
TABLE = PieceTable(PIECES)
PAD, CLS, SEP = TABLE.pad_id, TABLE.cls_id, TABLE.sep_id
Z = 4.5  # bound in standard deviations: exceeded by chance once in 150,000 times


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def within(count, trials, probability):
    """A count of successes is where a binomial one would be, to Z standard deviations."""
    deviation = math.sqrt(trials * probability * (1 - probability))
    return abs(count - trials * probability) <= Z * deviation


def chi_square_bound(freedom):
    """A chi-square number with so many degrees of freedom is below it, Z deviations out.

    Source: Wilson and Hilferty's cube root, which is normal.
    """
    return freedom * (1 - 2 / (9 * freedom) + Z * math.sqrt(2 / (9 * freedom))) ** 3


def independence(counts):
    """Chi-square of a table of counts against independent rows and columns; its freedom."""
    counts = counts.double()
    rows, columns = counts.sum(1, keepdim=True), counts.sum(0, keepdim=True)
    expected = rows * columns / counts.sum()
    assert expected.min() >= 5
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return ((counts - expected).square() / expected).sum().item(), freedom


@st.composite
def rules(draw):
    """Shares of any kind; zero too."""
    parts = draw(
        st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(lambda p: sum(p) > 0)
    )
    mask, random, keep = (part / sum(parts) for part in parts)
    corruption = draw(st.none() | st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    rate = draw(st.sampled_from([0.01, 0.15, 0.4, 0.5, 1.0]))
    return MaskingRule(
        rate, mask, random, keep, draw(st.sampled_from(UNITS)), corruption
    )


@st.composite
def batches(draw):
    """Ids with specials anywhere, at least one ordinary piece a row, and a mask or none."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    ids = torch.randint(len(PIECES), size)
    attention = None
    if draw(st.booleans()):
        attention = torch.rand(size) < 0.8
    for row in range(size[0]):
        place = torch.randint(size[1], ())
        ids[row, place] = TABLE.ordinary[torch.randint(len(TABLE.ordinary), ())]
        if attention is not None:
            attention[row, place] = True
    if attention is not None and draw(st.booleans()):
        attention = attention.long()
    return ids, attention


def maskable_of(ids, attention):
    real = torch.tensor(
        [[PIECES[number] not in SPECIALS for number in row] for row in ids.tolist()]
    )
    return real if attention is None else real & (attention == 1)


def words_of(ids, maskable):
    """Words as lists of positions, row by row, found by walking."""
    rows = []
    for row in range(len(ids)):
        words, before = [], False
        for place, number in enumerate(ids[row].tolist()):
            if maskable[row, place]:
                if before and PIECES[number].startswith("##"):
                    words[-1].append(place)
                else:
                    words.append([place])
            before = bool(maskable[row, place])
        rows.append(words)
    return rows


@given(batches(), rules(), st.integers(0, 2**31))
@settings(max_examples=120, deadline=None)
def test_exact_properties(batch, rule, seed):
    ids, attention = batch
    before = ids.clone(), None if attention is None else attention.clone()
    out = mask_tokens(
        ids, TABLE, rule, generator=seeded(seed), attention_mask=attention
    )
    assert torch.equal(ids, before[0])
    assert attention is None or torch.equal(attention, before[1])
    assert {x.dtype for x in out} == {torch.long}
    assert all(x.shape == ids.shape for x in out)
    assert all(x.data_ptr() != ids.data_ptr() for x in out)

    maskable = maskable_of(ids, attention)
    predicted, corrupted = out.labels != IGNORED, out.branches != UNTOUCHED
    assert not (predicted & ~maskable).any()
    assert not (corrupted & ~maskable).any()
    assert torch.equal(out.labels[predicted], ids[predicted])
    same = (out.branches == UNTOUCHED) | (out.branches == KEEP)
    assert torch.equal(out.input_ids[same], ids[same])
    assert (out.input_ids[out.branches == MASK] == TABLE.mask_id).all()
    put_in = {PIECES[number] for number in out.input_ids[out.branches == RANDOM]}
    assert not put_in & set(SPECIALS)
    for branch, share in ((MASK, rule.mask), (RANDOM, rule.random), (KEEP, rule.keep)):
        assert share > 0 or not (out.branches == branch).any()

    if rule.corruption is None:
        assert torch.equal(corrupted, predicted)
    else:  # the smaller is part of the larger
        assert not (corrupted & ~predicted).any() or not (predicted & ~corrupted).any()
    for chosen, rate in ((predicted, rule.rate), (corrupted, rule.corruption)):
        if rate is None:
            continue
        for row, words in enumerate(words_of(ids, maskable)):
            n = int(maskable[row].sum())
            target = max(1, round(rate * n)) if rate else 0
            count = int(chosen[row].sum())
            if rule.unit == "token":
                assert count == target
                continue
            assert all(len({bool(chosen[row, p]) for p in word}) == 1 for word in words)
            longest = max((len(w) for w in words if chosen[row, w[0]]), default=1)
            assert target <= count <= target + longest - 1


@given(batches(), rules(), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_seed_decides(batch, rule, seed):
    ids, attention = batch
    first, again = (
        mask_tokens(ids, TABLE, rule, generator=seeded(seed), attention_mask=attention)
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    # Neither reads nor moves the global random state.
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    mask_tokens(ids, TABLE, rule, generator=seeded(seed), attention_mask=attention)
    assert torch.equal(state, torch.get_rng_state())


def test_a_generator_that_goes_on_masks_dynamically():
    ids = torch.full((4, 100), PIECES.index("a"))
    generator = seeded()
    first, second = (mask_tokens(ids, TABLE, generator=generator) for _ in range(2))
    assert not torch.equal(first.labels, second.labels)


LENGTH, ROWS = 64, 3000


def large(unit="token", seed=1, **shares):
    """Many texts of [CLS], 60 ordinary pieces, [SEP] and padding, masked."""
    torch.manual_seed(seed)
    ids = TABLE.ordinary[torch.randint(len(TABLE.ordinary), (ROWS, LENGTH))]
    ids[:, 0], ids[:, -3], ids[:, -2:] = CLS, SEP, PAD
    rule = MaskingRule(unit=unit, **shares)
    return ids, mask_tokens(ids, TABLE, rule, generator=seeded(seed))


@pytest.mark.parametrize("unit", ["token", "word"])
def test_the_three_shares(unit):
    _, out = large(unit)
    selected = int((out.labels != IGNORED).sum())
    for branch, share in ((MASK, 0.8), (RANDOM, 0.1), (KEEP, 0.1)):
        assert within(int((out.branches == branch).sum()), selected, share)
    if unit == "token":
        assert selected == ROWS * 9  # 15 % of the 60


def test_the_shares_of_spans():
    """A span has one branch, so fewer coins are tossed: one a span."""
    _, out = large("span")
    starts = (
        (out.branches != UNTOUCHED)
        .long()
        .diff(dim=1, prepend=torch.zeros(ROWS, 1).long())
    )
    first = out.branches[starts == 1]  # of each run; a run may hold two spans
    assert within(int((first == MASK).sum()), len(first), 0.8)
    assert within(int((first == RANDOM).sum()), len(first), 0.1)


def test_every_position_and_every_piece_is_selected_alike():
    ids, out = large()
    selected = out.labels != IGNORED
    for place in range(LENGTH):
        if 1 <= place <= LENGTH - 4:
            assert within(int(selected[:, place].sum()), ROWS, 0.15)
        else:
            assert not selected[:, place].any()
    for number in TABLE.ordinary.tolist():
        there = ids == number
        assert within(int((selected & there).sum()), int(there.sum()), 0.15)


def test_random_pieces_are_uniform_and_independent_of_what_stood_there():
    ids, out = large(mask=0.0, random=1.0, keep=0.0)
    drawn = out.input_ids[out.branches == RANDOM]
    originals = ids[out.branches == RANDOM]
    kinds = len(TABLE.ordinary)
    counts = torch.bincount(drawn, minlength=len(PIECES))[TABLE.ordinary].double()
    expected = len(drawn) / kinds
    assert ((counts - expected).square() / expected).sum() < chi_square_bound(kinds - 1)
    table = torch.zeros(len(PIECES), len(PIECES))
    table.index_put_((originals, drawn), torch.ones(len(drawn)), accumulate=True)
    chi, freedom = independence(table[TABLE.ordinary][:, TABLE.ordinary])
    assert chi < chi_square_bound(freedom)
    assert within(int((drawn == originals).sum()), len(drawn), 1 / kinds)


def test_the_branch_depends_neither_on_the_position_nor_on_the_piece():
    for seed in (1, 2):
        ids, out = large(seed=seed)
        selected = out.labels != IGNORED
        branch = out.branches[selected]
        places = torch.arange(LENGTH).expand(ROWS, LENGTH)[selected]
        earlier = (
            selected.long().cumsum(1)[selected] - 1
        )  # how many were selected before
        for kind in (places, ids[selected], earlier):
            values, row = kind.unique(return_inverse=True)
            counts = torch.bincount(row * 4 + branch, minlength=4 * len(values))
            chi, freedom = independence(counts.view(-1, 4)[:, 1:])
            assert chi < chi_square_bound(freedom)


def test_tokens_are_selected_independently_of_their_neighbours():
    """In a fixed number of draws without replacement: 9 of 60, then 8 of 59."""
    _, out = large()
    selected = out.labels != IGNORED
    pairs = int((selected[:, 1:60] & selected[:, 2:61]).sum())
    # Neighbouring pairs overlap; the bound is widened to cover their correlation.
    expected, trials = 9 / 60 * 8 / 59, ROWS * 59
    assert abs(pairs - trials * expected) <= 2 * Z * math.sqrt(trials * expected)


def test_whole_words_by_hand():
    ids = torch.tensor(
        [[CLS, *map(PIECES.index, ["a", "##k", "##l", "b", "##m"]), SEP]]
    )
    maskable = ~TABLE.special[ids]
    starts = starts_of_words(maskable, TABLE.continues[ids])
    assert starts.tolist() == [[False, True, False, False, True, False, False]]
    seen = {
        tuple((mask_tokens(ids, TABLE, MaskingRule(0.2, unit="word"), generator=seeded(s)))
              .labels.ne(IGNORED)[0].nonzero()[:, 0].tolist())
        for s in range(30)
    }  # fmt: skip
    assert seen == {(1, 2, 3), (4, 5)}


def test_a_continuation_without_a_beginning_is_a_word():
    ids = torch.tensor([[CLS, *map(PIECES.index, ["##k", "##l", "[UNK]", "##m"]), SEP]])
    starts = starts_of_words(~TABLE.special[ids], TABLE.continues[ids])
    assert starts.nonzero()[:, 1].tolist() == [1, 4]


def test_spans_are_contiguous_and_of_geometric_length():
    torch.manual_seed(3)
    ids = TABLE.ordinary[torch.randint(len(TABLE.ordinary), (400, 512))]
    ids[:, 200] = SEP
    maskable = ~TABLE.special[ids]
    words = starts_of_words(maskable, TABLE.continues[ids])
    spans = starts_of_spans(maskable, words, seeded(5))
    assert not (spans & ~words).any()
    assert spans[:, [0, 201]].all()  # a span never crosses a special token
    counts = torch.zeros(12)
    number = spans.cumsum(1)
    for row in range(400):
        in_left = number[row][:200][words[row][:200]]
        lengths = in_left.bincount()[1:-1]  # without the last, which the [SEP] cuts
        counts += lengths.bincount(minlength=12)
    assert counts[0] == counts[11] == 0
    law = 0.2 * 0.8 ** torch.arange(10)
    expected = law / law.sum() * counts.sum()
    # The text's end censors long spans a little: they are the last more often.
    assert (counts[1:11] / expected).sub(1).abs().max() < 0.15


def test_drawn_spans_are_runs_whose_branch_is_one():
    """At most one span a text is cut: the others are whole, with one branch each."""
    ids, out = large("span")
    maskable = ~TABLE.special[ids]
    words = starts_of_words(maskable, TABLE.continues[ids])
    generator = seeded(1)
    spans = starts_of_spans(maskable, words, generator)  # the first draw of mask_tokens
    number = spans.cumsum(1)
    selected = out.labels != IGNORED
    cut = torch.zeros(ROWS)
    for k in range(1, int(number.max()) + 1):
        mine = (number == k) & maskable
        taken = mine & selected
        some = taken.any(1)
        cut += some & (mine & ~selected).any(1)
        # What is taken of a span is its beginning: no gap.
        assert not (
            (selected.long().diff(dim=1) == 1) & mine[:, 1:] & mine[:, :-1]
        ).any()
        branch = out.branches.masked_fill(~taken, 0)
        assert (
            branch.amax(1)[some] == branch.masked_fill(~taken, 9).amin(1)[some]
        ).all()
    assert cut.max() == 1


def test_order_counts_the_tokens_before_a_word():
    maskable = torch.tensor([[False, True, True, True, False, True]])
    words = torch.tensor([[False, True, False, True, False, True]])
    for seed in range(20):
        order = draw_in_random_order(maskable, words, words, seeded(seed))[0]
        assert order[[0, 4]].tolist() == [6, 6]
        assert order[1] == order[2]
        sizes = {int(order[1]): 2, int(order[3]): 1, int(order[5]): 1}
        total = 0
        for start in sorted(sizes):
            assert start == total
            total += sizes[start]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"rate": 0.0}, "rate must lie above 0 .* got 0.0"),
        ({"rate": 1.5}, "rate .* got 1.5"),
        ({"mask": 0.9}, r"sum to 1, got 0.9 \+ 0.1 \+ 0.1 = 1.1"),
        ({"mask": 1.1, "random": -0.2}, "mask must lie in 0..1, got 1.1"),
        ({"corruption": -0.1}, "corruption must lie in 0..1, got -0.1"),
        ({"unit": "letter"}, "got 'letter'"),
        ({"rate": float("nan")}, "rate .* got nan"),
        ({"keep": float("nan")}, "keep .* got nan"),
    ],
)
def test_rules_that_are_none(shares, message):
    with pytest.raises(ValueError, match=message):
        MaskingRule(**shares)


@pytest.mark.parametrize(
    ("ids", "attention", "error", "message"),
    [
        (
            torch.tensor([[CLS, 5], [CLS, SEP]]),
            None,
            ValueError,
            r"rows \[1\] .*\[3, 14\]",
        ),
        (torch.tensor([[5, 6]]), torch.zeros(1, 2).bool(), ValueError, r"rows \[0\]"),
        (torch.tensor([[5, -1]]), None, ValueError, "got -1..5"),
        (torch.tensor([[5, len(PIECES)]]), None, ValueError, "0..20"),
        (torch.tensor([[5.0, 6.0]]), None, TypeError, "torch.float32"),
        (torch.tensor([[5, 6]]).int(), None, TypeError, "torch.int32"),
        (torch.tensor([5, 6]), None, ValueError, r"got \[2\]"),
        (torch.tensor([[5, 6]]), torch.ones(2).bool(), ValueError, r"got \[2\]"),
        (torch.tensor([[5, 6]]), torch.ones(1, 2), TypeError, "torch.float32"),
    ],
)
def test_batches_that_are_none(ids, attention, error, message):
    with pytest.raises(error, match=message):
        mask_tokens(ids, TABLE, generator=seeded(), attention_mask=attention)


def test_a_generator_is_needed_and_a_whole_vocabulary():
    with pytest.raises(TypeError, match=r"must be a torch\.Generator, got 7"):
        mask_tokens(torch.tensor([[5]]), TABLE, generator=7)
    with pytest.raises(ValueError, match=r"lacks the special tokens \['\[MASK\]'\]"):
        PieceTable([p for p in PIECES if p != "[MASK]"])
    with pytest.raises(
        ValueError, match="all 6 pieces are special: none can be masked"
    ):
        PieceTable(SPECIALS)
