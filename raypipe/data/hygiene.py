"""What the rows say of the labels: spellings of one label, and labels that conflict. Proposed, never applied."""

import csv
import io
from typing import Any

import numpy as np

from raypipe import schema
from raypipe.core import labels
from raypipe.data.table import Table

CONFLICTS_LISTED = 30  # pairs of labels in the report, most conflicts first; the report says how many there are


def proposed_merges(table: Table) -> dict[str, Any]:
    """Groups of labels with one folded form, pairs of labels that conflict, and the groups as a --label-map file.

    Labels are those after the label map and before ``--on-conflict majority``.
    """
    sizes = dict(zip(table.names, table.raw_class_sizes().tolist(), strict=True))
    groups = [{"into": next(iter(group)), "labels": group} for group in labels.spellings(sizes)]
    pairs = labels.conflicting(*_conflicts(table))
    return {
        "same_spelling": groups,
        "conflicting": [_pair(table, sizes, *pair) for pair in pairs[:CONFLICTS_LISTED]],
        "conflicting_pairs": len(pairs),
        "label_map": label_map((old, g["into"]) for g in groups for old in g["labels"] if old != g["into"]),
    }


def label_map(renames: Any) -> str:
    """Renames (old, new) as the text of a --label-map file."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([("old", "new"), *renames])
    return out.getvalue()


def _conflicts(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The label codes of each row that left by a conflict, and of its witness.

    A witness that ``--on-conflict drop`` removed names a LATER row: that conflict counts with the later row.
    """
    rows = np.flatnonzero((table.reason == schema.REASONS.index(schema.LABEL_CONFLICT)) & (table.witness >= 0))
    rows = rows[table.witness[rows] < rows]
    return table.raw_label[rows], table.raw_label[table.witness[rows]]


def _pair(table: Table, sizes: dict[str, int], first: int, second: int, conflicts: int) -> dict[str, Any]:
    small, large = sorted((table.names[first], table.names[second]), key=lambda name: (sizes[name], name))
    share = {name: round(conflicts / sizes[name], 6) for name in (small, large)}
    line = label_map([(small, large)]).splitlines()[1]
    return {"labels": [small, large], "conflicts": conflicts, "share": share, "line": line}
