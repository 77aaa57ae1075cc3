"""prepare with its input and its output at s3://, as against local folders: the same bytes, the same rules."""

import gzip
import json
import os
from pathlib import Path

import pytest
from conftest import sentences

from raypipe import ConfigError, DataError, PrepareConfig, pipeline, storage

BYTES = ("train.jsonl", "test.jsonl", "removed.jsonl", "dataset/train.csv", "dataset/test.csv", "dataset/README.md")


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def places(s3, tmp_path, local_ray):
    """The same input in a folder and in a bucket: several files and formats, a map, a benchmark, a hidden file."""
    rows = sentences(240, seed=11)
    (tmp_path / "squeezed.gz").write_bytes(gzip.compress(lines(rows[120:180]).encode(), mtime=0))
    files = {
        "in/a.jsonl": lines(rows[:60]).encode(),
        "in/deep/er/b.jsonl": lines(rows[60:120]).encode(),
        "in/deep/c.jsonl.gz": (tmp_path / "squeezed.gz").read_bytes(),
        "in/we[i]rd.jsonl": lines(rows[180:]).encode(),
        "in/.hidden.jsonl": b"not to be read\n",
        "map.csv": b"old,new\ngarden,outdoors\n",
        "bench/x.jsonl": lines([{"text": rows[5]["text"]}, {"text": rows[70]["text"] + " !"}]).encode(),
    }
    for name, data in files.items():
        (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / name).write_bytes(data)
        storage.upload(str(tmp_path / "local" / name), f"{s3}/{name}")
    return str(tmp_path / "local"), s3


def config(place, **flags):
    settings = {
        "input_dir": f"{place}/in",
        "input_filename": "**/*.jsonl*",
        "output_filename": f"{place}/out/set.jsonl",
        "label_map": f"{place}/map.csv",
        "decontaminate": f"{place}/bench/*.jsonl",
        "similarity_threshold": 0.8,
    }
    return PrepareConfig(**(settings | flags))


def content(place):
    names = [f"{place}/out/set_{name}" for name in BYTES]
    assert all(map(storage.exists, names))
    return {name.rsplit("set_", 1)[1]: storage.sha256(name) for name in names}


def report(place):
    return json.loads(storage.read_text(f"{place}/out/set_report.json"))


def test_the_same_bytes_as_from_a_folder(places, monkeypatch):
    from raypipe.data import ingest

    local, remote = places
    monkeypatch.setattr(ingest, "PIECE_BYTES", 1500)  # byte ranges of an object as well
    for place in places:
        result = pipeline.prepare(config(place, block_rows=40))
        assert result.outputs["train"] == f"{place}/out/set_train.jsonl"
    assert content(remote) == content(local)
    there, here = report(remote), report(local)
    assert there["removed"]["decontaminated"] >= 2 and "outdoors" in there["classes"] and there["rows_in"] == 240
    for key in ("rows_in", "kept", "removed", "classes", "looks_private", "sha256"):
        assert there[key] == here[key]
    assert storage.match(f"{remote}/out", "**/*") == storage.match(f"{local}/out", "**/*")
    crossed = pipeline.prepare(config(remote, output_filename=f"{local}/crossed/set.jsonl"))
    assert Path(crossed.outputs["train"]).read_bytes() == Path(f"{local}/out/set_train.jsonl").read_bytes()


def test_resume_and_overwrite(places):
    _, place = places
    first = pipeline.prepare(config(place))
    with pytest.raises(ConfigError, match="complete output exists"):
        pipeline.prepare(config(place))
    assert pipeline.prepare(config(place, resume=True)).status == "skipped"
    with pytest.raises(ConfigError, match="another configuration"):
        pipeline.prepare(config(place, resume=True, seed=7))
    storage.write_text(f"{place}/out/set_dataset/stale.csv", "of another run")
    before = content(place)
    assert pipeline.prepare(config(place, overwrite=True, seed=7)).status == "done"
    assert content(place) != before and not storage.exists(f"{place}/out/set_dataset/stale.csv")
    pipeline.prepare(config(place, overwrite=True))
    assert content(place) == before and pipeline.prepare(config(place, resume=True)).counts == first.counts
    storage.write_text(f"{place}/in/a.jsonl", lines(sentences(61, seed=11)))
    with pytest.raises(ConfigError, match="changed input"):
        pipeline.prepare(config(place, resume=True))
    storage.remove(f"{place}/out/set_removed.jsonl")
    assert pipeline.prepare(config(place, resume=True, input_filename="**/*.jsonl*", overwrite=False)).status == "done"


