"""Paths and addresses alike: the real s3fs client against moto's S3 server on loopback."""

import json
import os
from pathlib import Path

import pytest
from conftest import killed_while_moving

from raypipe import ConfigError, storage
from raypipe.hub import Source
from raypipe.train import modeling

TREE = (
    "top.jsonl",
    "other.csv",
    "we[i]rd.jsonl",
    ".hidden.jsonl",
    "a/one.jsonl",
    "a/.two.jsonl",
    "a/b/three.jsonl",
    "a/b/c/four.jsonl",
    "a.b/five.jsonl",
    ".git/six.jsonl",
    "aa/one.jsonl",
)
PATTERNS = (
    "*.jsonl",
    "**/*.jsonl",
    "**/*",
    "**",
    "a/**",
    "a/**/*.jsonl",
    "a*/*.jsonl",
    "*/*.jsonl",
    "**/b/*.jsonl",
    "**/**/*.jsonl",
    "**/a/**/*.jsonl",
    "a/b/*",
    "we[i]rd.jsonl",
    "we[[]i]rd.jsonl",
    "?op.jsonl",
    "[!o]*.*",
    ".*.jsonl",
    ".git/*",
    "a/one.jsonl",
    "none*.jsonl",
    "nowhere/*.jsonl",
)


@pytest.fixture
def trees(s3, tmp_path):
    for name in TREE:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        storage.write_text(f"{s3}/tree/{name}", name)
    storage.write_text(f"{s3}/treeless.jsonl", "beside the folder")
    return str(tmp_path / "tree"), f"{s3}/tree"


def test_patterns_mean_the_same_in_a_folder_and_in_a_bucket(trees):
    local, remote = trees
    for pattern in PATTERNS:
        found = storage.match(local, pattern)
        assert storage.match(remote, pattern) == found and len(set(found)) == len(found), pattern
        assert storage.match(remote + "/", pattern) == storage.match(local, pattern), pattern
    assert storage.match(remote, "**/*.jsonl")[0] == "a.b/five.jsonl"
    assert storage.match(remote, "we[i]rd.jsonl") == ["we[i]rd.jsonl"], "a name is a name first"


def test_a_folder_marker_is_no_file(s3):
    import s3fs

    s3fs.S3FileSystem().pipe_file(f"{s3}/marked/".removeprefix("s3://"), b"")  # as the console makes them
    storage.write_text(f"{s3}/marked/x.jsonl", "x")
    assert storage.match(f"{s3}/marked", "*") == storage.match(f"{s3}/marked", "**") == ["x.jsonl"]


def test_what_others_write_and_remove_is_seen_at_once(s3):
    import s3fs

    other = s3fs.S3FileSystem(skip_instance_cache=True)
    place = f"{s3}/seen".removeprefix("s3://")
    storage.write_text(f"{s3}/seen/a.jsonl", "a")
    assert storage.match(f"{s3}/seen", "*") == ["a.jsonl"] and not storage.exists(f"{s3}/seen/b.jsonl")
    other.pipe_file(f"{place}/b.jsonl", b"b")
    assert storage.exists(f"{s3}/seen/b.jsonl") and storage.match(f"{s3}/seen", "*") == ["a.jsonl", "b.jsonl"]
    other.rm_file(f"{place}/a.jsonl")
    assert not storage.exists(f"{s3}/seen/a.jsonl") and storage.match(f"{s3}/seen", "*") == ["b.jsonl"]


def test_remove_takes_the_name_and_not_its_neighbours(trees):
    _, remote = trees
    for name in ("top.jsonl.bak", "a.jsonl"):
        storage.write_text(f"{remote}/{name}", "neighbour")
    for name in ("top.jsonl", "a", "never there"):
        storage.remove(f"{remote}/{name}")
        assert not storage.exists(f"{remote}/{name}")
    left = storage.match(remote, "**/*")
    assert {"top.jsonl.bak", "a.jsonl", "aa/one.jsonl", "a.b/five.jsonl"} <= set(left)
    assert not [name for name in left if name.startswith("a/")]


def test_up_and_down_again(s3, tmp_path):
    source = tmp_path / "made"
    (source / "inner").mkdir(parents=True)
    (source / "x.csv").write_bytes(b"x\r\n")
    (source / "inner" / "y.csv").write_bytes(b"y")
    for _ in range(2):  # the second time the folder is there
        storage.upload(str(source), f"{s3}/made")
    storage.upload(str(source / "x.csv"), f"{s3}/made/inner")  # a file of a folder's name does not fall into it
    assert storage.read_text(f"{s3}/made/inner/y.csv") == "y"
    storage.remove(f"{s3}/made/inner")
    storage.upload(str(source), f"{s3}/made")
    storage.download(f"{s3}/made", str(tmp_path / "back"))
    back = {p.relative_to(tmp_path / "back").as_posix(): p.read_bytes() for p in (tmp_path / "back").rglob("*.csv")}
    assert back == {"x.csv": b"x\r\n", "inner/y.csv": b"y"}
    assert storage.sha256(f"{s3}/made/x.csv") == storage.sha256(str(source / "x.csv"))


