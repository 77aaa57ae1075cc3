"""A cluster of several machines: what they would not all see is refused, doctor proves them, and some die.

A job that loses a machine, in each stage, has the result of an undisturbed run. Full memory and disks are in
test_full.py, a Hub that fails in test_publishing.py and test_hub.py, a W&B that is not there in test_leaks.py, drivers
and workers that are killed in data/test_tasks.py, train/test_workers.py and evaluate/test_scoring.py.
"""

import fnmatch
import json
import re
import subprocess
import sys

import pytest
from alone import alone
from conftest import sentences, write_dataset, write_jsonl
from machines import machines
from waiting import PATIENCE_S, wait_until

from raypipe import EvaluateConfig, PrepareConfig, TrainConfig, pipeline, storage

ROWS_FOR_TWO_ACTORS = 6_200
ROW_FILES = ("set_train.jsonl", "set_test.jsonl", "set_removed.jsonl", "set_dataset/train.csv", "set_dataset/README.md")

# The commands share one driver, to spare their starts: the session's local Ray lives in the process of the tests.
COMMANDS = """
import json, sys, time
import ray
from raypipe import ConfigError, PrepareConfig, pipeline

ray.init(address=sys.argv[1], logging_level="WARNING", log_to_driver=False)
while len(ray.nodes()) < 3:
    time.sleep(0.5)
answers = [len(ray.nodes())]
for settings in json.loads(sys.argv[2]):
    try:
        answers.append(pipeline.prepare(PrepareConfig(**settings)).outputs)
    except ConfigError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, s3_server):
    """A head without CPUs and two workers, which share nothing but the object store."""
    with machines(tmp_path_factory.mktemp("machines"), (0, 1, 1)) as made:
        assert made.run("true")[0] == 0, "it takes jobs"
        yield made


def test_local_paths_are_refused_and_addresses_work(cluster, s3, tmp_path):
    rows = sentences(120)
    write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
    storage.upload(str(tmp_path / "in"), f"{s3}/in")
    remote = {"input_dir": f"{s3}/in", "input_filename": "*.jsonl", "output_filename": f"{s3}/out/set.jsonl"}
    remote |= {"block_rows": 20}
    refused = {
        "in": {"input_dir": "in"},
        "out": {"output_filename": "out/set.jsonl"},
        "in/raw.jsonl": {"decontaminate": "in/raw.jsonl"},
        "copy": {"target_hf_dataset": "./copy"},
        f"{tmp_path}/file": {"output_filename": f"file://{tmp_path}/file/set.jsonl"},
    }
    settings = [remote | flags for flags in refused.values()] + [remote]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, cluster.address, json.dumps(settings)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tmp_path,
        env=cluster.environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    nodes, *refusals, outputs = json.loads(done.stdout.splitlines()[-1])
    assert nodes == 3
    for path, refusal in zip(refused, refusals, strict=True):
        assert path in refusal and "on a cluster of 3 machines" in refusal and "use an s3:// or gs://" in refusal
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    report = json.loads(storage.read_text(outputs["report"]))
    assert report["rows_in"] == len(rows) and storage.exists(outputs["train"])


def test_doctor_proves_the_cluster(cluster, s3, tmp_path):
    command = [sys.executable, "-m", "raypipe.cli", "doctor", "--cluster"]
    command += ["--address", cluster.address, "--storage", s3]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path, env=cluster.environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])["metrics"]
    assert found["machines"]["finding"].startswith("2 x 1 CPUs, 0 GPUs")
    assert "the same on 2 machine(s)" in found["equal versions"]["finding"]
    assert found["workers talk"] == {"verdict": "ok", "finding": "an all-reduce between 2 worker(s) by gloo"}
    assert re.fullmatch(r"written on [\d.]+, read on 1 machine\(s\)", found["shared storage"]["finding"])
    assert found["gpus"]["verdict"] == "warn"


BUSY = """
import json, ray
from raypipe import cluster_check
ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
class Training:
    def begun(self): pass
training = ray.remote(num_cpus=0, num_gpus=1)(Training).remote()
ray.get(training.begun.remote())
cluster_check.TALK_TIMEOUT_S = 3
print(json.dumps(cluster_check._talk(cluster_check._machines())))
"""


def test_gpus_that_others_hold_are_no_fault_of_the_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    verdict, finding = json.loads(done.stdout.splitlines()[-1])
    assert verdict == "warn" and "the GPUs of 1 of 1 machines are at work" in finding


def test_versions_that_differ_are_named():
    from raypipe.cluster_check import compare

    same = {"ray": "2.60.0", "torch": "2.13.0"}
    assert compare({"10.0.0.1": same, "10.0.0.2": dict(same)})[0] == "ok"
    verdict, finding = compare({"10.0.0.1": same, "10.0.0.2": same, "10.0.0.3": {"ray": "2.59.0", "torch": "2.13.0"}})
    assert verdict == "FAIL" and finding.startswith("ray 2.59.0 on 10.0.0.3, 2.60.0 elsewhere")
    assert "torch" not in finding


@pytest.fixture
def place(s3, tmp_path):
    """The same rows in a folder and in a bucket."""
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(300))
    storage.upload(str(tmp_path / "in"), f"{s3}/in")
    return tmp_path, s3


def found(pattern):
    """How many objects fit: a look into the store, which lives in this process, where a request would cost its CPU."""
    from moto.s3.models import s3_backends

    bucket, _, name = pattern.removeprefix("s3://").partition("/")
    (store,) = (one for kinds in s3_backends.values() for one in kinds.values() if bucket in one.buckets)
    return len(fnmatch.filter(list(store.buckets[bucket].keys), name))


def kill_once(job, cluster, ready, replaced=True):
    """Kill the worker machine that ``ready()`` names, once it does; another one takes its place, or none does."""
    try:
        ip = wait_until(ready, going_on=lambda: job.poll() is None, every_s=0.3)
    except AssertionError:
        job.kill()
        raise AssertionError(job.communicate()[0][-6000:]) from None
    cluster.kill(ip)
    if replaced:
        cluster.add(1)


def end_of(job):
    """Wait for the job's good end; where it does not come, the log tells why."""
    try:
        log, _ = job.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        job.kill()
        log, _ = job.communicate()
    assert job.returncode == 0, log[-6000:]


