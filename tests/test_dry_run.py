"""--dry-run starts nothing and writes nothing; its counts are those of the run, its figures hang together."""

import dataclasses
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import sentences, write_dataset, write_jsonl
from waiting import PATIENCE_S

from raypipe import (
    ConfigError,
    DataError,
    EvaluateConfig,
    PrepareConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
    pipeline,
    splits,
)
from raypipe.data import sample
from raypipe.estimate import Machine
from raypipe.evaluate import baseline
from raypipe.hub import Source
from raypipe.pipeline.dry_run import scoring, training
from raypipe.pipeline.dry_run.scoring import ToScore

WALL = """
import sys, ray
def refuse(*_, **__): raise AssertionError("a dry run started Ray")
ray.init = refuse
from raypipe.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder with train.csv and test.csv, some of whose texts are long."""
    rows = [row | {"text": " ".join([row["text"]] * (1 + n % 7))} for n, row in enumerate(sentences(260))]
    return Path(write_dataset(tmp_path_factory.mktemp("dataset"), rows[:200], rows[200:]))


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """The working folder, which must stay as it was."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(work))
    yield work
    assert [path for path in work.rglob("*") if path.is_file()] == []


def predicted(result):
    """The figures of a result, after what holds for all of them."""
    assert result.status == "dry_run" and result.outputs == {}
    metrics = result.metrics
    stages = [seconds for name, seconds in metrics.items() if name.startswith("predicted_seconds_")]
    assert metrics["predicted_seconds"] == pytest.approx(sum(stages), abs=1e-3) and min(stages) >= 0
    assert metrics["peak_memory_mib"] > 500 and metrics["gpu_hours"] >= 0
    return metrics


def tokens_of(model, texts, max_length):
    """The slow obvious way: one text at a time. All tokens, those cut off, and the texts that lose some."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    over = [max(0, length - max_length) for length in lengths]
    return sum(lengths), sum(over), sum(n > 0 for n in over)