def test_an_overwrite_that_is_cut_off_has_no_mark(s3, tmp_path, monkeypatch):
    folder, names = f"{s3}/out", ["rows.jsonl", "set"]

    def write(word):
        with storage.staged(folder, "report.json", names) as stage:
            os.makedirs(f"{stage}/set")
            for name in ("rows.jsonl", "report.json", f"set/{word}.csv"):
                storage.write_text(f"{stage}/{name}", json.dumps(word))

    write("old")
    write("new")
    assert storage.match(folder, "**/*") == ["report.json", "rows.jsonl", "set/new.csv"], "nothing old is left"
    upload = storage.upload

    def broken(source, target):
        if target.endswith("/set"):
            raise OSError("the network is gone")
        upload(source, target)

    monkeypatch.setattr(storage, "upload", broken)
    with pytest.raises(OSError, match="network"):
        write("third")
    assert not storage.exists(f"{folder}/report.json")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="in the middle"), storage.staged(folder, "report.json", names):
        raise ValueError("in the middle")
    write("fourth")
    assert storage.read_text(f"{folder}/report.json") == storage.read_text(f"{folder}/set/fourth.csv") == '"fourth"'


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_moves_that_a_kill_broke_off_are_finished(tmp_path, moves):
    """Two outputs and the mark move; the kill comes before the first of these moves, the second or the third."""
    for word in ("old", "new"):
        for name in ("rows.jsonl", "report.json", f"set/{word}.csv"):
            storage.write_text(str(tmp_path / word / name), word)
    old, names = str(tmp_path / "old"), ["rows.jsonl", "set"]
    killed_while_moving(tmp_path / "new", tmp_path / "old", names, "report.json", moves)
    assert storage.is_half_moved(old, "report.json") and not storage.exists(f"{old}/report.json")
    storage.finish_moves(old, "report.json")
    assert not storage.is_half_moved(old, "report.json")
    assert storage.names_in(old) == ["report.json", *names]
    assert {storage.read_text(f"{old}/{name}") for name in storage.match(old, "**/*")} == {"new"}
    assert storage.names_in(f"{old}/set") == ["new.csv"]


def test_an_error_between_moves_leaves_what_can_be_finished_and_no_part_of_it_passes_for_whole(tmp_path, monkeypatch):
    folder, put = str(tmp_path), storage._put

    def broken(source, target):
        if target.endswith("report.json"):
            raise OSError("no room")
        put(source, target)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_put", broken)
    with pytest.raises(OSError, match="no room"), storage.staged(folder, "report.json", ["rows.jsonl"]) as stage:
        for name in ("rows.jsonl", "report.json"):
            storage.write_text(f"{stage}/{name}", "new")
    monkeypatch.undo()
    assert storage.is_half_moved(folder, "report.json") and storage.read_text(f"{folder}/rows.jsonl") == "new"
    with monkeypatch.context() as killed:
        killed.setattr(storage.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt), storage.staged(folder, "report.json", ["rows.jsonl"]):
            pass
    assert storage.exists(stage) and not storage.is_half_moved(folder, "report.json")


def test_buckets_that_are_not_there_are_refused_and_not_made(s3):
    storage.require_reachable(None, "/local", "relative", s3, f"{s3}/new/key")
    with pytest.raises(ConfigError, match="no bucket raypipe-typo"):
        storage.require_reachable(s3, "s3://raypipe-typo/out")
    assert not storage.exists("s3://raypipe-typo")
    with pytest.raises(FileNotFoundError):
        storage.write_text("s3://raypipe-typo/out/x", "x")
    assert not storage.exists("s3://raypipe-typo")


def test_a_model_at_an_address_is_copied_again_when_it_changed(s3):
    source = Source(f"{s3}/model")
    storage.write_text(f"{source.name}/config.json", "first")
    first = modeling.local_name(source)
    assert modeling.local_name(source) == first, "one copy while it stays as it is"
    storage.write_text(f"{source.name}/config.json", "other")  # of the same length
    assert Path(first, "config.json").read_text() == "first"
    assert Path(modeling.local_name(source), "config.json").read_text() == "other"


def test_what_is_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.is_uri("s3://b/k") and storage.is_uri("gs://b/k")
    assert not any(map(storage.is_uri, ("/a/b", "a:b", "C:/x", f"file://{tmp_path}/x", "local:///x")))
    assert storage.absolute(f"file://{tmp_path}/x") == storage.absolute("x") == str(tmp_path / "x")
    assert storage.absolute("s3://b/k/") == "s3://b/k" == storage.parent("s3://b/k/x.jsonl")
    assert storage.join("s3://b/k/", "x") == "s3://b/k/x"
