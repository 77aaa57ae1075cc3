"""What a sweep costs beside its trainings, and what ASHA saves: eight learning rates on banking77.

    python benchmarks/sweep_speed.py --data ../shared/data [--rates 8] [--epochs 2] [--kept FOLDER]

MiniLM, four evaluations an epoch, by `raypipe sweep` on this machine. One trial alone gives the seconds of a full trial
on all CPUs and those of a start; eight times that trial plus one start is what trials one after another would take at
best (they do the same work, whatever their rate). Beside it: the sweep without and with ASHA, as the clock on the wall
has it. ASHA's verdict depends on the order in which the rates come: one seeded order runs, two more (and two hundred
beside the headline) are replayed by Ray's own scheduler from the logged curves of the full trials, at the seconds that
these took. With --kept each of the three sweeps that has ended lies in a file, and the next run goes on from there.
"""

import heapq
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accuracy
import numpy as np
import pandas as pd
from common import parser_for, raypipe_command, report
from defaults import RATES
from results_file import commit, save

from raypipe.demo import encoder_path
from raypipe.schema import LABEL, TEXT
from raypipe.train.sweep import asha

PER_EPOCH = 4  # evaluations
ORDERS = 203  # seeded orders of the rates: one runs, two are its peers, and all of them say how far luck goes


def write_dataset(data: Path, folder: Path) -> None:
    """banking77 with its own split."""
    rows = accuracy.load("banking77", data)
    folder.mkdir()
    for part, texts, labels in (
        ("train", rows.train_text, rows.train_label),
        ("test", rows.test_text, rows.test_label),
    ):
        frame = pd.DataFrame({TEXT: texts, LABEL: [rows.names[label] for label in labels]})
        frame.to_csv(folder / f"{part}.csv", index=False)


def kept(place: Path, *asked: Any) -> dict[str, Any]:
    """The result of a sweep out of its file, or made now and written into it."""
    if not place.exists():
        place.write_text(json.dumps(sweep(*asked) | {"git_commit": commit()}))
    found = json.loads(place.read_text())
    return found | {"trials": {float(rate): trial for rate, trial in found["trials"].items()}}


