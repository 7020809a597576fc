"""The loop of pre-training: cut, killed, resumed, and what it refuses."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bertbook.bert.config import BertConfig
from bertbook.pretraining.data import PairStream, Stage
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.loop import (
    CheckpointError,
    PreTraining,
    read_log,
)
from bertbook.pretraining.masking import MaskingRule, PieceTable
from tests.pretraining.small_run import PIECES, SETTINGS, run, shards

ROOT = Path(__file__).parents[2]


def losses(folder):
    return [line["loss"] for line in read_log(folder)]


def assert_equal(model, other, tolerance=0.0):
    theirs = other.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder and the model of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, run(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("step", ["checkpoint-3"]),
        ("checkpoint being written", ["checkpoint-3", "unfinished-6"]),
        (
            "checkpoint written, the old one still there",
            ["checkpoint-3", "checkpoint-6"],
        ),
    ],
)
def test_a_killed_training_ends_as_an_unbroken_one(unbroken, tmp_path, point, left):
    done = subprocess.run(
        [sys.executable, "-m", "tests.pretraining.small_run", point, tmp_path],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == left
    assert len(read_log(tmp_path)) in (5, 6)  # also with half a line at the end
    resumed = run(tmp_path)
    folder, model = unbroken
    assert losses(tmp_path) == losses(folder)
    assert_equal(resumed, model)
    assert [path.name for path in tmp_path.glob("*-*")] == ["checkpoint-10"]


@pytest.mark.slow
def test_stopped_and_resumed_again_and_again(unbroken, tmp_path):
    seen = []
    for stop in (1, 4, 4, 7, None):
        model = run(
            tmp_path,
            replace(SETTINGS, checkpoint_every=100),
            stop_after=stop,
            after_checkpoint=lambda step, path: seen.append((step, path.name)),
        )
    folder, whole = unbroken
    assert losses(tmp_path) == losses(folder)
    assert_equal(model, whole)
    assert seen == [(step, f"checkpoint-{step}") for step in (1, 4, 7, 10)]
    assert_equal(run(tmp_path), whole)  # there is nothing left to do
    assert len(losses(tmp_path)) == 10
    assert not model.training


def test_the_log_says_what_happened(unbroken):
    folder, _ = unbroken
    lines = read_log(folder)
    assert [line["step"] for line in lines] == list(range(1, 11))
    for line in lines:
        parts = line["masked_lm_loss"] + line["next_sentence_loss"]
        assert line["loss"] == pytest.approx(parts, abs=2e-5)
        assert 0 < line["tokens"] <= 24 * 4
        assert isinstance(line["seconds"], float)
    stream = PairStream(shards, PieceTable(PIECES), SETTINGS.rule)
    plan = [SETTINGS.stage_of(step) for step in range(10)]
    batches = [stream.batch(stage, step) for step, stage in enumerate(plan)]
    real = [int(batch["attention_mask"].sum()) for batch in batches]
    assert [line["tokens"] for line in lines] == real
    assert sum(real) < sum(batch["input_ids"].numel() for batch in batches)
    rates = [line["rate"] for line in lines]
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-2])
    assert rates[-1] == pytest.approx(1e-2 / 8)


@pytest.mark.slow
def test_accumulating_gradients_changes_nothing(tmp_path):
    whole = run(tmp_path / "one", dropout=0.0)
    for parts in (2, 3, 4):
        settings = replace(SETTINGS, accumulate=parts)
        cut = run(tmp_path / str(parts), settings, dropout=0.0)
        found = torch.tensor(losses(tmp_path / str(parts)))
        torch.testing.assert_close(
            found, torch.tensor(losses(tmp_path / "one")), atol=1e-5, rtol=0
        )
        assert_equal(cut, whole, 1e-4)  # after ten steps of Adam
    first = replace(SETTINGS, accumulate=3)
    one = run(tmp_path / "first", stop_after=1, dropout=0.0)
    assert_equal(run(tmp_path / "cut", first, stop_after=1, dropout=0.0), one, 1e-6)
    with pytest.raises(ValueError, match=r"parts in 1\.\.6, got 0 of 7"):
        run(tmp_path / "more", replace(SETTINGS, accumulate=7))


def test_without_next_sentences_that_head_stays_as_it_was(tmp_path):
    model = run(tmp_path, replace(SETTINGS, negatives="none", weight_decay=0.0))
    torch.manual_seed(5)
    start = BertForPreTraining(model.config)
    assert model.cls.seq_relationship.weight.equal(start.cls.seq_relationship.weight)
    assert {line["next_sentence_loss"] for line in read_log(tmp_path)} == {None}


def test_it_learns_in_either_arithmetic(tmp_path):
    settings = PreTraining((Stage(60, 12, 6),), 1e-2, warmup=5)
    for precision in ("no", "bf16"):
        run(tmp_path / precision, settings, mixed_precision=precision)
        found = [line["masked_lm_loss"] for line in read_log(tmp_path / precision)]
        assert sum(found[-5:]) < sum(found[:5])
    one, other = (losses(tmp_path / name)[0] for name in ("no", "bf16"))
    assert one == pytest.approx(other, rel=0.02)
    assert one != other


def test_other_settings_are_refused_and_named(tmp_path):
    run(tmp_path, stop_after=1)
    with pytest.raises(
        ValueError, match=r"learning_rate: 0.01 there, 0.5 now; seed: 0"
    ):
        run(tmp_path, replace(SETTINGS, learning_rate=0.5, seed=7))
    with pytest.raises(ValueError, match=r"hidden_dropout_prob: 0\.1 there"):
        run(tmp_path, dropout=0.3)
    kept = json.loads((tmp_path / "settings.json").read_text())
    del kept["settings"]["clip_norm"]
    (tmp_path / "settings.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"clip_norm: nothing there, 1\.0 now"):
        run(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl"]
)
def test_a_broken_checkpoint_is_named(tmp_path, name):
    run(tmp_path, stop_after=2)
    broken = tmp_path / "checkpoint-2" / name
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"checkpoint-2 cannot be read .*Delete"):
        run(tmp_path)
    broken.unlink()
    with pytest.raises(CheckpointError, match="checkpoint-2 cannot be read"):
        run(tmp_path)


def test_a_loss_that_is_no_number_stops_it(tmp_path):
    with pytest.raises(FloatingPointError, match="the losses are nan"):
        run(tmp_path, replace(SETTINGS, learning_rate=1e30, warmup=0))
    assert not list(tmp_path.glob("checkpoint-*"))
    with pytest.raises(FileNotFoundError):
        read_log(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
        ({"accumulate": 0}, "accumulate must be positive"),
        ({"warmup": 10}, r"warmup must lie in 0\.\.9"),
    ],
)
def test_settings_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_the_papers_choices_are_what_is_not_chosen():
    chosen = PreTraining(
        stages=PLAIN.stages,
        learning_rate=1e-4,
        warmup=0,
        weight_decay=0.01,
        betas=(0.9, 0.999),
        clip_norm=1.0,
        accumulate=1,
        rule=MaskingRule(0.15, 0.8, 0.1, 0.1),
        negatives="random",
        seed=0,
        checkpoint_every=500,
    )
    assert PreTraining(PLAIN.stages) == chosen


def test_the_stage_of_a_step():
    assert [SETTINGS.stage_of(step).length for step in (0, 5, 6, 9)] == [12, 12, 24, 24]
    for step in (-1, 10):
        with pytest.raises(ValueError, match=rf"step must lie in 0\.\.9, got {step}"):
            SETTINGS.stage_of(step)


# --- the steps it takes


PLAIN = PreTraining(
    stages=(Stage(4, 12, 6), Stage(3, 24, 4)),
    learning_rate=1e-2,
    warmup=3,
    weight_decay=0.0,
    clip_norm=1e6,
    seed=4,
)
RATES = [1 / 3, 2 / 3, 1, 1, 3 / 4, 2 / 4, 1 / 4]  # of seven steps, three of warm-up
CHOICES = {
    "weight_decay": 0.3,
    "betas": (0.6, 0.9),
    "clip_norm": 0.1,
    "rule": MaskingRule(rate=0.5, mask=0.2, random=0.8, keep=0.0),
    "negatives": "swapped",
}


def by_hand(settings, rates=RATES):
    """The same training with PyTorch's own AdamW, LambdaLR and clipping."""
    torch.manual_seed(5)
    model = BertForPreTraining(BertConfig.tiny(attention_probs_dropout_prob=0.0))
    added = ("bias", "LayerNorm.weight")  # what does not decay
    groups = [
        {
            "params": [p],
            "weight_decay": 0.0 if n.endswith(added) else settings.weight_decay,
        }
        for n, p in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [*rates, 0].__getitem__)
    stream = PairStream(
        shards,
        PieceTable(PIECES),
        settings.rule,
        negatives=settings.negatives,
        seed=settings.seed,
    )
    torch.manual_seed(settings.seed)
    stages = [stage for stage in settings.stages for _ in range(stage.steps)]
    for step, stage in enumerate(stages):
        optimizer.zero_grad()
        model.train()(**stream.batch(stage, step)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        schedule.step()
    return model


def difference(model, other):
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


@pytest.mark.parametrize("names", [[], *([name] for name in CHOICES), list(CHOICES)])
def test_every_weight_is_that_of_pytorchs_optimizer_driven_by_hand(tmp_path, names):
    """Dropout included: the seed decides it."""
    settings = replace(PLAIN, **{name: CHOICES[name] for name in names})
    model = run(tmp_path, settings)
    assert difference(model, by_hand(settings)) < 1e-6
    if names:  # each choice matters, so that the equality can fail
        assert difference(model, by_hand(PLAIN)) > 1e-4


def test_the_rate_and_the_seed_matter(tmp_path):
    model = run(tmp_path / "one", PLAIN)
    for rates in ([1.0] * 7, [0, *RATES], [*RATES[1:], 0]):
        assert difference(model, by_hand(PLAIN, rates)) > 1e-4
    assert difference(model, by_hand(replace(PLAIN, seed=5))) > 1e-4


def test_a_training_leaves_the_process_as_it_was(tmp_path, caplog):
    """Settings that a notebook's next cell would inherit; the random states are the seed's."""
    logger = logging.getLogger("accelerate.utils.other")
    caplog.set_level(logging.INFO, logger.name)

    def state():
        threads = torch.get_num_threads(), torch.get_num_interop_threads()
        return torch.get_default_dtype(), threads, logger.level, dict(os.environ)

    before = state()
    for precision in ("no", "bf16"):
        run(tmp_path / precision, stop_after=1, mixed_precision=precision)
        assert state() == before
