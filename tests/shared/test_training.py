"""The training loop: exact resume, clipping, schedule, bad input."""

import pytest
import torch
from torch import nn

from bertbook.shared.training import (
    count_parameters,
    lstm_precision,
    minibatches,
    seed_everything,
    train,
    write_atomically,
)

INPUTS = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS @ torch.tensor([1.0, -2, 0.5, 0, 3])


def network():
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))


def squared_error(model, batch):
    inputs, targets = batch
    return (model(inputs).squeeze(-1) - targets).square().mean()


def epochs(step, numbers=minibatches(64, 16, seed=3)):  # noqa: B008
    rows = numbers(step)
    return INPUTS[rows], TARGETS[rows]


def drawn(step):
    """A batch from the global random state, as dropout is."""
    rows = torch.randint(64, (16,))
    return INPUTS[rows], TARGETS[rows]


def run(model=None, batches=epochs, **options):
    options = {"steps": 30, "learning_rate": 0.01, "seed": 1, **options}
    model = network() if model is None else model
    return train(model, batches, squared_error, **options), model


def test_it_learns():
    model = nn.Linear(5, 1)
    losses, _ = run(model, steps=400, learning_rate=0.05, clip_norm=None)
    assert len(losses) == 400
    assert losses[-1] < 1e-3 < losses[0]


def test_each_loss_is_that_of_its_batch_before_the_step():
    """At a rate so small that nothing moves, all of them can be taken afterwards."""
    model = nn.Linear(5, 1)
    losses, _ = run(model, steps=6, learning_rate=1e-12)
    expected = [squared_error(model, epochs(step)).item() for step in range(6)]
    assert losses == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batches", [epochs, drawn])
def test_a_killed_and_resumed_training_is_the_unbroken_one(tmp_path, batches):
    unbroken, whole = run(batches=batches)
    file = tmp_path / "state.pt"

    def killed(step):
        if step == 17:
            raise KeyboardInterrupt
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        run(batches=killed, checkpoint=file, checkpoint_every=5)
    torch.rand(100)  # the random states have moved on meanwhile
    seen = []
    resumed, model = run(
        batches=batches,
        checkpoint=file,
        after_step=lambda step, loss: seen.append(step),
    )
    assert seen[0] == 15
    assert resumed == unbroken
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_finished_checkpoint_is_not_trained_further(tmp_path):
    first, model = run(checkpoint=tmp_path / "state.pt")
    again, other = run(checkpoint=tmp_path / "state.pt", batches=None)
    assert again == first
    assert torch.equal(model[0].weight, other[0].weight)


def test_a_checkpoint_with_other_settings_is_refused(tmp_path):
    run(checkpoint=tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt was made with"):
        run(checkpoint=tmp_path / "state.pt", learning_rate=0.02)


def test_a_seed_decides_and_none_leaves_the_state_alone():
    assert run()[0] == run()[0]
    assert run()[0] != run(seed=2)[0]
    torch.manual_seed(5)
    expected = torch.rand(1)
    model = nn.Linear(5, 1)
    torch.manual_seed(5)
    run(model, seed=None)
    assert torch.rand(1) == expected


def test_gradients_are_clipped_to_the_norm():
    norms = []

    class Recorder(nn.Linear):
        def forward(self, inputs):
            if self.weight.grad is not None:
                norms.append(
                    torch.cat([p.grad.flatten() for p in self.parameters()]).norm()
                )
            return super().forward(inputs)

    run(Recorder(5, 1), clip_norm=0.1)
    assert max(norms) <= 0.1 + 1e-5
    norms.clear()
    run(Recorder(5, 1), clip_norm=None)
    assert max(norms) > 1


def test_the_schedule_multiplies_the_learning_rate():
    start = network().state_dict()
    _, still = run(schedule=lambda step: 0.0)
    assert all(
        torch.equal(tensor, start[name]) for name, tensor in still.state_dict().items()
    )
    warm = run(schedule=lambda step: 0.5, learning_rate=0.02)[0]
    assert warm == run()[0]


def test_frozen_parameters_stay():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    run(model)
    assert torch.equal(model[0].weight, before)
    assert count_parameters(model) == 5 * 16 + 16 + 16 + 1
    assert count_parameters(model, trainable_only=True) == 17


def test_a_shared_parameter_counts_once():
    shared = nn.Linear(3, 3, bias=False)
    assert count_parameters(nn.Sequential(shared, shared)) == 9


def test_measuring_after_a_step_does_not_leave_the_model_in_evaluation_mode():
    model = network()
    modes = []

    def loss(model, batch):
        modes.append(model.training)
        return squared_error(model, batch)

    train(
        model,
        epochs,
        loss,
        steps=3,
        learning_rate=0.01,
        after_step=lambda step, loss: model.eval(),
    )
    assert modes == [True] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"seed": -1}, "seed"),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_a_loss_must_be_a_finite_scalar_and_something_trainable():
    def broken(model, batch):
        return squared_error(model, batch) * float("nan")

    with pytest.raises(FloatingPointError, match="step 0 is nan"):
        train(network(), epochs, broken, steps=1, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"scalar, got shape \[16\]"):
        train(
            network(),
            epochs,
            lambda m, b: m(b[0])[:, 0],
            steps=1,
            learning_rate=0.1,
        )
    for model in (nn.Tanh(), network().requires_grad_(False)):
        with pytest.raises(ValueError, match="no parameter"):
            run(model)


