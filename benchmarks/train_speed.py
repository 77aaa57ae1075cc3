"""Seconds per example of raypipe's training loop beside the best plain Trainer and the usual Ray recipe.

    python benchmarks/train_speed.py --data ../shared/data [--steps 100] [--rounds 3] [--sets banking77 hwu64]

A MiniLM encoder of 23 M parameters, on the CPU, the same rows per optimizer step, threads and precision for all. The
sides alternate, each run in a process of its own; counted are the seconds from the end of the warm-up to the end of the
last step, with all that a side does between steps (batches, padding, Trainer). All sides get rows tokenised beforehand.

The plain Trainer (dynamic padding, group_by_length) is first tried at several batch sizes, accumulated to the same
rows per step, and takes part with the fastest. Recorded once beside them: padding to 128 and to 512 tokens, float32.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import parser_for, report
from results_file import save

SIDES = Path(__file__).with_name("training_sides.py")


def measure(side: str, settings: dict[str, Any], **more: Any) -> tuple[float, float]:
    """Seconds per example and per real token of one run in a new process."""
    threads = {f"{name}_NUM_THREADS": str(settings["threads"]) for name in ("OMP", "MKL")}
    done = subprocess.run(
        [sys.executable, str(SIDES), side, json.dumps(settings | more)],
        capture_output=True,
        text=True,
        env=os.environ | threads | {"TOKENIZERS_PARALLELISM": "false", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    each = found["seconds"] / found["rows"]
    report({"side": side, "set": settings["set"], **more, "ms_per_example": round(1000 * each, 3), **found})
    return each, found["seconds"] / found["real_tokens"]


def compare(settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """All sides on one set."""
    rows = settings["rows_of_a_step"]
    tried = {batch: measure("stock", settings, batch=batch) for batch in sorted({rows, rows // 2, rows // 4} - {0})}
    best = min(tried, key=lambda batch: tried[batch][1])  # by real token: the rows of a side are not the others'
    ways = {"raypipe": {}, "stock": {"batch": best}, "ray_recipe": {}}
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in ways}
    for turn in range(rounds):
        for side in list(ways)[:: 1 if turn % 2 == 0 else -1]:  # so that a slow drift of the machine favours none
            times[side].append(measure(side, settings, **ways[side]))
    example, token = (
        {side: statistics.median(run[unit] for run in runs) for side, runs in times.items()} for unit in (0, 1)
    )
    few = settings | {"steps": max(1, settings["steps"] // 10)}  # 44 times the arithmetic: recorded, not judged
    recorded = {f"padded to {length}": measure("stock", few, pad_to=length) for length in (128, 512)}
    recorded["raypipe in float32"] = measure("raypipe", settings, precision="fp32")
    recorded["stock in float32"] = measure("stock", settings, batch=best, precision="fp32")
    return {
        "set": settings["set"],
        "ms_per_example": {side: [round(1000 * run[0], 4) for run in runs] for side, runs in times.items()},
        "us_per_real_token": {side: [round(1e6 * run[1], 2) for run in runs] for side, runs in times.items()},
        "stock_us_per_real_token_by_batch": {str(batch): round(1e6 * run[1], 2) for batch, run in tried.items()},
        "stock_batch": best,
        "times_the_best_stock_trainer": round(example["stock"] / example["raypipe"], 3),
        "times_the_ray_recipe": round(example["ray_recipe"] / example["raypipe"], 3),
        "times_the_best_stock_trainer_by_real_token": round(token["stock"] / token["raypipe"], 3),
        "times_the_ray_recipe_by_real_token": round(token["ray_recipe"] / token["raypipe"], 3),
        "recorded_ms_per_example": {name: round(1000 * run[0], 4) for name, run in recorded.items()},
    }


def main() -> None:
    parser = parser_for(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the known sets")
    parser.add_argument("--sets", nargs="+", default=["banking77", "hwu64"], choices=["banking77", "hwu64"])
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps that count, after ten of warm-up")
    parser.add_argument("--rows-of-a-step", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    options = parser.parse_args()
    settings = {
        "data": str(options.data.resolve()),
        "steps": options.steps,
        "rows_of_a_step": options.rows_of_a_step,
        "threads": options.threads,
        "precision": options.precision,
    }
    shown = {name: value for name, value in settings.items() if name != "data"} | {"rounds": options.rounds}
    for name in options.sets:
        result = compare(settings | {"set": name}, options.rounds)
        save(f"{options.name or 'train_speed'}-{name}", {"settings": shown, "sets": [result]})


if __name__ == "__main__":
    main()
