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
from raypipe.core import similarity, tfidf
from raypipe.core.tfidf import Analyzer
from raypipe.data.table import Table
from raypipe.data.tasks import Arrays, Work, in_order, packed, started, unpacked
from raypipe.errors import ConfigError

BLOCK_ENTRIES = 16_000_000  # values of one block, 250 MB: rows of many character n-grams come in smaller blocks
UNSPACED_SHARE = 0.1  # more than this share of letters in scripts without spaces: the word analyzer cannot work


@dataclass(frozen=True)
class Vectors:
    """The unit rows of the rows that were alive, in blocks that follow file order, ready for the join."""

    blocks: list["ray.ObjectRef"]  # of a similarity.Ready as arrays  # (block rows, terms)
    rows: list[np.ndarray]  # the table's row numbers of each block
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


def vectorise(table: Table, analyzer: Analyzer, threshold: float, block_rows: int, work: Work) -> Vectors:
    """Fit on all rows that are alive and transform them; each text is tokenised once."""
    alive = table.is_alive
    rows = [numbers[alive[numbers]] for numbers in (shard.numbers() for shard in table.shards)]
    vocabulary, counted, numbers, entries, featureless = tfidf.Vocabulary(), [], [], [], []

    def count(number: int) -> "ray.ObjectRef":
        shard = table.shards[number]
        positions = rows[number] - shard.first + shard.offset
        counts, summary = work.submit(f"count/{number:05d}", count_shard, shard.block, positions, analyzer, parts=2)
        counted.append(counts)
        return summary

    for shard, summary in enumerate(in_order("count", count, len(rows), work)):
        numbers.append(vocabulary.add(unpacked(summary), summary["frequency"]))
        featureless.append(rows[shard][summary["features"] == 0])
        entries.append(int(summary["features"].sum()))
    weights = ray.put(vocabulary.weights(sum(map(len, rows))))
    groups = _grouped([len(r) for r in rows], entries, block_rows)

    def weigh(group: int) -> "ray.ObjectRef":
        mine = groups[group]
        counts = [counted[shard] for shard in mine]
        return work.submit(
            f"weigh/{group:05d}", weigh_block, threshold, weights, [numbers[shard] for shard in mine], *counts
        )

    return Vectors(
        blocks=list(started("weigh", weigh, len(groups), work)),
        rows=[np.concatenate([rows[shard] for shard in group]) for group in groups],
        featureless=np.concatenate([np.empty(0, np.int64), *featureless]),
        vocabulary=vocabulary,
        weights=weights,
        analyzer=analyzer,
    )


def _grouped(rows: list[int], entries: list[int], block_rows: int) -> list[list[int]]:
    """Consecutive shards together, up to ``block_rows`` rows and BLOCK_ENTRIES values; shards without rows left out."""
    groups: list[list[int]] = []
    group_rows = group_entries = 0
    for shard, (r, e) in enumerate(zip(rows, entries, strict=True)):
        if not r:
            continue
        if not groups or group_rows + r > block_rows or group_entries + e > BLOCK_ENTRIES:
            groups.append([])
            group_rows = group_entries = 0
        groups[-1].append(shard)
        group_rows, group_entries = group_rows + r, group_entries + e
    return groups


def count_shard(block: pa.Table, positions: np.ndarray, analyzer: Analyzer) -> tuple[Arrays, Arrays]:
    """The term counts of a block's rows at these positions; and their terms, document frequencies and row sizes."""
    counted = tfidf.count_terms(block["text"].take(pa.array(positions)).to_pylist(), analyzer)
    features = np.diff(counted.counts.indptr)
    summary = packed(counted.terms) | {"frequency": counted.document_frequency(), "features": features}
    return arrays_of(counted.counts), summary


def weigh_block(threshold: float, weights: tfidf.Weights, numbers: list[np.ndarray], *counts: Arrays) -> Arrays:
    """The counts of consecutive shards as one block of unit rows, ready for the join."""
    shards = [tfidf.unit_rows(matrix_of(c), n, weights) for c, n in zip(counts, numbers, strict=True)]
    made = similarity.ready(shards[0] if len(shards) == 1 else sp.vstack(shards, format="csr"), threshold)
    shape = np.array([len(made.rows.end), made.columns])
    return made.rows._asdict() | {"shape": shape, "threshold": np.array(threshold)}


def ready_of(arrays: Arrays) -> similarity.Ready:
    """The block that ``weigh_block`` made."""
    rows = similarity.Prefixed(*(arrays[name] for name in similarity.Prefixed._fields))
    return similarity.Ready(rows, int(arrays["shape"][1]), float(arrays["threshold"]))


def arrays_of(matrix: sp.csr_matrix) -> Arrays:
    """A CSR matrix as plain arrays."""
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": np.array(matrix.shape)}


def matrix_of(arrays: Arrays) -> sp.csr_matrix:
    """The CSR matrix of plain arrays, also of a block's."""
    parts = arrays["data"], arrays["indices"], arrays["indptr"]
    return sp.csr_matrix(parts, shape=tuple(arrays["shape"]), copy=False)
