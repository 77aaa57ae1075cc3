"""Sweeps on a real Ray Tune over a real Ray Train: the choice, what asha stops, what is given back, a kill."""

import json
import time
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from conftest import sentences

from raypipe import SweepConfig, pipeline


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep-set")
    rows = sentences(400)
    for split, part in (("train", rows[:-40]), ("test", rows[-40:])):
        pd.DataFrame(part).to_csv(folder / f"{split}.csv", index=False)
    return str(folder)


def config_of(dataset, model, folder, **flags):
    common = {"device": "cpu", "precision": "fp32", "epochs": 2.0, "batch_size": 16, "evaluations_per_epoch": 2}
    settings = {"input_hf_dataset": dataset, "model_for_training_finetune": model, "output_dir": str(folder)}
    return SweepConfig(**(settings | common | flags))


def leftovers():
    """Placement groups that still hold something, and live actors."""
    import ray
    from ray.util.state import list_actors, list_placement_groups

    here = {"address": ray.get_runtime_context().gcs_address, "limit": 1000}
    groups = [group for group in list_placement_groups(**here) if group.state != "REMOVED"]
    actors = [actor for actor in list_actors(**here) if actor.state != "DEAD"]
    return len(groups), sorted(actor.class_name for actor in actors), ray.available_resources().get("CPU", 0)


def test_the_best_rate_is_found_and_feeds_train(tmp_path, local_ray, still_model, dataset):
    """Four rates of which one learns; all of them share two CPUs, and give them back."""
    before = leftovers()
    rates = (1e-7, 2e-3, 1e-6, 1e-5)
    config = config_of(dataset, still_model, tmp_path / "sweep", learning_rates=rates, epochs=3.0)
    result = pipeline.sweep(config)
    record = json.loads(Path(result.outputs["sweep"]).read_text())
    assert result.metrics["learning_rate"] == 2e-3 == record["best"]["learning_rate"]
    assert record["at_once"] == 2
    assert record["best"]["status"] == "finished" and record["best"]["best"]["macro_f1"] > 0.9
    assert [trial["number"] for trial in record["trials"]] == [1, 2, 3, 4]
    assert "stopped" in {trial["status"] for trial in record["trials"]}  # by asha, before the end
    for trial in record["trials"]:
        epochs = [seen["epoch"] for seen in trial["history"]]
        assert epochs == sorted(set(epochs)) and (trial["status"] == "finished") == (epochs[-1] == 3.0)
        assert trial["best"]["macro_f1"] == max(seen["macro_f1"] for seen in trial["history"])
        assert trial["best"]["macro_f1_low"] <= trial["best"]["macro_f1"] <= trial["best"]["macro_f1_high"]
    table = tomllib.loads(Path(result.outputs["best"]).read_text())["train"]
    assert (table["learning_rate"], table["epochs"]) == (2e-3, 3.0) and "learning_rates" not in table
    deadline = time.monotonic() + 60
    while leftovers() != before and time.monotonic() < deadline:
        time.sleep(1)
    assert leftovers() == before

    again = pipeline.sweep(
        config_of(dataset, still_model, tmp_path / "sweep", learning_rates=rates, epochs=3.0, resume=True)
    )
    assert again.status == "skipped" and again.metrics == result.metrics
