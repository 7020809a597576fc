"""Every exercise passes right answers, and meets each usual mistake with its own hint."""

import importlib.util
import math
import random
import re
from statistics import mean, pstdev, stdev

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid

from bertbook.attention.multi_head import split_heads
from bertbook.attention.scores import causal_mask
from bertbook.bert.config import BertConfig, parameter_table
from bertbook.bert.minilm import minilm_folder
from bertbook.exercises import (
    attention,
    attention_vs_rnn,
    bert_input,
    bert_structure,
    decoder,
    encoder,
    fine_tuning,
    inside_bert,
    mask_ablation,
    masking,
    multi_head,
    pretraining,
    rnn_and_lstm,
    seq2seq,
    transformer_training,
    word_embeddings,
    wordpiece,
)
from bertbook.exercises.checker import Code, Judged, Number, Several, Verdict
from bertbook.pretraining.heads import BertForPreTraining
from bertbook.pretraining.optimizer import decays
from bertbook.shared.symbols import BEGIN, END, PAD
from bertbook.tokenizer.learning import learn_vocabulary, likelihood_gain, pair_count
from bertbook.tokenizer.packing import truncated_lengths
from bertbook.tokenizer.pieces import IGNORED
from bertbook.tokenizer.wordpiece import WordPieceTokenizer

CHAPTERS = (
    word_embeddings,
    rnn_and_lstm,
    seq2seq,
    attention,
    attention_vs_rnn,
    multi_head,
    encoder,
    decoder,
    transformer_training,
    wordpiece,
    bert_input,
    bert_structure,
    inside_bert,
    masking,
    mask_ablation,
    pretraining,
    fine_tuning,
)
EXERCISES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
    for module in CHAPTERS
    for name in module.__all__
}
COMPARED = {name: one for name, one in EXERCISES.items() if not isinstance(one, Judged)}
CODE = {name: one for name, one in EXERCISES.items() if isinstance(one, Code | Judged)}

parameters = bert_structure.check_parameters.right
pool = bert_structure.check_pooler.right
second_difference = bert_structure.check_interaction.right
step = attention_vs_rnn.check_cached_attention.right
masked_softmax = attention.check_masked_softmax.right
contribution = multi_head.check_head_contribution.right
turn = encoder.check_rotation.right
loss = word_embeddings.check_loss.right
match = wordpiece.check_longest_match.right
pack = bert_input.check_pack.right


# Functions as a reader writes them: right ones, and right ones that an option makes wrong.


def lstm_step(affine, c, order="ifgo", candidate=torch.tanh, show=torch.tanh):
    blocks = dict(zip(order, affine.chunk(4, -1), strict=True))
    i, f, o = (blocks[name].sigmoid() for name in "ifo")
    c = f * c + i * candidate(blocks["g"])
    return o * show(c), c


def no_input_gate(affine, c):
    _, f, g, o = affine.chunk(4, -1)
    c = f.sigmoid() * c + g.tanh()
    return o.sigmoid() * c.tanh(), c


def norm_of(gradients):
    return math.sqrt(sum(x.square().sum().item() for x in gradients))


def clip(gradients, limit):
    return [x * min(1, limit / norm_of(gradients)) for x in gradients]


def clip_in_place(gradients, limit):
    factor = min(1, limit / norm_of(gradients))
    return [x.mul_(factor) for x in gradients]


def clip_by_the_library(gradients, limit):
    """The library's own clipping counts as right: it differs by its ε of 1e-6."""
    leaves = [torch.zeros_like(x, requires_grad=True) for x in gradients]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient.clone()
    nn.utils.clip_grad_norm_(leaves, limit)
    return [leaf.grad for leaf in leaves]


def generate(
    step, max_length, first=BEGIN, keep_state=True, read_own=True, ends=(END,)
):
    symbol, state, written = first, None, []
    while len(written) < max_length and not set(written) & set(ends):
        logits, new = step(symbol, state)
        state = new if keep_state else None
        written.append(logits.argmax().item())
        symbol = written[-1] if read_own else first
    return written


def generate_of_the_least(step, max_length):
    return generate(lambda *args: (-step(*args)[0], 1), max_length)


def overflowing(scores, mask):
    powers = scores.exp() * mask
    return powers / powers.sum(-1, keepdim=True)


def jacobian_by_autograd(p):
    return torch.autograd.functional.jacobian(lambda s: s.softmax(-1), p.log())


def cached_by_the_library(q, k, v):
    return F.scaled_dot_product_attention(q[None], k, v)[0]


def blind(q, k, v):
    return v[0] if len(k) == 1 else step(q, k[:-1], v[:-1])


def layer_norm(x, eps, axes=-1, unbiased=False):
    deviation = (x.var(axes, unbiased=unbiased, keepdim=True) + eps).sqrt()
    return (x - x.mean(axes, keepdim=True)) / deviation


def centred(x):
    return x - x.mean(-1, keepdim=True)


def deviation(x, unbiased=False):
    return x.std(-1, unbiased=unbiased, keepdim=True)


def changed_masks(**changes):
    """The right masks, some of them replaced by what a function makes of them."""

    def function(source, inputs):
        real = (source != PAD)[:, None, :]
        right = {
            "encoder": real,
            "decoder": causal_mask(inputs.shape[1]),
            "cross": real,
        }
        change = {name: changes.get(name, lambda mask, *rest: mask) for name in right}
        return tuple(change[name](mask, source, inputs) for name, mask in right.items())

    return function


def leak_test(modes=(True, False), seeded=True, last=1, all_before=True):
    """A test of a decoder, right as it stands; each option weakens it."""

    def leaks(decode, inputs):
        for training in modes:
            for t in range(inputs.shape[1] - last):
                other = inputs.clone()
                other[:, t + 1] = (other[:, t + 1] + 1) % 20
                seen = slice(0 if all_before else t, t + 1)
                outputs = []
                for symbols in (inputs, other):
                    if seeded:
                        torch.manual_seed(0)
                    outputs.append(decode(symbols, training)[:, seen])
                if not torch.equal(*outputs):
                    return True
        return False

    return leaks


def rate(step, width, warmup):
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


def then(after):
    """The right rise, then something else."""
    return lambda s, d, w: rate(s, d, w) if s <= w else rate(w, d, w) * after(s / w)


def tie(table, output):
    output.weight = table.weight


def tie_the_wrong_way(table, output):
    table.weight = output.weight


def copy_values(table, output):
    output.weight.data.copy_(table.weight.data)


def new_parameter(table, output):
    output.weight = nn.Parameter(table.weight.detach().clone())


def share_memory(table, output):
    output.weight.data = table.weight.data


