"""Do trials give back all that they took? Starts and stops of trials in one Ray, and what is left after them.

    python benchmarks/trial_leaks.py [--cycles 20] [--trials-of-a-sweep 10] [--onto results/DATE-trial-leaks.json]

`pipeline.sweep` of a small random encoder over learning rates, by ASHA, two trials at a time on two CPUs, several
sweeps in one Ray: most trials are stopped in mid-training, the others end by themselves. After each sweep it counts
placement groups that hold something, live actors, worker processes of trials and free CPUs, against those before the
first. Anything left over ends the script with an error.
"""

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.data
from common import parser_for, report
from kills import write_dataset, write_model
from ray.util.state import list_actors, list_placement_groups
from results_file import save

from raypipe import SweepConfig, pipeline
from raypipe.runtime import session

PATIENCE_S = 60  # actors and groups go within seconds of the last trial
# One for each Ray, started by the first that asks, however many trials come; and Ray Train's cleaners, which end when
# Ray next asks after them.
RAYS_OWN = ("PlacementGroupCleaner", "_AutoscalingCoordinatorActor", "_StatsActor")
TITLES = ("TrainWorker", "TrainController", "ImplicitFunc", "RayTrainWorker")  # of a trial's processes


def held() -> dict[str, Any]:
    """What trials could have left behind, and the CPUs that are free."""
    here: dict[str, Any] = {"address": ray.get_runtime_context().gcs_address, "limit": 1000}
    groups = [group for group in list_placement_groups(**here) if group.state != "REMOVED"]
    actors = [a for a in list_actors(**here) if a.state != "DEAD" and a.class_name not in RAYS_OWN]
    free = ray.available_resources().get("CPU", 0.0)
    return {
        "placement_groups": len(groups),
        "actors": len(actors),
        "actor_classes": sorted(actor.class_name for actor in actors),
        "processes": trial_processes(),
        "cpus_free": round(free, 2),
    }


def trial_processes() -> int:
    """Processes of this Ray that belong to a trial."""
    count = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            count += any(words in title for words in TITLES)
    return count


def settled(before: dict[str, Any]) -> dict[str, Any]:
    """What is held once it is as before, or when patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := held()) != before and time.monotonic() < deadline:
        time.sleep(1)
    return now


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--cycles", type=int, default=20, help="starts of trials in all")
    parser.add_argument("--trials-of-a-sweep", type=int, default=10)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--onto", type=Path, help="an earlier result, whose sweeps count as well")
    options = parser.parse_args()
    sweeps: list[dict[str, Any]] = json.loads(options.onto.read_text())["sweeps"] if options.onto else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "set", options.rows)
        write_model(folder / "encoder")
        common = {
            "input_hf_dataset": str(folder / "set"),
            "model_for_training_finetune": str(folder / "encoder"),
            "device": "cpu",
            "precision": "fp32",
            "epochs": 1.0,
            "learning_rate_range": (1e-6, 1e-2),
        }
        ray.init(address="local", num_cpus=2, include_dashboard=True, log_to_driver=False)  # for the state API
        with session(SweepConfig(**common)):
            ray.data.range(1).materialize()  # the actors that Ray Data keeps for itself are no trial's
            before, started = held(), sum(sweep["counts"]["trials"] for sweep in sweeps)
            while started < options.cycles:
                trials = min(options.trials_of_a_sweep, options.cycles - started)
                config = SweepConfig(
                    **common, num_samples=trials, seed=len(sweeps), output_dir=str(folder / f"sweep-{len(sweeps)}")
                )
                counts = pipeline.sweep(config).counts
                started += trials
                sweeps.append({"counts": counts, "left": settled(before)})
                report(sweeps[-1])
    leaked = [sweep["left"] for sweep in sweeps if sweep["left"] != before]
    save(options.name or "trial-leaks", {"cycles": started, "before": before, "sweeps": sweeps, "leaked": leaked})
    if leaked:
        raise SystemExit(f"{leaked} where {before} was held before")


if __name__ == "__main__":
    main()
