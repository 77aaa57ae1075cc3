"""Exact and near-duplicates leave by the keep rule; what happens to duplicates with different labels.

Blocks of rows go through the rule in file order. A block is compared with the kept rows of each earlier block, all of
these comparisons in parallel; once they are done it goes through the rule itself. A row that has left is never a
witness, so nothing is ever compared with it: the result is that of the rule over all pairs, at the cost of rows times
kept rows. Many copies of one template, chains and identical rows are cheap for the same reason.
"""

import numpy as np
import ray

from raypipe import schema
from raypipe.core import keep, similarity
from raypipe.core.keep import Nearest
from raypipe.data.table import Table
from raypipe.data.tasks import Arrays, TaskGraph, Work
from raypipe.data.vectorise import Vectors, ready_of


def dedup(table: Table, vectors: Vectors, on_conflict: str, work: Work) -> None:
    """Remove each row with an earlier kept row of the same canonical text or at cosine >= the vectors' threshold.

    Sets witness, similarity, weight (rows that a kept row stands for) and, under ``on_conflict`` "majority", labels.
    """
    rule = _Rule(table, vectors, work)
    rule.run()
    conclude(table, rule.text, rule.kept, rule.nearest, on_conflict)


def conclude(table: Table, text: np.ndarray, kept: np.ndarray, nearest: Nearest, on_conflict: str) -> None:
    """Write into the table what the rule found, by table row."""
    alive = table.alive
    witness = nearest.row[alive]
    place = np.where(witness >= 0, np.searchsorted(alive, witness), -1)
    verdict = keep.verdict(text[alive], kept[alive], place, nearest.cosine[alive])
    _record(table, alive, verdict, keep.settle(verdict, table.label[alive], on_conflict))


class _Rule:
    """The keep rule over all blocks; what it has found so far, by table row."""

    def __init__(self, table: Table, vectors: Vectors, work: Work) -> None:
        self.work, self.blocks, self.rows = work, vectors.blocks, vectors.rows
        self.alive = table.is_alive
        self.kept = np.zeros(len(self.alive), bool)
        self.nearest = Nearest(len(self.alive))
        self.text = np.full(len(self.alive), -1)
        self.text[table.alive] = table.text_numbers(table.alive)
        self.text_taken = np.zeros(self.text.max(initial=-1) + 1, bool)
        self.waits_for = list(range(len(self.blocks)))  # comparisons that each block still waits for
        self.graph = TaskGraph("join", len(self.blocks) * (len(self.blocks) + 1) // 2, work)

    def run(self) -> None:
        if self.blocks:
            self._decide(0)
        self.graph.run()

    def _compare(self, later: int, earlier: int) -> None:
        asks, stays = self.alive[self.rows[later]], self.kept[self.rows[earlier]]

        def submit() -> "ray.ObjectRef":
            name = f"join/{later:05d}-{earlier:05d}"
            return self.work.submit(name, compare, self.blocks[later], self.blocks[earlier], asks, stays)

        def done(found: Arrays) -> None:
            self._take_in(later, earlier, found)
            self.waits_for[later] -= 1
            if not self.waits_for[later]:
                self._decide(later)

        self.graph.add((later, 1), submit, done)

    def _decide(self, number: int) -> None:
        rows = self.rows[number]
        text = self.text[rows]
        asks = self.alive[rows] & ~self.text_taken[text]  # the others repeat the text of a kept row
        blocked = self.nearest.row[rows] >= 0

        def submit() -> "ray.ObjectRef":
            local_text = np.unique(text, return_inverse=True)[1]
            return self.work.submit(f"join/{number:05d}", decide, self.blocks[number], asks, local_text, blocked)

        def done(found: Arrays) -> None:
            self.kept[rows] = found["kept"]
            self.text_taken[text[found["kept"]]] = True
            self._take_in(number, number, found)
            for later in range(number + 1, len(self.blocks)):
                self._compare(later, number)

        self.graph.add((number, 0), submit, done)

    def _take_in(self, later: int, earlier: int, found: Arrays) -> None:
        self.nearest.update(self.rows[later][found["left"]], self.rows[earlier][found["right"]], found["cosine"])


def compare(block: Arrays, earlier: Arrays, asks: np.ndarray, stays: np.ndarray) -> Arrays:
    """For each row of a block that asks its nearest kept row of an earlier block, where one is at the threshold."""
    return keep.nearest(similarity.compare(ready_of(block), ready_of(earlier), asks, stays))._asdict()


def decide(block: Arrays, asks: np.ndarray, text: np.ndarray, blocked: np.ndarray) -> Arrays:
    """The keep rule inside one block, and each row's nearest kept row in it."""
    result = similarity.keep_join(ready_of(block), asks, text, blocked)
    return keep.nearest(result.pairs)._asdict() | {"kept": result.kept}


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
