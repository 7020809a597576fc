"""transformer.translation: sub-words, batches, schedule, losses, scores, and a killed training."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.prerequisites.seq2seq import shift_right
from bertbook.shared.symbols import END, PAD
from bertbook.studies.lstm_translator import (
    LSTMTranslator,
    LSTMTranslatorConfig,
)
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.encoder import TransformerConfig
from bertbook.transformer.translation import (
    batches_by_length,
    corpus_scores,
    inverse_square_root,
    label_smoothed_loss,
    learn_subwords,
    translation_loss,
)

# ---------------------------------------------------------------- sub-words

SENTENCES = ["the king sayde to the men", "the king said to the men"] * 20
SUBWORDS = learn_subwords(SENTENCES, 300)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_with_a_space_in_front(text):
    expected = text if not text or text.startswith(" ") else f" {text}"
    ids = SUBWORDS.encode(text).ids
    assert SUBWORDS.decode(ids) == expected
    assert min(ids, default=END + 1) > END
    padded = [*ids, END, PAD, PAD]
    assert SUBWORDS.decode(padded, skip_special_tokens=True) == expected


@pytest.mark.parametrize("text", ["[PAD]", "a [END] of it", "[BEGIN][BEGIN]"])
def test_the_name_of_a_special_symbol_is_text_like_any_other(text):
    ids = SUBWORDS.encode(text).ids
    assert min(ids) > END
    assert SUBWORDS.decode(ids).strip() == text


def test_the_special_symbols_come_first_and_frequent_words_are_one_piece():
    assert SUBWORDS.get_vocab_size() <= 300
    names = [SUBWORDS.id_to_token(number) for number in range(3)]
    assert names == ["[PAD]", "[BEGIN]", "[END]"]
    assert len(SUBWORDS.encode("king").ids) == 1
    assert len(SUBWORDS.encode("zebra").ids) > 3
    again = learn_subwords(iter(SENTENCES), 300)
    assert again.get_vocab() == SUBWORDS.get_vocab()
    assert learn_subwords([], 259).get_vocab_size() == 259
    with pytest.raises(ValueError, match="at least 259, got 258"):
        learn_subwords(SENTENCES, 258)


# ------------------------------------------------------------------ batches


@st.composite
def corpora(draw):
    """Pairs that can be told apart, and a bound that all of them keep."""
    count = draw(st.integers(1, 25))
    # Long enough for the shaking to put a longer one before a shorter one.
    lengths = st.lists(st.integers(1, 40), min_size=count, max_size=count)
    sources = [[3 + i] * n for i, n in enumerate(draw(lengths))]
    targets = [[*[3 + i] * (n - 1), END] for i, n in enumerate(draw(lengths))]
    tokens = draw(st.integers(max(map(len, targets)), 150))
    return sources, targets, tokens, draw(st.integers(0, 1000))


def unpadded(batch):
    """The pairs of a batch as tuples."""
    source, lengths, target = batch
    assert (lengths == (source != PAD).sum(1)).all()
    rows = zip(source.tolist(), target.tolist(), strict=True)
    return [tuple(tuple(filter(None, side)) for side in row) for row in rows]


@given(corpora())
@settings(max_examples=80, deadline=None)
def test_every_epoch_has_every_pair_once_and_no_batch_is_too_large(corpus):
    sources, targets, tokens, seed = corpus
    batch = batches_by_length(sources, targets, tokens, seed)
    pairs = sorted((tuple(s), tuple(t)) for s, t in zip(sources, targets, strict=True))
    step = 0
    for _ in range(3):
        epoch = []
        while len(epoch) < len(pairs):
            source, lengths, target = batch(step)
            assert target.numel() <= tokens
            assert source.shape[1] == lengths.max()
            epoch += unpadded((source, lengths, target))
            step += 1
        assert sorted(epoch) == pairs


@given(corpora(), st.lists(st.integers(0, 30), min_size=1, max_size=8))
@settings(max_examples=80, deadline=None)
def test_a_batch_depends_on_its_step_alone(corpus, steps):
    """In any order, from another copy, whatever the global random state."""
    batch = batches_by_length(*corpus)
    expected = [batch(step) for step in range(31)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    other = batches_by_length(*corpus)
    for step in steps:
        for mine, reference in zip(other(step), expected[step], strict=True):
            assert torch.equal(mine, reference)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_bound_holds_where_the_longest_of_a_batch_comes_first():
    """The shaken order puts many of 40 before those of 37; two of 37 would fit, these do not."""
    targets = [[3] * length for length in [40, 37] * 40]
    batch = batches_by_length(targets, targets, 2 * 38)
    shapes = [tuple(batch(step)[2].shape) for step in range(60)]
    assert set(shapes) == {(1, 40), (1, 37), (2, 37)}


def epochs(targets, tokens, seed=0, number=2):
    """The batches of the first epochs, each a list of target lengths."""
    batch, step, found = batches_by_length(targets, targets, tokens, seed), 0, []
    for _ in range(number):
        found.append([])
        while sum(map(len, found[-1])) < len(targets):
            found[-1].append((batch(step)[2] != PAD).sum(1).tolist())
            step += 1
    return found


def test_batches_are_of_similar_length_and_new_ones_each_epoch():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (400,), generator=generator).tolist()
    targets = [[3] * n for n in lengths]
    first, second = epochs(targets, 600)
    filled, size = sum(lengths), sum(max(batch) * len(batch) for batch in first)
    assert filled / size > 0.9
    widest = [max(batch) for batch in first]
    assert widest != sorted(widest)
    assert first != second  # in another order
    assert sorted(first) != sorted(second)  # and cut at other places
    assert epochs(targets, 600, seed=1)[0] != first
    assert epochs(targets, 600)[0] == first


def test_targets_of_one_length_are_sorted_by_their_sources():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 1000, (200,), generator=generator).tolist()
    batch = batches_by_length([[3] * n for n in lengths], [[3, END]] * 200, 40)
    spread = [
        (sizes.max() - sizes.min()).item() for _, sizes, _ in map(batch, range(10))
    ]
    assert sum(spread) / 10 < 450  # of twenty drawn at random it would be 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[3]], [[3], [4]], 9), "got 1 and 2"),
        (([], [], 9), "got 0 and 0"),
        (([[3]], [[3] * 10], 9), "a target of 10 symbols is more than tokens=9"),
    ],
)
def test_batches_that_cannot_be_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches_by_length(*arguments)


# ----------------------------------------------------------------- schedule


@given(st.integers(1, 10_000), st.integers(0, 100_000), st.sampled_from([256, 512]))
def test_the_schedule_is_the_papers(warmup, step, d_model):
    def paper(count):
        return d_model**-0.5 * min(count**-0.5, count * warmup**-1.5)

    peak = (d_model * warmup) ** -0.5
    factor = inverse_square_root(warmup)
    assert peak * factor(step) == pytest.approx(paper(step + 1), rel=1e-9)
    assert factor(warmup - 1) == 1
    assert 0 < factor(step) <= 1


def test_the_peak_of_the_papers_base_model():
    assert pytest.approx(7.0e-4, rel=0.01) == (512 * 4000) ** -0.5
    assert inverse_square_root(4000)(15_999) == 0.5  # the root, not an exponential
    assert inverse_square_root(4000)(63_999) == 0.25
    with pytest.raises(ValueError, match="got 0"):
        inverse_square_root(0)


# ------------------------------------------------------------------- losses


@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(2, 9),
    st.floats(0, 1),
    st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_the_smoothed_loss_equals_the_librarys_and_its_gradient(
    batch, length, vocab_size, smoothing, seed
):
    torch.manual_seed(seed)
    target = torch.randint(0, vocab_size, (batch, length))
    target[0, 0] = 1  # one that is real
    logits = 3 * torch.randn(batch, length, vocab_size, dtype=torch.float64)
    mine, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = label_smoothed_loss(mine, target, smoothing)
    expected = F.cross_entropy(
        theirs.transpose(1, 2), target, ignore_index=PAD, label_smoothing=smoothing
    )
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-12, rtol=1e-12)
    assert (mine.grad[target == PAD] == 0).all()


def test_the_smoothed_target_is_where_the_loss_is_least():
    """At 1 - e + e/V for the true symbol; being surer costs."""
    target, smoothing, size = torch.tensor([[3]]), 0.1, 5
    chances = torch.full((1, 1, size), smoothing / size)
    chances[..., 3] += 1 - smoothing
    logits = chances.log().requires_grad_()
    least = label_smoothed_loss(logits, target, smoothing)
    least.backward()
    assert logits.grad.abs().max() < 1e-6
    assert least.item() == pytest.approx(torch.special.entr(chances).sum().item())
    surer = logits.detach() + 5 * F.one_hot(target, size)
    assert label_smoothed_loss(surer, target, smoothing) > least
    assert label_smoothed_loss(surer, target, 0.0) < least


def test_padding_neither_counts_nor_dilutes():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 7), torch.randint(3, 7, (2, 4))
    loss = label_smoothed_loss(logits, target, 0.1)
    longer = F.pad(target, (0, 3), value=PAD)
    noise = torch.cat([logits, 100 * torch.randn(2, 3, 7)], dim=1)
    torch.testing.assert_close(label_smoothed_loss(noise, longer, 0.1), loss)
    with pytest.raises(ValueError, match="no symbol but padding"):
        label_smoothed_loss(logits, target * PAD, 0.1)
    with pytest.raises(ValueError, match=r"0\.\.1, got 1.1"):
        label_smoothed_loss(logits, target, 1.1)


@pytest.mark.parametrize(
    "new_model",
    [
        lambda: Transformer(TransformerConfig.tiny(dropout=0.0)),
        lambda: LSTMTranslator(LSTMTranslatorConfig(11, 6, 8, dropout=0.0)),
    ],
)
def test_the_translation_loss_teaches_with_the_true_symbols(new_model):
    torch.manual_seed(0)
    translator = new_model()
    source = torch.tensor([[3, 4, 5], [6, 7, PAD]])
    target = torch.tensor([[8, 9, 4, END], [3, END, PAD, PAD]])
    batch = (source, torch.tensor([3, 2]), target)
    logits = translator(source, shift_right(target))
    expected = label_smoothed_loss(logits, target, 0.1)
    assert torch.equal(translation_loss(0.1)(translator, batch), expected)
    assert torch.equal(translation_loss()(translator, batch), expected)  # the paper's
    plain = translation_loss(0.0)(translator, batch)
    assert torch.equal(plain, label_smoothed_loss(logits, target, 0.0))
    half = translation_loss(0.1, bfloat16=True)(translator, batch)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), rel=0.02)
    assert half != expected
    half.backward()
    assert all(p.grad.dtype == torch.float32 for p in translator.parameters())


# ------------------------------------------------------------------- scores


def test_scores_are_sacrebleus_with_their_signatures():
    references = ["In the beginning God created the heavens and the earth."] * 2
    same = corpus_scores(references, references)
    assert same["bleu"] == same["chrf"] == 100
    written = ["In the beginning God made heaven and the earth.", references[0]]
    scores = corpus_scores(written, references)
    assert 30 < scores["bleu"] < 100
    version = sacrebleu.__version__
    assert scores["bleu_signature"] == (
        f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    )
    assert scores["chrf_signature"] == (
        f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"
    )
    bleu = sacrebleu.corpus_bleu(written, [references]).score
    chrf = sacrebleu.corpus_chrf(written, [references]).score
    assert (scores["bleu"], scores["chrf"]) == (round(bleu, 2), round(chrf, 2))
    with pytest.raises(ValueError, match="got 2 and 1"):
        corpus_scores(written, references[:1])
    with pytest.raises(ValueError, match="got 0 and 0"):
        corpus_scores([], [])


# ------------------------------------------------------------------- killed

TRAINING = """
import json, sys, time
from pathlib import Path
import torch
from bertbook.transformer.encoder import TransformerConfig
from bertbook.shared.training import train
from bertbook.transformer.decoder import Transformer
from bertbook.transformer.translation import (
    batches_by_length,
    inverse_square_root,
    translation_loss,
)

