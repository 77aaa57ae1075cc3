"""Numbers from scored rows: the headline as prepared and as your traffic, baselines beside it, and each class."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from raypipe.core import calibration, intervals, metrics
from raypipe.evaluate.earlier import Earlier
from raypipe.evaluate.near_copies import NearCopies
from raypipe.evaluate.scoring import Scored

HARDEST = 30  # errors shown on the page
HEADLINE = (1, 2, 3)  # the k of top-k, beside that of --top-k
CONFIDENCES = (0.5, 0.8, 0.9, 0.95)  # where coverage is stated
LENGTHS = 8  # groups of rows of like length, about as many rows in each


@dataclass(frozen=True)
class Beside:
    """What stands beside the model's scores; a part that does not apply is None."""

    rankings: dict[str, np.ndarray] = field(default_factory=dict)  # baseline -> (rows, kept) label numbers, best first
    weight: np.ndarray | None = None  # (rows,) rows of the source that each row stands for
    near_copies: NearCopies | None = None
    earlier: Earlier | None = None


def evaluate(
    scored: Scored, labels: list[str], beside: Beside, seed: int, top_k: int = 3, temperature: float = 1.0
) -> dict[str, Any]:
    """The metrics file: the model's scores, those of the baselines, and each class of the model.

    A row whose label the model does not know counts as wrong, for all alike. ``temperature`` is the model's, by which
    the scores were made already.
    """
    scored = _wide(scored)
    true, first, classes = scored.true, scored.best[:, 0], len(labels)
    ks = sorted({*HEADLINE, top_k})
    correct, known = first == true, true >= 0
    matrix = metrics.confusion(true, first, classes)
    others = {}
    for name, ranked in beside.rankings.items():
        right = ranked[:, 0] == true
        others[name] = _headline(ranked, true, classes, ks, seed, None) | {
            "model_less_it": intervals.paired_difference(correct, right).public(),
            "mcnemar_p_against_model": metrics.mcnemar(correct, right),
        }
    return {
        "rows": len(true),
        "unknown_label_rows": int((~known).sum()),
        "cut_rows": int(scored.cut.sum()),
        "model": _model(scored, classes, ks, seed, None),
        "baselines": others,
        "traffic": None if beside.weight is None else _traffic(scored, classes, ks, seed, beside),
        "compared": None if beside.earlier is None else _compared(correct, beside.earlier),
        "calibration": {"temperature": temperature, **_calibration(scored, correct, seed)},
        "coverage": [_coverage(scored.scores[:, 0], correct, confidence) for confidence in CONFIDENCES],
        "near_copies": None if beside.near_copies is None else _near_copies(correct, true, beside),
        "truncation": _apart({"cut": scored.cut, "uncut": ~scored.cut}, correct, true, beside),
        "lengths": _lengths(scored.tokens, correct),
        "classes": _classes(matrix, labels),
        "confusion": matrix.tolist(),
    }


def hardest(scored: Scored) -> np.ndarray:
    """Places of the rows that the model was most sure of and wrong about, surest first."""
    wrong = np.flatnonzero(scored.best[:, 0] != scored.true)
    return wrong[np.argsort(-scored.scores[wrong, 0], kind="stable")][:HARDEST]


def _wide(scored: Scored) -> Scored:
    """The same numbers in 64 bits, in which sums over all rows are exact enough."""
    floats = {name: getattr(scored, name).astype(float) for name in ("p_true", "plain_score", "plain_p_true")}
    return replace(scored, true=scored.true.astype(np.int64), scores=scored.scores[:, :1].astype(float), **floats)


def _headline(
    ranked: np.ndarray, true: np.ndarray, classes: int, ks: list[int], seed: int, weight: np.ndarray | None
) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for k in ks:
        hits = metrics.top_k_hits(ranked, true, k)
        if weight is None:
            scores[f"top{k}"] = intervals.wilson(int(hits.sum()), len(true)).public()
        else:
            scores[f"top{k}"] = calibration.mean_estimate(hits.astype(float), seed, weight).public()
    predicted = np.where(ranked[:, 0] < 0, classes, ranked[:, 0])  # one class more for labels that the model lacks
    found = metrics.class_estimates(true, predicted, classes + 1, seed, weight)
    return scores | {"accuracy": scores["top1"]} | {name: estimate.public() for name, estimate in found.items()}


