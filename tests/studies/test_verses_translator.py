"""The committed translators: what they load, refuse, write and look at."""

import shutil

import pytest
import torch

from bertbook.corpora.verses import load_verses, split_by_chapter
from bertbook.shared.files import WeightsError
from bertbook.shared.results import read_results
from bertbook.shared.symbols import END
from bertbook.shared.training import count_parameters
from bertbook.studies.lstm_translator import LSTMTranslator
from bertbook.studies.verses_translator import WEIGHTS, load_subwords, load_translator
from bertbook.transformer.decoder import Transformer

KINDS = {"transformer": Transformer, "lstm": LSTMTranslator}
VERSE = "And the Lord seide to Moises, Speke thou to the sones of Israel."


@pytest.fixture(scope="module")
def translators():
    return {kind: load_translator(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def translator(request, translators):
    return translators[request.param]


# --- loading


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_has_the_recorded_kind_and_size_and_is_ready(kind, translators):
    model = translators[kind].model
    assert isinstance(model, KINDS[kind])
    recorded = {
        run["parameters"]
        for run in read_results("verses")["runs"]
        if run["variant"].startswith(kind)
    }
    assert recorded == {count_parameters(model)}
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_output_matrix_is_the_embedding_table(translators):
    model = translators["transformer"].model
    assert model.output.weight is model.embedding.tokens.weight


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="'gru'"):
        load_translator("gru")


def test_a_missing_or_changed_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="missing"):
        load_translator("lstm", tmp_path)
    for name in ("verses_lstm.safetensors", "verses_subwords.json"):
        shutil.copy(WEIGHTS / name, tmp_path)
    load_translator("lstm", tmp_path)
    damaged = tmp_path / "verses_lstm.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(WeightsError, match=r"Take it .* weights/verses_lstm"):
        load_translator("lstm", tmp_path)


# --- symbols


def test_every_text_comes_back(translator):
    for text in (VERSE, "fiȝte", "鱼", "[PAD] [END]", "a\u00a0b", "x" * 50):
        symbols = translator.encode(text)
        assert symbols[-1] == END
        assert translator.decode(symbols) == text


def test_pieces_show_spaces_and_bytes(translators):
    translator = translators["transformer"]
    pieces = translator.pieces(translator.encode("And fiȝte"))
    assert "".join(pieces) == "▁And▁fi⟨C8⟩⟨9D⟩te⟨end⟩"
    assert "ȝ".encode() == b"\xc8\x9d"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(translator, text):
    with pytest.raises(ValueError, match="at least one word"):
        translator.translate(text)


def test_a_text_longer_than_in_training_is_refused(translator):
    words = " ".join(["lord"] * (translator.longest - 1))
    assert len(translator.encode(words)) == translator.longest
    with pytest.raises(ValueError, match=f"at most {translator.longest}"):
        translator.translate(words + " lord")


def test_a_list_is_no_text(translator):
    with pytest.raises(TypeError, match="list"):
        translator.translate([VERSE])


# --- translating


def test_a_verse_becomes_modern_english(translator):
    written = translator.translate(VERSE)
    assert "said to Moses" in written
    assert "Israel" in written
    assert "seide" not in written


def test_many_texts_give_what_each_gives_alone(translator):
    _, _, test = split_by_chapter(load_verses())
    texts = [pair.source for pair in test[::150]]
    together = translator.translate_all(texts, batch_size=3)
    assert len(together) == len(texts)
    alone = [translator.translate(text) for text in texts]
    # Padding changes the last bits, so that a near tie may turn.
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    assert same >= len(texts) - 1
    assert len(set(alone)) == len(alone)


def test_beam_search_is_for_the_transformer(translators):
    written = translators["transformer"].translate(VERSE, beam_size=4)
    assert "said to Moses" in written
    with pytest.raises(ValueError, match="beam_size=4"):
        translators["lstm"].translate(VERSE, beam_size=4)


def test_any_bytes_can_be_read(translator):
    assert isinstance(translator.translate("鱼 ȝ 🐟"), str)


# --- looking


def test_the_alignment_is_that_of_what_is_written(translator):
    look = translator.align(VERSE)
    written = "".join(look.target).removesuffix("⟨end⟩").replace("▁", " ").strip()
    assert written == translator.translate(VERSE)
    layers_and_heads = {Transformer: (3, 6), LSTMTranslator: (1, 1)}
    expected = layers_and_heads[type(translator.model)]
    assert look.weights.shape == (*expected, len(look.target), len(look.source))
    torch.testing.assert_close(
        look.weights.sum(-1), torch.ones_like(look.weights[..., 0])
    )


def test_a_given_translation_is_followed_and_its_future_is_not_seen(translator):
    one = translator.align(VERSE, "I saw a horse")
    other = translator.align(VERSE, "I saw a fish")
    assert one.target[:3] == other.target[:3] == ["▁I", "▁saw", "▁a"]
    torch.testing.assert_close(one.weights[:, :, :4], other.weights[:, :, :4])


def test_the_subwords_cut_words_that_training_seldom_had():
    subwords = load_subwords()
    assert subwords.encode("schulde").tokens == ["Ġschulde"]
    assert len(subwords.encode("Zorobabelisch").tokens) > 2