def shortest_first(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(start + 1, len(word) + 1)
        end = next((e for e in ends if mark + word[start:e] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def fails(pieces, instead):
    return instead if pieces == ["[UNK]"] else pieces


def with_types(types):
    return lambda a, b, c, s: (pack(a, b, c, s)[0], types)


def not_for_empty(first, second, cls_id, sep_id):
    ids, types = pack(first, second, cls_id, sep_id)
    return (ids, types) if second else (ids[:-1], types[:-1])


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


def total(words, segments, places, ids, types):
    return words[ids] + segments[types] + places[: len(ids)]


def unbiased(*tables):
    x = total(*tables)
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


def over_tokens(*tables):
    x = total(*tables)
    return (x - x.mean(0)) / x.std(0, unbiased=False)


def without(*names):
    """All parameters but those of some terms of the table."""
    return lambda config: sum(
        count for name, _, count in parameter_table(config) if name not in names
    )


def without_biases(c):
    each_layer = 4 * c.hidden_size + c.intermediate_size + c.hidden_size
    return parameters(c) - c.num_hidden_layers * each_layer - c.hidden_size


def with_heads_multiplied(c):
    attention = 4 * (c.hidden_size**2 + c.hidden_size) * c.num_hidden_layers
    return parameters(c) + (c.num_attention_heads - 1) * attention


def reach(mask, layers):
    seen = torch.eye(len(mask), dtype=torch.bool)
    for _ in range(layers):
        seen = seen | ((mask.int() @ seen.int()) > 0)
    return seen


def pool_means(states, mask):
    return torch.einsum("bsd,bs->bd", states, mask.to(states)) / mask.sum(1)[:, None]


def gap(states, sense, diagonal=False, unit=True):
    states = F.normalize(states, dim=-1) if unit else states
    alike = sense[:, None] == sense
    inside = alike if diagonal else alike & ~torch.eye(len(sense)).bool()
    table = states @ states.T
    return table[inside].mean() - table[~alike].mean()


def mask_function(**changes):
    """BERT's masking, right as it stands; each change is a usual mistake."""

    def function(ids, special, mask_id, generator):
        coin, branch = torch.rand(2, *ids.shape, generator=generator)
        pieces = (
            torch.arange(len(special))
            if "pieces" in changes
            else (~special).nonzero()[:, 0]
        )
        drawn = pieces[torch.randint(len(pieces), ids.shape, generator=generator)]
        selected = coin < changes.get("rate", 0.15)
        if "tokens" not in changes:
            selected &= ~special[ids]
        inputs = ids if "in_place" in changes else ids.clone()
        mask, random = changes.get("mask", 0.8), changes.get("random", 0.1)
        hidden = selected & (branch < mask)
        replaced = selected & (branch >= mask) & (branch < mask + random)
        labels = ids.masked_fill(~selected, IGNORED)
        inputs[hidden] = mask_id
        inputs[replaced] = drawn[replaced]
        if "only_hidden" in changes:
            inputs[replaced] = ids[replaced]
            labels = ids.masked_fill(~hidden, IGNORED)
        if "only_changed" in changes:
            labels = ids.masked_fill(inputs == ids, IGNORED)
        if "unasked" in changes:
            labels = ids.masked_fill(~selected | replaced, IGNORED)
        if "label_is_input" in changes:
            labels = inputs.masked_fill(~selected, IGNORED)
        return inputs, labels

    return function


def layers(mask):
    reach, power = mask.double(), mask.double()
    for number in range(1, len(mask) + 1):
        if power.diagonal().any():
            return number
        power = power @ reach
    return None


def differs(error, sign=abs, factor=2.776):
    return lambda a, b: sign(mean(a) - mean(b)) > factor * error(a, b)


def right_error(a, b):
    return math.sqrt((stdev(a) ** 2 + stdev(b) ** 2) / 3)


def mlm_loss(logits, labels, **options):
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), **options)


def mean_of_rows(logits, labels):
    rows = [cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
    return sum(rows) / len(rows)


def label(words, labels, first=True, special=IGNORED, later=IGNORED):
    found, seen = [], set()
    for word in words:
        if word is None:
            found.append(special)
        else:
            found.append(later if word in seen and first else labels[word])
        seen.add(word)
    return found


def start_first(start, end):
    first = int(start.argmax())
    return first, first + int(end[first:].argmax())


def end_first(start, end):
    last = int(end.argmax())
    return int(start[: last + 1].argmax()), last


RIGHT = {
    word_embeddings.check_noise: [0.77],
    word_embeddings.check_optimum: [math.log(20 / (100 * 2 * 0.05))],
    rnn_and_lstm.check_scalar_gradient: [0.9216],
    rnn_and_lstm.check_lstm_step: [lstm_step],
    rnn_and_lstm.check_forget_bias: [4.97],
    rnn_and_lstm.check_lstm_parameters: [
        sum(p.numel() for p in nn.LSTM(300, 512, device="meta").parameters())
    ],
    rnn_and_lstm.check_clip: [clip, clip_by_the_library],
    seq2seq.check_inputs: [[BEGIN, 5, 3, 7]],
    seq2seq.check_exact_match: [0.71],
    seq2seq.check_mean_loss: [lambda x, t: x[t != PAD].mean()],
    seq2seq.check_generate: [generate],
    attention.check_doubled_scores: [(6.93, 7.73), torch.tensor([6.93, 7.73])],
    attention.check_softmax_jacobian: [jacobian_by_autograd],
    attention_vs_rnn.check_forget_bias: [6.6, 6.604],
    attention_vs_rnn.check_cached_attention: [cached_by_the_library],
    multi_head.check_split: [split_heads],
    multi_head.check_order_bound: [5 / 8],
    encoder.check_layer_norm: [
        layer_norm,
        lambda x, eps: F.layer_norm(x, x.shape[-1:], eps=eps),
    ],
    encoder.check_share: [0.143],
    decoder.check_masks: [changed_masks()],
    decoder.check_leak_test: [leak_test()],
    decoder.check_crossover: [math.log(1.25) / math.log(15 / 9)],
    transformer_training.check_target: [[0.05, 0.85, 0.05, 0.05]],
    transformer_training.check_floor: [1.16],
    transformer_training.check_rate: [rate],
    transformer_training.check_tie: [tie],
    wordpiece.check_pieces: [["una", "##ffa", "##ble"]],
    wordpiece.check_first_merges: [["l##o", "j ##e"]],
    bert_input.check_truncation: [truncated_lengths(300, 120, 200, "longest_first")],
    bert_input.check_embed: [
        lambda *x: norm(total(*x)),
        lambda *x: norm(total(*x)).float(),
    ],
    bert_structure.check_gelu: [lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))],
    bert_structure.check_reach: [reach],
    inside_bert.check_masked_output: [6.0, torch.tensor(6.0)],
    inside_bert.check_mean_pooling: [
        pool_means,
        lambda s, m: torch.stack(
            [x[:n].mean(0) for x, n in zip(s, m.sum(1), strict=True)]
        ),
    ],
    inside_bert.check_previous_score: [
        lambda w: w.diagonal(-1).mean(),
        lambda w: sum(w[i, i - 1].item() for i in range(1, 5)) / 4,
    ],
    inside_bert.check_sense_gap: [gap, lambda s, k: gap(s, k).item()],
    masking.check_counts: [0.8 * 0.15 * 509],
    masking.check_mask_function: [mask_function()],
    masking.check_posterior: [0.9677],
    masking.check_layers_until_leak: [layers],
    masking.check_epochs: [0.0015],
    mask_ablation.check_true: [0.85 + 0.15 * 0.2],
    mask_ablation.check_f1: [0.148],
    mask_ablation.check_differs: [differs(right_error)],
    mask_ablation.check_alarms: [0.64],
    pretraining.check_first_loss: [
        9.7,
        torch.tensor(8192.0).log() + torch.tensor(2.0).log(),
    ],
    pretraining.check_decayed: [sorted(pretraining.check_decayed.right)],
    pretraining.check_predictions: [0.15 * 256 * 512, 19_700],
    pretraining.check_loss: [mlm_loss],
    fine_tuning.check_head_parameters: [torch.tensor(2307)],
    fine_tuning.check_piece_labels: [label, lambda w, k: torch.tensor(label(w, k))],
    fine_tuning.check_span: [
        lambda s, e: torch.tensor(fine_tuning.check_span.right(s, e))
    ],
    fine_tuning.check_f1: [0.667],
}

