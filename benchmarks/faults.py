"""How often does each fault end as it must? The fault tests, several times each, every try counted.

    python benchmarks/faults.py [--tries 5] [--only WORDS] [--onto results/DATE-faults.json]

A try is the test itself, which makes its fault for real and judges what is left: the right result, or one error and
no half output. A try that fails is counted and shown, and does not end the others; any failure ends the script with 1.
"""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from common import ROOT, parser_for, report
from results_file import save

MACHINES, FULL, SCORING = "tests/test_machines.py", "tests/test_full.py", "tests/evaluate/test_scoring.py"
WORKERS, TASKS = "tests/train/test_workers.py", "tests/data/test_tasks.py"
PUBLISHING, LEAKS = "tests/test_publishing.py", "tests/test_leaks.py"
FAULTS = {  # fault: its test
    "a machine killed in the join": f"{MACHINES}::test_a_machine_that_dies_in_the_join_changes_no_byte",
    "a machine killed in tokenising, another in training": (
        f"{MACHINES}::test_machines_that_die_in_tokenising_and_in_training_cost_no_bit_of_the_weights"
    ),
    "a machine killed under the evaluation": (
        f"{MACHINES}::test_a_machine_that_dies_under_the_evaluation_changes_no_prediction"
    ),
    "the driver of prepare killed, three times": (
        f"{TASKS}::test_killed_three_times_and_resumed_on_one_cpu_it_ends_in_the_same_bytes"
    ),
    "the driver of train killed, then its worker": (
        f"{WORKERS}::test_sigkill_of_driver_and_worker_leaves_the_weights_of_the_undisturbed_run"
    ),
    "the driver of predict killed": f"{SCORING}::test_predict_into_a_folder_goes_on_after_the_driver_was_killed",
    "the object store filled to spilling": f"{FULL}::test_an_object_store_that_is_full_spills_and_changes_no_byte",
    "workers killed for memory": f"{FULL}::test_workers_that_ray_kills_for_memory_are_started_again",
    "a full disk under prepare": f"{FULL}::test_a_full_disk_ends_in_one_error_and_the_old_output_stays",
    "a full disk under train": f"{FULL}::test_a_training_on_a_full_disk_ends_in_one_error_without_a_run",
    "the Hub answers 500, 429, 503": "tests/test_hub.py::test_a_push_is_tried_again_on_transient_errors",
    "the Hub cuts uploads and commits": (f"{PUBLISHING}::test_a_connection_that_is_cut_in_mid_upload_is_tried_again"),
    "the Hub cuts every commit": (
        f"{PUBLISHING}::test_connections_that_are_always_cut_end_in_one_clear_error_and_no_commit"
    ),
    "W&B cannot be reached": f"{LEAKS}::test_the_training_was_logged_offline_as_no_wandb_answered",
}


def one_try(test: str) -> dict[str, Any]:
    """Run a test; how many of its cases ended well, its seconds, and what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={ROOT}", f"--junitxml={record}", test]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        suite = next(ET.parse(record).getroot().iter("testsuite"))
    wrong = [found.get("message", "")[:300] for kind in ("failure", "error") for found in suite.iter(kind)]
    cases = {name: int(suite.get(name, 0)) for name in ("tests", "skipped")}
    return {**cases, "wrong": wrong, "seconds": round(float(suite.get("time", 0)), 1)}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--only", default="", help="run the faults with these words in their name")
    parser.add_argument("--onto", type=Path, help="an earlier result, whose tries of the same faults count as well")
    options = parser.parse_args()
    earlier = json.loads(options.onto.read_text())["faults"] if options.onto else {}
    tries: dict[str, list[dict[str, Any]]] = {fault: earlier.get(fault, {"tries": []})["tries"] for fault in FAULTS}
    for _ in range(options.tries):
        for fault, test in FAULTS.items():
            if options.only in fault:
                tries[fault].append(one_try(test))
                report({"fault": fault, **tries[fault][-1]})
    counted = {
        fault: {
            "test": FAULTS[fault],
            "made": sum(t["tests"] - t["skipped"] for t in made),
            "ended_well": sum(t["tests"] - t["skipped"] - len(t["wrong"]) for t in made),
            "tries": made,
        }
        for fault, made in tries.items()
        if made
    }
    save(options.name or "faults", {"faults": counted})
    if any(found["made"] != found["ended_well"] for found in counted.values()):
        raise SystemExit("a fault did not end as it must")


if __name__ == "__main__":
    main()
