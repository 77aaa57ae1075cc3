"""Intervals against textbooks, and how often they hold the truth."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core import intervals
from raypipe.core.metrics import class_estimates

FEW = settings(max_examples=50, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17, 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_by_the_textbook(hits: int, rows: int, low: float, high: float) -> None:
    value, ours_low, ours_high = intervals.wilson(hits, rows)
    assert value == hits / rows
    assert (round(ours_low, 4), round(ours_high, 4)) == (low, high)


@FEW
@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_wilson_holds_its_estimate_within_zero_and_one(hits: int, rows: int) -> None:
    hits = min(hits, rows)
    value, low, high = intervals.wilson(hits, rows)
    assert 0 <= low <= value <= high <= 1 and low < high
    assert (low == 0) == (hits == 0) and (high == 1) == (hits == rows)
    mirrored = intervals.wilson(rows - hits, rows)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


def test_wilson_begins_at_zero_and_ends_at_one_to_the_last_bit() -> None:
    for rows in range(1, 500):
        assert intervals.wilson(0, rows).low == 0.0
        assert intervals.wilson(rows, rows).high == 1.0


def test_wilson_holds_the_truth_in_95_of_100_samples() -> None:
    """Averaged over p from 0.5 to 0.95, 10,000 samples of 1,000 rows each: 94.5 to 95.5 %."""
    rows, repetitions = 1000, 10_000
    bounds = np.array([intervals.wilson(hits, rows)[1:] for hits in range(rows + 1)])  # (hits, low and high)
    random, held = np.random.default_rng(20), []
    for p in np.linspace(0.5, 0.95, 46):
        low, high = bounds[random.binomial(rows, p, repetitions)].T
        held.append(((low <= p) & (p <= high)).mean())
    assert 0.945 <= np.mean(held) <= 0.955


def test_a_paired_difference_by_the_textbook() -> None:
    both, first, second, neither = 36, 12, 2, 0  # Newcombe, Statistics in Medicine 17, 1998, 2635-2650, method 10
    one = np.array([True] * (both + first) + [False] * (second + neither))
    other = np.array([True] * both + [False] * first + [True] * second + [False] * neither)
    value, low, high = intervals.paired_difference(one, other)
    assert (round(value, 4), round(low, 4), round(high, 4)) == (0.2, 0.0569, 0.3404)
    back = intervals.paired_difference(other, one)
    assert (back.low, back.value, back.high) == pytest.approx((-high, -value, -low), abs=1e-12)


def test_a_paired_difference_of_marks_that_go_together_is_corrected_for_continuity() -> None:
    both, first, second, neither = 20, 5, 3, 12
    one = np.repeat([True, True, False, False], [both, first, second, neither])
    other = np.repeat([True, False, True, False], [both, first, second, neither])
    (p, p_low, p_high), (q, q_low, q_high) = intervals.wilson(25, 40), intervals.wilson(23, 40)
    phi = (both * neither - first * second - 40 / 2) / np.sqrt(25 * 15 * 23 * 17)  # by hand, from the paper
    low = p - q - np.sqrt((p - p_low) ** 2 - 2 * phi * (p - p_low) * (q_high - q) + (q_high - q) ** 2)
    high = p - q + np.sqrt((p_high - p) ** 2 - 2 * phi * (p_high - p) * (q - q_low) + (q - q_low) ** 2)
    assert intervals.paired_difference(one, other) == pytest.approx((0.05, low, high), abs=1e-12)


def test_equal_classifiers_keep_a_doubt() -> None:
    same = np.array([True] * 30 + [False] * 10)
    value, low, high = intervals.paired_difference(same, same)
    assert value == 0 and low < 0 < high
    assert np.isnan(intervals.paired_difference(same[:0], same[:0])).all()


@pytest.mark.parametrize(("p_both", "p_first", "p_second"), [(0.8, 0.06, 0.03), (0.5, 0.2, 0.2), (0.9, 0.02, 0.0)])
def test_a_paired_difference_holds_the_truth(p_both: float, p_first: float, p_second: float) -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(1000):
        kind = random.choice(4, 300, p=[p_both, p_first, p_second, 1 - p_both - p_first - p_second])
        _, low, high = intervals.paired_difference(kind <= 1, (kind == 0) | (kind == 2))
        held += low <= p_first - p_second <= high
    assert 0.93 <= held / 1000 <= 0.99


@pytest.mark.parametrize("counts", [np.ones(400, int), np.array([300, 100])], ids=["rows", "groups"])
def test_resamples_are_seeded_whole_and_as_wide_as_the_normal_interval(counts: np.ndarray) -> None:
    hits = np.arange(400) < 300 if len(counts) == 400 else np.array([1, 0])
    columns = sp.csr_matrix(np.column_stack([hits, np.ones(len(hits))]).astype(float))
    sums = intervals.resampled_sums(columns, counts, seed=3)
    assert sums.shape == (intervals.ROUNDS, 2) and (sums[:, 1] == 400).all(), "each resample has all rows"
    assert (sums == intervals.resampled_sums(columns, counts, seed=3)).all()
    assert (sums != intervals.resampled_sums(columns, counts, seed=4)).any()
    value, low, high = intervals.percentiles(0.75, sums[:, 0] / 400)
    assert low < value < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.15)


def test_the_chunks_of_the_bootstrap_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, counts = sp.csr_matrix(np.arange(60.0).reshape(20, 3)), np.ones(20, int)
    whole = intervals.resampled_sums(columns, counts, seed=0)
    monkeypatch.setattr(intervals, "CELLS", 100)
    assert (intervals.resampled_sums(columns, counts, seed=0) == whole).all()


@pytest.mark.parametrize("counts", [np.ones(20, int), np.arange(1, 21), np.full(20, 500)], ids=["1", "few", "many"])
def test_groups_drawn_in_parts_are_as_likely(counts: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each resample has all rows, and of each group binomially many, with the covariance of a multinomial."""
    monkeypatch.setattr(intervals, "PART", 6)
    drawn = intervals.resampled_sums(sp.eye_array(20, format="csr"), counts, seed=0, rounds=20_000)
    rows, share = counts.sum(), counts / counts.sum()
    assert (drawn.sum(axis=1) == rows).all()
    covariance = rows * (np.diag(share) - np.outer(share, share))
    error = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) / 20_000)  # of an entry, about
    assert (np.abs(drawn.mean(axis=0) - counts) < 5 * np.sqrt(np.diag(covariance) / 20_000)).all()
    assert (np.abs(np.cov(drawn.T) - covariance) < 7 * error).all()