# What the hint to a mistake contains, and the mistake.
ENTROPY = -(1 - 0.1 + 0.1 / 4096) * math.log(1 - 0.1 + 0.1 / 4096)
FLOOR = ENTROPY - 4095 * 0.1 / 4096 * math.log(0.1 / 4096)
MATRICES = pretraining.check_decayed.right
NORMS = "LayerNorm after attention", "LayerNorm after feed-forward"
WRONG = {
    word_embeddings.check_pairs: {"how many sides": 7},
    word_embeddings.check_noise: {
        "share of the text": 0.835,
        "Power first": 0.874,
        "square root": 0.692,
        "rarer": 0.229,
        "3⁴": 0.5,
    },
    word_embeddings.check_optimum: {
        "That is the PMI": 1.386,
        "other sign": 2.079,
        "20 times": 0,
    },
    word_embeddings.check_loss: {
        "The sign": lambda *a: -loss(*a),
        "minus inside": lambda v, u, n: -logsigmoid(u @ v) - logsigmoid(n @ v).sum(),
        "their mean": lambda v, u, n: -logsigmoid(u @ v) - logsigmoid(-(n @ v)).mean(),
        "missing": lambda v, u, n: -logsigmoid(u @ v),
        "logarithm of each": lambda v, u, n: (
            -(u @ v).sigmoid() - (-n @ v).sigmoid().sum()
        ),
        "yes-or-no": lambda v, u, n: cross_entropy(
            torch.cat([u[None], n]) @ v, torch.tensor(0)
        ),
        "log(32/9)": lambda *a: 2 * loss(*a),
        "this is None": lambda *a: None,
        "[2]": lambda v, u, n: n @ v,
        "stable": lambda v, u, n: (
            -(u @ v).sigmoid().log() - (1 - (n @ v).sigmoid()).log().sum()
        ),
    },
    rnn_and_lstm.check_scalar_gradient: {
        "weight of each step": 0.23,
        "twice": 0.461,
        "Each step multiplies": 7,
    },
    rnn_and_lstm.check_lstm_step: {
        "wrong order": lambda a, c: lstm_step(a, c)[::-1],
        "order of the blocks": lambda a, c: lstm_step(a, c, "figo"),
        "input gate, forget gate": lambda a, c: lstm_step(a, c, "ifog"),
        "negative": lambda a, c: lstm_step(a, c, candidate=torch.sigmoid),
        "a tanh too": lambda a, c: lstm_step(a, c, candidate=lambda x: x),
        "miss": lambda a, c: lstm_step(a, c, show=lambda x: x),
        "input gate has no effect": no_input_gate,
        "line by line": lambda a, c: (c, c),
        "Two tensors": lambda a, c: c,
        "[B, U]": lambda a, c: (a, c),
    },
    rnn_and_lstm.check_forget_bias: {"sign": -4.97, "logit": 3},
    rnn_and_lstm.check_lstm_parameters: {"Four blocks": 12},
    rnn_and_lstm.check_clip: {
        "Nothing": lambda g, m: g,
        "√2": lambda g, m: [x / x.norm() for x in g],
        "direction": lambda g, m: [x.clamp(-m, m) for x in g],
        "root": lambda g, m: [x / 25 for x in g],
        "squares": lambda g, m: [x / sum(y.norm() for y in g) for x in g],
        "fifth": lambda g, m: [x / 2 for x in g],
        "list": lambda g, m: g[0],
        "shaped like": lambda g, m: None,
        "changed the tensors": clip_in_place,
        "not stretched": lambda g, m: [x * m / norm_of(g) for x in g],
        "for 2": lambda g, m: clip(g, 1.0),
    },
    seq2seq.check_inputs: {
        "has to predict": [5, 3, 7, END],
        "wrong way": [3, 7, END, PAD],
        "One too many": [BEGIN, 5, 3, 7, END],
        "2 says end": [END, 5, 3, 7],
        "0 is padding": [PAD, 5, 3, 7],
        "As many": [7, 3, 5, BEGIN],
        "A list": 5,
    },
    seq2seq.check_exact_match: {
        "Nearly": 0.98**16,
        "between 0 and 1": 71,
        "multiply": 0.5,
    },
    seq2seq.check_mean_loss: {
        "padding is counted": lambda x, t: x.mean(),
        "in the divisor": lambda x, t: (x * (t != PAD)).mean(),
        "scalar": lambda x, t: (x.mean() * (t != PAD)).mean(),
        "the sum": lambda x, t: (x * (t != PAD)).sum(),
        "sequences": lambda x, t: (x * (t != PAD)).sum() / 2,
        "mean of means": lambda x, t: (
            (x * (t != PAD)).sum(1) / (t != PAD).sum(1)
        ).mean(),
        "end symbols": lambda x, t: x[t > END].mean(),
        "how many": lambda x, t: 0,
        "One number": lambda x, t: x,
    },
    seq2seq.check_generate: {
        "does not stop": lambda s, m: generate(s, 99),
        "step(BEGIN": lambda s, m: generate(s, m, first=END),
        "nothing has been written": lambda s, m: [],
        "thrown away": lambda s, m: generate(s, m, keep_state=False),
        "written last": lambda s, m: generate(s, m, read_own=False),
        "not written": lambda s, m: [BEGIN, *generate(s, m)],
        "belongs": lambda s, m: generate(s, m)[:-1],
        "writes on": lambda s, m: generate(s, m, ends=()),
        "argmax": generate_of_the_least,
        "At most": lambda s, m: generate(s, m + 1),
        "A list": lambda s, m: None,
    },
    attention.check_doubled_scores: {
        "their sum": (7, 7),
        "width": (7,),
        "Two numbers": "abc",
        "this is 7": 7,
    },
    attention.check_masked_softmax: {
        "wrong way round": lambda s, m: masked_softmax(s, ~m),
        "no effect": lambda s, m: s.softmax(-1),
        "after the softmax": lambda s, m: s.softmax(-1) * m,
        "e^0": lambda s, m: (s * m).softmax(-1),
        "over the queries": lambda s, m: s.masked_fill(~m, -math.inf).softmax(0),
        "Row 0": lambda s, m: masked_softmax(s, m) * 0.9,
        "[3]": lambda s, m: s[0],
        "this is None": lambda s, m: None,
        "overflows": overflowing,
        "changed the tensors": lambda s, m: s.masked_fill_(~m, -math.inf).softmax(-1),
    },
    attention.check_scale: {"Put in": 5},
    attention.check_softmax_jacobian: {
        "Only the diagonal": torch.diag,
        "beside it": lambda p: (p * (1 - p)).diag(),
        "sign": lambda p: torch.outer(p, p) - p.diag(),
        "sum to zero": lambda p: torch.outer(p, p),
        "[4]": lambda p: p,
    },
    attention.check_quadratic_share: {
        "between 0 and 1": 25,
        "over the sum": 0.333,
        "two products": 0.143,
        "cancel": 0.5,
    },
    attention_vs_rnn.check_crossing: {"solve for n": 3},
    attention_vs_rnn.check_critical_path: {"grid": 7},
    attention_vs_rnn.check_cache_bytes: {
        "heads": 12 * 36_864_000,
        "Keys and values ×": 1,
    },
    attention_vs_rnn.check_forget_bias: {
        "sign": -6.6,
        "Less than half": 1,
        "More arrives than half": 1e9,
    },
    attention_vs_rnn.check_cached_attention: {
        "√d_k": lambda q, k, v: step(q, k, v, 1),
        "root": lambda q, k, v: step(q, k, v, 4),
        "sum to one": lambda q, k, v: (k @ q / 2).exp() @ v,
        "looks at itself": blind,
        "With 2 tokens": lambda q, k, v: v.mean(0),
        "[2, 4]": lambda q, k, v: v,
        "one weight": lambda q, k, v: v[0] * 2 if len(k) == 1 else step(q, k, v),
        "this is None": lambda q, k, v: None,
    },
    multi_head.check_parameters: {
        "bias too": 4 * 768 * 768,
        "without the output projection.": 3 * (768 * 768 + 768),
        "and without biases": 3 * 768 * 768,
        "only d/h columns": 12 * 4 * (768 * 768 + 768),
        "there are twelve": 4 * (768 * 64 + 64),
        "Four linear layers": 7,
    },
    multi_head.check_split: {
        "change places": lambda x, h: x.unflatten(-1, (h, -1)),
        "tokens are mixed": lambda x, h: x.reshape(2, h, 3, -1),
        "every second column": lambda x, h: x.unflatten(-1, (-1, h)).permute(
            0, 3, 1, 2
        ),
        "columns 1 to 4": lambda x, h: split_heads(x, h).flip(1),
        "[2, 3, 8]": lambda x, h: x,
        "this is None": lambda x, h: None,
    },
    multi_head.check_head_contribution: {
        "over all heads": lambda c, w, i, n: c @ w.T,
        "x Wᵀ": lambda c, w, i, n: contribution(c, w.T, i, n),
        "not averaged": lambda *arguments: contribution(*arguments) / 4,
        "Dh columns of both": lambda *arguments: -contribution(*arguments),
        "do not add up": lambda c, w, i, n: contribution(c, w, 3, n),
        "[3, 2]": lambda c, w, i, n: c[:, :n],
        "this is 1": lambda *arguments: 1,
    },
    multi_head.check_order_bound: {"without looking": 1 / 16, "Count": 0.3},
    encoder.check_layer_norm: {
        "D − 1": lambda x, e: layer_norm(x, e, -1, True),
        "inside": lambda x, e: centred(x) / (deviation(x) + e),
        "0/0": lambda x, e: centred(x) / deviation(x),
        "both must change": lambda x, e: centred(x) / (deviation(x, True) + e),
        "taken off": lambda x, e: x / (deviation(x) ** 2 + e).sqrt(),
        "not by the variance": lambda x, e: centred(x) / (deviation(x) ** 2 + e),
        "tokens of a seq": lambda x, e: layer_norm(x, e, 1),
        "over the batch": lambda x, e: layer_norm(x, e, 0),
        "as BatchNorm does": lambda x, e: layer_norm(x, e, (0, 1), True),
        "whole seq": lambda x, e: layer_norm(x, e, (1, 2)),
        "over everything": lambda x, e: layer_norm(x, e, (0, 1, 2)),
        "Take the mean": lambda x, e: x,
        "[4, 6]": lambda x, e: x[0],
        "this is None": lambda x, e: None,
    },
    encoder.check_parameters: {
        "Biases and norms": 12 * 768 * 768,
        "Only the two norms": 12 * 768 * 768 + 9 * 768,
        "two norms, and each": 12 * 768 * 768 + 11 * 768,
        "six linear": 12 * 768 * 768 + 4 * 768,
        "twice as large": 4 * 768 * 768 + 4 * 768,
        "alone": 8 * 768 * 768 + 5 * 768,
        "whole stack": 12 * 7_087_872,
        "output projection": 11 * 768 * 768 + 12 * 768,
        "Six linear layers": 7,
    },
    encoder.check_rotation: {
        "other way": lambda k, w: turn(-k, w),
        "changed places": lambda k, w: turn(k, w).flip(0),
        "Sine and cosine": lambda k, w: turn(k, w).flip(1),
        "addition theorems": lambda k, w: torch.eye(2),
        "for k = −2": lambda k, w: turn(3, 0.2),
        "this is 1": lambda k, w: 1,
    },
    encoder.check_pre_ln: {
        "post-LN": lambda x, f, n: n(x + f(x)),
        "residual path carries": lambda x, f, n: n(x) + f(n(x)),
        "behind the sub-layer": lambda x, f, n: x + n(f(x)),
        "residual connection is": lambda x, f, n: f(n(x)),
        "norm is missing": lambda x, f, n: x + f(x),
        "One norm too many": lambda x, f, n: n(x + f(n(x))),
        "which of the three": lambda x, f, n: x - f(n(x)),
        "[3, 8]": lambda x, f, n: x[0],
    },
    encoder.check_share: {
        "share is of all": 1 / 6,
        "in the attention": 1 / 3,
        "two quadratic": 1 / 13,
        "Put n = d": 0.9,
    },
    decoder.check_parameters: {
        "encoder layer": 12 * 512**2 + 13 * 512,
        "Biases and LayerNorms": 16 * 512**2,
        "The three LayerNorms": 16 * 512**2 + 13 * 512,
        "so three LayerNorms": 16 * 512**2 + 17 * 512,
        "handed over": 14 * 512**2 + 17 * 512,
        "two biases": 16 * 512**2 + 14 * 512,
        "whole stack": 6 * 4_204_032,
        "Add up": 5,
    },
    decoder.check_masks: {
        "Three masks": lambda s, x: None,
        "cross-attention: a boolean": changed_masks(cross=lambda m, s, x: m.float()),
        "[2, 4] does not broadcast": changed_masks(encoder=lambda m, s, x: s != PAD),
        "[2, 1, 3] does not broadcast to [2, 3, 4]": changed_masks(
            cross=lambda m, s, x: (x != PAD)[:, None]
        ),
        "Inverted": changed_masks(encoder=lambda m, s, x: ~m),
        "this query may look": changed_masks(decoder=lambda m, s, x: ~m),
        "nothing has to be causal": changed_masks(
            encoder=lambda m, s, x: m & causal_mask(4)
        ),
        "every real source token": changed_masks(
            encoder=lambda m, s, x: torch.ones_like(m)
        ),
        "look at itself": changed_masks(decoder=lambda m, s, x: m.tril(-1)),
        "transposed": changed_masks(decoder=lambda m, s, x: m.T),
        "comes after it": changed_masks(decoder=lambda m, s, x: torch.ones_like(m)),
        "all real ones before it": changed_masks(
            decoder=lambda m, s, x: torch.eye(3).bool()
        ),
        "Three masks are": lambda s, x: changed_masks()(s, x)[:2],
        "the source's padding": changed_masks(cross=lambda m, s, x: torch.ones_like(m)),
    },
    decoder.check_leak_test: {
        "True or False": lambda decode, x: 1,
        "without dropout": lambda decode, x: True,
        "same seed": leak_test(seeded=False),
        "No mask at all": lambda decode, x: False,
        "evaluation too": leak_test(modes=(True,)),
        "training too": leak_test(modes=(False,)),
        "last position but one": leak_test(last=2),
        "four steps ahead": leak_test(all_before=False),
    },
    decoder.check_crossover: {
        "not the length itself": math.log(1.25) / math.log(2.5),
        "The sign": -math.log(1.25) / math.log(15 / 9),
        "divide by": math.log(1.25),
        "Set 1.2": 3,
    },
    decoder.check_cache: {"share the width": 8 * 307_200, "For each layer": 1},
    transformer_training.check_target: {
        "true one too": [0.2 / 3, 0.8, 0.2 / 3, 0.2 / 3],
        "1.200": [0.3, 0.3, 0.3, 0.3],
        "Mix": [0.25] * 4,
        "that is sure": [0.5, 0.5],
        "Four": 0.85,
    },
    transformer_training.check_floor: {
        "bits": FLOOR / math.log(2),
        "others have mass": -math.log(1 - 0.1 + 0.1 / 4096),
        "small ones": ENTROPY,
        "uniform guess": math.log(4096),
        "perplexity": math.exp(FLOOR),
        "entropy of the target": 5,
    },
    transformer_training.check_rate: {
        "counted from 1": lambda s, d, w: 1 / (s - 1),
        "is missing": lambda s, d, w: rate(s, 1, w),
        "not 0.5": lambda s, d, w: rate(s, d, w) * d,
        "larger of the two": lambda s, d, w: d**-0.5 * max(s**-0.5, s * w**-1.5),
        "nothing is to be added": lambda s, d, w: rate(s + 1, d, w),
        "no warm-up": lambda s, d, w: (d * s) ** -0.5,
        "goes on rising": then(lambda x: x),
        "stays at the peak": then(lambda x: 1.0),
        "not an exponential": then(lambda x: math.exp(1 - x)),
        "half of the peak": lambda s, d, w: rate(w, d, w) * min(1, (s / w) ** 2),
        "smaller of": lambda s, d, w: 0.1,
        "return a number": lambda s, d, w: None,
    },
    transformer_training.check_tie: {
        "copied": copy_values,
        "different after one step": new_parameter,
        "two parameters": share_memory,
        "overwritten": tie_the_wrong_way,
        "of its own": lambda table, output: None,
    },
    transformer_training.check_saved: {
        "Three tables": 37_000 * 512,
        "has to stay": 3 * 37_000 * 512,
        "not V": 2 * (37_000 + 512),
        "V · D each": 8,
    },
    wordpiece.check_pieces: {
        "A list of pieces": "una ##ffa ##ble",
        "must give the word": ["un", "##able"],
        "has ## in front": ["una", "ffa", "ble"],
        "not the longest": ["un", "##a", "##ff", "##able"],
        "something longer": ["una", "##ff", "##able"],
        "not in the vocabulary": ["una", "##ffable"],
    },
    wordpiece.check_longest_match: {
        "this is 'ab'": lambda word, v: "ab",
        "which pieces need ##": lambda word, v: [
            p.removeprefix("##") for p in match(word, v)
        ],
        "longest end first": shortest_first,
        "gives": lambda word, v: [],
        "fails as a whole": lambda word, v: fails(match(word, v), [word[0], "[UNK]"]),
        "takes nothing back": lambda word, v: (
            ["a", "##bc"] if word == "abc" else match(word, v)
        ),
        "gives ['[UNK]']": lambda word, v: fails(match(word, v), []),
    },
    wordpiece.check_first_merges: {
        "Two new symbols": "lo",
        "equally often": ("ow", "je"),
        "most often": ("id", "je"),
        "divide": ("lo", "x"),
    },
    wordpiece.check_count: {"Count": 3},
    bert_input.check_pack: {
        "behind B is missing": lambda a, b, c, s: ([c, *a, s, *b], []),
        "CLS] is missing": lambda a, b, c, s: ([*a, s, *b, s], []),
        "once": lambda a, b, c, s: ([c, *a, s, c, *b, s], []),
        "closes A": lambda a, b, c, s: ([c, *a, *b, s], []),
        "order": lambda a, b, c, s: ([c, *b, s, *a, s], []),
        "belongs to A": with_types([0] * 4 + [1] * 4),
        "belongs to B": with_types([0] * 5 + [1, 1, 0]),
        "as many types": with_types([0]),
        "up to and with": with_types([1] * 8),
        "empty B": not_for_empty,
        "Return two lists": lambda *arguments: [1],
        "not (1, 2)": lambda *arguments: (1, 2),
    },
    bert_input.check_truncation: {"203 places": (1, 1), "Two lengths": 100},
    bert_input.check_embed: {
        "LayerNorm is missing": total,
        "segments are": lambda w, s, p, i, t: norm(w[i] + p[:4]),
        "positions are": lambda w, s, p, i, t: norm(w[i] + s[t]),
        "no factor": lambda w, *rest: norm(total(8**0.5 * w, *rest)),
        "from 0": lambda w, s, p, *rest: norm(total(w, s, p[1:], *rest)),
        "go on": lambda w, s, p, i, t: norm(w[i] + s[t] + p[[0, 1, 0, 1]]),
        "D − 1": unbiased,
        "not over the tokens": over_tokens,
        "not its parts": lambda w, s, p, i, t: norm(w[i]) + norm(s[t]) + norm(p[:4]),
        "Add three rows": lambda *x: 2 * norm(total(*x)),
        "this is 1": lambda *x: 1,
    },
    bert_input.check_key_padding_mask: {
        "True hides": lambda m: m == 1,
        "bits": lambda m: ~m,
        "int64": lambda m: m,
        "added to": lambda m: (1.0 - m) * -1e9,
        "torch.int32": lambda m: torch.ones(2, 4).int(),
        "nowhere else": lambda m: m == 7,
        "[2, 1, 4]": lambda m: (m == 0)[:, None],
    },
    bert_input.check_input_parameters: {
        "alone": 30_522 * 768,
        "without segments and": 31_034 * 768,
        "both have": 31_036 * 768,
        "a scale and a shift": 31_037 * 768,
        "are parameters": 30_526 * 768,
        "Rows times width": 7,
    },
    bert_structure.check_parameters: {
        "pooler is missing": without("pooler"),
        "or the norm of the embeddings": without("LayerNorm of the embeddings"),
        "table of positions": without("position embeddings"),
        "the table of segments": without("token type embeddings"),
        "the fourth": without("attention output"),
        "The two norms of each layer": without(*NORMS),
        "One of the two norms": without(NORMS[0]),
        "All norms": without(*NORMS, "LayerNorm of the embeddings"),
        "biases of the linear": without_biases,
        "share the D columns": with_heads_multiplied,
        "it should be 102,267,648, not 109,482,240": lambda config: 109_482_240,
        "off by 1?": lambda config: parameters(config) + 1,
        "A number is asked for; this is 'many'": lambda config: "many",
    },
    bert_structure.check_gelu: {
        "tanh form": lambda x: F.gelu(x, approximate="tanh"),
        "sigmoid form": lambda x: x * torch.sigmoid(1.702 * x),
        "SiLU": F.silu,
        "That is ReLU": F.relu,
        "It multiplies x": lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2))),
        "erf takes x/√2": lambda x: 0.5 * x * (1 + torch.erf(x)),
        "from -1 to 1": lambda x: x * torch.erf(x / math.sqrt(2)),
        "twice as much": lambda x: 2 * F.gelu(x),
        "x times Φ": lambda x: x,
        "shape [3]": lambda x: x[:3],
        "this is None": lambda x: None,
    },
    bert_structure.check_pooler: {
        "a mean over tokens": lambda s, w, b: torch.tanh(s.mean(1) @ w.T + b),
        "a maximum over tokens": lambda s, w, b: torch.tanh(s.amax(1) @ w.T + b),
        "the last token": lambda s, w, b: pool(s.flip(1), w, b),
        "What follows it": lambda s, w, b: s[:, 0] @ w.T + b,
        "bias is missing": lambda s, w, b: pool(s, w, 0),
        "x Wᵀ": lambda s, w, b: pool(s, w.T, b),
        "then tanh": lambda s, w, b: s[:, 0].tanh() @ w.T + b,
        "state of [CLS] itself": lambda s, w, b: s[:, 0],
        "tanh of a linear map": lambda s, w, b: -pool(s, w, b),
        "shape [2, 5, 4]": lambda s, w, b: torch.tanh(s @ w.T + b),
        "this is 1": lambda s, w, b: 1,
    },
    bert_structure.check_reach: {
        "Rows and columns": lambda m, n: reach(m, n).T,
        "residual connection": lambda m, n: (
            torch.linalg.matrix_power(m.double(), n) > 0
        ),
        "That is one layer": lambda m, n: reach(m, 1),
        "one layer too many": lambda m, n: reach(m, n + 1),
        "With 1 layer": lambda m, n: torch.ones_like(m),
        "not torch.int32": lambda m, n: reach(m, n).int(),
        "shape [2, 6]": lambda m, n: reach(m, n)[:2],
        "this is True": lambda m, n: True,
    },
    bert_structure.check_interaction: {
        "both at once": lambda f, a, b, c, d: f(b, d) - f(a, c),
        "itself is missing": lambda f, a, b, c, d: f(b, d) - f(b, c) - f(a, d),
        "turned round": lambda *arguments: -second_difference(*arguments),
        "count minus": lambda f, a, b, c, d: f(b, d) + f(b, c) + f(a, d) + f(a, c),
        "must be zero; it is 8": lambda f, a, b, c, d: f(b, d) - f(a, d),
        "should be 10 here, not 20": lambda *arguments: (
            2 * second_difference(*arguments)
        ),
        "A number is asked for": lambda *arguments: "much",
    },
    inside_bert.check_masked_output: {"scale the other weights": 5},
    inside_bert.check_mean_pooling: {
        "mask is not used": lambda s, m: s.mean(1),
        "number of tokens": lambda s, m: (s * m[..., None]).mean(1),
        "[CLS]": lambda s, m: s[:, 0],
        "the sum": lambda s, m: (s * m[..., None]).sum(1),
        "[2, 4, 3]": lambda s, m: s,
        "this is 3": lambda s, m: 3,
        "Set padding to zero": lambda s, m: s.amax(1),
    },
    inside_bert.check_previous_score: {
        "token after": lambda w: w.diagonal(1).mean(),
        "itself": lambda w: w.diagonal().mean(),
        "first token": lambda w: w.diagonal(-1).sum() / 5,
        "the mean is asked": lambda w: w.diagonal(-1).sum(),
        "column i − 1": lambda w: w.mean(),
        "One number": lambda w: w.diagonal(-1),
    },
    inside_bert.check_sense_gap: {
        "with itself": lambda s, k: gap(s, k, diagonal=True),
        "dot products": lambda s, k: gap(s, k, unit=False),
        "sign": lambda s, k: -gap(s, k),
        "mean of each kind": lambda s, k: 0.0,
        "One number": lambda s, k: s,
    },
    masking.check_counts: {"are selected": 0.15 * 509, "Count the tokens": 3},
    masking.check_posterior: {
        "this one is selected": 0.983,
        "random one stands": 0.0323,
        "Weigh": 0.7,
    },
    masking.check_epochs: {
        "All selected": 0.88**40,
        "each time": 0.15**40,
        "Each reading": 0.4,
    },
    masking.check_layers_until_leak: {
        "two layers": lambda mask: 1,
        "one layer": lambda mask: 2,
        "look only back": lambda mask: 1 if mask.diagonal().any() else 2,
        "ring, it takes": lambda mask: layers(mask) if layers(mask) in (1, 2) else None,
        "never closes": lambda mask: (
            layers(mask) or (5 if mask.sum() < len(mask) else None)
        ),
        "number of layers": lambda mask: "two",
    },
    masking.check_mask_function: {
        "two tensors": lambda *inputs: None,
        "shape": lambda i, *rest: (i, i[0]),
        "work on a copy": mask_function(in_place=True),
        "copy": mask_function(in_place=True, rate=0.9),
        "CLS": mask_function(tokens=True),
        "ordinary": mask_function(pieces=True),
        "at first": mask_function(label_is_input=True),
        "not only on": mask_function(only_hidden=True),
        "that stay": mask_function(only_changed=True),
        "must be asked": mask_function(unasked=True),
        "selected: 0.2": mask_function(rate=0.3),
        "Only some": mask_function(rate=1.0),
        "[MASK] among": mask_function(mask=0.5),
        "another piece": mask_function(random=0.02),
    },
    mask_ablation.check_true: {"share in": 88, "add what stays": 0.5},
    mask_ablation.check_f1: {"twice their product": 0.3},
    mask_ablation.check_differs: {
        "worse as well": differs(right_error, sign=float),
        "One standard error": differs(right_error, factor=1),
        "divided by 3": differs(lambda a, b: math.hypot(stdev(a), stdev(b))),
        "n − 1": differs(lambda a, b: math.sqrt((pstdev(a) ** 2 + pstdev(b) ** 2) / 3)),
        "adds the two variances": differs(lambda a, b: stdev(a) / math.sqrt(3)),
        "difference of means": lambda a, b: True,
    },
    mask_ablation.check_alarms: {
        "none passes": 0.358,
        "exactly": 0.377,
        "First the chance": 0.8,
    },
    pretraining.check_first_loss: {
        "alone; the one of the pairs": 9.01,
        "alone; the one of the pieces": 0.69,
        "not averaged": 4.85,
        "selected positions": 2.04,
        "same probability": 5,
    },
    pretraining.check_decayed: {
        "this is 'all'": "all",
        "set of names": 6,
        "called ['dense']": {"dense"},
        "starts at one": MATRICES | {"output.LayerNorm.weight"},
        "Biases": MATRICES | {"output.dense.bias"},
        "1 matrices": MATRICES - {"output.dense.weight"},
    },
    pretraining.check_rate: {
        "inverse square root": 1e-4 * math.sqrt(10 / 505),
        "in a line": 1e-4,
    },
    pretraining.check_predictions: {
        "under a [MASK]": 15_729,
        "80 %": 104_858,
        "random piece": 1_966,
        "15 %": 1,
    },
    pretraining.check_loss: {
        "count as 0": lambda x, y: mlm_loss(x, y, reduction="none").mean(),
        "the sum": lambda x, y: mlm_loss(x, y, reduction="sum"),
        "mean of rows": mean_of_rows,
        "scalar": lambda logits, labels: logits,
        "not −100": lambda logits, labels: logits.mean(),
    },
    fine_tuning.check_head_parameters: {"not new": 2307 + 590592, "One linear map": 5},
    fine_tuning.check_piece_labels: {
        "Every piece": lambda w, k: label(w, k, first=False),
        "last piece": lambda w, k: label(w[::-1], k)[::-1],
        "later piece": lambda w, k: label(w, k, later=0),
        "[CLS]": lambda w, k: label(w, k, special=0),
        "8 pieces": lambda w, k: k,
        "list of numbers": lambda w, k: 3,
        "first piece gets": lambda w, k: [0] * 8,
    },
    fine_tuning.check_span: {
        "Two argmaxes": lambda s, e: (s.argmax(), e.argmax()),
        "Exchanging": lambda s, e: sorted((s.argmax(), e.argmax())),
        "The best end": lambda s, e: (e.argmax(), e.argmax()),
        "on other scores": start_first,
        "sum over all pairs": end_first,
        "over all pairs": lambda s, e: (1, 2),
        "largest sum": lambda s, e: (0, 0),
        "Two places": lambda s, e: 3,
    },
    fine_tuning.check_f1: {"percentage": 200 / 3, "Twice the hits": 0.1},
}


