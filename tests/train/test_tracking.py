"""What reaches W&B, read back from its files: two segments of one run, and nothing that must stay here."""

import json
import os
import time

import pandas as pd
import pytest
from wandb_log import read_records

from raypipe import TrainConfig
from raypipe.hub import Source
from raypipe.pipeline import evaluating, fitting, tracked
from raypipe.splits import Splits
from raypipe.tokens import Secret
from raypipe.train import tracking
from raypipe.train.finetune import Workers
from raypipe.train.recipe import Recipe

SECRET = "hf_" + "planted" * 5
LABELS = ["<script>x</script>", 'it\'s "b"', "c"]


@pytest.fixture
def segments(tmp_path, monkeypatch):
    """A run logged offline, and the results that another process would add; its arguments hold a token."""
    monkeypatch.setattr("sys.argv", ["raypipe", "train", "--hf-access-token", SECRET])
    with tracking.tracked(str(tmp_path), "named", {"a": 1, "data_fingerprint": "f00"}, None, True) as tracker:
        tracker.log({"loss": 2.0, "tokens_per_second": 900.0}, step=3)
    metrics = {
        "model": {
            "top1": {"value": 0.75, "low": 0.6, "high": 0.9},
            "macro_f1": dict.fromkeys(("value", "low", "high")),
        },
        "baselines": {"majority": {"top1": {"value": 0.25, "low": 0.1, "high": 0.4}, "mcnemar_p_against_model": 0.5}},
        "traffic": None,
        "compared": None,
        "classes": dict.fromkeys(LABELS),
        "confusion": [[5, 1, 0], [0, 7, 0], [2, 0, 9]],
    }
    assert tracker.offline
    time.sleep(1.1)  # W&B names a segment by the second in which it began, and a training takes longer than that
    summary, cells = evaluating.flat(metrics), tracked._cells(metrics)
    for name, content in tracked.files_of_results(tracker.id, Secret(None), summary, cells).items():
        (tmp_path / "wandb" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "wandb" / name).write_bytes(content)
    return tmp_path, [list(read_records(path)) for path in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))]


def last(records, kind):
    """The items of the last record of each key."""
    found = {}
    for record in records:
        if record.WhichOneof("record_type") == kind:
            part = getattr(record, kind)
            for item in part.item if kind == "history" else part.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def test_the_results_are_a_second_segment_of_the_run(segments):
    folder, (training, results) = segments
    runs = [next(r.run for r in records if r.WhichOneof("record_type") == "run") for records in (training, results)]
    assert runs[0].run_id == runs[1].run_id and not runs[0].resumed and not runs[0].resume and runs[1].resume
    config = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert config["data_fingerprint"] == "f00" and config["a"] == 1
    assert last(training, "history")["loss"] == 2.0 and last(training, "history")["tokens_per_second"] == 900.0
    summary = last(results, "summary")
    assert [summary[f"test/top1{end}"] for end in ("", "_low", "_high")] == [0.75, 0.6, 0.9]
    assert summary["test/majority_top1_high"] == 0.4 and "test/macro_f1" not in summary
    assert summary["test/confusion_cells_left_out"] == 0
    (table,) = folder.glob("wandb/*/files/media/table/**/*.table.json")
    found = json.loads(table.read_text())
    cells = {(true, predicted): rows for true, predicted, rows in found["data"]}
    assert found["columns"] == ["Actual", "Predicted", "nPredictions"]
    a, b, c = LABELS
    assert cells == {(a, a): 5, (a, b): 1, (b, b): 7, (c, a): 2, (c, c): 9}


def test_no_argument_of_the_driver_reaches_the_files_of_its_segment(segments):
    folder, _ = segments
    second = max(folder.glob("wandb/offline-run-*"))
    assert not [path for path in second.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_without_a_run_nothing_is_added(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracking.tracked(str(tmp_path), "named", {}, None, True) as tracker:
        tracker.log({"loss": 1.0}, step=1)
    tracked.add_results(str(tmp_path), {"id": tracker.id, "offline": tracker.offline}, None, {})
    assert not os.listdir(tmp_path)


def test_the_drivers_mode_wins_over_the_workers(tmp_path, monkeypatch):
    """Workers of a cluster have the variables of their machine, not those of the user's shell."""
    monkeypatch.setenv("WANDB_MODE", "online")
    with tracking.tracked(str(tmp_path), "named", {}, SECRET, True, mode="disabled") as tracker:
        assert not tracker.id
    assert not os.listdir(tmp_path)
    with tracking.tracked(str(tmp_path), "named", {}, SECRET, True, mode="offline") as tracker:
        assert tracker.id and tracker.offline


def test_the_workers_are_told_the_drivers_mode(monkeypatch):
    job = {"config": TrainConfig(model_for_training_finetune="m", input_hf_dataset="d"), "base": None, "token": None}
    job |= {"workers": Workers(1, 1, False, 1.0, None), "recipe": Recipe(1e-3, 1, 16), "key": SECRET, "run_name": "n"}
    rows = pd.DataFrame({name: ["x"] for name in ("text", "label", "id", "weight")})
    for mode in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert fitting.job_of(data=Splits(rows, rows, Source("d")), **job).wandb_mode == mode


def test_the_key_is_in_the_environment_for_a_moment(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "before")
    with tracking._in_environment("during"):
        assert os.environ["WANDB_API_KEY"] == "during"
    assert os.environ["WANDB_API_KEY"] == "before"
    monkeypatch.delenv("WANDB_API_KEY")
    with tracking._in_environment("during"):
        pass
    assert "WANDB_API_KEY" not in os.environ
