"""From similar pairs and a fixed order to who stays, the witness of each row that goes, and label conflicts."""

from typing import NamedTuple

import numpy as np
from numba import njit

from raypipe.core.pairs import Pairs

TIE_DIGITS = 9  # cosines equal to this many decimals tie; their last bits depend on the order of summation


class Verdict(NamedTuple):
    """What the keep rule says of each row, in row order."""

    kept: np.ndarray  # (rows,) bool
    witness: np.ndarray  # (rows,) int64, the kept row that a removed row repeats; -1 where kept
    similarity: np.ndarray  # (rows,) float64, nan where kept; 1.0 for an exact duplicate
    exact: np.ndarray  # (rows,) bool, the witness has the same canonical text


class Settlement(NamedTuple):
    """What becomes of label conflicts."""

    conflict: np.ndarray  # (rows,) bool, a removed row whose witness has another label
    dropped: np.ndarray  # (rows,) int64, for a witness that goes too its first conflicting row; else -1
    label: np.ndarray  # (rows,) the labels after settling


def keep_rule(
    vector: np.ndarray, text: np.ndarray, indptr: np.ndarray, neighbour: np.ndarray, cosine: np.ndarray
) -> Verdict:
    """A row stays unless an EARLIER KEPT row has the same canonical text or cosine >= t.

    Args:
        vector: (rows,) number of each row's distinct TF-IDF vector, -1 for a row without features.
        text: (rows,) number of each row's canonical text.
        indptr, neighbour, cosine: the symmetric graph of distinct vectors at cosine >= t as CSR.

    At most one row of a vector, and one of a text, is ever kept, so one number for each holds the state, and
    a chain of near-duplicates is never contracted into one component.
    """
    return Verdict(*_keep(vector, text, indptr, neighbour, np.round(cosine, TIE_DIGITS), cosine))


class Nearest:
    """The nearest kept row found so far for each row: highest cosine, ties to the earliest."""

    def __init__(self, rows: int) -> None:
        self.row = np.full(rows, -1)  # (rows,) int64, -1 where none was found
        self.cosine = np.full(rows, np.nan)  # (rows,)

    def update(self, rows: np.ndarray, others: np.ndarray, cosine: np.ndarray) -> None:
        """Take in a candidate for each of some distinct rows."""
        new, old = np.round(cosine, TIE_DIGITS), np.round(self.cosine[rows], TIE_DIGITS)
        better = (self.row[rows] < 0) | (new > old) | ((new == old) & (others < self.row[rows]))
        self.row[rows[better]], self.cosine[rows[better]] = others[better], cosine[better]


def nearest(pairs: Pairs) -> Pairs:
    """Of the pairs of each query the one of highest cosine, ties to the earliest row; queries ascending."""
    order = np.lexsort((pairs.right, -np.round(pairs.cosine, TIE_DIGITS), pairs.left))
    first = order[np.flatnonzero(np.diff(pairs.left[order], prepend=-1))]
    return Pairs(*(part[first] for part in pairs))


def verdict(text: np.ndarray, kept: np.ndarray, witness: np.ndarray, cosine: np.ndarray) -> Verdict:
    """The verdict from who was kept and each other row's nearest kept one; an equal text before it comes first.

    Args:
        text: (rows,) number of each row's canonical text.
        witness, cosine: (rows,) the nearest earlier kept row at cosine >= t, -1 where there is none.
    """
    rows = np.arange(len(text))
    by_text = np.full(text.max(initial=-1) + 1, len(text))
    by_text[text[kept]] = rows[kept]
    exact = ~kept & (by_text[text] < rows)
    witness = np.where(exact, by_text[text], np.where(kept, -1, witness))
    assert (witness[~kept] >= 0).all(), "a row left without a witness"
    return Verdict(kept, witness, np.where(kept, np.nan, np.where(exact, 1.0, cosine)), exact)


def symmetric(left: np.ndarray, right: np.ndarray, cosine: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Undirected pairs as CSR: (indptr (size + 1,), neighbour, cosine)."""
    source, target = np.concatenate([left, right]), np.concatenate([right, left])
    order = np.lexsort((target, source))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=size))]).astype(np.int64)
    return indptr, target[order].astype(np.int64), np.concatenate([cosine, cosine])[order]


def settle(verdict: Verdict, label: np.ndarray, mode: str) -> Settlement:
    """Decide label conflicts: ``keep`` the witness, ``drop`` it too, or give it the ``majority`` label.

    ``label`` holds codes  # (rows,) int64. In the majority the witness and its followers vote; a tie leaves the
    witness its own label. Nobody is revived.
    """
    removed = np.flatnonzero(~verdict.kept)
    conflict = np.zeros(len(label), bool)
    conflict[removed] = label[removed] != label[verdict.witness[removed]]
    dropped = np.full(len(label), -1)
    settled = label.copy()
    if mode == "drop":
        rows = np.flatnonzero(conflict)[::-1]  # the first conflicting row is written last
        dropped[verdict.witness[rows]] = rows
    elif mode == "majority":
        followers = removed[np.argsort(verdict.witness[removed], kind="stable")]
        witnesses = verdict.witness[followers]
        for witness in np.unique(verdict.witness[conflict]):
            first, last = np.searchsorted(witnesses, [witness, witness + 1])
            codes, votes = np.unique(label[[witness, *followers[first:last]]], return_counts=True)
            leaders = codes[votes == votes.max()]
            settled[witness] = leaders[0] if len(leaders) == 1 else label[witness]
    return Settlement(conflict, dropped, settled)


@njit(cache=True)
def _keep(vector, text, indptr, neighbour, rounded, cosine):  # type: ignore[no-untyped-def]
    rows = len(vector)
    kept = np.zeros(rows, np.bool_)
    witness = np.full(rows, -1, np.int64)
    similarity = np.full(rows, np.nan)
    exact = np.zeros(rows, np.bool_)
    by_text = np.full(text.max() + 1 if rows else 0, -1, np.int64)
    by_vector = np.full(len(indptr) - 1, -1, np.int64)
    for row in range(rows):
        v = vector[row]
        if by_text[text[row]] >= 0:
            witness[row], similarity[row], exact[row] = by_text[text[row]], 1.0, True
            continue
        best = -1.0
        if v >= 0 and by_vector[v] >= 0:
            best, witness[row], similarity[row] = 1.0, by_vector[v], 1.0
        if v >= 0:
            for i in range(indptr[v], indptr[v + 1]):
                other = by_vector[neighbour[i]]
                if other < 0:
                    continue
                if rounded[i] > best or (rounded[i] == best and other < witness[row]):
                    best, witness[row], similarity[row] = rounded[i], other, cosine[i]
        if best < 0:
            kept[row] = True
            by_text[text[row]] = row
            if v >= 0:
                by_vector[v] = row
    return kept, witness, similarity, exact