def named(table):
    """Cases of a table with readable names."""
    names = {exercise: name for name, exercise in EXERCISES.items()}
    return [
        pytest.param(exercise, *case, id=f"{names[exercise]}-{number}")
        for exercise, cases in table.items()
        for number, case in enumerate(cases)
    ]


def each(exercises):
    return pytest.mark.parametrize("exercise", exercises.values(), ids=exercises)


def listed(exercise):
    """The mistakes in an exercise's own data, as answers, each with its hint."""
    for hint, mistakes in exercise.hints.items():
        for mistake in mistakes if isinstance(mistakes, list) else [mistakes]:
            if isinstance(exercise, Number) and isinstance(mistake, tuple):
                yield hint, sum(mistake) / 2
            elif isinstance(mistake, tuple) and ... in mistake:
                continue  # not an answer: the dots stand for anything
            elif isinstance(exercise, Code) and not callable(mistake):
                yield hint, lambda *arguments, mistake=mistake: mistake
            elif not (isinstance(exercise, Several) and callable(mistake)):
                yield hint, mistake


def refused(verdict, hint):
    assert not verdict
    assert repr(verdict).startswith("✗ Not yet. ")
    assert hint in repr(verdict)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    named({one: [(answer,) for answer in answers] for one, answers in RIGHT.items()}),
)
def test_a_right_answer_passes(exercise, answer):
    verdict = exercise(answer)
    assert verdict, verdict
    assert verdict.message == f"✓ Right. {exercise.praise}"


