"""The commands as users type them, in processes of their own, against a Hub on loopback."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import hear_interrupts, read_jsonl, sentences, write_jsonl
from hub_server import HubServer
from waiting import PATIENCE_S

from raypipe import ConfigError, PredictConfig
from raypipe.runtime import session

ROOT = Path(__file__).parent.parent
TOKEN = "hf_classicTOKENofthetest"


def run(
    arguments: list[str], folder: Path, hub: HubServer | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """A command in ``folder``; standard output and error apart."""
    environment = os.environ | {"HF_HOME": str(folder / "hf"), **more}
    environment |= {"HF_ENDPOINT": hub.url} if hub else {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict:
    """The JSON object that is all of standard output."""
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_classic_commands_verbatim(tmp_path, tiny_model):
    """The two classic commands as written, with the Hub endpoint and the base model swapped."""
    write_jsonl(tmp_path / "DIR" / "raw_data.jsonl", [{"body": r["text"], "topic": r["label"]} for r in sentences(300)])
    with HubServer(tokens={TOKEN}) as hub:
        prepare = run(
            [
                f"{ROOT}/jobs/prepare.py",
                "-i",
                "DIR",
                "-f",
                "raw_data.jsonl",
                "-o",
                "OUT/normalized.jsonl",
                "-t",
                "body",
                "-s",
                "topic",
                "-ht",
                TOKEN,
                "-thf",
                "user/dataset",
                "--reduce-majority-to",
                "0.5",
            ],
            tmp_path,
            hub,
        )
        prepared = answer(prepare)
        assert prepared["outputs"]["published"].startswith("user/dataset@")
        repository = hub.repos["dataset", "user/dataset"]
        assert repository.private
        pushed = repository.commits[-1].files
        assert {"train.csv", "test.csv", "README.md"} <= set(pushed)
        for name in ("train.csv", "test.csv"):
            assert pushed[name] == (tmp_path / "OUT/normalized_dataset" / name).read_bytes()
        train = run(
            [
                f"{ROOT}/jobs/train.py",
                "--hf-access-token",
                TOKEN,
                "--wandb-access-token",
                "T",
                "--model-for-training-finetune",
                tiny_model,
                "--input-hf-dataset",
                "user/dataset",
                "--hf-model-name",
                "user/model",
                "--subject-column",
                "label",
                "--text",
                "text",
                "--output-classify-file",
                "results/evaluation_results.jsonl",
            ],
            tmp_path,
            hub,
        )
        trained = answer(train)
        model = hub.repos["model", "user/model"].commits[-1].files
        assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(model)
        assert set(json.loads(model["config.json"])["label2id"]) == {"billing", "travel", "garden", "kitchen"}
        record = json.loads(Path(trained["outputs"]["run"], "run.json").read_text())
        assert record["dataset"]["commit"] == repository.commits[-1].sha
    rows = read_jsonl(tmp_path / "results/evaluation_results.jsonl")
    test = read_jsonl(tmp_path / "OUT/normalized_test.jsonl")
    assert [(r["text"], r["label"]) for r in rows] == [(r["text"], r["label"]) for r in test]
    made = [p for p in tmp_path.rglob("*") if p.is_file() and "hf/" not in str(p)]
    leaks = [p for p in made if TOKEN.encode() in p.read_bytes()]
    assert not leaks and TOKEN not in prepare.stderr + train.stderr + train.stdout


def test_an_interrupted_command_ends_with_130_and_one_line(tmp_path):
    command = [sys.executable, "-m", "raypipe.cli", "predict", "--model", "any"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, preexec_fn=hear_interrupts, **pipes) as process:
        process.stdin.write("x" * (1 << 20))  # more than a pipe holds: written once the command reads
        for _ in range(10):  # Python drops one that comes while it collects garbage
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(3) == 130
                break
        assert process.stderr.read().endswith("raypipe predict: interrupted; --resume goes on where it can\n")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(40))
    command = [sys.executable, "-m", "raypipe.cli", "prepare", "-i", "in", "-f", "raw.jsonl", "-o", "out/x.jsonl"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*command, "--dry-run"], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_errors_have_one_message_and_exit_code_2(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(20))
    common = ["-m", "raypipe.cli", "prepare", "-i", "in", "-f", "raw.jsonl", "-o", "out/x.jsonl"]
    for more, words in (
        (["--similarity-threshold", "0"], ["--similarity-threshold 0.0", "> 0"]),
        (["-t", "txt"], ["'txt'", "did you mean 'text'"]),
        (["-thf", "user/dataset"], ["user/dataset", "without a token", "HF_TOKEN"]),
        (["--explore", "-thf", "./published"], ["--explore with --target-hf-dataset", "one of them"]),
        (["--config", "missing.toml"], ["missing.toml"]),
    ):
        done = run([*common, *more], tmp_path)
        assert done.returncode == 2 and done.stdout == "", done.stderr
        assert all(word in done.stderr for word in words) and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_predict_reads_standard_input_and_writes_rows_to_standard_output(tmp_path, tiny_model):
    lines = "".join(json.dumps({"text": row["text"]}) + "\n" for row in sentences(12))
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", "predict", "--model", tiny_model, "--top-k", "1"],
        cwd=tmp_path,
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 12 and {row["predictions"][0]["label"] for row in rows} <= {"entailment", "not_entailment"}
    assert json.loads(done.stderr.strip().splitlines()[-1])["counts"]["rows"] == 12


def test_a_cluster_that_asks_for_a_token_is_no_traceback(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(20))
    words = ["prepare", "-i", "in", "-f", "raw.jsonl", "-o", "out/set.jsonl", "--address", "127.0.0.1:6379"]
    done = run(["-m", "raypipe.cli", *words], tmp_path, RAY_AUTH_MODE="token", HOME=str(tmp_path))
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert "no use of a Ray cluster at 127.0.0.1:6379" in " ".join(done.stderr.split())
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr and not (tmp_path / "out").exists()


def test_a_cluster_of_another_version_is_no_traceback(monkeypatch):
    def differs(**_):
        raise RuntimeError("Version mismatch: The cluster was started with: Ray: 2.59.0")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", differs)
    with (
        pytest.raises(ConfigError, match=r"no use of .* at other:6379: Version mismatch"),
        session(PredictConfig(model="m", input="i", address="other:6379")),
    ):
        pass


def test_doctor_answers(tmp_path):
    found = answer(run(["-m", "raypipe.cli", "doctor"], tmp_path))
    assert found["counts"]["fail"] == 0
    assert {"ray", "gpu", "packages"} <= set(found["metrics"])


def test_the_upload_of_a_job_is_small(tmp_path):
    """What `--working-dir .` sends, by Ray's own packing: the package, the jobs and the pins; no data, no runs."""
    from ray._private.runtime_env.packaging import create_package

    copy = tmp_path / "raypipe"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.rstrip("\0").split("\0"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    for name in ("data/raw.jsonl", "raw/a.jsonl", "clean/a.jsonl", "audit/a.jsonl", "out/a.jsonl", "runs/first/model"):
        write_jsonl(copy / name, [{"text": "private"}])
    create_package(str(copy), tmp_path / "upload.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "upload.zip") as upload:
        names = upload.namelist()
    package = [path for path in (ROOT / "raypipe").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert (tmp_path / "upload.zip").stat().st_size < sum(path.stat().st_size for path in package) + 100_000
    others = {name for name in names if not name.startswith(("raypipe/", "jobs/"))}
    assert others <= {".gitignore", ".rayignore", "constraints.txt", "pyproject.toml"}
    assert {"jobs/prepare.py", "raypipe/data/dedup.py", "raypipe/report/templates/base.html"} <= set(names)
