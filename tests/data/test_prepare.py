"""prepare as a whole, on a real Ray, judged by a slow obvious oracle and by the laws."""

import csv
import gzip
import json
import random
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import sentences, write_jsonl
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe import ConfigError, DataError, EvaluateConfig, pipeline

OUTPUTS = (
    "set_train.jsonl",
    "set_test.jsonl",
    "set_removed.jsonl",
    "set_dataset/train.csv",
    "set_dataset/test.csv",
    "set_dataset/README.md",
)


def canonical(text):
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).strip())


def oracle(rows, threshold, **vectorizer):
    """Who stays and why others go: scikit-learn, brute force and the keep rule, word for word."""
    texts = [row["text"] for row in rows]
    X = TfidfVectorizer(**vectorizer).fit_transform(texts)
    S = (X @ X.T).toarray()
    kept, removed = [], {}
    for i, text in enumerate(texts):
        same = [k for k in kept if canonical(texts[k]) == canonical(text)]
        near = [k for k in kept if S[i, k] >= threshold - 1e-9]
        if same:
            removed[i] = (same[0], 1.0, "exact_duplicate")
        elif near:
            best = max(near, key=lambda k: (round(S[i, k], 9), -k))
            removed[i] = (best, S[i, best], "near_duplicate")
        else:
            kept.append(i)
        if i in removed and rows[removed[i][0]]["label"] != rows[i]["label"]:
            removed[i] = (*removed[i][:2], "label_conflict")
    return kept, removed


def line_of(row):
    return int(row["id"].rsplit(":", 1)[1]) - 1


def with_conflicts(rows, seed=1):
    rng = random.Random(seed)
    mixed = rows + [row | {"label": rng.choice(["billing", "travel"])} for row in rng.sample(rows, 30)]
    rng.shuffle(mixed)
    return mixed


@pytest.mark.parametrize(
    ("threshold", "flags", "vectorizer"),
    [
        (0.8, {}, {}),
        (0.6, {"analyzer": "char_wb", "ngram_range": (2, 3)}, {"analyzer": "char_wb", "ngram_range": (2, 3)}),
        (1.0, {"token_pattern": r"\w+"}, {"token_pattern": r"\w+"}),
    ],
)
def test_the_ledger_equals_the_oracle(prepare_rows, threshold, flags, vectorizer):
    rows = with_conflicts(sentences(400))
    out = prepare_rows(rows, similarity_threshold=threshold, block_rows=50, **flags)
    kept, removed = oracle(rows, threshold, **vectorizer)
    assert sorted(line_of(r) for r in out["train"] + out["test"]) == kept
    assert len(removed) > 20
    ledger = {line_of(r): r for r in out["removed"]}
    assert set(ledger) == set(removed)
    for row, (witness, cosine, reason) in removed.items():
        assert ledger[row]["witness_id"] == f"raw.jsonl:{witness + 1}"
        assert ledger[row]["similarity"] == pytest.approx(cosine, abs=1e-6)
        assert ledger[row]["reason"] == reason
        assert ledger[row]["text"] == rows[row]["text"]
        assert (ledger[row]["detail"] in ("exact", "near")) == (reason == "label_conflict")


def test_nothing_disappears_and_no_pair_is_left(prepare_rows):
    rows = [*with_conflicts(sentences(300)), '{"broken', {"text": "   ", "label": "x"}, {"text": "no label here"}]
    out = prepare_rows(rows, similarity_threshold=0.7, max_bad_fraction=0.1, reduce_majority_to=0.5)
    kept = out["train"] + out["test"]
    assert sorted(line_of(r) for r in kept + out["removed"]) == list(range(len(rows)))
    report = out["report"]
    assert report["rows_in"] == len(rows) == report["kept"] + sum(report["removed"].values())
    assert report["removed"] == Counter(r["reason"] for r in out["removed"])
    X = TfidfVectorizer().fit([row["text"] for row in rows[:-3]]).transform([r["text"] for r in kept])
    S = (X @ X.T).toarray()
    np.fill_diagonal(S, 0)
    assert S.max() < 0.7
    stayed = {r["id"] for r in kept} | {r["id"] for r in out["removed"] if r["reason"] == "balanced"}
    near = [r for r in out["removed"] if r["reason"] in ("exact_duplicate", "near_duplicate", "label_conflict")]
    assert near and all(r["witness_id"] in stayed for r in near)


