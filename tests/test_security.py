"""What comes from others stays data: models run no code, pages no scripts, names lead nowhere, ports are closed."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest
import torch
from conftest import sentences, write_dataset, write_jsonl
from safetensors.torch import load_file
from transformers import AutoTokenizer
from waiting import PATIENCE_S

from raypipe import (
    AuditConfig,
    ConfigError,
    DataError,
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    TrainConfig,
    pipeline,
)
from raypipe.hub import Source
from raypipe.train import modeling

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "../../outside",
    "]]><svg onload=alert(4)>",
)
FILE = "a\"><img src=x onerror=alert(5)> '&.jsonl"


@pytest.fixture
def classifier(tmp_path, tiny_model):
    """A classifier of its own for the test, with hostile labels."""
    folder = tmp_path / "classifier"
    modeling.new_classifier(Source(tiny_model), list(HOSTILE), 1, None).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "unpickled")


def scoring(verb, model, folder):
    """A command with a model on one row."""
    write_jsonl(folder / "rows.jsonl", [{"text": "a", "label": "b"}])
    if verb == "predict":
        return pipeline.predict, PredictConfig(
            model=model, input=f"{folder}/rows.jsonl", output=f"{folder}/out/p.jsonl", device="cpu"
        )
    return pipeline.evaluate, EvaluateConfig(
        model=model,
        input_dir=str(folder),
        filename="rows.jsonl",
        output_classify_file=f"{folder}/out/p.jsonl",
        device="cpu",
    )


def training(model, folder):
    dataset = write_dataset(folder / "set", sentences(40), sentences(40))
    config = TrainConfig(input_hf_dataset=dataset, model_for_training_finetune=model, device="cpu")
    return pipeline.train, dataclasses.replace(config, output_dir=str(folder / "out"))


@pytest.mark.parametrize("verb", ["predict", "evaluate", "train"])
def test_weights_as_a_pickle_are_refused_unread(tmp_path, local_ray, classifier, verb):
    tensors = load_file(classifier / "model.safetensors")
    (classifier / "model.safetensors").unlink()
    torch.save(tensors | {"evil": Payload(tmp_path / "evil")}, classifier / "pytorch_model.bin")
    made = training if verb == "train" else lambda *where: scoring(verb, *where)
    run, config = made(str(classifier), tmp_path)
    with pytest.raises(ConfigError, match=r"no weights in safetensors, only the pickle pytorch_model\.bin"):
        run(config)
    assert not (tmp_path / "evil").exists() and not (tmp_path / "out").exists()
    with open(tmp_path / "check", "wb") as file:
        pickle.dump(Payload(tmp_path / "evil"), file)
    pickle.loads((tmp_path / "check").read_bytes())
    assert (tmp_path / "evil").exists(), "the payload works"


def with_code(folder, model_type=None):
    """Give a model Python of its own, which writes a file beside itself when it is imported."""
    code = f"open({str(folder / 'ran')!r}, 'w')\nfrom transformers import *\n"
    code += "class Config(BertConfig): model_type = 'evil'\nclass Model(BertForSequenceClassification): pass\n"
    (folder / "evil.py").write_text(code)
    models = dict.fromkeys(("AutoModel", "AutoModelForSequenceClassification"), "evil.Model")
    maps = {
        "config.json": {"AutoConfig": "evil.Config", **models},
        "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", None]},
    }
    for name, auto_map in maps.items():
        config = json.loads((folder / name).read_text()) | {"auto_map": auto_map}
        if model_type and name == "config.json":
            config["model_type"] = model_type
        (folder / name).write_text(json.dumps(config))


def test_code_that_a_model_brings_is_not_run_where_it_can_do_without(tmp_path, local_ray, classifier, tiny_model):
    with_code(classifier)
    run, config = scoring("predict", str(classifier), tmp_path)
    assert run(config).counts["rows"] == 1
    modeling.new_classifier(Source(str(classifier)), ["a", "b"], 1, None)  # as train makes it
    modeling.blank_classifier(Source(str(classifier)), ["a", "b"], None)  # as a dry run makes it
    assert modeling.multiplied_parameters(modeling.load_config(Source(str(classifier)), None)) > 0
    assert not (classifier / "ran").exists()


def test_a_model_that_needs_its_own_code_is_refused_and_nobody_is_asked(tmp_path, classifier):
    with_code(classifier, "evil")
    write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}])
    words = ["--model", str(classifier), "--input", f"{tmp_path}/rows.jsonl", "--output", f"{tmp_path}/p.jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", "predict", *words, "--num-cpus", "1"],
        input="y\n" * 9,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2 and "contains custom code" in done.stderr and "Traceback" not in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (classifier / "ran").exists() and not (tmp_path / "p.jsonl").exists()


class Page(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_pages_run_nothing_and_outputs_stay_where_they_belong(tmp_path, local_ray, classifier):
    """Hostile labels, texts, ids and a hostile file name through prepare, explore, audit and evaluate."""
    rows = sentences(200)
    for place, row in enumerate(rows):
        row["label"] = HOSTILE[place % len(HOSTILE)]
        row["text"] += f" {HOSTILE[place * 7 % len(HOSTILE)]}" if place % 3 else ""
        row["id"] = "../../outside"
    write_jsonl(tmp_path / "in" / FILE, rows)
    files = {"input_dir": str(tmp_path / "in"), "input_filename": FILE}
    prepared = pipeline.prepare(PrepareConfig(**files, output_filename=f"{tmp_path}/out/set.jsonl"))
    explored = pipeline.prepare(PrepareConfig(**files, output_filename=f"{tmp_path}/out/all.jsonl", explore=True))
    audited = pipeline.audit(
        AuditConfig(input_dir=files["input_dir"], filename=FILE, output_filename=f"{tmp_path}/out/audit.jsonl")
    )
    evaluated = pipeline.evaluate(
        EvaluateConfig(
            model=str(classifier),
            input_hf_dataset=prepared.outputs["dataset"],
            output_classify_file=f"{tmp_path}/out/scored.jsonl",
            device="cpu",
        )
    )
    for result in (prepared, explored, audited, evaluated):
        page = Page(Path(result.outputs["page"]).read_text())
        assert page.tags.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base", "foreignobject"})
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not [value for name, value in page.attributes if name in ("href", "src") and ":" in (value or "")]
        assert any(text in page.text for text in HOSTILE[:2]), "shown, as text"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "classifier"}
    stems = {path.name.split("_")[0].split(".")[0] for path in (tmp_path / "out").iterdir()}
    assert stems == {"set", "all", "audit", "scored"}


def test_predictions_stay_in_their_folder(tmp_path, local_ray, classifier, s3):
    """Keys of an object store may be such as no folder has."""
    import s3fs

    outside = tmp_path / "outside.jsonl"
    s3fs.S3FileSystem().pipe_file(f"{s3.removeprefix('s3://')}/in/{outside}", b'{"text": "a"}\n')
    write_jsonl(outside.with_name("in") / "deep" / "x.jsonl", [{"text": "a"}])
    write_jsonl(tmp_path / "beside.jsonl", [{"text": "a"}])
    for pattern in (f"{s3}/in/**/*.jsonl", f"{tmp_path}/in/*/../../beside.jsonl"):
        config = PredictConfig(model=str(classifier), input=pattern, output=f"{tmp_path}/out", device="cpu")
        with pytest.raises(DataError, match="expected a path below"):
            pipeline.predict(config)
    assert not outside.exists() and not (tmp_path / "out").exists()


def test_a_browser_can_reach_nothing_of_a_local_ray(local_ray):
    """No dashboard with its job server, no client server. The ports that are open ask for the token of the session."""
    import ray

    context = ray.get_runtime_context()
    listening = [
        connection.laddr
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening and not {8265, 10001} & {place.port for place in listening}
    caller = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); print('inside')"
    own = {name: os.environ[name] for name in ("PATH", "HOME")} | {"RAY_AUTH_MODE": "token"}
    for more, is_inside in (({}, True), ({"RAY_AUTH_TOKEN": "0" * 32}, False)):
        called = subprocess.run(
            [sys.executable, "-c", caller, context.gcs_address],
            env=own | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert ("inside" in called.stdout) == is_inside, called.stderr[-2000:]
