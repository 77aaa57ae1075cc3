"""Exact and near-duplicates leave by the keep rule; what happens to duplicates with different labels."""

import numpy as np
import ray

from raypipe import schema
from raypipe.core import keep, similarity
from raypipe.core.similarity import Pairs
from raypipe.data.table import Table
from raypipe.data.vectorise import Vectors, take


def dedup(table: Table, vectors: Vectors, threshold: float, on_conflict: str, block_rows: int) -> int:
    """Remove each row with an earlier kept row of the same canonical text or at cosine >= threshold.

    Sets witness, similarity, weight (rows that a kept row stands for) and, under ``on_conflict`` "majority", labels.
    Returns how many of the living rows have no features; those are never near-duplicates.
    """
    alive = table.alive
    place = np.searchsorted(np.concatenate(vectors.rows), alive)  # where a living row stands among the vectors
    vector, first = _distinct(vectors.hash[place])
    pairs = _join(vectors, place[first], threshold, block_rows)
    text = np.unique(np.column_stack([table.key_high, table.key_low])[alive], axis=0, return_inverse=True)[1]
    graph = keep.symmetric(*pairs, len(first))
    verdict = keep.keep_rule(vector, text.ravel().astype(np.int64), *graph)
    settled = keep.settle(verdict, table.label[alive], on_conflict)
    _record(table, alive, verdict, settled)
    return int((vector < 0).sum())


def _distinct(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's vector (-1 without features), in order of first occurrence, and those first rows."""
    unique, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    real = (unique != 0).any(axis=1)
    order = np.argsort(first[real])
    number = np.full(len(unique), -1)
    number[np.flatnonzero(real)[order]] = np.arange(len(order))
    return number[inverse.ravel()], first[real][order]


def _join(vectors: Vectors, places: np.ndarray, threshold: float, block_rows: int) -> Pairs:
    """All pairs of distinct vectors at cosine >= threshold, numbered by their position in ``places``."""
    ends = np.cumsum([len(rows) for rows in vectors.rows])
    starts = range(0, len(places), block_rows)
    blocks = []
    for start in starts:
        chosen = places[start : start + block_rows]
        shard = np.searchsorted(ends, chosen, side="right")
        used = np.unique(shard)
        offsets = ends - [len(rows) for rows in vectors.rows]
        blocks.append(take([vectors.shards[s] for s in used], [chosen[shard == s] - offsets[s] for s in used]))
    self_join, cross_join = ray.remote(similarity.self_join), ray.remote(similarity.cross_join)
    tasks, offset = [], []
    for i, later in enumerate(blocks):
        tasks += [cross_join.remote(later, earlier, threshold) for earlier in blocks[:i]]
        tasks.append(self_join.remote(later, threshold))
        offset += [(starts[i], starts[j]) for j in range(i + 1)]
    found = ray.get(tasks)
    return Pairs(
        np.concatenate([np.empty(0, np.int64), *(p.left + o for p, (o, _) in zip(found, offset, strict=True))]),
        np.concatenate([np.empty(0, np.int64), *(p.right + o for p, (_, o) in zip(found, offset, strict=True))]),
        np.concatenate([np.empty(0), *(p.cosine for p in found)]),
    )


def _record(table: Table, alive: np.ndarray, verdict: keep.Verdict, settled: keep.Settlement) -> None:
    removed = np.flatnonzero(~verdict.kept)
    gone, witness = alive[removed], alive[verdict.witness[removed]]
    table.witness[gone], table.similarity[gone] = witness, verdict.similarity[removed]
    exact, conflict = verdict.exact[removed], settled.conflict[removed]
    table.remove(gone[exact], schema.EXACT_DUPLICATE)
    table.remove(gone[~exact], schema.NEAR_DUPLICATE)
    table.remove(gone[conflict], schema.LABEL_CONFLICT)
    relabelled = np.flatnonzero(settled.label != table.label[alive])
    original = {int(alive[w]): table.names[table.label[alive[w]]] for w in relabelled}
    for row, by, is_exact, in_conflict in zip(gone.tolist(), witness.tolist(), exact, conflict, strict=True):
        notes = [("exact" if is_exact else "near")] if in_conflict else []
        notes += [f"witness relabelled from {original[by]!r}"] if by in original else []
        if notes:
            table.detail[row] = "; ".join(notes)
    np.add.at(table.weight, witness, 1.0)
    table.label[alive] = settled.label
    table.relabelled = len(relabelled)
    dropped = np.flatnonzero(settled.dropped >= 0)
    follower = settled.dropped[dropped]
    table.witness[alive[dropped]] = alive[follower]
    table.similarity[alive[dropped]] = verdict.similarity[follower]
    table.detail |= {
        int(alive[w]): "exact" if verdict.exact[f] else "near" for w, f in zip(dropped, follower, strict=True)
    }
    table.remove(alive[dropped], schema.LABEL_CONFLICT)
