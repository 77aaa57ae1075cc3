"""Real parts, small: one local Ray for the session, a tiny real model, texts with planted duplicates."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ |= {"HF_HUB_DISABLE_XET": "1", "WANDB_MODE": "offline", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE"}  # threads of several trainings at a time sleep where they would spin
os.environ |= {"RAY_worker_niceness": "0"}  # workers do not wait for what only watches, of several Rays at a time
# The object store of the fixture ``s3``: in the environment before any Ray starts, so that workers find it as well.
with socket.socket() as _free:
    _free.bind(("127.0.0.1", 0))
    S3_PORT = _free.getsockname()[1]
os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{S3_PORT}", "AWS_DEFAULT_REGION": "us-east-1"}
os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_CACHE = tempfile.TemporaryDirectory(prefix="raypipe-test-cache-")  # not the user's; it leaves with the session
os.environ["RAYPIPE_CACHE"] = _CACHE.name
for name in ("HF_TOKEN", "WANDB_API_KEY", "RAY_ADDRESS"):
    os.environ.pop(name, None)

LONGEST = {"test_machines.py", "test_workers.py", "test_sweep.py", "test_full.py", "test_leaks.py", "test_tasks.py"}
LONGEST |= {"test_road.py", "test_gloo.py"}

TOPICS = {
    "billing": "invoice refund charge card payment fee balance statement overdraft receipt",
    "travel": "flight hotel luggage passport boarding gate train ticket visa delay",
    "garden": "soil seed prune compost rose hedge watering lawn greenhouse tulip",
    "kitchen": "oven recipe simmer knife flour whisk garlic roast saucepan butter",
}


def sentences(rows: int, seed: int = 0, labels: tuple[str, ...] = tuple(TOPICS)) -> list[dict[str, Any]]:
    """Labelled texts that a small model can tell apart, a tenth of them copies or near-copies of earlier ones."""
    rng = random.Random(seed)
    common = ["please", "tell", "me", "about", "the", "new", "old", "my", "your", "when", "how", "can", "should", "we"]
    made: list[dict[str, Any]] = []
    while len(made) < rows:
        if made and rng.random() < 0.1:
            earlier = rng.choice(made)
            made.append({"text": earlier["text"] + rng.choice(["", " ", "!", " again"]), "label": earlier["label"]})
            continue
        label = rng.choice(labels)
        words = rng.choices(TOPICS[label].split(), k=rng.randint(3, 6)) + rng.choices(common, k=rng.randint(2, 5))
        rng.shuffle(words)
        made.append({"text": " ".join(words), "label": label})
    return made


def plain_scores(model_folder: str, texts: list[str], max_length: int = 512) -> tuple[Any, list[str]]:
    """The slow obvious way: one row at a time, no padding, float32; by the temperature of the model's config.json."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, dtype=torch.float32).eval()
    temperature = json.loads(Path(model_folder, "config.json").read_text())["raypipe_temperature"]
    rows = []
    for text in texts:
        encoded = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            rows.append((model(**encoded).logits[0] / temperature).softmax(-1).numpy())
    return np.array(rows), [model.config.id2label[i] for i in range(model.config.num_labels)]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def write_dataset(folder: Path, train: Any, test: Any) -> str:
    """A folder with train.csv and test.csv, by its name."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(train).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(test).to_csv(folder / "test.csv", index=False)
    return str(folder)


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_bytes().decode().split("\n") if line]


def hear_interrupts() -> None:
    """The preexec_fn of a process that takes SIGINT, which a test in the background ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def killed_while_moving(new: Path, target: Path, names: list[str], mark: str, moves: int) -> None:
    """A process puts the files of ``new`` in their place as outputs of ``target``, and dies after some moves."""
    script = """
import os, shutil, signal, sys
from raypipe import storage
new, target, mark, moves, *names = sys.argv[1:]
put, done = storage._put, []
def put_and_die(source, place):
    if len(done) == int(moves):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(put(source, place))
storage._put = put_and_die
with storage.staged(target, mark, names) as stage:
    shutil.copytree(new, stage, dirs_exist_ok=True)
"""
    words = [sys.executable, "-c", script, str(new), str(target), mark, str(moves), *names]
    assert subprocess.run(words).returncode == -signal.SIGKILL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that at the end no process waits long for another one."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two CPUs that all tests of the session share; the verbs use it as it is."""
    import ray

    from raypipe.runtime import quiet_data

    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="WARNING", log_to_driver=False)
    quiet_data()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[None]:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=S3_PORT, verbose=False)
    server.start()
    yield
    server.stop()


@pytest.fixture
def s3(s3_server: None) -> Iterator[str]:
    """The address of a bucket of its own for the test, on a real S3 server that lives in this process."""
    import uuid

    import s3fs

    bucket = f"raypipe-{uuid.uuid4().hex[:12]}"
    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir(bucket)
    yield f"s3://{bucket}"
    store.rm(bucket, recursive=True)


@pytest.fixture(scope="session")
def tokenizer_folder() -> str:
    from raypipe.demo import encoder_path

    return encoder_path()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: str) -> str:
    """A random BERT of two layers, 64 wide, with a real tokenizer and a two-class NLI head to be dropped."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = str(tmp_path_factory.mktemp("tiny-model"))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        num_labels=2,
        id2label={0: "entailment", 1: "not_entailment"},
        label2id={"entailment": 0, "not_entailment": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def still_model(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model without dropout: what it learns does not depend on random numbers."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = str(tmp_path_factory.mktemp("still-model"))
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    AutoModelForSequenceClassification.from_pretrained(tiny_model, **none).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture
def prepare_rows(tmp_path: Path, local_ray: None) -> Callable[..., dict[str, Any]]:
    """Run prepare over rows with the given flags; returns its files, read."""
    from raypipe import PrepareConfig, pipeline

    runs = iter(range(100))

    def go(rows: list[Any] | None = None, **flags: Any) -> dict[str, Any]:
        folder = tmp_path / f"prepared-{next(runs)}"
        if rows is not None:
            write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
        settings = {
            "input_dir": str(tmp_path / "in"),
            "input_filename": "raw.jsonl",
            "output_filename": str(folder / "set.jsonl"),
        }
        result = pipeline.prepare(PrepareConfig(**(settings | flags)))
        return {
            "result": result,
            "folder": folder,
            "train": read_jsonl(result.outputs["train"]),
            "test": read_jsonl(result.outputs["test"]),
            "removed": read_jsonl(result.outputs["removed"]),
            "report": json.loads(Path(result.outputs["report"]).read_text()),
        }

    return go