def test_same_bytes_for_any_blocks_and_pieces(prepare_rows, monkeypatch):
    from raypipe.data import ingest

    rows = with_conflicts(sentences(250))
    wanted = None
    for block_rows, piece_bytes in ((7, 1 << 24), (1000, 1 << 24), (64, 2000)):
        monkeypatch.setattr(ingest, "PIECE_BYTES", piece_bytes)
        out = prepare_rows(
            rows, similarity_threshold=0.75, block_rows=block_rows, reduce_majority_to=0.8, on_conflict="majority"
        )
        found = {name: (out["folder"] / name).read_bytes() for name in OUTPUTS}
        assert all(found.values()) and (wanted is None or found == wanted)
        wanted = found


def test_similarity_reads_text_not_label(prepare_rows):
    rows = [{"text": f"apple{i} pear{i} plum{i}", "label": "same label for all of them"} for i in range(10)]
    rows += [{"text": f"stone{i} brick{i} slate{i}", "label": "another label text"} for i in range(10)]
    out = prepare_rows(rows)
    assert out["report"]["kept"] == 20, "texts that share no word were taken for duplicates by their label"


def test_labels_are_not_all_one(prepare_rows):
    rows = sentences(200)
    out = prepare_rows(rows)
    assert {r["label"] for r in out["train"]} == {r["label"] for r in out["test"]} == {r["label"] for r in rows}
    assert all(r["label"] == rows[line_of(r)]["label"] for r in out["train"] + out["test"])


def test_split_is_stratified(prepare_rows):
    rows = sentences(300, labels=("billing", "billing", "billing", "travel", "garden"))
    rows += [{"text": "a lonely row of its own", "label": "single"}]
    out = prepare_rows(rows, test_fraction=0.3)
    for label, counts in out["report"]["classes"].items():
        assert abs(counts["test"] - 0.3 * (counts["train"] + counts["test"])) <= 1, label
        assert counts["train"] >= 1
    assert out["report"]["classes"]["single"] == {"in": 1, "train": 1, "test": 0}
    assert any("single" in notice for notice in out["report"]["notices"])


def test_rows_keep_their_side_when_a_file_is_added(prepare_rows, tmp_path):
    before = prepare_rows(sentences(200, seed=3))
    write_jsonl(tmp_path / "in" / "new.jsonl", [{"text": f"odd{i} thing{i}", "label": "garden"} for i in range(5)])
    after = prepare_rows(None, input_filename="*.jsonl")
    assert after["report"]["rows_in"] == 205
    sides = {r["text"]: side for side in ("train", "test") for r in before[side]}
    moved = [r["text"] for side in ("train", "test") for r in after[side] if sides.get(r["text"], side) != side]
    assert len(moved) <= 2, "only the larger quota of the grown class may move a row"


def test_reduce_majority_to_and_weights(prepare_rows):
    rows = [{"text": f"big{i} one{i} row{i}", "label": "big"} for i in range(100)]
    rows += [{"text": f"mid{i} two{i} row{i}", "label": "mid"} for i in range(40)]
    rows += [{"text": f"low{i} three{i} row{i}", "label": "low"} for i in range(10)]
    rows += [{"text": rows[0]["text"] + " ", "label": "big"}] * 3
    out = prepare_rows(rows, reduce_majority_to=0.29)
    kept = out["train"] + out["test"]
    assert Counter(r["label"] for r in kept) == {"big": 29, "mid": 29, "low": 10}
    for label, stands_for in (("mid", 40), ("low", 10)):
        assert sum(r["weight"] for r in kept if r["label"] == label) == pytest.approx(stands_for)
    copied = [r["weight"] for r in kept if r["text"] == rows[0]["text"]]
    assert copied in ([], [pytest.approx(4 * 100 / 29)])
    floor = prepare_rows(rows, reduce_majority_to=0.05)
    assert set(Counter(r["label"] for r in floor["train"] + floor["test"]).values()) == {10}
    ratio = prepare_rows(rows, max_class_ratio=2.5, balance_scope="train")
    assert Counter(r["label"] for r in ratio["train"]) == {"big": 20, "mid": 20, "low": 8}
    assert Counter(r["label"] for r in ratio["test"])["big"] == 20, "test keeps the shares of the traffic"