def test_the_command_starts_no_ray_writes_nothing_and_answers_in_json(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(150))
    before = sorted(tmp_path.rglob("*"))
    words = ["prepare", "-i", "in", "-f", "raw.jsonl", "-o", "out/set.jsonl", "--dry-run", "--price-per-gpu-hour", "2"]
    environment = os.environ | {"HOME": str(tmp_path), "RAYPIPE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", WALL, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    assert answer["command"] == "prepare" and answer["status"] == "dry_run" and answer["metrics"]["cost"] == 0
    assert "nothing was started, and nothing written" in done.stderr and "peak memory" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_prepare_counts_what_the_run_counts(prepare_rows, tmp_path):
    rows = [
        *sentences(300),
        {"text": "", "label": "billing"},
        "no JSON",
        *[{"text": f"rare text {n}", "label": "rare"} for n in range(4)],
    ]
    flags = {"min_class_rows": 5, "similarity_threshold": 0.8, "reduce_majority_to": 0.9, "on_conflict": "drop"}
    real = prepare_rows(rows, **flags)["result"]
    made = {
        "input_dir": str(tmp_path / "in"),
        "input_filename": "raw.jsonl",
        "output_filename": str(tmp_path / "n.jsonl"),
    }
    dry = pipeline.prepare(PrepareConfig(**made, **flags, dry_run=True))
    predicted(dry)
    assert {name: dry.counts[name] for name in real.counts} == real.counts
    assert dry.config_hash == real.config_hash


def test_the_terms_of_prepare_are_those_of_scikit_learn(tmp_path, untouched):
    from sklearn.feature_extraction.text import CountVectorizer

    rows = sentences(120)
    write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
    dry = pipeline.prepare(
        PrepareConfig(
            input_dir=str(tmp_path / "in"), input_filename="raw.jsonl", output_filename="out/set.jsonl", dry_run=True
        )
    )
    assert dry.counts["tokens"] == CountVectorizer().fit_transform([row["text"] for row in rows]).sum()


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_a_sample_of_large_files_stands_for_all_of_them(tmp_path, ending):
    """Files sorted by label, each row as likely in the sample as any other where the format lets one seek."""
    rng = random.Random(1)
    words = [f"{rng.getrandbits(64):x}" for _ in range(500)]
    rows = [
        {"text": " ".join(rng.choices(words, k=rng.randint(3, 30))), "label": f"label {n // 1000}"} for n in range(9000)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / f"raw{ending}"
    if ending == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(lines) if ending.endswith(".gz") else lines)
    size = path.stat().st_size
    taken = sample.take(str(tmp_path), [path.name], "text", "label", size // 3)
    assert 0.25 < taken.share < 0.45 and len(taken.records) < 0.5 * len(rows)
    ahead = 0.1 if ending.endswith(".gz") else 0.05  # of so small a file a gzip reader has read some more
    assert taken.all_rows() == pytest.approx(len(rows), rel=ahead)
    assert len({record.text for _, record in taken.records}) == len(taken.records)
    if ending == ".jsonl":
        assert {record.label for _, record in taken.records} == {row["label"] for row in rows}
    whole = sample.take(str(tmp_path), [path.name], "text", "label", size)
    assert whole.is_whole and [record.text for _, record in whole.records] == [row["text"] for row in rows]


@pytest.mark.parametrize("unwanted", [(), ("neg",)])
def test_a_large_file_sorted_by_label_is_not_refused_for_its_first_part(tmp_path, monkeypatch, capfd, unwanted):
    labels = {"neg": 3_000, "neutral": 1_000, "pos": 1_000}
    rows = [row | {"label": label} for label, n in labels.items() for row in sentences(n, seed=n)]
    (tmp_path / "in").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "in" / "raw.csv", index=False)
    (tmp_path / "map.csv").write_text("old,new\npos,good\n")
    monkeypatch.setattr(sample.take, "__defaults__", (100_000,))
    flags = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.csv", "label_map": str(tmp_path / "map.csv")}
    flags |= {"labels_to_filter": unwanted, "output_filename": str(tmp_path / "out" / "set.jsonl")}
    dry = pipeline.prepare(PrepareConfig(**flags, dry_run=True))
    assert dry.counts["sample_rows"] < 3_000 and dry.counts["kept"] > 0
    said = " ".join(capfd.readouterr().err.split())
    assert "the sample has one label" in said and "never occurs" not in said


def test_train_counts_rows_tokens_and_what_is_cut(dataset, tiny_model, untouched):
    from raypipe import splits
    from raypipe.train.finetune import hold_out

    config = TrainConfig(
        input_hf_dataset=str(dataset), model_for_training_finetune=tiny_model, device="cpu", max_length=32, dry_run=True
    )
    dry = pipeline.train(config)
    metrics = predicted(dry)
    data = splits.load(str(dataset), "text", "label", None)
    training, validation = hold_out(data.train, data.labels, config)
    tokens, cut, rows_cut = tokens_of(tiny_model, training["text"], 32)
    assert (dry.counts["train"], dry.counts["validation"], dry.counts["test"]) == (len(training), len(validation), 60)
    assert (dry.counts["tokens"], dry.counts["tokens_cut"], dry.counts["rows_cut"]) == (tokens, cut, rows_cut)
    assert metrics["share_truncated"] == pytest.approx(rows_cut / len(training), abs=1e-4) and rows_cut > 0
    assert metrics["gpu_hours"] == 0


def test_classes_without_a_validation_row_are_said(tmp_path, tiny_model, capfd):
    rows = [*sentences(60), *[{"text": f"a rare text {n}", "label": "rare"} for n in range(4)]]
    write_dataset(tmp_path, rows, rows)
    flags = {"input_hf_dataset": str(tmp_path), "model_for_training_finetune": tiny_model, "device": "cpu"}
    pipeline.train(TrainConfig(**flags, dry_run=True))
    assert "validation rows are of 4 of the 5 classes" in " ".join(capfd.readouterr().err.split())


def test_a_part_of_a_large_dataset_is_scaled_up(tmp_path):
    from raypipe import splits

    rows = sentences(60_000)
    write_dataset(tmp_path, rows, rows)
    data, shares = splits.sample(str(tmp_path), "text", "label", None, 2 << 20)
    assert 0.5 < shares["train"] < 0.95
    ahead = (256 << 10) / (2 << 20)  # what pandas has read beyond the rows that it gave
    assert len(data.train) / shares["train"] == pytest.approx(60_000, rel=ahead)
    whole, shares = splits.sample(str(tmp_path), "text", "label", None, 1 << 30)
    assert shares == {"train": 1.0, "test": 1.0} and len(whole.train) == 60_000


def test_an_assumed_gpu_costs_its_hours(dataset, tiny_model, untouched):
    figures = {}
    for gpu in ("a100", "h100"):
        dry = pipeline.train(
            TrainConfig(
                input_hf_dataset=str(dataset),
                model_for_training_finetune=tiny_model,
                device="cuda",
                assume_gpu=gpu,
                price_per_gpu_hour=3.0,
                dry_run=True,
            )
        )
        figures[gpu] = predicted(dry)
        assert figures[gpu]["gpu_hours"] > 0
        assert figures[gpu]["cost"] == pytest.approx(3 * figures[gpu]["gpu_hours"], abs=1e-3)
    assert figures["h100"]["predicted_seconds_fit"] <= figures["a100"]["predicted_seconds_fit"]


def test_evaluate_counts_a_dataset_and_a_file_alike(dataset, tiny_model, tmp_path, untouched):
    test = pd.read_csv(dataset / "test.csv")
    write_jsonl(tmp_path / "file" / "test.jsonl", test.to_dict("records"))
    shared = {"model": tiny_model, "output_classify_file": "p.jsonl", "device": "cpu", "dry_run": True}
    sources = [{"input_hf_dataset": str(dataset)}, {"input_dir": str(tmp_path / "file"), "filename": "test.jsonl"}]
    tokens, cut, _ = tokens_of(tiny_model, test["text"], 16)
    for source in sources:
        dry = pipeline.evaluate(EvaluateConfig(**shared, **source, max_length=16))
        metrics = predicted(dry)
        assert (dry.counts["rows_in"], dry.counts["tokens"]) == (60, tokens)
        assert metrics["share_tokens_cut"] == pytest.approx(cut / tokens, abs=1e-4)


@pytest.mark.parametrize(("gpus", "workers", "on_gpu"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, "1:4", True)])
def test_auto_predicts_the_device_that_the_run_takes(gpus, workers, on_gpu):
    config = TrainConfig(input_hf_dataset="set", num_workers=workers)
    assert training.workers_of(config, Machine(8, gpus)).use_gpu is on_gpu
    assert training.workers_of(dataclasses.replace(config, device="cuda"), Machine(8, gpus)).use_gpu


