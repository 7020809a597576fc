"""Words to test vectors with: pairs that people judged, and analogies.

WordSim-353 asks how *related* two words are (coffee and cup: much), SimLex-999 how *similar*
(coffee and cup: little). An analogy is two pairs with the same relation. All come in gensim's
package.
"""

from dataclasses import dataclass
from functools import cache

from bertbook.corpora.packages import package_file

__all__ = ["DATA_SETS", "WordPair", "load_analogies", "load_word_pairs"]

FILES = {
    "WordSim-353": (
        "gensim/test/test_data/wordsim353.tsv",
        "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d",
    ),
    "SimLex-999": (
        "gensim/test/test_data/simlex999.txt",
        "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d",
    ),
}
DATA_SETS = tuple(FILES)
ANALOGIES = (
    "gensim/test/test_data/questions-words.txt",
    "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
)


@dataclass(frozen=True)
class WordPair:
    """Two words in lower case and the mean of people's scores, from 0 to 10."""

    first: str
    second: str
    score: float


@cache
def load_word_pairs(name: str) -> tuple[WordPair, ...]:
    """Read one of the two data sets, in the order of its file.

    Args:
        name: ``"WordSim-353"`` or ``"SimLex-999"``.

    Raises:
        ValueError: if there is no such data set.
        CorpusError: if gensim is not installed, or its file is missing or another one.

    Source: Finkelstein et al. 2002 (WordSim-353); Hill et al. 2015 (SimLex-999).
    """
    if name not in FILES:
        raise ValueError(f"name must be one of {', '.join(FILES)}, got {name!r}")
    lines = package_file("gensim", *FILES[name]).read_text("utf-8").splitlines()
    rows = [line.lower().split("\t") for line in lines if not line.startswith("#")]
    return tuple(WordPair(first, second, float(score)) for first, second, score in rows)


@cache
def load_analogies() -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    """Read the analogies: for each relation four words, *a is to b as c is to d*, in lower case.

    Raises:
        CorpusError: if gensim is not installed, or its file is missing or another one.

    Source: Mikolov et al. 2013a, section 4.1.
    """
    relations: dict[str, list[tuple[str, str, str, str]]] = {}
    for line in package_file("gensim", *ANALOGIES).read_text("utf-8").splitlines():
        if line.startswith(":"):
            questions = relations.setdefault(line[1:].strip(), [])
        else:
            a, b, c, d = line.lower().split()
            questions.append((a, b, c, d))
    return {relation: tuple(questions) for relation, questions in relations.items()}
