"""What prepare replaces: one process that cleans a JSONL file with scikit-learn and writes the same rows.

    python benchmarks/sklearn_script.py --input raw.jsonl --output DIR/NAME.jsonl --threshold 0.9

Straightforward code, with SciPy's product of all rows in blocks as its join: every cosine is computed in float64. It
is the judge of exactness.py and the peer of script_vs_prepare.py. Of raypipe it takes what is defined and not computed
by search: the canonical form of a text and the seeded hash order of the split.
"""

import argparse
import csv
import json
import os
import time
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe.core import sampling
from raypipe.core.text import canonical, key

BLOCK = 500  # rows of one product; larger blocks need more memory and ran no faster
SPLIT = 2  # the purpose of the hash order that cuts the test rows (raypipe/data/split.py)


class Row(NamedTuple):
    id: str
    text: str
    label: str


def read(path: str, text: str, label: str) -> list[Row]:
    name = os.path.basename(path)
    with open(path, encoding="utf8", newline="\n") as file:
        values = [json.loads(line) for line in file]
    return [Row(f"{name}:{n}", v[text], v[label].strip()) for n, v in enumerate(values, 1)]


def similar(X: sp.csr_matrix, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs (later, earlier, cosine) at cosine >= threshold, by later and earlier row."""
    found = []
    for start in range(0, X.shape[0], BLOCK):
        end = min(start + BLOCK, X.shape[0])
        product = X[start:end] @ X[:end].T
        near = np.flatnonzero(product.data >= threshold - 1e-9)
        later = np.searchsorted(product.indptr, near, side="right") - 1 + start
        below = product.indices[near] < later
        found.append((later[below], product.indices[near][below], product.data[near][below]))
    later, earlier, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((earlier, later))
    return later[order], earlier[order], cosine[order]


def keep(rows: list[Row], pairs: tuple[np.ndarray, ...]) -> dict[int, tuple[int, float, bool]]:
    """The removed rows: witness, similarity, and whether the text is the same. A row stays unless an earlier KEPT row
    has the same canonical text or is near; the nearest is the witness, of equally near ones (9 digits) the first."""
    neighbours = defaultdict(list)
    for later, earlier, cosine in zip(*(p.tolist() for p in pairs), strict=True):
        neighbours[later].append((earlier, cosine))
    removed: dict[int, tuple[int, float, bool]] = {}
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        form = canonical(row.text)
        near = [(-round(cosine, 9), other, cosine) for other, cosine in neighbours[number] if other not in removed]
        if form in first:
            removed[number] = (first[form], 1.0, True)
        elif near:
            _, witness, cosine = min(near)
            removed[number] = (witness, cosine, False)
        else:
            first[form] = number
    return removed


def ledger(rows: list[Row], removed: dict[int, tuple[int, float, bool]]) -> list[dict[str, Any]]:
    lines = []
    for number in sorted(removed):
        row, (witness, similarity, exact) = rows[number], removed[number]
        conflict = row.label != rows[witness].label
        reason = "label_conflict" if conflict else "exact_duplicate" if exact else "near_duplicate"
        cause = {"witness_id": rows[witness].id, "similarity": round(similarity, 6)}
        detail = ("exact" if exact else "near") if conflict else None
        lines.append(row._asdict() | {"reason": reason, **cause, "detail": detail})
    return lines


def split(rows: list[Row], kept: list[int], fraction: float, seed: int) -> np.ndarray:
    """Which of the kept rows go to test: of each class its share with the lowest hashes."""
    names, label = np.unique([rows[n].label for n in kept], return_inverse=True)
    keys = np.array([key(canonical(rows[n].text)) for n in kept], np.int64)
    place = sampling.places(keys[:, 0].copy(), keys[:, 1].copy(), seed, SPLIT)
    counts = sampling.held_out_counts(np.bincount(label, minlength=len(names)), fraction)
    return sampling.first_of_each(label, place, counts)


def decide(rows: list[Row], pairs: tuple[np.ndarray, ...], fraction: float, seed: int) -> dict[str, list[dict]]:
    """The lines of the three files."""
    removed = keep(rows, pairs)
    followers = Counter(witness for witness, _, _ in removed.values())
    kept = [n for n in range(len(rows)) if n not in removed]
    lines: dict[str, list[dict]] = {"train": [], "test": [], "removed": ledger(rows, removed)}
    for number, in_test in zip(kept, split(rows, kept, fraction, seed), strict=True):
        row = rows[number]._asdict() | {"weight": 1.0 + followers[number]}
        lines["test" if in_test else "train"].append(row)
    return lines


def write(lines: dict[str, list[dict]], stem: str) -> None:
    os.makedirs(f"{stem}_dataset", exist_ok=True)
    for kind, rows in lines.items():
        with open(f"{stem}_{kind}.jsonl", "w", encoding="utf8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if kind != "removed":
            with open(f"{stem}_dataset/{kind}.csv", "w", encoding="utf8", newline="") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerow(["text", "label", "id", "weight"])
                writer.writerows([r["text"], r["label"], r["id"], repr(r["weight"])] for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--test-fraction", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    seconds, start = {}, time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal start
        seconds[stage], start = round(time.perf_counter() - start, 3), time.perf_counter()

    rows = read(options.input, options.text, options.label)
    lap("read")
    X = TfidfVectorizer().fit_transform([row.text for row in rows])
    lap("vectorise")
    pairs = similar(X, options.threshold)
    lap("join")
    lines = decide(rows, pairs, options.test_fraction, options.seed)
    lap("decide")
    write(lines, options.output.removesuffix(".jsonl"))
    lap("write")
    print(json.dumps({"seconds": seconds, "rows": {kind: len(rows) for kind, rows in lines.items()}}))


if __name__ == "__main__":
    main()
