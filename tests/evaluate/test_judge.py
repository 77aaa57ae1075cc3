"""Numbers from scored rows: labels that somebody does not know, traffic, near-copies, and the page over all of it."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from raypipe.core import metrics as core_metrics
from raypipe.evaluate.baseline import baselines
from raypipe.evaluate.earlier import Earlier
from raypipe.evaluate.evaluate import Beside, evaluate, hardest
from raypipe.evaluate.near_copies import NearCopies
from raypipe.evaluate.scoring import Scored
from raypipe.report import console, pages


def scored(true, best):
    rows = len(true)
    scores = np.tile([0.7, 0.2, 0.1], (rows, 1))
    p_true = np.where(np.array(true) >= 0, 0.5, np.nan)
    return Scored(
        best=np.array(best),
        scores=scores,
        true=np.array(true),
        p_true=p_true,
        plain_score=np.full(rows, 0.9),
        plain_p_true=p_true / 2,
        tokens=np.arange(rows) % 7 + 3,
        cut=np.zeros(rows, bool),
    )


def drawn(rows=300, seed=0):
    """Three labels, seven in ten right  # Scored."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 3, rows)
    first = np.where(random.random(rows) < 0.7, true, random.integers(0, 3, rows))
    best = np.column_stack([first, (first + 1) % 3, (first + 2) % 3])
    return scored(true, best)


def page_of(metrics, rows, errors=()):
    metrics |= {"model_name": "m", "data_name": "d", "notices": []}
    correct = rows.best[:, 0] == rows.true
    details = {"confidence": rows.scores[:, 0], "correct": correct, "labels": ["a", "b", "c"], "errors": errors}
    return pages.evaluate_page(metrics, details)


def test_a_baseline_may_predict_a_label_that_the_model_lacks():
    true = [0, 1, 2, 0]
    rows = scored(true, [[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 1, 2]])
    ranked = np.array([[-2, 0, 1], [1, -2, 0], [2, 0, -2], [-2, 1, 2]])
    metrics = evaluate(rows, ["a", "b", "c"], Beside({"other": ranked}), seed=0)
    assert metrics["baselines"]["other"]["top1"]["value"] == 0.5
    assert metrics["baselines"]["other"]["macro_f1"]["value"] == pytest.approx(
        f1_score(true, [3, 1, 2, 3], average="macro", zero_division=0)
    )
    assert metrics["model"]["macro_f1"]["value"] == pytest.approx(f1_score(true, [0, 1, 0, 0], average="macro"))
    assert metrics["model"]["log_loss"]["value"] == pytest.approx(-np.log(0.5))
    assert metrics["baselines"]["other"]["model_less_it"]["value"] == pytest.approx(0.25)


def test_no_label_known_to_the_model_is_reported_and_shown(capsys):
    rows = scored([-1, -1], [[0, 1, 2], [1, 0, 2]])
    metrics = evaluate(rows, ["a", "b", "c"], Beside(), seed=0)
    assert metrics["unknown_label_rows"] == 2 and metrics["model"]["top3"]["value"] == 0
    assert metrics["model"]["macro_f1"]["value"] is None
    console.scores_table(metrics)
    assert "n/a" in capsys.readouterr().err
    assert "n/a" in page_of(metrics, rows)
    assert list(hardest(rows)) == [0, 1]


def test_an_unknown_label_is_counted_and_wrong_for_all():
    """Adding rows of a label that the model lacks lowers accuracy by their share and leaves the classes alone."""
    rows = drawn()
    known = evaluate(rows, ["a", "b", "c"], Beside({"other": rows.best}), seed=0)
    more = scored([*rows.true, *[-1] * 100], [*rows.best, *[[0, 1, 2]] * 100])
    both = evaluate(more, ["a", "b", "c"], Beside({"other": more.best}), seed=0)
    assert both["unknown_label_rows"] == 100 and both["rows"] == 400
    for k in (1, 2, 3):
        assert both["model"][f"top{k}"]["value"] == pytest.approx(0.75 * known["model"][f"top{k}"]["value"])
        assert both["baselines"]["other"][f"top{k}"] == both["model"][f"top{k}"]
    for key in ("macro_f1", "weighted_f1", "mcc", "log_loss"):
        assert both["model"][key] == known["model"][key]
    assert both["classes"] == known["classes"] and both["confusion"] == known["confusion"]