generator = torch.Generator().manual_seed(0)
sources = [
    torch.randint(3, 11, (1 + n % 7,), generator=generator).tolist() for n in range(40)
]
targets = [[*reversed(source), 2] for source in sources]
torch.manual_seed(1)
model = Transformer(TransformerConfig.tiny(dropout=0.2))


def after_step(step, loss):
    print(step, flush=True)
    if step == int(sys.argv[2]):
        time.sleep(600)


losses = train(
    model,
    batches_by_length(sources, targets, 60),
    translation_loss(),
    steps=60,
    learning_rate=0.005,
    schedule=inverse_square_root(20),
    seed=3,
    after_step=after_step,
    checkpoint=Path(sys.argv[1]) / "state.pt",
    checkpoint_every=10,
)
total = sum(p.double().abs().sum().item() for p in model.parameters())
(Path(sys.argv[1]) / "end.json").write_text(json.dumps([losses, total]))
"""


def start_training(folder, waits_at=-1):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(folder), str(waits_at)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_training_killed_outright_and_resumed_ends_where_an_unbroken_one_does(
    tmp_path: Path,
):
    """SIGKILL: no handler runs, nothing is written any more; dropout and Adam go on exactly."""
    with start_training(tmp_path / "unbroken") as whole:
        # Killed somewhere between these two steps, in whatever it does there.
        with start_training(tmp_path / "broken", waits_at=55) as broken:
            for line in broken.stdout:
                if int(line) == 34:
                    broken.send_signal(signal.SIGKILL)
                    break
        assert broken.returncode == -signal.SIGKILL
        assert not (tmp_path / "broken" / "end.json").exists()
        with start_training(tmp_path / "broken") as again:
            steps = [int(line) for line in again.stdout]
        assert again.returncode == 0
        assert len(steps) in (30, 20, 10)  # from the last checkpoint on
        whole.stdout.read()
    assert whole.returncode == 0
    (losses, total), resumed = (
        json.loads((tmp_path / name / "end.json").read_text())
        for name in ("unbroken", "broken")
    )
    assert resumed == [losses, total]
    assert len(losses) == 60
    assert losses[-1] < losses[0]
