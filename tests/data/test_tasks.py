"""Tasks that outlive a kill, and an order of work that changes nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import sentences, write_jsonl

from raypipe import ConfigError, pipeline
from raypipe.config import PrepareConfig
from raypipe.data import tasks

ROOT = Path(__file__).parents[2]
OUTPUTS = ("train.jsonl", "test.jsonl", "removed.jsonl", "dataset/train.csv", "dataset/test.csv", "dataset/README.md")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"set_{name}").read_bytes() for name in OUTPUTS}


def finished_tasks(folder: Path) -> set[str]:
    return {
        p.relative_to(folder / ".set.work").as_posix() for p in folder.glob(".set.work/*/*") if ".part" not in p.name
    }


def test_arrays_come_back_from_the_object_store_and_from_the_file(local_ray, tmp_path):
    import ray

    def two_parts(x):
        return {"a": x, "b": np.arange(3)}, tasks.packed(["", "é🙂", "a\nb"])

    for _ in range(2):
        work = tasks.Work(str(tmp_path / "w"))
        first, second = work.submit("stage/1", two_parts, np.eye(2), parts=2)
        assert ray.get(first)["a"].tolist() == [[1, 0], [0, 1]] and ray.get(first)["b"].tolist() == [0, 1, 2]
        assert tasks.unpacked(ray.get(second)) == ["", "é🙂", "a\nb"]
    assert work.counts == {"stage": {"run": 0, "reused": 1}}
    assert not list(tmp_path.rglob("*.part"))


def test_a_result_with_pickled_objects_is_not_read(local_ray, tmp_path):
    import ray

    (tmp_path / "w" / "stage").mkdir(parents=True)
    np.savez(tmp_path / "w" / "stage" / "1.npz", **{"0.a": np.array([{"x": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        ray.get(tasks.Work(str(tmp_path / "w")).submit("stage/1", dict))


def test_same_bytes_for_any_order_of_tasks_and_any_blocks(prepare_rows, monkeypatch):
    rows = sentences(260) + [{"text": r["text"] + " ok", "label": "travel"} for r in sentences(40)]
    flags = {"similarity_threshold": 0.7, "on_conflict": "majority", "reduce_majority_to": 0.8}
    wanted = contents(prepare_rows(rows, **flags)["folder"])
    for order_seed, block_rows in (("1", 11), ("2", 40), ("3", 300)):
        monkeypatch.setattr(tasks, "ORDER_SEED", order_seed)
        out = prepare_rows(None, block_rows=block_rows, **flags)
        blocks = out["report"]["tasks"]["count"]["run"]
        assert out["report"]["tasks"]["join"]["run"] == blocks * (blocks + 1) // 2
        assert contents(out["folder"]) == wanted


def test_killed_three_times_and_resumed_it_ends_in_the_same_bytes(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(300))
    flags = ["-i", str(tmp_path / "in"), "-f", "raw.jsonl", "--similarity-threshold", "0.7", "--block-rows", "20"]
    command = [sys.executable, "-m", "raypipe.cli", "prepare", *flags, "--num-cpus", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(folder: str, *more: str) -> subprocess.Popen:
        words = [*command, "-o", str(tmp_path / folder / "set.jsonl"), *more]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(run: subprocess.Popen) -> dict:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
        return json.loads(out)

    result(start("whole"))
    killed = tmp_path / "killed"
    moments = [random.Random(4).randint(*span) for span in ((3, 25), (40, 110), (150, 165))]  # of about 167 tasks
    for moment in moments:
        run = start("killed", "--resume")
        while len(finished_tasks(killed)) < moment:
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert not (killed / "set_report.json").exists()
        time.sleep(1.0)  # the workers end with their driver
    done = finished_tasks(killed)
    result(start("killed", "--resume"))
    report = json.loads((killed / "set_report.json").read_text())
    counts = report["tasks"].values()
    assert sum(c["reused"] for c in counts) == len(done) >= moments[-1]
    fresh = json.loads((tmp_path / "whole" / "set_report.json").read_text())["tasks"].values()
    assert sum(c["run"] + c["reused"] for c in counts) == sum(c["run"] for c in fresh)
    assert contents(killed) == contents(tmp_path / "whole")
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_resume_goes_on_only_with_the_same_work(tmp_path, local_ray, monkeypatch):
    from raypipe.data import write

    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(80))
    settings = {
        "input_dir": str(tmp_path / "in"),
        "input_filename": "raw.jsonl",
        "output_filename": str(tmp_path / "out" / "set.jsonl"),
    }

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space left"):
        broken.setattr(write, "write", full_disk)
        pipeline.prepare(PrepareConfig(**settings))
    assert len(finished_tasks(tmp_path / "out")) == 4  # ingest, count, weigh, join
    with pytest.raises(ConfigError, match="another configuration"):
        pipeline.prepare(PrepareConfig(**settings, resume=True, seed=7))
    pipeline.prepare(PrepareConfig(**settings, resume=True))
    report = json.loads((tmp_path / "out" / "set_report.json").read_text())
    assert {stage: c["reused"] for stage, c in report["tasks"].items()} == {
        "ingest": 1,
        "count": 1,
        "weigh": 1,
        "join": 1,
        "write": 0,
    }
    assert not (tmp_path / "out" / ".set.work").exists()
