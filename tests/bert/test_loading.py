"""Loading: right weights arrive unchanged, and whatever is wrong with others is named."""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from bertbook.bert.loading import FromPretrained, load_weights
from bertbook.bert.model import BertConfig, BertModel
from bertbook.shared.files import WeightsError

CONFIG = BertConfig.tiny(num_hidden_layers=1)
IDS = torch.tensor([[3, 1, 4, 1, 5]])
QUERY = "encoder.layer.0.attention.self.query.weight"
HEADS = ("cls.", "pooler.")


def save(folder, kind=transformers.BertModel, config=CONFIG, **options):
    """A folder as transformers writes it, with random weights; the model."""
    torch.manual_seed(0)
    model = kind(transformers.BertConfig(**vars(config)), **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(folder)
    return model


@pytest.fixture
def folder(tmp_path):
    save(tmp_path)
    return tmp_path


def edit(folder, change):
    """Replaces the stored tensors by what ``change`` makes of them."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path)


def refused(folder, *parts, **options):
    """The message with which loading is refused; all parts are in it."""
    with pytest.raises(WeightsError) as error:
        BertModel.from_pretrained(folder, **options)
    for part in parts:
        assert part in str(error.value)
    return str(error.value)


@torch.no_grad()
def equal(ours, theirs):
    expected = theirs(IDS, output_hidden_states=True)
    output = ours(IDS, output_hidden_states=True)
    for a, b in zip(output.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    return True


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder_of_the_library(tmp_path, as_text):
    theirs = save(tmp_path)
    state = torch.get_rng_state()
    ours = BertModel.from_pretrained(str(tmp_path) if as_text else tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert equal(ours, theirs)
    assert not ours.training
    assert ours.config == CONFIG
    stored = theirs.state_dict()
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, stored[name]), name
        assert (parameter.requires_grad, parameter.device.type) == (True, "cpu")


@pytest.mark.parametrize(
    ("kind", "options", "loading"),
    [
        (transformers.BertForPreTraining, {}, {"ignore": "cls."}),
        (
            transformers.BertForPreTraining,
            {},
            {"ignore": ["cls.predictions", "cls.seq"]},
        ),
        (
            transformers.BertForMaskedLM,
            {},
            {"ignore": ("cls.",), "add_pooling_layer": False},
        ),
        (
            transformers.BertForSequenceClassification,
            {},
            {"ignore": "classifier."},
        ),
        (transformers.BertModel, {}, {"add_pooling_layer": False}),
        (
            transformers.BertModel,
            {"add_pooling_layer": False},
            {"add_pooling_layer": False},
        ),
    ],
)
def test_folders_of_models_with_other_heads(tmp_path, kind, options, loading):
    theirs = save(tmp_path, kind, **options)
    ours = BertModel.from_pretrained(tmp_path, **loading)
    assert equal(ours, theirs.base_model)
    assert (ours.pooler is None) == ("add_pooling_layer" in loading)


def test_heads_that_nobody_named_are_named(tmp_path):
    model = save(tmp_path, transformers.BertForPreTraining)
    heads = {
        n for n in load_file(tmp_path / "model.safetensors") if n.startswith("cls.")
    }
    assert len(heads) == 7
    message = refused(tmp_path, f"left over ({len(heads)})", *heads, "BertModel")
    assert "missing" not in message
    left = {n for n in heads if not n.startswith("cls.pred")}
    message = refused(tmp_path, *left, ignore="cls.predictions.")
    assert "cls.predictions.bias" not in message
    assert isinstance(model, transformers.BertForPreTraining)


def test_a_pooler_that_is_not_there_is_missing(tmp_path):
    save(tmp_path, add_pooling_layer=False)
    refused(tmp_path, "missing (2): pooler.dense.weight, pooler.dense.bias")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_each_tensor_that_is_missing_extra_or_misshapen_is_named(data):
    """Several faults at once, each named; the model keeps what it had."""
    torch.manual_seed(1)
    model = BertModel(CONFIG)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    tensors = {name: torch.randn_like(x) for name, x in before.items()}
    names = sorted(tensors)
    faulty = data.draw(
        st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True)
    )
    expected = []
    for name in faulty:
        fault = data.draw(st.sampled_from(["missing", "extra", "shape", "type"]))
        if fault == "missing":
            del tensors[name]
            expected.append(name)
        elif fault == "extra":
            tensors[f"{name}.new"] = torch.zeros(1)
            expected.append(f"{name}.new")
        elif fault == "shape":
            tensors[name] = torch.zeros(1, *before[name].shape)
            shapes = f"{[1, *before[name].shape]}, expected {list(before[name].shape)}"
            expected.append(f"{name} has shape {shapes}")
        else:
            tensors[name] = torch.zeros_like(before[name], dtype=torch.int8)
            expected.append(f"{name} has type torch.int8")
    with pytest.raises(WeightsError) as error:
        load_weights(model, tensors)
    for part in expected:
        assert re.search(rf"(?<![\w.]){re.escape(part)}(?![\w.])", str(error.value)), (
            part
        )
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_too_few_layers_too_many_layers(tmp_path):
    save(tmp_path, config=BertConfig.tiny(num_hidden_layers=3))
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "num_hidden_layers": 2}))
    refused(tmp_path, "left over (16): encoder.layer.2.")
    path.write_text(json.dumps({**stored, "num_hidden_layers": 5}))
    refused(tmp_path, "missing (32): encoder.layer.3.", "and 12 more")


def old_names(tensors):
    """As the first checkpoints have it: prefix, gamma and beta, positions among the weights."""
    renamed = {
        "bert."
        + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for n, x in tensors.items()
    }
    renamed["bert.embeddings.position_ids"] = torch.arange(40)[None]
    return renamed


def test_old_names(tmp_path):
    theirs = save(tmp_path)
    edit(tmp_path, old_names)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {
        "bert.embeddings.LayerNorm.gamma",
        "bert.embeddings.LayerNorm.beta",
    } <= names
    assert equal(BertModel.from_pretrained(tmp_path), theirs)


def test_positions_in_another_order_are_refused(folder):
    edit(folder, lambda t: t | {"embeddings.position_ids": torch.arange(40).flip(0)})
    refused(folder, "embeddings.position_ids are not the default")
    edit(folder, lambda t: t | {"embeddings.position_ids": torch.arange(40)})
    edit(folder, lambda t: t | {"embeddings.token_type_ids": torch.ones(1, 40).long()})
    refused(folder, "embeddings.token_type_ids are not the default")
    edit(folder, lambda t: t | {"embeddings.token_type_ids": torch.zeros(1, 40).long()})
    BertModel.from_pretrained(folder)


def test_the_same_weight_twice_is_refused(folder):
    edit(folder, lambda t: t | {f"bert.{QUERY}": t[QUERY] + 1})
    refused(folder, f"both stand for {QUERY}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(folder, dtype):
    edit(folder, lambda t: {name: x.to(dtype) for name, x in t.items()})
    stored = load_file(folder / "model.safetensors")
    for name, parameter in BertModel.from_pretrained(folder).named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, stored[name].float()), name


def test_double_precision_is_not_cut_silently(folder):
    edit(folder, lambda t: t | {QUERY: t[QUERY].double()})
    refused(
        folder, f"{QUERY} has type torch.float64, which does not fit in torch.float32"
    )
    double = BertModel(CONFIG).double()
    load_weights(double, folder / "model.safetensors")
    assert torch.equal(
        double.get_parameter(QUERY), load_file(folder / "model.safetensors")[QUERY]
    )


def test_weights_that_a_model_uses_twice_need_be_given_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = BertModel(CONFIG)
            self.decoder = nn.Linear(12, 31, bias=False)
            self.decoder.weight = self.bert.embeddings.word_embeddings.weight

    tensors = Tied().state_dict()
    words = torch.randn(31, 12)
    del tensors["decoder.weight"]
    tensors["bert.embeddings.word_embeddings.weight"] = words
    model = Tied()
    load_weights(model, tensors)
    assert torch.equal(model.decoder.weight, words)
    assert model.decoder.weight is model.bert.embeddings.word_embeddings.weight
    del tensors["bert.embeddings.word_embeddings.weight"]
    with pytest.raises(WeightsError, match=r"missing .*word_embeddings"):
        load_weights(model, tensors)


class WithHead(FromPretrained, nn.Module):
    """An encoder under the name ``bert``, and a head for a task."""

    prefix = "bert."

    def __init__(self, config, num_labels=2):
        super().__init__()
        self.config = config
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, num_labels)


def test_an_encoder_is_loaded_into_a_model_with_a_fresh_head(folder):
    """The encoder's weights get the prefix they lack; the head is drawn, and drawn as named."""
    stored = load_file(folder / "model.safetensors")
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = WithHead.from_pretrained(folder, fresh="classifier.", num_labels=3)
        for name, parameter in model.bert.named_parameters():
            assert torch.equal(parameter, stored[name]), name
        assert model.classifier.weight.shape == (3, 12)
        assert not model.training
        heads.append(model.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    with pytest.raises(WeightsError, match=r"missing \(2\): classifier.weight"):
        WithHead.from_pretrained(folder)


def test_what_is_fresh_stays_fresh_whatever_the_file_has(tmp_path):
    torch.manual_seed(0)
    model = WithHead(CONFIG)
    own = model.classifier.weight.detach().clone()
    tensors = {name: torch.randn_like(x) for name, x in model.state_dict().items()}
    load_weights(model, tensors, fresh=["classifier."])
    assert torch.equal(model.classifier.weight, own)
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.get_parameter(words), tensors[words])
    # Not even its shape matters.
    tensors["classifier.weight"] = torch.zeros(7, 12)
    load_weights(model, tensors, fresh="classifier.")
    with pytest.raises(WeightsError, match=r"classifier.weight has shape \[7, 12\]"):
        load_weights(model, tensors)


def test_a_shape_of_as_many_numbers_is_another_shape():
    model = BertModel(CONFIG)
    tensors = model.state_dict()
    tensors["pooler.dense.bias"] = torch.zeros(3, 4)
    with pytest.raises(WeightsError, match=r"bias has shape \[3, 4\], expected \[12\]"):
        load_weights(model, tensors)


def test_a_fresh_beginning_that_no_parameter_has_is_named(folder):
    with pytest.raises(ValueError, match=r"of WithHead starts with 'clasifier\.'"):
        WithHead.from_pretrained(folder, fresh=("classifier.", "clasifier."))


def test_a_model_without_memory_is_refused():
    with torch.device("meta"):
        model = BertModel(CONFIG)
    with pytest.raises(ValueError, match="meta device"):
        load_weights(model, BertModel(CONFIG).state_dict())


def test_the_hash_is_checked_when_it_is_given(folder):
    path = folder / "model.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    BertModel.from_pretrained(folder, sha256=digest)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    BertModel.from_pretrained(folder)
    refused(
        folder, digest, hashlib.sha256(content).hexdigest(), str(path), sha256=digest
    )


def test_a_file_that_is_cut_off_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(folder, str(path), "not a whole safetensors file")
    with pytest.raises(WeightsError, match="is missing"):
        load_weights(BertModel(CONFIG), folder / "other.safetensors")


def test_pickled_weights_are_refused_unread(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "no model.safetensors", "pytorch_model.bin", "can run any code")


def test_weights_in_several_files_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    refused(folder, "several files are not supported")


def test_a_folder_without_its_files_and_what_is_no_folder(folder, monkeypatch):
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *a, **k: pytest.fail("asked the hub")
    )
    refused(folder / "model.safetensors", "is not a folder")
    refused(str(folder / "model.safetensors"), "is not a folder")
    refused(folder / "nothing", "is not a folder")
    (folder / "config.json").unlink()
    refused(folder, f"{folder} has no config.json, only ['model.safetensors']")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_no_file(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, f"{folder} has no {name}")


