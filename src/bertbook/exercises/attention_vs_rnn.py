"""The exercises of the chapter *Attention against the RNN*."""

from torch import Tensor

from bertbook.exercises.answers import draw
from bertbook.exercises.checker import Code, Number

__all__ = [
    "check_cache_bytes",
    "check_cached_attention",
    "check_critical_path",
    "check_crossing",
    "check_forget_bias",
]

check_crossing = Number(
    "Exercise 1: the length in tokens at which attention and an LSTM need the same number of "
    "multiply-adds, d = 512.",
    right=1024,
    praise="4nd² + 2n²d = 8nd² at n = 2d. Against a vanilla RNN, with 2nd², it never happens.",
    hints={
        "That sets n²d = nd², the table's two entries. Count both layers whole.": 512,
        "Scores and mixing are 2n²d, the projections 4nd², the LSTM 8nd².": 256,
        "Scores and mixing are two products of n²d each.": 2048,
        "An LSTM has four gates, each with two matrices: 8nd², not 14nd².": 2560,
        "The four projections of attention count as well: 4nd².": 4096,
    },
    otherwise="Set 4nd² + 2n²d equal to 8nd² and solve for n.",
)

check_critical_path = Number(
    "Exercise 2: the number of cell steps on the longest chain of dependent ones, in a stack of "
    "three recurrent layers over 100 tokens.",
    right=102,
    praise=(
        "100 steps along and 2 up: the layers run as a wave. Three layers of attention: 3."
    ),
    hints={
        "Must layer 2 wait for the last token of layer 1? What does its first step need?": 300,
        "That is one layer. The last step of layer 3 also waits for layers 1 and 2.": 100,
        "Count the cells along the chain, the corner ones once.": 103,
        "That holds for three layers of attention; here a step waits for the one before.": 3,
    },
    otherwise=(
        "Draw the grid, 100 wide and 3 high; each cell waits for its left and its lower neighbour."
    ),
)

check_cache_bytes = Number(
    "Exercise 3: bytes of the key/value cache: 12 layers, d = 768, 1,000 tokens, 2 bytes each.",
    right=36_864_000,
    praise="36.9 MB for one sequence, and 36,864 bytes more with each token.",
    hints={
        "A factor of two is missing: keys *and* values, two bytes a number.": 18_432_000,
        "Keys and values are two tensors, and a number has two bytes.": 9_216_000,
        "Each of the 12 layers has keys and values of its own.": 3_072_000,
        "Each of the 12 layers keeps keys *and* values.": 1_536_000,
        "Two bytes a number, not four.": 73_728_000,
        "768 is the width of all heads together; do not multiply by the heads.": 442_368_000,
        "The weights n × n are not kept; keys and values are.": 24_000_000,
    },
    otherwise="Keys and values × layers × tokens × width × bytes of a number.",
)

check_forget_bias = Number(
    "Exercise 4: the forget bias that lets half of the cell's gradient through 512 steps, to one "
    "decimal or better.",
    right=6.6042,
    tolerance=0.06,
    praise="σ(6.60) = 0.99865, and its 512th power is one half.",
    hints={
        "That is the gate. Which bias does the sigmoid turn into it?": (0.9976, 0.9997),
        "σ(0) = ½: half of the gradient is gone after a single step.": 0,
        "The sign: a negative bias closes the gate.": -6.6042,
        "Less than half of the gradient arrives. First the gate f with f^512 = ½, then b.": (
            (-1000, 6.6)
        ),
    },
    otherwise="More arrives than half. First the gate f with f^512 = ½, then b with σ(b) = f.",
)


def _step(q: Tensor, k: Tensor, v: Tensor, divisor: float = 2.0) -> Tensor:
    return (k @ q / divisor).softmax(-1) @ v


def _cache(lengths: range) -> list[tuple[Tensor, Tensor, Tensor]]:
    q, k, v = draw(3, 6, 4)
    return [(q[t - 1], k[:t], v[:t]) for t in lengths]


check_cached_attention = Code(
    "Exercise 5: one step of generation from a cache: takes the query of the newest token [D], "
    "and the keys and the values of all tokens so far, the newest included, [t, D]; returns the "
    "output [D].",
    inputs=lambda: _cache(range(2, 7)),
    right=_step,
    praise=(
        "Equal to causal attention over the whole sequence, one row at a time; no mask is "
        "needed, since the future is not in the cache."
    ),
    form="An output of shape [4] is asked for; this is {found}.",
    hints={
        "The scores are not divided by √d_k.": lambda q, k, v: _step(q, k, v, 1.0),
        "Divided by d_k; its root is asked for.": lambda q, k, v: _step(q, k, v, 4.0),
        "The weights do not sum to one: divide by the sum of the exponentials.": (
            lambda q, k, v: (k @ q / 2).exp() @ v
        ),
        "The newest token is left out: it looks at itself too.": (
            lambda q, k, v: _step(q, k[:-1], v[:-1])
        ),
    },
    otherwise=lambda found, right, q, k, v: (
        f"With {len(k)} tokens the output should be {[round(x, 3) for x in right.tolist()]}, "
        f"it is {[round(x, 3) for x in found.tolist()]}."
    ),
    further={
        "With one token there is one weight, which is 1.": lambda: _cache(range(1, 2))
    },
)