@pytest.mark.parametrize("mode", ["keep", "drop", "majority"])
def test_on_conflict(prepare_rows, mode):
    rows = [
        {"text": "my card was charged twice", "label": "a"},
        {"text": "my card was charged twice ", "label": "b"},
        {"text": "MY card was charged twice", "label": "b"},
        {"text": "something else entirely", "label": "a"},
        {"text": "another matter of its own", "label": "b"},
    ]
    out = prepare_rows(rows, on_conflict=mode, similarity_threshold=0.95)
    ledger = {line_of(r): r for r in out["removed"]}
    kept = {line_of(r): r["label"] for r in out["train"] + out["test"]}
    assert ledger[1]["reason"] == ledger[2]["reason"] == "label_conflict"
    assert ledger[1]["detail"].startswith("exact") and ledger[2]["detail"].startswith("near")
    if mode == "drop":
        assert set(kept) == {3, 4}
        assert ledger[0]["witness_id"] == "raw.jsonl:2" and ledger[0]["reason"] == "label_conflict"
    else:
        assert kept == {0: "a" if mode == "keep" else "b", 3: "a", 4: "b"}
    if mode == "majority":
        assert "'a'" in ledger[1]["detail"] and out["report"]["relabelled_by_majority"] == 1


def test_label_map_filter_and_rare(prepare_rows, tmp_path, capfd):
    rows = [*sentences(120), {"text": "one odd thing", "label": "rare"}, {"text": "number one", "label": 1.0}]
    (tmp_path / "map.csv").write_text("old,new\nBILING,billing\ngarden,outdoors\n")
    out = prepare_rows(
        rows, label_map=str(tmp_path / "map.csv"), labels_to_filter=("kitchen", "travle"), min_class_rows=2
    )
    assert {r["label"] for r in out["train"] + out["test"]} == {"billing", "travel", "outdoors"}
    reasons = {r["label"]: r["reason"] for r in out["removed"] if r["reason"] in ("filtered_label", "rare_label")}
    assert reasons == {"kitchen": "filtered_label", "rare": "rare_label", "1.0": "rare_label"}
    said = capfd.readouterr().err
    assert "'travle'" in said and "did you mean 'travel'?" in said and "'BILING'" in said


def test_decontaminate(prepare_rows, tmp_path):
    rows = sentences(150, seed=5)
    benchmark = [{"text": rows[3]["text"] + "  "}, {"text": rows[10]["text"] + " indeed"}, {"text": "zzz yyy xxx"}]
    path = write_jsonl(tmp_path / "bench.jsonl", benchmark)
    out = prepare_rows(rows, decontaminate=str(path), similarity_threshold=0.8)
    gone = {line_of(r): r for r in out["removed"] if r["reason"] == "decontaminated"}
    assert (gone[3]["witness_id"], gone[3]["similarity"]) == ("bench.jsonl:1", 1.0)
    assert gone[10]["witness_id"] == "bench.jsonl:2"
    fitted = TfidfVectorizer().fit([r["text"] for r in rows])
    S = (fitted.transform([r["text"] for r in rows]) @ fitted.transform([b["text"] for b in benchmark]).T).toarray()
    near = set(np.flatnonzero(S.max(axis=1) >= 0.8 - 1e-9))
    same = {i for i, r in enumerate(rows) if canonical(r["text"]) in {canonical(b["text"]) for b in benchmark}}
    assert set(gone) == near | same


def test_a_benchmark_that_cannot_be_compared_with_is_refused(prepare_rows, tmp_path, capfd):
    rows = sentences(60, seed=6)
    tokens = write_jsonl(tmp_path / "tokens.jsonl", [{"text": row["text"].split()} for row in rows])
    with pytest.raises(DataError, match=r"60 of 60 rows of --decontaminate cannot be used; expected at most 100%"):
        prepare_rows(rows, decontaminate=str(tokens), max_bad_fraction=1.0)
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"text": rows[5]["text"]}, {"text": None}])
    with pytest.raises(DataError, match=r"1 of 2 rows of --decontaminate"):
        prepare_rows(rows, decontaminate=str(mixed))
    prepare_rows(rows, decontaminate=str(mixed), max_bad_fraction=0.5)
    assert "1 of 2 rows of --decontaminate have no text" in capfd.readouterr().err
    with pytest.raises(DataError, match="0 classes left after --decontaminate"):
        prepare_rows(rows, decontaminate=str(tmp_path / "in" / "raw.jsonl"))