@pytest.mark.parametrize("top_k", [1, 3, 9])
def test_any_k_is_judged_beside_the_three(top_k):
    rows = drawn()
    metrics = evaluate(rows, ["a", "b", "c"], Beside({"other": rows.best}), seed=0, top_k=top_k)
    for k in {1, 2, 3, top_k}:
        expected = core_metrics.top_k_hits(rows.best, rows.true, k).mean()
        assert metrics["model"][f"top{k}"]["value"] == metrics["baselines"]["other"][f"top{k}"]["value"] == expected
    assert metrics["model"][f"top{max(3, top_k)}"]["value"] == 1, "all labels are among the first 3, or the first 9"
    assert metrics["model"]["accuracy"] == metrics["model"]["top1"]


def test_traffic_weighs_rows_as_sklearn_does(capsys):
    rows = drawn()
    weight = np.random.default_rng(1).integers(1, 9, 300) / 2
    weight[rows.true == 2] *= 5
    scores = np.sort(np.random.default_rng(2).dirichlet([1, 1, 1], 300))[:, ::-1]
    rows = replace(rows, scores=scores, p_true=scores[:, 1])
    metrics = evaluate(rows, ["a", "b", "c"], Beside({"other": rows.best[:, ::-1]}, weight), seed=0)
    first, common = rows.best[:, 0], {"sample_weight": weight}
    traffic = metrics["traffic"]
    expected = {
        "top1": accuracy_score(rows.true, first, **common),
        "macro_f1": f1_score(rows.true, first, average="macro", **common),
        "weighted_f1": f1_score(rows.true, first, average="weighted", **common),
        "mcc": matthews_corrcoef(rows.true, first, **common),
    }
    for name, value in expected.items():
        estimate = traffic["model"][name]
        assert estimate["value"] == pytest.approx(value, abs=1e-9)
        assert estimate["low"] < value < estimate["high"] and value != metrics["model"][name]["value"]
    again = np.repeat(np.arange(300), (2 * weight).astype(int))  # each row as often as it counts, twice over
    repeated = replace(rows, **{f.name: getattr(rows, f.name)[again] for f in fields(rows)})
    plain = evaluate(repeated, ["a", "b", "c"], Beside(), seed=0)["model"]
    for name in ("log_loss", "ece"):
        assert traffic["model"][name]["value"] == pytest.approx(plain[name]["value"], abs=1e-9)
        assert traffic["model"][name]["value"] != pytest.approx(metrics["model"][name]["value"], abs=1e-6)
    last = accuracy_score(rows.true, rows.best[:, 2], **common)
    assert traffic["baselines"]["other"]["top1"]["value"] == pytest.approx(last, abs=1e-9)
    console.scores_table(metrics)
    assert "as your traffic" in capsys.readouterr().err
    page = page_of(metrics, rows)
    assert "As your traffic" in page
    assert f"{traffic['model']['ece']['value']:.3f}" in page.split("As your traffic")[1], "each metric is shown"
    assert evaluate(rows, ["a", "b", "c"], Beside(), seed=0)["traffic"] is None


def test_rows_with_and_without_a_near_copy_add_up():
    rows = drawn()
    near = NearCopies(0.85, True, np.arange(300) % 3 == 0)
    metrics = evaluate(rows, ["a", "b", "c"], Beside({"other": rows.best}, near_copies=near), seed=0)
    found = metrics["near_copies"]
    assert (found["threshold"], found["threshold_from"]) == (0.85, "the dataset's card")
    hits = sum(found[part]["rows"] * found[part]["model"]["value"] for part in ("with", "without"))
    assert hits == pytest.approx(300 * metrics["model"]["top1"]["value"])
    assert found["with"]["rows"] == 100 and found["with"]["other"] == found["with"]["model"]
    assert "without one" in page_of(metrics, rows)


