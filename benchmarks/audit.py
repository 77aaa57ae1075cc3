"""How many wrong labels stand among the most suspect tenth of the rows of `raypipe audit`?

    python benchmarks/audit.py --data ../shared/data [--sets banking77 hwu64] [--seeds 1 2 3] [--rows N]

One label in twenty is replaced: by another one drawn uniformly (each seed), and, as people err, by the likeliest other
label of an audit of the set as it is (once). The labels of the set as it is count as right, though they are not all
right: errors of its own that are found count against the ranking. Target: 90 % of the uniform ones in the first tenth.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import parser_for, report
from results_file import save
from sklearn.metrics import average_precision_score

from raypipe import AuditConfig
from raypipe.core import label_quality
from raypipe.core.intervals import wilson
from raypipe.evaluate.audit import Judged, audit

SETS = {"banking77": ("raw.jsonl", "utterance", "intent"), "hwu64": ("raw.jsonl", "text", "label")}
WRONG, TOP, TARGET = 0.05, 0.1, 0.9
CONFIG = AuditConfig(input_hf_dataset="any", output_filename="any.jsonl")  # the defaults


def read(folder: Path, name: str, rows: int | None) -> tuple[list[str], np.ndarray]:
    """Texts and label numbers of the first rows of a set."""
    file, text, label = SETS[name]
    found = [json.loads(line) for line in (folder / name / file).read_text().split("\n") if line.strip()][:rows]
    return [row[text] for row in found], np.unique([row[label] for row in found], return_inverse=True)[1]


def judge(text: list[str], label: np.ndarray) -> tuple[Judged, dict[str, Any]]:
    start = time.perf_counter()
    judged = audit(text, label, CONFIG.folds, CONFIG.near_copy_threshold, CONFIG.seed)
    known = judged.fit.other >= 0
    measured = {
        "seconds": round(time.perf_counter() - start, 1),
        "judged": int(known.sum()),
        "near_copies_left_out": sum(judged.left_out),
        "accuracy": wilson(int((judged.fit.p_label >= judged.fit.p_other)[known].sum()), int(known.sum()))._asdict(),
        "confident": int(label_quality.is_confident(judged.fit, label).sum()),
    }
    return judged, measured


def top_tenth(rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    return rows[np.argsort(score, kind="stable")[: round(TOP * len(rows))]]


def found(text: list[str], right: np.ndarray, wrong_label: np.ndarray, kind: str, seed: int) -> dict[str, Any]:
    """An audit of the labels with one in twenty replaced by its ``wrong_label``."""
    is_wrong = np.zeros(len(text), bool)
    is_wrong[np.random.default_rng(seed).choice(len(text), round(WRONG * len(text)), replace=False)] = True
    label = np.where(is_wrong, wrong_label, right)
    judged, measured = judge(text, label)
    known = np.flatnonzero(judged.fit.other >= 0)
    p_label, p_other = judged.fit.p_label[known], judged.fit.p_other[known]
    margin = label_quality.margin(p_label, p_other)
    others = {"self_confidence": p_label, "normalized_margin": p_label - p_other}
    top, confident = top_tenth(known, margin), label_quality.is_confident(judged.fit, label)
    return {
        "wrong_labels": kind,
        "seed": seed,
        "wrong": int(is_wrong.sum()),
        "in_top_tenth": int(is_wrong[top].sum()),
        "share_in_top_tenth": wilson(int(is_wrong[top].sum()), int(is_wrong.sum()))._asdict(),
        "average_precision": round(float(average_precision_score(is_wrong[known], -margin)), 4),
        "by_other_scores": {
            name: {
                "in_top_tenth": int(is_wrong[top_tenth(known, score)].sum()),
                "average_precision": round(float(average_precision_score(is_wrong[known], -score)), 4),
            }
            for name, score in others.items()
        },
        "confident_and_wrong": int((confident & is_wrong).sum()),
        **measured,
    }


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the known sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, help="only the first rows, for a trial")
    options = parser.parse_args()
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    results = []
    for name in options.sets:
        text, right = read(options.data, name, options.rows)
        as_it_is, measured = judge(text, right)
        likeliest = np.where(as_it_is.fit.other >= 0, as_it_is.fit.other, (right + 1) % (right.max() + 1))
        runs = []
        for seed in options.seeds:
            shift = np.random.default_rng(seed + 1000).integers(1, right.max() + 1, len(text))
            runs.append(found(text, right, (right + shift) % (right.max() + 1), "uniform", seed))
            report({"set": name} | runs[-1])
        runs.append(found(text, right, likeliest, "likeliest other label", options.seeds[0]))
        report({"set": name} | runs[-1])
        results.append(
            {"set": name, "rows": len(text), "classes": int(right.max()) + 1, "as_it_is": measured, "runs": runs}
        )
    uniform = [run for result in results for run in result["runs"] if run["wrong_labels"] == "uniform"]
    least = min(run["share_in_top_tenth"]["value"] for run in uniform)
    save(options.name or "audit", {"target": TARGET, "least_share": least, "reached": least >= TARGET, "sets": results})


if __name__ == "__main__":
    main()
