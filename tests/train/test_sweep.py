"""Sweeps on a real Ray Tune over a real Ray Train: the choice, what asha stops, what is given back, a kill."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest
from conftest import hear_interrupts, sentences, write_dataset
from waiting import PATIENCE_S, wait_until

from raypipe import ConfigError, SweepConfig, pipeline
from raypipe.pipeline.sweeping import choices_of
from raypipe.train import sweep as tuning
from raypipe.train.finetune import Workers


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rows = sentences(400)
    return write_dataset(tmp_path_factory.mktemp("sweep-set"), rows[:-40], rows[-40:])


def config_of(dataset, model, folder, **flags):
    common = {"device": "cpu", "precision": "fp32", "epochs": 2.0, "batch_size": 16, "evaluations_per_epoch": 2}
    settings = {"input_hf_dataset": dataset, "model_for_training_finetune": model, "output_dir": str(folder)}
    return SweepConfig(**(settings | common | flags))


LASTING = {"PlacementGroupCleaner", "_StatsActor", "_AutoscalingCoordinatorActor"}


def leftovers():
    """Placement groups that still hold something, live actors, and CPUs that are free.

    Not Ray Train's cleaners: with two clusters on a machine they may ask the other one, and wait. Nor the two actors
    that Ray Data has in each session, from its first use on.
    """
    import ray
    from ray._private.state import actors  # the public one asks the dashboard
    from ray.util import placement_group_table

    groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    names = sorted(actor["ActorClassName"] for actor in actors().values() if actor["State"] != "DEAD")
    names = [name for name in names if name not in LASTING]
    return len(groups), names, ray.available_resources().get("CPU", 0)


def test_the_best_rate_is_found_and_feeds_train(tmp_path, local_ray, still_model, dataset):
    """Four rates of which one learns and starts first; they share two CPUs, and give them back."""
    rates, seed = (2e-3, 1e-7, 1e-6, 1e-5), 1
    config = config_of(dataset, still_model, tmp_path / "sweep", learning_rates=rates, seed=seed)
    assert choices_of(config, {still_model: 2.0}, False)[0].learning_rate == 2e-3
    before = leftovers()
    result = pipeline.sweep(config)
    record = json.loads(Path(result.outputs["sweep"]).read_text())
    assert result.metrics["learning_rate"] == 2e-3 == record["best"]["learning_rate"]
    assert record["at_once"] == 2 and record["workers"]["cpus_each"] == 1
    assert record["best"]["status"] == "finished" and record["best"]["best"]["macro_f1"] > 0.2
    assert [trial["number"] for trial in record["trials"]] == [1, 2, 3, 4]
    assert result.counts["stopped"] >= 1  # by asha, before the end
    for trial in record["trials"]:
        epochs = [seen["epoch"] for seen in trial["history"]]
        assert epochs == sorted(set(epochs)) and (trial["status"] == "finished") == (epochs[-1] == 2.0)
        assert trial["best"]["macro_f1"] == max(seen["macro_f1"] for seen in trial["history"])
        assert trial["best"]["macro_f1_low"] <= trial["best"]["macro_f1"] <= trial["best"]["macro_f1_high"]
    table = tomllib.loads(Path(result.outputs["best"]).read_text())["train"]
    assert (table["learning_rate"], table["epochs"]) == (2e-3, 2.0) and "learning_rates" not in table
    wait_until(lambda: leftovers() == before)
    again = pipeline.sweep(dataclasses.replace(config, resume=True))
    assert again.status == "skipped" and again.metrics == result.metrics


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_sweep_runs_no_ended_trial_again(tmp_path, still_model, dataset, by):
    """In a Ray of its own with one CPU. Ctrl-C ends it with 130, and not as if all trials had ended."""
    folder, rates = tmp_path / "sweep", ["0.001", "0.002"]
    flags = {"--input-hf-dataset": dataset, "--model-for-training-finetune": still_model, "--output-dir": str(folder)}
    flags |= {"--device": "cpu", "--precision": "fp32", "--epochs": "2", "--batch-size": "16", "--num-cpus": "1"}
    flags |= {"--scheduler": "none", "--evaluations-per-epoch": "1", "--seed": "1"}
    command = [sys.executable, "-m", "raypipe.cli", "sweep", *(word for pair in flags.items() for word in pair)]
    command += ["--learning-rates", *rates]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command, preexec_fn=hear_interrupts, start_new_session=True, **pipes)

    def an_end_is_known():
        return any("TERMINATED" in path.read_text() for path in folder.glob(".ray/tune/experiment_state-*.json"))

    wait_until(an_end_is_known, going_on=lambda: first.poll() is None)
    ended = {path: path.stat().st_mtime_ns for path in folder.glob(".ray/tune/*/result.json") if _ended(path)}
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(by)
    if by == signal.SIGKILL:
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    assert first.wait(PATIENCE_S) == (130 if by == signal.SIGINT else -by)
    assert ended and not (folder / "sweep.json").exists()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    assert (counts["trials"], counts["finished"]) == (2, 2)
    assert {path: path.stat().st_mtime_ns for path in ended} == ended


def _ended(path):
    """Whether a trial's file of results has its last epoch."""
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    return bool(lines) and json.loads(lines[-1]).get("epoch", 0) >= 2


