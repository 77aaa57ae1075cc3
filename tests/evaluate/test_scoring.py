"""Scores against a plain loop: whatever the actors, blocks and passes, after kills, and in a reduced precision."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from conftest import plain_scores, read_jsonl, sentences, write_jsonl
from machines import titled
from transformers import AutoTokenizer
from waiting import wait_until

from raypipe import ConfigError, EvaluateConfig, PredictConfig, StageError, pipeline
from raypipe.evaluate import actors, precision
from raypipe.hub import Source
from raypipe.train import modeling
from raypipe.train.devices import has_fast_bf16

LABELS = [f"label {n}" for n in range(12)]
ROWS = 2_000


def save(folder, model, tokenizer_folder):
    model.config.raypipe_temperature = 1.5
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def rows(tmp_path_factory, tiny_model):
    """Distinct rows of many lengths in a file, a classifier, and its scores by the plain loop  # (rows, labels)."""
    folder = tmp_path_factory.mktemp("scoring")
    made = sentences(ROWS, seed=5)
    for place, row in enumerate(made):
        row["text"] = f"{place} " + " ".join([row["text"]] * (1 + place % 7 * (place % 5 == 0)))
        row["label"] = LABELS[place % 11]
    write_jsonl(folder / "rows.jsonl", made)
    model = modeling.new_classifier(Source(tiny_model), LABELS, 1, None)
    for name, weight in model.named_parameters():  # a fresh model reads hardly more than that there is a text
        if weight.ndim == 2 and "embeddings" not in name:
            weight.data *= 10
    model_folder = save(folder / "model", model, tiny_model)
    torch.set_num_threads(1)
    scores, _ = plain_scores(model_folder, [row["text"] for row in made])
    assert len(set(scores.argmax(axis=1).tolist())) > 3
    return folder, model_folder, made, scores


def evaluation(rows, output, **flags):
    folder, model, *_ = rows
    settings = {"input_dir": str(folder), "filename": "rows.jsonl", "device": "cpu", "precision": "fp32"}
    return EvaluateConfig(model=model, output_classify_file=str(output), **settings | flags)


def judge(output, rows):
    """Each row once, in order, with the scores of the plain loop."""
    _, _, made, scores = rows
    found = read_jsonl(output)
    assert [row["id"] for row in found] == [f"rows.jsonl:{n}" for n in range(1, ROWS + 1)]
    assert [(row["text"], row["label"]) for row in found] == [(row["text"], row["label"]) for row in made]
    best = np.argsort(-scores, axis=1)[:, :3]
    labels = np.array([[LABELS.index(p["label"]) for p in row["predictions"]] for row in found])
    got = np.array([[p["score"] for p in row["predictions"]] for row in found])
    assert np.abs(got - np.take_along_axis(scores, labels, axis=1)).max() < 1e-4
    clear = np.diff(-np.sort(-scores, axis=1)[:, :4], axis=1).max(axis=1) < -1e-5  # no two labels of a rank
    assert clear.mean() > 0.95 and (labels == best)[clear].all()


def killed_actor(parts: Path, done: list) -> None:
    """Kill an actor once some blocks are scored."""

    def scored():
        return len(list(parts.glob("*/fp32/*.arrow")))

    wait_until(lambda: scored() >= 2, every_s=0.02)
    wait_until(lambda: titled("MapWorker(MapBatches(Predictor))", psutil.Process()), every_s=0.02)[0].kill()
    done.append(scored())


