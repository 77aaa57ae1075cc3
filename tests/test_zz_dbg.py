"""A cluster that loses a machine under a submitted job, in each stage: the result is that of an undisturbed run.

Full memory and disks are in test_full.py, a Hub that fails in test_publishing.py and test_hub.py, a W&B that is not
there in test_leaks.py, drivers and workers that are killed in data/test_tasks.py, train/test_workers.py and
evaluate/test_scoring.py.
"""

import subprocess
import time

import pytest
import s3fs
from conftest import sentences, write_jsonl
from machines import machines

from raypipe import EvaluateConfig, PrepareConfig, TrainConfig, pipeline, storage

LOOK_EVERY_S = 0.3  # a look costs CPU that the machines need: the S3 server lives in this process
ROWS_FOR_FOUR_ACTORS = 12_500  # so that the actors of two machines fill the one that is left
ROW_FILES = ("set_train.jsonl", "set_test.jsonl", "set_removed.jsonl", "set_dataset/train.csv", "set_dataset/README.md")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, s3_server):
    """A head without CPUs and two workers, which share nothing but the object store."""
    with machines(tmp_path_factory.mktemp("faults"), (0, 2, 2)) as made:
        assert made.run("true")[0] == 0, "it takes jobs"
        yield made


@pytest.fixture
def place(s3, tmp_path):
    """The same rows in a folder and in a bucket."""
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(300))
    storage.upload(str(tmp_path / "in"), f"{s3}/in")
    return tmp_path, s3


def found(pattern):
    """How many objects fit, asked anew."""
    return len(s3fs.S3FileSystem(use_listings_cache=False).glob(pattern.removeprefix("s3://")))


def kill_once(job, cluster, ready, replaced=True):
    """Kill the worker machine that ``ready()`` names, once it does; another one takes its place, or none does."""
    deadline = time.monotonic() + 200
    while (ip := ready()) is None:
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()[0][-3000:]
        time.sleep(LOOK_EVERY_S)
    cluster.kill(ip)
    if replaced:
        cluster.add(2)


def end_of(job):
    """Wait for the job's good end; where it does not come, the log tells why."""
    try:
        log, _ = job.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        job.kill()
        log, _ = job.communicate()
    open("/tmp/wt/x/joblog","w").write(log)
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
    job = cluster.submit("python", "jobs/prepare.py", *words_of(**places, **flags, block_rows=16))

    def in_the_join():
        done = found(f"{bucket}/out/.set.work/*/join/*")
        return cluster.running("raypipe.data") if 15 <= done < 140 else None

    kill_once(job, cluster, in_the_join)
    end_of(job)
    assert rows_of(f"{bucket}/out") == rows_of(str(folder / "out"))
    assert not found(f"{bucket}/out/.*")


def dataset(folder, rows):
    """train.csv and test.csv of the rows, a tenth of them for the test."""
    for split, part in (("train", rows[: -len(rows) // 10]), ("test", rows[-len(rows) // 10 :])):
        lines = "".join(f'"{row["text"]}","{row["label"]}"\n' for row in part)
        (folder / "set").mkdir(exist_ok=True)
        (folder / "set" / f"{split}.csv").write_text(f"text,label\n{lines}")
    return str(folder / "set")


def test_machines_that_die_in_tokenising_and_in_training_cost_no_bit_of_the_weights(
    cluster, place, local_ray, tiny_model
):
    folder, bucket = place
    flags = {"device": "cpu", "precision": "fp32", "epochs": 4.0, "learning_rate": 1e-3, "checkpoint_minutes": 0.01}
    source = dataset(folder, sentences(450))
    same = {"input_hf_dataset": source, "model_for_training_finetune": tiny_model, "baselines": False, **flags}
    pipeline.train(TrainConfig(**same, output_dir=str(folder / "whole")))
    for name, path in (("set", source), ("model", tiny_model)):
        storage.upload(path, f"{bucket}/{name}")
    places = {"input_hf_dataset": f"{bucket}/set", "model_for_training_finetune": f"{bucket}/model"}
    words = [*words_of(**places, **flags, output_dir=f"{bucket}/run"), "--no-baselines"]
    job = cluster.submit("python", "jobs/train.py", *words)
    kill_once(job, cluster, lambda: cluster.running("MapBatches(encode)"))
    saved = f"{bucket}/run/.ray/ray/checkpoint_*/trainer_state.json"
    kill_once(job, cluster, lambda: cluster.running("TrainWorker") if found(saved) else None)
    end_of(job)
    weights = [
        storage.sha256(storage.join(run, "model/model.safetensors")) for run in (f"{bucket}/run", f"{folder}/whole")
    ]
    assert weights[0] == weights[1]
    assert not found(f"{bucket}/run/.ray/**")


def test_a_machine_that_dies_under_the_evaluation_changes_no_prediction(cluster, place, local_ray, tiny_model):
    folder, bucket = place
    rows = [
        {"text": f"{n} {row['text']}", "label": "entailment"} for n, row in enumerate(sentences(ROWS_FOR_FOUR_ACTORS))
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
