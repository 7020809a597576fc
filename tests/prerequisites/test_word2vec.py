"""Skip-gram with negative sampling: pairs, noise, loss and gradient, and what it converges to."""

import copy
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.prerequisites.word2vec import (
    SkipGram,
    Vocabulary,
    keep_probability,
    negative_sampling_loss,
    noise_distribution,
    sample,
    skip_gram_pairs,
    subsample,
    tokenize,
    train_skip_gram,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_words_are_runs_of_letters():
    text = "Æsop's 3 cafés (in 1969): don't_stop"
    assert tokenize(text) == ["æsop", "s", "cafés", "in", "don", "t", "stop"]


def test_vocabulary_keeps_what_occurs_often_enough():
    vocabulary = Vocabulary.build(["abaca", "bcd"], min_count=2)
    assert vocabulary.words == ("a", "b", "c")
    assert vocabulary.counts.tolist() == [3, 2, 2]
    assert len(vocabulary) == 3
    assert "b" in vocabulary
    assert "d" not in vocabulary
    assert [vocabulary[word] for word in vocabulary.words] == [0, 1, 2]
    assert vocabulary.encode("dadc") == [0, 2]


def test_vocabulary_refuses_bad_input():
    with pytest.raises(ValueError, match="min_count must be at least 1, got 0"):
        Vocabulary.build([["a"]], min_count=0)
    with pytest.raises(ValueError, match="no word occurs 5 times"):
        Vocabulary.build([["a"]])
    with pytest.raises(ValueError, match="counts must be 2"):
        Vocabulary(("a", "b"), torch.tensor([1]))
    with pytest.raises(KeyError, match="'zeus' is not among the 1 words"):
        Vocabulary.build([["a"]], min_count=1)["zeus"]


def test_frequent_words_are_dropped_and_rare_ones_kept():
    counts = torch.tensor([90_000, 9_000, 990, 10])
    keep = keep_probability(counts, 1e-3)
    assert keep[0] == pytest.approx(math.sqrt(0.001 / 0.9) + 0.001 / 0.9)
    assert keep.tolist() == sorted(keep.tolist())
    assert keep[3] == 1
    with pytest.raises(ValueError, match="threshold must be positive, got 0"):
        keep_probability(counts, 0)


def test_keep_probability_is_gensims():
    word2vec = pytest.importorskip("gensim.models").Word2Vec
    texts = [["a"] * 50 + ["b"] * 30 + ["c"] * 5]
    model = word2vec(sg=1, min_count=1, sample=0.05, vector_size=2, workers=1)
    model.build_vocab(texts)
    theirs = [model.wv.get_vecattr(w, "sample_int") / 2**32 for w in "abc"]
    ours = keep_probability(torch.tensor([50, 30, 5]), 0.05)
    assert ours.tolist() == pytest.approx(theirs, abs=1e-6)


def test_noise_is_flatter_than_the_counts():
    noise = noise_distribution(torch.tensor([16, 1]))
    assert noise.tolist() == pytest.approx([8 / 9, 1 / 9])
    assert noise_distribution(torch.tensor([3, 1]), 1.0).tolist() == [0.75, 0.25]


def test_sample_follows_its_distribution():
    p = torch.tensor([0.5, 0.0, 0.2, 0.3])
    drawn = sample(p, (200, 500), generator())
    assert drawn.shape == (200, 500)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 100_000
    assert shares[1] == 0
    torch.testing.assert_close(shares, p, atol=0.006, rtol=0)


def test_subsampling_keeps_the_order_and_the_texts_apart():
    texts = [[0, 1, 2, 1], [], [1, 3, 1]]
    kept = subsample(texts, torch.tensor([1.0, 0.0, 1.0, 1.0]), generator())
    assert [text.tolist() for text in kept] == [[0, 2], [], [3]]
    many = subsample([[0] * 40_000], torch.tensor([0.25]), generator())
    assert len(many[0]) == pytest.approx(10_000, rel=0.05)


def test_pairs_of_window_one_are_the_neighbours():
    texts = [torch.tensor([0, 1, 2]), torch.tensor([3]), torch.tensor([4, 5])]
    pairs = {tuple(pair) for pair in skip_gram_pairs(texts, 1).tolist()}
    assert pairs == {(0, 1), (1, 0), (1, 2), (2, 1), (4, 5), (5, 4)}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 6))
