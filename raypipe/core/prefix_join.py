"""The join by prefixes: few candidates, each verified. The kernel for high thresholds.

Columns run from rare to frequent. A row's prefix is its entries down to where the norm of the rest falls below t. By
Cauchy-Schwarz two rows at cosine >= t share a column inside both prefixes (Bayardo, Ma and Srikant, "Scaling up all
pairs similarity search", WWW 2007, section 4), so the prefix postings give all candidates. At each shared column the
dot product so far plus the product of both remaining norms bounds the cosine (the L2 bound of Anastasiu and Karypis,
"L2AP", ICDE 2014, section 4.2). A row that fails the bound where it is met first fails it at each later shared column,
because the bound never grows, so it needs no memory: only rows that pass become candidates.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

from raypipe.core.pairs import CROSS, KEEP, exact_cosine, longer

_BUCKETS = 64  # of a sketch: one cache line a row
_UNIT = 255  # a norm of 1 in a sketch


class Prefixed(NamedTuple):
    """Unit rows ready for the kernel; made once for a block of rows, used against every other block."""

    indptr: np.ndarray  # (rows + 1,) int64
    indices: np.ndarray  # (entries,) int32, ascending in each row
    data: np.ndarray  # (entries,) float64
    rest: np.ndarray  # (entries,) float32, the norm of the row after the entry
    end: np.ndarray  # (rows,) int64, where the row's prefix ends
    sketch: np.ndarray  # (rows, _BUCKETS) uint8, the norm of the row's columns by bucket, rounded up


def prefixed(rows: sp.csr_matrix, low: float) -> Prefixed:
    """Find each row's prefix for cosines >= ``low``."""
    rows = rows if rows.has_sorted_indices else rows.sorted_indices()
    indptr, indices, data = rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data.astype(np.float64)
    rest, end = _prefix(indptr, data, low)
    return Prefixed(indptr, indices, data, rest, end, _sketch(indptr, indices, data))


def postings_read(queries: Prefixed, rows: Prefixed, columns: int) -> float:
    """How many postings the kernel would read."""
    return _postings_read(_prefix_frequency(rows.indptr, rows.indices, rows.end, columns), *queries[:2], queries.end)


@njit(cache=True)
def _prefix(indptr, data, low):  # type: ignore[no-untyped-def]
    rest = np.empty(len(data), np.float32)
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
def _sketch(indptr, indices, data):  # type: ignore[no-untyped-def]
    """Neighbours in the order of frequency fall into different buckets."""
    sketch = np.zeros((len(indptr) - 1, _BUCKETS), np.uint8)
    squares = np.empty(_BUCKETS)
    for row in range(len(indptr) - 1):
        squares[:] = 0.0
        for i in range(indptr[row], indptr[row + 1]):
            squares[indices[i] % _BUCKETS] += data[i] * data[i]
        for bucket in range(_BUCKETS):
            sketch[row, bucket] = min(np.ceil(np.sqrt(squares[bucket]) * _UNIT), 255.0)
    return sketch


@njit(cache=True)
def _sketch_bound(a, b):  # type: ignore[no-untyped-def]
    total = np.int32(0)
    for i in range(_BUCKETS):
        total += np.int32(a[i]) * np.int32(b[i])
    return total


@njit(cache=True)
def _prefix_frequency(indptr, indices, end, columns):  # type: ignore[no-untyped-def]
    frequency = np.zeros(columns, np.int64)
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], end[row]):
            frequency[indices[i]] += 1
    return frequency


@njit(cache=True)
def _postings_read(frequency, indptr, indices, end):  # type: ignore[no-untyped-def]
    total = 0.0
    for row in range(len(end)):
        for i in range(indptr[row], end[row]):
            total += frequency[indices[i]]
    return total