def test_baselines_that_a_run_kept_cost_nothing(dataset, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "cache"))
    config = EvaluateConfig(
        model=tiny_model, input_hf_dataset=str(dataset), output_classify_file=f"{tmp_path}/p.jsonl", device="cpu"
    )
    data = splits.load(str(dataset), "text", "label", None)
    to_score = ToScore(
        len(data.test), np.full(len(data.test), 8), 0.0, data.labels, Source(tiny_model), None, data, 1.0
    )
    assert scoring._baselines_s(to_score, config) > 0
    rankings = {"majority": np.zeros((len(data.test), 3), np.int64)}
    baseline.keep(baseline.cache_path(data.row_fingerprint(), config.seed, 3), rankings)
    assert scoring._baselines_s(to_score, config) == 0


def test_a_sweep_multiplies_its_trials(dataset, tiny_model, untouched):
    shared = {"input_hf_dataset": str(dataset), "model_for_training_finetune": tiny_model, "device": "cpu"}
    figures = {}
    for scheduler in ("none", "asha"):
        dry = pipeline.sweep(
            SweepConfig(
                **shared, learning_rates=(1e-4, 2e-4, 4e-4, 8e-4), scheduler=scheduler, num_cpus=2, dry_run=True
            )
        )
        figures[scheduler] = predicted(dry)["predicted_seconds_trials"]
        assert (dry.counts["trials"], dry.counts["at_once"]) == (4, 2)
    assert figures["asha"] < figures["none"]


def test_asha_is_expected_to_leave_a_part_of_the_work():
    from raypipe.pipeline.dry_run.sweeping import share_run

    assert share_run(1, 8) == 1  # there is nobody to lose against
    assert share_run(8, 1) == 1  # nobody is judged before the end
    assert 1 / 8 < share_run(8, 8) < 0.6
    assert share_run(50, 27) < share_run(8, 27)


