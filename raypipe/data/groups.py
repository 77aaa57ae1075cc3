"""The kept rows that stand for most others, with the rows that they least resemble."""

from typing import Any

import numpy as np

from raypipe import schema
from raypipe.data.table import Table

GROUPS = 10  # witnesses shown
FOLLOWERS_SHOWN = 3  # of each, distinct texts, lowest similarity first: those are the ones to look at
_DUPLICATES = [schema.REASONS.index(r) for r in (schema.EXACT_DUPLICATE, schema.NEAR_DUPLICATE, schema.LABEL_CONFLICT)]


def largest_groups(table: Table) -> list[dict[str, Any]]:
    """The witnesses with most followers: row, number of followers, rows to show. Ties go to the earliest."""
    rows = np.flatnonzero(np.isin(table.reason, _DUPLICATES) & (table.witness >= 0))
    rows = rows[table.witness[rows] < rows]  # a witness that --on-conflict drop removed names a later row
    witnesses, followers = np.unique(table.witness[rows], return_counts=True)
    order = np.argsort(-followers, kind="stable")[:GROUPS]
    return [
        {"row": int(w), "followers": int(n), "shown": _shown(table, rows[table.witness[rows] == w])}
        for w, n in zip(witnesses[order], followers[order], strict=True)
    ]


def _shown(table: Table, followers: np.ndarray) -> list[int]:
    keys = np.column_stack([table.key_high, table.key_low])[followers]
    distinct = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    chosen = followers[distinct]
    return chosen[np.argsort(table.similarity[chosen], kind="stable")[:FOLLOWERS_SHOWN]].tolist()