@pytest.mark.parametrize("fails", ["set_train.jsonl", "set_report.html", "set_report.json"])
def test_a_kill_before_the_mark_leaves_no_complete_output(places, monkeypatch, fails):
    local, place = places
    pipeline.prepare(config(place, seed=1))  # an older complete output, to be overwritten
    upload = storage.upload

    def killed(source, target):
        if target.endswith(fails):
            raise KeyboardInterrupt
        upload(source, target)

    monkeypatch.setattr(storage, "upload", killed)
    with pytest.raises(KeyboardInterrupt):
        pipeline.prepare(config(place, overwrite=True))
    assert not storage.exists(f"{place}/out/set_report.json")
    monkeypatch.undo()
    assert pipeline.prepare(config(place, resume=True)).status == "done"
    pipeline.prepare(config(local))
    assert content(place) == content(local)


def test_a_push_from_a_bucket_and_to_a_bucket_is_recorded_there(places, monkeypatch):
    import huggingface_hub.constants
    from hub_server import HubServer

    from raypipe import hub

    _, place = places
    monkeypatch.setattr(hub, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_tokenOFtheBUCKETtest")
    with HubServer(tokens={"hf_tokenOFtheBUCKETtest"}) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        pipeline.prepare(config(place, target_hf_dataset="user/set"))
        for _ in range(2):
            pipeline.prepare(config(place, target_hf_dataset="user/set", resume=True))
        commits = server.repos["dataset", "user/set"].commits
    assert len(commits) == 2 and report(place)["published"]["commit"] == commits[-1].sha
    assert commits[-1].sha in storage.read_text(f"{place}/out/set_report.html")
    assert commits[-1].files["train.csv"].decode() == storage.read_text(f"{place}/out/set_dataset/train.csv")
    pipeline.prepare(config(place, target_hf_dataset=f"{place}/copy", resume=True))
    assert storage.match(f"{place}/copy", "*") == ["README.md", "test.csv", "train.csv"]
    assert report(place)["published"]["target"] == f"{place}/copy"


def test_addresses_that_lead_nowhere_are_refused_at_the_door(places):
    _, place = places
    for flag in ("input_dir", "label_map", "decontaminate"):
        with pytest.raises(ConfigError, match="no bucket raypipe-typo"):
            pipeline.prepare(config(place, **{flag: "s3://raypipe-typo/x.csv"}))
    for flags in ({"output_filename": "s3://raypipe-typo/o.jsonl"}, {"target_hf_dataset": "s3://raypipe-typo/o"}):
        with pytest.raises(ConfigError, match="no bucket raypipe-typo"):
            pipeline.prepare(config(place, **flags))
    with pytest.raises(DataError, match="no file"):
        pipeline.prepare(config(place, input_dir=f"{place}/nowhere"))
    with pytest.raises(ConfigError, match="cannot be read"):
        pipeline.prepare(config(place, label_map=f"{place}/nowhere.csv"))
    assert not storage.exists("s3://raypipe-typo") and not storage.exists(f"{place}/out")


def test_an_output_among_the_inputs_is_seen_through_slashes(places):
    _, place = places
    storage.write_text(f"{place}/in/set_train.jsonl", lines(sentences(20)))
    with pytest.raises(ConfigError, match="one of the input files"):
        pipeline.prepare(config(place, input_dir=f"{place}/in/", output_filename=f"{place}/in/set.jsonl"))


def test_rows_on_their_way_to_a_bucket_are_for_their_owner_alone(places):
    _, place = places
    with storage.staged(place, "report.json", ["rows.jsonl"]) as stage:
        assert os.stat(stage).st_mode & 0o077 == 0
        for name in ("rows.jsonl", "report.json"):
            storage.write_text(f"{stage}/{name}", "{}")
    assert storage.exists(f"{place}/report.json") and not os.path.exists(stage)


def test_workers_in_another_folder(prepare_rows, tmp_path, monkeypatch):
    """Relative names are those of the command, wherever Ray's workers run; as in a job with a working_dir."""
    import ray

    monkeypatch.chdir(tmp_path)
    assert ray.get(ray.remote(lambda: os.getcwd()).remote()) != os.getcwd()
    rows = sentences(80)
    (tmp_path / "map.csv").write_text("old,new\ngarden,outdoors\n")
    (tmp_path / "bench.jsonl").write_text(lines(rows[:1]))
    out = prepare_rows(
        rows,
        input_dir="in",
        output_filename="made/set.jsonl",
        label_map="map.csv",
        decontaminate="bench.jsonl",
        target_hf_dataset="./copy",
    )
    assert out["report"]["removed"]["decontaminated"] >= 1 and "outdoors" in out["report"]["classes"]
    assert (tmp_path / "copy" / "train.csv").read_bytes() == (tmp_path / "made/set_dataset/train.csv").read_bytes()
    assert out["result"].outputs["train"] == str(tmp_path / "made" / "set_train.jsonl")