def test_pairs_are_close_and_of_one_text(lengths, window):
    texts = list(torch.arange(sum(lengths)).split(lengths))  # each word occurs once
    home = {word: n for n, text in enumerate(texts) for word in text.tolist()}
    pairs = skip_gram_pairs(texts, window, generator())
    for centre, context in pairs.tolist():
        assert 1 <= abs(centre - context) <= window
        assert home[centre] == home[context]
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    reach = Counter()
    for centre, context in pairs.tolist():
        reach[centre] = max(reach[centre], abs(centre - context))
    for centre, far in reach.items():  # nothing nearer is left out
        near = [w for w, n in home.items() if n == home[centre]]
        near = [w for w in near if 1 <= abs(w - centre) <= far]
        assert sum(1 for c, _ in pairs.tolist() if c == centre) == len(near)


def test_near_neighbours_are_paired_more_often():
    pairs = skip_gram_pairs([torch.arange(40_000)], 5, generator())
    distance = Counter((pairs[:, 0] - pairs[:, 1]).abs().tolist())
    shares = [distance[k] / 80_000 for k in range(1, 6)]
    assert shares == pytest.approx([1, 0.8, 0.6, 0.4, 0.2], abs=0.01)


def test_wrong_window():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        skip_gram_pairs([torch.tensor([1])], 0)


def test_loss_is_that_of_a_logistic_regression():
    positive, negative = torch.randn(7).double(), torch.randn(7, 3).double()
    scores = torch.cat([positive[:, None], negative], 1)
    labels = torch.tensor([1.0, 0, 0, 0]).double().expand(7, 4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, labels, reduction="none"
    ).sum(1)
    torch.testing.assert_close(
        negative_sampling_loss(positive, negative), expected, atol=1e-12, rtol=0
    )
    huge = negative_sampling_loss(torch.tensor([-1e4]), torch.tensor([[1e4]]))
    assert huge.item() == pytest.approx(2e4)


