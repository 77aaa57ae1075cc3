"""Training under Ray Train: two workers against one, and workers and drivers that are killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from alone import alone
from conftest import read_jsonl, sentences, write_dataset
from machines import titled
from waiting import PATIENCE_S, wait_until
from wandb_log import read_records

from raypipe import ConfigError, TrainConfig, pipeline


def dataset(folder, rows, held_out=50):
    return write_dataset(folder, rows[:-held_out], rows[-held_out:])


def logged(folder):
    """What W&B was given, by step: loss and norm of the gradient."""
    log = min(Path(folder, "wandb").glob("offline-run-*/*.wandb"))  # the later one has the test scores
    found = {}
    for record in read_records(log):
        if record.WhichOneof("record_type") == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            if "loss" in items:
                found[record.history.step.num] = items["loss"], items["grad_norm"]
    return found


def test_two_workers_one_of_them_killed_learn_what_one_learns(tmp_path, local_ray, still_model):
    """Two gloo workers, a model of two classes, downsampled and weighted; each loss and gradient against one worker.

    The range of workers is one that the two CPUs fill; after the SIGKILL both go on from the last checkpoint.
    """
    rows = sentences(200, labels=("billing", "billing", "travel"))
    config = TrainConfig(
        input_hf_dataset=dataset(tmp_path / "set", rows),
        model_for_training_finetune=still_model,
        device="cpu",
        precision="fp32",
        epochs=3,
        learning_rate=1e-3,
        num_workers="1:2",
        checkpoint_minutes=0.0,
        downsample=True,
        class_weights="balanced",
        output_dir=str(tmp_path / "run"),
        output_classify_file=str(tmp_path / "results" / "rows.jsonl"),
        baselines=False,
        hf_model_name=str(tmp_path / "copy"),
        wandb_output=str(tmp_path / "curves.html"),
    )
    killed = []
    killer = threading.Thread(target=kill_worker, args=(tmp_path / "run", 6, killed, 1))
    killer.start()
    result = pipeline.train(config)
    killer.join()
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert len(killed) == 1 and (run["workers"]["least"], run["workers"]["most"]) == (1, 2)
    smaller = sum(row["label"] == "travel" for row in rows[:150])
    assert run["rows"]["train"] + run["rows"]["validation"] == 2 * smaller
    assert run["workers"]["count"] == 2 and result.metrics["top1"] > 0.5
    assert len(read_jsonl(tmp_path / "results/rows.jsonl")) == 50
    assert (tmp_path / "copy/model.safetensors").is_file() and "<svg" in (tmp_path / "curves.html").read_text()
    one, two = alone(config, tmp_path / "alone"), logged(tmp_path / "run")
    expected = {e["step"]: (e["loss"], e["grad_norm"]) for e in one["history"] if "loss" in e}
    assert two.keys() == expected.keys() and len(two) >= 15
    for step, (loss, norm) in expected.items():
        assert two[step][0] == pytest.approx(loss, abs=1e-5) and two[step][1] == pytest.approx(norm, rel=1e-3), step
    assert run["validation"]["best_macro_f1"] == pytest.approx(one["best_macro_f1"])


def weights(folder):
    return hashlib.sha256(Path(folder, "model", "model.safetensors").read_bytes()).hexdigest()


def steps_saved(folder):
    """Optimizer steps of the checkpoints that are in the storage of an unfinished training."""
    saved = []
    for state in Path(folder, ".ray").glob("ray/checkpoint_*/trainer_state.json"):
        try:
            saved.append(json.loads(state.read_text())["global_step"])
        except (OSError, ValueError, KeyError):  # just being written or removed
            continue
    return saved


def wait_until_saved(folder, step):
    wait_until(lambda: max(steps_saved(folder), default=0) >= step, every_s=0.02)


def kill_worker(folder, step, killed, most=9):
    """SIGKILL training workers once a checkpoint of this step or a later one is saved."""
    wait_until_saved(folder, step)
    for process in titled("TrainWorker", psutil.Process())[:most]:
        killed.append(process.pid)
        process.kill()


def test_sigkill_of_driver_and_worker_leaves_the_weights_of_the_undisturbed_run(tmp_path, local_ray, tiny_model):
    """Float32 and one CPU worker: bit by bit. The driver dies first; of the resumed training, the worker."""
    import ray

    rng = random.Random()
    flags = {
        "input_hf_dataset": dataset(tmp_path / "set", sentences(700)),
        "model_for_training_finetune": tiny_model,
        "device": "cpu",
        "precision": "fp32",
        "epochs": 4.0,
        "learning_rate": 1e-3,
        "checkpoint_minutes": 0.01,
    }
    common = {**flags, "baselines": False}
    whole = alone(TrainConfig(**common), tmp_path / "whole", threads=2)  # as the one worker on two CPUs has
    steps, run = whole["steps"], tmp_path / "run"
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    driver = subprocess.Popen(
        [sys.executable, "-m", "raypipe.cli", "train", *words, "--no-baselines", "--output-dir", str(run)],
        env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": ":".join(sys.path)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until_saved(run, rng.randrange(1, steps // 4))
    time.sleep(rng.random() / 2)
    os.killpg(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL and not (run / "run.json").exists()
    with pytest.raises(ConfigError, match="--resume with another configuration"):
        pipeline.train(TrainConfig(**common | {"learning_rate": 2e-3}, output_dir=str(run), resume=True))

    killed = []
    later = max(steps_saved(run)) + rng.randrange(1, steps // 4)
    killer = threading.Thread(target=kill_worker, args=(run, later, killed))
    killer.start()
    resumed = pipeline.train(TrainConfig(**common, output_dir=str(run), resume=True))
    killer.join()
    assert killed and resumed.status == "done"
    assert weights(run) == weights(tmp_path / "whole/out")
    assert not (run / ".ray").exists() and not list(run.rglob("*.pt"))
    again = json.loads((run / "run.json").read_text())
    expected = {name: whole[name] for name in ("best_macro_f1", "steps", "epochs")} | whole["calibration"]
    assert expected.items() <= again["validation"].items()
    assert set(logged(run)) >= {e["step"] for e in whole["history"] if "loss" in e}, "the log of the killed parts too"


def test_one_cpu_serves_data_training_and_evaluation_in_turn(tmp_path, tiny_model):
    """A Ray of its own with one CPU; where one part kept it from the next, the command would not end."""
    words = ["--input-hf-dataset", dataset(tmp_path / "set", sentences(120)), "--output-dir", str(tmp_path / "run")]
    words += ["--model-for-training-finetune", tiny_model, "--device", "cpu", "--epochs", "1", "--num-cpus", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", "train", *words],
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["status"] == "done" and "tfidf_logreg_top1" in answer["metrics"]
    assert json.loads((tmp_path / "run/run.json").read_text())["workers"]["cpus_each"] == 1


def test_on_its_own_ray_a_trainer_lacks_the_one_callback_that_asks_the_dashboard():
    """It is left out by its name in Ray's own code; a Ray that calls it otherwise shows here."""
    from ray.train.torch import TorchTrainer

    from raypipe.train.local_trainer import LocalTrainer

    stock, own = (
        [type(c).__name__ for c in kind(print)._create_default_callbacks()] for kind in (TorchTrainer, LocalTrainer)
    )
    assert [name for name in stock if name not in own] == ["PlacementGroupCleanerCallback"]
    assert set(own) < set(stock)
