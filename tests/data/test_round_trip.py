"""What `datasets.load_dataset` reads, from the folder and from the Hub, is byte for byte what went in."""

import json
import os
import random
import subprocess
import sys

import pytest
from conftest import write_jsonl
from hub_server import HubServer
from waiting import PATIENCE_S

TOKEN = "hf_tokenOFtheROUNDtrip"
TEXTS = [
    *("NA", "N/A", "<NA>", "null", "None", "nan", "0", "1e5", "-inf", "true", "1.0", "007", "=1+1", "+1", "-x", "@x"),
    *('"', '""', '"quoted", comma', "'single'", "a\\b", "\\", '\\"', ",", ";", "#comment", "a,b\n,c", '"\r"'),
    *("two\nlines", "cr\r\nlf", "lone\rcr", "end one\n", "end two\r", "end three\r\n", "a\n\n\nb"),
    *("\nstart one", "\rstart two", " leading", "trailing ", "tab\there", "\ttab"),
    *("émoji 🙂", "👩\u200d👩\u200d👧 e\u0301 é", "\ufeffmark", "right \u200fto left", "日本語"),
    *("\x0bvertical", "\x1c\x1d\x85\u2028\u2029 separators", "\x1a substitute", "\x7f\x01"),
    *("nul\0in the middle", "\0x", "x\0"),
    "a very long text " * 150_000,  # 2.5 million characters
    "---\nconfigs: x\n---\n",
]
LABELS = ["NA", "0", "true", "None", "1e5", "1.0", '"', "a,b", "=1+1"]
COLUMNS = {"text": "string", "label": "string", "id": "string", "weight": "float64"}
READ = """
import json, sys
import datasets
loaded = datasets.load_dataset(sys.argv[1], token=sys.argv[2] or None)
rows = {split: loaded[split].to_list() for split in loaded}
kinds = {split: {name: f.dtype for name, f in loaded[split].features.items()} for split in loaded}
with open(sys.argv[3], "w") as file:
    json.dump([rows, kinds], file)
"""


@pytest.fixture(scope="module")
def prepared(local_ray, tmp_path_factory):
    """The odd texts, each kept: they come first, and with the whole text as its one feature only copies leave."""
    from raypipe import PrepareConfig, pipeline

    folder = tmp_path_factory.mktemp("round-trip")
    rng = random.Random(3)
    filler = ["".join(rng.choices("ab\"\r\n,\\ \t'", k=rng.randint(1, 12))) for _ in range(400)]
    rows = [{"text": text, "label": LABELS[n % len(LABELS)]} for n, text in enumerate(TEXTS)]
    rows += [{"text": text, "label": "many"} for text in filler if text.strip()]
    write_jsonl(folder / "in" / "raw.jsonl", [json.dumps(row) for row in rows])
    config = PrepareConfig(
        input_dir=str(folder / "in"),
        input_filename="raw.jsonl",
        output_filename=str(folder / "out" / "set.jsonl"),
        token_pattern=r"(?s)^.+$",
        similarity_threshold=1.0,
        reduce_majority_to=0.37,  # weights that are no round numbers
        license="cc0-1.0",
    )
    pipeline.prepare(config)
    splits = {}
    for split in ("train", "test"):
        lines = (folder / "out" / f"set_{split}.jsonl").read_bytes().decode().split("\n")[:-1]
        splits[split] = [json.loads(line) for line in lines]
    by_line = {int(row["id"].rsplit(":", 1)[1]): row for split in splits.values() for row in split}
    assert all((row["text"], row["label"]) == tuple(rows[line - 1].values()) for line, row in by_line.items())
    assert set(range(1, len(TEXTS) + 1)) <= set(by_line), "none of them is a copy of another"
    return folder / "out", splits


def read(name, scratch, **environment):
    environment |= {"HF_HOME": str(scratch / "hf"), "HF_HUB_DISABLE_XET": "1", "PATH": os.environ["PATH"]}
    token = TOKEN if "HF_ENDPOINT" in environment else ""
    command = [sys.executable, "-c", READ, name, token, str(scratch / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((scratch / "rows.json").read_text())


def check(found, splits):
    rows, kinds = found
    assert kinds == {"train": COLUMNS, "test": COLUMNS}
    for split, wanted in splits.items():
        for got, want in zip(rows[split], wanted, strict=True):
            assert got == want, want["id"]
    assert {row["label"] for row in rows["train"]} == {*LABELS, "many"}
    assert any(row["weight"] % 0.5 for row in rows["train"])


def test_from_the_folder(prepared, tmp_path):
    folder, splits = prepared
    check(read(str(folder / "set_dataset"), tmp_path, HF_HUB_OFFLINE="1"), splits)


def test_from_the_hub(prepared, tmp_path, monkeypatch):
    import huggingface_hub.constants

    from raypipe import hub

    folder, splits = prepared
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with HubServer(tokens={TOKEN}) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        hub.push(str(folder / "set_dataset"), "user/exact", "dataset", TOKEN, "message")
        check(read("user/exact", tmp_path, HF_ENDPOINT=server.url), splits)


def test_what_train_reads_is_the_same(prepared):
    from raypipe import splits as reader

    folder, splits = prepared
    loaded = reader.load(str(folder / "set_dataset"), "text", "label", None)
    for split, wanted in splits.items():
        assert getattr(loaded, split).to_dict("records") == wanted
