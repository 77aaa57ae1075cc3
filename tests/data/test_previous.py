"""--previous through the whole prepare: files inserted, renamed and appended, chains, and refusals at the door."""

import base64
import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import killed_while_moving, read_jsonl, sentences, write_jsonl
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe import ConfigError, DataError, PrepareConfig
from raypipe.core import text as core_text
from raypipe.schema import UNUSABLE


def canonical_texts(rows):
    return {core_text.canonical(row["text"]) for row in rows}


def sides_of(out):
    usable = [row for row in out["removed"] if row["reason"] not in UNUSABLE]
    return {"removed": canonical_texts(usable)} | {side: canonical_texts(out[side]) for side in ("train", "test")}


def check_account(out, before, retired=frozenset()):
    """The report's account of --previous against sets of texts."""
    account, now = out["report"]["previous"], sides_of(out)
    was = {side: canonical_texts(before[side]) for side in ("train", "test")}
    was["test"] |= retired
    assert not was["test"] & now["train"], "former test rows entered train"
    assert not was["train"] & now["test"]
    assert account["moved"] == 0
    for side in ("train", "test"):
        assert account[f"{side}_kept"] == len(was[side] & now[side])
        gone = was[side] - now["train"] - now["test"]
        assert sum(account[f"{side}_left"].values()) == len(gone)
        assert account[f"{side}_left"].get("absent", 0) == len(gone - now["removed"])
        assert account[f"new_{side}"] == len(now[side] - was["train"] - was["test"])
    keys = sorted(core_text.key(text) for text in was["test"] - now["test"])
    written = np.frombuffer(base64.b64decode(account["retired_test_keys"]), ">i8").reshape(-1, 2)
    assert [tuple(key) for key in written.tolist()] == keys
    return account


