"""What a person decided about rows: through prepare, and against an obvious loop over a table."""

import numpy as np
import pytest
from conftest import write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import ConfigError, DataError, schema
from raypipe.core import text as core_text
from raypipe.data.corrections import correct, read_corrections
from raypipe.data.ingest import LINE_BITS
from raypipe.data.table import Table

ROWS = [{"text": f"{label}w{i} {label}v{i} {label}u{i}", "label": label} for label in "abc" for i in range(6)]
ROWS += [{"text": " aw0  av0 au0 ", "label": "b"}, {"text": "aw0 av0 au0", "label": "a"}, {"text": None, "label": "a"}]


def by_id(out):
    return {row["id"]: row["label"] for row in out["train"] + out["test"]}


def test_corrections_by_id_and_by_text_through_prepare(prepare_rows, tmp_path, capfd):
    (tmp_path / "map.csv").write_text("old,new\nc,d\n")
    path = write_jsonl(
        tmp_path / "fixes.jsonl",
        [
            {"text": "aw0\tav0 au0", "label": "b"},  # rows 1, 19, 20: one of them is b already
            {"id": "raw.jsonl:8", "label": 7.0},
            {"id": "raw.jsonl:9", "drop": True, "text": None, "label": ""},
            {"id": "raw.jsonl:13", "label": "c"},  # final: the label map comes before
            {"id": "raw.jsonl:14", "label": "d"},
            {"id": "raw.jsonl:21", "label": "a"},  # has no text
            {"id": "other.jsonl:1", "drop": True},
        ],
    )
    flags = {"label_map": str(tmp_path / "map.csv"), "max_bad_fraction": 0.5}
    out = prepare_rows(ROWS, corrections=str(path), labels_to_filter=("c",), **flags)
    labels = by_id(out)
    assert (labels["raw.jsonl:1"], labels["raw.jsonl:8"], labels["raw.jsonl:14"]) == ("b", "7.0", "d")
    ledger = {row["id"]: (row["label"], row["reason"]) for row in out["removed"]}
    assert ledger == {
        "raw.jsonl:9": ("b", "correction"),
        "raw.jsonl:13": ("c", "filtered_label"),
        "raw.jsonl:19": ("b", "exact_duplicate"),
        "raw.jsonl:20": ("b", "exact_duplicate"),
        "raw.jsonl:21": ("a", "missing_text"),
    }
    report = out["report"]
    assert report["rows_in"] == report["kept"] + len(ledger) == len(ROWS)
    assert report["corrections"] == {
        "rows_relabelled": 4,
        "rows_unchanged": 2,
        "rows_dropped": 1,
        "relabelled": [{"from": f, "to": t, "rows": n} for f, t, n in (("a", "b", 2), ("b", "7.0", 1), ("d", "c", 1))],
        "corrections": 7,
        "without_rows": 2,
    }
    said = capfd.readouterr().err
    assert "2 corrections match no row; the first is in line 6" in said and "'7.0' of --corrections is new" in said
    assert "4 rows got another label, 1 left" in (out["folder"] / "set_report.html").read_text()
    assert "4 of the raw rows got another label, 1 left." in (out["folder"] / "set_dataset/README.md").read_text()
    cut = prepare_rows(corrections=str(path), labels_to_filter=("c",), block_rows=2, **flags)
    for name in ("set_train.jsonl", "set_test.jsonl", "set_removed.jsonl", "set_dataset/README.md"):
        assert (cut["folder"] / name).read_bytes() == (out["folder"] / name).read_bytes()

    settings_ = {"output_filename": str(out["folder"] / "set.jsonl"), "labels_to_filter": ("c",), **flags}
    assert prepare_rows(corrections=str(path), resume=True, **settings_)["result"].status == "skipped"
    path.write_text(path.read_text().replace('"b"', '"d"'))
    with pytest.raises(ConfigError, match="--resume with changed input files"):
        prepare_rows(corrections=str(path), resume=True, **settings_)


