"""What a fine-tuned encoder must beat: frozen features, and baselines that count words.

D model width   L layers
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bertbook.bert.model import BertModel
from bertbook.corpora.tasks import word_overlap
from bertbook.fine_tuning.heads import layer_features
from bertbook.fine_tuning.task_data import TaskData, score
from bertbook.tokenizer.pieces import IGNORED, span_of_pieces

__all__ = [
    "feature_accuracy",
    "features",
    "labels_of",
    "layer_accuracies",
    "majority",
    "names_by_word",
    "pairs_by_overlap",
    "spans_by_words",
    "words_alone",
]


def features(model: BertModel, data: TaskData) -> dict[str, Tensor]:
    """For each layer [CLS] and the mean of the pieces, ``[L + 1, examples, D]`` each."""
    found = {"cls": [], "mean": []}
    order = sorted(range(len(data)), key=lambda n: len(data.encodings[n]))
    for start in range(0, len(order), 50):
        inputs, _ = data.batch(order[start : start + 50])
        states = layer_features(model, **inputs)  # [L + 1, B, S, D]
        real = inputs["attention_mask"][None, :, :, None].float()
        found["cls"].append(states[:, :, 0])
        found["mean"].append((states * real).sum(2) / real.sum(2))
    back = torch.tensor(order).argsort()
    return {kind: torch.cat(parts, 1)[:, back] for kind, parts in found.items()}


def regression(folds: int = 3) -> LogisticRegressionCV:
    """Logistic regression; how strongly it is held back is chosen among the labels it gets."""
    return LogisticRegressionCV(
        Cs=[1e-4, 1e-3, 1e-2, 1e-1, 1, 10],
        cv=folds,
        scoring="accuracy",
        max_iter=1000,
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )


def feature_accuracy(train, train_labels, test, test_labels) -> float:
    """Share of right classes, from features ``[examples, D]``, each scaled to variance one."""
    model = make_pipeline(StandardScaler(), regression())
    model.fit(np.asarray(train), train_labels)
    return round(float(model.score(np.asarray(test), test_labels)), 4)


def labels_of(part: Sequence) -> np.ndarray:
    """Classes of examples."""
    return np.array([e.label for e in part])


def layer_accuracies(
    known: Tensor, train: Sequence, unseen: Tensor, test: Sequence
) -> list[float]:
    """:func:`feature_accuracy` of each layer, from features ``[L + 1, examples, D]``."""
    truth, right = labels_of(train), labels_of(test)
    return [
        feature_accuracy(own, truth, other, right)
        for own, other in zip(known, unseen, strict=True)
    ]


def words_alone(train: Sequence, test: Sequence) -> float:
    """Share of right classes by TF-IDF of words and pairs of words, and logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(words, regression())
    model.fit([e.text for e in train], labels_of(train))
    return round(float(model.score([e.text for e in test], labels_of(test))), 4)


# --- baselines of the other tasks -------------------------------------------------------------


def majority(train: Sequence, test: Sequence) -> float:
    """Right classes by the one that is more frequent in the training part, always."""
    said = int(labels_of(train).mean() >= 0.5)
    return float((labels_of(test) == said).mean())


def pairs_by_overlap(train: Sequence, test: Sequence) -> float:
    """Right classes by the share of common words, at the threshold that is best in training."""
    overlap = np.array([e.overlap for e in train])
    best = (0.0, 0.0, True)
    for cut in np.unique(overlap):
        for above in (True, False):
            right = float(np.mean(((overlap >= cut) == above) == labels_of(train)))
            best = max(best, (right, float(cut), above))
    _, cut, above = best
    said = (np.array([e.overlap for e in test]) >= cut) == above
    return float(np.mean(said == labels_of(test)))


def names_by_word(train: Sequence, test: Sequence, data: TaskData) -> dict[str, float]:
    """A word is a name if it mostly was one in the training sentences.

    Args:
        train: sentences with labels.
        test: sentences that are asked about.
        data: the same, in pieces.
    """
    counts: dict[str, Counter] = defaultdict(Counter)
    for e in train:
        for (start, end), label in zip(e.words, e.labels, strict=True):
            counts[e.text[start:end]][label] += label != IGNORED
    answers = []
    for example, encoding in zip(test, data.encodings, strict=True):
        at = {s: counts.get(example.text[s:e], Counter()) for s, e in example.words}
        answers.append(
            [
                int(at.get(s, Counter())[1] > at[s][0]) if s in at else 0
                for s, _ in encoding.offsets
            ]
        )
    return score(data, answers)


def spans_by_words(test: Sequence, data: TaskData) -> dict[str, float]:
    """Of all runs of sentences, the one with the largest share of words in common.

    Args:
        test: questions with passages.
        data: the same, in pieces.
    """
    answers = []
    for example, encoding in zip(test, data.encodings, strict=True):
        text = example.passage
        ends = [m.end() for m in re.finditer(r"[.!?;,:]+[\"']*(?=\s|$)", text)]
        ends = sorted({*ends, len(text)})
        starts = [0, *(end + 1 for end in ends[:-1])]
        words = re.findall(r"\w+", example.question.lower())
        runs = [(s, e) for s in starts for e in ends if s < e]
        start, end = max(
            runs,
            key=lambda r: word_overlap(
                words, re.findall(r"\w+", text[r[0] : r[1]].lower())
            ),
        )
        answers.append(span_of_pieces(encoding, start, end))
    return score(data, answers)
