"""prepare -thf as a whole: the real Hub client against the Hub's protocol on loopback, and folders."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import sentences
from hub_server import HubServer

from raypipe import ConfigError, DataError, PrepareConfig, StageError, hub, storage

TOKEN = "hf_tokenOFpublishTESTS"
SECRET_TEXTS = (
    "write to jane.doe@example.org soon",
    "my card is 4111 1111 1111 1111 thanks",
    "call me on 07911 123456",
)


@pytest.fixture
def server(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(hub, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer(tokens={TOKEN}, read_tokens={"hf_readONLYtoken"}) as running:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.url)
        yield running


@pytest.fixture
def publish(prepare_rows, tmp_path):
    """prepare to one place, again and again."""

    def go(rows=None, target="user/set", **flags):
        place = {"output_filename": str(tmp_path / "out" / "set.jsonl"), "target_hf_dataset": target}
        return prepare_rows(rows, **(place | flags))

    return go


def with_private_rows():
    return [*sentences(40), *({"text": text, "label": "billing"} for text in SECRET_TEXTS)]


def existing(server, private):
    from huggingface_hub import HfApi

    HfApi(token=TOKEN).create_repo("user/set", repo_type="dataset", private=private)
    return server.repos["dataset", "user/set"]


def commits(server):
    return [c for c in server.repos["dataset", "user/set"].commits if c.title != "initial commit"]


def read_report(tmp_path):
    return json.loads((tmp_path / "out" / "set_report.json").read_text())


def test_one_private_commit_with_the_license_that_report_and_page_record(server, publish, tmp_path):
    out = publish(sentences(40), license="cc-by-4.0")
    (commit,) = commits(server)
    assert server.repos["dataset", "user/set"].private
    dataset = out["folder"].parent / "out" / "set_dataset"
    pushed = {name: data for name, data in commit.files.items() if name != ".gitattributes"}
    assert pushed == {p.name: p.read_bytes() for p in dataset.iterdir()} and len(pushed) == 3
    assert yaml.safe_load(commit.files["README.md"].decode().split("---")[1])["license"] == "cc-by-4.0"
    published = out["report"]["published"]
    assert published["target"] == "user/set" and published["commit"] == commit.sha
    assert published["url"] == f"{server.url}/datasets/user/set/commit/{commit.sha}"
    assert out["result"].outputs["published"] == f"user/set@{commit.sha}"
    page = Path(out["result"].outputs["page"]).read_text()
    assert commit.sha in page and published["url"] in page
    assert TOKEN not in page + json.dumps(out["report"])


def test_a_second_resume_pushes_nothing(server, publish, tmp_path):
    first = publish(sentences(40))
    before = (tmp_path / "out" / "set_report.json").read_bytes()
    asked = len(server.requests)
    again = publish(resume=True)
    assert again["result"].status == "skipped" and again["result"].outputs == first["result"].outputs
    assert len(commits(server)) == 1 and (tmp_path / "out" / "set_report.json").read_bytes() == before
    assert not [path for method, path in server.requests[asked:] if method == "POST"]
    other = publish(resume=True, target="user/other")
    assert other["report"]["published"]["target"] == "user/other" and len(server.repos) == 2
    del server.repos["dataset", "user/other"]
    publish(resume=True, target="user/other")
    assert ("dataset", "user/other") in server.repos, "a repository that was deleted is filled again"


def test_a_kill_between_push_and_record_makes_no_second_commit(server, publish, tmp_path):
    rows = sentences(40)
    publish(rows)
    report = read_report(tmp_path)
    storage.write_text(str(tmp_path / "out" / "set_report.json"), json.dumps(report | {"published": None}))
    again = publish(resume=True)
    assert again["report"]["published"]["commit"] == commits(server)[0].sha and len(commits(server)) == 1
    publish(rows, overwrite=True)
    assert len(commits(server)) == 1, "the same content from a new run is no new commit either"
    publish(rows, overwrite=True, seed=7)
    assert len(commits(server)) == 2


def test_an_answer_that_is_lost_after_the_commit(server, publish):
    server.fail_next(1, status=503, match="/commit/", applied=True)
    out = publish(sentences(40))
    assert len(commits(server)) == 1 and out["report"]["published"]["commit"] == commits(server)[0].sha


def test_a_failed_push_leaves_whole_outputs_and_resume_finishes(server, publish, tmp_path):
    server.fail_next(100, status=503, match="/commit/")
    with pytest.raises(StageError, match="local outputs are complete; repeat with --resume"):
        publish(sentences(40))
    server.faults.clear()
    assert read_report(tmp_path)["published"] is None and commits(server) == []
    finished = (tmp_path / "out" / "set_train.jsonl").stat().st_mtime_ns
    out = publish(resume=True)
    assert out["result"].status == "skipped" and out["report"]["published"]["commit"] == commits(server)[0].sha
    assert (tmp_path / "out" / "set_train.jsonl").stat().st_mtime_ns == finished


def test_large_files_are_tried_again_too(server, publish, monkeypatch):
    import hub_server

    monkeypatch.setattr(hub_server, "LFS_SUFFIXES", (".csv",))
    server.fail_next(2, status=500, match="PUT /datasets/user/set.git/lfs")
    publish(sentences(40))
    assert len(commits(server)) == 1 and "lfs" in commits(server)[0].entries["train.csv"]


def test_a_connection_that_is_cut_in_mid_upload_is_tried_again(server, publish, monkeypatch):
    import hub_server

    monkeypatch.setattr(hub_server, "LFS_SUFFIXES", (".csv",))
    server.fail_next(2, status=0, match="PUT /datasets/user/set.git/lfs")
    server.fail_next(2, status=0, match="/commit/")
    out = publish([*sentences(40), {"text": "long " * 100_000, "label": "garden"}])
    assert len(commits(server)) == 1 and out["report"]["published"]["commit"] == commits(server)[0].sha
    assert not server.faults


def test_connections_that_are_always_cut_end_in_one_clear_error_and_no_commit(server, publish, tmp_path):
    server.fail_next(100, status=0, match="/commit/")
    with pytest.raises(StageError, match=r"push to user/set failed.*--resume"):
        publish(sentences(40))
    server.faults.clear()
    assert commits(server) == [] and read_report(tmp_path)["published"] is None
    publish(resume=True)
    assert len(commits(server)) == 1


def test_private_rows_need_a_word_before_they_go_to_a_public_repository(server, publish, tmp_path, capfd):
    repository = existing(server, private=False)
    with pytest.raises(ConfigError) as refusal:
        publish(with_private_rows())
    message = str(refusal.value)
    assert "email: 1, phone: 1, card: 1" in message and "--resume --yes-publish" in message
    assert all(f"raw.jsonl:{line}" in message for line in (41, 42, 43))
    assert not any(word in message for word in ("jane", "4111", "07911")), "no row text in messages"
    assert "user/set is public" in capfd.readouterr().err, "said at the door, before the work"
    assert commits(server) == [] and read_report(tmp_path)["looks_private"] == {"email": 1, "phone": 1, "card": 1}
    with pytest.raises(ConfigError, match="--yes-publish"):
        publish(resume=True)
    out = publish(resume=True, yes_publish=True)
    assert out["result"].status == "skipped" and len(commits(server)) == 1 and not repository.private


@pytest.mark.parametrize(("state", "rows"), [("public", sentences(40)), ("private", with_private_rows())])
def test_other_pushes_need_no_word(server, publish, state, rows):
    existing(server, private=state == "private")
    publish(rows)
    assert len(commits(server)) == 1


def test_a_repository_that_became_public_in_the_meantime(server, publish, monkeypatch):
    from raypipe.report import console

    repository = existing(server, private=True)
    monkeypatch.setattr(console, "prepare_table", lambda report: setattr(repository, "private", False))
    with pytest.raises(ConfigError, match="--yes-publish"):
        publish(with_private_rows())
    assert commits(server) == []


def test_files_that_were_changed_after_the_run_are_not_pushed(server, publish, tmp_path):
    publish(sentences(40), target=None)
    with open(tmp_path / "out" / "set_dataset" / "train.csv", "a") as file:
        file.write('"more","billing","x:1","1.0"\n')
    with pytest.raises(DataError, match=r"train\.csv is not what the report says"):
        publish(resume=True)
    assert not server.repos


def test_targets_that_cannot_work_are_refused_before_the_work(server, publish, tmp_path, monkeypatch):
    rows = sentences(40)
    with pytest.raises(ConfigError, match="is the output itself"):
        publish(rows, target=str(tmp_path / "out" / "set_dataset"))
    with pytest.raises(ConfigError, match="is the output itself, or in it"):
        hub.target_of(str(tmp_path / "run" / "model"), "model", None, str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="only reads"):
        publish(rows, hf_access_token="hf_readONLYtoken", allow_literal_token=True)
    server.fail_next(1, status=500, match="/api/datasets/")
    with pytest.raises(ConfigError, match="the Hub answers 500"):
        publish(rows)
    assert not (tmp_path / "out").exists()


def test_a_name_without_a_user_is_the_users_own(server, publish):
    assert publish(sentences(40), target="set")["report"]["published"]["target"] == "user/set"
    publish(resume=True, target="set")
    assert len(commits(server)) == 1


def test_a_folder_needs_no_word_and_is_filled_each_time(publish, tmp_path):
    out = publish(with_private_rows(), target=str(tmp_path / "copy"))
    assert out["report"]["published"] | {"time": ""} == {
        "target": str(tmp_path / "copy"),
        "commit": None,
        "url": str(tmp_path / "copy"),
        "time": "",
    }
    (tmp_path / "copy" / "train.csv").unlink()
    publish(resume=True, target=str(tmp_path / "copy"))
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["README.md", "test.csv", "train.csv"]


def test_the_counts_stand_on_the_page_with_and_without_a_target(prepare_rows):
    out = prepare_rows(with_private_rows())
    assert out["report"]["looks_private"] == {"email": 1, "phone": 1, "card": 1}
    assert out["report"]["looks_private_examples"]["email"] == ["raw.jsonl:41"] and out["report"]["published"] is None
    page = (out["folder"] / "set_report.html").read_text()
    assert "email 1 (such as raw.jsonl:41)" in page and "jane" not in page
    clean = prepare_rows(sentences(40), block_rows=7)
    assert clean["report"]["looks_private"] == {"email": 0, "phone": 0, "card": 0}
    assert "email 0; phone 0; card 0" in (clean["folder"] / "set_report.html").read_text()


def test_counts_of_many_blocks_and_of_kept_rows_only(prepare_rows):
    rows = [
        {"text": f"mail {word}x@example.org {word * 3}", "label": "ab"[i % 2]} for i, word in enumerate("qwertzuiop")
    ]
    out = prepare_rows([*rows, *rows], block_rows=3, similarity_threshold=1.0)
    assert out["report"]["kept"] == 10
    assert out["report"]["looks_private"] == {"email": 10, "phone": 0, "card": 0}
    assert out["report"]["looks_private_examples"]["email"] == ["raw.jsonl:1", "raw.jsonl:2", "raw.jsonl:3"]


@pytest.mark.parametrize(
    ("given", "hint"), [("CC-BY-4.0", "'cc-by-4.0'"), ("cc-bye-4.0", "'cc-by-4.0'"), ("#!", "other")]
)
def test_licenses_that_the_hub_would_refuse(given, hint):
    with pytest.raises(ConfigError, match=hint):
        PrepareConfig(input_dir="i", input_filename="f", output_filename="o.jsonl", license=given).validate()


def test_what_decides_the_bytes_is_in_the_hash():
    plain = PrepareConfig(input_dir="i", input_filename="f", output_filename="o.jsonl")
    assert plain.hash() != PrepareConfig(**plain.public() | {"license": "mit"}).hash()
    assert plain.hash() == PrepareConfig(**plain.public() | {"yes_publish": True}).hash()


def test_a_folder_of_the_users_is_never_replaced_unasked(prepare_rows, tmp_path):
    rows = "".join(f"{row['text']},{row['label']}\n" for row in sentences(40))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.csv").write_text(f"text,label\n{rows}")
    flags = {"input_filename": "train.csv", "target_hf_dataset": str(tmp_path / "in")}
    with pytest.raises(ConfigError, match="is a folder that holds something"):
        prepare_rows(None, **flags)
    with pytest.raises(ConfigError, match=r"would replace .*/in/train\.csv, one of the input files"):
        prepare_rows(None, **flags, overwrite=True)
