"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import pytest
import torch
import torch.nn.functional as F

from bertbook.exercises import bert_input as exercises
from bertbook.tokenizer.packing import truncated_lengths

D = 768


def pack(first, second, cls_id, sep_id):
    ids = [cls_id, *first, sep_id, *second, sep_id]
    return ids, [0] * (len(first) + 2) + [1] * (len(second) + 1)


def with_types(types):
    return lambda a, b, c, s: (pack(a, b, c, s)[0], types)


def not_for_empty(first, second, cls_id, sep_id):
    ids, types = pack(first, second, cls_id, sep_id)
    return (ids, types) if second else (ids[:-1], types[:-1])


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


def embed(words, segments, places, ids, types, factor=1, start=0):
    total = factor * words[ids] + segments[types] + places[start : start + len(ids)]
    return norm(total)


def total(words, segments, places, ids, types):
    return words[ids] + segments[types] + places[: len(ids)]


def unbiased(*tables):
    x = total(*tables)
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


def over_tokens(*tables):
    x = total(*tables)
    return (x - x.mean(0)) / x.std(0, unbiased=False)


def again_from_zero(w, s, p, i, t):
    return norm(w[i] + s[t] + p[[0, 1, 0, 1]])


def by_parts(w, s, p, i, t):
    return norm(w[i]) + norm(s[t]) + norm(p[: len(i)])


RIGHT = [
    (exercises.check_pack, pack),
    (exercises.check_truncation, truncated_lengths(300, 120, 200, "longest_first")),
    (exercises.check_embed, embed),
    (exercises.check_key_padding_mask, lambda mask: mask == 0),
    (exercises.check_input_parameters, 23_837_184),
]
WRONG = [
    (exercises.check_pack, lambda a, b, c, s: ([c, *a, s, *b], []), "no .SEP. behind"),
    (exercises.check_pack, lambda a, b, c, s: ([*a, s, *b, s], []), "CLS. is missing"),
    (exercises.check_pack, lambda a, b, c, s: ([c, *a, s, c, *b, s], []), "once"),
    (exercises.check_pack, lambda a, b, c, s: ([c, *a, *b, s], []), "closes A"),
    (exercises.check_pack, lambda a, b, c, s: ([c, *b, s, *a, s], []), "order"),
    (exercises.check_pack, with_types([0] * 4 + [1] * 4), "belongs to A"),
    (exercises.check_pack, with_types([0] * 5 + [1, 1, 0]), "belongs to B"),
    (exercises.check_pack, with_types([0]), "as many types"),
    (exercises.check_pack, with_types([1] * 8), "up to and with"),
    (exercises.check_pack, not_for_empty, "empty B"),
    (exercises.check_pack, lambda *arguments: [1], "two lists"),
    (exercises.check_pack, lambda *arguments: (1, 2), "are lists"),
    (exercises.check_truncation, (80, 120), "stops when"),
    (exercises.check_truncation, (83, 120), "and forgets"),
    (exercises.check_truncation, (143, 57), "not proportional"),
    (exercises.check_truncation, (102, 101), "need places"),
    (exercises.check_truncation, (300, 120), "420"),
    (exercises.check_truncation, [200, 0], "A alone"),
    (exercises.check_truncation, (1, 1), "203 places"),
    (exercises.check_truncation, 100, "Two lengths"),
    (exercises.check_embed, total, "LayerNorm is missing"),
    (exercises.check_embed, lambda w, s, p, i, t: norm(w[i] + p[:4]), "segments are"),
    (exercises.check_embed, lambda w, s, p, i, t: norm(w[i] + s[t]), "positions are"),
    (exercises.check_embed, lambda *x: embed(*x, factor=8**0.5), "no factor"),
    (exercises.check_embed, lambda *x: embed(*x, start=1), "from 0"),
    (exercises.check_embed, again_from_zero, "go on"),
    (exercises.check_embed, unbiased, "D − 1"),
    (exercises.check_embed, over_tokens, "not over the tokens"),
    (exercises.check_embed, by_parts, "not its parts"),
    (exercises.check_embed, lambda *x: 2 * embed(*x), "Add three rows"),
    (exercises.check_embed, lambda *x: 1, "int"),
    (exercises.check_key_padding_mask, lambda m: m == 1, "True hides"),
    (exercises.check_key_padding_mask, lambda m: ~m, "bits"),
    (exercises.check_key_padding_mask, lambda m: m, "int64"),
    (exercises.check_key_padding_mask, lambda m: (1.0 - m) * -1e9, "added to"),
    (exercises.check_key_padding_mask, lambda m: m == 7, "nowhere else"),
    (exercises.check_key_padding_mask, lambda m: (m == 0)[:, None], r"\[2, 1, 4\]"),
    (exercises.check_input_parameters, 30_522 * D, "alone"),
    (exercises.check_input_parameters, 31_034 * D, "without segments and"),
    (exercises.check_input_parameters, 31_036 * D, "both have"),
    (exercises.check_input_parameters, 31_037 * D, "a scale and a shift"),
    (exercises.check_input_parameters, 30_526 * D, "are parameters"),
    (exercises.check_input_parameters, 109_482_240, "whole model"),
    (exercises.check_input_parameters, 7, "Rows times width"),
    (exercises.check_input_parameters, "many", "One number"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(check, answer):
    verdict = check(answer)
    assert verdict
    assert "✓" in repr(verdict)


def test_a_right_answer_in_single_precision_passes():
    assert exercises.check_embed(lambda *x: embed(*x).float())


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_mistake_gets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    with pytest.raises(AssertionError, match=hint):
        assert verdict, repr(verdict)


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_an_open_answer_is_no_mistake(check):
    assert "Open" in repr(check(...))


@pytest.mark.parametrize(
    "check",
    [exercises.check_pack, exercises.check_embed, exercises.check_key_padding_mask],
)
def test_a_function_that_still_returns_dots_is_open(check):
    assert "Open" in repr(check(lambda *arguments: ...))


def test_a_mask_of_another_type_is_no_boolean():
    assert "bool" in repr(
        exercises.check_key_padding_mask(lambda m: torch.ones(2, 4).int())
    )
