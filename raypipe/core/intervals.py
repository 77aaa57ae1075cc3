"""Numbers with their 95 % intervals: scores of proportions, and a bootstrap over rows for everything else."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.special import ndtr, ndtri

Z95 = float(ndtri(0.975))
ROUNDS = 1000  # bootstrap resamples
PART = 1 << 15  # groups that are drawn at a time: so many counts stay in a processor's cache
CELLS = 1 << 19  # draws held at a time; bounds memory, never changes what is drawn
_GROUPED_FROM = 16  # rows a group from which drawing group counts is cheaper than drawing rows


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def public(self) -> dict[str, float | None]:
        """As JSON holds it, which has no nan."""
        return {name: None if value != value else float(value) for name, value in self._asdict().items()}


NOTHING = Estimate(np.nan, np.nan, np.nan)  # what zero rows give


def wilson(hits: int, rows: int) -> Estimate:
    """A proportion with its Wilson score interval (Wilson, JASA 22, 1927). Zero rows give nan."""
    if rows == 0:
        return NOTHING
    p, z2 = hits / rows, Z95**2
    centre = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * np.sqrt(p * (1 - p) / rows + z2 / (4 * rows**2))
    low, high = float(centre - half), float(centre + half)
    return Estimate(p, 0.0 if hits == 0 else low, 1.0 if hits == rows else high)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Accuracy of ``first`` less that of ``second`` on the same rows  # (rows,) bool each, right or wrong.

    Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17, 1998, method 10: Wilson's limits, joined by their correlation. It keeps a width where
    no row differs.
    """
    rows = len(first)
    if rows == 0:
        return NOTHING
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    p, q = wilson(int(first.sum()), rows), wilson(int(second.sum()), rows)
    phi = _phi(both, int(first.sum()) - both, int(second.sum()) - both, neither)
    down, up = (p.value - p.low, q.high - q.value), (p.high - p.value, q.value - q.low)
    below, above = (np.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b)) for a, b in (down, up))
    difference = p.value - q.value
    return Estimate(difference, float(max(-1.0, difference - below)), float(min(1.0, difference + above)))


def _phi(both: int, first: int, second: int, neither: int) -> float:
    """The correlation of two marks, its numerator corrected for continuity as in Newcombe's method 10."""
    scale = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = float(both * neither - first * second)
    if product > 0:
        product = max(0.0, product - (both + first + second + neither) / 2)
    return product / np.sqrt(scale) if scale else 0.0


class Columns(Protocol):
    """A matrix, sparse or not, or what makes some of its rows when they are asked for."""

    def __getitem__(self, groups: slice, /) -> Any: ...


def resampled_sums(columns: Columns, counts: np.ndarray, seed: int, rounds: int = ROUNDS) -> np.ndarray:
    """Sums of the columns over each of ``rounds`` resamples of the rows  # (rounds, columns).

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6. Rows that are alike are one group:
    ``columns``  # (groups, columns) holds what one row of it adds, ``counts``  # (groups,) how many rows it has, one at
    least. The groups are drawn in parts: how many rows of a resample come from each part is multinomial, and within a
    part all rows are equally likely.
    """
    random = np.random.default_rng(seed)
    starts = np.arange(0, len(counts), PART)
    rows = np.add.reduceat(counts, starts)
    from_part = random.multinomial(rows.sum(), rows / rows.sum(), rounds)  # (rounds, parts)
    sums: Any = 0.0
    for start, wanted in zip(starts.tolist(), from_part.T, strict=True):
        part = slice(start, start + PART)
        sums = sums + _sums_of_part(random, columns[part], counts[part], wanted)
    return np.asarray(sums)


def _sums_of_part(random: np.random.Generator, columns: Any, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Sums over so many rows of a part as each resample wants  # wanted: (rounds,) -> (rounds, columns)."""
    step = max(1, CELLS // min(int(counts.sum()), _GROUPED_FROM * len(counts)))
    chunks = [wanted[start : start + step] for start in range(0, len(wanted), step)]
    return np.concatenate([_drawn(random, counts, chunk).astype(float) @ columns for chunk in chunks])


def _drawn(random: np.random.Generator, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How often each group occurs in each resample  # (rounds, groups)."""
    rows, groups, rounds = int(counts.sum()), len(counts), len(wanted)
    if _GROUPED_FROM * groups < rows:
        return random.multinomial(wanted, counts / rows)
    cells = random.integers(0, rows, int(wanted.sum()))
    if rows > groups:
        cells = np.repeat(np.arange(groups), counts)[cells]
    cells += np.repeat(groups * np.arange(rounds), wanted)
    return np.bincount(cells, minlength=rounds * groups).reshape(rounds, groups)


def percentiles(value: float, resampled: np.ndarray) -> Estimate:
    """The bias-corrected percentile interval of a number from its resamples  # (rounds,).

    Efron and Tibshirani, chapter 14.3, without acceleration. The correction matters where resamples lie to one side
    of the number, as those of macro-F1 and of the calibration error do.
    """
    if np.isnan(value) or np.isnan(resampled).all():
        return Estimate(float(value), np.nan, np.nan)
    resampled = resampled[~np.isnan(resampled)]
    below = ((resampled < value).sum() + 0.5 * (resampled == value).sum()) / len(resampled)
    shift = 2 * ndtri(np.clip(below, 1 / (2 * len(resampled)), 1 - 1 / (2 * len(resampled))))
    low, high = np.quantile(resampled, ndtr([shift - Z95, shift + Z95]))
    return Estimate(float(value), float(low), float(high))