def test_percentiles_without_bias_are_quantiles() -> None:
    drawn = np.linspace(-1, 1, 2001)
    value, low, high = intervals.percentiles(0.0, drawn)
    assert (value, low, high) == pytest.approx((0, *np.quantile(drawn, [0.025, 0.975])), abs=1e-9)
    shifted = intervals.percentiles(0.5, drawn)
    assert shifted.low > low and shifted.high > high, "resamples below the number: the interval moves up"
    assert np.isnan(intervals.percentiles(np.nan, drawn)).all()


def test_macro_f1_of_many_classes_holds_the_truth() -> None:
    """40 classes, 400 rows: resamples lie below the estimate there, and plain percentiles hold too little."""
    classes, rows, repetitions = 40, 400, 200
    random = np.random.default_rng(7)
    right = random.uniform(0.6, 0.99, classes)
    cells = np.diag(right) + np.roll(np.diag(1 - right), 1, axis=1)  # (true, predicted), errors to one neighbour
    truth = np.mean(2 * right / (1 + cells.sum(axis=0)))
    held = 0
    for seed in range(repetitions):
        true, predicted = np.divmod(random.choice(classes**2, rows, p=cells.ravel() / classes), classes)
        _, low, high = class_estimates(true, predicted, classes, seed)["macro_f1"]
        held += low <= truth <= high
    assert 0.90 <= held / repetitions <= 0.99
