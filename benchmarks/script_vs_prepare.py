"""How long does all of prepare take beside a straightforward single-process scikit-learn script?

    python benchmarks/script_vs_prepare.py [--rows 50000] [--min-words 60] [--threshold 0.9]

Peer: sklearn_script.py, which reads, vectorises, multiplies in blocks, applies the keep rule, splits and writes the
same rows; one process, one thread, as such a script runs. prepare runs as the command line on the machine's CPUs, which
are stated, and once more on one. Each is a process of its own, alternating, the same file on disk. Counted are the
whole process (imports and Ray's start and end in it) and the work alone (the report's seconds; the script's own laps).
Every line of all five row files must be the same.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import corpus
from common import SLOW_S, alternate, parser_for, raypipe_command, report, single_threaded
from results_file import save


def prepare(source: Path, stem: Path, threshold: float, cpus: int) -> dict[str, Any]:
    """One run of the command line: seconds of the process, of its stages, and their sum."""
    flags = ["-i", str(source.parent), "-f", source.name, "-o", f"{stem}.jsonl", "--overwrite"]
    start = time.perf_counter()
    words = raypipe_command("prepare", *flags, "--similarity-threshold", str(threshold), "--num-cpus", str(cpus))
    subprocess.run(words, check=True, capture_output=True)
    whole = time.perf_counter() - start
    stages = json.loads(Path(f"{stem}_report.json").read_text())["seconds"]
    return {"whole": whole, "work": sum(stages.values()), "stages": stages}


def script(source: Path, stem: Path, threshold: float) -> dict[str, Any]:
    """One run of the peer."""
    words = [sys.executable, str(Path(__file__).with_name("sklearn_script.py"))]
    words += ["--input", str(source), "--output", f"{stem}.jsonl", "--threshold", str(threshold)]
    start = time.perf_counter()
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=single_threaded())
    whole = time.perf_counter() - start
    stages = json.loads(done.stdout)["seconds"]
    return {"whole": whole, "work": sum(stages.values()), "stages": stages}


def compare(ours: Path, theirs: Path) -> dict[str, int]:
    """Every line of the five files is the same; returns how many there are."""
    counts = {}
    for ending in ("_train.jsonl", "_test.jsonl", "_removed.jsonl", "_dataset/train.csv", "_dataset/test.csv"):
        mine, other = (Path(f"{stem}{ending}").read_text(encoding="utf8").split("\n") for stem in (ours, theirs))
        for number, (a, b) in enumerate(zip(mine, other, strict=False), 1):
            assert a == b, f"line {number} of {ending}: {a[:300]!r}, by the script {b[:300]!r}"
        assert len(mine) == len(other), f"{ending}: {len(mine)} lines, by the script {len(other)}"
        counts[ending[1:]] = len(mine) - 1
    return counts


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--min-words", type=int, default=60)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--slow", type=float, default=2 * SLOW_S, help="seconds beyond which a run is not repeated")
    options = parser.parse_args()
    texts = corpus.load(options.rows, min_words=options.min_words)
    cpus = os.cpu_count() or 1
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "raw" / "docstrings.jsonl"
        corpus.write_jsonl(texts, source)

        def once(kind: str, run: Any, *more: Any) -> float:
            runs.setdefault(kind, []).append(run(source, folder / kind / "set", options.threshold, *more))
            report({kind: runs[kind][-1]})
            return runs[kind][-1]["whole"]

        for kind in ("script", "prepare", "prepare_one_cpu"):
            (folder / kind).mkdir()
        whole = alternate(
            {
                "script": lambda: once("script", script),
                "prepare": lambda: once("prepare", prepare, cpus),
                "prepare_one_cpu": lambda: once("prepare_one_cpu", prepare, 1),
            },
            options.rounds,
            options.slow,
        )
        lines = compare(folder / "prepare" / "set", folder / "script" / "set")
        compare(folder / "prepare_one_cpu" / "set", folder / "script" / "set")
    middle = {kind: sorted(r, key=lambda run: run["work"])[len(r) // 2] for kind, r in runs.items()}
    work = {kind: round(run["work"], 3) for kind, run in middle.items()}
    measured = {
        "data": corpus.describe(texts),
        "threshold": options.threshold,
        "cpus": {"script": 1, "prepare": cpus, "prepare_one_cpu": 1},
        "identical_lines": lines,
        "whole_process": whole,
        "work_without_start": work,
        "stages_of_the_median_run": {kind: run["stages"] for kind, run in middle.items()},
        "script_over_prepare": {
            "whole_process": round(whole["script"]["seconds"] / whole["prepare"]["seconds"], 2),
            "work": round(work["script"] / work["prepare"], 2),
            "work_one_cpu_each": round(work["script"] / work["prepare_one_cpu"], 2),
        },
    }
    report(measured["script_over_prepare"])
    save(options.name or "script-vs-prepare", measured)


if __name__ == "__main__":
    main()
