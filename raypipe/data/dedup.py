"""Exact and near-duplicates leave by the keep rule; what happens to duplicates with different labels.

Blocks of rows go through the rule in file order. A block is compared with the kept rows of each earlier block, all of
these comparisons in parallel; once they are done it goes through the rule itself. A row that has left is never a
witness, so nothing is ever compared with it: the result is that of the rule over all pairs, at the cost of rows times
kept rows. Many copies of one template, chains and identical rows are cheap for the same reason.
"""

from dataclasses import dataclass

import numpy as np
import ray
import scipy.sparse as sp

from raypipe import schema
from raypipe.core import keep, similarity
from raypipe.core.keep import Nearest
from raypipe.data.table import Table
from raypipe.data.tasks import Arrays, Graph, Work
from raypipe.data.vectorise import Vectors, matrix_of

BLOCK_ENTRIES = 16_000_000  # stored values of one block, 200 MB: rows of many character n-grams come in smaller blocks


def dedup(table: Table, vectors: Vectors, threshold: float, on_conflict: str, block_rows: int, work: Work) -> None:
    """Remove each row with an earlier kept row of the same canonical text or at cosine >= threshold.

    Sets witness, similarity, weight (rows that a kept row stands for) and, under ``on_conflict`` "majority", labels.
    """
    alive = table.alive
    rule = _Rule(table, vectors, threshold, block_rows, work)
    rule.run()
    verdict = keep.verdict(table.text_numbers(alive), rule.kept[alive], *rule.nearest_of(alive))
    settled = keep.settle(verdict, table.label[alive], on_conflict)
    _record(table, alive, verdict, settled)


@dataclass
class _Block:
    matrix: list["ray.ObjectRef"]  # one or more consecutive shards
    rows: np.ndarray  # table row numbers, one for each row of the shards that is alive
    positions: list[np.ndarray]  # where those rows stand in each shard
    kept: np.ndarray | None = None  # (rows,) bool, once decided


class _Rule:
    """The keep rule over all blocks; what it has found so far, by table row."""

    def __init__(self, table: Table, vectors: Vectors, threshold: float, block_rows: int, work: Work) -> None:
        self.threshold, self.work = threshold, work
        self.blocks = _blocks(table, vectors, block_rows)
        rows = len(table.order)
        self.kept = np.zeros(rows, bool)
        self.nearest = Nearest(rows)
        self.text = np.full(rows, -1)
        self.text[table.alive] = table.text_numbers(table.alive)
        self.text_taken = np.zeros(self.text.max(initial=-1) + 1, bool)
        self.waits_for = list(range(len(self.blocks)))  # comparisons that each block still waits for
        tasks = len(self.blocks) * (len(self.blocks) + 1) // 2
        self.graph = Graph("join", tasks)

    def run(self) -> None:
        if self.blocks:
            self._decide(0)
        self.graph.run()

    def nearest_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Witness, as a place among ``rows``, and cosine."""
        witness = self.nearest.row[rows]
        place = np.where(witness >= 0, np.searchsorted(rows, witness), -1)
        return place, self.nearest.cosine[rows]

    def _compare(self, later: int, earlier: int) -> None:
        block, other = self.blocks[later], self.blocks[earlier]
        assert other.kept is not None
        kept = other.kept

        def submit() -> "ray.ObjectRef":
            name = f"join/{later:05d}-{earlier:05d}"
            args = (self.threshold, block.positions, other.positions, kept, len(block.matrix))
            return self.work.submit(name, compare, *args, *block.matrix, *other.matrix)

        def done(found: Arrays) -> None:
            self._take_in(block.rows, other.rows[kept], found)
            self.waits_for[later] -= 1
            if not self.waits_for[later]:
                self._decide(later)

        self.graph.add((later, 1), submit, done)

    def _decide(self, number: int) -> None:
        block = self.blocks[number]
        text = self.text[block.rows]
        open_rows = np.flatnonzero(~self.text_taken[text])  # the others repeat the text of a kept row
        blocked = self.nearest.row[block.rows[open_rows]] >= 0

        def submit() -> "ray.ObjectRef":
            local_text = np.unique(text[open_rows], return_inverse=True)[1]
            args = (self.threshold, block.positions, open_rows, local_text, blocked)
            return self.work.submit(f"join/{number:05d}", decide, *args, *block.matrix)

        def done(found: Arrays) -> None:
            block.kept = np.zeros(len(block.rows), bool)
            block.kept[open_rows[found["kept"]]] = True
            self.kept[block.rows[block.kept]] = True
            self.text_taken[text[block.kept]] = True
            self._take_in(block.rows[open_rows], block.rows[open_rows], found)
            for later in range(number + 1, len(self.blocks)):
                self._compare(later, number)

        self.graph.add((number, 0), submit, done)

    def _take_in(self, rows: np.ndarray, others: np.ndarray, found: Arrays) -> None:
        self.nearest.update(rows[found["row"]], others[found["other"]], found["cosine"])


def _blocks(table: Table, vectors: Vectors, block_rows: int) -> list[_Block]:
    """Consecutive shards together, up to ``block_rows`` rows or BLOCK_ENTRIES values."""
    blocks: list[_Block] = []
    rows = entries = 0
    for shard, shard_rows, shard_entries in zip(vectors.shards, vectors.rows, vectors.entries, strict=True):
        positions = np.flatnonzero(table.is_alive[shard_rows])
        if not len(positions):
            continue
        if not blocks or rows + len(positions) > block_rows or entries + shard_entries > BLOCK_ENTRIES:
            blocks.append(_Block([], np.empty(0, np.int64), []))
            rows = entries = 0
        rows, entries = rows + len(positions), entries + shard_entries
        block = blocks[-1]
        block.matrix.append(shard)
        block.positions.append(positions)
        block.rows = np.concatenate([block.rows, shard_rows[positions]])
    return blocks


def stacked(shards: tuple[Arrays, ...], positions: list[np.ndarray], chosen: np.ndarray | None = None) -> sp.csr_matrix:
    """The rows at the positions of each shard as one matrix; of those only the ``chosen`` ones."""
    parts = [
        matrix if len(p) == matrix.shape[0] else matrix[p]
        for matrix, p in zip(map(matrix_of, shards), positions, strict=True)
    ]
    whole = parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")
    return whole if chosen is None or chosen.all() else whole[chosen]


def compare(
    threshold: float, positions: list[np.ndarray], others: list[np.ndarray], kept: np.ndarray, cut: int, *shards: Arrays
) -> Arrays:
    """For each row of a block its nearest kept row of an earlier block, where one is at the threshold."""
    pairs = similarity.cross_join(stacked(shards[:cut], positions), stacked(shards[cut:], others, kept), threshold)
    return _nearest(pairs)


def decide(
    threshold: float,
    positions: list[np.ndarray],
    chosen: np.ndarray,
    text: np.ndarray,
    blocked: np.ndarray,
    *shards: Arrays,
) -> Arrays:
    """The keep rule inside one block, and each row's nearest kept row in it."""
    rows = stacked(shards, positions)[chosen]
    result = similarity.keep_join(rows, threshold, text, blocked)
    return _nearest(result.pairs) | {"kept": result.kept}


def _nearest(pairs: similarity.Pairs) -> Arrays:
    row, other, cosine = keep.nearest(pairs)
    return {"row": row, "other": other, "cosine": cosine}


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
