"""Two raylets at two addresses, as two machines: what their workers would not both see is refused, doctor sees them."""

import json
import re
import subprocess
import sys

import pytest
from conftest import sentences, write_jsonl
from machines import machines

# The commands share one driver, to spare their starts: the session's local Ray lives in the process of the tests.
COMMANDS = """
import json, sys, time
import ray
from raypipe import ConfigError, PrepareConfig, pipeline

ray.init(address=sys.argv[1], logging_level="WARNING", log_to_driver=False)
deadline = time.monotonic() + 60
while len(ray.nodes()) < 2 and time.monotonic() < deadline:
    time.sleep(0.5)
answers = [len(ray.nodes())]
for settings in json.loads(sys.argv[2]):
    try:
        answers.append(pipeline.prepare(PrepareConfig(**settings)).outputs)
    except ConfigError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory):
    """A cluster of 127.0.0.1 and 127.0.0.2."""
    with machines(tmp_path_factory.mktemp("machines"), (1, 1)) as cluster:
        yield cluster.address, cluster.environment


def test_local_paths_are_refused_and_addresses_work(two_machines, s3, tmp_path):
    from raypipe import storage

    address, environment = two_machines
    rows = sentences(120)
    write_jsonl(tmp_path / "in" / "raw.jsonl", rows)
    storage.upload(str(tmp_path / "in"), f"{s3}/in")
    remote = {"input_dir": f"{s3}/in", "input_filename": "*.jsonl", "output_filename": f"{s3}/out/set.jsonl"}
    remote |= {"block_rows": 20}
    refused = {
        "in": {"input_dir": "in"},
        "out": {"output_filename": "out/set.jsonl"},
        "in/raw.jsonl": {"decontaminate": "in/raw.jsonl"},
        "copy": {"target_hf_dataset": "./copy"},
        f"{tmp_path}/file": {"output_filename": f"file://{tmp_path}/file/set.jsonl"},
    }
    settings = [remote | flags for flags in refused.values()] + [remote]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, address, json.dumps(settings)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    nodes, *refusals, outputs = json.loads(done.stdout.splitlines()[-1])
    assert nodes == 2
    for path, refusal in zip(refused, refusals, strict=True):
        assert path in refusal and "on a cluster of 2 machines" in refusal and "use an s3:// or gs://" in refusal
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    report = json.loads(storage.read_text(outputs["report"]))
    assert report["rows_in"] == len(rows) and storage.exists(outputs["train"])


def test_doctor_proves_the_cluster(two_machines, s3, tmp_path):
    address, environment = two_machines
    command = [sys.executable, "-m", "raypipe.cli", "doctor", "--cluster", "--address", address, "--storage", s3]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])["metrics"]
    assert found["machines"]["finding"].startswith("2 x 1 CPUs, 0 GPUs")
    assert "the same on 2 machine(s)" in found["equal versions"]["finding"]
    assert found["workers talk"] == {"verdict": "ok", "finding": "an all-reduce between 2 worker(s) by gloo"}
    assert re.fullmatch(r"written on [\d.]+, read on 1 machine\(s\)", found["shared storage"]["finding"])
    assert found["gpus"]["verdict"] == "warn"


def test_versions_that_differ_are_named():
    from raypipe.cluster_check import compare

    same = {"ray": "2.60.0", "torch": "2.13.0"}
    assert compare({"10.0.0.1": same, "10.0.0.2": dict(same)})[0] == "ok"
    verdict, finding = compare({"10.0.0.1": same, "10.0.0.2": same, "10.0.0.3": {"ray": "2.59.0", "torch": "2.13.0"}})
    assert verdict == "FAIL" and finding.startswith("ray 2.59.0 on 10.0.0.3, 2.60.0 elsewhere")
    assert "torch" not in finding
