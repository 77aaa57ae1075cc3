"""Scoring, judging and the baselines in this process, without Ray, on a share of what a run would have."""

import time
from typing import Any

import numpy as np

from raypipe.evaluate import baseline
from raypipe.evaluate.blocks import sizes
from raypipe.evaluate.evaluate import Beside, evaluate
from raypipe.evaluate.forward import Forward, batches
from raypipe.evaluate.scoring import Scored

LIMIT_S = 3.0  # of timed passes
FIT_ROWS = 2_000  # training rows of the fit that is timed
JUDGED_ROWS = 5_000


def pass_shapes(lengths: np.ndarray, rows: int, most: int, tokens: int) -> list[tuple[int, int]]:
    """Rows and longest of each pass over ``rows`` rows, of which ``lengths`` is a sample  # (sample,)."""
    whole = lengths if len(lengths) == rows else np.resize(lengths, rows)
    size = sizes(rows, most)
    parts = [whole[start : start + size] for start in range(0, rows, size)]
    return [(len(run), int(part[run[0]])) for part in parts for run in batches(part, tokens)]


def token_seconds(forward: Forward, shapes: list[tuple[int, int]], limit_s: float = LIMIT_S) -> float:
    """Seconds of a token of a pass, padding included, over passes spread evenly until the time is up."""

    def seconds(rows: int, width: int) -> float:
        start = time.perf_counter()
        forward(np.full(rows * width, 5), np.arange(rows) * width, np.full(rows, width), np.zeros(rows, np.int64), 1)
        return time.perf_counter() - start

    order = np.random.default_rng(0).permutation(len(shapes)).tolist()
    seconds(*shapes[order[0]])  # the first pass warms up
    spent = tokens = 0.0
    for place in order:
        rows, width = shapes[place]
        spent, tokens = spent + seconds(rows, width), tokens + rows * width
        if spent > limit_s:
            break
    return spent / tokens


def baseline_seconds(texts: list[str], codes: np.ndarray, rows: int, seed: int) -> float:
    """Of fitting the baselines to ``rows`` rows, of which these are a sample; label codes  # (sample,).

    Each iteration reads all entries, so a fit takes time by its rows.
    """
    import sklearn.linear_model  # noqa: F401  # so that loading it is not timed

    chosen = np.random.default_rng(seed).permutation(len(texts))[:FIT_ROWS]
    start = time.perf_counter()
    baseline.fitted([texts[row] for row in chosen], codes[chosen], seed)
    return (time.perf_counter() - start) * rows / max(1, len(chosen))


def judging_seconds(rows: int, labels: list[str], seed: int, top_k: int) -> float:
    """Of all intervals over so many scored rows, with two baselines beside the model."""
    count = min(rows, JUDGED_ROWS)
    rng = np.random.default_rng(seed)
    kept = min(len(labels), max(3, top_k))
    best = np.tile(np.arange(kept, dtype=np.int32), (count, 1))
    score = np.sort(rng.random((count, kept), np.float32))[:, ::-1]
    flat: Any = score[:, 0]
    true = rng.integers(len(labels), size=count).astype(np.int32)
    scored = Scored(best, score, true, flat, flat, flat, np.full(count, 9, np.int32), np.zeros(count, bool))
    start = time.perf_counter()
    evaluate(scored, labels, Beside({"majority": best, "tfidf_logreg": best}), seed, top_k)
    return (time.perf_counter() - start) * rows / max(1, count)
