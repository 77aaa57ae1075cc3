"""A trained model judged through the verbs: temperature, traffic, near-copies, kept baselines, comparisons."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import plain_scores, read_jsonl, sentences, write_dataset, write_jsonl
from sklearn.metrics import accuracy_score

from raypipe import ConfigError, EvaluateConfig, PredictConfig, TrainConfig, pipeline, splits
from raypipe.core.calibration import fit_temperature
from raypipe.train.finetune import hold_out


@pytest.fixture(scope="module")
def trained(tmp_path_factory, local_ray, tiny_model):
    """A dataset with weights and near-copies, and a training on it that is not sure yet."""
    folder = tmp_path_factory.mktemp("evaluation")
    frame = pd.DataFrame(sentences(500, seed=3))
    wrong = np.random.default_rng(1).random(len(frame)) < 0.12  # else nothing would bound the temperature
    frame.loc[wrong, "label"] = frame.label[::-1].to_numpy()[wrong]
    frame["weight"] = np.random.default_rng(0).integers(1, 6, len(frame)) * np.where(frame.label == "travel", 4.0, 1.0)
    frame["id"] = [f"raw.jsonl:{n}" for n in range(1, len(frame) + 1)]
    config = TrainConfig(
        input_hf_dataset=write_dataset(folder / "set", frame[:380], frame[380:]),
        model_for_training_finetune=tiny_model,
        device="cpu",
        precision="fp32",
        epochs=3,
        learning_rate=1e-3,
        validation_fraction=0.2,
        output_dir=str(folder / "run"),
    )
    return folder, config, pipeline.train(config)


def evaluated(folder, name="again", **flags):
    config = EvaluateConfig(
        model=str(folder / "run/model"),
        input_hf_dataset=str(folder / "set"),
        output_classify_file=str(folder / f"{name}.jsonl"),
        device="cpu",
        **flags,
    )
    return pipeline.evaluate(config), json.loads((folder / f"{name}_metrics.json").read_text())


def test_the_temperature_is_that_of_the_validation_rows(trained):
    folder, config, _ = trained
    run = json.loads((folder / "run/run.json").read_text())
    model = folder / "run/model"
    stored = json.loads((model / "config.json").read_text())["raypipe_temperature"]
    assert stored == run["validation"]["temperature"] != 1
    assert run["validation"]["log_loss"] < run["validation"]["log_loss_before"]
    data = splits.load(str(folder / "set"), "text", "label", None)
    _, validation = hold_out(data.train, data.labels, config)
    scores, labels = plain_scores(str(model), validation["text"].tolist())
    true = np.array([labels.index(label) for label in validation["label"]])
    assert fit_temperature(stored * np.log(scores), true) == pytest.approx(stored, rel=1e-3)


def test_the_scores_are_by_the_temperature_for_evaluate_and_predict(trained):
    folder, _, _ = trained
    metrics = json.loads((folder / "run/metrics.json").read_text())
    rows = read_jsonl(folder / "run/predictions.jsonl")
    scores, labels = plain_scores(str(folder / "run/model"), [row["text"] for row in rows])
    temperature = metrics["calibration"]["temperature"]
    for row, expected in zip(rows, scores, strict=True):
        for found in row["predictions"]:
            assert found["score"] == pytest.approx(expected[labels.index(found["label"])], abs=1e-4)
    place = np.arange(len(rows)), np.array([labels.index(row["label"]) for row in rows])
    plain = scores**temperature / (scores**temperature).sum(axis=1, keepdims=True)
    for side, own in (("after", scores), ("before", plain)):
        assert metrics["calibration"][f"log_loss_{side}"]["value"] == pytest.approx(
            -np.log(own[place]).mean(), abs=1e-4
        )
    assert metrics["model"]["ece"] == metrics["calibration"]["ece_after"]
    write_jsonl(folder / "new.jsonl", [{"text": row["text"]} for row in rows[:20]])
    predict = PredictConfig(
        model=str(folder / "run/model"), input=str(folder / "new.jsonl"), output=str(folder / "p.jsonl"), device="cpu"
    )
    pipeline.predict(predict)
    predicted = read_jsonl(folder / "p.jsonl")
    assert [row["predictions"][0]["label"] for row in predicted] == [
        row["predictions"][0]["label"] for row in rows[:20]
    ]
    for row, expected in zip(predicted, scores, strict=False):
        assert row["predictions"][0]["score"] == pytest.approx(expected.max(), abs=1e-4)


def test_baselines_that_nobody_asked_for_are_not_said_to_lack_rows(trained):
    folder, _, _ = trained
    missing = "no baseline beside the model: there are no training rows to make one from"
    assert missing not in evaluated(folder, "without", baselines=False)[1]["notices"]


def test_both_headlines_and_near_copies_are_in_the_files(trained):
    folder, _, result = trained
    metrics = json.loads((folder / "run/metrics.json").read_text())
    rows = read_jsonl(folder / "run/predictions.jsonl")
    weight = pd.read_csv(folder / "set/test.csv").weight
    top1 = [row["top1"] for row in rows]
    expected = accuracy_score(np.ones(len(top1)), np.array(top1).astype(float), sample_weight=weight)
    assert metrics["traffic"]["model"]["top1"]["value"] == pytest.approx(expected, abs=1e-9)
    assert result.metrics["traffic_top1"] == metrics["traffic"]["model"]["top1"]["value"] != result.metrics["top1"]
    assert metrics["near_copies"]["threshold"] == 0.8 and metrics["near_copies"]["threshold_from"] == "default"
    assert 0 < metrics["near_copies"]["with"]["rows"] < len(rows)
    page = (folder / "run/predictions_report.html").read_text()
    assert "As your traffic" in page and "Near-copies" in page and "before the temperature" in page


def test_evaluate_after_train_takes_the_kept_baselines(trained, capsys):
    folder, _, _ = trained
    result, metrics = evaluated(folder)
    assert "baselines of the same rows and seed from" in capsys.readouterr().err
    earlier = json.loads((folder / "run/metrics.json").read_text())
    assert metrics["baselines"] == earlier["baselines"] and set(metrics["baselines"]) == {"majority", "tfidf_logreg"}
    assert result.metrics["top1"] == earlier["model"]["top1"]["value"]


def test_a_label_map_renames_the_labels_of_a_local_file(trained, capfd):
    """As if the file had had the model's own labels; what the map says counts for --resume."""
    folder, _, _ = trained
    rows = sentences(60, seed=9)
    write_jsonl(folder / "own.jsonl", rows)
    write_jsonl(folder / "raw.jsonl", [row | {"label": f" {row['label'].upper()}"} for row in rows])
    labels = sorted({row["label"] for row in rows})
    (folder / "map.csv").write_text("old,new\n" + "".join(f"{label.upper()},{label}\n" for label in [*labels, "none"]))

    def scored(name, **flags):
        config = EvaluateConfig(
            model=str(folder / "run/model"),
            input_dir=str(folder),
            filename=f"{name}.jsonl",
            output_classify_file=str(folder / f"{name}_scored.jsonl"),
            device="cpu",
            **flags,
        )
        return pipeline.evaluate(config).metrics, config

    own, _ = scored("own")
    raw, config = scored("raw", label_map=str(folder / "map.csv"))
    assert raw == own and own["top1"] > 0.5
    assert f"{len(labels)} of {len(labels) + 1} labels of --label-map occur" in capfd.readouterr().err
    assert [row["label"] for row in read_jsonl(folder / "raw_scored.jsonl")] == [row["label"] for row in rows]
    again = dataclasses.replace(config, resume=True)
    assert pipeline.evaluate(again).status == "skipped"
    (folder / "map.csv").write_text("old,new\nX,y\n")
    with pytest.raises(ConfigError, match="changed rows"):
        pipeline.evaluate(again)
    (folder / "map.csv").write_text("from,to\nX,y\n")
    with pytest.raises(ConfigError, match="--label-map"):
        pipeline.evaluate(dataclasses.replace(config, output_classify_file=str(folder / "never.jsonl")))
    assert not list(folder.glob("never*"))


