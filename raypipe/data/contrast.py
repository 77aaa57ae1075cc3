"""Removed rows that differ from their witness only in digits, or only in a negation word: counted, not judged."""

from typing import Any

import numpy as np

from raypipe import schema
from raypipe.core import contrast
from raypipe.data import rowwise
from raypipe.data.table import Table

EXAMPLES = 5  # pairs of ids of each kind in the report
_NAMES = dict(zip(contrast.KINDS, ("digits", "a negation word"), strict=True))
REMEDY = (
    "if that matters to your labels, try --token-pattern '(?u)\\b\\w+\\b' (one character is a term too), "
    "a higher --similarity-threshold, or --analyzer char_wb"
)


def near_removals(table: Table) -> np.ndarray:
    """The rows that left because they are near, but not equal, to another row of the input."""
    codes = [schema.REASONS.index(reason) for reason in (schema.NEAR_DUPLICATE, schema.LABEL_CONFLICT)]
    rows = np.flatnonzero(np.isin(table.reason, codes) & (table.witness >= 0))
    conflict = table.reason[rows] == codes[1]
    near = [not c or table.detail.get(r, "").startswith("near") for r, c in zip(rows.tolist(), conflict, strict=True)]
    return rows[np.array(near, bool)]


def differ_only_in(table: Table, rows: np.ndarray, witness: np.ndarray) -> dict[str, np.ndarray]:
    """For each kind whether a row differs from its witness in that and in nothing else; hashes travel, no text."""
    involved = np.unique(np.concatenate([rows, witness]))
    prints = rowwise.gather(table, involved, contrast.fingerprints)
    left, right = (prints[np.searchsorted(involved, side)] for side in (rows, witness))
    return contrast.differ_only_in(left, right)


def count(table: Table) -> dict[str, Any]:
    """The report's ``differ_only_in``: how many removals of each kind, and the ids of the first few with witness."""
    rows = near_removals(table)
    witness = table.witness[rows]
    found = differ_only_in(table, rows, witness)
    pairs = {kind: np.column_stack([rows, witness])[hit][:EXAMPLES].tolist() for kind, hit in found.items()}
    examples = {k: [{"id": table.row_id(r), "witness_id": table.row_id(w)} for r, w in p] for k, p in pairs.items()}
    return {kind: int(hit.sum()) for kind, hit in found.items()} | {"examples": examples}


def notice(counts: dict[str, Any]) -> str | None:
    """What to say of the counts, with the remedy, or None where there is nothing to say."""
    if not counts["digits"] and not counts["negation"]:
        return None
    found = [f"only in {name} ({counts[kind]:,})" for kind, name in _NAMES.items() if counts[kind]]
    return f"removed rows differ from the row they repeat {', or '.join(found)}; {REMEDY}"
