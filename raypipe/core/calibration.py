"""How sure a model is against how often it is right: calibration error, temperature, coverage at a confidence."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from raypipe.core.intervals import NOTHING, Estimate, percentiles, resampled_sums

BINS = 15  # of equal width, as in Guo et al.
TEMPERATURES = (0.1, 10.0)  # where a temperature is looked for


class Reliability(NamedTuple):
    """Rows by confidence, in bins of equal width; nan where a bin has none."""

    rows: np.ndarray  # (bins,)
    confidence: np.ndarray  # (bins,) mean
    accuracy: np.ndarray  # (bins,)


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Mean confidence and accuracy of each bin  # confidence, correct: (rows,)."""
    which = _bin(confidence, bins)
    rows = np.bincount(which, minlength=bins)
    share = np.divide(1.0, rows, out=np.full(bins, np.nan), where=rows > 0)
    sums = (np.bincount(which, values, minlength=bins) for values in (confidence, correct.astype(float)))
    return Reliability(rows, *(total * share for total in sums))


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS, weight: np.ndarray | None = None
) -> float:
    """ECE over equal-width bins (Guo et al., "On calibration of modern neural networks", ICML 2017, section 2)."""
    if not len(confidence):
        return float("nan")
    weight = np.ones(len(confidence)) if weight is None else weight
    gap = np.bincount(_bin(confidence, bins), weight * (confidence - correct), minlength=bins)
    return float(np.abs(gap).sum() / weight.sum())


def calibration_estimate(
    confidence: np.ndarray, correct: np.ndarray, seed: int, weight: np.ndarray | None = None
) -> Estimate:
    """The expected calibration error with a bootstrap interval over rows."""
    rows = len(confidence)
    if not rows:
        return NOTHING
    weight = np.ones(rows) if weight is None else weight
    places, which = np.arange(rows), _bin(confidence, BINS)
    data = np.concatenate([weight * (confidence - correct), weight])
    cells = (np.tile(places, 2), np.concatenate([which, np.full(rows, BINS)]))
    columns = sp.csr_matrix((data, cells), shape=(rows, BINS + 1))
    sums = resampled_sums(columns, np.ones(rows, np.int64), seed)
    drawn = np.abs(sums[:, :BINS]).sum(axis=1) / sums[:, BINS]
    return percentiles(expected_calibration_error(confidence, correct, weight=weight), drawn)


def mean_estimate(values: np.ndarray, seed: int, weight: np.ndarray | None = None) -> Estimate:
    """A mean, weighted or not, with a bootstrap interval over rows  # values, weight: (rows,)."""
    if not len(values):
        return NOTHING
    weight = np.ones(len(values)) if weight is None else weight
    kinds, counts = np.unique(np.column_stack([values, weight]), axis=0, return_counts=True)
    columns = sp.csr_matrix(np.column_stack([kinds[:, 0] * kinds[:, 1], kinds[:, 1]]))
    sums = resampled_sums(columns, counts, seed)
    return percentiles(float(np.average(values, weights=weight)), sums[:, 0] / sums[:, 1])


def log_loss(p_true: np.ndarray) -> np.ndarray:
    """The log-loss of each row from the probability of its true label, at least 2.2e-16 as in scikit-learn."""
    return -np.log(np.clip(p_true, np.finfo(np.float64).eps, 1.0))


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """The temperature that minimises the log-loss of softmax(logits / temperature)  # (rows, classes), (rows,).

    Guo et al., section 4.2: one number, so no prediction changes. Rows without a single error bear no minimum (the
    surer the better): there, one error more is assumed, spread over all rows, by Laplace's rule of succession.
    """
    rows = len(true)
    if not rows:
        return 1.0
    assumed = float((logits.argmax(axis=1) == true).all())

    def loss(log_temperature: float) -> float:
        losses = _log_losses(logits, true, np.exp(log_temperature))
        wrong = np.maximum(-np.expm1(-losses), np.finfo(np.float64).tiny)  # 1 - the probability of the true label
        return float(losses.sum() - assumed * np.log(wrong).mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def mean_log_loss(logits: np.ndarray, true: np.ndarray, temperature: float) -> float:
    """The mean log-loss of softmax(logits / temperature)  # (rows, classes), (rows,)."""
    return float(_log_losses(logits, true, temperature).mean())


def _log_losses(logits: np.ndarray, true: np.ndarray, temperature: float) -> np.ndarray:
    scaled = np.asarray(logits, np.float64) / temperature
    return logsumexp(scaled, axis=1) - scaled[np.arange(len(true)), true]


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((confidence * bins).astype(int), bins - 1)