@pytest.mark.parametrize(("pool", "tokens", "block_rows"), [(1, 4_096, 16_384), (1, 256, 301), (2, 700, 40)])
def test_predictions_equal_a_plain_loop(rows, tmp_path, local_ray, monkeypatch, pool, tokens, block_rows):
    monkeypatch.setattr(actors, "ROWS_OF_AN_ACTOR", ROWS // pool)
    monkeypatch.setattr(actors, "CPU_TOKENS", tokens)
    killed: list[int] = []
    if pool == 2:
        watcher = threading.Thread(target=killed_actor, args=(tmp_path / ".out.work", killed))
        watcher.start()
    result = pipeline.evaluate(evaluation(rows, tmp_path / "out.jsonl", eval_batch_size=block_rows))
    if pool == 2:
        watcher.join()
        assert killed and killed[0] < ROWS // block_rows, "an actor was killed before the end"
    judge(tmp_path / "out.jsonl", rows)
    assert result.counts["rows"] == ROWS and not (tmp_path / ".out.work").exists()
    metrics = json.loads((tmp_path / "out_metrics.json").read_text())
    assert metrics["precision"]["name"] == "fp32" and metrics["precision"]["sample_rows"] == 0


def test_a_model_that_gives_no_numbers_is_refused_and_leaves_no_files(rows, tmp_path, local_ray, tiny_model):
    model = modeling.new_classifier(Source(tiny_model), LABELS, 1, None)
    model.classifier.bias.data[3] = torch.nan
    broken = save(tmp_path / "broken", model, tiny_model)
    with pytest.raises(StageError, match=r"no numbers \(NaN\) for 2,000 of 2,000 rows"):
        pipeline.evaluate(dataclasses.replace(evaluation(rows, tmp_path / "out" / "p.jsonl"), model=broken))
    assert not [path for path in (tmp_path / "out").rglob("*.json*") if ".work" not in str(path)]


def test_evaluate_goes_on_from_scored_blocks(rows, tmp_path, local_ray, monkeypatch, capsys):
    from raypipe.evaluate import evaluate as judging

    def broken(*_):
        raise RuntimeError("pulled the plug")

    config = evaluation(rows, tmp_path / "out.jsonl", eval_batch_size=500)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="plug"):
        patch.setattr(judging, "evaluate", broken)
        pipeline.evaluate(config)
    assert not (tmp_path / "out.jsonl").exists()
    next((tmp_path / ".out.work").glob("*/fp32/*.arrow")).unlink()
    with pytest.raises(ConfigError, match="--resume with another configuration, model or input"):
        pipeline.evaluate(evaluation(rows, tmp_path / "out.jsonl", eval_batch_size=500, top_k=2, resume=True))
    capsys.readouterr()
    pipeline.evaluate(evaluation(rows, tmp_path / "out.jsonl", eval_batch_size=500, resume=True))
    assert "3 of 4 blocks of rows were scored before" in capsys.readouterr().err
    judge(tmp_path / "out.jsonl", rows)


def test_bf16_is_taken_where_it_keeps_the_labels_and_left_where_it_does_not(
    rows, tmp_path, local_ray, monkeypatch, tiny_model, capsys
):
    if not has_fast_bf16(use_cpu=True):
        pytest.skip("this CPU has no bfloat16")
    folder, model_folder, made, _ = rows
    monkeypatch.setattr(precision, "WORTH_IT", 100)
    sure = save(tmp_path / "sure", sure_model(model_folder), tiny_model)
    pipeline.evaluate(evaluation((folder, sure), tmp_path / "kept.jsonl", precision="auto"))
    seen = json.loads((tmp_path / "kept_metrics.json").read_text())
    assert seen["precision"]["name"] == seen["precision"]["compared"] == "bf16", seen["precision"]
    assert 500 <= seen["precision"]["sample_rows"] <= 700
    assert any(notice.startswith("scored in bf16") for notice in seen["notices"])
    fragile = save(tmp_path / "fragile", fragile_model(model_folder, [row["text"] for row in made[:400]]), tiny_model)
    config = evaluation((folder, fragile), tmp_path / "left.jsonl", precision="auto")
    pipeline.evaluate(config)
    left = json.loads((tmp_path / "left_metrics.json").read_text())
    assert left["precision"]["name"] == "fp32" and left["precision"]["compared"] == "bf16"
    assert left["precision"]["changed_labels"] > 0.005 * left["precision"]["sample_rows"]
    assert "scored in fp32: of" in capsys.readouterr().err


def sure_model(folder):
    """A classifier that hardly listens to the text."""
    model = modeling.load_classifier(Source(folder), None)
    model.classifier.weight.data *= 0.02
    model.classifier.bias.data[3] = 3
    return model


