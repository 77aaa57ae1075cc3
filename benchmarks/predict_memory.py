"""Is the memory of driver and actors flat while a million rows are scored over 500 classes?

    python benchmarks/predict_memory.py [--rows 1000000] [--classes 500]

`raypipe evaluate` on a file of short distinct texts with a small random model, in a process of its own. Memory is RSS
less shared pages (the object store is mapped by all), sampled every second; how far the run is, is read from the
scored blocks beside its output. The growth is the largest sample after the first tenth of the rows less the last
sample within it.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from classifiers import write_rows, write_small
from common import parser_for, raypipe_command, report
from results_file import save

MIB, INTERVAL_S = 1 << 20, 1.0
WORDS = "where is my new card please tell me how long it takes to pay back a transfer abroad"


def texts(rows: int) -> list[str]:
    words = WORDS.split()
    return [f"{n} {' '.join(words[n % 7 : n % 7 + 4 + n % 11])}" for n in range(rows)]


def sample(process: psutil.Process, work: Path) -> dict[str, float]:
    """MiB of the driver and of its largest actor, and the blocks that are scored."""
    found = {"driver": 0.0, "actor": 0.0, "blocks": float(len(list(work.glob("*/*/*.arrow"))))}
    for one in [process, *process.children(recursive=True)]:
        try:
            memory, title = one.memory_info(), " ".join(one.cmdline())
        except psutil.Error:
            continue
        size = (memory.rss - memory.shared) / MIB
        if one.pid == process.pid:
            found["driver"] = size
        elif "MapWorker(MapBatches(Predictor))" in title:
            found["actor"] = max(found["actor"], size)
    return {name: round(value, 1) for name, value in found.items()}


def growth(samples: list[dict[str, float]], who: str) -> dict[str, float]:
    """MiB at the end of the first tenth of the blocks, at most after it, and the difference."""
    blocks = max(one["blocks"] for one in samples)
    during = [one for one in samples if one["blocks"] > 0 and one[who] > 0]
    early = [one[who] for one in during if one["blocks"] <= max(1, blocks / 10)] or [during[0][who]]
    late = [one[who] for one in during if one["blocks"] > blocks / 10] or early
    return {"after_a_tenth": early[-1], "most_after": max(late), "growth": round(max(late) - early[-1], 1)}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=500)
    options = parser.parse_args()
    samples: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_small(folder / "model", options.classes)
        write_rows(folder / "rows.jsonl", texts(options.rows), options.classes)
        words = ["--model", model, "--input-dir", scratch, "--filename", "rows.jsonl", "--device", "cpu"]
        words += ["--precision", "fp32", "--output-classify-file", f"{scratch}/out.jsonl"]
        start = time.monotonic()
        with subprocess.Popen(raypipe_command("evaluate", *words), stdout=subprocess.DEVNULL) as running:
            process = psutil.Process(running.pid)
            while running.poll() is None:
                try:
                    samples.append(
                        {"seconds": round(time.monotonic() - start, 1), **sample(process, folder / ".out.work")}
                    )
                except psutil.NoSuchProcess:
                    break
                time.sleep(INTERVAL_S)
        if running.wait():
            raise SystemExit(f"evaluate ended with {running.returncode}")
    scoring = [one for one in samples if one["actor"] > 0]
    measured: dict[str, Any] = {
        "data": {"rows": options.rows, "classes": options.classes, "source": "numbered short texts"},
        "unit": "MiB of RSS less shared pages",
        "driver": growth(scoring, "driver"),
        "actor": growth(scoring, "actor"),
        "driver_most_of_all": max(one["driver"] for one in samples),
        "samples": samples[:: max(1, len(samples) // 200)],
    }
    report({name: value for name, value in measured.items() if name != "samples"})
    save(options.name or "predict-memory", measured)


if __name__ == "__main__":
    main()