def test_a_run_sums_its_stages(tmp_path, tiny_model, untouched):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(300))
    (tmp_path / "run.toml").write_text(f"""
[prepare]
input_dir = {json.dumps(str(tmp_path / "in"))}
input_filename = "raw.jsonl"

[train]
model_for_training_finetune = {json.dumps(tiny_model)}
device = "cpu"
""")
    dry = pipeline.run(RunConfig(config=str(tmp_path / "run.toml"), run_dir="run", dry_run=True))
    metrics = predicted(dry)
    stages = {name.removeprefix("predicted_seconds_") for name in metrics}
    assert {"start", "prepare_join", "train_fit", "train_score"} <= stages
    kept = dry.counts["prepare"]["kept"]
    assert sum(dry.counts["train"][split] for split in ("train", "validation", "test")) == kept


def test_what_the_run_refuses_the_dry_run_refuses(tmp_path, dataset, tiny_model):
    write_jsonl(tmp_path / "in" / "raw.jsonl", [*sentences(30), *["no JSON"] * 10])
    shared = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl", "dry_run": True}
    out = str(tmp_path / "out" / "set.jsonl")
    with pytest.raises(DataError, match="10 of 40 rows cannot be used"):
        pipeline.prepare(PrepareConfig(**shared, output_filename=out))
    with pytest.raises(DataError, match="no column 'txt'"):
        pipeline.prepare(PrepareConfig(**shared, output_filename=out, text="txt"))
    with pytest.raises(ConfigError, match="--dry-run with --resume"):
        pipeline.prepare(PrepareConfig(**shared, output_filename=out, resume=True))
    with pytest.raises(ConfigError, match="--price-per-gpu-hour -1"):
        pipeline.prepare(PrepareConfig(**shared, output_filename=out, price_per_gpu_hour=-1.0))
    write_jsonl(tmp_path / "there" / "set_report.json", [{}])
    with pytest.raises(ConfigError, match="a complete output exists"):
        pipeline.prepare(PrepareConfig(**shared, output_filename=str(tmp_path / "there" / "set.jsonl")))
    train = {"input_hf_dataset": str(dataset), "model_for_training_finetune": tiny_model, "dry_run": True}
    with pytest.raises(DataError, match="no column 'topic'"):
        pipeline.train(TrainConfig(**train, subject_column="topic"))
    with pytest.raises(ConfigError, match="2 CPUs for 3 workers"):
        pipeline.train(TrainConfig(**train, device="cpu", num_cpus=2, num_workers=3))
    with pytest.raises(ConfigError, match="--token-budget"):
        pipeline.train(TrainConfig(**train, device="cpu", max_length=8, token_budget=4))
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["in", "there"]


def test_flags_of_an_estimate_decide_nothing(tmp_path):
    made = {"input_dir": "in", "input_filename": "raw.jsonl", "output_filename": "out/set.jsonl"}
    plain = PrepareConfig(**made)
    assert PrepareConfig(**made, dry_run=True, price_per_gpu_hour=1.0, assume_gpu="t4").hash() == plain.hash()


def test_a_running_stage_forecasts_itself_from_its_first_tenth(monkeypatch):
    from raypipe import forecast

    now = 0.0
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now)
    running, short = forecast.Forecast(100), forecast.Forecast(1)
    for part in range(100):
        now = 7.0 + 2.0 * part if part < 50 else 105.0 + 4.0 * (part - 49)  # slower in the later half
        running.add(1)
    short.add(1)
    assert running.predicted_s == pytest.approx(7 + 99 * 2) and running.took_s == pytest.approx(305)
    assert short.predicted_s is None
    assert forecast.compared({"a": running, "b": short}) == {"a": {"predicted": 205.0, "took": 305.0}}


def test_the_first_rows_alone_refuse_nothing_that_the_whole_allows(tmp_path):
    """The few rows that warm the compiled functions are all Chinese; the file is not."""
    rows = [{"text": f"这是第{n}行中文文本", "label": "ab"[n % 2]} for n in range(64)] + sentences(400)
    write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
    config = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl", "token_pattern": r"\w+"}
    dry = pipeline.prepare(PrepareConfig(**config, output_filename=str(tmp_path / "out" / "set.jsonl"), dry_run=True))
    assert dry.counts["rows_in"] == 464
