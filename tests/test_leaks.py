"""Laws 8 and 9 over a whole run as a job: where planted secrets and marked texts may and may not be found.

The job reaches a Hub that is there, and a W&B that is not.
"""

import json
import re
import socket
import subprocess

import pytest
from conftest import sentences, write_jsonl
from hub_server import HubServer
from machines import RAY, machines
from waiting import PATIENCE_S

HF_TOKEN = "hf_plantedSECRETofTHEleakTEST"
WANDB_KEY = "0a1b2c3d4e5f60718293" + "fedcba9876543210beef"
MARK = "qzmarkedword"
EXTRA = "qzextracolumn"  # in a column that is not carried
SET = """
[prepare]
input_dir = "{folder}/in"
input_filename = "raw.jsonl"
target_hf_dataset = "user/leaktest"

[train]
model_for_training_finetune = "{model}"
hf_model_name = "user/leakmodel"
device = "cpu"
epochs = 1
"""


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, tiny_model):
    """`run` as a job with all that it leaves: folder, Hub, the cluster's folder, log and the job's metadata."""
    folder = tmp_path_factory.mktemp("leaks")
    rows = [row | {"text": f"{row['text']} {MARK}{n}", "more": EXTRA} for n, row in enumerate(sentences(160))]
    write_jsonl(folder / "in" / "raw.jsonl", [*rows, *rows[:9], f'{{"text": "{MARK} broken', {"text": MARK}])
    (folder / "run.toml").write_text(SET.format(folder=folder, model=tiny_model))
    with socket.socket() as closed, HubServer(tokens={HF_TOKEN}) as hub:
        closed.bind(("127.0.0.1", 0))  # nothing listens: W&B is not to be had
        outside = {"HF_ENDPOINT": hub.url, "WANDB_BASE_URL": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        secrets = {"HF_TOKEN": HF_TOKEN, "WANDB_API_KEY": WANDB_KEY, "WANDB_MODE": "online"}
        with machines(folder, (2,), HF_HOME=str(folder / "hf"), **outside, **secrets) as cluster:
            code, log = cluster.run(
                "python", "jobs/run.py", "--config", f"{folder}/run.toml", "--run-dir", f"{folder}/run"
            )
            assert code == 0, log[-3000:]
            jobs = subprocess.run(
                [RAY, "job", "list", "--address", cluster.dashboard],
                env=cluster.environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
            ray_files = {p.relative_to(cluster.logs).as_posix(): p.read_bytes() for p in _files(cluster.logs)}
            assert "SUCCEEDED" in jobs.stdout and '"command": "run"' in log
            yield folder, hub, log, jobs.stdout, ray_files, cluster


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_secret_is_nowhere(whole_run):
    folder, hub, log, jobs, ray_files, _ = whole_run
    places = {"log": log.encode(), "jobs": jobs.encode(), **ray_files}
    places |= {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}
    places |= {f"{r.id}/{n}": data for r in hub.repos.values() for c in r.commits for n, data in c.files.items()}
    assert {"run/train/run.json", "user/leakmodel/README.md", "run/index.html"} <= set(places)
    assert any("job-driver" in name for name in places), "the cluster's own logs are among them"
    for secret in (HF_TOKEN, WANDB_KEY):
        assert not [name for name, data in places.items() if secret.encode() in data]


def test_row_text_is_where_the_user_sent_it_and_nowhere_else(whole_run):
    folder, hub, log, jobs, ray_files, _ = whole_run
    assert MARK not in log + jobs
    assert not [name for name, data in ray_files.items() if MARK.encode() in data and "spilled" not in name]
    holding = {
        p.relative_to(folder / "run").as_posix() for p in _files(folder / "run") if MARK.encode() in p.read_bytes()
    }
    outputs = r"prepare/dataset_(train|test|removed)\.jsonl|prepare/dataset_dataset/(train|test)\.csv"
    pages = r"prepare/dataset_report\.html|evaluate/predictions\.jsonl|evaluate/predictions_report\.html"
    assert holding and not [name for name in holding if not re.fullmatch(f"{outputs}|{pages}", name)]
    (model,) = [repo for repo in hub.repos.values() if repo.type == "model"]
    assert not [name for name, data in model.commits[-1].files.items() if MARK.encode() in data]
    (dataset,) = [repo for repo in hub.repos.values() if repo.type == "dataset"]
    texts = {name for name, data in dataset.commits[-1].files.items() if MARK.encode() in data}
    assert texts == {"train.csv", "test.csv"}
    assert not [path for path in _files(folder / "run") if EXTRA.encode() in path.read_bytes()]


def test_the_training_was_logged_offline_as_no_wandb_answered(whole_run):
    folder, _, log, *_ = whole_run
    assert "W&B is not to be had" in log and "logging offline" in log
    assert len(list((folder / "run/train/wandb").glob("offline-run-*/*.wandb"))) == 2, (
        "the training and its test scores"
    )
    assert json.loads((folder / "run/train/run.json").read_text())["scores"]


def test_a_literal_token_is_refused_and_a_refused_job_is_a_failed_submission(whole_run, tmp_path):
    *_, cluster = whole_run
    flags = ["-i", str(tmp_path), "-f", "none.jsonl", "-o", f"{tmp_path}/d.jsonl", "-ht", "hf_literalTOKENinajob"]
    code, log = cluster.run("python", "jobs/prepare.py", *flags)
    assert code != 0 and "literal token inside a Ray job" in log
