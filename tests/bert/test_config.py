"""BERT's sizes: known ones, those of Hugging Face's files, and everything that is refused."""

import dataclasses
import json

import pytest
import transformers

from bertbook.bert.config import BertConfig

NAMES = ("tiny", "mini", "minilm", "base", "large", "chinese_base")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_library_gives_the_same_sizes(name, tmp_path):
    config = getattr(BertConfig, name)(layer_norm_eps=1e-7, initializer_range=0.3)
    transformers.BertConfig(**vars(config)).save_pretrained(tmp_path)
    assert BertConfig.from_json(tmp_path / "config.json") == config


def test_the_defaults_are_the_librarys_and_bases():
    theirs = transformers.BertConfig()
    assert BertConfig() == BertConfig.base()
    for name, value in vars(BertConfig()).items():
        assert getattr(theirs, name) == value, name


def test_named_sizes():
    sizes = {
        name: (
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            config.max_position_embeddings,
        )
        for name in NAMES
        for config in [getattr(BertConfig, name)()]
    }
    assert sizes == {
        "tiny": (31, 12, 2, 3, 20, 40),
        "mini": (8192, 256, 4, 4, 1024, 512),
        "minilm": (30522, 384, 6, 12, 1536, 512),
        "base": (30522, 768, 12, 12, 3072, 512),
        "large": (30522, 1024, 24, 16, 4096, 512),
        "chinese_base": (21128, 768, 12, 12, 3072, 512),
    }


@pytest.mark.parametrize("name", NAMES)
def test_choices_replace_single_fields(name):
    make = getattr(BertConfig, name)
    choices = {"vocab_size": 99, "max_position_embeddings": 7, "pad_token_id": None}
    assert make(**choices) == dataclasses.replace(make(), **choices)
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().vocab_size = 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be a positive integer, got 0"),
        ({"hidden_size": -12}, "hidden_size .*got -12"),
        ({"num_hidden_layers": 2.0}, r"num_hidden_layers .*got 2\.0"),
        ({"intermediate_size": "20"}, "intermediate_size .*got '20'"),
        ({"type_vocab_size": True}, "type_vocab_size .*got True"),
        ({"max_position_embeddings": None}, "max_position_embeddings .*got None"),
        ({"num_attention_heads": 5}, "hidden_size=12, num_attention_heads=5"),
        ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob .*got 1\.5"),
        ({"attention_probs_dropout_prob": -0.1}, r"attention_probs.* got -0\.1"),
        ({"layer_norm_eps": 0.0}, r"layer_norm_eps must be positive, got 0\.0"),
        ({"initializer_range": float("nan")}, "initializer_range .*got nan"),
        ({"pad_token_id": 31}, r"pad_token_id must lie in 0\.\.30, got 31"),
        ({"pad_token_id": -1}, "pad_token_id .*got -1"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        ({"hidden_act": "gelu_new"}, "got 'gelu_new'"),
    ],
)
def test_bad_sizes_are_named(choices, message):
    with pytest.raises(ValueError, match=message):
        BertConfig.tiny(**choices)


@pytest.fixture
def config_file(tmp_path):
    """Writes a config.json with the given changes; a change to ``...`` takes the key out."""

    def write(**changes):
        stored = {**vars(BertConfig.tiny()), "model_type": "bert", **changes}
        stored = {name: value for name, value in stored.items() if value is not ...}
        path = tmp_path / "config.json"
        path.write_text(json.dumps(stored), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', only 'bert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act must be 'gelu', got 'gelu_new'"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type is 'relative_key', only 'absolute'",
        ),
        ({"is_decoder": True}, "is_decoder is True, only False"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is True"),
        ({"pruned_heads": {"1": [0]}}, "pruned_heads is {'1': .0.}"),
        ({"quantization_config": {"bits": 8}}, "quantization_config is {'bits': 8}"),
        ({"hidden_size": ...}, "hidden_size is missing"),
        ({"hidden_size": "12"}, "hidden_size must be a positive integer, got '12'"),
        ({"hidden_dropout_prob": None}, "config.json: .*NoneType"),
        ({"num_attention_heads": 7}, "num_attention_heads=7"),
        (
            {"vocab_size": ..., "model_type": "xlm", "is_decoder": True},
            "vocab_size is missing; model_type is 'xlm'.*; is_decoder is True",
        ),
    ],
)
def test_what_a_file_may_not_ask_for_is_named(config_file, changes, message):
    path = config_file(**changes)
    with pytest.raises(ValueError, match=message) as error:
        BertConfig.from_json(path)
    assert str(path) in str(error.value)


def test_other_keys_and_empty_ones_do_not_matter(config_file):
    path = config_file(
        model_type=...,
        layer_norm_eps=...,
        hidden_act=...,
        is_decoder=None,
        pruned_heads={},
        position_embedding_type="absolute",
        classifier_dropout=0.5,
        use_cache=True,
        architectures=["BertForMaskedLM"],
    )
    assert BertConfig.from_json(str(path)) == BertConfig.tiny()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="JSON") as error:
        BertConfig.from_json(path)
    assert str(path) in str(error.value)
    with pytest.raises(FileNotFoundError):
        BertConfig.from_json(tmp_path / "nothing.json")
