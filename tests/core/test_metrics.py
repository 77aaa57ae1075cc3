"""Metrics against scikit-learn and sums by hand; the same for calibration stands in test_calibration.py."""

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


@FEW
@given(CODES)
def test_summary_scores_equal_sklearn_weighted_and_not(rows: list[tuple[int, int, int]]) -> None:
    true, predicted, weight = np.array(rows).T
    for sample_weight in (None, weight / 3):
        found = metrics.class_estimates(true, predicted, CLASSES, 0, sample_weight)
        common = {"zero_division": 0, "sample_weight": sample_weight}
        expected = {
            "macro_f1": sk.f1_score(true, predicted, average="macro", **common),
            "weighted_f1": sk.f1_score(true, predicted, average="weighted", **common),
            "mcc": sk.matthews_corrcoef(true, predicted, sample_weight=sample_weight),
        }
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value, abs=1e-9), name


def test_class_estimates_hold_their_values_and_narrow_with_rows() -> None:
    random = np.random.default_rng(5)
    widths = []
    for rows in (150, 1500):
        true = random.integers(0, 3, rows)
        predicted = np.where(random.random(rows) < 0.8, true, random.integers(0, 3, rows))
        found = metrics.class_estimates(true, predicted, 3, seed=1)
        assert all(low < value < high for value, low, high in found.values())
        assert metrics.class_estimates(true, predicted, 3, seed=1) == found
        with_unknown = metrics.class_estimates(np.append(true, -1), np.append(predicted, 0), 3, seed=1)
        assert with_unknown == found
        widths.append(found["macro_f1"].high - found["macro_f1"].low)
    assert widths[1] < widths[0] / 2


def test_a_weight_counts_as_that_many_rows() -> None:
    random = np.random.default_rng(2)
    true, predicted, weight = random.integers(0, 4, (3, 200))
    weight += 1
    weighted = metrics.class_estimates(true, predicted, 4, 0, weight.astype(float))
    repeated = metrics.class_estimates(np.repeat(true, weight), np.repeat(predicted, weight), 4, 0)
    for name in weighted:
        assert weighted[name].value == pytest.approx(repeated[name].value, abs=1e-12)
        assert weighted[name].high - weighted[name].low > repeated[name].high - repeated[name].low, "200 rows, not 500"


def test_nothing_has_no_estimate() -> None:
    for estimate in metrics.class_estimates(np.array([-1]), np.array([0]), 2, 0).values():
        assert np.isnan(estimate).all()
