"""Seeded choices by hash: which rows of a class stay, and which go to test.

A row's place depends on its text and the seed alone, so that inserting, renaming or appending files does not
reshuffle the others.
"""

import math
from typing import Any

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def places(high: np.ndarray, low: np.ndarray, seed: int, purpose: int) -> np.ndarray:
    """A pseudo-random number for each 128-bit key  # (rows,) uint64.

    SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014)
    over both halves, the seed and the purpose.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed % 2**64) + _GAMMA * np.uint64(purpose + 1))
        return _mix(_mix(high.view(np.uint64) ^ state) ^ low.view(np.uint64))


def _mix(z: Any) -> Any:
    z = z + _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def first_of_each(group: np.ndarray, place: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mark in each group its ``count[group]`` rows of lowest place; equal places go by row order  # (rows,) bool."""
    order = np.lexsort((place, group))
    starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(count)))])[:-1]
    rank = np.arange(len(group)) - starts[group[order]]
    chosen = np.zeros(len(group), bool)
    chosen[order] = rank < count[group[order]]
    return chosen


def class_caps(sizes: np.ndarray, reduce_majority_to: float, max_class_ratio: float | None) -> np.ndarray:
    """Rows that each class may keep  # (classes,) int64; classes without rows count for nothing.

    ``reduce_majority_to`` R caps at R times the largest class, but not below the smallest; ``max_class_ratio`` K
    caps at K times the smallest.
    """
    present = sizes[sizes > 0]
    if not len(present):
        return sizes
    cap = max(_floor(reduce_majority_to * present.max()), present.min())
    if max_class_ratio is not None:
        cap = min(cap, _floor(max_class_ratio * present.min()))
    return np.minimum(sizes, cap)


def held_out_counts(sizes: np.ndarray, share: float, at_least: int = 1) -> np.ndarray:
    """Rows of each class to hold out  # (classes,) int64: the share rounded, at most all but one.

    A class with one row stays whole; from others at least ``at_least`` rows are held out.
    """
    wanted = np.maximum(np.floor(sizes * share + 0.5), at_least)
    return np.where(sizes < 2, 0, np.minimum(wanted, sizes - 1)).astype(np.int64)


def _floor(rows: float) -> int:
    """Rounded down, but for the error of a product such as 0.29 * 100 = 28.999999999999996."""
    return math.floor(rows * (1 + 1e-12) + 1e-9)
