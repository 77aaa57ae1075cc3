"""run.json of a training: what it read, how it was done, and what came of it."""

import dataclasses
from typing import Any, NamedTuple

from raypipe import provenance
from raypipe.config import TrainConfig
from raypipe.hub import Source
from raypipe.pipeline import evaluating, fitting
from raypipe.splits import Splits


class Base(NamedTuple):
    """The model that a training starts from."""

    source: Source
    fingerprint: str  # of its files
    parameters: int
    license: str | None  # as its card names it


class Fitted(NamedTuple):
    """A training that is done."""

    base: Base
    data: Splits
    recipe: Any  # train.recipe.Recipe
    workers: Any  # train.finetune.Workers
    outcome: dict[str, Any]  # of the loop
    rows: dict[str, int]
    cut: dict[str, Any]
    notices: list[str]


def record(
    fitted: Fitted, config: TrainConfig, metrics: dict[str, Any], outputs: dict[str, str], seconds: dict[str, float]
) -> dict[str, Any]:
    """The content of run.json; ``metrics`` are those on test."""
    base, data, workers, outcome = fitted.base, fitted.data, fitted.workers, fitted.outcome
    return {
        "model": {
            "name": base.source.name,
            "commit": base.source.revision,
            "fingerprint": base.fingerprint,
            "parameters": base.parameters,
            "license": base.license,
        },
        "dataset": {
            "name": data.source.name,
            "commit": data.source.revision,
            "fingerprint": data.fingerprint(),
            "license": data.license,
        },
        "labels": data.labels,
        "rows": fitted.rows,
        "recipe": fitted.recipe.public(),
        "batches": {
            "token_budget": fitting.token_budget(config, workers.use_gpu),
            "accumulation": outcome["accumulation"],
            "rows_of_a_step": outcome["rows_of_a_step"],
        },
        "truncation": fitted.cut,
        "validation": {
            "best_macro_f1": outcome["best_macro_f1"],
            "steps": outcome["steps"],
            "epochs": outcome["epochs"],
            **outcome["calibration"],
            **_validation_scores(outcome["history"]),
        },
        "wandb": outcome["wandb"],
        "workers": dataclasses.asdict(workers)
        | {"count": outcome["workers"]}
        | {name: outcome[name] for name in ("device", "device_name", "precision")},
        "attention": {"asked_for": config.attention, **outcome["attention"]},
        "scores": evaluating.flat(metrics),
        "notices": fitted.notices + metrics["notices"],
        "outputs": outputs,
        "seed": config.seed,
        "config": config.public(),
        "config_hash": config.hash(),
        "seconds": {**seconds, "train": outcome["seconds"]},
        "forecasts": _forecasts(outcome) | metrics["forecasts"],
        **provenance.record(),
    }


def _forecasts(outcome: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the first steps predicted of the loop, beside what it took; nothing of a short training."""
    if outcome.get("predicted_s") is None:
        return {}
    return {"train": {"predicted": round(outcome["predicted_s"], 3), "took": outcome["seconds"]}}


def _validation_scores(history: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Accuracy and macro-F1 of the evaluation whose weights were kept, with their intervals."""
    best = max((entry for entry in history if "eval_macro_f1" in entry), key=lambda entry: entry["eval_macro_f1"])
    endings = {"value": "", "low": "_low", "high": "_high"}
    return {
        name: {part: best[f"eval_{name}{end}"] for part, end in endings.items()} for name in ("accuracy", "macro_f1")
    }