def _model(scored: Scored, classes: int, ks: list[int], seed: int, weight: np.ndarray | None) -> dict[str, Any]:
    known = scored.true >= 0
    losses = calibration.log_loss(scored.p_true[known])
    correct = scored.best[:, 0] == scored.true
    return _headline(scored.best, scored.true, classes, ks, seed, weight) | {
        "log_loss": calibration.mean_estimate(losses, seed, None if weight is None else weight[known]).public(),
        "ece": calibration.calibration_estimate(scored.scores[:, 0], correct, seed, weight).public(),
    }


def _traffic(scored: Scored, classes: int, ks: list[int], seed: int, beside: Beside) -> dict[str, Any]:
    """The headlines again, each row counted as often as its weight says."""
    weight = beside.weight
    return {
        "model": _model(scored, classes, ks, seed, weight),
        "baselines": {
            name: _headline(ranked, scored.true, classes, ks, seed, weight) for name, ranked in beside.rankings.items()
        },
    }


def _compared(correct: np.ndarray, earlier: Earlier) -> dict[str, Any]:
    """The model against an earlier evaluation on the same rows."""
    return {
        "with": earlier.name,
        "sha256": earlier.sha256,
        "top1": intervals.wilson(int(earlier.correct.sum()), len(correct)).public(),
        "model_less_it": intervals.paired_difference(correct, earlier.correct).public(),
        "only_model_right": int((correct & ~earlier.correct).sum()),
        "only_it_right": int((~correct & earlier.correct).sum()),
        "mcnemar_p": metrics.mcnemar(correct, earlier.correct),
    }


def _calibration(scored: Scored, correct: np.ndarray, seed: int) -> dict[str, Any]:
    known = scored.true >= 0
    sides = {"before": (scored.plain_score, scored.plain_p_true), "after": (scored.scores[:, 0], scored.p_true)}
    return {
        f"{name}_{side}": value
        for side, (confidence, p_true) in sides.items()
        for name, value in {
            "ece": calibration.calibration_estimate(confidence, correct, seed).public(),
            "log_loss": calibration.mean_estimate(calibration.log_loss(p_true[known]), seed).public(),
            "reliability": _reliability(confidence, correct),
        }.items()
    }


def _reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """The filled bins, lowest confidence first."""
    bins = calibration.reliability(confidence, correct)
    return [
        {"rows": int(rows), "confidence": float(sure), "accuracy": float(right)}
        for rows, sure, right in zip(*bins, strict=True)
        if rows
    ]


def _coverage(confidence: np.ndarray, correct: np.ndarray, least: float) -> dict[str, Any]:
    """How many rows are at least so sure, and how many of those are right."""
    sure = confidence >= least
    rows = int(sure.sum())
    return {
        "confidence": least,
        "rows": rows,
        "share": intervals.wilson(rows, len(sure)).public(),
        "accuracy": intervals.wilson(int(correct[sure].sum()), rows).public(),
    }


def _near_copies(correct: np.ndarray, true: np.ndarray, beside: Beside) -> dict[str, Any]:
    near = beside.near_copies
    assert near is not None
    return {
        "threshold": near.threshold,
        "threshold_from": "the dataset's card" if near.from_card else "default",
        **_apart({"with": near.has_copy, "without": ~near.has_copy}, correct, true, beside),
    }


def _apart(parts: dict[str, np.ndarray], correct: np.ndarray, true: np.ndarray, beside: Beside) -> dict[str, Any]:
    """Rows and accuracy of the model and the baselines in each part  # name -> (rows,) bool."""
    right = {"model": correct} | {name: ranked[:, 0] == true for name, ranked in beside.rankings.items()}
    return {
        part: {"rows": int(rows.sum())}
        | {name: intervals.wilson(int(hits[rows].sum()), int(rows.sum())).public() for name, hits in right.items()}
        for part, rows in parts.items()
    }


def _lengths(tokens: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy by length in tokens, as the model saw the texts."""
    edges = np.unique(np.quantile(tokens, np.linspace(0, 1, LENGTHS + 1)[1:], method="higher"))
    group = np.searchsorted(edges, tokens)
    found = []
    for number, edge in enumerate(edges):
        rows = group == number
        accuracy = intervals.wilson(int(correct[rows].sum()), int(rows.sum()))
        span = {"tokens_from": int(tokens[rows].min()), "tokens_to": int(edge), "rows": int(rows.sum())}
        found.append(span | {"accuracy": accuracy.public()})
    return found


def _classes(matrix: np.ndarray, labels: list[str]) -> dict[str, Any]:
    scores = metrics.class_scores(matrix)
    return {
        label: {
            "precision": float(scores.precision[i]),
            "recall": float(scores.recall[i]),
            "f1": float(scores.f1[i]),
            "support": int(scores.support[i]),
        }
        for i, label in enumerate(labels)
    }
