"""Texts to unit TF-IDF rows, block by block, with one global vocabulary.

The texts stay in the object store: the driver sees terms with their document frequencies. Ray Data holds the blocks;
counting and weighting are Ray tasks over them, because a CSR matrix is no Arrow table.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import scipy.sparse as sp

from raypipe.config import PrepareConfig
from raypipe.core import tfidf
from raypipe.core.tfidf import Analyzer
from raypipe.data.table import Table
from raypipe.data.tasks import Arrays, Work, in_order, packed, unpacked
from raypipe.errors import ConfigError

UNSPACED_SHARE = 0.1  # more than this share of letters in scripts without spaces: the word analyzer cannot work


@dataclass(frozen=True)
class Vectors:
    """The unit rows of the rows that were alive, in shards that follow file order."""

    shards: list["ray.ObjectRef"]  # of a csr_matrix as arrays  # (shard rows, terms)
    rows: list[np.ndarray]  # the table's row numbers of each shard
    entries: list[int]  # stored values of each shard
    featureless: np.ndarray  # the table's row numbers of rows without features
    vocabulary: tfidf.Vocabulary
    weights: "ray.ObjectRef"  # of tfidf.Weights
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


def vectorise(table: Table, analyzer: Analyzer, work: Work) -> Vectors:
    """Fit on all rows that are alive and transform them; each text is tokenised once."""
    rows = [numbers[table.is_alive[numbers]] for numbers in (shard.numbers() for shard in table.shards)]
    vocabulary, counted, numbers, entries, featureless = tfidf.Vocabulary(), [], [], [], []

    def count(number: int) -> "ray.ObjectRef":
        shard = table.shards[number]
        positions = rows[number] - shard.first + shard.offset
        counts, summary = work.submit(f"count/{number:05d}", count_block, shard.block, positions, analyzer, parts=2)
        counted.append(counts)
        return summary

    for shard, summary in enumerate(in_order("count", count, len(rows))):
        numbers.append(vocabulary.add(unpacked(summary), summary["frequency"]))
        featureless.append(rows[shard][summary["features"] == 0])
        entries.append(int(summary["features"].sum()))
    weights = ray.put(vocabulary.weights(sum(map(len, rows))))
    weighed = [
        work.submit(f"weigh/{shard:05d}", weigh, counts, shard_numbers, weights)
        for shard, (counts, shard_numbers) in enumerate(zip(counted, numbers, strict=True))
    ]
    ray.wait(weighed, num_returns=len(weighed), fetch_local=False)
    return Vectors(
        weighed, rows, entries, np.concatenate([np.empty(0, np.int64), *featureless]), vocabulary, weights, analyzer
    )


def count_block(block: pa.Table, positions: np.ndarray, analyzer: Analyzer) -> tuple[Arrays, Arrays]:
    """The term counts of a block's rows at these positions; and their terms, document frequencies and row sizes."""
    counted = tfidf.count_terms(block["text"].take(pa.array(positions)).to_pylist(), analyzer)
    features = np.diff(counted.counts.indptr)
    summary = packed(counted.terms) | {"frequency": counted.document_frequency(), "features": features}
    return arrays_of(counted.counts), summary


def weigh(counts: Arrays, numbers: np.ndarray, weights: tfidf.Weights) -> Arrays:
    """A shard's counts as unit rows."""
    return arrays_of(tfidf.unit_rows(matrix_of(counts), numbers, weights))


def arrays_of(matrix: sp.csr_matrix) -> Arrays:
    """A CSR matrix as plain arrays."""
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": np.array(matrix.shape)}


def matrix_of(arrays: Arrays) -> sp.csr_matrix:
    """The CSR matrix of plain arrays."""
    parts = arrays["data"], arrays["indices"], arrays["indptr"]
    return sp.csr_matrix(parts, shape=tuple(arrays["shape"]), copy=False)
