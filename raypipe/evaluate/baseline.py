"""What a model must beat: the majority class, and TF-IDF with logistic regression, on the same rows.

Their rankings are kept in a cache, so that ``evaluate`` after ``train`` does not fit them again.
"""

import hashlib
import importlib.metadata
import io
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from raypipe import storage

NGRAMS, STRENGTH, ROUNDS = (1, 2), 20, 1000  # of the logistic regression: a strong common choice for short texts
CACHE = "RAYPIPE_CACHE"  # environment variable: the folder of the cache, in place of ~/.cache/raypipe


def baselines(
    train_text: list[str], train_label: np.ndarray, test_text: list[str], seed: int, kept: int
) -> dict[str, np.ndarray]:
    """Labels ranked by each baseline for each test row  # name -> (rows, at most ``kept``) codes, best first.

    ``train_label`` holds codes  # (rows,).
    """
    codes, counts = np.unique(train_label, return_counts=True)
    frequent = codes[np.argsort(-counts, kind="stable")][:kept]
    ranked = {"majority": np.tile(frequent, (len(test_text), 1))}
    model = fitted(train_text, train_label, seed)
    if model is not None:
        scores = model.predict_proba(test_text)
        ranked["tfidf_logreg"] = model.classes_[np.argsort(-scores, axis=1, kind="stable")[:, :kept]]
    return ranked


def fitted(text: list[str], label: np.ndarray, seed: int) -> Any | None:
    """The TF-IDF with logistic regression, fitted; None where there is nothing to learn: one class, or no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if len(np.unique(label)) < 2:
        return None
    vectorizer = TfidfVectorizer(ngram_range=NGRAMS, sublinear_tf=True)
    model = make_pipeline(vectorizer, LogisticRegression(C=STRENGTH, max_iter=ROUNDS, random_state=seed))
    try:
        return model.fit(text, label)
    except ValueError as error:
        if "empty vocabulary" in str(error):
            return None
        raise


def cache_path(fingerprint: str, seed: int, kept: int) -> str:
    """Where the rankings for these splits are kept: label numbers alone, no text."""
    version = importlib.metadata.version("scikit-learn")
    key = hashlib.sha256(repr((fingerprint, seed, kept, NGRAMS, STRENGTH, ROUNDS, version)).encode()).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    folder = os.environ.get(CACHE) or os.path.join(home, "raypipe")
    return os.path.join(os.path.expanduser(folder), "baselines", f"{key[:32]}.npz")


def cached(path: str) -> dict[str, np.ndarray] | None:
    """The rankings kept at ``path``; None where there are none, or what is there cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def keep(path: str, rankings: dict[str, np.ndarray]) -> bool:
    """Keep the rankings at ``path``, whole or not at all; returns whether the place could be written."""
    content = io.BytesIO()
    named: dict[str, Any] = dict(rankings)
    np.savez_compressed(content, **named)
    try:
        with storage.writing(path) as file:
            file.write(content.getvalue())
    except OSError:
        return False
    return True