def test_a_configuration_that_is_not_supported_is_refused(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "relu"}))
    with pytest.raises(ValueError, match="'relu'"):
        BertModel.from_pretrained(folder)


@pytest.mark.parametrize("local_files_only", [True, False])
def test_a_hub_name(tmp_path, monkeypatch, local_files_only):
    """The hub's own function is replaced by one that serves local files."""
    theirs = save(tmp_path / "served")
    asked = []

    def serve(repo_id, filename, **options):
        asked.append((repo_id, filename, options))
        return str(tmp_path / "served" / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", serve)
    ours = BertModel.from_pretrained("owner/name", local_files_only=local_files_only)
    assert equal(ours, theirs)
    options = {"local_files_only": local_files_only}
    assert asked == [
        ("owner/name", "config.json", options),
        ("owner/name", "model.safetensors", options),
    ]
    refused("owner/name", "0" * 64, sha256="0" * 64)


@pytest.mark.parametrize("name", ["nobody/has-such-a-model", "no such name!", "a/b/c"])
def test_a_hub_name_without_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(
        name, repr(name), "config.json", "give a folder", "Error", local_files_only=True
    )


def test_a_hub_that_lacks_the_weights(tmp_path, monkeypatch):
    save(tmp_path)

    def serve(repo_id, filename, **options):
        if filename == "model.safetensors":
            raise huggingface_hub.errors.LocalEntryNotFoundError("404: no such entry")
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", serve)
    refused("owner/name", "did not give model.safetensors", "404: no such entry")


QUIET = """
import sys
import bertbook.bert.model
heavy = {"transformers", "huggingface_hub", "safetensors"} & set(sys.modules)
assert not heavy, heavy
bertbook.bert.model.BertModel.from_pretrained(sys.argv[1])
heavy = {"transformers", "huggingface_hub"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
def test_a_folder_needs_neither_transformers_nor_the_hub(folder):
    command = [sys.executable, "-W", "error", "-c", QUIET, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    shutil.rmtree(folder)
