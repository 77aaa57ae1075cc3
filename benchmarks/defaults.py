"""Is one set of defaults good enough? Three seeds on two sets, beside the baseline and the best of a sweep of rates.

    python benchmarks/defaults.py --data ../shared/data [--sets banking77 hwu64] [--seeds 3] [--rates 8] [--kept FOLDER]

MiniLM with the recipe that `raypipe train` gives to its size, trained on the train part, the best epoch chosen on a
validation share of it. The sweep trains with each rate once, chooses one by the validation macro-F1, and only that one
is scored on test, with the same seeds. Also with two epochs, which is what larger models get. It takes hours: with
--kept each training that has ended lies in a file, and the next run goes on from there.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
from accuracy import Labelled
from common import parser_for, report
from results_file import commit, save

from raypipe.core.intervals import wilson
from raypipe.evaluate.baseline import baselines
from raypipe.train.recipe import Recipe

SETS = ("banking77", "hwu64")
SEED = 42  # of the sweep, and the first of the others
RATES = (5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 4e-4, 6e-4, 1e-3)


class Trainings:
    """Fine-tunings of one set, each in a file of ``kept``; one whose file is there is not done again."""

    def __init__(self, data: Labelled, threads: int, kept: Path) -> None:
        self.data = data
        self.commits: set[str | None] = set()  # at which the trainings ran
        self._threads = threads
        self._kept = kept

    def fit(self, recipe: Recipe, seed: int) -> accuracy.Fit:
        asked = {"set": self.data.name, **recipe.public(), "seed": seed, "threads": self._threads}
        path = self._kept / f"{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}.json"
        if not path.exists():
            self._train(recipe, seed, asked, path)
        record = json.loads(path.read_text())
        self.commits.add(record["git_commit"])
        fit = accuracy.Fit(np.array(record["correct"], bool), record["outcome"], record["changed_by_bf16"])
        report({**asked, "validation_macro_f1": round(fit.outcome["best_macro_f1"], 4), "top1": fit.correct.mean()})
        return fit

    def _train(self, recipe: Recipe, seed: int, asked: dict[str, Any], path: Path) -> None:
        data = self.data
        fit = accuracy.fine_tune(data.train_text, data.train_label, data, recipe, seed, self._threads)
        record = {"asked": asked, **fit._asdict(), "correct": fit.correct.tolist(), "git_commit": commit()}
        path.with_suffix(".part").write_text(json.dumps(record))
        path.with_suffix(".part").replace(path)

    def several(self, seeds: range, **flags: Any) -> dict[str, Any]:
        """One recipe with each seed: accuracy of each, and their mean with an interval over the rows."""
        recipe = accuracy.small_recipe(**flags)
        fits = [self.fit(recipe, seed) for seed in seeds]
        return {
            "recipe": recipe.public(),
            "top1_of_seeds": [float(fit.correct.mean()) for fit in fits],
            "top1": _mean_over_rows(np.array([fit.correct for fit in fits])),
            "validation_macro_f1": [fit.outcome["best_macro_f1"] for fit in fits],
            "training_seconds": [fit.outcome["seconds"] for fit in fits],
            "precision": fits[0].outcome["precision"],
            "test_labels_changed_by_bf16": [fit.changed_by_bf16 for fit in fits],
        }

    def swept(self, rates: tuple[float, ...], seed: int) -> dict[str, float]:
        """Validation macro-F1 by learning rate."""
        recipes = {f"{rate:g}": accuracy.small_recipe(learning_rate=rate) for rate in rates}
        return {name: self.fit(recipe, seed).outcome["best_macro_f1"] for name, recipe in recipes.items()}


def _mean_over_rows(correct: np.ndarray) -> dict[str, float]:
    """Mean accuracy of (seeds, rows), and the normal interval over rows of each row's mean over seeds."""
    per_row = correct.mean(axis=0)
    half = 1.96 * per_row.std(ddof=1) / np.sqrt(len(per_row))
    return {"value": float(per_row.mean()), "low": float(per_row.mean() - half), "high": float(per_row.mean() + half)}


def measure(trainings: Trainings, seeds: range, rates: tuple[float, ...]) -> dict[str, Any]:
    """One set."""
    data = trainings.data
    ranked = baselines(data.train_text, data.train_label, data.test_text, seed=SEED, kept=1)["tfidf_logreg"]
    right = int((ranked[:, 0] == data.test_label).sum())
    found: dict[str, Any] = {
        "rows": {"train": len(data.train_text), "test": len(data.test_text)},
        "tfidf_logreg": wilson(right, len(data.test_text))._asdict(),
        "defaults": trainings.several(seeds),
        "two_epochs": trainings.several(seeds, epochs=2.0),
    }
    if rates:
        scores = trainings.swept(rates, SEED)
        best = float(max(scores, key=lambda rate: scores[rate]))
        chosen = trainings.several(seeds, learning_rate=best)
        found["sweep"] = {"validation_macro_f1": scores, "best": chosen}
        found["defaults_less_sweep"] = found["defaults"]["top1"]["value"] - chosen["top1"]["value"]
    return found | {"git_commits_of_the_trainings": sorted(filter(None, trainings.commits))}


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=int, default=len(RATES), help="of the sweep; 0 for none")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kept", type=Path, help="folder of the trainings that have ended; without it, none are kept")
    options = parser.parse_args()
    seeds, rates = range(SEED, SEED + options.seeds), RATES[: options.rates]
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.kept or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        for name in options.sets:
            measured = measure(Trainings(accuracy.load(name, options.data), options.threads, kept), seeds, rates)
            model = "all-MiniLM-L6-v2, 22.7 M parameters"
            save(f"{options.name or 'defaults'}-{name}", {"model": model, "sets": {name: measured}})


if __name__ == "__main__":
    main()
