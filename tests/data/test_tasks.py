"""Tasks that outlive a kill, and an order of work that changes nothing."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import sentences, write_jsonl
from waiting import PATIENCE_S, wait_until

from raypipe import ConfigError, DataError, locks, pipeline
from raypipe.config import PrepareConfig
from raypipe.data import tasks

ROOT = Path(__file__).parents[2]
OUTPUTS = ("train.jsonl", "test.jsonl", "removed.jsonl", "dataset/train.csv", "dataset/test.csv", "dataset/README.md")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"set_{name}").read_bytes() for name in OUTPUTS}


def finished_tasks(folder: Path) -> set[str]:
    return {"/".join(p.parts[-2:]) for p in folder.glob(".set.work/*/*/*") if p.suffix != ".part"}


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


@pytest.mark.parametrize("kind", ["pickle", "empty", "torn"])
def test_a_file_that_cannot_be_read_is_made_again_and_never_unpickled(local_ray, tmp_path, kind):
    import ray

    def made_anew():  # local, so that workers get it by value
        return {"b": np.array([7])}

    place = tmp_path / "w" / "stage" / "1.npz"
    place.parent.mkdir(parents=True)
    np.savez(place, **{"0.a": np.array([{"x": 1}], dtype=object) if kind == "pickle" else np.arange(1000)})
    place.write_bytes(place.read_bytes()[: {"pickle": None, "empty": 0, "torn": 2000}[kind]])
    for _ in range(2):
        result = ray.get(tasks.Work(str(tmp_path / "w")).submit("stage/1", made_anew))
        assert result["b"].tolist() == [7]


def test_work_of_other_flags_is_never_found(prepare_rows, tmp_path, monkeypatch):
    """Not even half removed, as a kill during its removal leaves it."""
    from raypipe.data import write

    rows, target = sentences(80), str(tmp_path / "fixed" / "set.jsonl")
    wanted = contents(prepare_rows(rows, similarity_threshold=0.5)["folder"])
    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space left"):
        broken.setattr(write, "write", full_disk)
        prepare_rows(None, output_filename=target, similarity_threshold=0.95)
    assert len(finished_tasks(tmp_path / "fixed")) == 4
    out = prepare_rows(None, output_filename=target, similarity_threshold=0.5)
    assert {c["reused"] for c in out["report"]["tasks"].values()} == {0}
    assert contents(tmp_path / "fixed") == wanted


def test_a_killed_overwrite_goes_on_with_resume(prepare_rows, tmp_path, monkeypatch):
    from raypipe.data import write

    target = str(tmp_path / "fixed" / "set.jsonl")
    old = prepare_rows(sentences(80), output_filename=target)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space left"):
        broken.setattr(write, "write", full_disk)
        prepare_rows(None, output_filename=target, similarity_threshold=0.5, overwrite=True)
    assert json.loads((tmp_path / "fixed" / "set_report.json").read_text())["kept"] == old["report"]["kept"]
    resumed = prepare_rows(None, output_filename=target, similarity_threshold=0.5, resume=True)
    assert resumed["report"]["tasks"]["join"]["reused"] == 1 and resumed["report"]["kept"] < old["report"]["kept"]


def test_two_runs_on_one_output_and_a_refusal_beside_another_output(prepare_rows, tmp_path):
    target = tmp_path / "fixed" / "set.jsonl"
    with locks.locked(str(tmp_path / "fixed" / ".set.work")), pytest.raises(ConfigError, match="another run"):
        prepare_rows(sentences(80), output_filename=str(target))
    prepare_rows(None, output_filename=str(target))
    with pytest.raises(DataError, match="cannot be used"):
        prepare_rows(["{"] * 30, output_filename=str(tmp_path / "fixed" / "other.jsonl"))
    assert (tmp_path / "fixed" / "set_report.json").exists()
    assert not list((tmp_path / "fixed").glob(".*"))


def test_an_output_is_no_input_of_the_next_run(prepare_rows, tmp_path):
    prepare_rows(sentences(60), output_filename=str(tmp_path / "in" / "set.jsonl"))
    for pattern in ("**/*.csv", "set_train.jsonl"):
        with pytest.raises(ConfigError, match="one of the input files"):
            prepare_rows(None, input_filename=pattern, output_filename=str(tmp_path / "in" / "set.jsonl"))


def test_shards_are_bounded_by_characters_too(local_ray, tmp_path, monkeypatch):
    from raypipe.data import ingest, table

    monkeypatch.setattr(table, "BLOCK_CHARACTERS", 1000)
    rows = [{"text": f"w{i} " * (5 if i % 9 else 400), "label": "a"} for i in range(120)]
    write_jsonl(tmp_path / "raw.jsonl", rows)
    dataset = ingest.ingest(str(tmp_path), ["raw.jsonl"], "text", "label", 50)
    shards = table.Table.of(dataset, ["raw.jsonl"], 50).shards
    assert [shard.first for shard in shards] == list(np.cumsum([0, *(s.rows for s in shards[:-1])]))
    assert sum(shard.rows for shard in shards) == 120
    for shard in shards:
        size = sum(len(rows[n]["text"]) for n in shard.numbers())
        assert shard.rows == 1 or (size <= 1000 and shard.rows <= 50)


def full_disk(*_):
    raise OSError(28, "No space left on device")


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


def test_killed_three_times_and_resumed_on_one_cpu_it_ends_in_the_same_bytes(tmp_path, local_ray):
    """On a Ray that lives on, and at last on one of its own."""
    import ray

    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(300))
    flags = ["-i", str(tmp_path / "in"), "-f", "raw.jsonl", "--similarity-threshold", "0.7", "--block-rows", "20"]
    command = [sys.executable, "-m", "raypipe.cli", "prepare", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": ray.get_runtime_context().gcs_address}

    def start(folder: str, *more: str) -> subprocess.Popen:
        words = [*command, "-o", str(tmp_path / folder / "set.jsonl"), *more]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(run: subprocess.Popen) -> dict:
        out, err = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0, err
        return json.loads(out)

    def kill_at(moment: int) -> None:
        run = start("killed", "--resume")
        wait_until(lambda: len(finished_tasks(killed)) >= moment, lambda: run.poll() is None, every_s=0.005)
        run.kill()
        run.communicate()

    result(start("whole"))
    killed = tmp_path / "killed"
    moments = [random.Random(4).randint(*span) for span in ((3, 25), (40, 110), (120, 150))]  # of 166 tasks
    for moment in moments:
        kill_at(moment)
        assert not (killed / "set_report.json").exists()
        time.sleep(1.0)  # the workers end with their driver
    done = finished_tasks(killed)
    result(start("killed", "--resume", "--address", "local", "--num-cpus", "1"))
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
