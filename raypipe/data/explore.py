"""All near pairs of the input at a low threshold, once, and what the keep rule would remove at each higher one."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import scipy.sparse as sp

from raypipe.core import keep, similarity
from raypipe.core.similarity import TOLERANCE, Pairs
from raypipe.data.table import Table
from raypipe.data.tasks import Arrays, tasks_at_once
from raypipe.data.vectorise import Vectors, matrix_of
from raypipe.errors import DataError

THRESHOLDS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 1.00)
SLICE_PAIRS = 10_000_000  # pairs that one call of the join should find at most: bounds a task's memory to some 0.5 GB
_MARGIN = 4  # a block is joined in one call if a sample predicts this many times fewer pairs


class PairGraph(NamedTuple):
    """The living rows, and the near pairs of their distinct vectors."""

    rows: np.ndarray  # (rows,) numbers in the table
    vector: np.ndarray  # (rows,) number of the distinct vector, -1 without features
    text: np.ndarray  # (rows,) number of the canonical text
    pairs: Pairs  # of distinct vectors
    size: int  # distinct vectors


class Outcome(NamedTuple):
    """What the keep rule removes at one threshold, by row numbers of the table."""

    threshold: float
    kept: int
    exact: int  # removed rows with the same canonical text as a kept one
    removed: np.ndarray  # (removed,) the others
    witness: np.ndarray  # (removed,)
    similarity: np.ndarray  # (removed,)


def graph(table: Table, vectors: Vectors, block_rows: int, max_pairs: int) -> PairGraph:
    """One exact join at the lowest threshold. Raises DataError beyond ``max_pairs``; nothing is left out below."""
    rows = table.alive
    place = np.searchsorted(np.concatenate(vectors.rows), rows)  # where a living row stands among the vectors
    hashes = ray.get([ray.remote(_hashes).remote(shard) for shard in vectors.blocks])
    vector, first = _distinct(np.concatenate(hashes)[place])
    pairs = _join(vectors, place[first], THRESHOLDS[0], block_rows, max_pairs)
    return PairGraph(rows, vector, table.text_numbers(rows), pairs, len(first))


def outcomes(found: PairGraph) -> Iterator[Outcome]:
    """The keep rule at each threshold, over the pairs that reach it."""
    indptr, neighbour, cosine = keep.symmetric(*found.pairs, found.size)
    source = np.repeat(np.arange(found.size), np.diff(indptr))
    for threshold in THRESHOLDS:
        reach = cosine >= threshold - TOLERANCE
        counts = np.bincount(source[reach], minlength=found.size)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        verdict = keep.keep_rule(found.vector, found.text, starts, neighbour[reach], cosine[reach])
        gone = np.flatnonzero(~verdict.kept & ~verdict.exact)
        yield Outcome(
            threshold,
            int(verdict.kept.sum()),
            int(verdict.exact.sum()),
            found.rows[gone],
            found.rows[verdict.witness[gone]],
            verdict.similarity[gone],
        )


def band_of(similarities: np.ndarray) -> np.ndarray:
    """The number of the highest threshold that each similarity reaches, -1 below all."""
    return np.searchsorted(np.array(THRESHOLDS) - TOLERANCE, similarities, side="right") - 1


def _hashes(shard: Arrays) -> np.ndarray:
    """128 bits of each row's vector, equal for equal vectors; 0, 0 for a row without features  # (rows, 2) int64."""
    matrix = matrix_of(shard)
    hashes = np.zeros((matrix.shape[0], 2), np.int64)
    for row, (start, end) in enumerate(itertools.pairwise(matrix.indptr.tolist())):
        if end > start:
            content = matrix.indices[start:end].astype(np.int64).tobytes() + matrix.data[start:end].tobytes()
            hashes[row] = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.int64)
    return hashes


