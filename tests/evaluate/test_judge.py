"""What becomes of labels that the model, or a baseline, does not know."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from raypipe.evaluate.baseline import baselines
from raypipe.evaluate.evaluate import evaluate, hardest
from raypipe.evaluate.scoring import Scored
from raypipe.report import console, pages


def scored(true, best):
    rows = len(true)
    scores = np.tile([0.7, 0.2, 0.1], (rows, 1))
    p_true = np.where(np.array(true) >= 0, 0.5, np.nan)
    return Scored(np.arange(rows), np.array(best), scores, np.array(true), p_true, np.zeros(rows, bool))


def test_a_baseline_may_predict_a_label_that_the_model_lacks():
    true = [0, 1, 2, 0]
    rows = scored(true, [[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 1, 2]])
    ranked = np.array([[-2, 0, 1], [1, -2, 0], [2, 0, -2], [-2, 1, 2]])
    metrics = evaluate(rows, ["a", "b", "c"], {"other": ranked}, seed=0)
    assert metrics["baselines"]["other"]["top1"]["value"] == 0.5
    assert metrics["baselines"]["other"]["macro_f1"]["value"] == pytest.approx(
        f1_score(true, [3, 1, 2, 3], average="macro", zero_division=0)
    )
    assert metrics["model"]["macro_f1"]["value"] == pytest.approx(f1_score(true, [0, 1, 0, 0], average="macro"))
    assert metrics["model"]["log_loss"]["value"] == pytest.approx(-np.log(0.5))


def test_no_label_known_to_the_model_is_reported_and_shown(capsys):
    rows = scored([-1, -1], [[0, 1, 2], [1, 0, 2]])
    metrics = evaluate(rows, ["a", "b", "c"], {}, seed=0)
    assert metrics["unknown_label_rows"] == 2 and metrics["model"]["top3"]["value"] == 0
    assert metrics["model"]["macro_f1"]["value"] is None
    console.scores_table(metrics)
    assert "n/a" in capsys.readouterr().err
    metrics |= {"model_name": "m", "data_name": "d", "notices": []}
    details = {
        "confidence": rows.scores[:, 0],
        "correct": np.array([False, False]),
        "labels": ["a", "b", "c"],
        "errors": [],
    }
    assert "n/a" in pages.evaluate_page(metrics, details)
    assert list(hardest(rows)) == [0, 1]


def test_the_baselines_rank_labels():
    ranked = baselines(
        ["red apple", "red rose", "blue sea", "red car"], np.array([0, 0, 1, 0]), ["blue", "red"], seed=0
    )
    assert ranked["majority"].tolist() == [[0, 1], [0, 1]]
    assert ranked["tfidf_logreg"][:, 0].tolist() == [1, 0]
    assert set(baselines(["a b"], np.array([0]), ["c d"], seed=0)) == {"majority"}, "one class: nothing to learn"
