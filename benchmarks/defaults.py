"""Is one set of defaults good enough? Three seeds on two sets, beside the baseline and the best of a sweep of rates.

    python benchmarks/defaults.py --data ../shared/data [--sets banking77 hwu64] [--seeds 3] [--rates 8]

MiniLM with the recipe that `raypipe train` gives to its size, trained on the train part, the best epoch chosen on a
validation share of it. The sweep trains with each rate once, chooses one by the validation macro-F1, and only that one
is scored on test, with the same seeds. Also with two epochs, which is what larger models get.
"""

import os
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
from accuracy import Labelled
from common import parser_for, report
from results_file import save

from raypipe.core.intervals import wilson
from raypipe.evaluate.baseline import baselines
from raypipe.train.recipe import Recipe

SETS = ("banking77", "hwu64")
SEED = 42  # of the sweep, and the first of the others
RATES = (5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 4e-4, 6e-4, 1e-3)


class Trainings:
    """Fine-tunings of one set by their recipe and seed; one that was asked for before is not done again."""

    def __init__(self, data: Labelled, threads: int) -> None:
        self.data = data
        self._threads = threads
        self._done: dict[tuple[Recipe, int], accuracy.Fit] = {}

    def fit(self, recipe: Recipe, seed: int) -> accuracy.Fit:
        data = self.data
        if (recipe, seed) not in self._done:
            fit = accuracy.fine_tune(data.train_text, data.train_label, data, recipe, seed, self._threads)
            self._done[recipe, seed] = fit
            validation = round(fit.outcome["best_macro_f1"], 4)
            report({"set": data.name, **recipe.public(), "seed": seed, "validation_macro_f1": validation})
        return self._done[recipe, seed]

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


def measure(data: Labelled, seeds: range, rates: tuple[float, ...], threads: int) -> dict[str, Any]:
    """One set."""
    ranked = baselines(data.train_text, data.train_label, data.test_text, seed=SEED, kept=1)["tfidf_logreg"]
    right, trainings = int((ranked[:, 0] == data.test_label).sum()), Trainings(data, threads)
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
    return found


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=int, default=len(RATES), help="of the sweep; 0 for none")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds, rates = range(SEED, SEED + options.seeds), RATES[: options.rates]
    for name in options.sets:
        measured = measure(accuracy.load(name, options.data), seeds, rates, options.threads)
        model = "all-MiniLM-L6-v2, 22.7 M parameters"
        save(f"{options.name or 'defaults'}-{name}", {"model": model, "sets": {name: measured}})


if __name__ == "__main__":
    main()
