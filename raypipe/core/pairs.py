"""What both kernels of the join share: the pairs they find, the exact cosine, and who enters the index."""

from typing import NamedTuple

import numpy as np
from numba import njit

TOLERANCE = 1e-9  # ">= t" means cosine >= t - TOLERANCE, everywhere
ROUNDING = 2.0**-23  # of one float32 operation, twice over; bounds and sums in float32 get this much slack a term

# Which rows a query is compared with, and whether it joins them.
CROSS = 0  # the rows of another matrix
LIST = 1  # all rows before it
KEEP = 2  # the rows before it that were kept: those which found nothing when their turn came


class Pairs(NamedTuple):
    """Pairs of rows and their cosines; ``left`` is the query."""

    left: np.ndarray  # (pairs,) int64
    right: np.ndarray  # (pairs,) int64
    cosine: np.ndarray  # (pairs,) float64


@njit(cache=True)
def exact_cosine(indptr, indices, data, row, q_indptr, q_indices, q_data, query):  # type: ignore[no-untyped-def]
    """The dot product in float64, summed over shared columns in ascending order: the same bits from either side."""
    i, i_end = indptr[row], indptr[row + 1]
    j, j_end = q_indptr[query], q_indptr[query + 1]
    total = 0.0
    while i < i_end and j < j_end:
        if indices[i] == q_indices[j]:
            total += data[i] * q_data[j]
            i += 1
            j += 1
        elif indices[i] < q_indices[j]:
            i += 1
        else:
            j += 1
    return total


@njit(cache=True)
def longer(array):  # type: ignore[no-untyped-def]
    """The array with room for twice as many entries."""
    return np.concatenate((array, np.empty_like(array)))
