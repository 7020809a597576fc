"""Guessing masked pieces: the model is the library's, adapters merge, wrong texts are refused."""

import pytest
import torch
import transformers
from safetensors.torch import save_file

from bertbook.bert.config import BertConfig
from bertbook.pretraining import fill_mask as module
from bertbook.pretraining.fill_mask import (
    BertForMaskedLM,
    fill_mask,
    load_masked_lm,
)
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.low_rank import LowRank, add_adapters, merge_adapters
from bertbook.pretraining.masking import IGNORED
from bertbook.shared.files import WeightsError
from bertbook.shared.training import trained_tensors
from bertbook.tokenizer.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer

PIECES = [*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture
def letters():
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig.tiny()).eval(), WordPieceTokenizer(PIECES)


def test_the_model_is_the_librarys(letters):
    model, _ = letters
    config = transformers.BertConfig(**vars(model.config))
    library = transformers.BertForMaskedLM(config).eval()
    library.load_state_dict(model.state_dict())
    ids = torch.randint(5, 31, (3, 7))
    seen = torch.ones(3, 7, dtype=torch.bool)
    seen[1, 4:] = False
    labels = ids.where(torch.rand(3, 7) < 0.5, IGNORED)
    labels[0, 0] = ids[0, 0]
    expected = library(ids, seen, labels=labels)
    torch.testing.assert_close(
        model(ids, seen).prediction_logits[seen],
        expected.logits[seen],
        atol=1e-5,
        rtol=0,
    )
    loss = model(ids, seen, labels=labels).loss
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=0)


@torch.no_grad()
def test_merged_equals_unmerged(letters):
    model, _ = letters
    ids = torch.randint(5, 31, (3, 7))
    before = model(ids).prediction_logits
    add_adapters(model.bert.encoder, 4)
    assert torch.equal(model(ids).prediction_logits, before)
    for name, parameter in model.bert.named_parameters():
        if name.endswith(".up"):
            parameter.normal_(std=0.1)
    adapted = model(ids).prediction_logits
    assert (adapted - before).abs().max() > 1e-3
    merge_adapters(model)
    assert not any(isinstance(m, LowRank) for m in model.modules())
    torch.testing.assert_close(model(ids).prediction_logits, adapted, atol=1e-5, rtol=0)


def test_only_adapters_and_head_are_trained(letters):
    model, _ = letters
    model.bert.requires_grad_(False)
    add_adapters(model.bert.encoder, 4)
    tensors = trained_tensors(model)
    assert all(
        name.endswith((".up", ".down")) or name.startswith("cls.predictions.")
        for name in tensors
    )
    assert not any("decoder.weight" in name for name in tensors)
    module.load_trained(model, tensors)
    with pytest.raises(WeightsError, match="other"):
        module.load_trained(model, {**tensors, "other": torch.zeros(1)})
    short = {**tensors, "cls.predictions.bias": torch.zeros(30)}
    with pytest.raises(WeightsError, match="bias"):
        module.load_trained(model, short)
    del tensors["cls.predictions.bias"]
    with pytest.raises(WeightsError, match="bias"):
        module.load_trained(model, tensors)
    with pytest.raises(ValueError, match="rank"):
        LowRank(torch.nn.Linear(3, 5), 4)


def test_each_mask_gets_its_guesses(letters):
    model, tokenizer = letters
    guesses = fill_mask("a [MASK] b [MASK]", 31, model=model, tokenizer=tokenizer)
    assert len(guesses) == 2
    logits = model(torch.tensor([tokenizer.encode("a [MASK] b [MASK]").ids]))
    for place, found in zip((2, 4), guesses, strict=True):
        probabilities = [guess.probability for guess in found]
        assert sorted(guess.piece for guess in found) == sorted(PIECES)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
        best = logits.prediction_logits[0, place].argmax()
        assert found[0].piece == PIECES[best]


@pytest.mark.parametrize(
    ("text", "top", "message"),
    [
        ("", 3, "empty"),
        (" \n", 3, "empty"),
        ("a b", 3, "no .MASK."),
        ("a [mask]", 3, "no .MASK."),
        ("[MASK] " + "a " * 38, 3, "41 pieces .* reads 40"),
        ("[MASK]", 0, "1..31, got 0"),
        ("[MASK]", 32, "1..31, got 32"),
    ],
)
def test_wrong_texts_are_refused(letters, text, top, message):
    model, tokenizer = letters
    with pytest.raises(ValueError, match=message):
        fill_mask(text, top, model=model, tokenizer=tokenizer)
    with pytest.raises(TypeError, match="together"):
        fill_mask("[MASK]", model=model)
    with pytest.raises(TypeError, match="int"):
        fill_mask(3, model=model, tokenizer=tokenizer)


