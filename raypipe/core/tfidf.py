"""TF-IDF as scikit-learn's TfidfVectorizer computes it, in steps that can run on shards.

Each shard counts its own terms once; the document frequencies add up to one global vocabulary; each shard then
turns its counts into unit rows. The result is what one process would get from all texts (smooth IDF, L2 rows:
scikit-learn user guide, section "Tf-idf term weighting").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from raypipe.core import terms as core_terms


@dataclass(frozen=True)
class Analyzer:
    """How a text becomes terms, in scikit-learn's words."""

    kind: str = "word"  # word | char | char_wb
    ngram_range: tuple[int, int] = (1, 1)
    token_pattern: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} n-grams {self.ngram_range[0]} to {self.ngram_range[1]}"


@dataclass(frozen=True)
class TermCounts:
    """The term counts of one shard, in the shard's own columns."""

    terms: list[str]  # (local terms,)
    counts: sp.csr_matrix  # (rows, local terms), int32

    def document_frequency(self) -> np.ndarray:
        return np.bincount(self.counts.indices, minlength=len(self.terms))


@dataclass(frozen=True)
class Weights:
    """What turns counts into unit rows; columns run from rare to frequent, as the join wants them."""

    column: np.ndarray  # (terms,) int32, the column of each term number
    idf: np.ndarray  # (terms,), by column


class Vocabulary:
    """All terms of all shards, numbered as they come; shards may come in any order."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._frequency = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self._number)

    def add(self, terms: Sequence[str], frequency: np.ndarray) -> np.ndarray:
        """Take in a shard's terms and their document frequencies; returns the terms' numbers  # (terms,) int32."""
        number = self._number
        numbers = np.fromiter((number.setdefault(term, len(number)) for term in terms), np.int32, len(terms))
        if len(number) > len(self._frequency):
            self._frequency = np.pad(self._frequency, (0, len(number)))
        self._frequency[numbers] += frequency
        return numbers

    def numbers(self, terms: Sequence[str]) -> np.ndarray:
        """The numbers of terms, -1 for one that no shard has  # (terms,) int32."""
        return np.fromiter((self._number.get(term, -1) for term in terms), np.int32, len(terms))

    def weights(self, rows: int) -> Weights:
        """Columns and IDF, for ``rows`` texts in all; they depend on the texts, not on how they were sharded."""
        by_name = np.fromiter((self._number[term] for term in sorted(self._number)), np.int64, len(self._number))
        frequency = self._frequency[: len(self._number)]
        order = by_name[np.argsort(frequency[by_name], kind="stable")]
        column = np.empty(len(order), np.int32)
        column[order] = np.arange(len(order), dtype=np.int32)
        return Weights(column, np.log((1 + rows) / (1 + frequency[order])) + 1)


def count_terms(texts: Iterable[str], analyzer: Analyzer) -> TermCounts:
    """Count the terms of each text."""
    counted = core_terms.count(list(texts), analyzer.kind, analyzer.ngram_range, analyzer.token_pattern)
    return TermCounts(*counted)


def unit_rows(counts: sp.csr_matrix, numbers: np.ndarray, weights: Weights) -> sp.csr_matrix:
    """A shard's counts as unit TF-IDF rows in global columns, columns ascending  # (rows, terms).

    ``numbers`` are those of the shard's terms in the vocabulary. A term outside of it (-1) is dropped, as
    scikit-learn's ``transform`` does. A row's numbers depend on its own counts alone, to the last bit.
    """
    rows, width = counts.shape[0], len(weights.idf)
    known = numbers >= 0
    column = np.full(len(numbers), -1, np.int32)
    column[known] = weights.column[numbers[known]]
    col, data, indptr = column[counts.indices], counts.data.astype(np.float64), counts.indptr.astype(np.int64)
    if not known.all():
        stays = col >= 0
        indptr = np.concatenate([[0], np.cumsum(stays)])[indptr]
        col, data = col[stays], data[stays]
    data *= weights.idf[col]
    matrix = sp.csr_matrix((data, col, indptr), shape=(rows, width))
    matrix.sort_indices()
    row = np.repeat(np.arange(rows), np.diff(indptr))
    matrix.data /= np.sqrt(np.bincount(row, matrix.data**2, minlength=rows))[row]
    return matrix
