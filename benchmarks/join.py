"""How long does the exact join take, from the finished TF-IDF matrix to the pairs?

    python benchmarks/join.py --peers PEERS/bin/python [--rows 50000] [--thresholds 0.9 0.8 0.7 0.5 0.3 0.2]

Peer: sparse_dot_topn 1.2.0 in its own environment and process, the same float64 matrix, one thread each, alternating.
Its best settings for an exact join: room for the largest true degree and no more (top_n), the size of its result told
in advance (density), the threshold just below ours because its own is strict. It lists each pair twice and each row
with itself, as its product does; ours lists a pair once. Its pairs must be ours, but for rounding at the threshold.
Beside it scikit-learn's TfidfVectorizer().fit_transform on the same rows, in this process.
"""

import tempfile
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import scipy.sparse as sp
from common import Peers, add_peers, alternate, parser_for, peers, report, vectorise
from results_file import save
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe.core import similarity
from raypipe.core.similarity import Pairs
from raypipe.core.tfidf import Analyzer

ROUNDING = 1e-12  # cosines this close to the threshold may fall on either side of it


def measure(X: sp.csr_matrix, threshold: float, rounds: int, peer: Peers, folder: Path) -> dict[str, Any]:
    """Seconds of both, and whether they found the same."""
    ours = similarity.self_join(X, threshold)
    rows = X.shape[0]
    degree = int(np.bincount(np.concatenate([ours.left, ours.right]), minlength=1).max()) if len(ours.left) else 0
    top_n = degree + 1  # the row itself
    request = {
        "matrix": str(folder / "rows.npz"),
        "threshold": float(np.nextafter(threshold - similarity.TOLERANCE, 0)),
        "top_n": top_n,
        "density": min(1.0, (2 * len(ours.left) + rows) / (top_n * rows) * 1.01),
    }
    first = peer("sparse_dot_topn", pairs=str(folder / "pairs.npz"), **request)["seconds"]
    with np.load(folder / "pairs.npz") as found:
        differing, worst = compare(ours, Pairs(found["left"], found["right"], found["cosine"]), rows, threshold)
    answers = iter([first])  # its first run counts: it is not run twice where it is slow
    times = alternate(
        {
            "ours": lambda: similarity.self_join(X, threshold) and None,
            "sparse_dot_topn": lambda: next(answers, None) or peer("sparse_dot_topn", **request)["seconds"],
        },
        rounds,
    )
    return {
        "threshold": threshold,
        "pairs": len(ours.left),
        "pairs_at_the_threshold_that_differ": differing,
        "largest_difference_of_cosines": worst,
        "top_n": top_n,
        **times,
        "ratio": round(times["sparse_dot_topn"]["seconds"] / times["ours"]["seconds"], 2),
    }


def compare(ours: Pairs, theirs: Pairs, rows: int, threshold: float) -> tuple[int, float]:
    """How many pairs only one of them has, all at the threshold, and by how much the cosines of the others differ."""
    mine, other = (p.left.astype(np.int64) * rows + p.right for p in (ours, theirs))
    by_mine, by_other = np.argsort(mine), np.argsort(other)
    only = np.concatenate([ours.cosine[~np.isin(mine, other)], theirs.cosine[~np.isin(other, mine)]])
    assert (np.abs(only - (threshold - similarity.TOLERANCE)) < ROUNDING).all(), "the pairs differ"
    if len(only):
        return len(only), float("nan")
    difference = np.abs(ours.cosine[by_mine] - theirs.cosine[by_other])
    return 0, float(difference.max(initial=0.0))


def fit_seconds(texts: list[str], analyzer: Analyzer, X: sp.csr_matrix, rounds: int) -> dict[str, Any]:
    """The join at 0.8 beside one fit_transform of the same texts."""
    vectorizer = TfidfVectorizer(analyzer=analyzer.kind, ngram_range=analyzer.ngram_range)
    similarity.self_join(X, 0.8)  # compiled before the clock starts
    times = alternate(
        {
            "fit_transform": lambda: vectorizer.fit_transform(texts) is None or None,
            "join_at_0.8": lambda: similarity.self_join(X, 0.8) and None,
        },
        rounds,
    )
    return times | {"join_over_fit": round(times["join_at_0.8"]["seconds"] / times["fit_transform"]["seconds"], 3)}


def main() -> None:
    parser = parser_for(__doc__)
    add_peers(parser)
    parser.add_argument("--rows", type=int, default=50_000, help="texts of 30 to 150 words, word unigrams")
    parser.add_argument("--char-rows", type=int, default=10_000, help="the first of them, char_wb (3, 5), at 0.8")
    parser.add_argument("--short-rows", type=int, default=60_000, help="first sentences of at least 5 words")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.5, 0.3, 0.2])
    parser.add_argument("--short-thresholds", type=float, nargs="+", default=[0.8, 0.5, 0.3])
    options = parser.parse_args()
    if options.peers is None:
        parser.error("--peers: the Python of the peers' environment")
    whole = corpus.load(options.rows, min_words=30, max_words=150)
    sentences = corpus.first_sentences(options.short_rows)
    cases = [
        ("whole texts", whole, Analyzer(), options.thresholds),
        ("first sentences", sentences, Analyzer(), options.short_thresholds),
        ("characters", whole[: options.char_rows], Analyzer("char_wb", (3, 5)), [0.8]),
    ]
    measured = []
    with tempfile.TemporaryDirectory() as name, peers(options.peers) as peer:
        theirs = peer("versions")
        for case, texts, analyzer, thresholds in cases:
            rows = [t.text for t in texts]
            X = vectorise(rows, analyzer)
            folder = Path(name, case)
            folder.mkdir()
            np.savez(folder / "rows.npz", data=X.data, indices=X.indices, indptr=X.indptr, shape=X.shape)
            data = corpus.describe(texts) | {"mean_terms": round(X.nnz / X.shape[0], 1), "columns": X.shape[1]}
            fit = fit_seconds(rows, analyzer, X, options.rounds)
            report({"case": case, **fit})
            joins = []
            for threshold in thresholds:
                joins.append(measure(X, threshold, options.rounds, peer, folder))
                report(joins[-1])
            analysis = f"{analyzer.kind} {analyzer.ngram_range}"
            measured.append({"case": case, "analyzer": analysis, "data": data, "fit": fit, "joins": joins})
    save(options.name or "join", {"threads": 1, "rounds": options.rounds, "peers": theirs, "results": measured})


if __name__ == "__main__":
    main()
