"""Every pair of unit rows with cosine >= t, exact in float64, whichever of two kernels is cheaper.

Both kernels find the same pairs with the same cosines, to the last bit: they filter in float32 with slack for its
rounding, and only the float64 dot product decides. Which one runs is a matter of time alone; the choice compares how
many postings each would read (constants measured on docstrings of 12, 40 and 600 terms a row).
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from raypipe.core import dense_join, prefix_join
from raypipe.core.pairs import CROSS, KEEP, LIST, ROUNDING, TOLERANCE, Pairs

__all__ = ["TOLERANCE", "Kept", "Pairs", "cross_join", "keep_join", "self_join"]

_SLACK = 1e-12  # rounding of float64 norms, which are sums of at most some thousand terms <= 1
_PREFIX_NS = 36.0  # a posting of a prefix read, with its share of the verifications
_PRODUCT_NS, _CELL_NS = 1.0, 0.4  # a product accumulated; a pair of rows scanned
_NO_TEXT, _NO_BLOCK = np.empty(0, np.int64), np.empty(0, np.bool_)


class Kept(NamedTuple):
    """What the keep rule makes of one block of rows."""

    kept: np.ndarray  # (rows,) bool
    pairs: Pairs  # a row and each kept row before it at cosine >= t; none for a row whose text was kept before it


def self_join(rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs left > right of one block's rows at cosine >= threshold."""
    return Pairs(*_join(rows, rows, threshold, LIST, _NO_TEXT, _NO_BLOCK)[:3])


def cross_join(queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs of a query (left) and a row (right) at cosine >= threshold."""
    return Pairs(*_join(queries, rows, threshold, CROSS, _NO_TEXT, _NO_BLOCK)[:3])


def keep_join(rows: sp.csr_matrix, threshold: float, text: np.ndarray, blocked: np.ndarray) -> Kept:
    """Go through the rows in order; keep each without an earlier kept row of its text or at cosine >= threshold.

    Args:
        text: (rows,) int64, a number for each row's canonical text.
        blocked: (rows,) bool, rows that something outside this block keeps from staying.

    Only kept rows are indexed, so 200,000 copies of one template cost 200,000 comparisons, not their square.
    """
    *pairs, kept = _join(rows, rows, threshold, KEEP, text.astype(np.int64), blocked.astype(np.bool_))
    return Kept(kept, Pairs(*pairs))


def _join(
    queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float, mode: int, text: np.ndarray, blocked: np.ndarray
) -> tuple[np.ndarray, ...]:
    if not (queries.has_sorted_indices and rows.has_sorted_indices):
        queries, rows = queries.sorted_indices(), rows.sorted_indices()
    low, columns = threshold - TOLERANCE, rows.shape[1]
    longest = max(np.diff(queries.indptr).max(initial=0), np.diff(rows.indptr).max(initial=0))
    slack = (longest + dense_join.MOST_DENSE + 8) * ROUNDING
    r = prefix_join.prefixed(rows, low - _SLACK)
    q = r if mode != CROSS else prefix_join.prefixed(queries, low - _SLACK)
    prefixes = prefix_join.prefix_frequency(r, columns)
    q_prefixes = prefixes if mode != CROSS else prefix_join.prefix_frequency(q, columns)
    frequency = np.bincount(r.indices, minlength=columns)
    q_frequency = frequency if mode != CROSS else np.bincount(q.indices, minlength=columns)
    sparse = dense_join.sparse_columns(frequency, rows.shape[0])
    products = float(np.dot(frequency[:sparse].astype(float), q_frequency[:sparse]))
    cells = float(queries.shape[0]) * rows.shape[0]
    reads = float(np.dot(prefixes.astype(float), q_prefixes))
    if _PREFIX_NS * reads <= _PRODUCT_NS * products + _CELL_NS * cells:
        return prefix_join.probe(q, r, prefixes, low, slack, mode, text, blocked)
    dense = dense_join.densified(rows, sparse)
    q_dense = dense if mode != CROSS else dense_join.densified(queries, sparse)
    return dense_join.probe(q_dense, dense, sparse, low, slack, mode, text, blocked)