@each(COMPARED)
def test_the_right_answer_in_the_data_passes(exercise):
    assert exercise(exercise.right)


@pytest.mark.parametrize(
    ("exercise", "hint", "answer"),
    named({one: cases.items() for one, cases in WRONG.items()}),
)
def test_a_mistake_gets_its_hint(exercise, hint, answer):
    refused(exercise(answer), hint)


@each(COMPARED)
def test_a_mistake_in_the_data_gets_its_hint(exercise):
    for hint, answer in listed(exercise):
        refused(exercise(answer), hint)


@each(EXERCISES)
def test_every_hint_in_the_data_is_the_hint_to_some_case(exercise):
    answers = [*WRONG[exercise].values(), *(answer for _, answer in listed(exercise))]
    told = {exercise(answer).message for answer in answers}
    hints = [*exercise.hints, *getattr(exercise, "further", [])]
    hints += [getattr(exercise, "kept", ""), exercise.otherwise]
    expected = {
        f"✗ Not yet. {hint}" for hint in hints if hint and isinstance(hint, str)
    }
    assert expected <= told


@each({name: one for name, one in EXERCISES.items() if isinstance(one, Number)})
def test_no_hint_gives_the_number_away(exercise):
    forms = f"{exercise.right:g}", f"{exercise.right:,}", str(exercise.right)
    for hint in (*exercise.hints, exercise.otherwise):
        assert not set(forms) & set(re.findall(r"\d[\d.,]*\d|\d", hint)), hint


