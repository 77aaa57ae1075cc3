"""The exact join against brute force in SciPy, and against sparse_dot_topn where it is installed.

    python benchmarks/join.py [--rows 20000]

From the finished TF-IDF matrix to the pairs, one thread, docstrings of the installed packages, median of --runs. All
must give the same pairs; the ratios are what counts, since machines differ.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from results_file import save

from raypipe.core import similarity, tfidf
from raypipe.demo import gather

THRESHOLDS = (0.9, 0.8, 0.5)
BLOCK = 1000  # rows of one product; larger blocks ran no faster here


def brute_force(X: sp.csr_matrix, threshold: float) -> set[tuple[int, int]]:
    """Multiply in blocks and keep what reaches the threshold."""
    found: set[tuple[int, int]] = set()
    other = X.T.tocsr()
    for start in range(0, X.shape[0], BLOCK):
        product = (X[start : start + BLOCK] @ other).tocoo()
        near = product.data >= threshold - similarity.TOLERANCE
        left, right = product.row[near] + start, product.col[near]
        below = right < left
        found.update(zip(left[below].tolist(), right[below].tolist(), strict=True))
    return found


def sparse_dot_topn(X: sp.csr_matrix, threshold: float, degree: int) -> set[tuple[int, int]]:
    """The peer, with room for the largest true degree, so that it loses no pair."""
    import sparse_dot_topn as peer

    strict = np.nextafter(threshold - similarity.TOLERANCE, 0)  # its threshold is a strict one
    product = peer.sp_matmul_topn(X, X.T.tocsr(), top_n=degree + 1, threshold=strict, n_threads=1).tocoo()
    below = product.col < product.row
    return set(zip(product.row[below].tolist(), product.col[below].tolist(), strict=True))


def ours(X: sp.csr_matrix, threshold: float) -> set[tuple[int, int]]:
    pairs = similarity.self_join(X, threshold)
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def seconds_of(run: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "docstrings.jsonl"
        rows = gather(path, options.rows)
        import json

        texts = list(dict.fromkeys(json.loads(line)["text"] for line in path.read_text().splitlines()))
    shard = tfidf.count_terms(texts, tfidf.Analyzer())
    vocabulary = tfidf.merge([(shard.terms, shard.document_frequency())], len(texts))
    X = tfidf.unit_rows(shard, vocabulary)
    ours(X[:10], 0.5)  # compiled before the clock starts
    results = []
    for threshold in THRESHOLDS:
        pairs = ours(X, threshold)
        assert pairs == brute_force(X, threshold), "the join is not exact"
        measured = {
            "threshold": threshold,
            "pairs": len(pairs),
            "ours_s": seconds_of(lambda t=threshold: similarity.self_join(X, t), options.runs),
            "brute_force_s": seconds_of(lambda t=threshold: brute_force(X, t), options.runs),
        }
        try:
            degree = int(np.bincount([row for pair in pairs for row in pair], minlength=1).max()) + 1
            assert sparse_dot_topn(X, threshold, degree) == pairs
            measured["sparse_dot_topn_s"] = seconds_of(
                lambda t=threshold, d=degree: sparse_dot_topn(X, t, d), options.runs
            )
        except ImportError:
            pass
        measured |= {
            f"ratio_{k[:-2]}": v / measured["ours_s"]
            for k, v in list(measured.items())
            if k.endswith("_s") and k != "ours_s"
        }
        print({k: round(v, 4) for k, v in measured.items()})
        results.append(measured)
    data = {
        "source": "docstrings of the installed packages",
        "rows": rows,
        "distinct": len(texts),
        "mean_features": float(np.diff(X.indptr).mean()),
    }
    save("join", {"data": data, "threads": 1, "runs": options.runs, "results": results})


if __name__ == "__main__":
    main()
