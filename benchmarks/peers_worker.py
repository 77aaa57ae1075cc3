"""Runs in the peers' environment (README.md): one JSON request a line in, one JSON answer a line out.

Only the peer's own calls are timed: not imports, nor reading the matrix or the texts from disk, nor counting results.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
import time
import traceback
from functools import cache
from unittest import mock

import numpy as np

PEERS = ("sparse-dot-topn", "datasketch", "rensa", "semhash", "model2vec", "vicinity", "usearch", "text-dedup")


def versions() -> dict:
    found = {"python": sys.version.split()[0]}
    for name in (*PEERS, "numpy", "scipy", "scikit-learn", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _matrix(path: str):
    import scipy.sparse as sp

    with np.load(path) as arrays:
        return sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))


@cache
def _texts(path: str) -> list[str]:
    with open(path, encoding="utf8") as file:
        return [json.loads(line)["text"] for line in file]


def sparse_dot_topn(matrix: str, threshold: float, top_n: int, density: float, pairs: str | None = None) -> dict:
    """``sp_matmul_topn`` of the rows with themselves on one thread; room for the largest true degree."""
    from sparse_dot_topn import sp_matmul_topn

    rows = _matrix(matrix)
    start = time.perf_counter()
    product = sp_matmul_topn(rows, rows.T, top_n=top_n, threshold=threshold, density=density, n_threads=1)
    seconds = time.perf_counter() - start
    if pairs is not None:
        left = np.repeat(np.arange(rows.shape[0], dtype=np.int32), np.diff(product.indptr))
        below = product.indices < left
        np.savez(pairs, left=left[below], right=product.indices[below], cosine=product.data[below])
    return {"seconds": seconds, "found": int(product.nnz)}


def _tokens(text: str, size: int) -> list[str]:
    """Lower-case words, or runs of ``size`` of them."""
    words = text.lower().split()
    return [" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))] if size > 1 else words


def datasketch(texts: str, threshold: float, num_perm: int, shingle: int, weights: list[float]) -> dict:
    """MinHashLSH: each row is looked up and then inserted; a row with an earlier candidate goes."""
    from datasketch import MinHash, MinHashLSH

    rows = _texts(texts)
    start = time.perf_counter()
    index = MinHashLSH(threshold=threshold, num_perm=num_perm, weights=tuple(weights))
    tokens = ([token.encode() for token in set(_tokens(text, shingle))] for text in rows)
    removed, pairs = [], []
    for row, sketch in enumerate(MinHash.generator(tokens, num_perm=num_perm, seed=1)):
        found = index.query(sketch)
        index.insert(row, sketch, check_duplication=False)
        if found:
            removed.append(row)
            pairs.append((row, found))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "removed": removed, "pairs": [[row, int(o)] for row, found in pairs for o in found]}


def rensa(texts: str, threshold: float, num_perm: int, shingle: int, bands: int | None) -> dict:
    """``RMinHashDeduplicator.add_pairs``: True for a row that stays."""
    from rensa import RMinHashDeduplicator

    rows = _texts(texts)
    start = time.perf_counter()
    filter_ = RMinHashDeduplicator(threshold=threshold, num_perm=num_perm, use_lsh=True, num_bands=bands)
    kept = filter_.add_pairs((str(row), _tokens(text, shingle)) for row, text in enumerate(rows))
    return {"seconds": time.perf_counter() - start, "removed": [row for row, stays in enumerate(kept) if not stays]}


def rensa_rho(texts: str, num_perm: int, bands: int, threshold: float) -> dict:
    """The rho batch pipeline, rensa's fastest: it flags every row that shares a band, the first one too."""
    from rensa import RMinHash, RMinHashLSH

    rows = _texts(texts)
    start = time.perf_counter()
    sketches = RMinHash.digest_matrix_from_token_sets_rho([_tokens(text, 1) for text in rows], num_perm, 42)
    flags = RMinHashLSH(threshold, num_perm, bands).query_duplicate_flags_matrix_one_shot(sketches)
    return {"seconds": time.perf_counter() - start, "removed": [row for row, flag in enumerate(flags) if flag]}


def text_dedup(texts: str, threshold: float, num_perm: int, ngram: int, hash_func: str, hash_bits: int) -> dict:
    """Its MinHash command in this process; seconds of hashing, clustering and filtering, not of reading and saving."""
    import datasets
    from text_dedup import minhash

    timers = []

    class Timer(minhash.Timer):
        def __init__(self) -> None:
            super().__init__()
            timers.append(self)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(minhash, "Timer", Timer):
        flags = {"path": "json", "data_files": texts, "split": "train", "column": "text", "num_proc": 1}
        flags |= {"threshold": threshold, "num_perm": num_perm, "ngram": ngram, "batch_size": 10_000}
        flags |= {"hash_func": hash_func, "hash_bits": hash_bits, "cache_dir": f"{folder}/cache"}
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        minhash.main([*words, "--output", f"{folder}/kept"], standalone_mode=False)
        kept = set(datasets.load_from_disk(f"{folder}/kept")["text"])
    seconds = sum(timers[0].elapsed_times[stage] for stage in ("MinHashing", "Clustering", "Filtering"))
    return {"seconds": seconds, "removed": [row for row, text in enumerate(_texts(texts)) if text not in kept]}


@cache
def _encoder(model: str):
    from model2vec import StaticModel

    return StaticModel.from_pretrained(model)


def semhash(texts: str, threshold: float, model: str, backend: str) -> dict:
    """``SemHash.from_records(...).self_deduplicate(threshold)`` with a static encoder."""
    from semhash import SemHash

    rows, encoder = _texts(texts), _encoder(model)
    start = time.perf_counter()
    result = SemHash.from_records(rows, model=encoder, ann_backend=backend).self_deduplicate(threshold)
    seconds = time.perf_counter() - start
    kept = set(result.selected)
    return {"seconds": seconds, "removed": [row for row, text in enumerate(rows) if text not in kept]}


def distil(model: str, output: str) -> dict:
    """A static encoder from a sentence encoder's folder, as model2vec's documentation does it (256 dimensions)."""
    from model2vec.distill import distill

    start = time.perf_counter()
    distill(model_name=model, pca_dims=256).save_pretrained(output)
    return {"seconds": time.perf_counter() - start}


TASKS = {f.__name__: f for f in (versions, sparse_dot_topn, datasketch, rensa, rensa_rho, text_dedup, semhash, distil)}


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr
    if os.environ.get("PEERS_ON_ONE_CPU"):  # some of them start threads whatever they are told
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = TASKS[request.pop("task")](**request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        answer.write(json.dumps(reply) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
