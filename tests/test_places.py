"""Files that no run of ours has made are not replaced unasked, and one run works in a place at a time."""

import multiprocessing
import os
import time

import pytest
from conftest import sentences, write_jsonl

from raypipe import ConfigError, EvaluateConfig, PredictConfig, pipeline
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


def _enter_often(folder: str, start, counts) -> None:
    entered = refused = 0
    start.wait(timeout=120)
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
    found = [counts.get(timeout=180) for _ in runs]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert all(entered for entered, _ in found) and sum(refused for _, refused in found)
    assert os.listdir(tmp_path) == []