def test_corrections_that_disagree_about_a_row_write_nothing(prepare_rows, tmp_path):
    path = write_jsonl(
        tmp_path / "fixes.jsonl", [{"id": "raw.jsonl:1", "label": "b"}, {"text": "aw0 av0 au0", "label": "c"}]
    )
    with pytest.raises(DataError, match=r"lines 1 and 2 say two things of raw.jsonl:1;") as caught:
        prepare_rows(ROWS, corrections=str(path), max_bad_fraction=0.5)
    assert caught.value.exit_code == 2 and not (tmp_path / "prepared-0").exists()


SUSPECTS = [
    {"id": "x:1", "text": "aw1 av1 au1", "label": "a", "correction": "drop"},
    {"id": "x:2", "text": "bw1 bv1 bu1", "label": "b", "correction": " c "},
    {"id": "x:3", "text": "bw2 bv2 bu2", "label": "a", "correction": "c"},  # no row of this text has this label
    {"id": "raw.jsonl:3", "label": "a", "correction": "a"},
    {"id": "x:5", "text": "cw1 cv1 cu1", "label": "c", "correction": None},
    {"id": "x:6", "text": "cw2 cv2 cu2", "label": "c", "correction": ""},
]


def test_a_suspects_file_is_used_as_it_is(prepare_rows, tmp_path):
    """Its rows are found by text and label, wherever they stand by now."""
    path = write_jsonl(tmp_path / "s.jsonl", SUSPECTS)
    report = prepare_rows(ROWS[:18], corrections=str(path))["report"]
    counted = ("rows_relabelled", "rows_unchanged", "rows_dropped", "without_rows", "corrections")
    assert [report["corrections"][name] for name in counted] == [1, 1, 1, 1, 4]
    with_drop = [*ROWS[:18], {"text": "one more of these", "label": "drop"}]
    with pytest.raises(DataError, match="'drop' is a label too"):
        prepare_rows(with_drop, corrections=str(path))
    write_jsonl(tmp_path / "in/s.jsonl", SUSPECTS)
    with pytest.raises(ConfigError, match="is one of the input files"):
        prepare_rows(corrections=str(tmp_path / "in/s.jsonl"), input_filename="*.jsonl")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"id": "a:1", "text": "t", "label": "b"}', "line 1 has both of id and text"),
        ('\n{"label": "b"}', "line 2 has neither of id and text"),
        ('{"id": "a:1", "label": "b", "drop": true}', "line 1 has both of label and drop"),
        ('{"id": "a:1"}', "line 1 has neither of label and drop"),
        ('{"id": "a:1", "drop": 3}', "neither true nor false"),
        ('{"id": 1, "label": "b"}', "an id or text that is no string"),
        ('{"id": "a:1", "correction": "b", "drop": true}', "both of correction and drop"),
        ('{"id": "a:1", "label": "b"}\n{"id": "a:1", "label": "c"}', "lines 1 and 2 say two things"),
        ('{"text": "t u", "label": "b"}\n{"text": " t  u", "drop": true}', "lines 1 and 2 say two things"),
        ("[1]", "line 1; expected a JSON object"),
        ('{"id": "a:1", "label": %s}' % ("1" * 5000), "line 1; expected a JSON object"),
        ('{"text": "\\ud800", "label": "b"}', "cannot be read"),
    ],
)
def test_corrections_that_are_refused(tmp_path, content, words):
    path = tmp_path / "fixes.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_corrections(str(path))
    assert f"--corrections {path}" in str(caught.value) and words in str(caught.value)