def test_coverage_and_lengths_count_rows():
    rows = drawn()
    rows.scores[:, 0] = np.linspace(0.4, 1, 300)
    metrics = evaluate(rows, ["a", "b", "c"], Beside(), seed=0)
    for entry in metrics["coverage"]:
        sure = rows.scores[:, 0] >= entry["confidence"]
        assert entry["rows"] == sure.sum() and entry["share"]["value"] == sure.mean()
        assert entry["accuracy"]["value"] == (rows.best[sure, 0] == rows.true[sure]).mean()
    assert [entry["confidence"] for entry in metrics["coverage"]] == [0.5, 0.8, 0.9, 0.95]
    assert sum(group["rows"] for group in metrics["lengths"]) == 300
    assert metrics["lengths"][0]["tokens_from"] == 3 and metrics["lengths"][-1]["tokens_to"] == 9


def test_cut_and_uncut_rows_are_judged_apart(capsys):
    rows = drawn()
    rows.cut[:50] = True
    metrics = evaluate(rows, ["a", "b", "c"], Beside({"other": rows.best}), seed=0)
    found, correct = metrics["truncation"], rows.best[:, 0] == rows.true
    for part, own in (("cut", correct[:50]), ("uncut", correct[50:])):
        assert found[part]["rows"] == len(own) and found[part]["model"] == found[part]["other"]
        assert found[part]["model"]["value"] == own.mean() and found[part]["model"]["low"] < own.mean()
    console.scores_table(metrics)
    told = capsys.readouterr().err
    assert "top1 of texts cut at --max-length" in told and max(map(len, told.splitlines())) <= console.WIDTH
    assert "cut at --max-length</td>" in page_of(metrics, rows)
    rows.cut[:] = False
    metrics = evaluate(rows, ["a", "b", "c"], Beside(), seed=0)
    assert metrics["truncation"]["cut"]["model"]["value"] is None and "not cut" not in page_of(metrics, rows)


def test_the_comparison_is_paired():
    rows = drawn()
    correct = rows.best[:, 0] == rows.true
    other = correct.copy()
    other[np.flatnonzero(correct)[:20]] = False
    metrics = evaluate(rows, ["a", "b", "c"], Beside(earlier=Earlier("old.jsonl", "0", other)), seed=0)
    compared = metrics["compared"]
    assert (compared["only_model_right"], compared["only_it_right"]) == (20, 0)
    assert compared["mcnemar_p"] == pytest.approx(2 / 2**20)
    assert compared["model_less_it"]["value"] == pytest.approx(20 / 300) and compared["model_less_it"]["low"] > 0
    assert "old.jsonl" in page_of(metrics, rows)


def test_the_page_is_whole_without_scripts_and_escapes_texts():
    rows = drawn()
    beside = Beside({"other": rows.best}, np.arange(300) % 4 + 1.0, NearCopies(0.8, False, np.arange(300) < 9))
    metrics = evaluate(rows, ["a", "b", "c"], beside, seed=0, temperature=1.5)
    found = [{"label": "b", "score": 0.7}]
    page = page_of(metrics, rows, [{"id": "f:1", "text": "<script>x</script>", "label": "a", "predictions": found}])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 6 and not re.search(r'(src|href)="http|url\(http', page)
    for heading in ("Headline", "Near-copies", "Reliability", "Coverage", "by length", "Confusion", "Hardest errors"):
        assert heading in page
    assert "before the temperature of 1.500" in page


def test_many_classes_fit_the_heat_map():
    from raypipe.report import score_plots

    matrix = np.eye(500, dtype=int) * 30
    matrix[7, 411], matrix[411, 7], matrix[3, 4] = 12, 9, 5
    drawn_map = score_plots.confusion(matrix, [f"package.of.a.long.path.module number {i}" for i in range(500)])
    ends = [f"number {i}<" for i in (7, 411, 3, 4)]
    assert all(end in drawn_map for end in ends), "labels are cut in the middle, where they are alike"
    assert score_plots.confused_pairs(matrix, 2) == [(7, 411, 12), (411, 7, 9)]
    assert "<svg" in score_plots.confusion(np.eye(3, dtype=int), ["a", "b", "c"]), "no error at all"


def test_the_baselines_rank_labels():
    ranked = baselines(
        ["red apple", "red rose", "blue sea", "red car"], np.array([0, 0, 1, 0]), ["blue", "red"], seed=0, kept=3
    )
    assert ranked["majority"].tolist() == [[0, 1], [0, 1]]
    assert ranked["tfidf_logreg"][:, 0].tolist() == [1, 0]
    assert set(baselines(["a b"], np.array([0]), ["c d"], seed=0, kept=3)) == {"majority"}, "one class"
