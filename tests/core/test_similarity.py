"""The join against brute force."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raypipe.core import similarity
from raypipe.core.similarity import TOLERANCE, Pairs, cross_join, keep_join, ready, self_join

FEW = settings(max_examples=60, deadline=None, derandomize=True)
THRESHOLDS = (0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
ROUNDING = 1e-12  # of a brute-force cosine
COUNTS = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 12), st.integers(1, 7)), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 5])
)


@pytest.fixture(params=["prefix", "accumulation"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs on both kernels, whatever the choice by cost would be."""
    monkeypatch.setattr(similarity, "_PREFIX_NS", 0.0 if request.param == "prefix" else np.inf)
    monkeypatch.setattr(similarity, "_CELL_NS", 1.0 if request.param == "prefix" else 0.0)
    return request.param


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


def kept_slowly(cosines: np.ndarray, text: np.ndarray, blocked: np.ndarray, low: float) -> tuple[list[int], set]:
    """The keep rule inside a block, word for word: who stays, and each comparison that found something."""
    kept: list[int] = []
    found = set()
    for row in range(len(text)):
        if text[row] in text[kept]:
            continue
        near = [k for k in kept if cosines[row, k] >= low]
        found |= {(row, k) for k in near}
        if not near and not blocked[row]:
            kept.append(row)
    return kept, found


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_keeping_equals_the_rule_word_for_word(threshold: float) -> None:
    def compare(rows: sp.csr_matrix, text: np.ndarray, blocked: np.ndarray) -> int:
        cosines = (rows @ rows.T).toarray()
        low = threshold - TOLERANCE
        if (np.abs(cosines - low) < ROUNDING).any():
            return 0
        kept, found = kept_slowly(cosines, text, blocked, low)
        made = ready(rows, threshold)
        result = keep_join(made, made.all(), text, blocked)
        assert np.flatnonzero(result.kept).tolist() == kept
        pairs = result.pairs
        assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == found
        assert len(pairs.left) == len(found)
        np.testing.assert_allclose(pairs.cosine, cosines[pairs.left, pairs.right], rtol=0, atol=1e-12)
        return len(found)

    @FEW
    @given(COUNTS, st.data())
    def law(counts: np.ndarray, data: st.DataObject) -> None:
        numbers = st.lists(st.integers(0, 8), min_size=len(counts), max_size=len(counts))
        text, blocked = data.draw(numbers), data.draw(numbers)
        compare(unit(counts), np.array(text), np.array(blocked) < 2)

    law()
    random = np.random.default_rng(8)
    rows = crowd(9)
    assert compare(rows, random.integers(0, 300, rows.shape[0]), random.random(rows.shape[0]) < 0.1) > 20


def test_a_template_with_many_near_copies_costs_its_rows_not_their_square() -> None:
    random = np.random.default_rng(3)
    size = 20_000
    filler = random.integers(12, 5_000, (size, 1))  # eleven common columns and a slot with a word of its own
    columns = np.hstack([np.tile(np.arange(5_000, 5_011), (size, 1)), filler])
    data = np.tile([*[1.0] * 11, 0.5], (size, 1))
    rows = sp.csr_matrix((data.ravel(), columns.ravel(), np.arange(0, 12 * size + 1, 12)), shape=(size, 5_011))
    rows.sort_indices()
    rows.data /= np.sqrt(11.25)
    made = ready(rows, 0.9)
    result = keep_join(made, made.all(), np.arange(size), np.zeros(size, bool))
    assert np.flatnonzero(result.kept).tolist() == [0]
    assert result.pairs.left.tolist() == list(range(1, size)) and not result.pairs.right.any()


def test_the_kernels_agree_on_long_rows_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    dense = (random.random((60, 4_000)) < 0.4) * random.random((60, 4_000))  # float32 sums of 1,600 terms
    for row in range(20, 60):
        share = random.random()
        dense[row] = share * dense[row % 20] + (1 - share) * dense[row]
    rows, found = unit(dense), []
    for prefix_ns in (0.0, np.inf):
        monkeypatch.setattr(similarity, "_PREFIX_NS", prefix_ns)
        pairs = self_join(rows, 0.75)
        order = np.lexsort((pairs.right, pairs.left))
        found.append([part[order].tobytes() for part in pairs])
        assert_lists(pairs, rows.toarray() @ rows.toarray().T, 0.75, below=True)
    assert found[0] == found[1] and len(pairs.left) > 20


def test_no_rows_no_columns_no_features() -> None:
    for rows in (sp.csr_matrix((0, 5)), sp.csr_matrix((4, 0)), sp.csr_matrix((4, 5))):
        assert [len(part) for part in self_join(rows, 0.3)] == [0, 0, 0]
        assert [len(part) for part in cross_join(rows, rows, 0.3)] == [0, 0, 0]
    one = unit(np.array([[1.0, 1.0]]))
    assert len(cross_join(sp.csr_matrix((0, 2)), one, 0.3).left) == 0
    assert len(cross_join(one, sp.csr_matrix((0, 2)), 0.3).left) == 0
