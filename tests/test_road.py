"""The whole road on a few hundred rows: a real Ray, a tiny real model, one run that many tests look at."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import plain_scores, read_jsonl, sentences, write_dataset, write_jsonl
from wandb_log import read_records

from raypipe import (
    ConfigError,
    DataError,
    EvaluateConfig,
    PredictConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
    locks,
    pipeline,
)
from raypipe.pipeline.whole import begin_anew

MARK = "zebrafishmark"  # a word of the texts that must not leave the places where texts belong


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, local_ray, tiny_model):
    """prepare, train and evaluate by `run` from one TOML file."""
    folder = tmp_path_factory.mktemp("road")
    rows = [row | {"text": row["text"] + " " + MARK} for row in sentences(420)]
    write_jsonl(folder / "in" / "raw.jsonl", rows)
    (folder / "run.toml").write_text(f"""
[prepare]
input_dir = {json.dumps(str(folder / "in"))}
input_filename = "raw.jsonl"
similarity_threshold = 0.8

[train]
model_for_training_finetune = {json.dumps(tiny_model)}
epochs = 8
learning_rate = 2e-3
device = "cpu"
precision = "fp32"
truncation = "head_tail"
max_length = 12
""")
    result = pipeline.run(RunConfig(config=str(folder / "run.toml"), run_dir=str(folder / "run")))
    return folder / "run", result


@pytest.fixture(scope="module")
def trained(whole_run):
    return str(whole_run[0] / "train" / "model")


def test_the_run_ends_with_an_evaluated_classifier(whole_run):
    folder, result = whole_run
    for name in (
        "index.html",
        "prepare/dataset_report.html",
        "train/report.html",
        "train/run.json",
        "train/config.toml",
        "train/metrics.json",
        "evaluate/predictions.jsonl",
        "evaluate/predictions_metrics.json",
        "evaluate/predictions_report.html",
    ):
        assert (folder / name).is_file(), name
    index = (folder / "index.html").read_text()
    assert "420 raw rows became" in index and "What to look at next" in index and index.count("<svg") == 4
    assert all((folder / link).is_file() for link in re.findall(r'<a href="([^"]+)"', index))
    metrics = json.loads((folder / "evaluate/predictions_metrics.json").read_text())
    assert metrics["model"]["top1"]["value"] > 0.6, "four topics with words of their own"
    assert metrics["baselines"]["tfidf_logreg"]["top1"]["value"] > 0.8
    for scores in (metrics["model"], *metrics["baselines"].values()):
        for key in ("top1", "top2", "top3", "macro_f1"):
            assert 0 <= scores[key]["low"] <= scores[key]["value"] + 1e-12 and scores[key]["high"] <= 1
    assert result.metrics["top1"] == metrics["model"]["top1"]["value"]
    assert metrics["max_length"] == 12, "that of the training, whatever the evaluation's own default"


def test_the_metrics_are_those_of_the_predictions(whole_run):
    folder, _ = whole_run
    test = read_jsonl(folder / "prepare/dataset_test.jsonl")
    rows = read_jsonl(folder / "evaluate/predictions.jsonl")
    assert [(r["id"], r["text"], r["label"]) for r in rows] == [(r["id"], r["text"], r["label"]) for r in test]
    metrics = json.loads((folder / "evaluate/predictions_metrics.json").read_text())
    for k in (1, 2, 3):
        hits = [row["label"] in [p["label"] for p in row["predictions"][:k]] for row in rows]
        assert [row[f"top{k}"] for row in rows] == hits
        assert metrics["model"][f"top{k}"]["value"] == pytest.approx(np.mean(hits))
    assert all(
        sorted(p["score"] for p in row["predictions"])[::-1] == [p["score"] for p in row["predictions"]] for row in rows
    )


def test_the_model_folder_holds_what_inference_needs_and_no_pickle(trained):
    names = {p.name for p in Path(trained).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pkl"))]
    config = json.loads((Path(trained) / "config.json").read_text())
    assert config["id2label"] == {"0": "billing", "1": "garden", "2": "kitchen", "3": "travel"}
    assert (config["raypipe_truncation"], config["raypipe_max_length"]) == ("head_tail", 12)
    assert json.loads((Path(trained) / "tokenizer_config.json").read_text())["model_max_length"] == 12
    assert config["label2id"]["travel"] == 3 and config["problem_type"] == "single_label_classification"


def test_the_validation_share_comes_out_of_train(whole_run):
    folder, _ = whole_run
    run = json.loads((folder / "train/run.json").read_text())
    train, test = (len(read_jsonl(folder / f"prepare/dataset_{s}.jsonl")) for s in ("train", "test"))
    assert run["rows"]["train"] + run["rows"]["validation"] == train and run["rows"]["test"] == test
    assert run["rows"]["validation"] == pytest.approx(0.1 * train, abs=3)
    cut = run["truncation"]
    assert cut["kind"] == "head_tail" and 0.05 * cut["rows"] < cut["rows_cut"] < cut["rows"] == run["rows"]["train"]
    assert 0 < cut["tokens_cut"] < cut["tokens"] and "warning" in run["notices"][0] and "head_tail" in run["notices"][0]
    assert run["batches"]["rows_of_a_step"] == pytest.approx(16, abs=1)
    for name in ("accuracy", "macro_f1"):
        estimate = run["validation"][name]
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert run["validation"]["macro_f1"]["value"] == run["validation"]["best_macro_f1"]
    assert run["dataset"]["fingerprint"] and run["seed"] == 42 and run["versions"]["torch"]


def test_accuracy_and_f1_are_logged_offline_without_row_text(whole_run):
    folder, _ = whole_run
    log, results = sorted((folder / "train/wandb").glob("offline-run-*/*.wandb"))
    keys, accuracy = set(), []
    for record in read_records(log):
        if record.WhichOneof("record_type") == "history":
            items = {
                (item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item
            }
            keys |= set(items)
            accuracy += [items["eval_accuracy"]] if "eval_accuracy" in items else []
    assert {"loss", "learning_rate", "tokens_per_second", "eval_loss", "eval_accuracy", "eval_macro_f1"} <= keys
    assert len(accuracy) == 8 and all(0 <= a <= 1 for a in accuracy)
    metrics = json.loads((folder / "train/metrics.json").read_text())
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for record in read_records(results)
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    for end, part in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert float(summary[f"test/macro_f1{end}"]) == metrics["model"]["macro_f1"][part]
    (table,) = results.parent.rglob("*.table.json")
    counts = {(true, predicted): rows for true, predicted, rows in json.loads(table.read_text())["data"]}
    names = sorted(metrics["classes"])
    assert [[counts.get((t, p), 0) for p in names] for t in names] == metrics["confusion"]


def test_row_text_goes_only_where_it_was_sent(whole_run):
    folder, _ = whole_run
    allowed = ("prepare/dataset_", "evaluate/predictions", ".staging")
    holding = [
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and MARK.encode() in p.read_bytes()
    ]
    assert holding and not [p for p in holding if not p.startswith(allowed)]


def test_a_second_run_is_refused_and_resume_skips(whole_run):
    folder, first = whole_run
    again = {"config": str(folder.parent / "run.toml"), "run_dir": str(folder)}
    with pytest.raises(ConfigError, match="--overwrite or --resume"):
        pipeline.run(RunConfig(**again))
    resumed = pipeline.run(RunConfig(**again, resume=True))
    assert resumed.status == "skipped" and resumed.metrics == first.metrics


def test_a_second_training_into_a_folder_at_work_is_refused_and_loses_nothing(local_ray, tiny_model, tmp_path):
    rows = sentences(60)
    where = {"output_dir": str(tmp_path / "run"), "model_for_training_finetune": tiny_model, "device": "cpu"}
    config = TrainConfig(input_hf_dataset=write_dataset(tmp_path / "set", rows[:50], rows[50:]), **where)
    checkpoint = tmp_path / "run" / ".ray" / "ray" / "checkpoint_1"
    checkpoint.mkdir(parents=True)
    for verb in (lambda: pipeline.train(config), lambda: pipeline.sweep(sweep_of(config))):
        with locks.locked(str(tmp_path / "run" / ".ray")), pytest.raises(ConfigError, match="another run is at work"):
            verb()
        assert checkpoint.is_dir()


def sweep_of(config: TrainConfig) -> SweepConfig:
    kept = ("input_hf_dataset", "output_dir", "model_for_training_finetune", "device")
    return SweepConfig(**{name: getattr(config, name) for name in kept}, learning_rates=(1e-3, 1e-4))


def test_another_base_model_under_the_same_name_is_not_resumed(whole_run):
    folder, _ = whole_run
    record = folder / "train/run.json"
    before = record.read_text()
    run = json.loads(before)
    flags = run["config"] | {"resume": True}
    again = TrainConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()})
    assert pipeline.train(again).status == "skipped"
    run["model"]["fingerprint"] = "of other files"
    record.write_text(json.dumps(run))
    try:
        with pytest.raises(ConfigError, match="changed data or base model"):
            pipeline.train(again)
    finally:
        record.write_text(before)


def test_a_finished_training_that_was_moved_is_kept_where_it_is_now(whole_run, tmp_path):
    folder, _ = whole_run
    shutil.copytree(folder / "train", tmp_path / "moved")
    flags = json.loads((folder / "train/run.json").read_text())["config"]
    flags |= {"output_dir": tmp_path / "moved", "hf_model_name": tmp_path / "pushed", "resume": True}
    kept = pipeline.train(TrainConfig(**flags))
    assert kept.status == "skipped" and kept.outputs["model"] == str(tmp_path / "moved/model")
    assert (tmp_path / "pushed/model.safetensors").read_bytes() == (
        tmp_path / "moved/model/model.safetensors"
    ).read_bytes()
    with pytest.raises(ConfigError, match="a complete output exists"):
        pipeline.train(TrainConfig(**flags | {"resume": False, "output_dir": tmp_path / "new", "hf_model_name": None}))
    (tmp_path / "moved/report.html").unlink()
    with pytest.raises(ConfigError, match=r"--resume of a finished training without .*report\.html"):
        pipeline.train(TrainConfig(**flags))


def test_a_refused_overwrite_leaves_the_earlier_run_whole(whole_run, local_ray, tmp_path):
    folder, _ = whole_run
    shutil.copytree(folder / "train", tmp_path / "train")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "train").rglob("*")) if path.is_file()}
    flags = json.loads((folder / "train/run.json").read_text())["config"]
    flags |= {"output_dir": tmp_path / "train", "output_classify_file": tmp_path / "p.jsonl", "overwrite": True}
    with pytest.raises(ConfigError, match="training on the CPU would take"):
        pipeline.train(TrainConfig(**flags | {"device": "auto", "max_cpu_hours": 1e-6, "epochs": 50}))
    assert {path: path.read_bytes() for path in sorted((tmp_path / "train").rglob("*")) if path.is_file()} == before


def test_what_later_stages_cannot_do_is_refused_before_the_first(whole_run, tmp_path):
    folder, _ = whole_run
    toml = (folder.parent / "run.toml").read_text()
    model = json.loads((folder / "train/run.json").read_text())["model"]["name"]
    for broken, words in (
        (toml.replace(model, "./no/such/model"), "no model folder ./no/such/model"),
        (toml + '\n[evaluate]\ncompare_with = "none.jsonl"\n', "--compare-with none.jsonl is not there"),
        (toml + f'\n[evaluate]\ninput_dir = "{tmp_path}"\nfilename = "none.jsonl"\n', "no file 'none.jsonl'"),
        (toml.replace("[train]", '[train]\nhf_model_name = "me/model"'), "without a token"),
    ):
        (tmp_path / "run.toml").write_text(broken)
        with pytest.raises((ConfigError, DataError), match=words):
            pipeline.run(RunConfig(config=str(tmp_path / "run.toml"), run_dir=str(tmp_path / "run")))
        assert not (tmp_path / "run").exists()


def test_later_stages_of_a_run_begin_anew_once_an_earlier_one_has(tmp_path):
    place = str(tmp_path / "p.jsonl")
    stages = {
        "train": TrainConfig(input_hf_dataset="d", output_dir=str(tmp_path / "train"), resume=True),
        "evaluate": EvaluateConfig(model="m", input_hf_dataset="d", output_classify_file=place, resume=True),
    }
    (tmp_path / "p_metrics.json").write_text("{}")
    begin_anew(stages, after="train")
    assert not (tmp_path / "p_metrics.json").exists()
    assert stages["train"].resume and not stages["evaluate"].resume and stages["evaluate"].overwrite


def test_its_config_toml_repeats_a_run(whole_run, tmp_path):
    from raypipe import cli

    folder, _ = whole_run
    words = ["--config", str(folder / "train/config.toml"), "--output-dir", str(tmp_path / "again")]
    pipeline.train(cli.parse("train", words))
    runs = [json.loads((place / "run.json").read_text()) for place in (folder / "train", tmp_path / "again")]
    for key in ("model", "dataset", "labels", "rows", "recipe", "batches", "truncation", "attention", "config_hash"):
        assert runs[0][key] == runs[1][key], key
    assert runs[0]["scores"] == runs[1]["scores"] and runs[0]["validation"] == runs[1]["validation"]
    metrics = [json.loads((place / "metrics.json").read_text()) for place in (folder / "train", tmp_path / "again")]
    assert metrics[0]["model"] == metrics[1]["model"] and metrics[0]["baselines"] == metrics[1]["baselines"]


@pytest.fixture
def labelled(tmp_path):
    """Rows of very different lengths, with one label that no model here knows."""
    rows = sentences(150, seed=11)
    for place, row in enumerate(rows):
        row["text"] = " ".join([row["text"]] * (1 + place % 9))
    rows[7]["label"] = "unheard of"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return rows


@pytest.mark.parametrize("eval_batch_size", [16, 4096])
def test_predictions_equal_a_plain_loop(trained, labelled, tmp_path, local_ray, monkeypatch, eval_batch_size):
    config = EvaluateConfig(
        model=trained,
        input_dir=str(tmp_path),
        filename="rows.jsonl",
        top_k=9,
        output_classify_file=str(tmp_path / "out.jsonl"),
        eval_batch_size=eval_batch_size,
        max_length=512,  # the loop knows nothing of how the training cut
    )
    result = pipeline.evaluate(config)
    scores, labels = plain_scores(trained, [row["text"] for row in labelled])
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"rows.jsonl:{n}" for n in range(1, 151)]
    for row, expected in zip(rows, scores, strict=True):
        got = {p["label"]: p["score"] for p in row["predictions"]}
        assert len(got) == len(labels) == 4, "k larger than the number of labels gives them all"
        assert [got[label] for label in labels] == pytest.approx(expected, abs=1e-4)
        assert row["predictions"][0]["label"] == labels[int(expected.argmax())]
    assert result.counts["unknown_label_rows"] == 1
    assert rows[7]["label"] == "unheard of" and not rows[7]["top3"]


def test_cumulative_score_shortens_the_list_alone(trained, labelled, tmp_path, local_ray):
    common = {"model": trained, "input_dir": str(tmp_path), "filename": "rows.jsonl", "top_k": 4}
    full = pipeline.evaluate(EvaluateConfig(**common, output_classify_file=str(tmp_path / "full.jsonl")))
    wholes = read_jsonl(tmp_path / "full.jsonl")
    reached = float(np.median([row["predictions"][0]["score"] for row in wholes]))  # half of the rows need more labels
    short = pipeline.evaluate(
        EvaluateConfig(**common, output_classify_file=str(tmp_path / "short.jsonl"), cumulative_score=reached)
    )
    assert {k: v for k, v in short.metrics.items() if "top" in k} == {
        k: v for k, v in full.metrics.items() if "top" in k
    }
    lengths = set()
    for row, whole in zip(read_jsonl(tmp_path / "short.jsonl"), wholes, strict=True):
        count = len(row["predictions"])
        lengths.add(count)
        assert row["predictions"] == whole["predictions"][:count]
        before = sum(p["score"] for p in row["predictions"][:-1])
        assert before < reached + 1e-5 <= before + row["predictions"][-1]["score"] + 2e-5
        assert row["top3"] == whole["top3"]
    assert len(lengths) > 1


def test_predict_a_file(trained, labelled, tmp_path, local_ray):
    result = pipeline.predict(
        PredictConfig(model=trained, input=str(tmp_path / "rows.jsonl"), output=str(tmp_path / "p.jsonl"), top_k=2)
    )
    rows = read_jsonl(tmp_path / "p.jsonl")
    assert result.counts == {"rows_in": 150, "removed": {}, "rows": 150} and [r["text"] for r in rows] == [
        r["text"] for r in labelled
    ]
    assert all(set(row) == {"id", "text", "predictions"} and len(row["predictions"]) == 2 for row in rows)
    globbed = PredictConfig(model=trained, input=f"{tmp_path.parent}/*/ro?s.jsonl", output=str(tmp_path / "g.jsonl"))
    assert pipeline.predict(globbed).counts["rows"] >= 150
    with pytest.raises(ConfigError, match="--overwrite"):
        pipeline.predict(
            PredictConfig(model=trained, input=str(tmp_path / "rows.jsonl"), output=str(tmp_path / "p.jsonl"))
        )


def test_a_file_of_the_users_is_not_taken_for_predictions_and_rows_that_left_leave(trained, tmp_path, local_ray):
    write_jsonl(tmp_path / "mine.jsonl", [{"my": "own"}])
    for name, text in (("a", "one text"), ("b", "another text")):
        write_jsonl(tmp_path / "in" / f"{name}.jsonl", [{"text": text}])
    flags = {"model": trained, "input": f"{tmp_path}/in/*.jsonl", "device": "cpu"}
    with pytest.raises(ConfigError, match=r"the output exists: .*Remedy: --overwrite to replace it$"):
        pipeline.predict(PredictConfig(**flags, output=tmp_path / "mine.jsonl", resume=True))
    assert read_jsonl(tmp_path / "mine.jsonl") == [{"my": "own"}]
    pipeline.predict(PredictConfig(**flags, output=tmp_path / "p.jsonl"))
    (tmp_path / "in" / "b.jsonl").unlink()
    (tmp_path / "p.jsonl.0123.part").write_text("what a killed process left")
    again = pipeline.predict(PredictConfig(**flags, output=tmp_path / "p.jsonl", resume=True))
    assert again.status == "done" and again.counts["rows"] == 1
    assert [row["text"] for row in read_jsonl(tmp_path / "p.jsonl")] == ["one text"]
    assert not list(tmp_path.glob("*.part"))


def test_a_cpu_training_that_would_take_too_long_stops(tmp_path, local_ray, tiny_model):
    rows = sentences(400)
    config = TrainConfig(
        input_hf_dataset=write_dataset(tmp_path / "set", rows[:350], rows[350:]),
        model_for_training_finetune=tiny_model,
        output_dir=str(tmp_path / "run"),
        epochs=5,
        max_cpu_hours=1e-5,
    )
    with pytest.raises(ConfigError, match=r"training on the CPU would take about .* hours.*--device cpu to go on"):
        pipeline.train(config)
    assert not (tmp_path / "run").exists()


A, B = {"text": "one thing", "label": "a"}, {"text": "other thing", "label": "b"}


@pytest.mark.parametrize(
    ("train", "test", "flags", "error", "words"),
    [
        ([A, B], [A, B], {"device": "cuda"}, ConfigError, ["--device cuda", "0 GPUs"]),
        ([A, A], [A], {}, DataError, ["one class", "'a'"]),
        ([A, B], [A, {"text": "x", "label": "novel"}], {}, DataError, ["'novel'", "train lacks"]),
        ([A, B], [A], {"subject_column": "lable"}, DataError, ["'lable'", "did you mean 'label'"]),
        ([A, {"text": "", "label": "b"}], [A], {}, DataError, ["no text", "number 2"]),
        ([A, B], [A], {"model_for_training_finetune": "./no/such/model"}, ConfigError, ["./no/such/model"]),
        ([A, B], [A], {"model_for_training_finetune": "."}, ConfigError, ["no model that transformers reads"]),
        ([A, B], [A], {"hf_model_name": "user/model"}, ConfigError, ["user/model", "token"]),
        ([A, B], [A], {"input_hf_dataset": "/nowhere/at/all"}, ConfigError, ["/nowhere/at/all"]),
    ],
)
def test_train_refuses_at_the_door(tmp_path, local_ray, tiny_model, monkeypatch, train, test, flags, error, words):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    settings = {
        "input_hf_dataset": write_dataset(tmp_path / "set", train, test),
        "device": "cpu",
        "model_for_training_finetune": tiny_model,
        "output_dir": str(tmp_path / "run"),
    }
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refusal:
        pipeline.train(TrainConfig(**(settings | flags)))
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_head_is_no_classifier(tmp_path, local_ray, tokenizer_folder, labelled):
    config = EvaluateConfig(
        model=tokenizer_folder,
        input_dir=str(tmp_path),
        filename="rows.jsonl",
        output_classify_file=str(tmp_path / "out.jsonl"),
    )
    with pytest.raises(ConfigError, match="no classification head"):
        pipeline.evaluate(config)
    assert not (tmp_path / "out.jsonl").exists()
