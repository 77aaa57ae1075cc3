"""Texts to unit TF-IDF rows, block by block, with one global vocabulary.

The texts stay in the object store: the driver sees terms with their document frequencies, and a hash of each row.
Ray Data holds the blocks; counting and weighting are Ray tasks over them, because a CSR matrix is no Arrow table.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import scipy.sparse as sp

from raypipe.config import PrepareConfig
from raypipe.core import tfidf
from raypipe.core.tfidf import Analyzer
from raypipe.data.table import Table
from raypipe.errors import ConfigError

UNSPACED_SHARE = 0.1  # more than this share of letters in scripts without spaces: the word analyzer cannot work


@dataclass(frozen=True)
class Vectors:
    """The unit rows of the rows that were alive, in shards that follow file order."""

    shards: list["ray.ObjectRef"]  # of csr_matrix  # (shard rows, terms)
    rows: list[np.ndarray]  # the table's row numbers of each shard
    hash: np.ndarray  # (all rows, 2) int64, equal for equal vectors; 0, 0 for a row without features
    vocabulary: "ray.ObjectRef"  # of tfidf.Vocabulary
    analyzer: Analyzer


def choose_analyzer(table: Table, config: PrepareConfig) -> Analyzer:
    """The configured analyzer; ``auto`` looks at the scripts of the rows that are alive."""
    kind, default_range = config.analyzer, (1, 1) if config.analyzer in ("auto", "word") else (3, 5)
    if kind == "auto":
        alive = table.alive
        unspaced = table.unspaced[alive].sum() > UNSPACED_SHARE * max(1, table.letters[alive].sum())
        kind, default_range = ("char_wb", (2, 3)) if unspaced else ("word", (1, 1))
    if config.token_pattern is not None and kind != "word":
        raise ConfigError(
            "--token-pattern, where --analyzer auto takes characters for a script without spaces",
            "the word analyzer",
            "--analyzer word, or no --token-pattern",
        )
    return Analyzer(kind, config.ngram_range or default_range, config.token_pattern)


def vectorise(dataset: "ray.data.Dataset", table: Table, analyzer: Analyzer) -> Vectors:
    """Fit on all rows that are alive and transform them; each text is tokenised once."""
    alive_order = ray.put(table.order[table.alive])
    count = ray.remote(num_returns=2)(_count)
    weigh = ray.remote(num_returns=2)(_weigh)
    counted = [count.remote(block, alive_order, analyzer) for block in dataset.to_arrow_refs()]
    summaries = ray.get([summary for _, summary in counted])
    vocabulary = ray.put(tfidf.merge([(terms, df) for _, terms, df in summaries], len(table.alive)))
    weighed = [weigh.remote(counts, vocabulary) for counts, _ in counted]
    hashes = ray.get([row_hashes for _, row_hashes in weighed])
    return Vectors(
        shards=[matrix for matrix, _ in weighed],
        rows=[np.searchsorted(table.order, orders) for orders, _, _ in summaries],
        hash=np.concatenate(hashes),
        vocabulary=vocabulary,
        analyzer=analyzer,
    )


def take(shards: Sequence["ray.ObjectRef"], rows: Sequence[np.ndarray]) -> "ray.ObjectRef":
    """One matrix of the given rows of each shard, as a task."""

    def stack(rows: Sequence[np.ndarray], *matrices: sp.csr_matrix) -> sp.csr_matrix:
        return sp.vstack([m[r] for m, r in zip(matrices, rows, strict=True)], format="csr")

    return ray.remote(stack).remote(rows, *shards)


def _count(block: pa.Table, alive_order: np.ndarray, analyzer: Analyzer) -> tuple:
    """The term counts of a block's living rows; and for the driver their orders, terms and document frequencies."""
    block = block.sort_by("order")
    order = block["order"].to_numpy()
    living = np.isin(order, alive_order)
    counts = tfidf.count_terms(block["text"].filter(pa.array(living)).to_pylist(), analyzer)
    return counts, (order[living], counts.terms, counts.document_frequency())


def _weigh(counts: tfidf.TermCounts, vocabulary: tfidf.Vocabulary) -> tuple[sp.csr_matrix, np.ndarray]:
    matrix = tfidf.unit_rows(counts, vocabulary)
    hashes = np.zeros((matrix.shape[0], 2), np.int64)
    for row, (start, end) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        if end > start:
            content = matrix.indices[start:end].astype(np.int64).tobytes() + matrix.data[start:end].tobytes()
            hashes[row] = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.int64)
    return matrix, hashes
