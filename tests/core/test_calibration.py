"""Calibration against scikit-learn, sums by hand and a grid."""

import numpy as np
import pytest
from sklearn import metrics as sk

from raypipe.core import calibration


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


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.9, 0.85, 0.3, 0.3, 1.0])
    correct = np.array([True, True, False, False, True, True])
    # ten bins: [0.8, 0.9) |0.85 - 0|; [0.9, 1.0] |2.85 - 3|; [0.3, 0.4) |0.6 - 1|; over six rows
    expected = (0.85 + 0.15 + 0.4) / 6
    error = calibration.expected_calibration_error
    assert error(confidence, correct, bins=10) == pytest.approx(expected, abs=1e-12)
    assert error(np.ones(4), np.array([True] * 4)) == 0
    assert error(np.array([0.61, 0.63]), np.array([True, False])) == pytest.approx(0.12)
    # fifteen bins part these two, so that they no longer cancel
    assert error(np.array([0.55, 0.65]), np.array([True, False])) == pytest.approx(0.55)
    assert np.isnan(error(np.empty(0), np.empty(0, bool)))


def test_the_bins_add_up_to_the_error(scored: tuple[np.ndarray, np.ndarray]) -> None:
    logits, true = scored
    confidence, correct = softmax(logits).max(axis=1), logits.argmax(axis=1) == true
    rows, sure, right = calibration.reliability(confidence, correct)
    assert rows.sum() == len(true) and np.isnan(sure[rows == 0]).all()
    filled = rows > 0
    error = (rows[filled] * np.abs(sure[filled] - right[filled])).sum() / len(true)
    value, low, high = calibration.calibration_estimate(confidence, correct, seed=0)
    assert value == pytest.approx(error, abs=1e-12) and low < value < high


def test_log_loss_equals_sklearn(scored: tuple[np.ndarray, np.ndarray]) -> None:
    logits, true = scored
    logits[0, true[0]] = -1e4  # a probability of 0 is bounded as there
    probabilities = softmax(logits)
    ours = calibration.mean_estimate(calibration.log_loss(probabilities[np.arange(len(true)), true]), seed=0)
    assert ours.value == pytest.approx(sk.log_loss(true, probabilities, labels=range(6)), abs=1e-9)
    assert ours.low < ours.value < ours.high


def test_weights_repeat_rows() -> None:
    random = np.random.default_rng(1)
    values, weight = random.random(300), random.integers(1, 5, 300)
    correct = random.random(300) < values
    ours = calibration.mean_estimate(values, 0, weight.astype(float))
    assert (
        ours.value == pytest.approx(np.repeat(values, weight).mean(), abs=1e-12) and ours.low < ours.value < ours.high
    )
    error = calibration.calibration_estimate(values, correct, 0, weight.astype(float)).value
    repeated = calibration.expected_calibration_error(np.repeat(values, weight), np.repeat(correct, weight))
    assert error == pytest.approx(repeated, abs=1e-12)


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
