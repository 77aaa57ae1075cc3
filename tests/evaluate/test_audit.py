"""The audit: truly out of fold, finds planted errors, and its file mends them through prepare."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import TOPICS, read_jsonl, sentences, write_jsonl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from raypipe import AuditConfig, ConfigError, DataError, PrepareConfig, pipeline
from raypipe.core.text import canonical
from raypipe.evaluate import audit


def test_probabilities_are_those_of_scikit_learn_out_of_fold_without_near_copies(local_ray):
    rows = sentences(160, seed=5)
    rows += [{"text": "alone in its class", "label": "x"}] + [
        {"text": f"pair {w}", "label": "y"} for w in ["one", "two"]
    ]
    text = [row["text"] for row in rows]
    label = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    judged = audit.audit(text, label, folds=4, near_copy_threshold=0.8, seed=7)

    X = TfidfVectorizer().fit_transform(text)
    near = (X @ X.T).toarray() >= 0.8 - 1e-9
    near |= np.equal.outer(*[np.array([canonical(t) for t in text])] * 2)
    parts, left_out = [], []
    for trained, held_out in StratifiedKFold(4, shuffle=True, random_state=7).split(text, label):
        is_near = near[np.ix_(trained, held_out)].any(axis=1)
        parts.append((trained[~is_near], held_out))
        left_out.append(int(is_near.sum()))
    assert judged.left_out == left_out and sum(left_out) > 10
    assert judged.trained == [len(trained) for trained, _ in parts]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=20, max_iter=1000, random_state=7)
    )
    p = cross_val_predict(
        model, np.array(text), label, cv=parts, method="predict_proba"
    )  # 0 for a class not trained on
    place = np.arange(len(text))
    unknown = np.array([label[row] not in label[trained] for trained, held_out in parts for row in held_out])
    order = np.concatenate([held_out for _, held_out in parts])
    assert set(order[unknown]) == {160} == set(np.flatnonzero(judged.fit.other < 0))
    known = judged.fit.other >= 0
    np.testing.assert_allclose(judged.fit.p_label[known], p[place, label][known], atol=1e-9, rtol=0)
    p[place, label] = -1
    np.testing.assert_allclose(judged.fit.p_other[known], p.max(axis=1)[known], atol=1e-9, rtol=0)
    assert (judged.fit.other[known] == p.argmax(axis=1)[known]).all()


def planted(seed=3):
    """Distinct rows, and the same with one label in twelve wrong; the lines of those."""
    rng = random.Random(seed)
    common = ["please", "tell", "me", "about", "the", "new", "old", "my", "your", "when", "how", "can", "should", "we"]
    right = []
    for number in range(180):
        label = rng.choice(list(TOPICS))
        words = rng.sample(TOPICS[label].split(), 4) + rng.sample(common, 3) + [f"n{number}"]
        right.append({"text": " ".join(words), "label": label})
    wrong = [dict(row) for row in right]
    lines = sorted(rng.sample(range(180), 15))
    for line in lines:
        wrong[line]["label"] = rng.choice([name for name in TOPICS if name != right[line]["label"]])
    return right, wrong, lines


def prepared(folder, name, **flags):
    config = PrepareConfig(
        input_dir=str(folder / name),
        input_filename="raw.jsonl",
        output_filename=str(folder / f"{name}-out/d.jsonl"),
        **flags,
    )
    return pipeline.prepare(config).outputs


def test_the_loop_closes(tmp_path, local_ray, capfd):
    """prepare, audit, corrections filled in, prepare again: the bytes of a set that had the right labels at once."""
    right, wrong, lines = planted()
    write_jsonl(tmp_path / "right/raw.jsonl", right)
    write_jsonl(tmp_path / "wrong/raw.jsonl", wrong)
    dataset = prepared(tmp_path, "wrong")["dataset"]
    settings = {"input_hf_dataset": dataset, "output_filename": str(tmp_path / "out/a.jsonl")}
    result = pipeline.audit(AuditConfig(**settings))
    suspects, report = read_jsonl(result.outputs["suspects"]), json.loads((tmp_path / "out/a_audit.json").read_text())
    assert report["counts"] == result.counts
    planted_ids = {f"raw.jsonl:{line + 1}" for line in lines}
    assert {row["id"] for row in suspects[:18]} >= planted_ids, "in the most suspect tenth"
    assert [row["rank"] for row in suspects] == list(range(1, 181)) and result.counts["beyond"] == 0
    assert [row["margin"] for row in suspects] == sorted(row["margin"] for row in suspects)
    first = suspects[0]
    assert list(first) == [
        "id",
        "text",
        "label",
        "suggested_label",
        "p_label",
        "p_suggested",
        "margin",
        "rank",
        "correction",
    ]
    assert first["margin"] == pytest.approx(np.log(first["p_label"] / first["p_suggested"]), abs=1e-3)
    is_suspect = [row["p_suggested"] > row["p_label"] for row in suspects]
    assert report["counts"]["suspects"] == sum(is_suspect) >= 15 and is_suspect == sorted(is_suspect, reverse=True)
    assert report["accuracy"]["value"] == pytest.approx(1 - sum(is_suspect) / 180)
    assert report["accuracy"]["low"] < report["accuracy"]["value"] < report["accuracy"]["high"]
    for group in ("classes", "splits"):
        for name in ("rows", "judged", "suspects", "confident_suspects"):
            assert sum(part[name] for part in report[group].values()) == report["counts"][name]
    assert sum(pair["rows"] for pair in report["pairs"]) == sum(is_suspect)
    page = (tmp_path / "out/a_audit.html").read_text()
    assert first["text"] in page and "<script" not in page
    said = capfd.readouterr().err
    assert first["text"] not in said and first["text"] not in json.dumps(report)

    untouched = prepared(tmp_path, "wrong", corrections=result.outputs["suspects"], overwrite=True)
    assert json.loads(Path(untouched["report"]).read_text())["corrections"]["corrections"] == 0
    truth = {f"raw.jsonl:{n}": row["label"] for n, row in enumerate(right, 1)}
    mended = [row | {"correction": truth[row["id"]] if row["id"] in planted_ids else None} for row in suspects]
    write_jsonl(tmp_path / "out/a_suspects.jsonl", mended)
    again = prepared(tmp_path, "wrong", corrections=result.outputs["suspects"], overwrite=True)
    expected = prepared(tmp_path, "right")
    for kind in ("train", "test", "removed"):
        assert Path(again[kind]).read_bytes() == Path(expected[kind]).read_bytes()

    with pytest.raises(ConfigError, match="a complete output exists"):
        pipeline.audit(AuditConfig(**settings))
    with pytest.raises(ConfigError, match="--resume with changed rows"):
        pipeline.audit(AuditConfig(**settings, resume=True))
    with pytest.raises(ConfigError, match="--resume with another configuration"):
        pipeline.audit(AuditConfig(**settings, resume=True, folds=4))


def test_files_with_small_classes_and_a_short_list(tmp_path, local_ray):
    rows = planted()[0][:60]
    rows += [
        {"text": "alone of its kind", "label": "one"},
        *({"text": f"pair {w} of two", "label": "two"} for w in ("green", "yellow")),
    ]
    write_jsonl(tmp_path / "in/raw.jsonl", [*rows, {"text": " ", "label": "one"}])
    settings = {
        "input_dir": str(tmp_path / "in"),
        "filename": "raw.jsonl",
        "output_filename": str(tmp_path / "o/a.jsonl"),
    }
    result = pipeline.audit(AuditConfig(**settings, top_share=0.25, near_copy_threshold=1.0))
    report = json.loads((tmp_path / "o/a_audit.json").read_text())
    assert report["classes"]["one"] == {"rows": 1, "judged": 0, "suspects": 0, "confident_suspects": 0}
    assert report["classes"]["two"]["rows"] == report["classes"]["two"]["judged"] == 2
    assert report["counts"]["removed"] == {"empty_text": 1} and report["splits"] is None
    assert (result.counts["rows_in"], result.counts["rows"], result.counts["judged"]) == (64, 63, 62)
    assert (
        result.counts["listed"] == len(read_jsonl(result.outputs["suspects"])) == 16 and result.counts["beyond"] == 46
    )
    assert any("1 rows cannot be judged" in notice for notice in report["notices"])
    again = pipeline.audit(AuditConfig(**settings, top_share=0.25, near_copy_threshold=1.0, resume=True))
    assert again.status == "skipped" and again.metrics == result.metrics
    (tmp_path / "map.csv").write_text("old,new\ntwo,one\n")
    settings["output_filename"] = str(tmp_path / "m/a.jsonl")
    pipeline.audit(AuditConfig(**settings, label_map=str(tmp_path / "map.csv")))
    classes = json.loads((tmp_path / "m/a_audit.json").read_text())["classes"]
    assert classes["one"]["rows"] == 3 and "two" not in classes
    settings["output_filename"] = str(tmp_path / "n/a.jsonl")
    with pytest.raises(ConfigError, match="--label-map"):
        pipeline.audit(AuditConfig(**settings, label_map=str(tmp_path / "nowhere.csv")))
    with pytest.raises(DataError, match="--folds 61 where the largest class has"):
        pipeline.audit(AuditConfig(**settings | {"output_filename": str(tmp_path / "p/a.jsonl")}, folds=61))
    assert not (tmp_path / "p").exists()