def test_a_set_in_which_conflicts_leave_one_class_is_refused(prepare_rows, tmp_path):
    rows = [{"text": "one text", "label": "a"}, {"text": "one text", "label": "b"}, {"text": "other", "label": "a"}]
    with pytest.raises(DataError, match="1 class left after duplicates and conflicts"):
        prepare_rows([*rows, {"text": "more words", "label": "a"}], on_conflict="drop")
    assert not list(tmp_path.glob("prepared*"))


def test_a_set_and_an_evaluation_by_one_name_are_refused(prepare_rows, tmp_path):
    out = prepare_rows(sentences(40))
    with pytest.raises(ConfigError, match="a prepared set by that name"):
        pipeline.evaluate(
            EvaluateConfig(model="m", input_hf_dataset="d/d", output_classify_file=str(out["folder"] / "set.jsonl"))
        )
    (tmp_path / "scored_metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match="an evaluation by that name"):
        prepare_rows(None, output_filename=str(tmp_path / "scored.jsonl"))


def test_decontaminate_by_a_glob_with_an_empty_file(prepare_rows, tmp_path, monkeypatch):
    rows = sentences(60, seed=6)
    write_jsonl(tmp_path / "bench" / "a.jsonl", [])
    write_jsonl(tmp_path / "bench" / "b.jsonl", [{"text": rows[5]["text"]}])
    monkeypatch.chdir(tmp_path)
    out = prepare_rows(rows, decontaminate="bench/*.jsonl")
    assert {r["witness_id"] for r in out["removed"] if r["reason"] == "decontaminated"} == {"b.jsonl:1"}
    assert "--decontaminate b.jsonl" in out["report"]["sha256"]["inputs"]


def test_an_output_among_the_inputs_is_refused(prepare_rows, tmp_path):
    rows = sentences(40)
    path = write_jsonl(tmp_path / "in" / "set_train.jsonl", rows)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="one of the input files"):
        prepare_rows(None, input_filename="*.jsonl", output_filename=str(tmp_path / "in" / "set.jsonl"))
    assert path.read_bytes() == before


def test_column_names_that_are_not_unicode(prepare_rows):
    rows = sentences(40)
    rows[3] = json.dumps(rows[3])[:-1] + ', "\\ud800": 1}'
    assert prepare_rows(rows)["report"]["extra_columns"] == ["?"]