@njit(cache=True)
def probe(queries, rows, columns, low, slack, mode, asks, stays, text, blocked):  # type: ignore[no-untyped-def]
    """Pairs of a query and an indexed row at cosine >= low, and in mode KEEP which queries were kept.

    The arguments are those of the functions of ``similarity``.
    """
    q_indptr, q_indices, q_data, q_rest, q_end, q_sketch = queries
    indptr, indices, data, rest, end, sketch = rows
    q_short, short = q_data.astype(np.float32), data.astype(np.float32)
    frequency = _prefix_frequency(indptr, indices, end, columns)
    starts = np.zeros(len(frequency) + 1, np.int64)
    starts[1:] = np.cumsum(frequency)
    fill = starts[:-1].copy()  # postings of a column: rows in the order of indexing, with value and remaining norm
    members = np.empty(starts[-1], np.int32)
    values, rests = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.float32)
    seen = np.zeros(len(indptr) - 1, np.bool_)
    dot, bound = np.zeros(len(seen), np.float32), np.zeros(len(seen), np.float32)
    candidates = np.empty(len(seen), np.int32)
    dense, dense_rest = np.zeros(len(frequency), np.float32), np.zeros(len(frequency), np.float32)
    taken = np.zeros(text.max() + 1 if len(text) else 0, np.bool_)
    kept = np.zeros(len(q_indptr) - 1, np.bool_)
    left, right, cosine = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024)
    found = 0
    cut_low, cut_sketch = np.float32(low - slack), np.int32((low - slack) * _UNIT * _UNIT)
    if mode == CROSS:
        for row in np.flatnonzero(stays):
            _index(row, indptr, indices, short, rest, end, fill, members, values, rests)
    for query in range(len(q_indptr) - 1):
        if not asks[query] or (mode == KEEP and taken[text[query]]):
            continue
        before, count = found, 0
        for i in range(q_indptr[query], q_end[query]):
            column, value, remaining = q_indices[i], q_short[i], q_rest[i]
            for p in range(starts[column], fill[column]):
                row = members[p]
                product, tail = value * values[p], remaining * rests[p]
                if seen[row]:
                    dot[row] += product
                    bound[row] = dot[row] + tail
                elif product + tail >= cut_low:
                    seen[row] = True
                    dot[row], bound[row] = product, product + tail
                    candidates[count] = row
                    count += 1
        if count > 0:
            last = q_indices[q_end[query] - 1]
            for i in range(q_indptr[query], q_indptr[query + 1]):
                dense[q_indices[i]], dense_rest[q_indices[i]] = q_short[i], q_rest[i]
            for c in range(count):
                row = candidates[c]
                seen[row] = False
                if bound[row] < cut_low or _sketch_bound(q_sketch[query], sketch[row]) < cut_sketch:
                    continue
                if not _reaches(row, last, dot[row], indptr, indices, short, rest, end, dense, dense_rest, cut_low):
                    continue
                exact = exact_cosine(indptr, indices, data, row, q_indptr, q_indices, q_data, query)
                if exact < low:
                    continue
                if found == len(left):
                    left, right, cosine = longer(left), longer(right), longer(cosine)
                left[found], right[found], cosine[found] = query, row, exact
                found += 1
            for i in range(q_indptr[query], q_indptr[query + 1]):
                dense[q_indices[i]] = 0.0
        if mode == CROSS or (mode == KEEP and (found > before or blocked[query])):
            continue
        if mode == KEEP:
            taken[text[query]] = kept[query] = True
        _index(query, indptr, indices, short, rest, end, fill, members, values, rests)
    return left[:found], right[:found], cosine[:found], kept


@njit(cache=True)
def _index(row, indptr, indices, short, rest, end, fill, members, values, rests):  # type: ignore[no-untyped-def]
    for i in range(indptr[row], end[row]):
        at = fill[indices[i]]
        members[at], values[at], rests[at] = row, short[i], rest[i]
        fill[indices[i]] = at + 1


@njit(cache=True)
def _reaches(row, last, dot, indptr, indices, short, rest, end, dense, dense_rest, low):  # type: ignore[no-untyped-def]
    """Whether the cosine can reach ``low``, adding the columns that are not in both prefixes until it cannot.

    ``dot`` holds the shared columns up to the earlier one of both prefixes' ends; ``last`` is where the query's ends.
    """
    i = end[row]
    while i > indptr[row] and indices[i - 1] > last:
        i -= 1
    for j in range(i, indptr[row + 1]):
        value = dense[indices[j]]
        if value != 0.0:
            dot += value * short[j]
            if dot + dense_rest[indices[j]] * rest[j] < low:
                return False
    return dot >= low
