"""TF-IDF as scikit-learn's TfidfVectorizer computes it, in steps that can run on shards.

Each shard counts its own terms once; the document frequencies add up to one global vocabulary; each shard then
turns its counts into unit rows. The result is what one process would get from all texts (smooth IDF, L2 rows:
scikit-learn user guide, section "Tf-idf term weighting").
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer


@dataclass(frozen=True)
class Analyzer:
    """How a text becomes terms, in scikit-learn's words."""

    kind: str = "word"  # word | char | char_wb
    ngram_range: tuple[int, int] = (1, 1)
    token_pattern: str | None = None

    def vectorizer(self) -> CountVectorizer:
        pattern = {} if self.token_pattern is None else {"token_pattern": self.token_pattern}
        return CountVectorizer(analyzer=self.kind, ngram_range=self.ngram_range, **pattern)


@dataclass(frozen=True)
class TermCounts:
    """The term counts of one shard, in the shard's own columns."""

    terms: list[str]  # (local terms,)
    counts: sp.csr_matrix  # (rows, local terms), float64

    def document_frequency(self) -> np.ndarray:
        return np.bincount(self.counts.indices, minlength=len(self.terms))


@dataclass(frozen=True)
class Vocabulary:
    """All terms of all shards with their IDF; columns run from rare to frequent, as the join wants them."""

    column: dict[str, int]
    idf: np.ndarray  # (terms,), by column


def count_terms(texts: Iterable[str], analyzer: Analyzer) -> TermCounts:
    """Count the terms of each text."""
    analyze = analyzer.vectorizer().build_analyzer()
    local: defaultdict[str, int] = defaultdict()
    local.default_factory = local.__len__
    columns: list[int] = []
    ends = [0]
    for text in texts:
        columns.extend([local[term] for term in analyze(text)])
        ends.append(len(columns))
    shape = (len(ends) - 1, len(local))
    counts = sp.csr_matrix((np.ones(len(columns)), np.array(columns, np.int32), np.array(ends)), shape=shape)
    counts.sum_duplicates()
    return TermCounts(list(local), counts)


def merge(shards: Iterable[tuple[list[str], np.ndarray]], rows: int) -> Vocabulary:
    """One vocabulary from each shard's terms and document frequencies; ``rows`` counts all texts."""
    total: defaultdict[str, int] = defaultdict(int)
    for terms, frequency in shards:
        for term, count in zip(terms, frequency.tolist(), strict=True):
            total[term] += count
    ordered = sorted(total, key=lambda term: (total[term], term))
    frequency = np.array([total[term] for term in ordered], dtype=np.float64)
    return Vocabulary({term: i for i, term in enumerate(ordered)}, np.log((1 + rows) / (1 + frequency)) + 1)


def unit_rows(shard: TermCounts, vocabulary: Vocabulary) -> sp.csr_matrix:
    """The shard's rows as unit TF-IDF vectors in global columns, indices ascending  # (rows, terms).

    A term outside the vocabulary is dropped, as scikit-learn's ``transform`` does.
    """
    column = np.array([vocabulary.column.get(term, -1) for term in shard.terms], dtype=np.int64)
    counts = shard.counts.tocoo()
    global_column = column[counts.col] if len(column) else counts.col
    known = global_column >= 0
    row, col = counts.row[known], global_column[known]
    order = np.lexsort((col, row))
    row, col = row[order], col[order]
    weight = counts.data[known][order] * vocabulary.idf[col]
    norm = np.sqrt(np.bincount(row, weight**2, minlength=counts.shape[0]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=counts.shape[0]))])
    return sp.csr_matrix((weight / norm[row], col, indptr), shape=(counts.shape[0], len(vocabulary.idf)))
