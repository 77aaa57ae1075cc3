"""The join against brute force."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raypipe.core.similarity import TOLERANCE, Pairs, cross_join, self_join

FEW = settings(max_examples=60, deadline=None, derandomize=True)
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
ROUNDING = 1e-12  # of a brute-force cosine
COUNTS = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 12), st.integers(1, 7)), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 5])
)


def unit(dense: np.ndarray) -> sp.csr_matrix:
    """Rows scaled to length one; rows of zeros stay."""
    norms = np.sqrt((dense.astype(float) ** 2).sum(axis=1, keepdims=True))
    rows = sp.csr_matrix(np.divide(dense, norms, out=np.zeros(dense.shape), where=norms > 0))
    rows.sort_indices()
    return rows


def assert_lists(pairs: Pairs, cosines: np.ndarray, threshold: float, below: bool) -> None:
    """The pairs are those of the matrix of all cosines at >= threshold, each once, with its cosine."""
    found = np.zeros(cosines.shape, int)
    np.add.at(found, (pairs.left, pairs.right), 1)
    considered = np.tri(*cosines.shape, k=-1, dtype=bool) if below else np.ones(cosines.shape, bool)
    low = threshold - TOLERANCE
    assert (found[considered & (cosines >= low + ROUNDING)] == 1).all()
    assert (found[~considered | (cosines < low - ROUNDING)] == 0).all()
    assert found.max(initial=0) <= 1
    np.testing.assert_allclose(pairs.cosine, cosines[pairs.left, pairs.right], rtol=0, atol=1e-12)


def crowd(seed: int, rows: int = 350, columns: int = 1500) -> sp.csr_matrix:
    """Sparse rows as text makes them: Zipf columns, near and exact duplicates, empty rows, one feature in half."""
    random = np.random.default_rng(seed)
    dense = np.zeros((rows, columns))
    for row in range(rows):
        kind = random.random()
        if row > 5 and kind < 0.5:  # a near-duplicate of an earlier row
            dense[row] = dense[random.integers(row)]
            for column in random.integers(0, columns, random.integers(0, 4)):
                dense[row, column] = random.random() * 2 if random.random() < 0.7 else 0
        elif row > 5 and kind < 0.6:
            dense[row] = dense[random.integers(row)]
        elif kind < 0.95:
            zipf = np.minimum(random.zipf(1.3, random.integers(1, 25)), columns) - 1
            np.add.at(dense[row], columns - 1 - zipf, random.random(len(zipf)) * 5)
    dense[random.permutation(rows)[: rows // 2], columns // 2] += 0.7
    dense[random.permutation(rows)[:10]] = 0
    return unit(dense)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_self_join_equals_brute_force(threshold: float) -> None:
    @FEW
    @given(COUNTS)
    def law(counts: np.ndarray) -> None:
        rows = unit(counts)
        assert_lists(self_join(rows, threshold), (rows @ rows.T).toarray(), threshold, below=True)

    law()


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_cross_join_equals_brute_force(threshold: float) -> None:
    @FEW
    @given(COUNTS, st.integers(0, 12))
    def law(counts: np.ndarray, cut: int) -> None:
        rows = unit(counts)
        queries, others = rows[:cut], rows[cut:]
        assert_lists(cross_join(queries, others, threshold), (queries @ others.T).toarray(), threshold, below=False)

    law()


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_crowd_equals_brute_force(seed: int, threshold: float) -> None:
    rows = crowd(seed)
    dense = rows.toarray()
    cosines = dense @ dense.T
    pairs = self_join(rows, threshold)
    assert_lists(pairs, cosines, threshold, below=True)
    assert len(pairs.left) > 20  # duplicates are there to be found
    assert_lists(cross_join(rows[200:], rows[:200], threshold), cosines[200:, :200], threshold, below=False)


def test_more_pairs_than_the_first_buffer_holds() -> None:
    rows = unit(np.tile([[1.0, 2.0, 0.0]], (80, 1)))  # 3,160 pairs; the buffer starts with 1,024
    pairs = self_join(rows, 0.9)
    assert sorted(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [
        (i, j) for i in range(80) for j in range(i)
    ]
    np.testing.assert_allclose(pairs.cosine, 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(("below_by", "included"), [(0.0, True), (1e-10, True), (1e-6, False), (1.1e-9, False)])
def test_the_boundary(threshold: float, below_by: float, included: bool) -> None:
    random = np.random.default_rng(7)
    cosine = threshold - below_by
    basis = np.linalg.qr(random.normal(size=(30, 2)))[0].T
    turned = np.array([basis[0], cosine * basis[0] + np.sqrt(1 - cosine**2) * basis[1]])
    flat = np.array([[0.0, 1.0], [np.sqrt(1 - cosine**2), cosine]])
    for dense in (turned, flat, flat[:, ::-1], flat[::-1]):
        rows = sp.csr_matrix(dense)
        assert len(self_join(rows, threshold).left) == included
        assert len(cross_join(rows[:1], rows[1:], threshold).left) == included


def test_a_cosine_is_the_same_to_the_last_bit_from_any_block_and_side() -> None:
    rows = crowd(3)
    size = rows.shape[0]
    everywhere: dict[tuple[int, int], float] = {}
    whole = self_join(rows, 0.4)
    for left, right, cosine in zip(*whole, strict=True):
        everywhere[int(left), int(right)] = cosine
    assert len(everywhere) > 300

    def compare(pairs: Pairs, left: np.ndarray, right: np.ndarray) -> int:
        for i, j, cosine in zip(*pairs, strict=True):
            a, b = int(left[i]), int(right[j])
            assert everywhere[max(a, b), min(a, b)].tobytes() == cosine.tobytes()
        return len(pairs.left)

    mixed = np.random.default_rng(4).permutation(size)
    for blocks in (np.array_split(np.arange(size), 3), np.array_split(mixed, 5)):
        later_first = earlier_first = 0
        for i, one in enumerate(blocks):
            later_first += compare(self_join(rows[one], 0.4), one, one)
            earlier_first += compare(self_join(rows[one[::-1]], 0.4), one[::-1], one[::-1])
            for other in blocks[:i]:
                later_first += compare(cross_join(rows[one], rows[other], 0.4), one, other)
                earlier_first += compare(cross_join(rows[other], rows[one], 0.4), other, one)
        assert later_first == earlier_first == len(everywhere)


def test_no_rows_no_columns_no_features() -> None:
    for rows in (sp.csr_matrix((0, 5)), sp.csr_matrix((4, 0)), sp.csr_matrix((4, 5))):
        assert [len(part) for part in self_join(rows, 0.3)] == [0, 0, 0]
        assert [len(part) for part in cross_join(rows, rows, 0.3)] == [0, 0, 0]
    one = unit(np.array([[1.0, 1.0]]))
    assert len(cross_join(sp.csr_matrix((0, 2)), one, 0.3).left) == 0
    assert len(cross_join(one, sp.csr_matrix((0, 2)), 0.3).left) == 0
