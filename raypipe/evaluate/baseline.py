"""What a model must beat: the majority class, and TF-IDF with logistic regression, on the same rows."""

from typing import Any

import numpy as np


def baselines(train_text: list[str], train_label: np.ndarray, test_text: list[str], seed: int) -> dict[str, np.ndarray]:
    """Labels ranked by each baseline for each test row  # name -> (rows, at most 3) codes, best first.

    ``train_label`` holds codes  # (rows,). The settings are a strong common choice for short texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    codes, counts = np.unique(train_label, return_counts=True)
    frequent = codes[np.argsort(-counts, kind="stable")][:3]
    ranked = {"majority": np.tile(frequent, (len(test_text), 1))}
    if len(codes) < 2:
        return ranked
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model: Any = make_pipeline(vectorizer, LogisticRegression(C=20, max_iter=1000, random_state=seed))
    try:
        model.fit(train_text, train_label)
    except ValueError as error:
        if "empty vocabulary" in str(error):  # no word in any text: there is nothing to learn from
            return ranked
        raise
    scores = model.predict_proba(test_text)
    ranked["tfidf_logreg"] = model.classes_[np.argsort(-scores, axis=1, kind="stable")[:, :3]]
    return ranked
