"""Does prepare write the same bytes however it is run?

    python benchmarks/determinism.py --data ../shared/data/hwu64 [--runs 24] [--kills 6]
    python benchmarks/determinism.py --rows 20000          # a sample of the docstrings instead

SHA-256 of `_train`, `_test`, `_removed` and `_dataset/*` (the card and the CSV files) over runs of the command line
that differ in --num-cpus (1, 2, 3), --block-rows, the size of a file's pieces and the order in which tasks finish
(disturbed.py), and over runs that are killed (SIGKILL of the process group) at a random moment and then resumed, some
of them twice, on another number of CPUs. More than one set of bytes ends the script with an error.
"""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import corpus
import psutil
from common import parser_for, report
from results_file import save

PIECES = (16 << 20, 1 << 20, 96 << 10)  # bytes; hwu64 has 0.8 MB
BLOCKS = (20_000, 5_000, 1_700)


class Way(NamedTuple):
    """One way to run the same job."""

    num_cpus: int
    block_rows: int
    piece_bytes: int
    shuffled: int  # a seed; 0 leaves the tasks alone


def ways(count: int) -> list[Way]:
    """All combinations in a seeded order, every second one with late tasks; cyclic where more are asked for."""
    every = list(itertools.product((1, 2, 3), BLOCKS, PIECES))
    random.Random(0).shuffle(every)
    return [
        Way(*way, shuffled=i if i % 2 else 0) for i, way in enumerate(itertools.islice(itertools.cycle(every), count))
    ]


def command(way: Way, source: Path, columns: tuple[str, str], out: Path, *more: str) -> list[str]:
    flags = [
        "-i",
        str(source.parent),
        "-f",
        source.name,
        "-o",
        str(out / "set.jsonl"),
        "-t",
        columns[0],
        "-s",
        columns[1],
    ]
    rules = ["--similarity-threshold", "0.8", "--reduce-majority-to", "0.5", "--num-cpus", str(way.num_cpus)]
    rules += ["--block-rows", str(way.block_rows), *more]
    script = Path(__file__).with_name("disturbed.py")
    return [sys.executable, str(script), str(way.piece_bytes), str(way.shuffled), "prepare", *flags, *rules]


def hashes(out: Path) -> dict[str, str]:
    """Of every file that law 4 speaks of."""
    files = [out / f"set_{kind}.jsonl" for kind in ("train", "test", "removed")] + sorted(
        (out / "set_dataset").iterdir()
    )
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def run(words: list[str], way: Way, kill_after_s: float | None = None) -> bool:
    """Run to the end, or kill the process group after a while; whether it was killed."""
    order = {"RAYPIPE_TASK_ORDER_SEED": str(way.shuffled)} if way.shuffled else {}  # raypipe/data/tasks.py
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, env=os.environ | order, start_new_session=True, **pipes)
    try:
        _, errors = process.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        psutil.wait_procs(family, timeout=10)  # Ray's own processes end with their driver
        for left in family:
            if left.is_running():
                left.kill()
        return True
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {errors.decode()[-2000:]}")
    return False


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, help="folder with hwu64's raw.jsonl")
    parser.add_argument("--rows", type=int, default=20_000, help="docstrings, without --data")
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=6, help="runs that are killed and resumed, beside --runs")
    options = parser.parse_args()
    rng = random.Random(42)
    seen: dict[str, dict[str, Any]] = {}
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "raw" / "raw.jsonl"
        if options.data:
            source.parent.mkdir()
            shutil.copyfile(options.data / "raw.jsonl", source)
        else:
            corpus.write_jsonl(corpus.load(options.rows, min_words=10), source)
        longest = 0.0
        for number, way in enumerate(ways(options.runs + options.kills)):
            out = folder / f"out{number}"
            words = command(way, source, ("text", "label"), out)
            kills = []
            start = time.perf_counter()
            if number < options.runs:
                run(words, way)
                longest = max(longest, time.perf_counter() - start)
            else:
                while len(kills) < 1 + number % 2:
                    after = round(rng.uniform(1, 0.9 * longest), 2)
                    if run([*words, "--resume"] if kills else words, way, after):
                        kills.append(after)
                    else:  # it was done before; once more from the beginning
                        shutil.rmtree(out)
                        kills.clear()
                other = way._replace(num_cpus=1 + way.num_cpus % 3)
                run(command(other, source, ("text", "label"), out, "--resume"), other)
            found = hashes(out)
            digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
            seen.setdefault(digest, found)
            runs.append(way._asdict() | {"killed_after_s": kills, "sha256_of_all": digest})
            report(runs[-1] | {"seconds": round(time.perf_counter() - start, 1)})
            shutil.rmtree(out)
            if len(seen) > 1:
                raise SystemExit(f"other bytes: {json.dumps(list(seen.values()), indent=1)}")
    data = {"set": options.data.name} if options.data else {"docstrings": options.rows}
    counts = {"undisturbed_and_shuffled": options.runs, "killed_and_resumed": options.kills}
    measured = {"data": data, "verdict": "one set of bytes", "runs": counts, "files": next(iter(seen.values()))}
    save(options.name or "determinism", measured | {"every_run": runs})


if __name__ == "__main__":
    main()
