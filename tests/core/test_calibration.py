"""Calibration against scikit-learn, sums by hand and a grid."""

import numpy as np
import pytest
from sklearn import metrics as sk

from raypipe.core import calibration, intervals
from raypipe.core.intervals import Estimate


def softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Logits twice as large as they should be, and true labels  # (rows, classes), (rows,)."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3000, 6))
    true = (softmax(logits).cumsum(axis=1) > random.random((3000, 1))).argmax(axis=1)
    return 2 * logits, true


def estimates(
    best: np.ndarray, correct: np.ndarray, true: np.ndarray | None = None, weight: np.ndarray | None = None
) -> dict[str, Estimate]:
    said = calibration.Probabilities(best, best if true is None else true)
    (found,) = calibration.probability_estimates([said], correct, 0, weight)
    return found


def error(confidence: list[float], correct: list[bool]) -> float:
    return estimates(np.array(confidence, float), np.array(correct, bool))["ece"].value


def test_calibration_error_by_hand() -> None:
    confidence, correct = [0.95, 0.9, 0.85, 0.3, 0.3, 1.0], [True, True, False, False, True, True]
    # fifteen bins: the last holds 0.95 and 1 |1.95 - 2|, and then |0.9 - 1|; |0.85 - 0|; |0.6 - 1|; over six rows
    assert error(confidence, correct) == pytest.approx((0.05 + 0.1 + 0.85 + 0.4) / 6, abs=1e-12)
    assert error([1.0] * 4, [True] * 4) == 0
    assert error([0.61, 0.63], [True, False]) == pytest.approx(0.12)
    # two bins part these, so that they do not cancel
    assert error([0.55, 0.65], [True, False]) == pytest.approx(0.55)
    assert np.isnan(error([], []))


def test_the_bins_add_up_to_the_error(scored: tuple[np.ndarray, np.ndarray]) -> None:
    logits, true = scored
    confidence, correct = softmax(logits).max(axis=1), logits.argmax(axis=1) == true
    rows, sure, right = calibration.reliability(confidence, correct)
    assert rows.sum() == len(true) and np.isnan(sure[rows == 0]).all()
    filled = rows > 0
    error = (rows[filled] * np.abs(sure[filled] - right[filled])).sum() / len(true)
    value, low, high = estimates(confidence, correct)["ece"]
    assert value == pytest.approx(error, abs=1e-12) and low < value < high


def test_log_loss_equals_sklearn(scored: tuple[np.ndarray, np.ndarray]) -> None:
    logits, true = scored
    logits[0, true[0]] = -1e4  # a probability of 0 is bounded as there
    probabilities = softmax(logits)
    p_true = probabilities[np.arange(len(true)), true]
    ours = estimates(p_true, np.ones(len(true), bool))["log_loss"]
    assert ours.value == pytest.approx(sk.log_loss(true, probabilities, labels=range(6)), abs=1e-9)
    assert ours.low < ours.value < ours.high
    some = np.where(np.arange(len(true)) < 1000, p_true, np.nan)
    assert estimates(p_true, np.ones(len(true), bool), some)["log_loss"].value == pytest.approx(
        sk.log_loss(true[:1000], probabilities[:1000], labels=range(6)), abs=1e-9
    )
    assert np.isnan(estimates(p_true, np.ones(len(true), bool), np.full(len(true), np.nan))["log_loss"]).all()


def test_the_sides_share_their_resamples_and_are_each_as_alone() -> None:
    """More rows than are drawn at a time, and as wide as the central limit says."""
    random = np.random.default_rng(4)
    rows = intervals.PART + 5000
    first, second = (random.random(rows).astype(np.float32) for _ in range(2))
    correct = random.random(rows) < first
    sides = [calibration.Probabilities(p, p) for p in (first, second)]
    found = calibration.probability_estimates(sides, correct, 0)
    for side, p in zip(found, (first, second), strict=True):
        for name, estimate in estimates(p, correct).items():
            assert side[name] == pytest.approx(estimate, abs=1e-9)
    losses = -np.log(first.astype(float))
    value, low, high = found[0]["log_loss"]
    assert value == pytest.approx(losses.mean(), abs=1e-9)
    assert high - low == pytest.approx(2 * 1.96 * losses.std() / np.sqrt(rows), rel=0.1)


def test_weights_repeat_rows() -> None:
    random = np.random.default_rng(1)
    values, weight = random.random(300), random.integers(1, 5, 300)
    correct = random.random(300) < values
    ours = calibration.mean_estimate(values, 0, weight.astype(float))
    assert (
        ours.value == pytest.approx(np.repeat(values, weight).mean(), abs=1e-12) and ours.low < ours.value < ours.high
    )
    weighted = estimates(values, correct, weight=weight.astype(float))
    repeated = estimates(np.repeat(values, weight), np.repeat(correct, weight))
    for name, estimate in weighted.items():
        assert estimate.value == pytest.approx(repeated[name].value, abs=1e-12)


def test_the_temperature_is_the_best_of_a_grid_and_undoes_a_scale(scored: tuple[np.ndarray, np.ndarray]) -> None:
    logits, true = scored
    found = calibration.fit_temperature(logits, true)
    assert found == pytest.approx(2, abs=0.1)
    grid = np.linspace(0.5, 5, 901)
    losses = [sk.log_loss(true, softmax(logits / t), labels=range(6)) for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=0.006)
    assert calibration.mean_log_loss(logits, true, found) == pytest.approx(min(losses), abs=1e-5)
    assert calibration.fit_temperature(3 * logits, true) == pytest.approx(3 * found, rel=1e-3)


def test_rows_without_an_error_are_not_trusted_beyond_their_number() -> None:
    random = np.random.default_rng(4)
    for rows in (20, 500):
        true = random.integers(0, 4, rows)
        logits = np.eye(4)[true] * random.uniform(0.5, 1.0, (rows, 1))
        found = calibration.fit_temperature(logits, true)
        sure = softmax(logits / found).max(axis=1).mean()
        assert 1 - 5 / rows < sure < 1 - 0.2 / rows, "about one error more"


def test_a_temperature_stays_within_its_bounds() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 1.0]])
    assert calibration.fit_temperature(logits[:0], np.empty(0, int)) == 1.0
    low, high = calibration.TEMPERATURES
    assert calibration.fit_temperature(1e6 * logits, np.array([1, 0])) == pytest.approx(high, rel=1e-3)
    assert low < 1 < high
