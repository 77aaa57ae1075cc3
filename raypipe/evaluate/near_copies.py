"""Test rows that repeat a training row: a score over them says how well a model remembers, not how well it reads."""

from dataclasses import dataclass

import numpy as np

from raypipe.core import similarity, tfidf
from raypipe.core.text import canonical

DEFAULT_THRESHOLD = 0.8  # cosine of a near-copy where the dataset's card names none

WORDS = tfidf.Analyzer()  # single words, as scikit-learn's TfidfVectorizer by default


@dataclass(frozen=True)
class NearCopies:
    """Which test rows have a training row at the threshold."""

    threshold: float
    from_card: bool  # the threshold is the one that the dataset was cleaned with
    has_copy: np.ndarray  # (rows,) bool


def has_near_copy(train_text: list[str], test_text: list[str], threshold: float) -> np.ndarray:
    """Whether each test row has a training row of the same canonical text or at cosine >= threshold  # (rows,) bool.

    Every pair is looked at, exactly (``core.similarity``). The TF-IDF is fitted on the rows of both splits, as prepare
    fits it: a word that only test has sets a row apart.
    """
    counted = [tfidf.count_terms(texts, WORDS) for texts in (train_text, test_text)]
    vocabulary = tfidf.Vocabulary()
    numbers = [vocabulary.add(part.terms, part.document_frequency()) for part in counted]
    weights = vocabulary.weights(len(train_text) + len(test_text))
    train, test = (tfidf.unit_rows(part.counts, own, weights) for part, own in zip(counted, numbers, strict=True))
    texts = {canonical(text) for text in train_text}
    found = np.array([canonical(text) in texts for text in test_text], bool)
    found[similarity.cross_join(test, train, threshold).left] = True
    return found
