"""The cards that go to the Hub beside a dataset and a model."""

from typing import Any

from raypipe import __version__
from raypipe.report.pages import render


def dataset_card(report: dict[str, Any]) -> str:
    """README.md of a dataset; its YAML makes ``datasets.load_dataset`` read "NA", "null" and "0" as strings."""
    kept = sum(counts["train"] + counts["test"] > 0 for counts in report["classes"].values())
    return render("dataset_card.md", version=__version__, escaped=False, kept_classes=kept, **report)


def model_card(run: dict[str, Any], metrics: dict[str, Any] | None) -> str:
    """README.md of a model: labels, data, recipe and scores; no row text."""
    return render("model_card.md", version=__version__, escaped=False, run=run, metrics=metrics)
