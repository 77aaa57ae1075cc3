"""How do seconds and memory of prepare grow with the rows, and is every planted near-duplicate found?

    python benchmarks/scale.py [--rows 250000 500000 1000000] [--fit 500000] [--threshold 0.9]

Rows of 60 to 90 words by scale_corpus.py (its Recipe is in the result). `raypipe prepare --num-cpus 2` is a process of
its own; memory.py samples its whole tree. For the sizes under --fit one process of scikit-learn vectorises the same
texts before it (TfidfVectorizer().fit_transform, nothing else timed), for the ratio "ingest to finished ledger after
Ray's start / one fit_transform". One run of each: they take minutes, and what counts is how they grow.
"""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import ROOT, parser_for, raypipe_command, report
from memory import Sampler
from results_file import save
from scale_corpus import Recipe, generate


def fit(path: Path) -> None:
    """One fit_transform, in this process; prints seconds, columns and peak memory."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    with open(path, encoding="utf8") as file:
        texts = [json.loads(line)["text"] for line in file]
    start = time.perf_counter()
    X = TfidfVectorizer().fit_transform(texts)
    seconds = round(time.perf_counter() - start, 2)
    high_water = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # ru_maxrss has the parent's too
    peak = round(int(high_water[1]) / 1024, 1) if high_water else None
    terms = round(X.nnz / X.shape[0], 1)
    print(json.dumps({"seconds": seconds, "columns": X.shape[1], "mean_terms": terms, "peak_rss_mib": peak}))


def prepare(source: Path, out: Path, threshold: float, cpus: int) -> dict[str, Any]:
    """One run of the command line with its memory."""
    flags = ["-i", str(source.parent), "-f", source.name, "-o", str(out / "set.jsonl"), "--num-cpus", str(cpus)]
    words = raypipe_command("prepare", *flags, "--similarity-threshold", str(threshold))
    start = time.perf_counter()
    with open(out / "stderr.txt", "w") as errors:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        sampler = Sampler(process.pid)
        sampler.start()
        code = process.wait()
    whole = time.perf_counter() - start
    memory = sampler.stop()
    if code:
        raise SystemExit(f"prepare ended with {code}: {(out / 'stderr.txt').read_text()[-3000:]}")
    made = json.loads((out / "set_report.json").read_text())
    stages = made["seconds"]
    to_ledger = round(sum(seconds for stage, seconds in stages.items() if stage != "describe"), 2)
    seconds = {"whole_process": round(whole, 1), "ingest_to_ledger": to_ledger}
    counts = {key: made[key] for key in ("kept", "removed", "analyzer")}
    return {"cpus": cpus, "seconds": seconds | {"stages": stages}, "memory": memory, **counts}


def look_up(ledger: Path, planted: dict[int, tuple[int, float]], threshold: float) -> dict[str, Any]:
    """Whether the planted rows left, or their originals did; the similarity is that to the nearest kept row."""
    found: dict[int, float | None] = {}
    with open(ledger, encoding="utf8") as file:
        for line in file:
            row = json.loads(line)
            found[int(row["id"].rsplit(":", 1)[1])] = row["similarity"]
    above = {line: how for line, how in planted.items() if how[1] >= threshold + 0.01}
    missed = [line for line, (of, _) in above.items() if line not in found and of not in found]
    low = [n for n, (of, cosine) in above.items() if n in found and of not in found and found[n] < cosine - 0.01]
    return {
        "planted": len(planted),
        "well_above_the_threshold": len(above),
        "least_cosine": min((cosine for _, cosine in above.values()), default=None),
        "original_left_itself": sum(of in found for of, _ in above.values()),
        "missed": missed,
        "similarity_below_the_planted_one": low,
    }


def measure(rows: int, with_fit: bool, threshold: float, cpus: int) -> dict[str, Any]:
    """One size, from its generation to its removal."""
    folder = ROOT / "out" / "scale" / str(rows)
    shutil.rmtree(folder, ignore_errors=True)
    source, out = folder / "raw" / "rows.jsonl", folder / "out"
    out.mkdir(parents=True)
    start = time.perf_counter()
    data = generate(source, rows, Recipe())
    planted = data.pop("planted")
    measured: dict[str, Any] = {"data": data, "generated_in_s": round(time.perf_counter() - start, 1)}
    if with_fit:
        done = subprocess.run([sys.executable, __file__, "--fit-file", str(source)], check=True, capture_output=True)
        measured["fit_transform"] = json.loads(done.stdout)
    measured |= prepare(source, out, threshold, cpus)
    measured["planted"] = look_up(out / "set_removed.jsonl", planted, threshold)
    if with_fit:
        ratio = measured["seconds"]["ingest_to_ledger"] / measured["fit_transform"]["seconds"]
        measured["ingest_to_ledger_over_fit"] = round(ratio, 2)
    shutil.rmtree(folder)
    return measured


def growth(sizes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From each size to the next: the factors, and the exponents of a power of the rows."""
    steps = []
    for a, b in itertools.pairwise(sizes):
        more = b["data"]["rows"] / a["data"]["rows"]
        values = {
            "ingest_to_ledger": tuple(m["seconds"]["ingest_to_ledger"] for m in (a, b)),
            **{stage: (s, b["seconds"]["stages"][stage]) for stage, s in a["seconds"]["stages"].items()},
            "driver_private": tuple(m["memory"]["driver"]["private"] for m in (a, b)),
            "largest_worker_private": tuple(m["memory"]["largest_worker_private"] for m in (a, b)),
        }
        factors = {name: round(after / before, 2) for name, (before, after) in values.items() if before >= 0.1}
        exponents = {name: round(math.log(max(f, 1e-9)) / math.log(more), 2) for name, f in factors.items()}
        steps.append({"rows": more, "factors": factors, "exponents": exponents})
    return steps


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--fit", type=int, nargs="*", default=[500_000], help="sizes that scikit-learn vectorises too")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--num-cpus", type=int, default=2)
    parser.add_argument("--fit-file", type=Path, help="only this: one fit_transform of a file's texts")
    options = parser.parse_args()
    if options.fit_file:
        fit(options.fit_file)
        return
    sizes = []
    for rows in options.rows:
        sizes.append(measure(rows, rows in options.fit, options.threshold, options.num_cpus))
        report({key: value for key, value in sizes[-1].items() if key != "data"})
    measured = {"threshold": options.threshold, "sizes": sizes, "growth": growth(sizes)}
    save(options.name or "scale", measured)
    if any(size["planted"]["missed"] for size in sizes):
        raise SystemExit("planted near-duplicates were missed")


if __name__ == "__main__":
    main()
