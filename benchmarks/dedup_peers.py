"""Seconds from texts to the rows that go, and what is found: ours, semhash, datasketch, rensa, text-dedup.

    python benchmarks/dedup_peers.py --peers PEERS/bin/python [--text-dedup TEXT_DEDUP/bin/python] [--rows 50000]

Ours: vectorise and join by the keep rule, one process, one thread. The peers run in their own environments on one CPU,
the same rows, alternating, with the settings of their documentation and with settings that suit these rows best. They
answer other questions: MinHash estimates the Jaccard similarity of sets of words or shingles, semhash compares means of
word embeddings, neither the TF-IDF cosine. So their recall and precision against the exact pairs at cosine >= t say how
far they can stand in for it, and not that they are faulty. semhash's encoder is a 256-dimensional model2vec
distillation of all-MiniLM-L6-v2, made offline as its documentation says and not timed; its exact search (backend
"basic") found the same on 3,000 rows in nine times the seconds and is left out.

    recall      share of the exact pairs of which at least one row was removed (rensa's rho removes both)
    precision   share of the removed rows that have another row at cosine >= t
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import corpus
import numpy as np
from common import ROOT, Peers, add_peers, alternate, parser_for, peers, report, vectorise
from results_file import save

from raypipe import demo
from raypipe.core import similarity
from raypipe.core.similarity import Pairs
from raypipe.core.tfidf import Analyzer

BALANCED, FOR_RECALL = [0.5, 0.5], [0.1, 0.9]  # datasketch's weights of false positives and false negatives


def settings(t: float, model: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name: task and arguments. The lower thresholds are for Jaccard: 0.8 there is about a cosine of 0.9."""
    words = {"num_perm": 128, "shingle": 1}
    return {
        "datasketch, documented": ("datasketch", words | {"threshold": t, "weights": BALANCED}),
        "datasketch, fewer misses": ("datasketch", words | {"threshold": t - 0.2, "weights": FOR_RECALL}),
        "rensa RMinHashDeduplicator, documented": ("rensa", words | {"threshold": 0.8, "bands": None}),
        "rensa RMinHashDeduplicator, fewer misses": ("rensa", words | {"threshold": t - 0.2, "bands": 32}),
        "rensa rho batch, documented": ("rensa_rho", {"threshold": 0.8, "num_perm": 128, "bands": 8}),
        "semhash, documented": ("semhash", {"threshold": 0.9, "model": model, "backend": "usearch"}),
        "semhash, fewer false alarms": ("semhash", {"threshold": 0.95, "model": model, "backend": "usearch"}),
    }


def settings_of_text_dedup(t: float) -> dict[str, tuple[str, dict[str, Any]]]:
    documented = {"threshold": 0.7, "num_perm": 250, "ngram": 5, "hash_func": "sha1", "hash_bits": 64}
    best = {"threshold": t - 0.2, "num_perm": 128, "ngram": 1, "hash_func": "xxh3", "hash_bits": 32}
    return {
        "text-dedup MinHash, documented": ("text_dedup", documented),
        "text-dedup MinHash, best": ("text_dedup", best),
    }


def ours(texts: list[str], threshold: float) -> tuple[np.ndarray, dict[str, float]]:
    """The rows that go, and seconds by step. The texts are distinct, as the corpus is."""
    start = time.perf_counter()
    X = vectorise(texts, Analyzer())
    vectorised = time.perf_counter()
    rows = similarity.ready(X, threshold)
    kept = similarity.keep_join(rows, rows.all(), np.arange(len(texts)), ~rows.all()).kept
    end = time.perf_counter()
    return np.flatnonzero(~kept), {"vectorise": round(vectorised - start, 4), "join": round(end - vectorised, 4)}


