"""Numbers from scored rows: the headline with its intervals, the baselines beside it, and each class."""

from typing import Any

import numpy as np

from raypipe.core import metrics
from raypipe.core.metrics import Estimate
from raypipe.evaluate.scoring import Scored

HARDEST = 30  # errors shown on the page


def evaluate(scored: Scored, labels: list[str], other_rankings: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    """The metrics file: the model's scores, those of the baselines, and each class of the model.

    ``other_rankings`` maps a baseline to its ranked label numbers  # (rows, <= 3). A row whose label the model does
    not know counts as wrong, for all alike.
    """
    true = scored.true
    known = true >= 0
    first = scored.best[:, 0]
    matrix = metrics.confusion(true, first, len(labels))
    per_class = metrics.class_scores(matrix)
    correct = first == true
    p_true = np.clip(scored.p_true[known], 1e-15, 1.0)
    model = _headline(scored.best, true, len(labels), seed) | {
        "log_loss": _estimate(metrics.mean_estimate(-np.log(p_true), seed)),
        "ece": _estimate(metrics.calibration_estimate(scored.scores[:, 0], correct, seed)),
    }
    others = {}
    for name, ranked in other_rankings.items():
        others[name] = _headline(ranked, true, len(labels), seed)
        others[name]["mcnemar_p_against_model"] = metrics.mcnemar(correct, ranked[:, 0] == true)
    return {
        "rows": len(true),
        "unknown_label_rows": int((~known).sum()),
        "cut_rows": int(scored.cut.sum()),
        "model": model,
        "baselines": others,
        "classes": {
            label: {
                "precision": float(per_class.precision[i]),
                "recall": float(per_class.recall[i]),
                "f1": float(per_class.f1[i]),
                "support": int(per_class.support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": matrix.tolist(),
    }


def hardest(scored: Scored) -> np.ndarray:
    """Places of the rows that the model was most sure of and wrong about, surest first."""
    wrong = np.flatnonzero(scored.best[:, 0] != scored.true)
    return wrong[np.argsort(-scored.scores[wrong, 0], kind="stable")][:HARDEST]


def _headline(ranked: np.ndarray, true: np.ndarray, classes: int, seed: int) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for k in (1, 2, 3):
        hits = int(metrics.top_k_hits(ranked, true, k).sum())
        scores[f"top{k}"] = _estimate(metrics.wilson(hits, len(true)))
    predicted = np.where(ranked[:, 0] < 0, classes, ranked[:, 0])  # one class more for labels that the model lacks
    scores["macro_f1"] = _estimate(metrics.macro_f1_estimate(true, predicted, classes + 1, seed))
    return scores


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: _number(value) for name, value in estimate._asdict().items()}


def _number(value: float) -> float | None:
    """A float, or None for nan, which JSON does not have."""
    return None if value != value else float(value)
