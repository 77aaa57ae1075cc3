"""Names to folders, repositories and commits; pushes that survive a moody Hub, with the real client on loopback."""

import pytest
from hub_server import HubServer
from huggingface_hub import constants

from raypipe import ConfigError, StageError, hub

TOKEN = "hf_tokenOFtheHUBtest"


def ask(url, monkeypatch):
    """Point the client at a server; it read the address as it was imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(hub, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with HubServer(tokens={TOKEN}) as running:
        ask(running.url, monkeypatch)
        yield running


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text('"text","label"\n"NA","0"\n')
    (tmp_path / "set" / "README.md").write_text("---\ntags: [raypipe]\n---\n# card\n")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "train.csv").write_text('"text","label"\n"x","y"\n')
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
    done = hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    repository = server.repos["dataset", "user/set"]
    assert repository.private and str(done) == f"user/set@{repository.commits[-1].sha}"
    assert done.url == f"{server.url}/datasets/user/set/commit/{done.commit}"
    assert repository.commits[-1].files["train.csv"] == (folder / "train.csv").read_bytes()
    assert sum(method == "POST" and "/commit/" in path for method, path in server.requests) == 1
    assert hub.resolve("user/set", "dataset", TOKEN) == hub.Source("user/set", repository.commits[-1].sha)


@pytest.mark.parametrize("status", [500, 429, 503, 0], ids=["500", "429", "503", "cut"])
def test_a_push_is_tried_again_on_transient_errors(server, folder, status):
    server.fail_next(2, status=status, match="/commit/")
    done = hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    assert done.commit == server.repos["dataset", "user/set"].commits[-1].sha


def test_a_push_that_cannot_work_ends_in_one_clear_error(server, folder):
    server.fail_next(100, status=500, match="/commit/")
    with pytest.raises(StageError, match=r"push to user/set failed.*--resume") as failure:
        hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    assert TOKEN not in str(failure.value)


def test_a_push_of_nothing_is_an_error(server, tmp_path):
    with pytest.raises(StageError, match="nothing to push"):
        hub.push(str(tmp_path / "gone"), "user/set", "dataset", TOKEN, "message")
    assert not server.repos


def test_a_push_to_a_folder_copies(folder, tmp_path):
    assert str(hub.push(str(folder), str(tmp_path / "copy"), "dataset", None, "message")) == str(tmp_path / "copy")
    assert (tmp_path / "copy" / "train.csv").read_bytes() == (folder / "train.csv").read_bytes()


def test_targets_are_checked_at_the_door(server, folder, tmp_path, monkeypatch):
    assert hub.target_of(None, "dataset", TOKEN, "/out") is None
    assert hub.target_of("user/set", "dataset", TOKEN, "/out") == hub.Target("user/set", "absent")
    assert hub.target_of("set", "dataset", TOKEN, "/out") == hub.Target("user/set", "absent"), "the token's own user"
    new = str(tmp_path / "new")
    assert hub.target_of(new, "dataset", None, "/out") == hub.Target(new, "folder")
    with pytest.raises(ConfigError, match="is a folder that holds something"):
        hub.target_of(str(folder), "dataset", None, "/out")
    assert hub.target_of(str(folder), "dataset", None, "/out", True) == hub.Target(str(folder), "folder")
    hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    target = hub.target_of("user/set", "dataset", TOKEN, "/out")
    assert target == hub.Target("user/set", "private")
    server.repos["dataset", "user/set"].private = False
    assert hub.refreshed(target, "dataset", TOKEN).state == "public"
    with pytest.raises(ConfigError, match="without a token"):
        hub.target_of("user/set", "dataset", None, "/out")
    with pytest.raises(ConfigError, match="does not know this token") as refusal:
        hub.target_of("user/set", "dataset", "hf_anUNKNOWNtoken", "/out")
    assert "hf_anUNKNOWNtoken" not in str(refusal.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="as a folder of the output"):
        hub.target_of("me/data", "dataset", TOKEN, str(tmp_path / "me" / "data" / "set_dataset"))
    assert hub.target_of("me/data", "dataset", TOKEN, str(tmp_path / "me" / "data-2")).state == "absent"


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
    for name in ("my--model", "name.", "user/mödel"):
        with pytest.raises(ConfigError, match="expected a folder or a repository"):
            hub.resolve(name, "model", TOKEN)
        with pytest.raises(ConfigError, match="expected a folder or a repository"):
            hub.target_of(name, "model", TOKEN, "/out")


def test_a_hub_that_cannot_be_reached_is_one_clear_error(server, folder, monkeypatch):
    hub.push(str(folder), "user/set", "dataset", TOKEN, "message")
    source = hub.resolve("user/set", "dataset", TOKEN)
    assert "# card" in hub.card(source, "dataset", TOKEN)
    bare = hub.push(str(folder.parent / "bare"), "user/bare", "dataset", TOKEN, "message")
    assert hub.card(hub.Source("user/bare", bare.commit), "dataset", TOKEN) == ""
    ask("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # the client tries six times
    with pytest.raises(ConfigError, match="does not answer"):
        hub.resolve("user/set", "dataset", TOKEN)
    with pytest.raises(ConfigError, match="does not answer"):
        hub.card(hub.Source("user/bare", bare.commit), "dataset", TOKEN)
    with pytest.raises(ConfigError, match="cannot be reached"):
        hub.target_of("user/set", "dataset", TOKEN, "/out")
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
