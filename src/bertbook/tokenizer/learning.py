"""How a vocabulary of pieces is learned: start from letters, join the best pair, again and again.

What "best" means is the whole difference between two methods. Byte-pair encoding takes the most
frequent pair. WordPiece takes the pair that makes the text likelier; how that was computed is not
known, since Google never published the program that learned BERT's vocabulary, and
:func:`likelihood_gain` is the usual reading. The trainer that the library ``tokenizers`` calls
WordPieceTrainer counts pairs: it is byte-pair encoding with ``##``, as a test shows.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from bertbook.tokenizer.wordpiece import NOT_SPACE, PREFIX, SPECIAL_TOKENS
from bertbook.tokenizer.words import BasicTokenizer

__all__ = [
    "LearnedVocabulary",
    "Merge",
    "count_words",
    "join",
    "learn_vocabulary",
    "likelihood_gain",
    "pair_count",
]

Pair = tuple[str, str]
Score = Callable[[int, int, int], float]
Rank = tuple[float, int, int, int]


def pair_count(pair: int, left: int, right: int) -> float:
    """Score of byte-pair encoding: how often the pair occurs.

    Args:
        pair: how often the two symbols stand side by side.
        left: how often the left symbol occurs.
        right: how often the right symbol occurs.

    Source: Sennrich et al. 2016, section 3.2.
    """
    return pair


def likelihood_gain(pair: int, left: int, right: int) -> float:
    """Score of WordPiece: how much likelier one occurrence is as one symbol than as two.

    Among N symbols that is p(pair) / (p(left) · p(right)) = N · pair / (left · right); N, the same
    for all pairs, is left out. It says what one occurrence gains. The whole text gains that once
    for each occurrence, and this score does not count them: rare symbols that always stand
    together come first. A ``min_count`` keeps them away.

    Args:
        pair: as :func:`pair_count`.
        left: as :func:`pair_count`.
        right: as :func:`pair_count`.

    Source: Schuster and Nakajima 2012 say in words to join what raises the likelihood most.
    """
    return pair / (left * right)


@dataclass(frozen=True)
class Merge:
    """Two symbols that became one, with the counts and the score at that time."""

    left: str
    right: str
    joined: str
    count: int
    left_count: int
    right_count: int
    score: float


@dataclass(frozen=True)
class LearnedVocabulary:
    """What was learned.

    Attributes:
        pieces: the vocabulary in the order of its numbers: special tokens, letters, letters that
            continue a word, joined symbols in the order of the merges.
        merges: in order. Two of them may give the same piece: ab + c and a + bc.
    """

    pieces: list[str]
    merges: list[Merge]


def count_words(
    texts: Iterable[str], basic: BasicTokenizer | None = None
) -> Counter[str]:
    """How often each word occurs, punctuation marks included.

    Args:
        texts: any number.
        basic: cuts texts into words; ``None``: as uncased BERT.

    Raises:
        TypeError: if a text is not a string.
        ValueError: if a text holds half of a surrogate pair.
    """
    basic = basic or BasicTokenizer()
    runs = Counter(run for text in texts for run in NOT_SPACE.findall(text))
    words: Counter[str] = Counter()
    for run, count in runs.items():
        for word in basic.words(run):
            words[word.text] += count
    return words


def learn_vocabulary(
    words: Mapping[str, int],
    size: int,
    score: Score = likelihood_gain,
    *,
    min_count: int = 1,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
) -> LearnedVocabulary:
    """Learn a vocabulary from counted words.

    Among pairs of equal score the more frequent goes first, then the one whose left, then whose
    right symbol has the lower number. So the result does not hang on the order of the words.

    Args:
        words: how often each word occurs.
        size: number of pieces, special tokens and letters included. Fewer come out if no pair is
            left.
        score: :func:`likelihood_gain`, :func:`pair_count` or another function of the three counts.
        min_count: a pair that occurs less often is not joined.
        special_tokens: the first pieces.

    Raises:
        ValueError: if there is no word, one is empty or counted less than once, ``min_count`` is
            below 1, or ``size`` does not hold special tokens and letters.
    """
    wrong = {word: count for word, count in words.items() if not word or count < 1}
    if wrong or not words:
        raise ValueError(f"expected words that occur, got {wrong or 'none'}")
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, got {min_count}")
    letters = sorted({letter for word in words for letter in word})
    inner = sorted({PREFIX + letter for word in words for letter in word[1:]})
    pieces = [*special_tokens, *letters, *inner]
    if size < len(pieces):
        raise ValueError(
            f"size {size} does not hold {len(special_tokens)} special tokens and "
            f"{len(letters)} + {len(inner)} letters"
        )
    numbers = {piece: i for i, piece in enumerate(pieces)}
    corpus = Corpus(words, numbers, score, min_count)
    merges = []
    while len(numbers) < size and (merge := corpus.best()):
        merges.append(merge)
        numbers.setdefault(merge.joined, len(numbers))
        corpus.apply(merge)
    return LearnedVocabulary(list(numbers), merges)


def join(symbols: list[str], left: str, right: str) -> list[str]:
    """Make one symbol of each ``left`` that ``right`` follows, from the left.

    Args:
        symbols: of one word.
        left: the first symbol.
        right: the second symbol, which starts with ``##``.
    """
    joined: list[str] = []
    for symbol in symbols:
        if joined and joined[-1] == left and symbol == right:
            joined[-1] = left + right.removeprefix(PREFIX)
        else:
            joined.append(symbol)
    return joined


class Corpus:
    """Counted words as symbols, and the scores of all pairs, kept up to date.

    A merge changes the counts of its two symbols and of the new one. So only the words that hold
    the pair are counted anew, and only pairs with one of the three symbols are scored anew.
    """

    def __init__(
        self,
        words: Mapping[str, int],
        numbers: Mapping[str, int],
        score: Score,
        min_count: int,
    ):
        self.numbers, self.score, self.min_count = numbers, score, min_count
        self.counts = list(words.values())
        self.words = [[w[0], *(PREFIX + letter for letter in w[1:])] for w in words]
        self.symbol_counts: Counter[str] = Counter()
        self.pair_counts: Counter[Pair] = Counter()
        self.words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        self.pairs_with: defaultdict[str, set[Pair]] = defaultdict(set)
        # A heap does not forget: an entry counts only while it is its pair's present rank.
        self.ranks: dict[Pair, Rank] = {}
        self.heap: list[tuple[Rank, Pair]] = []
        for index in range(len(self.words)):
            self._count(index, self.counts[index])
        self._rank_again(set(self.pair_counts))

    def best(self) -> Merge | None:
        """The pair to join next, or ``None`` if there is none."""
        while self.heap and self.ranks.get(self.heap[0][1]) != self.heap[0][0]:
            heappop(self.heap)
        if not self.heap:
            return None
        rank, (left, right) = self.heap[0]
        counts = self._counts_of((left, right))
        return Merge(
            left, right, join([left, right], left, right)[0], *counts, -rank[0]
        )

    def apply(self, merge: Merge) -> None:
        """Join a pair in every word."""
        for index in list(self.words_with[merge.left, merge.right]):
            self._count(index, -self.counts[index])
            self.words[index] = join(self.words[index], merge.left, merge.right)
            self._count(index, self.counts[index])
        symbols = (merge.left, merge.right, merge.joined)
        self._rank_again(set().union(*(self.pairs_with[s] for s in symbols)))

    def _count(self, index: int, count: int) -> None:
        """Add a word's symbols and pairs, or take them away if ``count`` is negative."""
        symbols = self.words[index]
        for symbol in symbols:
            self.symbol_counts[symbol] += count
        for pair in pairwise(symbols):
            self.pair_counts[pair] += count
            if count > 0:
                self.words_with[pair].add(index)
                self.pairs_with[pair[0]].add(pair)
                self.pairs_with[pair[1]].add(pair)
            else:
                self.words_with[pair].discard(index)

    def _counts_of(self, pair: Pair) -> tuple[int, int, int]:
        left, right = pair
        count = self.pair_counts[pair]
        return count, self.symbol_counts[left], self.symbol_counts[right]

    def _rank_again(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            counts = self._counts_of(pair)
            if counts[0] < self.min_count:
                self.ranks.pop(pair, None)
                if counts[0] == 0:
                    self.pairs_with[pair[0]].discard(pair)
                    self.pairs_with[pair[1]].discard(pair)
                continue
            left, right = self.numbers[pair[0]], self.numbers[pair[1]]
            rank = (-self.score(*counts), -counts[0], left, right)
            if self.ranks.get(pair) != rank:
                self.ranks[pair] = rank
                heappush(self.heap, (rank, pair))
