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
from raypipe.core.prefix_join import Prefixed

__all__ = ["TOLERANCE", "Kept", "Pairs", "Ready", "compare", "cross_join", "keep_join", "ready", "self_join"]

_SLACK = 1e-12  # rounding of float64 norms, which are sums of at most some thousand terms <= 1
_PREFIX_NS = 8.0  # a posting of a prefix read, with its share of the verifications
_PRODUCT_NS, _CELL_NS = 1.0, 0.4  # a product accumulated; a pair of rows scanned
_NO_TEXT, _NO_BLOCK = np.empty(0, np.int64), np.empty(0, np.bool_)


class Ready(NamedTuple):
    """Unit rows made ready for one threshold, once for all the joins that they take part in."""

    rows: Prefixed
    columns: int
    threshold: float

    def all(self) -> np.ndarray:
        """A mask of all rows."""
        return np.ones(len(self.rows.end), np.bool_)


class Kept(NamedTuple):
    """What the keep rule makes of one block of rows."""

    kept: np.ndarray  # (rows,) bool
    pairs: Pairs  # a row and each kept row before it at cosine >= t; none for a row whose text was kept before it


def ready(rows: sp.csr_matrix, threshold: float) -> Ready:
    """Unit rows ready for joins at cosine >= threshold; columns are to run from rare to frequent."""
    return Ready(prefix_join.prefixed(rows, threshold - TOLERANCE - _SLACK), rows.shape[1], threshold)


def self_join(rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs left > right of one block's rows at cosine >= threshold."""
    made = ready(rows, threshold)
    return Pairs(*_join(made, made, LIST, made.all(), made.all(), _NO_TEXT, _NO_BLOCK)[:3])


def cross_join(queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs of a query (left) and a row (right) at cosine >= threshold."""
    left, right = ready(queries, threshold), ready(rows, threshold)
    return compare(left, right, left.all(), right.all())


def compare(queries: Ready, rows: Ready, asks: np.ndarray, stays: np.ndarray) -> Pairs:
    """All pairs at the threshold of a query that ``asks`` and a row that ``stays``, both masks  # (rows,) bool."""
    return Pairs(*_join(queries, rows, CROSS, asks, stays, _NO_TEXT, _NO_BLOCK)[:3])


def keep_join(rows: Ready, asks: np.ndarray, text: np.ndarray, blocked: np.ndarray) -> Kept:
    """Go through the rows in order; keep each without an earlier kept row of its text or at the threshold.

    Args:
        asks: (rows,) bool, the rows to go through; the others are as good as not there.
        text: (rows,) int64, a number for each row's canonical text.
        blocked: (rows,) bool, rows that something outside this block keeps from staying.

    Only kept rows are indexed, so 200,000 copies of one template cost 200,000 comparisons, not their square.
    """
    *pairs, kept = _join(rows, rows, KEEP, asks, asks, text.astype(np.int64), blocked)
    return Kept(kept, Pairs(*pairs))


def _join(
    queries: Ready,
    rows: Ready,
    mode: int,
    asks: np.ndarray,
    stays: np.ndarray,
    text: np.ndarray,
    blocked: np.ndarray,
) -> tuple[np.ndarray, ...]:
    q, r, columns, low = queries.rows, rows.rows, rows.columns, rows.threshold - TOLERANCE
    longest = max(np.diff(q.indptr).max(initial=0), np.diff(r.indptr).max(initial=0))
    slack = (longest + dense_join.MOST_DENSE + 8) * ROUNDING
    sparse = _sparse_columns_if_cheaper(q, r, columns)
    if sparse is None:
        return prefix_join.probe(q, r, columns, low, slack, mode, asks, stays, text, blocked)
    dense = dense_join.densified(*r[:3], columns, sparse)
    q_dense = dense if q is r else dense_join.densified(*q[:3], columns, sparse)
    return dense_join.probe(q_dense, dense, sparse, low, slack, mode, asks, stays, text, blocked)


def _sparse_columns_if_cheaper(queries: Prefixed, rows: Prefixed, columns: int) -> int | None:
    """The number of columns to accumulate over postings where accumulation beats prefixes; else None."""
    by_prefix = _PREFIX_NS * prefix_join.postings_read(queries, rows, columns)
    cells = _CELL_NS * len(queries.end) * len(rows.end)
    if by_prefix <= cells:
        return None
    frequency = np.bincount(rows.indices, minlength=columns)
    sparse = dense_join.sparse_columns(frequency, len(rows.end))
    q_frequency = frequency if queries is rows else np.bincount(queries.indices, minlength=columns)
    products = float(np.dot(frequency[:sparse].astype(float), q_frequency[:sparse]))
    return sparse if _PRODUCT_NS * products + cells < by_prefix else None
