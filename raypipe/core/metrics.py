"""Top-k, per-class and calibration metrics, each headline with its interval.

Labels are codes  # (rows,) int64; a true label that the model does not know is -1 and counts as wrong.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm

Z95 = float(norm.ppf(0.975))


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, rows: int) -> Estimate:
    """A proportion with its Wilson score interval (Wilson, JASA 22, 1927). Zero rows give nan."""
    if rows == 0:
        return Estimate(np.nan, np.nan, np.nan)
    p, z2 = hits / rows, Z95**2
    centre = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * np.sqrt(p * (1 - p) / rows + z2 / (4 * rows**2))
    low, high = float(centre - half), float(centre + half)
    return Estimate(p, 0.0 if hits == 0 else low, 1.0 if hits == rows else high)


def bootstrap(
    statistic: Callable[[np.ndarray], float], rows: int, seed: int, rounds: int = 1000
) -> tuple[float, float]:
    """The 95 % percentile interval of ``statistic(weights)``, weights being how often each row was drawn.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    random = np.random.default_rng(seed)
    values = [statistic(np.bincount(random.integers(0, rows, rows), minlength=rows)) for _ in range(rounds)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def top_k_hits(ranked: np.ndarray, true: np.ndarray, k: int) -> np.ndarray:
    """Whether the true label is among the first k of ``ranked``  # (rows, >= k or all labels) -> (rows,) bool."""
    return (ranked[:, :k] == true[:, None]).any(axis=1) & (true >= 0)


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Counts by (true, predicted)  # (classes, classes); rows of unknown truth are left out."""
    known = true >= 0
    cells = true[known] * classes + predicted[known]
    counted = np.bincount(cells, None if weight is None else weight[known], minlength=classes**2)
    return counted.reshape(classes, classes)


class ClassScores(NamedTuple):
    """Scores of each class, in the order of the labels."""

    precision: np.ndarray  # (classes,)
    recall: np.ndarray  # (classes,)
    f1: np.ndarray  # (classes,)
    support: np.ndarray  # (classes,)


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion matrix; 0 where undefined, as in scikit-learn."""
    correct, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        _ratio(correct, predicted), _ratio(correct, support), _ratio(2 * correct, support + predicted), support
    )


def macro_f1(matrix: np.ndarray) -> float:
    """Mean F1 over the classes that occur in truth or prediction, as in scikit-learn."""
    present = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return float(class_scores(matrix).f1[present].mean()) if present.any() else float("nan")


def macro_f1_estimate(true: np.ndarray, predicted: np.ndarray, classes: int, seed: int) -> Estimate:
    """Macro-F1 with a bootstrap interval over rows."""
    known = true >= 0
    true, predicted = true[known], predicted[known]
    if not len(true):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = bootstrap(lambda w: macro_f1(confusion(true, predicted, classes, w)), len(true), seed)
    return Estimate(macro_f1(confusion(true, predicted, classes)), low, high)


def mean_estimate(values: np.ndarray, seed: int) -> Estimate:
    """A mean with a bootstrap interval over rows."""
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = bootstrap(lambda w: float(np.average(values, weights=w)), len(values), seed)
    return Estimate(float(values.mean()), low, high)


def calibration_estimate(confidence: np.ndarray, correct: np.ndarray, seed: int) -> Estimate:
    """The expected calibration error with a bootstrap interval over rows."""
    if not len(confidence):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = bootstrap(lambda w: expected_calibration_error(confidence, correct, weight=w), len(confidence), seed)
    return Estimate(expected_calibration_error(confidence, correct), low, high)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15, weight: np.ndarray | None = None
) -> float:
    """ECE over equal-width bins (Guo et al., "On calibration of modern neural networks", ICML 2017, section 2)."""
    if not len(confidence):
        return float("nan")
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    weight = np.ones(len(confidence)) if weight is None else weight
    gap = np.bincount(which, weight * (confidence - correct), minlength=bins)
    return float(np.abs(gap).sum() / weight.sum())


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> float:
    """Two-sided p-value that two classifiers err alike on the same rows (exact; McNemar, Psychometrika 12, 1947)."""
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)
