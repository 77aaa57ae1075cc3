"""Seeded choices by hash: which rows of a class stay, and which go to test.

A row's place depends on its text and the seed alone, so that inserting, renaming or appending files does not
reshuffle the others. What a row was in an earlier set (its past) binds these choices: a row that was in test stays
there or leaves, and never enters train.
"""

import math
from typing import Any, NamedTuple

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)

# The past of a row. STAND_IN: a new row because of which a former test row left as its duplicate.
NEW, WAS_TRAIN, STAND_IN, WAS_TEST = range(4)


class Division(NamedTuple):
    """Where each row goes; a row that is in neither mask goes to train."""

    test: np.ndarray  # (rows,) bool
    leaves: np.ndarray  # (rows,) bool, held by test, whose class has no more room there
    short: np.ndarray  # (classes,) int64, test rows that a class lacks because its rows were in train before


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


def first_of_each(
    group: np.ndarray, place: np.ndarray, count: np.ndarray, tier: np.ndarray | None = None
) -> np.ndarray:
    """Mark in each group its ``count[group]`` rows of lowest tier, then place, then row number  # (rows,) bool."""
    order = np.lexsort((place, group) if tier is None else (place, tier, group))
    starts = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(count)))])[:-1]
    rank = np.arange(len(group)) - starts[group[order]]
    chosen = np.zeros(len(group), bool)
    chosen[order] = rank < count[group[order]]
    return chosen


def divide(group: np.ndarray, place: np.ndarray, past: np.ndarray, classes: int, share: float) -> Division:
    """Put ``share`` of each class into test, within one row, as far as the past of its rows allows.

    Rows that are held by test (WAS_TEST, STAND_IN) stay there; where they are more than the share, those of highest
    place leave, stand-ins first, until the share holds for what is left. So they leave altogether where no other
    row is there to train on. WAS_TRAIN stays in train. NEW rows of lowest place fill test up to the share.
    """
    held = past >= STAND_IN
    others = np.bincount(group[~held], minlength=classes)
    stay = _most_held(np.bincount(group[held], minlength=classes), others, share)
    test = _first_held(group, place, past, stay)
    leaves = held & ~test
    wanted = held_out_counts(others + stay, share) - stay
    free = np.flatnonzero(past == NEW)
    test[free] = first_of_each(group[free], place[free], wanted)
    return Division(test, leaves, wanted - np.bincount(group[free[test[free]]], minlength=classes))


def tiers(group: np.ndarray, place: np.ndarray, past: np.ndarray, caps: np.ndarray, share: float) -> np.ndarray:
    """In which order rows stay when a class is cut to its cap  # (rows,) int64, lowest first.

    First the rows held by test, up to their share of the cap; then all others; last the held rows beyond the share.
    """
    first = _first_held(group, place, past, held_out_counts(caps, share))
    return np.where(past < STAND_IN, 1, np.where(first, 0, 2))


def _first_held(group: np.ndarray, place: np.ndarray, past: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mark the ``count[group]`` held rows of lowest place, former test rows before stand-ins  # (rows,) bool."""
    held = np.flatnonzero(past >= STAND_IN)
    chosen = np.zeros(len(group), bool)
    chosen[held] = first_of_each(group[held], place[held], count, -past[held].astype(np.int64))
    return chosen


def _most_held(held: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
    """The most held rows of each class that are no more than the share of them and the others  # (classes,) int64.

    The share of one row more grows by less than one row, so bisection finds the last number that fits.
    """
    low, high = np.zeros_like(held), held
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = middle <= held_out_counts(others + middle, share)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low


def unique_keys(keys: np.ndarray) -> np.ndarray:
    """128-bit keys as (high, low), sorted, each once  # (keys, 2) int64."""
    keys = keys[np.lexsort((keys[:, 1], keys[:, 0]))]
    return keys[np.concatenate([np.ones(min(1, len(keys)), bool), (keys[1:] != keys[:-1]).any(axis=1)])]


def lookup(high: np.ndarray, low: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The place of each row's key among ``keys``, which holds each key once; -1 where it is not there  # (rows,)."""
    both = np.column_stack([np.concatenate([keys[:, 0], high]), np.concatenate([keys[:, 1], low])])
    order = np.lexsort((both[:, 1], both[:, 0]))  # stable: among equals the entry of ``keys`` comes first
    both = both[order]
    begins = np.concatenate([np.ones(min(1, len(both)), bool), (both[1:] != both[:-1]).any(axis=1)])
    first = order[begins][np.cumsum(begins) - 1]
    found = np.empty(len(both), np.int64)
    found[order] = np.where(first < len(keys), first, -1)
    return found[len(keys) :]


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
