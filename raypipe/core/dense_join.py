"""The join by accumulation: every product of every pair, cheaply. The kernel for low thresholds.

Where candidates are many, verifying them one by one costs more than adding up all products. Nearly all products come
from the few most frequent columns, so those are held as dense vectors: the others are accumulated in float32 over
postings, and the dense part is computed only for pairs whose accumulated part plus the product of both dense norms
reaches the threshold (Cauchy-Schwarz). Whoever is left gets the exact cosine.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

from raypipe.core.pairs import CROSS, KEEP, exact_cosine, longer

_DENSE_SHARE = 0.1  # columns in more rows than this are held densely,
_FEWEST, MOST_DENSE = 16, 256  # within these numbers


class Densified(NamedTuple):
    """A matrix ready for the kernel."""

    indptr: np.ndarray  # (rows + 1,) int64
    indices: np.ndarray  # (entries,) int32
    data: np.ndarray  # (entries,) float64
    short: np.ndarray  # (entries,) float32, the data
    dense: np.ndarray  # (rows, dense columns) float32
    norm: np.ndarray  # (rows,) float32, of the dense part


def sparse_columns(frequency: np.ndarray, rows: int) -> int:
    """How many columns stay sparse, counted from the rare end, for columns that occur in ``frequency`` of the rows."""
    dense = int(np.clip(np.count_nonzero(frequency > _DENSE_SHARE * rows), _FEWEST, MOST_DENSE))
    return max(0, len(frequency) - dense)


def densified(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, columns: int, sparse: int) -> Densified:
    """Split off the columns from ``sparse`` on."""
    rows = sp.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, columns))
    dense = rows[:, sparse:].toarray().astype(np.float32)
    norm = np.sqrt(np.einsum("ij,ij->i", dense, dense, dtype=np.float64)).astype(np.float32)
    return Densified(indptr, indices, data, data.astype(np.float32), dense, norm)


@njit(cache=True)
def probe(queries, rows, sparse, low, slack, mode, asks, stays, text, blocked):  # type: ignore[no-untyped-def]
    """Pairs of a query and an indexed row at cosine >= low, and in mode KEEP which queries were kept.

    ``sparse`` is the number of sparse columns; the other arguments are those of the functions of ``similarity``.
    """
    q_indptr, q_indices, q_data, q_short, q_dense, q_norm = queries
    indptr, indices, data, short, dense, norm = rows
    starts = np.zeros(sparse + 1, np.int64)
    for column in indices:
        if column < sparse:
            starts[column + 1] += 1
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    members, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    row_of = np.empty(len(norm), np.int32)  # indexed rows take slots in the order of indexing
    slot_dense, slot_norm = np.empty_like(dense), np.empty_like(norm)
    slots = 0
    dot, survivors = np.zeros(len(norm), np.float32), np.empty(len(norm), np.int32)
    taken = np.zeros(text.max() + 1 if len(text) else 0, np.bool_)
    kept = np.zeros(len(q_norm), np.bool_)
    left, right, cosine = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024)
    found = 0
    cut_low = np.float32(low - slack)
    if mode == CROSS:
        for row in np.flatnonzero(stays):
            _index(row, slots, indptr, indices, short, sparse, fill, members, values)
            row_of[slots], slot_dense[slots], slot_norm[slots] = row, dense[row], norm[row]
            slots += 1
    for query in range(len(q_norm)):
        if not asks[query] or (mode == KEEP and taken[text[query]]):
            continue
        before = found
        for i in range(q_indptr[query], q_indptr[query + 1]):
            column, value = q_indices[i], q_short[i]
            if column >= sparse:
                break
            for p in range(starts[column], fill[column]):
                dot[members[p]] += value * values[p]
        for c in range(_survivors(dot, slot_norm, q_norm[query], slots, cut_low, survivors)):
            slot = survivors[c]
            if dot[slot] + _inner(q_dense[query], slot_dense[slot]) < cut_low:
                continue
            row = row_of[slot]
            exact = exact_cosine(indptr, indices, data, row, q_indptr, q_indices, q_data, query)
            if exact < low:
                continue
            if found == len(left):
                left, right, cosine = longer(left), longer(right), longer(cosine)
            left[found], right[found], cosine[found] = query, row, exact
            found += 1
        dot[:slots] = 0.0
        if mode == CROSS or (mode == KEEP and (found > before or blocked[query])):
            continue
        if mode == KEEP:
            taken[text[query]] = kept[query] = True
        _index(query, slots, indptr, indices, short, sparse, fill, members, values)
        row_of[slots], slot_dense[slots], slot_norm[slots] = query, dense[query], norm[query]
        slots += 1
    return left[:found], right[:found], cosine[:found], kept


@njit(cache=True)
def _index(row, slot, indptr, indices, short, sparse, fill, members, values):  # type: ignore[no-untyped-def]
    for i in range(indptr[row], indptr[row + 1]):
        if indices[i] >= sparse:
            break
        at = fill[indices[i]]
        members[at], values[at] = slot, short[i]
        fill[indices[i]] = at + 1


@njit(cache=True, fastmath=True)
def _survivors(dot, norms, norm, slots, low, out):  # type: ignore[no-untyped-def]
    """The slots whose bound reaches ``low``; returns how many."""
    count = 0
    for slot in range(slots):
        if dot[slot] + norm * norms[slot] >= low:
            out[count] = slot
            count += 1
    return count


@njit(cache=True, fastmath=True)
def _inner(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total
