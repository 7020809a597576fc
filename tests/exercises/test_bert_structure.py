"""Each check passes a right answer, and meets each usual mistake with its own hint."""

import math

import pytest
import torch
import torch.nn.functional as F

from bertbook.bert.config import parameter_table
from bertbook.exercises import bert_structure as exercises


def total(config):
    return sum(count for *_, count in parameter_table(config))


def without(*names):
    """All parameters but those of some terms of the table."""
    return lambda config: sum(
        count for name, _, count in parameter_table(config) if name not in names
    )


def no_biases(c):
    linear = 4 * c.hidden_size + c.intermediate_size + c.hidden_size
    return total(c) - c.num_hidden_layers * linear - c.hidden_size


def by_head(c):
    attention = 4 * (c.hidden_size**2 + c.hidden_size) * c.num_hidden_layers
    return total(c) + (c.num_attention_heads - 1) * attention


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def pool(states, weight, bias):
    return torch.tanh(states[:, 0] @ weight.T + bias)


def reach(mask, layers):
    seen = torch.eye(len(mask), dtype=torch.bool)
    for _ in range(layers):
        seen = seen | ((mask.int() @ seen.int()) > 0)
    return seen


def delta(f, left, other, right, last):
    return f(other, last) - f(other, right) - f(left, last) + f(left, right)


NORMS = "LayerNorm after attention", "LayerNorm after feed-forward"
RIGHT = [
    (exercises.check_parameters, total),
    (exercises.check_gelu, gelu),
    (exercises.check_gelu, F.gelu),
    (exercises.check_pooler, pool),
    (exercises.check_reach, reach),
    (exercises.check_interaction, delta),
]
PARAMETERS = [
    (without("pooler"), "Missing is the pooler"),
    (without("LayerNorm of the embeddings"), "or the norm of the embeddings"),
    (without("position embeddings"), "table of positions"),
    (without("token type embeddings"), "the table of segments"),
    (without("attention output"), "the fourth"),
    (without(*NORMS), "the two norms of each layer"),
    (without(NORMS[0]), "one of the two norms"),
    (without(*NORMS, "LayerNorm of the embeddings"), "all norms"),
    (no_biases, "biases of the linear"),
    (by_head, "share the D columns"),
    (lambda config: 109_482_240, "it should be 102,267,648, not 109,482,240"),
    (lambda config: total(config) + 1, "off by 1\\?"),
    (lambda config: "many", "A number is asked for; this is 'many'"),
]
GELU = [
    (lambda x: F.gelu(x, approximate="tanh"), "tanh form"),
    (lambda x: x * torch.sigmoid(1.702 * x), "sigmoid form"),
    (F.silu, "SiLU"),
    (F.relu, "That is ReLU"),
    (lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2))), "It multiplies x"),
    (lambda x: 0.5 * x * (1 + torch.erf(x)), "erf wants x/√2"),
    (lambda x: x * torch.erf(x / math.sqrt(2)), "from -1 to 1"),
    (lambda x: 2 * gelu(x), "Twice too much"),
    (lambda x: x, "x times Φ"),
    (lambda x: gelu(x)[:3], r"got \[3\]"),
    (lambda x: None, "got NoneType"),
]
POOLER = [
    (lambda s, w, b: torch.tanh(s.mean(1) @ w.T + b), "a mean over tokens"),
    (lambda s, w, b: torch.tanh(s.amax(1) @ w.T + b), "a maximum over tokens"),
    (lambda s, w, b: pool(s.flip(1), w, b), "the last token"),
    (lambda s, w, b: s[:, 0] @ w.T + b, "What follows it"),
    (lambda s, w, b: pool(s, w, 0), "bias is missing"),
    (lambda s, w, b: pool(s, w.T, b), "x Wᵀ"),
    (lambda s, w, b: s[:, 0].tanh() @ w.T + b, "then tanh"),
    (lambda s, w, b: s[:, 0], "state of \\[CLS\\] itself"),
    (lambda s, w, b: -pool(s, w, b), "tanh of a linear map"),
    (lambda s, w, b: torch.tanh(s @ w.T + b), r"this is \[2, 5, 4\]"),
    (lambda s, w, b: 1, "this is int"),
]
REACH = [
    (lambda m, n: reach(m, n).T, "Rows and columns"),
    (lambda m, n: torch.linalg.matrix_power(m.double(), n) > 0, "residual connection"),
    (lambda m, n: reach(m, 1), "That is one layer"),
    (lambda m, n: reach(m, n + 1), "one layer too many"),
    (lambda m, n: torch.ones_like(m), "With 1 layer"),
    (lambda m, n: reach(m, n).int(), "not torch.int32"),
    (lambda m, n: reach(m, n)[:2], r"got \[2, 6\]"),
    (lambda m, n: True, "got bool"),
]
INTERACTION = [
    (lambda f, a, b, c, d: f(b, d) - f(a, c), "both at once"),
    (lambda f, a, b, c, d: f(b, d) - f(b, c) - f(a, d), "itself is missing"),
    (lambda *arguments: -delta(*arguments), "turned round"),
    (lambda f, a, b, c, d: f(b, d) + f(b, c) + f(a, d) + f(a, c), "count minus"),
    (lambda f, a, b, c, d: f(b, d) - f(a, d), "must be zero; it is 8"),
    (lambda *arguments: 2 * delta(*arguments), "should be 10 here, not 20"),
    (lambda *arguments: "much", "A number is asked for"),
]
CHECKS = {
    exercises.check_parameters: PARAMETERS,
    exercises.check_gelu: GELU,
    exercises.check_pooler: POOLER,
    exercises.check_reach: REACH,
    exercises.check_interaction: INTERACTION,
}
WRONG = [(check, *case) for check, cases in CHECKS.items() for case in cases]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(check, answer):
    verdict = check(answer)
    assert verdict, verdict
    assert "✓" in repr(verdict)


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_mistake_meets_its_hint(check, answer, hint):
    verdict = check(answer)
    assert not verdict
    with pytest.raises(AssertionError, match=hint):
        raise AssertionError(repr(verdict))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [..., lambda *arguments: ...])
def test_dots_are_open_not_wrong(check, answer):
    verdict = check(answer)
    assert not verdict
    assert "○" in repr(verdict)
