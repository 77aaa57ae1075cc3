"""Memory, the object store and disks that are full, for real: the right result, or one error and no half output."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import sentences, write_dataset, write_jsonl
from waiting import PATIENCE_S, wait_until

from raypipe import PrepareConfig, pipeline

ROW_FILES = ("set_train.jsonl", "set_test.jsonl", "set_removed.jsonl", "set_dataset/train.csv", "set_dataset/README.md")
ROOM = 2 << 30  # bytes that a command may take before its workers are killed
HOG = """
import sys, time
import psutil

taken, floor = [], int(sys.argv[1])
while True:
    above = psutil.virtual_memory().available - floor
    if above > 0:
        taken.append(b"x" * min(above, 64 << 20))
    else:
        time.sleep(0.01)
"""  # takes memory until no more than so much is available, and whatever others give back as well
SPILLED = """
import json, sys
import ray
from ray._private.internal_api import memory_summary
from raypipe import PrepareConfig, pipeline

ray.init(address="local", num_cpus=2, object_store_memory=80 << 20, logging_level="WARNING", log_to_driver=False)
pipeline.prepare(PrepareConfig(**json.loads(sys.argv[1])))
print(memory_summary(address=ray.get_runtime_context().gcs_address, stats_only=True))
"""


def rows_of(folder):
    return {name: (folder / name).read_bytes() for name in ROW_FILES}


def command(verb, *words):
    """The words of a command with a Ray of its own."""
    return [sys.executable, "-m", "raypipe.cli", verb, *words, "--num-cpus", "2"]


def test_an_object_store_that_is_full_spills_and_changes_no_byte(tmp_path, local_ray):
    """80 MiB of it for 120 MB of text; the longest part of each text is no feature."""
    rows = [row | {"text": f"{row['text']} {'x' * 300_000}"} for row in sentences(400)]
    write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
    flags = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl", "token_pattern": r"(?u)\b\w{2,20}\b"}
    flags |= {"analyzer": "word"}
    pipeline.prepare(PrepareConfig(**flags, output_filename=f"{tmp_path}/whole/set.jsonl"))
    words = json.dumps(flags | {"output_filename": f"{tmp_path}/spilled/set.jsonl"})
    done = subprocess.run([sys.executable, "-c", SPILLED, words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Spilled" in done.stdout, done.stdout
    assert rows_of(tmp_path / "spilled") == rows_of(tmp_path / "whole")


def test_workers_that_ray_kills_for_memory_are_started_again(tmp_path, local_ray):
    """Another process takes memory up to Ray's threshold while the join runs, and later gives it back."""
    memory = psutil.virtual_memory()
    if memory.available < 3 * ROOM:
        pytest.skip("too little memory to take some away")
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(400))
    flags = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl", "block_rows": 8}
    pipeline.prepare(PrepareConfig(**flags, output_filename=f"{tmp_path}/whole/set.jsonl"))
    words = ["-i", str(tmp_path / "in"), "-f", "raw.jsonl", "-o", f"{tmp_path}/out/set.jsonl", "--block-rows", "8"]
    own = Path("/tmp") / f"rpo{os.getpid()}"
    limits = {"RAY_memory_usage_threshold": str((memory.total - memory.available + ROOM) / memory.total)}
    limits |= {"RAY_memory_monitor_refresh_ms": "50", "RAY_TMPDIR": str(own)}
    with open(tmp_path / "log", "w") as log:
        running = subprocess.Popen(command("prepare", *words), env=os.environ | limits, stdout=log, stderr=log)
    work = tmp_path / "out" / ".set.work"
    wait_until(lambda: list(work.glob("*/join/*")), going_on=lambda: running.poll() is None, every_s=0.01)
    hog = subprocess.Popen([sys.executable, "-c", HOG, str(memory.available - ROOM - (256 << 20))])
    try:
        wait_until(lambda: killed_for_memory(own), going_on=lambda: running.poll() is None, every_s=0.05)
    finally:
        hog.kill()
        hog.wait()
    assert running.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()[-3000:]
    shutil.rmtree(own, ignore_errors=True)
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


def killed_for_memory(folder):
    """Whether the raylet's log tells of it."""
    logs = folder.glob("ray/session_*/logs/raylet.out")
    return any("memory" in line and "ill" in line for log in logs for line in log.read_text().splitlines())


def tree(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def on_a_small_disk(folder, size, words):
    """Run a command with ``folder`` on a file system of so many bytes of its own; what it held comes back."""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder}.disk && cp -a {folder}/. {folder}.disk || exit 77\n"
    script += f'"$@"; code=$?; cp -a {folder}.disk/. {folder}.after; exit $code'
    for ending in ("disk", "after"):
        Path(f"{folder}.{ending}").mkdir()
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run([*space, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode in (77, 127) or "unshare" in done.stderr:
        pytest.skip("this system lets nobody but root mount")
    return done


@pytest.mark.parametrize("room", [0.1, 2.0])
def test_a_full_disk_ends_in_one_error_and_the_old_output_stays(tmp_path, local_ray, room):
    """Room for a part of the work folder, or for all of it but not for the outputs as well; in input sizes."""
    raw = write_jsonl(
        tmp_path / "in" / "raw.jsonl", [r | {"text": f"{n} {r['text']}" * 20} for n, r in enumerate(sentences(800))]
    )
    words = ["-i", str(tmp_path / "in"), "-f", "raw.jsonl", "--similarity-threshold", "1"]
    out = tmp_path / "out"
    pipeline.prepare(
        PrepareConfig(input_dir=str(raw.parent), input_filename="raw.jsonl", output_filename=f"{out}/set.jsonl")
    )
    before = tree(out)
    size = sum(path.stat().st_size for path in out.rglob("*")) + int(room * raw.stat().st_size)
    again = command("prepare", *words, "-o", f"{out}.disk/set.jsonl", "--overwrite")
    done = on_a_small_disk(str(out), size, again)
    assert done.returncode == 1 and done.stdout == "", done.stderr[-3000:]
    assert "no space left" in done.stderr and "--resume" in done.stderr and "Traceback" not in done.stderr
    after = {name: digest for name, digest in tree(f"{out}.after").items() if not name.startswith(".set.work/")}
    assert after == before


def test_a_training_on_a_full_disk_ends_in_one_error_without_a_run(tmp_path, tiny_model):
    (tmp_path / "run").mkdir()
    dataset = write_dataset(tmp_path / "set", sentences(200), sentences(200))
    words = ["--input-hf-dataset", dataset, "--model-for-training-finetune", tiny_model, "--device", "cpu"]
    words += ["--epochs", "1", "--no-baselines", "--max-failures", "0", "--output-dir", f"{tmp_path}/run.disk/train"]
    done = on_a_small_disk(f"{tmp_path}/run", 4 << 20, command("train", *words))
    assert done.returncode == 1 and done.stdout == "", done.stderr[-3000:]
    assert done.stderr.splitlines()[-1].startswith("raypipe train: no space left")  # before it, the worker's own log
    left = {name for name in tree(tmp_path / "run.after") if not name.startswith("train/.ray/")}
    assert not left