def _distinct(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's vector (-1 without features), in order of first occurrence, and those first rows."""
    unique, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    real = (unique != 0).any(axis=1)
    order = np.argsort(first[real])
    number = np.full(len(unique), -1)
    number[np.flatnonzero(real)[order]] = np.arange(len(order))
    return number[inverse.ravel()], first[real][order]


def _join(vectors: Vectors, places: np.ndarray, threshold: float, block_rows: int, max_pairs: int) -> Pairs:
    """All pairs of distinct vectors at cosine >= threshold, numbered by their position in ``places``."""
    starts = range(0, len(places), block_rows)
    blocks = [_block(vectors, places[start : start + block_rows]) for start in starts]
    join = ray.remote(_near_pairs)
    todo = ((i, j) for i in range(len(blocks)) for j in range(i + 1))
    tasks, room = len(blocks) * (len(blocks) + 1) // 2, tasks_at_once()
    running: dict[Any, tuple[int, int]] = {}  # task -> first rows of its two blocks
    parts: list[Pairs] = []
    found = 0
    while len(parts) < tasks:
        for i, j in itertools.islice(todo, room - len(running)):
            running[join.remote(blocks[i], blocks[j] if j < i else None, threshold, max_pairs)] = starts[i], starts[j]
        ref = ray.wait(list(running))[0][0]
        later, earlier = running.pop(ref)
        pairs = ray.get(ref)
        found += max_pairs + 1 if pairs is None else len(pairs.left)
        if pairs is None or found > max_pairs:
            for other in running:
                ray.cancel(other)
            raise _too_many(max_pairs, threshold, len(parts) + 1, tasks)
        parts.append(Pairs(pairs.left + later, pairs.right + earlier, pairs.cosine))
    return _stacked(parts)


def _block(vectors: Vectors, places: np.ndarray) -> "ray.ObjectRef":
    """One matrix of the vectors at these ascending places, as a task."""
    ends = np.cumsum([len(rows) for rows in vectors.rows])
    shard = np.searchsorted(ends, places, side="right")
    used = np.unique(shard)
    rows = [places[shard == s] - (ends[s] - len(vectors.rows[s])) for s in used]
    return ray.remote(_stack).remote(rows, *(vectors.blocks[s] for s in used))


def _stack(rows: Sequence[np.ndarray], *shards: Arrays) -> sp.csr_matrix:
    return sp.vstack([matrix_of(shard)[r] for shard, r in zip(shards, rows, strict=True)], format="csr")


def _near_pairs(later: sp.csr_matrix, earlier: sp.csr_matrix | None, threshold: float, max_pairs: int) -> Pairs | None:
    """All pairs of two blocks, or of one block with itself; None beyond ``max_pairs``, before they fill the memory."""
    parts: list[Pairs] = []
    step = _step(later, later if earlier is None else earlier, threshold)
    for start in range(0, later.shape[0], step):
        queries = later[start : start + step]
        below = later[:start] if earlier is None else earlier
        if below.shape[0]:
            found = similarity.cross_join(queries, below, threshold)
            parts.append(Pairs(found.left + start, found.right, found.cosine))
        if earlier is None:
            found = similarity.self_join(queries, threshold)
            parts.append(Pairs(found.left + start, found.right + start, found.cosine))
        if sum(len(part.left) for part in parts) > max_pairs:
            return None
    return _stacked(parts)


def _step(queries: sp.csr_matrix, rows: sp.csr_matrix, threshold: float) -> int:
    """How many queries to join at once: so few that they cannot have more than SLICE_PAIRS pairs, unless the pairs of
    some random queries say that all of them together stay far below that.
    """
    step = max(1, SLICE_PAIRS // max(1, rows.shape[0]))
    if queries.shape[0] <= step:
        return max(1, queries.shape[0])
    some = np.sort(np.random.default_rng(0).choice(queries.shape[0], step, replace=False))
    expected = len(similarity.cross_join(queries[some], rows, threshold).left) * queries.shape[0] / step
    return queries.shape[0] if _MARGIN * expected <= SLICE_PAIRS else step


def _stacked(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([np.empty(0, np.int64), *(p.left for p in parts)]),
        np.concatenate([np.empty(0, np.int64), *(p.right for p in parts)]),
        np.concatenate([np.empty(0), *(p.cosine for p in parts)]),
    )


def _too_many(max_pairs: int, threshold: float, done: int, tasks: int) -> DataError:
    return DataError(
        f"more than {max_pairs:,} pairs of rows at cosine {threshold} or more, in {done} of {tasks} parts of the join",
        "at most --explore-max-pairs of them: --explore holds every pair (one template with n near-copies has n²/2)",
        "run prepare at a high --similarity-threshold and explore what it keeps, explore fewer files, or raise "
        "--explore-max-pairs (the driver needs about 200 bytes a pair)",
    )