@each(EXERCISES)
def test_an_open_answer_is_not_a_mistake(exercise):
    assert repr(exercise(...)).startswith("○ Open. ")
    if exercise in CODE.values():
        assert repr(exercise(lambda *arguments: ...)).startswith("○ Open. ")
        assert repr(exercise(lambda *arguments: (..., ...))).startswith("○ Open. ")


class Strange:
    def __float__(self):
        raise OSError("no number")

    def __iter__(self):
        raise OSError("no items")

    def __repr__(self):
        raise OSError("no text")


GARBAGE = [
    None,
    True,
    "abc",
    [],
    [[1], [2, 3]],
    {"a": 1},
    math.nan,
    math.inf,
    1j,
    10**400,
    np.zeros((2, 2)),
    torch.zeros(0),
    torch.tensor(math.nan),
    torch.zeros(2, 3, 4, 5),
    torch.zeros(2, 2, dtype=torch.complex64),
    (torch.zeros(2), None, "c"),
    (None, math.nan),
    Strange(),
]


@each(EXERCISES)
def test_any_other_answer_gets_a_verdict_and_not_an_error(exercise):
    for answer in GARBAGE:
        refused(exercise(answer), " ")
        if exercise in CODE.values():
            refused(exercise(lambda *arguments, answer=answer: answer), " ")


