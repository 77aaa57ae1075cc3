"""How sure a model is against how often it is right: calibration error, temperature, coverage at a confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from raypipe.core.intervals import NOTHING, PART, Estimate, percentiles, resampled_sums

BINS = 15  # of equal width, as in Guo et al.
TEMPERATURES = (0.1, 10.0)  # where a temperature is looked for


class Reliability(NamedTuple):
    """Rows by confidence, in bins of equal width; nan where a bin has none."""

    rows: np.ndarray  # (bins,)
    confidence: np.ndarray  # (bins,) mean
    accuracy: np.ndarray  # (bins,)


def reliability(confidence: np.ndarray, correct: np.ndarray) -> Reliability:
    """Mean confidence and accuracy of each bin  # confidence, correct: (rows,)."""
    confidence = confidence.astype(float)
    which = _bin(confidence)
    rows = np.bincount(which, minlength=BINS)
    share = np.divide(1.0, rows, out=np.full(BINS, np.nan), where=rows > 0)
    sums = (np.bincount(which, values, minlength=BINS) for values in (confidence, correct))
    return Reliability(rows, *(total * share for total in sums))


class Probabilities(NamedTuple):
    """What a classifier said of each row, of which two numbers judge how sure it was."""

    best: np.ndarray  # (rows,) of its first label
    true: np.ndarray  # (rows,) of the true label, nan where it does not know that


def probability_estimates(
    sides: Sequence[Probabilities], correct: np.ndarray, seed: int, weight: np.ndarray | None = None
) -> list[dict[str, Estimate]]:
    """``log_loss`` and ``ece`` of each side, with bootstrap intervals over rows, the same resamples for all.

    The expected calibration error over equal-width bins: Guo et al., "On calibration of modern neural networks", ICML
    2017, section 2. The log-loss is that of the rows whose label is known, and takes a probability of at least 2.2e-16,
    as in scikit-learn. All sides know the same labels. ``correct``: (rows,) bool; ``weight``  # (rows,) counts a row
    more or less.
    """
    found = _resampled(sides, correct, seed, weight)
    known = ~np.isnan(sides[0].true)
    if known.all():
        return found
    of_known = [Probabilities(side.best[known], side.true[known]) for side in sides]
    losses = _resampled(of_known, correct[known], seed, None if weight is None else weight[known])
    return [of_all | {"log_loss": loss["log_loss"]} for of_all, loss in zip(found, losses, strict=True)]


def _resampled(
    sides: Sequence[Probabilities], correct: np.ndarray, seed: int, weight: np.ndarray | None
) -> list[dict[str, Estimate]]:
    rows = len(correct)
    if not rows:
        return [{"log_loss": NOTHING, "ece": NOTHING} for _ in sides]
    columns = _Columns(sides, correct, weight)
    whole = sum(columns[start : start + PART].sum(axis=0, keepdims=True) for start in range(0, rows, PART))
    drawn = resampled_sums(columns, np.ones(rows, np.int64), seed)
    scores = zip(_scores(np.asarray(whole)), _scores(drawn), strict=True)
    return [{name: percentiles(float(of_all[name][0]), each[name]) for name in of_all} for of_all, each in scores]


@dataclass(frozen=True)
class _Columns:
    """What each row adds to the sums, made when it is asked for: loss and BINS gaps of each side, and the weight."""

    sides: Sequence[Probabilities]
    correct: np.ndarray
    weight: np.ndarray | None

    def __getitem__(self, rows: slice) -> np.ndarray:
        correct = self.correct[rows]
        weight = np.ones(len(correct)) if self.weight is None else self.weight[rows]
        made = np.zeros((len(correct), len(self.sides) * (1 + BINS) + 1))
        made[:, -1] = weight
        for number, side in enumerate(self.sides):
            best, true = side.best[rows].astype(float), side.true[rows].astype(float)
            first = number * (1 + BINS)
            made[:, first] = weight * -np.log(np.clip(true, np.finfo(np.float64).eps, 1.0))
            made[np.arange(len(correct)), first + 1 + _bin(best)] = weight * (best - correct)
        return made


def _scores(sums: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Of each side from the sums of its columns  # (resamples, columns) -> (resamples,) each."""
    *sides, weight = np.split(sums, range(1 + BINS, sums.shape[1], 1 + BINS), axis=1)
    means = (side / weight for side in sides)
    return [{"log_loss": mean[:, 0], "ece": np.abs(mean[:, 1:]).sum(axis=1)} for mean in means]


def mean_estimate(values: np.ndarray, seed: int, weight: np.ndarray | None = None) -> Estimate:
    """A mean, weighted or not, with a bootstrap interval over rows  # values, weight: (rows,)."""
    if not len(values):
        return NOTHING
    weight = np.ones(len(values)) if weight is None else weight
    kinds, counts = np.unique(np.column_stack([values, weight]), axis=0, return_counts=True)
    columns = sp.csr_matrix(np.column_stack([kinds[:, 0] * kinds[:, 1], kinds[:, 1]]))
    sums = resampled_sums(columns, counts, seed)
    return percentiles(float(np.average(values, weights=weight)), sums[:, 0] / sums[:, 1])


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


def _bin(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)