def sweep(dataset: Path, out: Path, rates: Sequence[float], scheduler: str, epochs: float) -> dict[str, Any]:
    """One `raypipe sweep`: its record, and the seconds of the whole command."""
    words = raypipe_command("sweep", "--input-hf-dataset", str(dataset), "--output-dir", str(out))
    words += ["--model-for-training-finetune", encoder_path(), "--device", "cpu", "--epochs", str(epochs)]
    words += ["--scheduler", scheduler, "--evaluations-per-epoch", str(PER_EPOCH), "--max-length", "128"]
    start = time.perf_counter()
    done = subprocess.run([*words, "--learning-rates", *map(str, rates)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: {done.stderr[-3000:]}")
    wall = time.perf_counter() - start
    record = json.loads((out / "sweep.json").read_text(encoding="utf8"))
    trials = {
        trial["learning_rate"]: {
            "status": trial["status"],
            "seconds": round(trial["seconds"], 2),
            "macro_f1": [round(seen["macro_f1"], 4) for seen in trial["history"]],
        }
        for trial in record["trials"]
    }
    found = {"seconds": round(wall, 1), "at_once": record["at_once"], "chosen": record["best"]["learning_rate"]}
    report({"scheduler": scheduler, **found})
    return found | {"trials": trials}


def replayed(order: Sequence[float], full: dict[str, Any], epochs: float) -> dict[str, Any]:
    """What ASHA does with the logged trials in this order: its choice, and the seconds until all have ended."""
    scheduler = asha(epochs, PER_EPOCH)
    scheduler.set_search_properties("macro_f1", "max")
    waiting, running, ended_at = list(order), [], 0.0
    seen: dict[float, float] = {}  # rate -> best macro-F1 that was reported

    def start(now: float) -> None:
        if waiting:
            rate = waiting.pop(0)
            scheduler.on_trial_add(None, SimpleNamespace(trial_id=str(rate)))
            heapq.heappush(running, (now + step_of(rate), 0, rate))

    def step_of(rate: float) -> float:
        trial = full["trials"][rate]
        return float(trial["seconds"]) / len(trial["macro_f1"])

    for _ in range(full["at_once"]):
        start(0.0)
    while running:
        now, place, rate = heapq.heappop(running)
        curve = full["trials"][rate]["macro_f1"]
        seen[rate] = max(seen.get(rate, 0.0), curve[place])
        result = {"epoch": (place + 1) / PER_EPOCH, "macro_f1": curve[place]}
        goes_on = scheduler.on_trial_result(None, SimpleNamespace(trial_id=str(rate)), result) == "CONTINUE"
        if goes_on and place + 1 < len(curve):
            heapq.heappush(running, (now + step_of(rate), place + 1, rate))
        else:
            ended_at = now
            start(now)
    return {"order": list(order), "chosen": max(seen, key=lambda rate: seen[rate]), "trials_seconds": ended_at}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rates", type=int, default=len(RATES))
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--kept", type=Path, help="folder of the sweeps that have ended; without it, none are kept")
    options = parser.parse_args()
    orders = [np.random.default_rng(seed).permutation(RATES[: options.rates]).tolist() for seed in range(ORDERS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(options.data, folder / "set")
        place = options.kept or folder
        place.mkdir(parents=True, exist_ok=True)
        one, stopped, full = (
            kept(place / f"{name}.json", folder / "set", folder / name, rates, scheduler, options.epochs)
            for name, rates, scheduler in (
                ("one", [2e-4], "none"),
                ("asha", orders[0], "asha"),
                ("full", orders[0], "none"),
            )
        )
    found = judged(one, full, stopped, orders, options.epochs)
    save(options.name or "sweep_speed", {"epochs": options.epochs, **found})


def judged(
    one: dict[str, Any], full: dict[str, Any], asha: dict[str, Any], orders: list[list[float]], epochs: float
) -> dict[str, Any]:
    """The runs, and their ratios."""
    (trial,) = one["trials"].values()
    start_up = one["seconds"] - trial["seconds"]
    in_turn = len(full["trials"]) * trial["seconds"] + start_up
    all_replays = [replayed(order, full, epochs) for order in orders]
    replays = all_replays[1:3]
    around = full["seconds"] - replayed_full(full)  # the start, and what else is around the trials
    seconds = [asha["seconds"], *(around + replay["trials_seconds"] for replay in replays)]
    final = {rate: max(trial["macro_f1"]) for rate, trial in full["trials"].items()}
    chosen = [asha["chosen"], *(replay["chosen"] for replay in replays)]
    return {
        "one_trial": one,
        "full": full,
        "asha": asha,
        "replays": replays,
        "start_up_seconds": round(start_up, 1),
        "full_times_trials_in_turn": round(full["seconds"] / in_turn, 3),
        "asha_times_faster": [round(full["seconds"] / each, 3) for each in seconds],
        "asha_times_faster_median": round(full["seconds"] / statistics.median(seconds), 3),
        "asha_chosen": chosen,
        "asha_of_all_orders_replayed": {
            "orders": len(orders),
            "times_faster": np.quantile(
                [full["seconds"] / (around + replay["trials_seconds"]) for replay in all_replays], (0.1, 0.5, 0.9)
            ).tolist(),
            "same_choice": statistics.mean(replay["chosen"] == full["chosen"] for replay in all_replays),
            "mean_macro_f1_less_full": statistics.mean(final[r["chosen"]] - final[full["chosen"]] for r in all_replays),
        },
        "asha_macro_f1_less_full": [round(final[rate] - final[full["chosen"]], 4) for rate in chosen],
    }


def replayed_full(full: dict[str, Any]) -> float:
    """Seconds of the full trials, each slot taking the next one when it is free."""
    slots = [0.0] * full["at_once"]
    for trial in full["trials"].values():
        heapq.heapreplace(slots, slots[0] + trial["seconds"])
    return max(slots)


if __name__ == "__main__":
    main()