@each({name: one for name, one in CODE.items() if name in COMPARED})
def test_a_result_of_the_right_form_that_is_not_a_number_gets_a_verdict(exercise):
    def spoilt(*arguments):
        return spoil(exercise.right(*arguments))

    def spoil(result):
        if isinstance(result, torch.Tensor):
            return torch.full_like(result, math.nan, dtype=torch.float64)
        if isinstance(result, tuple | list):
            return type(result)(map(spoil, result))
        return math.nan

    refused(exercise(spoilt), " ")


@each(CODE)
def test_a_function_that_fails_is_told_where(exercise):
    def fails(*arguments):
        return undefined_name  # noqa: F821

    refused(exercise(fails), "NameError")
    refused(exercise(fails), "in the line: return undefined_name")
    refused(exercise(lambda: 1), "TypeError")


def state():
    """What a check could change of the process, in a form that can be compared."""
    return (
        torch.get_rng_state().tolist(),
        [str(part) for part in np.random.get_state()],
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        np.geterr(),
    )


@each(EXERCISES)
def test_a_check_leaves_the_process_as_it_was(exercise):
    def draws(*arguments):
        torch.manual_seed(3)
        return torch.rand(2), np.random.rand(), random.random()

    before = state()
    for answer in (..., None, exercise.right, draws, *RIGHT.get(exercise, [])):
        assert isinstance(exercise(answer), Verdict)
        assert state() == before