def test_model_scores_and_gradients():
    torch.manual_seed(0)
    model = SkipGram(6, 4).double()
    assert model.centre.weight.abs().max() <= 0.5 / 4
    assert (model.context.weight == 0).all()
    torch.nn.init.normal_(model.context.weight)
    centres, others = torch.tensor([2, 5]), torch.tensor([[1, 0], [3, 3]])
    scores = model(centres, others)
    expected = model.centre.weight @ model.context.weight.T
    torch.testing.assert_close(scores, expected[centres[:, None], others])

    negative_sampling_loss(scores[:, 0], scores[:, 1:]).sum().backward()
    label = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    error = scores.detach().sigmoid() - label  # [B, N]
    grad = torch.zeros(6, 4).double()
    for row, centre in enumerate(centres):
        for column, other in enumerate(others[row]):
            grad[centre] += error[row, column] * model.context.weight[other].detach()
    torch.testing.assert_close(model.centre.weight.grad, grad, atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        SkipGram(3, 0)


def test_training_finds_which_words_share_their_contexts():
    """Words 0 and 1 stand beside 4 and 5, words 2 and 3 beside 6 and 7."""
    rng = generator()
    texts = []
    for _ in range(3000):
        side = torch.randint(2, (1,), generator=rng).item()
        a, b = torch.randint(2, (2,), generator=rng).tolist()
        texts.append([2 * side + a, 4 + 2 * side + b])
    counts = torch.bincount(torch.tensor(texts).flatten())
    arguments = {"width": 8, "window": 1, "threshold": 1.0}
    arguments |= {"batch_size": 128, "learning_rate": 0.05}
    model, losses = train_skip_gram(texts, counts, **arguments)
    assert losses[0] == pytest.approx(6 * math.log(2), abs=1e-3)  # all scores 0
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    scores = (model.centre.weight @ model.context.weight.T).detach()
    assert scores[:2, 4:6].min() > scores[:2, 6:].max() + 2
    assert scores[2:4, 6:].min() > scores[2:4, 4:6].max() + 2
    v = torch.nn.functional.normalize(model.centre.weight.detach(), dim=-1)
    assert v[0] @ v[1] > v[0] @ v[2] + 0.3

    again, _ = train_skip_gram(texts, counts, **arguments)
    assert torch.equal(again.centre.weight, model.centre.weight)
    other, _ = train_skip_gram(texts, counts, seed=1, **arguments)
    assert not torch.equal(other.centre.weight, model.centre.weight)


def test_training_refuses_bad_input():
    counts = torch.tensor([1, 1])
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        train_skip_gram([[0, 1]], counts, epochs=0)
    with pytest.raises(ValueError, match="negatives must be at least 1, got 0"):
        train_skip_gram([[0, 1]], counts, negatives=0)
    with pytest.raises(ValueError, match="no pair"):
        train_skip_gram([[0], [1]], counts, threshold=1.0)


# --- training: what it is fed with, and the steps it takes


Z = 4.5  # bound in standard deviations: exceeded by chance once in 150,000 times


def within(count, trials, probability):
    """A count of successes is where a binomial one would be, to Z standard deviations."""
    deviation = math.sqrt(trials * probability * (1 - probability))
    return abs(count - trials * probability) <= Z * deviation


def fed(texts, size, counts=None, **options):
    """Train, and record what the model was given: centres [P], others [P, 1 + K], sizes."""
    seen, made = [], []

    class Recorder(SkipGram):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            made.append(copy.deepcopy(self.state_dict()))

        def forward(self, centres, others):
            seen.append((centres, others))
            return super().forward(centres, others)

    if counts is None:
        flat = torch.tensor([word for text in texts for word in text])
        counts = torch.bincount(flat, minlength=size)
    options = {"width": 2, "epochs": 1, "threshold": 1e9, **options}
    model, losses = train_skip_gram(texts, counts, make_model=Recorder, **options)
    assert isinstance(model, Recorder)
    assert len(losses) == len(seen)
    centres, others = (torch.cat(x) for x in zip(*seen, strict=True))
    return centres, others, seen, model, made[0]


LONG = [list(range(4000))]  # each word once


def test_training_subsamples_frequent_words():
    drawn = torch.multinomial(
        torch.tensor([0.6, 0.3, 0.1]), 20_000, replacement=True, generator=generator()
    )
    counts = drawn.bincount()
    keep = keep_probability(counts, 0.02)
    assert keep[0] < 0.5 * keep[2]
    found = fed([drawn.tolist()], 3, window=1, threshold=0.02)[0].bincount() / 2
    for word in range(3):  # a word that is kept has two neighbours, but at the ends
        trials = int(counts[word])
        assert within(found[word].item(), trials, keep[word].item())


def test_training_pairs_words_as_far_as_the_window_reaches():
    for window in (1, 4):
        centres, others, *_ = fed(LONG, 4000, window=window)
        distance = (centres - others[:, 0]).abs().bincount(minlength=window + 1)
        assert distance[0] == 0
        assert len(distance) == window + 1
        for k in range(1, window + 1):
            candidates = 2 * (4000 - k)  # in both directions
            assert within(int(distance[k]), candidates, (window - k + 1) / window)


def test_training_draws_noise_by_the_power_of_the_counts():
    counts = torch.tensor([64, 16, 4, 1])
    texts = [[0, 1, 2, 3]] * 3000
    centres, others, *_ = fed(texts, 4, counts, negatives=3, batch_size=500)
    assert others.shape == (len(centres), 4)
    noise = others[:, 1:]
    expected = noise_distribution(counts)
    for centre in range(4):  # whatever the centre
        mine = noise[centres == centre].flatten()
        for word in range(4):
            count = int((mine == word).sum())
            assert within(count, len(mine), expected[word].item())
    same = expected.square().sum().item()  # two independent draws agree
    for one, other in (
        (noise[:-1:2, 0], noise[1::2, 0]),  # of neighbouring pairs
        (noise[:, 0], noise[:, 1]),  # of one pair
        (noise[:500, 0], noise[500:1000, 0]),  # of two batches
    ):
        assert within(int((one == other).sum()), len(one), same)


def test_every_epoch_draws_windows_and_subsamples_anew():
    """A pair that an epoch has with probability p is in none, one or both of two epochs."""

    def check(pairs, candidates, probability):
        times = Counter(map(tuple, pairs.tolist()))
        assert set(times.values()) <= {1, 2}
        once = sum(n == 1 for n in times.values())
        both = sum(n == 2 for n in times.values())
        assert within(once, candidates, 2 * probability * (1 - probability))
        assert within(both, candidates, probability**2)

    centres, others, *_ = fed(LONG, 4000, window=2, epochs=2)
    pairs = torch.stack([centres, others[:, 0]], 1)
    far = (centres - others[:, 0]).abs() == 2
    check(pairs[far], 2 * 3998, 0.5)
    near = Counter(map(tuple, pairs[~far].tolist()))
    assert set(near.values()) == {2}  # these are in each epoch

    texts = [[0, word] for word in range(1, 3001)]
    counts = torch.tensor([3000, *[1] * 3000])
    keep = keep_probability(counts, 0.05)
    assert keep[0] < 0.5
    assert keep[1] == 1
    centres, others, *_ = fed(texts, 3001, window=1, epochs=2, threshold=0.05)
    first = centres == 0
    check(torch.stack([centres, others[:, 0]], 1)[first], 3000, keep[0].item())


def test_pairs_are_shuffled_within_an_epoch_and_epochs_follow_one_another():
    centres, others, *_ = fed(LONG, 4000, window=1, epochs=2)
    number = len(centres) // 2
    for part in (slice(0, number), slice(number, None)):
        pairs = torch.stack([centres, others[:, 0]], 1)[part]
        assert len(pairs.unique(dim=0)) == number == 2 * 3999  # a whole epoch
        place, ahead = torch.arange(number).double(), pairs[:, 1] > pairs[:, 0]
        for trait in (pairs[:, 0].double(), ahead.double()):
            r = torch.corrcoef(torch.stack([place, trait]))[0, 1].item()
            assert abs(r) <= Z / math.sqrt(number)
    assert not torch.equal(centres[:number], centres[number:])


def test_batches_are_full_but_the_last_and_none_is_lost():
    *_, seen, model, _ = fed([[0, 1]] * 10, 2, window=1, batch_size=8)
    assert [len(centres) for centres, _ in seen] == [8, 8, 4]
    assert not model.training


def test_training_takes_the_steps_of_adam_at_a_rate_that_falls_to_nothing():
    """Weight for weight those of PyTorch's own, driven by hand on the same batches."""
    texts = torch.randint(6, (40, 6), generator=generator()).tolist()
    options = {"learning_rate": 0.5, "batch_size": 32, "negatives": 20, "width": 4}
    *_, seen, model, start = fed(texts, 6, window=2, epochs=2, **options)
    steps = len(seen)
    assert steps > 20
    by_hand = SkipGram(6, 4)
    by_hand.load_state_dict(start)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.5)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1 - s / steps)
    norms = []
    for centres, others in seen:
        scores = by_hand(centres, others)
        loss = -scores[:, 0].sigmoid().log() - (-scores[:, 1:]).sigmoid().log().sum(1)
        optimizer.zero_grad()
        loss.mean().backward()
        norms.append(
            torch.nn.utils.get_total_norm(p.grad for p in by_hand.parameters())
        )
        optimizer.step()
        rates.step()
    assert max(norms) > 2  # nothing is clipped
    for name, weight in by_hand.state_dict().items():
        found = model.state_dict()[name]
        torch.testing.assert_close(found, weight, atol=1e-3, rtol=1e-3)


def test_vectors_start_evenly_around_zero():
    torch.manual_seed(0)
    width, number = 10, 2000
    start = SkipGram(number, width).centre.weight.detach() * width
    deviation = 1 / math.sqrt(12)  # of an even distribution on -1/2..1/2
    assert start.abs().max() <= 0.5
    assert abs(start.mean().item()) <= Z * deviation / math.sqrt(start.numel())
    assert start.std().item() == pytest.approx(deviation, rel=0.02)


def test_what_is_not_chosen_in_training_is_what_the_signature_says():
    texts = torch.randint(30, (300, 8), generator=generator()).tolist()
    counts = torch.tensor(texts).flatten().bincount()
    usual = {
        "width": 64,
        "window": 5,
        "negatives": 5,
        "threshold": 1e-3,
        "epochs": 5,
        "batch_size": 16384,
        "learning_rate": 0.03,
        "seed": 0,
    }
    model, losses = train_skip_gram(texts, counts)
    same, again = train_skip_gram(texts, counts, **usual)
    assert losses == again
    assert torch.equal(model.centre.weight, same.centre.weight)
