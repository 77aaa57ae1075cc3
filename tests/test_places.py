"""Files that no run of ours has made are not replaced unasked, and one run works in a place at a time."""

import multiprocessing
import os
import shutil
import time

import pytest
from conftest import sentences, write_dataset, write_jsonl
from waiting import PATIENCE_S

from raypipe import (
    AuditConfig,
    ConfigError,
    DataError,
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    SweepConfig,
    TrainConfig,
    pipeline,
)
from raypipe.pipeline.kept import kept_work


@pytest.fixture
def theirs(tmp_path):
    write_jsonl(tmp_path / "in" / "a.jsonl", sentences(4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jsonl").write_text("mine\n")
    yield tmp_path
    assert (tmp_path / "out" / "a.jsonl").read_text() == "mine\n"


def test_evaluate_refuses_a_file_that_is_there(theirs, tiny_model):
    where = {"input_dir": str(theirs / "in"), "filename": "a.jsonl"}
    with pytest.raises(ConfigError, match=r"the output exists: .*Remedy: --overwrite"):
        pipeline.evaluate(EvaluateConfig(model=tiny_model, output_classify_file=f"{theirs}/out/a.jsonl", **where))


def test_predict_into_a_folder_refuses_a_file_that_is_there(theirs, tiny_model):
    with pytest.raises(ConfigError, match=r"the output exists: .*Remedy: --overwrite"):
        pipeline.predict(PredictConfig(model=tiny_model, input=f"{theirs}/in/*.jsonl", output=f"{theirs}/out"))


@pytest.mark.parametrize("resume", [False, True])
def test_train_refuses_a_file_that_is_there(theirs, tiny_model, resume):
    data = write_dataset(theirs / "set", sentences(40), sentences(8))
    config = TrainConfig(
        input_hf_dataset=data,
        model_for_training_finetune=tiny_model,
        output_dir=f"{theirs}/run",
        output_classify_file=f"{theirs}/out/a.jsonl",
        resume=resume,
    )
    with pytest.raises(ConfigError, match=r"the output exists: .*Remedy: --overwrite"):
        pipeline.train(config)
    assert not (theirs / "run").exists()


@pytest.mark.parametrize("is_new", [True, False])
def test_data_that_cannot_be_held_out_leaves_nothing(tmp_path, tiny_model, local_ray, is_new):
    rows = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
    shared = {
        "input_hf_dataset": write_dataset(tmp_path / "set", rows, rows),
        "model_for_training_finetune": tiny_model,
        "device": "cpu",
        "overwrite": True,
    }
    for name, marked in (("trained", "run.json"), ("swept", "sweep.json")):
        if not is_new:
            write_jsonl(tmp_path / name / marked, [{"of": "an earlier run"}])
    with pytest.raises(DataError, match="no class with two training rows"):
        pipeline.train(TrainConfig(**shared, output_dir=f"{tmp_path}/trained"))
    with pytest.raises(DataError, match="no class with two training rows"):
        pipeline.sweep(SweepConfig(**shared, learning_rates=(1e-4, 2e-4), output_dir=f"{tmp_path}/swept"))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    marks = [] if is_new else ["swept/sweep.json", "trained/run.json"]
    assert left == sorted(["set/test.csv", "set/train.csv", *marks])


OUTPUTS = {  # the verb by its module, and the file that completes its output
    "preparing": "d_report.json",
    "exploring": "d_explore.json",
    "auditing": "d_audit.json",
    "evaluating": "d_metrics.json",
    "predicting": "d_summary.json",
    "training": "run.json",
    "sweeping": "sweep.json",
}


def begin(module, folder, model, **flags):
    """Run a verb on a few rows, with its output in ``folder``/out; ``flags`` are those of a training or sweep."""
    rows = sentences(80)
    write_jsonl(folder / "in" / "a.jsonl", rows)
    dataset = write_dataset(folder / "set", rows[:60], rows[60:])
    files, output = {"input_dir": str(folder / "in")}, f"{folder}/out/d.jsonl"
    trains = {"input_hf_dataset": dataset, "output_dir": str(folder / "out"), "device": "cpu"}
    trains |= {"model_for_training_finetune": model}
    match module:
        case "preparing" | "exploring":
            explores = module == "exploring"
            config = PrepareConfig(input_filename="a.jsonl", output_filename=output, explore=explores, **files)
            return pipeline.prepare(config)
        case "auditing":
            return pipeline.audit(AuditConfig(filename="a.jsonl", output_filename=output, **files))
        case "evaluating":
            return pipeline.evaluate(
                EvaluateConfig(model=model, filename="a.jsonl", output_classify_file=output, device="cpu", **files)
            )
        case "predicting":
            return pipeline.predict(
                PredictConfig(model=model, input=f"{folder}/in/a.jsonl", output=output, device="cpu")
            )
        case "training":
            return pipeline.train(TrainConfig(**trains, **flags))
        case "sweeping":
            return pipeline.sweep(SweepConfig(learning_rates=(1e-3, 1e-4), **trains, **flags))


@pytest.mark.parametrize("module", OUTPUTS)
def test_an_output_that_another_run_completes_while_this_one_waits_is_not_replaced(
    module, tmp_path, tiny_model, local_ray, monkeypatch
):
    mark = tmp_path / "out" / OUTPUTS[module]
    theirs = {mark: "{}", tmp_path / "out" / "d.jsonl": "theirs\n"}

    def another_run_ends(*_):
        mark.parent.mkdir(exist_ok=True)
        for path, content in theirs.items():
            path.write_text(content)

    monkeypatch.setattr(f"raypipe.pipeline.{module}.require_shared", another_run_ends)  # after the door
    with pytest.raises(ConfigError, match=r"exists: .*--overwrite to replace it"):
        begin(module, tmp_path, tiny_model)
    assert {path: path.read_text() for path in mark.parent.iterdir()} == theirs


@pytest.mark.parametrize("module", ["training", "sweeping"])
def test_what_another_run_completes_is_not_made_anew_by_resume(module, tmp_path, tiny_model, local_ray, monkeypatch):
    """The other run was still at work when this one asked at the door."""
    begin(module, tmp_path, tiny_model)
    mark, unfinished = tmp_path / "out" / OUTPUTS[module], tmp_path / "out" / ".ray"
    made = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    mark.unlink()
    if module == "training":  # a sweep keeps it when it has ended
        unfinished.mkdir()
        (unfinished / "plan.json").write_text("{}")

    def another_run_ends(*_):
        mark.write_bytes(made[mark])
        if module == "training":
            shutil.rmtree(unfinished, ignore_errors=True)

    monkeypatch.setattr(f"raypipe.pipeline.{module}.require_shared", another_run_ends)
    with pytest.raises(ConfigError, match=r"another run has completed .*--resume keeps it now"):
        begin(module, tmp_path, tiny_model, resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == made


def _enter_often(folder: str, start, counts) -> None:
    entered = refused = 0
    start.wait(timeout=PATIENCE_S)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            with kept_work(folder, "set", "hash", 1, resume=False) as work:
                os.makedirs(work)
                descriptor = os.open(f"{folder}/inside", os.O_CREAT | os.O_EXCL)  # FileExistsError: two are inside
                os.close(descriptor)
                os.unlink(f"{folder}/inside")
                entered += 1
        except ConfigError:
            refused += 1
    counts.put((entered, refused))


def test_of_many_runs_one_at_a_time_is_inside_and_the_others_are_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    counts, start = context.Queue(), context.Barrier(3)
    runs = [context.Process(target=_enter_often, args=(str(tmp_path), start, counts)) for _ in range(3)]
    for run in runs:
        run.start()
    found = [counts.get(timeout=PATIENCE_S) for _ in runs]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert all(entered for entered, _ in found) and sum(refused for _, refused in found)
    assert os.listdir(tmp_path) == []