@pytest.mark.parametrize("module", CHAPTERS)
def test_an_import_leaves_the_process_as_it_was(module):
    before = state()
    spec = importlib.util.spec_from_file_location("anew", module.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert state() == before


def test_the_divisor_is_measured():
    generator = torch.Generator().manual_seed(0)
    query, key = 2 * torch.randn(2, 50_000, 256, generator=generator)
    measured = (query * key).sum(-1).std().item()
    assert f"{measured:.1f}" in attention.check_scale.praise


def test_the_forget_biases_let_half_of_the_gradient_through():
    for exercise, steps in (
        (attention_vs_rnn.check_forget_bias, 512),
        (rnn_and_lstm.check_forget_bias, 100),
    ):
        gate = 1 / (1 + math.exp(-exercise.right))
        assert gate**steps == pytest.approx(0.5, abs=1e-3)


def test_the_floor_is_the_entropy_of_the_smoothed_target():
    assert transformer_training.check_floor.right == pytest.approx(FLOOR, abs=1e-4)


def test_the_decayed_parameters_are_those_of_the_package():
    layer = BertForPreTraining(BertConfig.tiny()).bert.encoder.layer[0]
    known = dict(layer.named_parameters())
    assert set(known) == pretraining.KNOWN
    assert {name for name, p in known.items() if decays(name, p)} == MATRICES


def test_every_mistake_about_the_rule_decides_some_sample_otherwise():
    exercise = mask_ablation.check_differs
    rules = [exercise.right, *exercise.hints.values()]
    found = {tuple(rule(a, b) for a, b in exercise.inputs()) for rule in rules}
    assert len(found) == len(rules)


def test_the_target_s_padding_need_not_be_masked():
    with_padding = changed_masks(decoder=lambda m, s, x: m & (x != PAD)[:, None])
    verdict = decoder.check_masks(with_padding)
    assert verdict
    assert "need not be masked" in repr(verdict)


def test_masks_of_which_one_is_still_open():
    verdict = decoder.check_masks(changed_masks(cross=lambda *mask: ...))
    assert "Open" in repr(verdict)


def test_the_pieces_and_merges_are_those_of_the_package():
    pieces = ["un", "una", "##able", "##ff", "##ffa", "##ble", "##a", "##f", "u", "n"]
    assert wordpiece.check_pieces.right == tuple(match("unaffable", pieces))
    words = {"low": 5, "lid": 4, "jet": 2}
    firsts = [
        learn_vocabulary(words, 99, score).merges[0].joined
        for score in (pair_count, likelihood_gain)
    ]
    assert wordpiece.check_first_merges.right == tuple(firsts)
    tokenizer = WordPieceTokenizer.from_folder(minilm_folder())
    tokens = tokenizer.tokenize("[MASK] 中国人民, ok☃!")
    assert len(tokens) == wordpiece.check_count.right
