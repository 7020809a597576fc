"""pretraining.heads against transformers.BertForPreTraining, and the optimiser's settings."""

import copy

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from bertbook.bert.loading import load_weights
from bertbook.bert.model import BertConfig
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.masking import IGNORED, PieceTable
from bertbook.pretraining.optimizer import decays, warmup_and_linear_decay
from bertbook.pretraining.sentence_pairs import collate, sentence_pairs
from bertbook.shared.files import WeightsError
from bertbook.shared.training import count_parameters, train
from tests.bert.problems import close, problems

TIED = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def library(config, attention="eager"):
    theirs = transformers.BertConfig(**vars(config), attn_implementation=attention)
    return transformers.BertForPreTraining(theirs)


def twins(config, dtype, attention="eager"):
    theirs = library(config, attention).to(dtype).eval()
    ours = BertForPreTraining(config).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            is_scale = name.endswith("LayerNorm.weight")
            parameter.normal_(mean=1.0 if is_scale else 0.0, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@given(problems(), st.sampled_from(["both", "mlm"]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_losses_and_gradients_equal_the_librarys(problem, kind, fused):
    config, dtype, inputs = problem
    ids = inputs["input_ids"]
    theirs, ours = twins(config, dtype, "sdpa" if fused else "eager")
    labels = torch.randint(config.vocab_size, ids.shape)
    labels = labels.where(torch.rand(ids.shape) < 0.4, IGNORED)
    labels[-1, -1] = 1
    follows = torch.randint(2, ids.shape[:1]) if kind == "both" else None
    output = ours(**inputs, labels=labels, next_sentence_label=follows)
    expected = theirs(**inputs, labels=labels, next_sentence_label=follows)
    # The library has a loss only if it has both labels; else it is taken of its logits.
    cross_entropy = torch.nn.functional.cross_entropy
    loss = cross_entropy(expected.prediction_logits.flatten(0, 1), labels.flatten())
    close(output.masked_lm_loss, loss)
    selected = labels != IGNORED
    close(output.prediction_logits, expected.prediction_logits[selected])
    close(output.seq_relationship_logits, expected.seq_relationship_logits)
    if follows is not None:
        loss = expected.loss
        nsp = cross_entropy(expected.seq_relationship_logits, follows)
        close(output.next_sentence_loss, nsp)
    close(output.loss, loss)
    output.loss.backward()
    loss.backward()
    reference = dict(theirs.named_parameters())
    own = dict(ours.named_parameters())
    assert own.keys() == reference.keys()
    for name, parameter in own.items():
        if reference[name].grad is None:
            assert parameter.grad is None, name
        else:
            close(parameter.grad, reference[name].grad, name)


def test_selected_positions_equal_all_positions():
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig.tiny()).double().eval()
    ids = torch.randint(31, (3, 9))
    labels = ids.where(torch.rand(3, 9) < 0.3, IGNORED)
    some, everything = model(ids, labels=labels), model(ids)
    assert everything.loss is None
    assert everything.prediction_logits.shape == (3, 9, 31)
    chosen = labels != IGNORED
    assert some.prediction_logits.shape == (int(chosen.sum()), 31)
    close(some.prediction_logits, everything.prediction_logits[chosen])
    only = model(ids, next_sentence_label=torch.tensor([0, 1, 0]))
    assert only.masked_lm_loss is None
    assert only.loss == only.next_sentence_loss
    asked = model(ids, output_hidden_states=True, output_attentions=True)
    assert (len(asked.hidden_states), len(asked.attentions)) == (3, 2)


def test_parameters_of_base_and_their_names():
    with torch.device("meta"):
        model = BertForPreTraining(BertConfig.base())
        theirs = library(BertConfig.base())
    assert count_parameters(model) == 110_106_428
    assert model.state_dict().keys() == theirs.state_dict().keys()


def tied(model):
    predictions = model.cls.predictions
    table = model.bert.embeddings.word_embeddings.weight
    return (
        predictions.decoder.weight is table
        and predictions.decoder.bias is predictions.bias
    )


def test_the_decoder_is_the_table_whatever_is_done_to_the_model():
    model = BertForPreTraining(BertConfig.tiny())
    assert tied(model)
    assert tied(model.double())
    assert tied(copy.deepcopy(model))
    with torch.device("meta"):
        empty = BertForPreTraining(BertConfig.tiny())
    assert tied(empty.to_empty(device="cpu"))
    table = model.bert.embeddings.word_embeddings.weight
    assert not table[0].any()  # [PAD] starts at zero, as everywhere
    assert 0.015 < table[1:].std() < 0.025
    assert not model.cls.predictions.bias.any()


def test_weights_go_to_the_library_and_back(tmp_path):
    torch.manual_seed(1)
    theirs = library(BertConfig.tiny()).eval()
    theirs.save_pretrained(tmp_path)
    assert not TIED & set(load_file(tmp_path / "model.safetensors"))
    ours = BertForPreTraining.from_pretrained(tmp_path)
    assert tied(ours)
    assert not ours.training
    ids = torch.randint(31, (2, 7))
    close(ours(ids).prediction_logits, theirs(ids).prediction_logits)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1)
    theirs.load_state_dict(ours.state_dict())
    close(ours(ids).prediction_logits, theirs(ids).prediction_logits)
    # An encoder's checkpoint has no heads; its weights are for the encoder alone.
    transformers.BertModel(theirs.config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"missing \(48\)"):
        BertForPreTraining.from_pretrained(tmp_path)
    load_weights(ours.bert, tmp_path / "model.safetensors")
    assert tied(ours)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ({"labels": torch.full((2, 5), IGNORED)}, ValueError, "select no position"),
        ({"labels": torch.zeros(2, 4).long()}, ValueError, r"\[2, 5\], got \[2, 4\]"),
        ({"labels": torch.zeros(2, 5)}, TypeError, r"torch\.float32"),
        ({"labels": torch.full((2, 5), 31)}, ValueError, "0..30 or -100, got 31..31"),
        ({"labels": torch.full((2, 5), -1)}, ValueError, "got -1..-1"),
        ({"next_sentence_label": torch.tensor([0, 2])}, ValueError, "0..1, got 0..2"),
        ({"next_sentence_label": torch.tensor([0])}, ValueError, r"\[2\], got \[1\]"),
    ],
)
def test_labels_that_are_none(labels, error, message):
    with pytest.raises(error, match=message):
        BertForPreTraining(BertConfig.tiny())(torch.ones(2, 5).long(), **labels)


