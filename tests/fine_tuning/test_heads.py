"""fine_tuning.heads against transformers' models with heads, and loading with fresh heads."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbook.bert.config import BertConfig
from bertbook.bert.model import BertModel
from bertbook.fine_tuning.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    freeze,
    layer_features,
)
from bertbook.shared.files import WeightsError
from bertbook.tokenizer.pieces import IGNORED

OURS = {
    "BertForSequenceClassification": BertForSequenceClassification,
    "BertForTokenClassification": BertForTokenClassification,
    "BertForQuestionAnswering": BertForQuestionAnswering,
}
CONFIG = BertConfig.tiny(num_hidden_layers=2)
IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])


def close(actual, expected, name=""):
    torch.testing.assert_close(
        actual, expected, atol=1e-5, rtol=1e-5, msg=lambda m: f"{name}: {m}"
    )


def twins(kind, config, classes):
    """The library's model and ours with the same weights, none of them at zero or one."""
    theirs = transformers.BertConfig(**vars(config), num_labels=classes)
    theirs = getattr(transformers, kind)(theirs).eval()
    choices = {} if kind == "BertForQuestionAnswering" else {"num_labels": classes}
    ours = OURS[kind](config, **choices).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(mean=float(name.endswith("LayerNorm.weight")), std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@st.composite
def problems(draw):
    """A kind of model, sizes, inputs with padding, labels."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(list(OURS)))
    batch, length = draw(st.integers(1, 3)), draw(st.integers(2, 7))
    heads, classes = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    config = BertConfig.tiny(
        hidden_size=heads * draw(st.integers(4, 7)),
        num_attention_heads=heads,
        num_hidden_layers=draw(st.integers(1, 2)),
    )
    inputs = {
        "input_ids": torch.randint(config.vocab_size, (batch, length)),
        "token_type_ids": torch.randint(2, (batch, length)),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
    }
    for row in range(batch):
        inputs["attention_mask"][row, draw(st.integers(1, length)) :] = 0
    if kind == "BertForSequenceClassification":
        labels = {"labels": torch.randint(classes, (batch,))}
    elif kind == "BertForTokenClassification":
        labels = torch.randint(classes, (batch, length))
        labels[torch.rand(batch, length) < 0.4] = IGNORED
        labels[0, 0] = 0
        labels = {"labels": labels}
    else:
        classes = 2
        names = ("start_positions", "end_positions")
        labels = {name: torch.randint(length, (batch,)) for name in names}
    return kind, config, classes, inputs, labels


@pytest.mark.slow
@given(problems())
@settings(max_examples=40, deadline=None)
def test_equals_the_library(problem):
    kind, config, classes, inputs, labels = problem
    theirs, ours = twins(kind, config, classes)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    expected, output = theirs(**inputs, **labels), ours(**inputs, **labels)
    close(output.loss, expected.loss, "loss")
    for name in ("logits", "start_logits", "end_logits"):
        if hasattr(output, name):
            close(getattr(output, name), getattr(expected, name), name)
    expected.loss.backward()
    output.loss.backward()
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if reference[name].grad is None:
            assert parameter.grad is None, name
        else:
            close(parameter.grad, reference[name].grad, name)
    assert ours(**inputs).loss is None


@pytest.mark.parametrize("kind", list(OURS))
def test_dropout_stands_where_the_library_has_it(kind):
    """Alone, before the head: with p = 1 nothing but the head's bias is left."""
    theirs, ours = twins(kind, BertConfig.tiny(), 2)
    for model in (theirs, ours):
        drops = [m for n, m in model.named_modules() if n == "dropout"]
        assert len(drops) == (kind != "BertForQuestionAnswering")
        for drop in drops:
            assert drop.p == 0.1
            drop.p = 1.0
            drop.train()
            logits = model(IDS).logits
            close(logits, model.classifier.bias.expand_as(logits))


# --- loading


def save(folder, kind, **options):
    """A folder as transformers writes it, with random weights; its tensors by our names."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**vars(CONFIG), num_labels=3)
    model = getattr(transformers, kind)(config, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(folder)
    tensors = model.state_dict()
    return (
        tensors if "Model" not in kind else {f"bert.{n}": t for n, t in tensors.items()}
    )


@pytest.mark.parametrize("kind", list(OURS)[:2])
def test_a_whole_model_is_loaded_whole(tmp_path, kind):
    tensors = save(tmp_path, kind)
    ours = OURS[kind].from_pretrained(tmp_path, num_labels=3)
    assert not ours.training
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize(
    ("saved", "kind", "loading"),
    [
        ("BertModel", "BertForSequenceClassification", {"fresh": "classifier."}),
        ("BertModel", "BertForTokenClassification", {"fresh": ["classifier."]}),
        ("BertModel", "BertForQuestionAnswering", {"fresh": "qa_outputs."}),
        (
            "BertForPreTraining",
            "BertForSequenceClassification",
            {"fresh": "classifier.", "ignore": "cls."},
        ),
        (
            "BertForPreTraining",
            "BertForQuestionAnswering",
            {"fresh": "qa_outputs.", "ignore": "cls."},
        ),
        (
            "BertForMaskedLM",
            "BertForSequenceClassification",
            {"fresh": ("classifier.", "bert.pooler."), "ignore": ("cls.",)},
        ),
        (
            "BertForSequenceClassification",
            "BertForSequenceClassification",
            {"fresh": "classifier."},
        ),
    ],
)
def test_a_fresh_head_on_a_loaded_encoder(tmp_path, saved, kind, loading):
    tensors = save(tmp_path, saved)
    fresh = tuple(
        [loading["fresh"]] if isinstance(loading["fresh"], str) else loading["fresh"]
    )
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        ours = OURS[kind].from_pretrained(tmp_path, **loading)
        for name, tensor in ours.state_dict().items():
            if not name.startswith(fresh):
                assert torch.equal(tensor, tensors[name]), name
            elif name.endswith("bias"):
                assert not tensor.any()
            else:
                assert 0.01 < tensor.std() < 0.04
        drawn.append([t for n, t in ours.state_dict().items() if n.endswith("r.weight")
                      or n == "qa_outputs.weight"][-1])  # fmt: skip
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.isfinite(ours(IDS)[1]).all()


def test_nothing_starts_fresh_unnamed(tmp_path):
    save(tmp_path, "BertForPreTraining")
    load = BertForSequenceClassification.from_pretrained
    with pytest.raises(WeightsError) as error:
        load(tmp_path, ignore="cls.")
    message = str(error.value)
    assert "missing (2): classifier.weight, classifier.bias" in message
    assert "must be named in `fresh`, now []" in message
    with pytest.raises(WeightsError, match=r"left over \(7\): cls\."):
        load(tmp_path, fresh="classifier.")
    with pytest.raises(
        ValueError, match=r"no parameter of .* starts with 'qa_outputs'"
    ):
        load(tmp_path, fresh="qa_outputs", ignore="cls.")


def test_errors_of_loading(tmp_path):
    save(tmp_path, "BertForSequenceClassification")
    load = BertForSequenceClassification.from_pretrained
    with pytest.raises(
        WeightsError, match=r"classifier.weight has shape \[3, 12\], exp"
    ):
        load(tmp_path)
    with pytest.raises(WeightsError, match="expected " + "0" * 64):
        load(tmp_path, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        load(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load(tmp_path)


def test_old_names_of_layernorm(tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = save(tmp_path, "BertModel")
    path = tmp_path / "model.safetensors"
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma"): t
        for n, t in load_file(path).items()
    }
    save_file(old, path)
    ours = BertForTokenClassification.from_pretrained(tmp_path, fresh="classifier.")
    name = "bert.embeddings.LayerNorm.weight"
    assert torch.equal(ours.state_dict()[name], tensors[name])


# --- errors, freezing, features


@pytest.mark.parametrize(
    ("kind", "labels", "error", "message"),
    [
        ("Sequence", [0], ValueError, r"labels must have shape \[2\], got \[1\]"),
        ("Sequence", [0, 2], ValueError, r"labels must lie in 0\.\.1, got 0\.\.2"),
        ("Sequence", [0.0, 1.0], TypeError, "labels must be torch.long, got torch.fl"),
        ("Token", [[0] * 4] * 2, ValueError, r"labels must have shape \[2, 5\]"),
        ("Token", [[IGNORED] * 5] * 2, ValueError, "not all be -100, got 0 others"),
        ("Token", [[0, 1, 2, 0, 0]] * 2, ValueError, r"must lie in 0\.\.1, got 0\.\.2"),
        ("Token", [[0, -1, 0, 0, 0]] * 2, ValueError, r"must lie in 0\.\.1, got -1"),
    ],
)
def test_wrong_labels(kind, labels, error, message):
    model = OURS[f"BertFor{kind}Classification"](CONFIG)
    with pytest.raises(error, match=message):
        model(IDS, labels=torch.tensor(labels))


def test_wrong_positions_and_numbers_of_classes():
    model = BertForQuestionAnswering(CONFIG)
    good = torch.tensor([1, 4])
    with pytest.raises(ValueError, match="must be given together"):
        model(IDS, start_positions=good)
    with pytest.raises(
        ValueError, match=r"end_positions must lie in 0\.\.4, got 1\.\.5"
    ):
        model(IDS, start_positions=good, end_positions=good + torch.tensor([0, 1]))
    with pytest.raises(
        ValueError, match="num_labels must be a positive integer, got 0"
    ):
        BertForTokenClassification(CONFIG, num_labels=0)


@pytest.mark.parametrize("layers", [None, 0, 1, 2])
def test_what_is_frozen_stays(layers):
    model = BertForSequenceClassification(CONFIG)
    freeze(model)
    freeze(model, layers)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    model(IDS, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert {"classifier.weight", "classifier.bias"} <= moved
    lower = ["bert.embeddings."] + [
        f"bert.encoder.layer.{i}." for i in range(layers or 0)
    ]
    still = ("bert.",) if layers is None else tuple(lower)
    assert not any(n.startswith(still) for n in moved)
    assert layers is None or "bert.pooler.dense.weight" in moved
    assert (
        layers in (None, 2)
        or f"bert.encoder.layer.{layers}.output.dense.weight" in moved
    )


def test_impossible_freezing():
    with pytest.raises(
        ValueError, match=r"layers must lie in 0\.\.2 or be None, got 3"
    ):
        freeze(BertForSequenceClassification(CONFIG), 3)


def test_features_of_all_layers():
    model = BertModel(CONFIG).eval()
    features = layer_features(model, IDS, IDS > 0)
    assert features.shape == (3, 2, 5, 12)
    assert not features.requires_grad
    output = model(IDS, IDS > 0)
    assert torch.equal(features[-1], output.last_hidden_state)
    assert torch.equal(features[0], model.embeddings(IDS))
    with pytest.raises(ValueError, match="training mode"):
        layer_features(model.train(), IDS)