def test_a_folder_of_ones_own_loads(tmp_path):
    torch.manual_seed(0)
    own = BertForPreTraining(BertConfig.tiny()).eval()
    names = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    state = {k: v for k, v in own.state_dict().items() if k not in names}
    save_file(state, tmp_path / "model.safetensors")
    library = transformers.BertConfig(**vars(own.config))
    library.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    model, tokenizer = load_masked_lm(tmp_path)
    text = "a [MASK] c"
    assert fill_mask(text, model=model, tokenizer=tokenizer) == fill_mask(
        text, model=own, tokenizer=tokenizer
    )
    with pytest.raises(WeightsError, match="damaged or another"):
        load_masked_lm(tmp_path, sha256="0" * 64)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES[:-1]) + "\n")
    with pytest.raises(ValueError, match="30 pieces"):
        load_masked_lm(tmp_path)


def test_a_head_starts_small_and_unbiased():
    torch.manual_seed(0)
    head = BertForMaskedLM(BertConfig.tiny(hidden_size=96)).cls.predictions
    assert head.transform.dense.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head.transform.dense.bias.any()
    assert not head.bias.any()


def test_ten_guesses_are_what_is_not_chosen(letters):
    model, tokenizer = letters
    (found,) = fill_mask("a [MASK]", model=model, tokenizer=tokenizer)
    assert len(found) == 10


@pytest.fixture
def stored(letters, tmp_path, monkeypatch):
    """A trained difference to an encoder that takes MiniLM's place, and its path."""
    encoder = {n: t.clone() for n, t in letters[0].state_dict().items() if "bert." in n}

    def without_head():
        model = BertForMaskedLM(BertConfig.tiny())
        model.load_state_dict(encoder, strict=False)
        return model

    monkeypatch.setattr(module, "minilm_without_head", without_head)
    trained = module.adapted_minilm(3)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_file(trained_tensors(trained), tmp_path / "difference.safetensors")
    return trained.eval(), tmp_path / "difference.safetensors"


@pytest.mark.parametrize("rank", [0, 3])
def test_what_is_trained_of_minilm(stored, rank):
    """The adapters and the head, not the table of words that the head uses too."""
    model = module.adapted_minilm(rank)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    head = {n for n in trained if n.startswith("cls.predictions.")}
    assert len(head) == 5
    rest = trained - head
    assert all(n.endswith((".up", ".down")) for n in rest)
    assert len(rest) == (2 * 6 * model.config.num_hidden_layers if rank else 0)


@pytest.mark.parametrize("merge", [True, False])
@torch.no_grad()
def test_a_stored_difference_gives_the_trained_model_back(stored, merge):
    trained, path = stored
    model, tokenizer = module.load_minilm_mlm(path, merge=merge)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert any(isinstance(m, LowRank) for m in model.modules()) != merge
    assert tokenizer.pieces[tokenizer.mask_id] == "[MASK]"
    ids = torch.randint(5, 31, (3, 7))
    torch.testing.assert_close(
        model(ids).prediction_logits,
        trained(ids).prediction_logits,
        atol=1e-2,  # stored in half precision
        rtol=0,
    )


def test_minilm_without_its_head_has_no_dropout():
    model = module.minilm_without_head()
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.0}
    assert model.config.attention_probs_dropout_prob == 0.0


def test_another_file_than_the_measured_one_is_refused(tmp_path, monkeypatch):
    runs = [{"metrics": {"sha256": "0" * 64}}, {"metrics": {}}]
    monkeypatch.setattr(module, "read_results", lambda name: {"runs": runs})
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="is missing"):
        module.load_minilm_mlm()
    (tmp_path / "minilm_mlm.safetensors").write_bytes(b"other")
    with pytest.raises(WeightsError, match="damaged or another"):
        module.load_minilm_mlm()
    runs.clear()
    with pytest.raises(WeightsError, match="names 0 files"):
        module.load_minilm_mlm()