def test_minibatches_are_epochs_and_pure():
    numbers = minibatches(10, 3, seed=4)
    for first in range(0, 15, 3):  # the tenth is left out, each time another one
        assert [len(numbers(first + step)) for step in range(3)] == [3, 3, 3]
        seen = torch.cat([numbers(first + step) for step in range(3)])
        assert len(set(seen.tolist())) == 9
    assert (
        len(set(range(10)).difference(*(numbers(s).tolist() for s in range(15)))) == 0
    )
    epoch = torch.cat([numbers(step) for step in range(3)])
    assert not torch.equal(epoch, torch.cat([numbers(step) for step in range(3, 6)]))
    assert torch.equal(numbers(1), minibatches(10, 3, seed=4)(1))
    assert not torch.equal(numbers(1), minibatches(10, 3, seed=5)(1))
    with pytest.raises(ValueError, match=r"1\.\.10, got 11"):
        minibatches(10, 11)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "file.txt"
    write_atomically(file, lambda path: path.write_text("old"))
    assert file.stat().st_mode & 0o777 == 0o644  # others may read it

    def half(path):
        path.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, half)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_seeding_covers_all_three_random_states():
    import random

    import numpy as np

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(3)
    first = draw()
    assert draw() != first
    seed_everything(3)
    assert draw() == first


def test_what_is_spared_does_not_decay(tmp_path):
    def nothing(model, batch):
        return sum((p * 0).sum() for p in model.parameters())

    def shrunk(decays, **options):
        model = network()
        before = [p.detach().clone() for p in model.parameters()]
        train(
            model,
            epochs,
            nothing,
            steps=1,
            learning_rate=0.1,
            weight_decay=0.5,
            decays=decays,
            **options,
        )
        return [
            not torch.equal(b, p)
            for b, p in zip(before, model.parameters(), strict=True)
        ]

    file = tmp_path / "state.pt"
    assert shrunk(None) == [True] * 4
    assert shrunk(lambda name, p: True) == [True] * 4
    assert shrunk(lambda name, p: False) == [False] * 4
    only = shrunk(lambda name, p: name.endswith("weight"), checkpoint=file)
    assert only == [True, False, True, False]
    with pytest.raises(ValueError, match=r"without_decay.*'0.bias', '3.bias'"):
        shrunk(None, checkpoint=file)


@pytest.mark.parametrize("native", [True, False])
def test_an_lstm_runs_under_bfloat16_autocast_on_every_processor(native, monkeypatch):
    """Without AVX-512 the library's own bfloat16 LSTM raises an error."""
    if not native:
        name = "_is_mkldnn_bf16_supported"
        monkeypatch.setattr(torch.ops.mkldnn, name, lambda: False)
    able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    lstm, linear, inputs = nn.LSTM(5, 4), nn.Linear(4, 2), INPUTS[None]
    with torch.autocast("cpu", torch.bfloat16):
        with lstm_precision():
            states, _ = lstm(inputs)
        outputs = linear(states)
    assert states.dtype == (torch.bfloat16 if able else torch.float32)
    assert outputs.dtype == torch.bfloat16
    outputs.float().sum().backward()
    assert lstm.weight_hh_l0.grad.isfinite().all()
    with lstm_precision():
        assert lstm(inputs)[0].dtype == linear(inputs[..., :4]).dtype == torch.float32


WEIGHT_DECAY = {"weight_decay": 0.3, "decays": lambda name, p: name.endswith("weight")}


def by_hand(
    steps, learning_rate, schedule, betas, clip_norm, weight_decay=0.0, decays=None
):
    """The same training with PyTorch's own AdamW and LambdaLR, a group for each parameter."""
    model = network()
    groups = [
        {
            "params": [p],
            "weight_decay": weight_decay if not decays or decays(n, p) else 0,
        }
        for n, p in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=betas)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    torch.manual_seed(1)
    for step in range(steps):
        optimizer.zero_grad()
        squared_error(model.train(), epochs(step)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        rates.step()
    return model


def difference(model, other):
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max((one - two).abs().max().item() for one, two in pairs)


PLAIN = {
    "steps": 9,
    "learning_rate": 0.01,
    "schedule": lambda step: 1.0,
    "betas": (0.9, 0.999),
    "clip_norm": float("inf"),
}


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"schedule": lambda step: (step + 1) / 9},
        {"schedule": lambda step: 1 - step / 9},
        {"betas": (0.5, 0.999)},
        {"betas": (0.9, 0.7)},
        {"clip_norm": 0.5},
        {"weight_decay": 0.3},
        WEIGHT_DECAY,
        {
            "schedule": lambda step: abs(step - 4) / 4,
            "betas": (0.6, 0.8),
            "clip_norm": 0.5,
            **WEIGHT_DECAY,
        },
    ],
)
def test_every_weight_is_that_of_pytorchs_optimizer_driven_by_hand(choices):
    choices = {**PLAIN, **choices}
    _, model = run(**choices)
    assert difference(model, by_hand(**choices)) < 1e-7
    if choices != PLAIN:  # each choice matters, so that the equality can fail
        assert difference(model, by_hand(**PLAIN)) > 1e-4


def test_what_is_not_chosen_is_what_the_docstring_says():
    """No schedule and no decay, Adam's usual betas, gradients clipped to norm 1."""
    large = {"steps": 9, "learning_rate": 0.5}
    _, model = run(**large)
    usual = {**PLAIN, **large, "clip_norm": 1.0}
    assert difference(model, by_hand(**usual)) < 1e-6
    assert difference(model, by_hand(**{**usual, "clip_norm": float("inf")})) > 1e-3
