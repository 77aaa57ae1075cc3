"""How long the texts are, in characters and in words, before and after cleaning; two numbers a row travel, no text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raypipe import schema
from raypipe.data import rowwise
from raypipe.data.table import REMOVED, Table

UNITS = ("characters", "words")
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BINS = 30  # of equal width on a logarithmic scale, over whole numbers


def lengths(table: Table) -> dict[str, Any]:
    """Percentiles and a histogram of the lengths of all usable rows, and of the kept ones, for each unit."""
    unusable = [schema.REASONS.index(reason) for reason in schema.UNUSABLE]
    rows = np.flatnonzero(~np.isin(table.reason, unusable))
    measured = rowwise.gather(table, rows, measure)
    kept = table.side[rows] != REMOVED
    return {unit: _summary(measured[:, column], kept) for column, unit in enumerate(UNITS)}


def measure(texts: Sequence[str]) -> np.ndarray:
    """Characters and words of each text  # (texts, 2) int32."""
    return np.array([(len(text), len(text.split())) for text in texts], np.int32).reshape(-1, 2)


def _summary(values: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    edges = _edges(int(values.max(initial=1)))
    sides = {"in": values, "kept": values[kept]}
    return {"edges": edges.tolist()} | {side: _of_side(lengths, edges) for side, lengths in sides.items()}


def _of_side(values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    at = np.percentile(values, PERCENTILES, method="inverted_cdf") if len(values) else np.zeros(len(PERCENTILES))
    return {
        "rows": len(values),
        "mean": round(float(values.mean()), 2) if len(values) else 0.0,
        "percentiles": {str(p): int(v) for p, v in zip(PERCENTILES, at, strict=True)},
        "max": int(values.max(initial=0)),
        "histogram": np.histogram(values, edges)[0].tolist(),
    }


def _edges(longest: int) -> np.ndarray:
    """Whole-number edges of the histogram from 0 to beyond the longest, ever wider."""
    return np.unique(np.concatenate([[0], np.geomspace(1, longest + 1, BINS).round()]).astype(np.int64))