def test_input_formats_and_order(prepare_rows, tmp_path):
    rows = sentences(60, seed=9)
    folder = tmp_path / "in"
    write_jsonl(folder / "b.jsonl", [*rows[:10], "", *rows[10:20]])
    (folder / "sub").mkdir()
    with gzip.open(folder / "sub" / "c.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(r) + "\r\n" for r in rows[20:30]))
    with open(folder / "a.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["id", "text", "label"])
        writer.writeheader()
        writer.writerows({"id": "ignored", **r} for r in rows[30:40])
    pd.DataFrame(rows[40:]).to_parquet(folder / "d.parquet")
    out = prepare_rows(None, input_filename="**/*", similarity_threshold=1.0)
    everything = {r["id"]: r for r in out["train"] + out["test"] + out["removed"]}
    assert len(everything) == 60
    assert everything["b.jsonl:12"]["text"] == rows[10]["text"], "a blank line is skipped but numbered"
    assert everything["a.csv:1"]["text"] == rows[30]["text"], "a CSV record counts from 1"
    assert everything["sub/c.jsonl.gz:10"]["text"] == rows[29]["text"]
    assert everything["d.parquet:20"]["text"] == rows[59]["text"]
    ids = [r["id"] for r in out["train"]]
    assert ids == sorted(ids, key=lambda i: (i.split(":")[0], int(i.split(":")[1])))
    assert out["report"]["extra_columns"] == ["id"]
    assert set(out["report"]["sha256"]["inputs"]) == {"a.csv", "b.jsonl", "d.parquet", "sub/c.jsonl.gz"}


def test_scripts_without_spaces_take_character_features(prepare_rows):
    base = "我想取消昨天晚上预订的酒店房间"
    texts = [(base, "x"), (base + "吗", "x"), ("请问今天天气怎么样", "y"), ("帮我播放音乐", "y")]
    out = prepare_rows([{"text": t, "label": label} for t, label in texts], similarity_threshold=0.7)
    assert out["report"]["analyzer"].startswith("char_wb")
    assert [line_of(r) for r in out["removed"]] == [1]


def test_dataset_csv_is_exact(prepare_rows):
    odd = ["NA", "null", "0", '"quoted", comma', "two\nlines", "cr\r\nlf", " leading", "émoji 🙂", "=1+1", "tab\there"]
    rows = [{"text": text, "label": label} for text, label in zip(odd, ["NA", "0"] * 5, strict=True)]
    out = prepare_rows(rows, similarity_threshold=1.0)
    back = {}
    for split in ("train", "test"):
        with open(out["folder"] / "set_dataset" / f"{split}.csv", newline="", encoding="utf8") as file:
            assert file.readline() == '"text","label","id","weight"\n'
            for text, label, row_id, _ in csv.reader(file):
                back[line_of({"id": row_id})] = {"text": text, "label": label}
    assert back == dict(enumerate(rows))


@pytest.mark.parametrize(
    ("rows", "flags", "words"),
    [
        ([{"text": "a b", "label": "x"}], {"text": "txet"}, ["'txet'", "'text'", "did you mean"]),
        ([{"text": "a b", "label": "x"}], {"subject": "intent"}, ["'intent'", "'label'"]),
        ([], {}, ["no rows"]),
        ([{"text": "a b", "label": "x"}, {"text": "c d", "label": "x"}], {}, ["1 class", "2 classes"]),
        (
            [{"text": "a b", "label": "x"}, "{nope", {"text": "c d", "label": "y"}],
            {},
            ["1 of 3", "bad_json", "raw.jsonl:2"],
        ),
        ([{"text": "a b", "label": "x"}], {"input_filename": "none*.jsonl"}, ["none*.jsonl"]),
    ],
)
def test_refusals_leave_nothing_behind(prepare_rows, tmp_path, rows, flags, words):
    with pytest.raises(DataError) as refusal:
        prepare_rows(rows, **flags)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "prepared" in str(p)]


def test_existing_output_overwrite_and_resume(prepare_rows, tmp_path):
    rows = sentences(80)
    target = str(tmp_path / "fixed" / "set.jsonl")
    first = prepare_rows(rows, output_filename=target)
    with pytest.raises(ConfigError, match="complete output exists"):
        prepare_rows(None, output_filename=target)
    resumed = prepare_rows(None, output_filename=target, resume=True)
    assert resumed["result"].status == "skipped" and resumed["result"].counts == first["result"].counts
    with pytest.raises(ConfigError, match="another configuration"):
        prepare_rows(None, output_filename=target, resume=True, seed=7)
    with pytest.raises(ConfigError, match="changed input"):
        prepare_rows(rows[:-1], output_filename=target, resume=True)
    Path(target.replace("set.jsonl", "set_report.json")).unlink()  # as after a kill before the mark
    again = prepare_rows(rows, output_filename=target, resume=True)
    assert again["result"].status == "done" and again["train"] == first["train"]


def test_a_full_disk_keeps_the_old_output(prepare_rows, tmp_path, monkeypatch):
    from raypipe.report import cards

    rows = sentences(80)
    target = tmp_path / "fixed" / "set.jsonl"
    prepare_rows(rows, output_filename=str(target))
    before = {p.name: p.read_bytes() for p in target.parent.iterdir() if p.is_file()}

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards, "dataset_card", full_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare_rows(rows, output_filename=str(target), overwrite=True, seed=1)
    assert {p.name: p.read_bytes() for p in target.parent.iterdir() if p.is_file()} == before
    assert not list(target.parent.glob(".staging*"))


def test_report_page_escapes_labels_and_needs_no_network(prepare_rows):
    rows = sentences(40) + [{"text": f"evil row {i} {i}x", "label": "<script>alert(1)</script>"} for i in range(3)]
    out = prepare_rows(rows)
    page = (out["folder"] / "set_report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "<svg" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "hf_access_token" not in out["report"]["config"]