def test_corrections_as_csv(tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_bytes('\ufeffid,text,label,drop\r\na:1,,1.0,\r\n,"t,\n u",,TRUE\r\na:2,,b,false\r\n'.encode())
    assert [c[1:] for c in read_corrections(str(path))] == [
        ("a:1", None, None, "1.0"),
        (None, core_text.key("t, u"), None, None),
        ("a:2", None, None, "b"),
    ]
    path.write_text("id,label\na:1\n")
    with pytest.raises(ConfigError, match="record 1 has another number of fields"):
        read_corrections(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_corrections(str(tmp_path / "none.csv"))


def table_of(texts, labels, usable):
    """A table of two files, one row a line; no blocks, for these stages ask for no text."""
    rows, names = len(texts), sorted(set(labels))
    keys = np.array([core_text.key(core_text.canonical(text)) for text in texts], np.int64).reshape(-1, 2)
    place = np.arange(rows)
    label = np.array([names.index(name) for name in labels])
    return Table(
        files=["a.jsonl", "b.jsonl"],
        shards=[],
        order=(place % 2 << LINE_BITS | place + 1)[np.argsort(place % 2, kind="stable")],
        names=names,
        label=label,
        raw_label=label.copy(),
        key_high=keys[:, 0],
        key_low=keys[:, 1],
        letters=np.zeros(rows, np.int64),
        unspaced=np.zeros(rows, np.int64),
        reason=np.where(usable, -1, schema.REASONS.index(schema.EMPTY_TEXT)).astype(np.int8),
        columns=[],
        ingest_details={},
    )


TEXTS, LABELS = st.sampled_from(["t u", "t  u", "v", "w x"]), st.sampled_from(["a", "b", "c"])
FIX = st.one_of(
    st.fixed_dictionaries({"id": st.integers(0, 9), "label": LABELS}),
    st.fixed_dictionaries({"id": st.integers(0, 9), "drop": st.just(True)}),
    st.fixed_dictionaries({"text": TEXTS, "label": LABELS}),
    st.fixed_dictionaries({"text": TEXTS, "label": LABELS, "correction": st.sampled_from(["a", "b", "drop", None])}),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, LABELS, st.booleans()), min_size=1, max_size=8), st.lists(FIX, max_size=4))
def test_corrections_equal_an_obvious_loop(tmp_path_factory, rows, fixes):
    table = table_of(*zip(*rows, strict=True))
    ids = [table.row_id(row) for row in range(len(rows))]
    known = [*ids, "a.jsonl:99", "a.jsonl:x"]
    fixes = [fix | {"id": known[fix["id"] % len(known)]} if "id" in fix else fix for fix in fixes]
    path = write_jsonl(tmp_path_factory.mktemp("fixes") / "f.jsonl", fixes)
    told = [set() for _ in rows]
    for fix in fixes:
        new = fix.get("correction", "") if "correction" in fix else ("drop" if "drop" in fix else fix["label"])
        for row, (text, label, usable) in enumerate(rows):
            same = ids[row] == fix["id"] if "id" in fix else text.split() == fix["text"].split()
            if usable and same and new is not None and ("correction" not in fix or label == fix["label"]):
                told[row].add(new)
    try:
        correct(table, read_corrections(str(path)))
    except ConfigError:
        return  # two lines about the same id or text: refused whatever the rows are
    except DataError:
        assert any(len(decisions) > 1 for decisions in told)
        return
    assert all(len(t) <= 1 for t in told)
    for row, (_, label, usable) in enumerate(rows):
        new = next(iter(told[row]), label)
        dropped = new == "drop"
        assert table.is_alive[row] == (usable and not dropped)
        assert table.names[table.label[row]] == (label if dropped else new)
        assert table.names[table.raw_label[row]] == (label if dropped else new)
    found = table.corrections
    assert found["rows_dropped"] == table.reasons().get("correction", 0)
    assert found["rows_relabelled"] + found["rows_unchanged"] + found["rows_dropped"] == sum(map(bool, told))
    assert sum(table.reasons().values()) + len(table.alive) == len(rows)


def test_a_column_without_a_name_is_no_field_too_many(tmp_path):
    path = tmp_path / "fixes.csv"
    path.write_text(",id,label\n0,raw.jsonl:1,b\n")
    assert [(found.row_id, found.label) for found in read_corrections(str(path))] == [("raw.jsonl:1", "b")]
    path.write_text(",id,label\n0,raw.jsonl:1,b,c\n")
    with pytest.raises(ConfigError, match="record 1 has another number of fields"):
        read_corrections(str(path))
