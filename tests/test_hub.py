"""Names to folders, repositories and commits; pushes that survive a moody Hub, with the real client on loopback."""

import subprocess
import sys

import pytest
from hub_server import HubServer

from raypipe import ConfigError, StageError, hub

TOKEN = "hf_tokenOFtheHUBtest"


@pytest.fixture
def server(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(hub, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with HubServer(tokens={TOKEN}) as running:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.url)
        yield running


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text('"text","label"\n"NA","0"\n')
    (tmp_path / "set" / "README.md").write_text("---\ntags: [raypipe]\n---\n# card\n")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user/name", True),
        ("name", True),
        ("user/name@v1", True),
        ("./user/name", False),
        ("/abs/path", False),
        ("s3://bucket/key", False),
        ("a/b/c", False),
        ("../x", False),
    ],
)
def test_which_names_are_repositories(name, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.is_repository(name) is meant
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "name").mkdir()
    assert not hub.is_repository("user/name"), "an existing folder wins"


def test_a_push_is_one_commit_to_a_private_repository(server, folder):
    where = hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    repository = server.repos["dataset", "user/set"]
    assert repository.private and where == f"user/set@{repository.commits[-1].sha}"
    assert repository.commits[-1].files["train.csv"] == (folder / "train.csv").read_bytes()
    assert sum(method == "POST" and "/commit/" in path for method, path in server.requests) == 1
    assert hub.resolve("user/set", "dataset", TOKEN) == hub.Source("user/set", repository.commits[-1].sha)


@pytest.mark.parametrize("status", [500, 429, 503])
def test_a_push_is_tried_again_on_transient_errors(server, folder, status):
    server.fail_next(2, status=status, match="/commit/")
    where = hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    assert where.endswith(server.repos["dataset", "user/set"].commits[-1].sha)


def test_a_push_that_cannot_work_ends_in_one_clear_error(server, folder):
    server.fail_next(100, status=500, match="/commit/")
    with pytest.raises(StageError, match=r"push to user/set failed.*--resume") as failure:
        hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    assert TOKEN not in str(failure.value)


def test_a_push_to_a_folder_copies(folder, tmp_path):
    assert hub.push(str(folder), str(tmp_path / "copy"), "dataset", None, "message") == str(tmp_path / "copy")
    assert (tmp_path / "copy" / "train.csv").read_bytes() == (folder / "train.csv").read_bytes()


def test_targets_are_checked_at_the_door(server, tmp_path):
    hub.check_target("user/set", "dataset", TOKEN)
    hub.check_target(str(tmp_path), "dataset", None)
    with pytest.raises(ConfigError, match="without a token"):
        hub.check_target("user/set", "dataset", None)
    with pytest.raises(ConfigError, match="does not know this token") as refusal:
        hub.check_target("user/set", "dataset", "hf_anUNKNOWNtoken")
    assert "hf_anUNKNOWNtoken" not in str(refusal.value)


def test_sources_that_lead_nowhere(server, folder, tmp_path):
    hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    with pytest.raises(ConfigError, match="no revision 'v9'"):
        hub.resolve("user/set@v9", "dataset", TOKEN)
    with pytest.raises(ConfigError, match="no dataset 'user/none'"):
        hub.resolve("user/none", "dataset", TOKEN)
    with pytest.raises(ConfigError, match="no dataset 'user/set'"):
        hub.resolve("user/set", "dataset", None)  # private, and seen with a token only
    with pytest.raises(ConfigError, match="no model folder"):
        hub.resolve(str(tmp_path / "nothing"), "model", None)


def test_a_hub_that_cannot_be_reached_is_one_clear_error(server, folder, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="does not answer"):
        hub.resolve("user/set", "dataset", TOKEN)
    with pytest.raises(ConfigError, match="cannot be reached"):
        hub.check_target("user/set", "dataset", TOKEN)
    with pytest.raises(StageError, match="push to user/set failed"):
        hub.push(str(folder), "user/set", "dataset", TOKEN, "message")


def test_a_second_push_to_an_address_does_not_nest(folder):
    import fsspec

    for _ in range(2):
        hub.push(str(folder), "memory://bucket/set", "dataset", None, "message")
    assert {p.rsplit("/bucket/", 1)[1] for p in fsspec.filesystem("memory").find("/bucket")} == {
        "set/train.csv",
        "set/README.md",
    }


def test_what_load_dataset_gives_back_is_what_was_prepared(server, folder, tmp_path):
    """The card's YAML makes the real `datasets` client read "NA", "null" and "0" as the strings they are."""
    from raypipe.report.cards import dataset_card

    report = {
        "splits": {"train": 3, "test": 1},
        "classes": {"NA": {"train": 2, "test": 1}, "0": {"train": 1, "test": 0}},
        "rows_in": 4,
        "kept": 4,
        "removed": {},
        "analyzer": "word n-grams 1 to 1",
        "config": {"similarity_threshold": 0.9, "seed": 42},
        "config_hash": "0" * 16,
    }
    (folder / "README.md").write_text(dataset_card(report))
    header = '"text","label","id","weight"\n'
    odd = '" x ""q"", 🙂\n\nz","0","f:3","1.0"\n'
    (folder / "train.csv").write_text(header + '"NA","0","f:1","1.0"\n"null","NA","f:2","2.5"\n' + odd)
    (folder / "test.csv").write_text(header + '"0","NA","f:4","1.0"\n')
    hub.push(str(folder), "user/exact", "dataset", TOKEN, "message")
    code = (
        "from raypipe import splits\n"
        f"s = splits.load('user/exact', 'text', 'label', {TOKEN!r})\n"
        "assert s.train.text.tolist() == ['NA', 'null', ' x \"q\", 🙂\\n\\nz'], s.train\n"
        "assert s.train.label.tolist() == ['0', 'NA', '0'] and s.test.text.tolist() == ['0']\n"
        "assert s.train.id.tolist() == ['f:1', 'f:2', 'f:3'] and s.train.weight.tolist() == [1.0, 2.5, 1.0]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=200,
        env={
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "PATH": "/usr/bin:/bin",
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
