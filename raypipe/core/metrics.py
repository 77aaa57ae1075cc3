"""Top-k hits, the confusion matrix and what follows from it, and tests of two classifiers on the same rows.

Labels are codes  # (rows,) int64; a true label that the model does not know is -1 and counts as wrong.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from raypipe.core.intervals import NOTHING, Estimate, percentiles, resampled_sums


def top_k_hits(ranked: np.ndarray, true: np.ndarray, k: int) -> np.ndarray:
    """Whether the true label is among the first k of ``ranked``  # (rows, >= k or all labels) -> (rows,) bool."""
    return (ranked[:, :k] == true[:, None]).any(axis=1) & (true >= 0)


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Counts by (true, predicted)  # (classes, classes); rows of unknown truth are left out."""
    known = true >= 0
    cells = true[known] * classes + predicted[known]
    counted = np.bincount(cells, None if weight is None else weight[known], minlength=classes**2)
    return counted.reshape(classes, classes)


class ClassSums(NamedTuple):
    """How often each class was predicted rightly, was true, and was predicted; any number of resamples."""

    correct: np.ndarray  # (..., classes)
    support: np.ndarray  # (..., classes)
    predicted: np.ndarray  # (..., classes)


class ClassScores(NamedTuple):
    """Scores of each class, in the order of the labels."""

    precision: np.ndarray  # (classes,)
    recall: np.ndarray  # (classes,)
    f1: np.ndarray  # (classes,)
    support: np.ndarray  # (classes,)


def class_sums(matrix: np.ndarray) -> ClassSums:
    """The sums of a confusion matrix."""
    return ClassSums(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion matrix; 0 where undefined, as in scikit-learn."""
    sums = class_sums(matrix)
    return ClassScores(
        _ratio(sums.correct, sums.predicted), _ratio(sums.correct, sums.support), _f1(sums), sums.support
    )


def macro_f1(matrix: np.ndarray) -> float:
    """Mean F1 over the classes that occur in truth or prediction, as in scikit-learn."""
    return float(_macro_f1(class_sums(matrix)))


def class_estimates(
    true: np.ndarray, predicted: np.ndarray, classes: int, seed: int, weight: np.ndarray | None = None
) -> dict[str, Estimate]:
    """``macro_f1``, ``weighted_f1`` and ``mcc`` with bootstrap intervals, over the rows whose label is known.

    MCC for many classes: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    2004. ``weight``  # (rows,) counts a row more or less; the resamples still draw rows.
    """
    known = true >= 0
    scores = {"macro_f1": _macro_f1, "weighted_f1": _weighted_f1, "mcc": _mcc}
    if not known.any():
        return dict.fromkeys(scores, NOTHING)
    cells = (true * classes + predicted)[known]
    if weight is None:
        cells, counts = np.unique(cells, return_counts=True)
        weights = np.ones(len(cells))
    else:
        pairs, counts = np.unique(np.column_stack([cells, weight[known]]), axis=0, return_counts=True)
        cells, weights = pairs[:, 0].astype(int), pairs[:, 1]
    kinds = np.column_stack([*np.divmod(cells, classes), weights])
    whole = _sums_of((counts @ _columns(kinds, classes))[None, :])
    drawn = _sums_of(resampled_sums(_columns(kinds, classes), counts, seed))
    return {name: percentiles(float(score(whole)[0]), score(drawn)) for name, score in scores.items()}


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> float:
    """Two-sided p-value that two classifiers err alike on the same rows (exact; McNemar, Psychometrika 12, 1947)."""
    from scipy.stats import binomtest  # half a second of a command that compares nothing

    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _columns(kinds: np.ndarray, classes: int) -> sp.csr_matrix:
    """What a row of each kind (true, predicted, weight) adds to the three sums  # (kinds, 3 classes)."""
    true, predicted, weight = kinds[:, 0].astype(int), kinds[:, 1].astype(int), kinds[:, 2]
    place = np.arange(len(kinds))
    data = np.concatenate([weight * (true == predicted), weight, weight])
    columns = np.concatenate([true, classes + true, 2 * classes + predicted])
    return sp.csr_matrix((data, (np.tile(place, 3), columns)), shape=(len(kinds), 3 * classes))


def _sums_of(sums: np.ndarray) -> ClassSums:
    return ClassSums(*np.split(sums, 3, axis=-1))


def _f1(sums: ClassSums) -> np.ndarray:
    return _ratio(2 * sums.correct, sums.support + sums.predicted)


def _macro_f1(sums: ClassSums) -> np.ndarray:
    return _ratio(_f1(sums).sum(axis=-1), ((sums.support + sums.predicted) > 0).sum(axis=-1), np.nan)


def _weighted_f1(sums: ClassSums) -> np.ndarray:
    return _ratio((_f1(sums) * sums.support).sum(axis=-1), sums.support.sum(axis=-1), np.nan)


def _mcc(sums: ClassSums) -> np.ndarray:
    rows = sums.support.sum(axis=-1)
    both = sums.correct.sum(axis=-1) * rows - (sums.predicted * sums.support).sum(axis=-1)
    spread = (rows**2 - (sums.predicted**2).sum(axis=-1)) * (rows**2 - (sums.support**2).sum(axis=-1))
    return _ratio(both, np.sqrt(np.maximum(spread, 0.0)))


def _ratio(top: np.ndarray, bottom: np.ndarray, undefined: float = 0.0) -> np.ndarray:
    filled = np.full(np.broadcast(top, bottom).shape, undefined)
    return np.divide(top, bottom, out=filled, where=np.asarray(bottom) > 0)
