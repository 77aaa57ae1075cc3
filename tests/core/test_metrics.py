"""Metrics against scikit-learn, textbooks and sums by hand."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from raypipe.core import metrics

FEW = settings(max_examples=50, deadline=None, derandomize=True)
CLASSES = 5
CODES = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1), st.integers(1, 4)), min_size=1, max_size=40
)


@FEW
@given(CODES)
def test_confusion_and_class_scores_equal_sklearn(rows: list[tuple[int, int, int]]) -> None:
    true, predicted, weight = np.array(rows).T
    labels = list(range(CLASSES))
    matrix = metrics.confusion(true, predicted, CLASSES)
    assert matrix.tolist() == sk.confusion_matrix(true, predicted, labels=labels).tolist()
    weighted = sk.confusion_matrix(true, predicted, labels=labels, sample_weight=weight)
    assert metrics.confusion(true, predicted, CLASSES, weight).tolist() == weighted.tolist()
    ours = metrics.class_scores(matrix)
    theirs = sk.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@FEW
@given(CODES)
def test_macro_f1_equals_sklearn_where_classes_are_absent(rows: list[tuple[int, int, int]]) -> None:
    true, predicted, _ = np.array(rows).T
    expected = sk.f1_score(true, predicted, average="macro", zero_division=0)  # classes of truth or prediction
    assert metrics.macro_f1(metrics.confusion(true, predicted, CLASSES)) == pytest.approx(expected, abs=1e-9)


def test_macro_f1_by_hand() -> None:
    matrix = np.array([[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])  # class 2 is absent, 3 never predicted
    assert metrics.macro_f1(matrix) == pytest.approx((2 / 4 + 4 / 5 + 0) / 3, abs=1e-15)
    assert np.isnan(metrics.macro_f1(np.zeros((3, 3))))


def test_a_label_that_the_model_does_not_know_is_no_class_and_no_hit() -> None:
    true, predicted = np.array([0, -1, 1, -1]), np.array([0, 0, 0, 1])
    assert metrics.confusion(true, predicted, 2).tolist() == [[1, 0], [1, 0]]
    assert metrics.confusion(true, predicted, 2, np.array([2.0, 9.0, 3.0, 9.0])).tolist() == [[2, 0], [3, 0]]
    assert not metrics.top_k_hits(np.array([[-1, 0]]), np.array([-1]), 2).any()


def test_top_k_uses_the_first_k() -> None:
    ranked = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 3]])
    true = np.array([0, 0, 0, 0])
    assert metrics.top_k_hits(ranked, true, 1).tolist() == [True, False, False, False]
    assert metrics.top_k_hits(ranked, true, 2).tolist() == [True, True, False, False]
    assert metrics.top_k_hits(ranked, true, 3).tolist() == [True, True, True, False]
    assert metrics.top_k_hits(ranked[:, :2], true, 3).tolist() == [True, True, False, False]  # two labels in all


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_equals_sklearn(k: int) -> None:
    random = np.random.default_rng(k)
    scores = random.random((300, 6))
    true = random.integers(0, 6, 300)
    ranked = np.argsort(-scores, axis=1)[:, :3]
    expected = sk.top_k_accuracy_score(true, scores, k=k, labels=range(6))
    assert metrics.top_k_hits(ranked, true, k).mean() == pytest.approx(expected, abs=1e-9)


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
    value, ours_low, ours_high = metrics.wilson(hits, rows)
    assert value == hits / rows
    assert (round(ours_low, 4), round(ours_high, 4)) == (low, high)


@FEW
@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_wilson_holds_its_estimate_within_zero_and_one(hits: int, rows: int) -> None:
    hits = min(hits, rows)
    value, low, high = metrics.wilson(hits, rows)
    assert 0 <= low <= value <= high <= 1 and low < high
    assert (low == 0) == (hits == 0) and (high == 1) == (hits == rows)
    mirrored = metrics.wilson(rows - hits, rows)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


def test_wilson_begins_at_zero_and_ends_at_one_to_the_last_bit() -> None:
    for rows in range(1, 500):
        assert metrics.wilson(0, rows).low == 0.0
        assert metrics.wilson(rows, rows).high == 1.0


def test_nothing_has_no_estimate() -> None:
    nothing = np.empty(0, np.int64)
    assert np.isnan(metrics.wilson(0, 0)).all()
    assert np.isnan(metrics.macro_f1_estimate(np.array([-1]), np.array([0]), 2, 0)).all()
    assert np.isnan(metrics.expected_calibration_error(nothing.astype(float), nothing.astype(bool)))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.9, 0.85, 0.3, 0.3, 1.0])
    correct = np.array([True, True, False, False, True, True])
    # ten bins: [0.8, 0.9) |0.85 - 0|; [0.9, 1.0] |2.85 - 3|; [0.3, 0.4) |0.6 - 1|; over six rows
    expected = (0.85 + 0.15 + 0.4) / 6
    assert metrics.expected_calibration_error(confidence, correct, bins=10) == pytest.approx(expected, abs=1e-12)
    assert metrics.expected_calibration_error(np.ones(4), np.array([True] * 4)) == 0
    assert metrics.expected_calibration_error(np.array([0.61, 0.63]), np.array([True, False])) == pytest.approx(0.12)
    # fifteen bins part these two, so that they no longer cancel
    assert metrics.expected_calibration_error(np.array([0.55, 0.65]), np.array([True, False])) == pytest.approx(0.55)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 5), (3, 3), (12, 2), (0, 8), (40, 60)])
def test_mcnemar_is_the_exact_binomial_sum(first: int, second: int) -> None:
    one = np.array([True] * first + [False] * second + [True] * 7 + [False] * 3)
    other = np.array([False] * first + [True] * second + [True] * 7 + [False] * 3)
    n = first + second
    tail = sum(comb(n, i) for i in range(min(first, second) + 1)) / 2**n
    assert metrics.mcnemar(one, other) == pytest.approx(min(1.0, 2 * tail), abs=1e-9)
    assert metrics.mcnemar(other, one) == pytest.approx(metrics.mcnemar(one, other), abs=1e-12)


def test_mcnemar_of_equal_classifiers_is_one() -> None:
    same = np.array([True, False, True])
    assert metrics.mcnemar(same, same) == 1.0


def test_bootstrap_is_seeded_and_as_wide_as_the_normal_interval() -> None:
    rows = 400
    hits = np.arange(rows) < 300

    def accuracy(weight: np.ndarray) -> float:
        assert weight.shape == (rows,) and weight.sum() == rows
        return float((weight * hits).sum() / rows)

    low, high = metrics.bootstrap(accuracy, rows, seed=3)
    assert (low, high) == metrics.bootstrap(accuracy, rows, seed=3)
    assert (low, high) != metrics.bootstrap(accuracy, rows, seed=4)
    assert low < 0.75 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / rows), rel=0.15)


def test_macro_f1_estimate_holds_its_value_and_narrows_with_rows() -> None:
    random = np.random.default_rng(5)
    widths = []
    for rows in (150, 1500):
        true = random.integers(0, 3, rows)
        predicted = np.where(random.random(rows) < 0.8, true, random.integers(0, 3, rows))
        value, low, high = metrics.macro_f1_estimate(true, predicted, 3, seed=1)
        assert value == pytest.approx(sk.f1_score(true, predicted, average="macro"), abs=1e-9)
        assert low < value < high
        assert metrics.macro_f1_estimate(true, predicted, 3, seed=1) == (value, low, high)
        with_unknown = metrics.macro_f1_estimate(np.append(true, -1), np.append(predicted, 0), 3, seed=1)
        assert with_unknown == (value, low, high)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
