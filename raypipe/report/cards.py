"""The cards that go to the Hub beside a dataset and a model."""

import os
import re
from typing import Any

from raypipe import __version__
from raypipe.core import intervals
from raypipe.report.pages import render

WEAKEST = 5  # classes named as the weakest
INDEXED = {  # numbers of the model-index: the Hub's identifier, a name, what sets it apart
    "top1": ("accuracy", "Accuracy", None),
    "top3": ("accuracy", "Top-3 accuracy", "top-3"),
    "macro_f1": ("f1", "Macro F1", "macro"),
    "weighted_f1": ("f1", "Weighted F1", "weighted"),
    "mcc": ("matthews_correlation", "Matthews correlation", None),
}


def dataset_card(report: dict[str, Any]) -> str:
    """README.md of a dataset; its YAML makes ``datasets.load_dataset`` read "NA", "null" and "0" as strings."""
    kept = sum(counts["train"] + counts["test"] > 0 for counts in report["classes"].values())
    return render("dataset_card.md", version=__version__, escaped=False, kept_classes=kept, **report)


def model_card(run: dict[str, Any], metrics: dict[str, Any]) -> str:
    """README.md of a model: labels, data, scores, recipe and limits, for people and as a model-index; no row text."""
    return render(
        "model_card.md",
        version=__version__,
        escaped=False,
        front=_front(run, metrics),
        run=run,
        metrics=metrics,
        base=public_name(run["model"]),
        data=public_name(run["dataset"]),
        labels=[_plain(label) for label in run["labels"]],
        weakest=[(_plain(label), recall, rows) for label, recall, rows in _weakest(metrics)],
    )


def public_name(source: dict[str, Any]) -> str:
    """The name of a repository, or the last part of a folder's: its place is nobody's business."""
    name = str(source["name"])
    return name if source["commit"] else os.path.basename(name.rstrip("/"))


def _front(run: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The card's YAML. Each number of its model-index carries its 95 % interval as an argument."""
    from huggingface_hub import EvalResult, ModelCardData

    data, base = run["dataset"], run["model"]
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=public_name(data),
            dataset_name=public_name(data),
            dataset_split="test",
            dataset_revision=data["commit"],
            metric_type=kind,
            metric_name=name,
            metric_config=config,
            metric_value=round(estimate["value"], 6),
            metric_args={"interval_95": [round(estimate["low"], 6), round(estimate["high"], 6)]},
        )
        for key, (kind, name, config) in INDEXED.items()
        if (estimate := metrics["model"][key])["value"] is not None
    ]
    name = run["config"]["hf_model_name"] or f"{public_name(base)}-finetuned"
    card = ModelCardData(
        model_name=os.path.basename(name.rstrip("/")),
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base["name"] if base["commit"] else None,
        datasets=[data["name"]] if data["commit"] else None,
        metrics=sorted({kind for kind, _, _ in INDEXED.values()}),
        tags=["raypipe"],
        eval_results=results or None,
    )
    return str(card.to_yaml()).strip()


def _weakest(metrics: dict[str, Any]) -> list[tuple[str, dict[str, float], int]]:
    """The classes found least often among those with test rows: label, recall with its interval, rows."""
    classes = [(label, own) for label, own in metrics["classes"].items() if own["support"]]
    lowest = sorted(classes, key=lambda item: item[1]["recall"])[:WEAKEST]
    return [
        (label, intervals.wilson(round(own["recall"] * own["support"]), own["support"])._asdict(), own["support"])
        for label, own in lowest
    ]


def _plain(text: str) -> str:
    """A label as Markdown shows it letter by letter: no mark-up of its own, one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", " ".join(text.split()))