def words_of(**flags):
    """Flags as a command line has them."""
    return [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def rows_of(folder):
    return {name: storage.read_bytes(storage.join(folder, name)) for name in ROW_FILES}


def test_a_machine_that_dies_in_the_join_changes_no_byte(cluster, place, local_ray):
    folder, bucket = place
    flags = {"input_filename": "raw.jsonl", "similarity_threshold": 0.7}
    whole = PrepareConfig(input_dir=str(folder / "in"), output_filename=f"{folder}/out/set.jsonl", **flags)
    pipeline.prepare(whole)
    places = {"input_dir": f"{bucket}/in", "output_filename": f"{bucket}/out/set.jsonl"}
    job = cluster.submit("python", "jobs/prepare.py", *words_of(**places, **flags, block_rows=24))

    def in_the_join():
        done = found(f"{bucket}/out/.set.work/*/join/*")
        return cluster.running("raypipe.data") if 8 <= done < 60 else None  # of 91

    kill_once(job, cluster, in_the_join)
    end_of(job)
    assert rows_of(f"{bucket}/out") == rows_of(str(folder / "out"))
    assert not found(f"{bucket}/out/.*")


def test_machines_that_die_in_tokenising_and_in_training_cost_no_bit_of_the_weights(
    cluster, place, local_ray, tiny_model
):
    folder, bucket = place
    flags = {"device": "cpu", "precision": "fp32", "epochs": 4.0, "learning_rate": 1e-3, "checkpoint_minutes": 0.01}
    rows = sentences(450)
    source = write_dataset(folder / "set", rows[:-45], rows[-45:])
    alone(TrainConfig(input_hf_dataset=source, model_for_training_finetune=tiny_model, **flags), folder / "whole")
    for name, path in (("set", source), ("model", tiny_model)):
        storage.upload(path, f"{bucket}/{name}")
    places = {"input_hf_dataset": f"{bucket}/set", "model_for_training_finetune": f"{bucket}/model"}
    words = [*words_of(**places, **flags, output_dir=f"{bucket}/run"), "--no-baselines"]
    job = cluster.submit("python", "jobs/train.py", *words)
    kill_once(job, cluster, lambda: cluster.running("MapBatches(encode)"))
    saved = f"{bucket}/run/.ray/ray/checkpoint_*/trainer_state.json"
    kill_once(job, cluster, lambda: cluster.running("TrainWorker") if found(saved) else None)
    end_of(job)
    weights = f"{bucket}/run/model/model.safetensors", f"{folder}/whole/out/model/model.safetensors"
    assert storage.sha256(weights[0]) == storage.sha256(weights[1])
    assert not found(f"{bucket}/run/.ray/**")


def test_a_machine_that_dies_under_the_evaluation_changes_no_prediction(cluster, place, local_ray, tiny_model):
    folder, bucket = place
    rows = [
        {"text": f"{n} {row['text']}", "label": "entailment"} for n, row in enumerate(sentences(ROWS_FOR_TWO_ACTORS))
    ]
    write_jsonl(folder / "rows" / "rows.jsonl", rows)
    for name, path in (("rows", str(folder / "rows")), ("model", tiny_model)):
        storage.upload(path, f"{bucket}/{name}")
    flags = {"filename": "rows.jsonl", "device": "cpu", "precision": "fp32", "eval_batch_size": 250}
    whole = EvaluateConfig(
        model=tiny_model, input_dir=str(folder / "rows"), output_classify_file=f"{folder}/p.jsonl", **flags
    )
    pipeline.evaluate(whole)
    places = {"model": f"{bucket}/model", "input_dir": f"{bucket}/rows", "output_classify_file": f"{bucket}/p.jsonl"}
    job = cluster.submit("python", "jobs/evaluate.py", *words_of(**places, **flags))
    scored = f"{bucket}/.p.work/*/fp32/*.arrow"

    def scoring():
        return cluster.running("MapBatches(Predictor)") if found(scored) >= 3 else None

    kill_once(job, cluster, scoring, replaced=False)
    end_of(job)
    assert storage.read_bytes(f"{bucket}/p.jsonl") == (folder / "p.jsonl").read_bytes()