def test_a_sweep_that_was_refused_goes_on_with_other_flags(tmp_path, local_ray, still_model, dataset):
    flags = {"learning_rates": (1e-3, 3e-3), "scheduler": "none", "device": "auto"}
    refused = config_of(dataset, still_model, tmp_path / "sweep", **flags, max_cpu_hours=1e-6)
    with pytest.raises(ConfigError, match=r"no trial of 2 has a score .training on the CPU would take"):
        pipeline.sweep(refused)
    again = pipeline.sweep(dataclasses.replace(refused, max_cpu_hours=2.0, resume=True))
    assert again.status == "done" and again.counts == {"trials": 2, "finished": 2}
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert all(len(trial["history"]) == 4 and trial["reason"] is None for trial in record["trials"])


def test_choices_are_all_combinations_in_a_seeded_order():
    config = SweepConfig(
        input_hf_dataset="set",
        learning_rate_range=(1e-5, 1e-3),
        num_samples=3,
        try_epochs=(1.0, 2.0),
        try_token_budgets=(512, 1024),
    )
    made = choices_of(config, {"a": 5.0, "b": 2.0}, False)
    assert sorted(choice.number for choice in made) == list(range(1, 25))
    assert len({(c.model, c.learning_rate, c.epochs, c.token_budget) for c in made}) == 24
    assert all(1e-5 <= choice.learning_rate <= 1e-3 for choice in made)
    assert made == choices_of(config, {"a": 5.0, "b": 2.0}, False)
    assert made != choices_of(dataclasses.replace(config, seed=1), {"a": 5.0, "b": 2.0}, False)
    plain = SweepConfig(input_hf_dataset="set", learning_rates=(1e-4, 1e-4, 2e-4))
    assert [
        (c.learning_rate, c.epochs) for c in sorted(choices_of(plain, {"a": 5.0}, False), key=lambda c: c.number)
    ] == [
        (1e-4, 5.0),
        (2e-4, 5.0),
    ]


@pytest.mark.parametrize(
    ("nodes", "workers", "most", "at_once", "each"),
    [([2], 1, None, 2, 1), ([8] * 4, 1, None, 3, 8), ([4, 4], 1, 1, 1, 4), ([8, 8], 2, 1, 1, 8), ([1], 1, None, 1, 1)],
)
def test_no_worker_of_a_trial_crosses_machines(nodes, workers, most, at_once, each):
    shared = tuning.share_out_of(nodes, Workers(workers, workers, False, 1.0, None), 3, most)
    assert (shared[0], shared[1].cpus_each) == (at_once, each)


@pytest.mark.parametrize(("epochs", "evaluations"), [(0.1, 4), (0.4, 1), (2.0, 4)])
def test_asha_takes_a_part_of_an_epoch(epochs, evaluations):
    assert tuning.asha(epochs, evaluations) is not None