@pytest.mark.parametrize("scope", ["all", "train"])
def test_inserted_renamed_and_appended_files_move_nothing_from_test_to_train(prepare_rows, tmp_path, scope):
    rows = sentences(300, seed=11)
    flags = {"similarity_threshold": 0.8, "reduce_majority_to": 0.8, "balance_scope": scope}
    before = prepare_rows(rows, **flags)
    test_texts = [row["text"] for row in before["test"]]
    folder = tmp_path / "in"
    raw = read_jsonl(folder / "raw.jsonl")
    (folder / "raw.jsonl").unlink()
    near = [{"text": text + " please", "label": "garden"} for text in test_texts[:12]]  # other labels at times
    inserted = sentences(80, seed=12) + near + [{"text": t + "\u00a0", "label": "travel"} for t in test_texts[12:15]]
    write_jsonl(folder / "0" / "first.jsonl", inserted)  # before all others in file order
    write_jsonl(folder / "renamed.jsonl", raw[::-1])
    write_jsonl(folder / "z.jsonl", sentences(60, seed=13))
    stem = str(before["folder"] / "set.jsonl")
    after = prepare_rows(None, input_filename="**/*.jsonl", previous=stem, **flags)
    account = check_account(after, before)
    assert account["new_test_for_former_test_rows"] >= 5, "a near-copy that replaced a test row is in test"
    replaced = {r["witness_id"] for r in after["removed"] if r["text"] in test_texts and r["witness_id"]}
    was_train = canonical_texts(before["train"])
    slipped = [r for r in after["train"] if r["id"] in replaced and core_text.canonical(r["text"]) not in was_train]
    assert not slipped, "a new near-copy of a former test row is in train"
    if scope == "all":
        for label, c in after["report"]["classes"].items():
            lacking = account["test_rows_short"].get(label, 0)
            assert -1 - lacking < c["test"] - 0.2 * (c["train"] + c["test"]) < 1
    without = prepare_rows(None, input_filename="**/*.jsonl", **flags)
    assert canonical_texts(before["test"]) & canonical_texts(without["train"]), "the test above proves nothing"
    inputs = after["report"]["sha256"]["inputs"]
    for side in ("train", "test"):
        path = before["folder"] / f"set_{side}.jsonl"
        assert inputs[f"--previous set_{side}.jsonl"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_input_gives_the_same_sides_and_bytes(prepare_rows, monkeypatch):
    from raypipe.data import ingest

    before = prepare_rows(sentences(200, seed=14), similarity_threshold=0.8, reduce_majority_to=0.7)
    stem = str(before["folder"] / "set")  # without .jsonl
    flags = {"similarity_threshold": 0.8, "reduce_majority_to": 0.7, "previous": stem}
    again = prepare_rows(None, **flags)
    for name in ("set_train.jsonl", "set_test.jsonl", "set_removed.jsonl"):
        assert (again["folder"] / name).read_bytes() == (before["folder"] / name).read_bytes()
    check_account(again, before)
    monkeypatch.setattr(ingest, "PIECE_BYTES", 2000)
    pieces = prepare_rows(None, block_rows=13, seed=7, **flags)
    whole = prepare_rows(None, seed=7, **flags)
    assert pieces["train"] == whole["train"] and pieces["test"] == whole["test"]
    check_account(whole, before)


def test_surplus_test_rows_leave(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i}", "label": "ab"[i % 2]} for i in range(100)]
    rows += [{"text": "alone here", "label": "c"}, {"text": "two of a kind", "label": "d"}]
    rows += [{"text": "kind number two", "label": "d"}]
    before = prepare_rows(rows, test_fraction=0.5)
    assert before["report"]["splits"] == {"train": 52, "test": 51}
    stem = str(before["folder"] / "set.jsonl")
    lower = prepare_rows(None, test_fraction=0.1, previous=stem)
    account = check_account(lower, before)
    assert lower["report"]["removed"] == {"previous_test": 44} == account["test_left"]
    for c in lower["report"]["classes"].values():
        assert abs(c["test"] - 0.1 * (c["train"] + c["test"])) <= 1
    assert {r["detail"] for r in lower["removed"]} == {None}
    # only former test rows of a class are left: they leave, and cannot be trained on
    test_texts = canonical_texts(before["test"])
    kept = [row for row in rows if row["label"] != "b" or row["text"] in test_texts]
    shrunk = prepare_rows(kept, previous=stem)
    account = check_account(shrunk, before)
    assert shrunk["report"]["classes"]["b"] == {"in": 25, "train": 0, "test": 0}
    assert any("class(es) with no row left: b" in notice for notice in shrunk["report"]["notices"])
    # a class of one row that was in test
    single = [row for row in rows if row["label"] != "d" or row["text"] in test_texts]
    assert prepare_rows(single, previous=stem)["report"]["classes"]["d"] == {"in": 1, "train": 0, "test": 0}


def test_more_test_is_filled_from_new_rows_only(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i}", "label": "ab"[i % 2]} for i in range(100)]
    before = prepare_rows(rows)
    stem = str(before["folder"] / "set.jsonl")
    rows += [{"text": f"new{i} in{i} b{i}", "label": "b"} for i in range(10)]
    more = prepare_rows(rows, test_fraction=0.4, previous=stem)
    account = check_account(more, before)
    assert account["test_rows_short"] == {"a": 10, "b": 4}
    assert more["report"]["classes"]["b"] == {"in": 60, "train": 40, "test": 20}
    assert any("test lacks 14 rows of its share in 2 class(es)" in n for n in more["report"]["notices"])


def test_along_a_chain_no_former_test_row_is_forgotten(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i}", "label": "ab"[i % 2]} for i in range(200)]
    first = prepare_rows(rows)
    test_texts = sorted(canonical_texts(first["test"]))
    hidden = set(test_texts[:10])
    # second: ten former test rows are not in the input, others leave as surplus or by balancing
    second = prepare_rows(
        [r for r in rows if r["text"] not in hidden],
        previous=str(first["folder"] / "set.jsonl"),
        test_fraction=0.1,
        max_class_ratio=1.0,
        label_map=None,
    )
    check_account(second, first)
    assert second["report"]["previous"]["test_left"]["absent"] == 10
    assert second["report"]["removed"]["previous_test"] > 5
    retired = set(test_texts) - canonical_texts(second["test"])
    # third: all rows are back, and the set before the last is gone
    shutil.rmtree(first["folder"])
    random.Random(3).shuffle(rows)
    third = prepare_rows(rows, previous=str(second["folder"] / "set"), test_fraction=0.3)
    check_account(third, second, retired)
    assert not set(test_texts) & canonical_texts(third["train"])
    assert retired & canonical_texts(third["test"]), "what was in test may come back to test"
    assert "--previous retired_test_keys" in third["report"]["sha256"]["inputs"]


def test_balancing_keeps_former_test_rows_before_others(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i}", "label": "a"} for i in range(100)]
    rows += [{"text": f"other{i} few{i}", "label": "b"} for i in range(20)]
    before = prepare_rows(rows, max_class_ratio=2.0)
    rows += [{"text": f"newer{i} row{i} of{i}", "label": "a"} for i in range(300)]
    after = prepare_rows(rows, max_class_ratio=2.0, previous=str(before["folder"] / "set.jsonl"))
    account = check_account(after, before)
    assert account["test_left"] == {} and account["test_kept"] == len(before["test"]) == 12
    assert account["train_left"]["balanced"] > 10 and account["new_train"] > 10
    assert after["report"]["classes"]["a"] == {"in": 400, "train": 32, "test": 8}
    halved = prepare_rows(None, max_class_ratio=1.0, previous=str(before["folder"] / "set.jsonl"))
    account = check_account(halved, before)
    assert account["test_left"] == {"balanced": 4} and halved["report"]["splits"] == {"train": 32, "test": 8}


def test_a_stand_in_without_room_names_the_former_test_row(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i} more{i}", "label": "ab"[i % 2]} for i in range(40)]
    before = prepare_rows(rows, test_fraction=0.5)
    copies = [{"text": r["text"].upper() + "!", "label": r["label"]} for r in before["test"]]
    after = prepare_rows(copies + rows, test_fraction=0.2, previous=str(before["folder"] / "set.jsonl"))
    account = check_account(after, before)
    assert account["test_left"] == {"near_duplicate": 20} and account["new_test_for_former_test_rows"] == 6
    left = [r for r in after["removed"] if r["reason"] == "previous_test"]
    texts = {f"raw.jsonl:{n}": row["text"] for n, row in enumerate(copies + rows, 1)}
    assert len(left) == 14
    for row in left:
        assert row["text"] == texts[row["witness_id"]].upper() + "!" and row["similarity"] == 1.0
        assert row["detail"] == "stands in for a former test row"
    assert not {r["text"] for r in copies} & {r["text"] for r in after["train"]}


def test_conflicts_and_unusable_rows_of_the_past(prepare_rows):
    rows = [{"text": f"word{i} of{i} many{i}", "label": "ab"[i % 2]} for i in range(40)]
    before = prepare_rows(rows, test_fraction=0.5)
    gone, dropped, renamed, *_ = [row["text"] for row in before["test"]]
    changed = [r | {"label": None} if r["text"] == gone else r for r in rows]
    changed = [r | {"label": "c"} if r["text"] == renamed else r for r in changed]
    changed += [{"text": dropped.upper(), "label": "x"}, {"text": "another c", "label": "c"}]
    after = prepare_rows(changed, test_fraction=0.5, on_conflict="drop", previous=str(before["folder"] / "set.jsonl"))
    account = check_account(after, before)
    assert account["test_left"] == {"label_conflict": 1, "absent": 1}
    assert after["report"]["removed"]["missing_label"] == 1
    assert renamed in {r["text"] for r in after["test"] if r["label"] == "c"}, "a new label does not change the side"


def test_the_output_itself_as_previous(prepare_rows, tmp_path):
    target = str(tmp_path / "fixed" / "set.jsonl")
    rows = sentences(120, seed=15)
    before = prepare_rows(rows, output_filename=target)
    with pytest.raises(ConfigError, match="complete output exists"):
        prepare_rows(None, output_filename=target, previous=target)
    more = sentences(60, seed=16) + rows
    after = prepare_rows(more, output_filename=target, previous=target, overwrite=True)
    check_account(after, before)
    with pytest.raises(ConfigError, match="--resume with a --previous that is the output itself"):
        prepare_rows(None, output_filename=target, previous=target, resume=True)
    Path(target.replace("set.jsonl", "set_report.json")).unlink()
    with pytest.raises(ConfigError, match="has no report"):
        prepare_rows(None, output_filename=target, previous=target)


def test_a_kill_while_the_new_set_takes_its_place_loses_neither(prepare_rows, tmp_path):
    """The killed run has removed the report and moved two files; the next one moves the others, and goes on."""
    target, new = tmp_path / "fixed", tmp_path / "new"
    rows = sentences(120, seed=15)
    prepare_rows(rows, output_filename=str(target / "set.jsonl"))
    previous = {"previous": str(target / "set.jsonl")}
    after = prepare_rows(sentences(60, seed=16) + rows, output_filename=str(new / "set.jsonl"), **previous)
    names = [path.name for path in sorted(new.iterdir()) if path.name != "set_report.json"]
    killed_while_moving(new, target, names, "set_report.json", moves=2)
    assert not (target / "set_report.json").exists()
    with pytest.raises(ConfigError, match="a killed run was moving"):
        prepare_rows(None, output_filename=str(tmp_path / "third" / "set.jsonl"), dry_run=True, **previous)
    assert not (target / "set_report.json").exists(), "a dry run moves nothing"
    once_more = prepare_rows(None, output_filename=str(target / "set.jsonl"), overwrite=True, **previous)
    check_account(once_more, after)
    assert [once_more[side] for side in ("train", "test")] == [after[side] for side in ("train", "test")]
    assert [path.name for path in sorted(target.iterdir())] == sorted([*names, "set_report.json"])


def test_what_is_refused_and_what_resume_notices(prepare_rows, tmp_path):
    rows = sentences(60, seed=17)
    earlier = tmp_path / "earlier"
    for stem in (earlier / "set", earlier / "set.jsonl"):
        with pytest.raises(ConfigError, match=r"there is no .*set_train\.jsonl"):
            prepare_rows(rows, previous=str(stem))
    write_jsonl(earlier / "set_train.jsonl", [{"text": r["text"]} for r in rows[::2]])
    with pytest.raises(ConfigError, match=r"there is no .*set_test\.jsonl"):
        prepare_rows(None, previous=str(earlier / "set"))
    for bad in ('{"text": 1}', "[]", "{", '{"other": "x"}', '{"text": "\\ud800"}'):
        write_jsonl(earlier / "set_test.jsonl", [{"text": rows[0]["text"]}, bad])
        with pytest.raises(DataError, match=r"set_test\.jsonl:2 is no row with a text"):
            prepare_rows(None, previous=str(earlier / "set"))
    write_jsonl(earlier / "set_test.jsonl", [{"text": r["text"]} for r in rows[:20]])
    target = str(tmp_path / "fixed" / "set.jsonl")
    out = prepare_rows(None, previous=str(earlier / "set"), output_filename=target)
    both = out["report"]["previous"]["in_both_before"]
    assert both >= 8 and any(f"{both} texts were in train and in test before" in n for n in out["report"]["notices"])
    assert any("has no report" in notice for notice in out["report"]["notices"])
    assert not canonical_texts(rows[:20]) & canonical_texts(out["train"])
    same = {"previous": str(earlier / "set"), "output_filename": target, "resume": True}
    assert prepare_rows(None, **same)["result"].status == "skipped"
    (earlier / "set_report.json").write_text(json.dumps({"previous": None}))
    assert prepare_rows(None, **same)["result"].status == "skipped"
    write_jsonl(earlier / "set_test.jsonl", [{"text": r["text"]} for r in rows[:19]])
    with pytest.raises(ConfigError, match="changed input"):
        prepare_rows(None, **same)
    (earlier / "set_report.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        prepare_rows(None, previous=str(earlier / "set"))


@pytest.mark.parametrize("stem", ["", "earlier/", ".jsonl"])
def test_a_name_that_cannot_be_an_output(stem):
    config = PrepareConfig(input_dir="d", input_filename="f.jsonl", output_filename="o.jsonl", previous=stem)
    with pytest.raises(ConfigError, match="--previous"):
        config.validate()


def test_an_earlier_set_in_memory_storage(prepare_rows):
    """Any fsspec address serves; what runs in the driver's process alone is checked here without a server."""
    import fsspec

    from raypipe.data import previous

    rows = [{"text": f"text {i}"} for i in range(5)]
    fs = fsspec.filesystem("memory")
    for side, part in (("train", rows[:3]), ("test", rows[3:])):
        fs.pipe(f"/previous/set_{side}.jsonl", "".join(json.dumps(r) + "\n" for r in part).encode())
    earlier = previous.locate("memory://previous/set.jsonl", "out/set.jsonl", False)
    assert earlier is not None and not earlier.complete and earlier.folder == "memory://previous"
    assert set(earlier.checksums()) == {"--previous set_train.jsonl", "--previous set_test.jsonl"}
    assert [tuple(k) for k in previous._keys(earlier.test).tolist()] == [core_text.key(r["text"]) for r in rows[3:]]


def test_similarity_of_train_and_test_with_a_past(prepare_rows):
    """Law 5 with --previous: no pair across the sides at the threshold."""
    before = prepare_rows(sentences(200, seed=18), similarity_threshold=0.7)
    after = prepare_rows(
        sentences(300, seed=19) + sentences(200, seed=18),
        similarity_threshold=0.7,
        previous=str(before["folder"] / "set.jsonl"),
    )
    check_account(after, before)
    raw = read_jsonl(after["folder"].parent / "in" / "raw.jsonl")
    fitted = TfidfVectorizer().fit([r["text"] for r in raw])
    train, test = (fitted.transform([r["text"] for r in after[side]]) for side in ("train", "test"))
    assert (train @ test.T).max() < 0.7
    assert Counter(r["reason"] for r in after["removed"]) == after["report"]["removed"]
