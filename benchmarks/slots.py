"""Does prepare use the CPUs that it is given? The same rows with one task slot and with two, in turn.

    python benchmarks/slots.py [--rows 1000000] [--rounds 1] [--threshold 0.9]

Rows of 60 to 90 words by scale_corpus.py. Counted are the seconds from the first byte read to the finished ledger,
Ray's start aside. With one slot the driver may still use another core of the machine beside the task.
"""

import shutil
import statistics

from common import ROOT, parser_for, report
from results_file import save
from scale import prepare
from scale_corpus import Recipe, generate

from raypipe import storage

SLOTS = (1, 2)


def main() -> None:
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threshold", type=float, default=0.9)
    options = parser.parse_args()
    folder = ROOT / "out" / "slots"
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "raw" / "rows.jsonl"
    source.parent.mkdir(parents=True)
    data = generate(source, options.rows, Recipe())
    del data["planted"]
    seconds: dict[int, list[float]] = {slots: [] for slots in SLOTS}
    results = set()
    for turn in range(options.rounds):
        for slots in SLOTS[:: 1 if turn % 2 == 0 else -1]:
            out = folder / f"out-{slots}-{turn}"
            out.mkdir()
            run = prepare(source, out, options.threshold, slots)
            report({"slots": slots, **run["seconds"]})
            seconds[slots].append(run["seconds"]["ingest_to_ledger"])
            results.add(storage.sha256(str(out / "set_removed.jsonl")))
    shutil.rmtree(folder)
    one, two = (statistics.median(seconds[slots]) for slots in SLOTS)
    measured = {
        "ingest_to_ledger_s": seconds,
        "one_slot_over_two": round(one / two, 2),
        "same_bytes": len(results) == 1,
    }
    save(options.name or "slots", {"threshold": options.threshold, "data": data, **measured})


if __name__ == "__main__":
    main()
