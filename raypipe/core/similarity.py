"""Every pair of unit rows with cosine >= t: a prefix-filter join, exact in float64.

Columns run from rare to frequent. A row's prefix is its entries down to where the norm of the rest falls below t.
By Cauchy-Schwarz two rows at cosine >= t share a column inside both prefixes (Bayardo, Ma and Srikant, "Scaling up
all pairs similarity search", WWW 2007, section 4), so the prefix postings give all candidates. At each shared
column the dot product so far plus the product of both remaining norms bounds the cosine (the L2 bound of Anastasiu
and Karypis, "L2AP", ICDE 2014, section 4.2); candidates that stay above t are verified in full.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

TOLERANCE = 1e-9  # ">= t" means cosine >= t - TOLERANCE, everywhere
_SLACK = 1e-12  # rounding of the bounds, which are sums of at most a few thousand terms <= 1


class Pairs(NamedTuple):
    """Pairs of rows and their cosines; ``left`` is the row of the query block."""

    left: np.ndarray  # (pairs,) int64
    right: np.ndarray  # (pairs,) int64
    cosine: np.ndarray  # (pairs,) float64


def self_join(rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs left > right of one block's rows at cosine >= threshold."""
    return _join(rows, rows, threshold, True)


def cross_join(queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float) -> Pairs:
    """All pairs of a query (left) and a row (right) at cosine >= threshold."""
    return _join(queries, rows, threshold, False)


def _join(queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float, below: bool) -> Pairs:
    low = threshold - TOLERANCE
    q = _arrays(queries)
    r = q if below else _arrays(rows)
    q_rest, q_end = _prefix(*q, low - _SLACK)
    r_rest, r_end = (q_rest, q_end) if below else _prefix(*r, low - _SLACK)
    starts, members, values, rests = _postings(*r, r_rest, r_end, rows.shape[1])
    return Pairs(*_probe(*q, q_rest, q_end, *r, starts, members, values, rests, low, below))


def _arrays(matrix: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data.astype(np.float64)


@njit(cache=True)
def _prefix(indptr, indices, data, low):  # type: ignore[no-untyped-def]
    """The norm of each row after each entry, and the end of each row's prefix."""
    rest = np.empty(len(data))
    end = indptr[:-1].copy()
    for row in range(len(indptr) - 1):
        square = 0.0
        for i in range(indptr[row + 1] - 1, indptr[row] - 1, -1):
            rest[i] = np.sqrt(square)
            square += data[i] * data[i]
            if end[row] == indptr[row] and np.sqrt(square) >= low:
                end[row] = i + 1
    return rest, end


@njit(cache=True)
def _postings(indptr, indices, data, rest, end, columns):  # type: ignore[no-untyped-def]
    """The prefix entries by column, rows ascending: where a column starts, and row, value and remaining norm."""
    starts = np.zeros(columns + 1, np.int64)
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], end[row]):
            starts[indices[i] + 1] += 1
    for column in range(columns):
        starts[column + 1] += starts[column]
    free = starts[:-1].copy()
    members = np.empty(starts[-1], np.int64)
    values = np.empty(starts[-1])
    rests = np.empty(starts[-1])
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], end[row]):
            at = free[indices[i]]
            members[at], values[at], rests[at] = row, data[i], rest[i]
            free[indices[i]] += 1
    return starts, members, values, rests


@njit(cache=True)
def _probe(  # type: ignore[no-untyped-def]
    q_indptr, q_indices, q_data, q_rest, q_end, indptr, indices, data, starts, members, values, rests, low, below
):
    """Candidates of each query from the postings, pruned by the bound, verified against a dense copy of the query."""
    rows = len(indptr) - 1
    seen_by = np.full(rows, -1, np.int64)
    dot = np.zeros(rows)
    bound = np.zeros(rows)
    touched = np.empty(rows, np.int64)
    dense = np.zeros(len(starts) - 1)
    left = np.empty(1024, np.int64)
    right = np.empty(1024, np.int64)
    cosine = np.empty(1024)
    found = 0
    for query in range(len(q_indptr) - 1):
        count = 0
        for i in range(q_indptr[query], q_end[query]):
            column, value, remaining = q_indices[i], q_data[i], q_rest[i]
            for p in range(starts[column], starts[column + 1]):
                row = members[p]
                if below and row >= query:
                    break
                if seen_by[row] != query:
                    seen_by[row] = query
                    dot[row] = 0.0
                    touched[count] = row
                    count += 1
                dot[row] += value * values[p]
                bound[row] = dot[row] + remaining * rests[p]
        if count == 0:
            continue
        for i in range(q_indptr[query], q_indptr[query + 1]):
            dense[q_indices[i]] = q_data[i]
        for c in range(count):
            row = touched[c]
            if bound[row] < low - 1e-12:  # _SLACK
                continue
            exact = 0.0
            for i in range(indptr[row], indptr[row + 1]):
                exact += data[i] * dense[indices[i]]
            if exact < low:
                continue
            if found == len(left):
                left = np.concatenate((left, np.empty_like(left)))
                right = np.concatenate((right, np.empty_like(right)))
                cosine = np.concatenate((cosine, np.empty_like(cosine)))
            left[found], right[found], cosine[found] = query, row, exact
            found += 1
        for i in range(q_indptr[query], q_indptr[query + 1]):
            dense[q_indices[i]] = 0.0
    return left[:found], right[:found], cosine[:found]
