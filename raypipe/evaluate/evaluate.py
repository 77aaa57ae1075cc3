"""Numbers from scored rows: the headline as prepared and as your traffic, baselines beside it, and each class."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raypipe.core import calibration, intervals, metrics
from raypipe.core.calibration import Probabilities
from raypipe.core.intervals import Estimate
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
    true, first, classes = scored.true.astype(np.int64), scored.best[:, 0], len(labels)
    ks = sorted({*HEADLINE, top_k})
    correct, confidence = first == true, scored.scores[:, 0].astype(float)
    after = Probabilities(confidence, scored.p_true)
    before = Probabilities(scored.plain_score, scored.plain_p_true)
    own, plain = calibration.probability_estimates([after, before], correct, seed)
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
        "unknown_label_rows": int((true < 0).sum()),
        "cut_rows": int(scored.cut.sum()),
        "model": _headline(scored.best, true, classes, ks, seed, None) | _public(own),
        "baselines": others,
        "traffic": None if beside.weight is None else _traffic(scored.best, true, after, classes, ks, seed, beside),
        "compared": None if beside.earlier is None else _compared(correct, beside.earlier),
        "calibration": {
            "temperature": temperature,
            **_calibration("before", plain, before, correct),
            **_calibration("after", own, after, correct),
        },
        "coverage": [_coverage(confidence, correct, least) for least in CONFIDENCES],
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
    return scores | {"accuracy": scores["top1"]} | _public(found)


def _public(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.public() for name, estimate in estimates.items()}


def _traffic(
    best: np.ndarray, true: np.ndarray, said: Probabilities, classes: int, ks: list[int], seed: int, beside: Beside
) -> dict[str, Any]:
    """The headlines again, each row counted as often as its weight says."""
    weight = beside.weight
    (own,) = calibration.probability_estimates([said], best[:, 0] == true, seed, weight)
    return {
        "model": _headline(best, true, classes, ks, seed, weight) | _public(own),
        "baselines": {
            name: _headline(ranked, true, classes, ks, seed, weight) for name, ranked in beside.rankings.items()
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


def _calibration(side: str, estimates: dict[str, Estimate], said: Probabilities, correct: np.ndarray) -> dict[str, Any]:
    """Before or after the temperature."""
    values = _public(estimates) | {"reliability": _reliability(said.best, correct)}
    return {f"{name}_{side}": value for name, value in values.items()}


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