def judge(removed: list[int], pairs: Pairs, found: list[list[int]] | None, rows: int) -> dict[str, Any]:
    """Recall and precision against the exact pairs; of the listed pairs too where a peer lists any."""
    gone, near = np.zeros(rows, bool), np.zeros(rows, bool)
    gone[removed] = True
    near[pairs.left] = near[pairs.right] = True
    solved = (gone[pairs.left] | gone[pairs.right]).mean() if len(pairs.left) else 1.0
    measured = {
        "removed": len(removed),
        "recall": round(float(solved), 4),
        "precision": round(float(near[removed].mean()), 4) if len(removed) else None,
    }
    if found is not None:
        exact = set((pairs.left * rows + pairs.right).tolist())
        listed = {max(pair) * rows + min(pair) for pair in found}
        measured["recall_of_pairs"] = round(len(exact & listed) / max(1, len(exact)), 4)
        measured["precision_of_pairs"] = round(len(exact & listed) / max(1, len(listed)), 4)
    return measured


def static_encoder(peer: Peers) -> str:
    """The folder of the distilled encoder, made once."""
    folder = ROOT / "out" / "peers" / "all-minilm-l6-v2-static-256"
    if not folder.exists():
        peer("distil", model=demo.encoder_path(), output=str(folder))
    return str(folder)


def main() -> None:
    parser = parser_for(__doc__)
    add_peers(parser)
    parser.add_argument(
        "--text-dedup", help="Python of an environment with text-dedup; without it that peer is left out"
    )
    parser.add_argument("--rows", type=int, default=50_000, help="texts of 30 to 150 words")
    parser.add_argument("--threshold", type=float, default=0.9)
    options = parser.parse_args()
    if options.peers is None:
        parser.error("--peers: the Python of the peers' environment")
    t = options.threshold
    texts = corpus.load(options.rows, min_words=30, max_words=150)
    rows = [text.text for text in texts]
    removed = ours(rows, t)[0]  # compiled before the clock starts
    pairs = similarity.self_join(vectorise(rows, Analyzer()), t)
    replies: dict[str, dict[str, Any]] = {}
    steps: list[dict[str, float]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        peers(options.peers, one_cpu=True) as peer,
        peers(options.text_dedup or options.peers, one_cpu=True) as deduper,
    ):
        path = Path(name, "rows.jsonl")
        corpus.write_jsonl(texts, path)
        cases = {case: (peer, *how) for case, how in settings(t, static_encoder(peer)).items()}
        if options.text_dedup:
            cases |= {case: (deduper, *how) for case, how in settings_of_text_dedup(t).items()}

        def ask(case: str) -> float:
            worker, task, arguments = cases[case]
            replies[case] = worker(task, texts=str(path), **arguments)
            return replies[case]["seconds"]

        def run_ours() -> None:
            steps.append(ours(rows, t)[1])

        times = alternate({"raypipe": run_ours} | {c: (lambda c=c: ask(c)) for c in cases}, options.rounds)
        versions = peer("versions") | ({"text_dedup": deduper("versions")} if options.text_dedup else {})
    results = [
        {"what": "raypipe", **times["raypipe"], "steps": steps, **judge(removed.tolist(), pairs, None, len(rows))}
    ]
    for case, (_, task, arguments) in cases.items():
        found = judge(replies[case]["removed"], pairs, replies[case].get("pairs"), len(rows))
        told = {key: Path(value).name if key == "model" else value for key, value in arguments.items()}
        results.append({"what": case, **times[case], **found, "call": task, "settings": told})
    for line in results:
        report({key: line.get(key) for key in ("what", "seconds", "removed", "recall", "precision")})
    exact = {"threshold": t, "pairs": len(pairs.left), "removed_by_the_keep_rule": len(removed)}
    measured = {"data": corpus.describe(texts), "exact": exact, "cpus": 1, "rounds": options.rounds}
    save(options.name or "dedup-peers", json.loads(json.dumps(measured | {"peers": versions, "results": results})))


if __name__ == "__main__":
    main()