def test_k_beyond_the_labels_is_all_of_them(trained):
    folder, _, _ = trained
    _, metrics = evaluated(folder, "k9", top_k=9)
    assert metrics["model"]["top9"]["value"] == metrics["baselines"]["tfidf_logreg"]["top9"]["value"] == 1
    assert all(len(row["predictions"]) == 4 for row in read_jsonl(folder / "k9.jsonl"))


def test_a_comparison_on_the_same_rows(trained):
    folder, _, _ = trained
    rows = read_jsonl(folder / "run/predictions.jsonl")
    old = [row | {"top1": row["top1"] and place % 5 > 0} for place, row in enumerate(rows)]
    write_jsonl(folder / "old.jsonl", old[::-1])
    result, metrics = evaluated(folder, "compared", compare_with=str(folder / "old.jsonl"))
    lost = sum(row["top1"] for row in rows) - sum(row["top1"] for row in old)
    compared = metrics["compared"]
    assert compared["only_model_right"] == lost and compared["only_it_right"] == 0
    assert (
        result.metrics["compared_model_less_it"]
        == compared["model_less_it"]["value"]
        == pytest.approx(lost / len(rows))
    )
    assert "old.jsonl" in (folder / "compared_report.html").read_text()
    again, _ = evaluated(folder, "compared", compare_with=str(folder / "old.jsonl"), resume=True)
    assert again.status == "skipped"
    write_jsonl(folder / "old.jsonl", old)
    with pytest.raises(ConfigError, match="--resume with changed rows, model or --compare-with"):
        evaluated(folder, "compared", compare_with=str(folder / "old.jsonl"), resume=True)


def test_a_comparison_with_other_rows_is_refused_before_work(trained):
    folder, _, _ = trained
    rows = read_jsonl(folder / "run/predictions.jsonl")
    write_jsonl(folder / "part.jsonl", rows[1:])
    with pytest.raises(ConfigError, match="it lacks 1 of the 120 rows"):
        evaluated(folder, "refused", compare_with=str(folder / "part.jsonl"))
    assert not list(Path(folder).glob("refused*"))
