"""Does cleaning pay? The same test rows, models trained on raw, cleaned, as many random, and balanced rows.

    python benchmarks/cleaning_pays.py --data ../shared/data [--sets banking77 hwu64 docstrings] [--models tfidf minilm]

Each set is cut into train and test once; `raypipe prepare` cleans and balances the train part. The test rows count in
two ways: all of them, and those without a near-copy (cosine >= 0.7) in the raw train part, which every model meets for
the first time. Differences are paired, against the model trained on the raw rows, and for cleaned rows against as many
random ones: three draws of them for the baseline, of which the first is the one compared with, and one for MiniLM.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
from accuracy import Labelled
from common import parser_for, report
from results_file import save

from raypipe import PrepareConfig, pipeline
from raypipe.config import CommonConfig
from raypipe.core import metrics
from raypipe.core.intervals import paired_difference, wilson
from raypipe.evaluate.baseline import baselines
from raypipe.evaluate.near_copies import has_near_copy
from raypipe.runtime import session

SETS, MODELS = ("banking77", "hwu64", "docstrings"), ("tfidf", "minilm")
FIRST_SEEN = 0.7  # a test row below this cosine to all raw training rows is new to every model
CLEANINGS: dict[str, dict[str, Any]] = {
    "cleaned_0.9": {"similarity_threshold": 0.9},
    "cleaned_0.8": {"similarity_threshold": 0.8},
    "cleaned_0.7": {"similarity_threshold": 0.7},
    "cleaned_0.8_drop": {"similarity_threshold": 0.8, "on_conflict": "drop"},
    "balanced_0.8": {"similarity_threshold": 0.8, "max_class_ratio": 2.0},
}
TRAINED_BY_MINILM = ("raw", "cleaned_0.8", "random_as_cleaned_0.8", "balanced_0.8")
RANDOM_DRAWS = 3
EPOCHS = 2.0  # of MiniLM: a set of fewer rows also trains for fewer steps, as the random rows do


def training_sets(data: Labelled, folder: Path) -> dict[str, np.ndarray]:
    """Row numbers of the train part by the name of the set."""
    raw = folder / "raw.jsonl"
    rows = zip(data.train_text, data.train_label, strict=True)
    lines = [json.dumps({"text": text, "label": data.names[label]}, ensure_ascii=False) for text, label in rows]
    raw.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    made = {"raw": np.arange(len(lines))}
    for name, flags in CLEANINGS.items():
        made[name] = _kept(PrepareConfig(**_common(folder, name), **flags))
        for draw in range(RANDOM_DRAWS if name in ("cleaned_0.8", "balanced_0.8") else 0):
            chosen = np.random.default_rng(draw).choice(len(lines), len(made[name]), replace=False)
            made[f"random_as_{name}" + f"_{draw}" * (draw > 0)] = np.sort(chosen)
    return made


def _common(folder: Path, name: str) -> dict[str, Any]:
    return {"input_dir": str(folder), "input_filename": "raw.jsonl", "output_filename": str(folder / f"{name}.jsonl")}


def _kept(config: PrepareConfig) -> np.ndarray:
    """Row numbers that stay, those of prepare's own test split included."""
    outputs = pipeline.prepare(config).outputs
    lines = [line for split in ("train", "test") for line in Path(outputs[split]).read_bytes().split(b"\n")[:-1]]
    ids = [json.loads(line)["id"] for line in lines]
    return np.sort([int(row_id.rsplit(":", 1)[1]) - 1 for row_id in ids])


def tfidf(data: Labelled, rows: np.ndarray, threads: int) -> np.ndarray:
    """The baseline's answers, right or wrong  # (test rows,) bool."""
    texts = [data.train_text[row] for row in rows]
    ranked = baselines(texts, data.train_label[rows], data.test_text, seed=42, kept=1)
    return ranked["tfidf_logreg"][:, 0] == data.test_label


def minilm(data: Labelled, rows: np.ndarray, threads: int) -> np.ndarray:
    """The same of the fine-tuned encoder."""
    recipe = accuracy.small_recipe(epochs=EPOCHS)
    return accuracy.fine_tune(
        [data.train_text[row] for row in rows], data.train_label[rows], data, recipe, 42, threads
    ).correct


def judged(correct: dict[str, np.ndarray], sizes: dict[str, int], on: np.ndarray) -> dict[str, Any]:
    """Accuracy with its interval, and the paired differences."""
    found: dict[str, Any] = {}
    for name, right in correct.items():
        right = right[on]
        found[name] = {"train_rows": sizes[name], "top1": wilson(int(right.sum()), len(right))._asdict()}
        against = {"less_raw": "raw", "less_random": f"random_as_{name}"}
        for key, other in against.items():
            if other in correct and other != name:
                difference = paired_difference(right, correct[other][on])
                found[name][key] = difference._asdict() | {"mcnemar_p": metrics.mcnemar(right, correct[other][on])}
    return found


def measure(data: Labelled, models: list[str], threads: int) -> dict[str, Any]:
    """All training sets and models on one set."""
    with tempfile.TemporaryDirectory() as folder, session(CommonConfig()):
        sets = training_sets(data, Path(folder))
    new = ~has_near_copy(data.train_text, data.test_text, FIRST_SEEN)
    sizes = {name: len(rows) for name, rows in sets.items()}
    found: dict[str, Any] = {
        "labels": len(data.names),
        "test_rows": {"all": len(new), "without_near_copy": int(new.sum())},
        "epochs_of_minilm": EPOCHS,
    }
    answer: dict[str, Callable[[Labelled, np.ndarray, int], np.ndarray]] = {"tfidf": tfidf, "minilm": minilm}
    for model in models:
        wanted = [name for name in sets if model == "tfidf" or name in TRAINED_BY_MINILM]
        correct = {}
        for name in wanted:
            correct[name] = answer[model](data, sets[name], threads)
            report({"set": data.name, "model": model, "rows": name, "top1": round(float(correct[name][new].mean()), 4)})
        every = np.ones(len(new), bool)
        found[model] = {part: judged(correct, sizes, on) for part, on in (("without_near_copy", new), ("all", every))}
    return found


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of MiniLM")
    options = parser.parse_args()
    measured = {
        name: measure(accuracy.load(name, options.data), options.models, options.threads) for name in options.sets
    }
    save(options.name or "cleaning-pays", {"first_seen_below": FIRST_SEEN, "cleanings": CLEANINGS, "sets": measured})


if __name__ == "__main__":
    main()