def fragile_model(folder, texts):
    """A classifier that decides by the direction in which texts differ least, where rounding is as large as they."""
    model = modeling.load_classifier(Source(folder), None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pooled = model.bert(**inputs).pooler_output
    direction = torch.linalg.svd(pooled - pooled.mean(0)).Vh[-1].clone()
    model.classifier.weight.data.zero_()
    model.classifier.bias.data.fill_(-1e3)
    for label, sign in ((0, 1e3), (1, -1e3)):
        model.classifier.weight.data[label] = sign * direction
        model.classifier.bias.data[label] = -sign * (pooled @ direction).median()
    return model


@pytest.mark.parametrize("words", [{"precision": "fp16"}, {"precision": "bf16", "device": "cuda"}])
def test_a_precision_that_the_device_lacks_is_refused(rows, tmp_path, local_ray, words):
    if torch.cuda.is_available():
        pytest.skip("a GPU has it")
    with pytest.raises(ConfigError, match=r"fp16|cuda"):
        pipeline.evaluate(evaluation(rows, tmp_path / "out" / "out.jsonl", **words | {"device": "auto"} | words))
    assert not (tmp_path / "out").exists()


def test_predict_into_a_folder_goes_on_after_the_driver_was_killed(rows, tmp_path, local_ray, capsys):
    _, model, made, scores = rows
    new = [{"text": row["text"]} for row in made[:900]]
    write_jsonl(tmp_path / "in/a/one.jsonl", new[:100])
    write_jsonl(tmp_path / "in/two.jsonl", [*new[100:], {"text": ""}, "{broken"])
    write_jsonl(tmp_path / "in/void.jsonl", [{"text": " "}, {"text": None}])
    words = ["--model", model, "--input", f"{tmp_path}/in/**/*.jsonl", "--output", f"{tmp_path}/out"]
    words += ["--eval-batch-size", "20", "--precision", "fp32", "--device", "cpu"]
    command = [sys.executable, "-m", "raypipe.cli", "predict", *words]
    first, parts = tmp_path / "out/a/one.jsonl", tmp_path / "out/.predict.work"
    shared = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with subprocess.Popen(command, env=shared, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as doomed:
        try:
            wait_until(lambda: first.exists() and len(list(parts.glob("*/fp32/*.arrow"))) >= 8, every_s=0.02)
        finally:
            doomed.kill()
    assert first.exists() and not (tmp_path / "out/two.jsonl").exists()
    before = first.stat().st_mtime_ns
    config = PredictConfig(
        model=model,
        input=f"{tmp_path}/in/**/*.jsonl",
        output=f"{tmp_path}/out",
        eval_batch_size=20,
        precision="fp32",
        device="cpu",
        resume=True,
    )
    result = pipeline.predict(config)
    assert "blocks of rows were scored before" in capsys.readouterr().err
    assert first.stat().st_mtime_ns == before and not parts.exists()
    found = read_jsonl(first) + read_jsonl(tmp_path / "out/two.jsonl")
    assert [row["text"] for row in found] == [row["text"] for row in new]
    assert found[0]["id"] == "a/one.jsonl:1" and found[-1]["id"] == "two.jsonl:800"
    for row, expected in zip(found, scores, strict=False):
        assert row["predictions"][0]["score"] == pytest.approx(expected.max(), abs=1e-4)
    assert read_jsonl(tmp_path / "out/void.jsonl") == []
    summary = json.loads((tmp_path / "out/predict_summary.json").read_text())
    removed = {"empty_text": 2, "bad_json": 1, "missing_text": 1}
    assert result.counts == {"rows_in": 904, "removed": removed, "rows": 900}
    assert summary["files"]["two.jsonl"]["removed"] == {"bad_json": 1, "empty_text": 1}
    assert pipeline.predict(config).status == "skipped"
    write_jsonl(tmp_path / "in/zwei.jsonl", new[:5])
    assert pipeline.predict(config).counts["rows"] == 905 and first.stat().st_mtime_ns == before
    write_jsonl(tmp_path / "in/two.jsonl", new[:5])
    with pytest.raises(ConfigError, match=r"changed input files \(two.jsonl\)"):
        pipeline.predict(config)


def test_two_inputs_of_one_output_are_refused(rows, tmp_path, local_ray):
    for name in ("x.jsonl", "x.csv"):
        (tmp_path / name).write_text('{"text": "a"}\n' if name.endswith("l") else "text\na\n")
    config = PredictConfig(model=rows[1], input=f"{tmp_path}/x.*", output=f"{tmp_path}/out")
    with pytest.raises(ConfigError, match=r"x.csv and x.jsonl would both be written to x.jsonl"):
        pipeline.predict(config)
    with pytest.raises(ConfigError, match="holds or is one of the input files"):
        pipeline.predict(PredictConfig(model=rows[1], input=f"{tmp_path}/x.*", output=str(tmp_path)))
    assert not (tmp_path / "out").exists()