def test_an_empty_batch_is_named():
    nothing = torch.zeros(0, 5).long()
    with pytest.raises(
        ValueError, match=r"next_sentence_label select .*: there are none"
    ):
        BertForPreTraining(BertConfig.tiny())(
            nothing, next_sentence_label=nothing[:, 0]
        )


def test_biases_and_norms_do_not_decay():
    model = BertForPreTraining(BertConfig.tiny())
    spared = {n for n, p in model.named_parameters() if not decays(n, p)}
    named = {n for n, _ in model.named_parameters() if "bias" in n or "LayerNorm" in n}
    assert spared == named
    assert len(spared) == 2 * 10 + 2 + 1 + 3 + 1 + 1
    # With a loss without gradients decay alone moves the weights, and by what is known.
    before = {n: p.detach().clone() + 0.5 for n, p in model.named_parameters()}
    model.load_state_dict(before, strict=False)
    options = {"steps": 3, "learning_rate": 0.1, "weight_decay": 0.2}

    def nothing(model, batch):
        return sum((p * 0).sum() for p in model.parameters())

    train(model, lambda step: None, nothing, decays=decays, **options)
    for name, parameter in model.named_parameters():
        factor = 1.0 if name in spared else (1 - 0.1 * 0.2) ** 3
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_the_schedule_by_hand():
    factor = warmup_and_linear_decay(4, 12)
    expected = [0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert [factor(step) for step in range(12)] == pytest.approx(expected)
    assert [warmup_and_linear_decay(0, 2)(step) for step in range(2)] == [1.0, 0.5]
    with pytest.raises(ValueError, match=r"step must lie in 0\.\.11, got 12"):
        factor(12)
    for warmup in (-1, 12):
        with pytest.raises(ValueError, match=rf"0\.\.11, .* got {warmup}"):
            warmup_and_linear_decay(warmup, 12)


def test_the_schedule_is_the_librarys_one_step_earlier_in_the_warmup():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = transformers.get_linear_schedule_with_warmup(optimizer, 5, 17)
    rates = []
    for _ in range(17):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [warmup_and_linear_decay(5, 17)(step) for step in range(17)]
    assert ours[:5] == pytest.approx(rates[1:6])
    assert ours[5:] == pytest.approx(rates[5:])


def test_both_tasks_are_learnt_end_to_end():
    """Sentences of one letter repeated; a document counts up: both tasks can be solved."""
    table = PieceTable(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])
    documents = [[[5 + d] * 4 for _ in range(8)] for d in range(8)]
    config = BertConfig.tiny(vocab_size=len(table), hidden_size=24, **QUIET)
    torch.manual_seed(0)
    model = BertForPreTraining(config)
    generator = torch.Generator().manual_seed(0)
    pairs = [
        pair
        for _ in range(8)
        for pair in sentence_pairs(documents, 20, generator=generator, short=0.0)
    ]

    def batch(step):
        chosen = torch.randint(len(pairs), (24,), generator=generator)
        return collate([pairs[i] for i in chosen], table, generator=generator)

    losses = []

    def loss(model, batch):
        output = model(**batch)
        losses.append((output.masked_lm_loss.item(), output.next_sentence_loss.item()))
        return output.loss

    steps = 300
    train(
        model,
        batch,
        loss,
        steps=steps,
        learning_rate=5e-3,
        weight_decay=0.01,
        decays=decays,
        schedule=warmup_and_linear_decay(15, steps),
    )
    first = torch.tensor(losses[:5]).mean(0)
    last = torch.tensor(losses[-20:]).mean(0)
    assert first[0] > 2.0
    assert first[1] > 0.6
    assert last[0] < 0.5
    assert last[1] < 0.1
