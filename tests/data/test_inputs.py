"""Hostile input files through the whole prepare: every record is either kept as written or in the ledger."""

import codecs
import gzip
import json
import os
import random
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import read_jsonl, sentences, write_jsonl

from raypipe import ConfigError, DataError, PrepareConfig, cli, pipeline, schema
from raypipe.data import ingest

FILLER = [{"text": f"plain{i} filler{i} row{i}", "label": "xy"[i % 2]} for i in range(40)]
LONG = "long " + "w" * 1_000_000


def expect(text, label, reason="", detail=None):
    return text, label, reason, detail


def jsonl_case():
    """Lines of a JSONL file, and what becomes of each by its line number."""
    deep = '{"a": ' * 300 + "1" + "}" * 300
    lines = {
        '{"text": "line\u2028separator inside\u0085too", "label": "x"}': expect(
            "line\u2028separator inside\u0085too", "x"
        ),
        '{"text": "a\\u0000b nul", "label": "y\\u0000"}': expect("a\x00b nul", "y\x00"),
        "": None,
        json.dumps({"text": LONG, "label": "x"}): expect(LONG, "x"),
        "  \t ": None,
        '{"text": "whole number", "label": 1}': expect("whole number", "1"),
        '{"text": "decimal number", "label": 1.0}': expect("decimal number", "1.0"),
        '{"text": "truth", "label": true}': expect("truth", "true"),
        '{"text": "surrounded", "label": "  x "}': expect("surrounded", "x"),
        '{"text": "twice", "label": "x", "label": "y"}': expect("twice", "y"),
        '{"text": "\\r cr and \\r\\n crlf", "label": "x"}': expect("\r cr and \r\n crlf", "x"),
        f'{{"text": "deep extra", "label": "x", "extra": {deep}}}': expect("deep extra", "x"),
        '{"text": "spaces", "label": "   "}': expect("spaces", None, schema.MISSING_LABEL),
        '{"text": "none", "label": null}': expect("none", None, schema.MISSING_LABEL),
        '{"text": "nan", "label": NaN}': expect("nan", None, schema.MISSING_LABEL),
        '{"text": "lists", "label": ["x", "y"]}': expect("lists", None, schema.MISSING_LABEL, "multi-label"),
        '{"text": "objects", "label": {"x": 1}}': expect("objects", None, schema.MISSING_LABEL, "object"),
        '{"text": null, "label": "x"}': expect("", "x", schema.MISSING_TEXT),
        '{"text": NaN, "label": "x"}': expect("", "x", schema.MISSING_TEXT),
        '{"text": 7.50, "label": "x"}': expect("7.50", "x", schema.MISSING_TEXT, "number"),
        '{"text": ["a"], "label": "x"}': expect('["a"]', "x", schema.MISSING_TEXT, "list"),
        '{"label": "x"}': expect("", "x", schema.MISSING_TEXT),
        '{"text": "\\u3000 \\n", "label": "x"}': expect("\u3000 \n", "x", schema.EMPTY_TEXT),
        '{"text": "lone \\ud83d half", "label": "x"}': expect(None, None, schema.BAD_JSON, "surrogate"),
        '{"text": "cut off", "label": "x"': expect(None, None, schema.BAD_JSON, "character"),
        '["text", "x"]': expect(None, None, schema.BAD_JSON, "list"),
        "\x00\x00": expect(None, None, schema.BAD_JSON, "character"),
        "[" * 100_000: expect(None, None, schema.BAD_JSON, "deep"),
    }
    expected = {}
    for number, (line, row) in enumerate(lines.items(), 1):
        if row is not None:
            expected[number] = row if row[0] is not None else (line, *row[1:])
    return list(lines), expected


def csv_case():
    text = (
        '\ufefftext,other,label,other\r\n"two\r\nlines, ""quoted""",1,x,2\r\n\r\nNA,,null,\r\n'
        "0,1,1.0,2\rlone cr,1,y,2\r"
        "ragged,1\n"
        f"nul\x00in csv,1,x,2\n{'h' * 300_000} huge,1,x,2\n"
        " ,1,x,2\nno label,1, ,2\nlast,1,x,2"
    )
    rows = [
        expect('two\r\nlines, "quoted"', "x"),
        expect("NA", "null"),
        expect("0", "1.0"),
        expect("lone cr", "y"),
        expect("ragged,1", None, schema.BAD_JSON, "2 fields under 4 columns"),
        expect("nul\x00in csv", "x"),
        expect("h" * 300_000 + " huge", "x"),
        expect(" ", "x", schema.EMPTY_TEXT),
        expect("no label", None, schema.MISSING_LABEL),
        expect("last", "x"),
    ]
    return text.encode(), dict(enumerate(rows, 1))


def parquet_cases():
    """Tables by file name, and the expected rows."""
    texts = [f"parquet text{i}" for i in range(4)]
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0\x08\0\0\0"), pa.py_buffer(b"fineca\xff\xff")]
    )
    cases = {
        "whole": ([1, None, 3, -4], ["1", None, "3", "-4"]),
        "float": ([1.0, float("nan"), float("inf"), 0.5], ["1.0", None, None, "0.5"]),
        "bool": ([True, False, None, True], ["true", "false", None, "true"]),
        "list": ([["a"], [], None, ["b"]], [None] * 4),
        "struct": ([{"a": 1}, None, {"a": 2}, {"a": 3}], [None] * 4),
        "decimal": ([Decimal("1.50"), None, Decimal("2.00"), Decimal("3.25")], ["1.50", None, "2.00", "3.25"]),
        "dictionary": (pa.array(["x", "y", None, "x"]).dictionary_encode(), ["x", "y", None, "x"]),
        "large": (pa.array(["x", " ", "y", "x "], pa.large_string()), ["x", None, "y", "x"]),
        "binary": (pa.array([b"x", b"\xff", None, b"y"]), [None] * 4),
    }
    tables, expected = {}, {}
    for name, (labels, wanted) in cases.items():
        own = [f"{name} {text}" for text in texts]
        encoded = pa.array(own).dictionary_encode() if name == "dictionary" else pa.array(own, pa.large_string())
        tables[name] = pa.table({"label": labels, "text": encoded, "more": [0] * 4})
        rows = [expect(t, w, "" if w else schema.MISSING_LABEL) for t, w in zip(own, wanted, strict=True)]
        expected |= {f"p/{name}.parquet:{n}": row for n, row in enumerate(rows, 1)}
    tables["zero"] = tables["whole"].slice(0, 0)
    tables["other-columns"] = pa.table({"body": ["a", "b"]})
    tables["bytes"] = pa.table({"text": [b"caf\xe9", None], "label": ["x", "y"]})
    tables["broken"] = pa.table({"text": broken, "label": ["x", "y"]})
    expected |= {
        "p/other-columns.parquet:1": expect("", None, schema.MISSING_TEXT),
        "p/other-columns.parquet:2": expect("", None, schema.MISSING_TEXT),
        "p/bytes.parquet:1": expect("caf\ufffd", "x", schema.MISSING_TEXT, "binary"),
        "p/bytes.parquet:2": expect("", "y", schema.MISSING_TEXT),
        "p/broken.parquet:1": expect("fine", "x"),
        "p/broken.parquet:2": expect("ca\ufffd\ufffd,y", None, schema.BAD_JSON, "UTF-8"),
    }
    return tables, expected


def test_every_record_of_every_format_is_kept_or_in_the_ledger(prepare_rows, tmp_path):
    """One run over a glob of hostile files, some of them empty."""
    folder = tmp_path / "in"
    lines, of_lines = jsonl_case()
    expected = {f"a.jsonl:{n}": row for n, row in of_lines.items()}
    write_jsonl(folder / "filler.jsonl", FILLER)
    expected |= {f"filler.jsonl:{n}": expect(r["text"], r["label"]) for n, r in enumerate(FILLER, 1)}
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode())  # no newline at the end
    (folder / "b").mkdir()
    odd = b'{"text": "first member", "label": "x"}\r\n'
    latin = '{"text": "caf\xe9", "label": "x"}'.encode("latin-1")
    members = [codecs.BOM_UTF8 + odd, latin + b"\r\n\r\n", b'{"text": "third ', b'member", "label": "y"}']
    (folder / "b" / "members.jsonl.gz").write_bytes(b"".join(map(gzip.compress, members)))
    expected["b/members.jsonl.gz:1"] = expect("first member", "x")
    expected["b/members.jsonl.gz:2"] = expect('{"text": "caf\ufffd", "label": "x"}', None, schema.BAD_JSON, "UTF-8")
    expected["b/members.jsonl.gz:4"] = expect("third member", "y")
    content, of_records = csv_case()
    (folder / "b" / "c.csv").write_bytes(content)
    expected |= {f"b/c.csv:{n}": row for n, row in of_records.items()}
    tables, of_tables = parquet_cases()
    (folder / "p").mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / "p" / f"{name}.parquet")
    expected |= of_tables
    for name in ("0.jsonl", "0.csv", "0.jsonl.gz", "z.jsonl"):
        (folder / name).write_bytes(b"")
    (folder / "header.csv").write_bytes(b"label,text\n")
    (folder / "bom.csv").write_bytes(codecs.BOM_UTF8)
    (folder / "blank.jsonl").write_bytes(b"\n\r\n \n")

    out = prepare_rows(None, input_filename="**/*", max_bad_fraction=0.9, similarity_threshold=1.0, block_rows=7)
    found = {r["id"]: (r["text"], r["label"], r.get("reason", ""), r.get("detail")) for r in all_rows(out)}
    assert set(found) == set(expected)
    for row_id, (text, label, reason, detail) in expected.items():
        got = found[row_id]
        assert got[:3] == (text, label, reason), row_id
        assert detail is None or detail in got[3], row_id
    assert out["report"]["rows_in"] == len(expected)
    assert out["report"]["extra_columns"] == ["extra", "other", "more", "body"]
    assert out["report"]["files"] == files_of(
        out, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    )
    lists = sum("multi-label" in (r["detail"] or "") for r in out["removed"])
    assert lists == 4 and any(n.startswith("4 rows have a list of labels") for n in out["report"]["notices"])


def files_of(out, names):
    """The account of the input files by the ledger and the sides."""
    counts = {name: {"rows": 0, "unusable": 0, "kept": 0} for name in names}
    for row in all_rows(out):
        count = counts[row["id"].rsplit(":", 1)[0]]
        count["rows"] += 1
        count["unusable"] += row.get("reason") in schema.UNUSABLE
        count["kept"] += "reason" not in row
    return counts


def all_rows(out):
    return out["train"] + out["test"] + out["removed"]


def test_a_file_in_pieces_gives_the_same_rows(prepare_rows, tmp_path, monkeypatch):
    from raypipe.data import ingest

    rng = random.Random(4)
    lines = [json.dumps(r | {"pad": "é" * rng.choice([0, 0, 3, 1500])}, ensure_ascii=False) for r in sentences(28)]
    lines[5:5] = ["", "  ", "\u2028"]
    path = tmp_path / "in" / "raw.jsonl"
    for end, last in (("\n", ""), ("\r\n", "\r\n"), ("\n", "\n\n\n")):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(codecs.BOM_UTF8 + (end.join(lines) + last).encode())
        starts = [len((end.join(lines[:n]) + end).encode()) + 3 for n in (10, 16)]
        wanted = None
        for size in (1 << 24, 800, starts[0], starts[1] - 1):  # a piece that begins where a line does, or a byte before
            monkeypatch.setattr(ingest, "PIECE_BYTES", size)
            out = prepare_rows(None, max_bad_fraction=0.1)
            assert out["report"]["rows_in"] == 29
            ids = {int(r["id"].split(":")[1]) for r in all_rows(out)}
            assert ids == set(range(1, 32)) - {6, 7}
            wanted = wanted or sorted(all_rows(out), key=lambda r: r["id"])
            assert sorted(all_rows(out), key=lambda r: r["id"]) == wanted


ONE = b'{"text": "x y", "label": "a"}\n'
REFUSED = {
    "utf16.jsonl": (ONE.decode().encode("utf-16"), ["utf16.jsonl is UTF-16", "iconv"]),
    "utf16.csv": ("text,label\nx,a\n".encode("utf-16"), ["utf16.csv is UTF-16"]),
    "utf16.jsonl.gz": (gzip.compress(ONE.decode().encode("utf-16")), ["is UTF-16"]),
    "utf32.jsonl": (codecs.BOM_UTF32_BE + ONE.decode().encode("utf-32-be"), ["UTF-32"]),
    "zipped.jsonl": (gzip.compress(ONE), ["zipped.jsonl holds gzip", ".jsonl.gz"]),
    "cut.jsonl.gz": (gzip.compress(ONE * 500)[:-9], ["cut.jsonl.gz cannot be decompressed", "a whole gzip file"]),
    "plain.jsonl.gz": (b"secret words\n", ["plain.jsonl.gz cannot be decompressed"]),
    "twice.csv": (b"text,label,text\nx,a,y\n", ["twice.csv has 2 columns 'text'"]),
    "open.csv": (b'text,label\nx,a\n"secret,b\nz,c\n', ["open.csv: the last field of record 2", "never ends"]),
    "cut.parquet": (b"PAR1" + b"\0" * 40, ["cut.parquet cannot be read as Parquet"]),
    "none.parquet": (b"", ["none.parquet cannot be read as Parquet"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_stops_the_run(prepare_rows, tmp_path, name):
    """As the first file, looked at on the driver, and as the last one, read in a worker."""
    content, words = REFUSED[name]
    write_jsonl(tmp_path / "in" / "0.jsonl", FILLER)
    (tmp_path / "in" / name).write_bytes(content)
    for pattern in (name, "*"):
        with pytest.raises(Exception) as caught:
            prepare_rows(None, input_filename=pattern)
        error = cli._explained(caught.value)
        assert isinstance(error, DataError) and error.exit_code == 2
        assert all(word in str(error) for word in words), str(error)
        assert "secret" not in str(error)
        assert "UDF" not in str(error) and "\n" not in str(error), "Ray's own words are in the message"
    assert not list(tmp_path.glob("prepared*")), "nothing is written"


def test_columns_that_stand_twice_in_parquet(prepare_rows, tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.table([["a", "b"], ["x", "y"], ["x", "y"]], names=["text", "label", "label"])
    pq.write_table(table, tmp_path / "in" / "raw.parquet")
    with pytest.raises(DataError, match="has 2 columns 'label'"):
        prepare_rows(None, input_filename="raw.parquet")


def test_only_empty_files(prepare_rows, tmp_path):
    for name, content in (("a.jsonl", b"\n \r\n"), ("b.csv", b"text,label\n"), ("c.jsonl.gz", b"")):
        write_jsonl(tmp_path / "in" / name, [])
        (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(DataError, match=r"no rows in a\.jsonl, b\.csv, c"):
        prepare_rows(None, input_filename="*")


def test_the_share_of_bad_rows_at_its_border(prepare_rows, tmp_path):
    rows = [*FILLER[:18], "{", {"text": 5, "label": "x"}]
    firsts = r"1 bad_json \(raw\.jsonl:19: Expec.*\), 1 missing_text \(raw\.jsonl:20: text is a number\)"
    with pytest.raises(DataError, match=firsts):
        prepare_rows(rows, max_bad_fraction=0.0999)
    assert not list(tmp_path.glob("prepared*"))
    assert prepare_rows(rows, max_bad_fraction=0.1)["report"]["removed"] == {"bad_json": 1, "missing_text": 1}
    with pytest.raises(DataError, match="1 of 20"):
        prepare_rows([*FILLER[:19], "{"], max_bad_fraction=0)


def test_a_file_name_that_is_not_utf8(prepare_rows, tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(40))
    os.rename(tmp_path / "in" / "raw.jsonl", os.fsencode(tmp_path / "in") + b"/caf\xe9.jsonl")
    with pytest.raises(DataError, match=r"the input file caf\\udce9\.jsonl; expected a name in UTF-8"):
        prepare_rows(None, input_filename="*.jsonl")


def test_a_csv_file_that_is_called_jsonl(prepare_rows):
    with pytest.raises(
        DataError, match=r"3 of 3 rows .*3 bad_json.* Remedy: one JSON object on each line of a \.jsonl"
    ):
        prepare_rows(["text,label", "hello,a", "good bye,b"])


def test_a_file_in_latin_1(prepare_rows, tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", [])
    (tmp_path / "in" / "raw.jsonl").write_bytes('{"text": "caf\xe9", "label": "x"}\n'.encode("latin-1") * 3)
    with pytest.raises(DataError, match=r"3 bad_json \(raw\.jsonl:1: not UTF-8\).* Remedy: UTF-8, such as iconv"):
        prepare_rows(None)


def test_a_log_that_begins_without_labels_is_read_and_a_column_that_never_comes_is_refused(tmp_path):
    bare, labelled = {"text": "early"}, {"text": "late", "label": "x"}
    write_jsonl(tmp_path / "log.jsonl", [*[bare] * 300, labelled])
    ingest.peek(str(tmp_path), ["log.jsonl"], "text", "label")
    with pytest.raises(DataError, match=r"no column 'lable' .*'text', 'label'") as caught:
        ingest.peek(str(tmp_path), ["log.jsonl"], "text", "lable")
    assert caught.value.args[1:] == ("the column of --subject", "did you mean 'label'?")
    with pytest.raises(DataError) as caught:
        ingest.peek(str(tmp_path), ["log.jsonl"], "body", None, ("--text", "--subject-column"))
    assert caught.value.args[1:] == ("the column of --text", "--text COLUMN")


def test_a_label_that_is_an_id_and_files_without_rows_are_noticed(prepare_rows, tmp_path):
    write_jsonl(tmp_path / "in" / "good.jsonl", [row | {"id": str(n)} for n, row in enumerate(sentences(100))])
    write_jsonl(tmp_path / "in" / "other.jsonl", [{"body": "x", "topic": "y"}] * 3)
    (tmp_path / "in" / "empty.jsonl").write_text("")
    plain = prepare_rows(None, input_filename="*.jsonl", max_bad_fraction=0.1)["report"]["notices"]
    assert any("2 input file(s) without a usable row: empty.jsonl, other.jsonl" in notice for notice in plain)
    assert not any("the only one of their class" in notice for notice in plain)
    notices = prepare_rows(None, input_filename="good.jsonl", subject="id", overwrite=True)["report"]["notices"]
    assert any("is 'id' the column of a label?" in notice for notice in notices)
    assert not any("without a usable row" in notice for notice in notices)


def test_labels_that_look_like_no_value_and_own_ids_are_noticed(prepare_rows):
    rows = [*sentences(40), *[{"text": word * 3, "label": "nan", "id": word} for word in ("odd", "even", "both")]]
    notices = prepare_rows(rows)["report"]["notices"]
    assert any("are classes here: 'nan' (3 kept)" in notice for notice in notices)
    assert any("the input's own id not carried" in notice for notice in notices)
    filtered = prepare_rows(rows, labels_to_filter=("nan",), overwrite=True)["report"]["notices"]
    assert not any("missing value" in notice for notice in filtered)


def test_input_and_output_places_that_cannot_be(tmp_path):
    write_jsonl(tmp_path / "in" / "raw.jsonl", sentences(20))
    for folder, words in (("nowhere", "does not exist"), ("in/raw.jsonl", "is a file")):
        with pytest.raises(DataError, match=words):
            ingest.find(str(tmp_path / folder), "raw.jsonl")
    config = {"input_dir": str(tmp_path / "in"), "input_filename": "raw.jsonl"}
    with pytest.raises(ConfigError, match=r"raw\.jsonl is not a folder"):
        pipeline.prepare(
            PrepareConfig(**config, output_filename=str(tmp_path / "in" / "raw.jsonl" / "x" / "set.jsonl"))
        )


def test_texts_that_are_equal_but_for_form_and_space(prepare_rows):
    rows = [*FILLER, {"text": "cafe\u0301\u2028 au  lait", "label": "x"}, {"text": " café au lait\r\n", "label": "x"}]
    out = prepare_rows(rows)
    assert [(r["id"], r["reason"], r["similarity"]) for r in out["removed"]] == [
        ("raw.jsonl:42", "exact_duplicate", 1.0)
    ]
    assert Counter(r["text"] for r in read_jsonl(out["folder"] / "set_removed.jsonl"))[" café au lait\r\n"] == 1


def test_a_broken_file_found_by_a_worker_is_one_clear_line(local_ray, tmp_path, capfd):
    write_jsonl(tmp_path / "in" / "0.jsonl", FILLER * 6)  # enough rows that the door does not open the next file
    (tmp_path / "in" / "cut.jsonl.gz").write_bytes(gzip.compress(ONE * 500)[:-9])
    words = ["prepare", "-i", str(tmp_path / "in"), "-f", "*", "-o", str(tmp_path / "out" / "set.jsonl")]
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    out, err = capfd.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert "Traceback" not in err and "ray.exceptions" not in err
    said = [line for line in err.splitlines() if line.startswith("raypipe prepare: ")]
    assert len(said) == 1 and "cut.jsonl.gz cannot be decompressed" in said[0] and said[0].endswith("a whole gzip file")


def test_a_second_file_without_a_header_is_refused_without_its_texts(prepare_rows, tmp_path):
    rows = "".join(f"text {n},{'xy'[n % 2]}\n" for n in range(20))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "in" / "b.csv").write_text(f"My card 4111 was stolen by Bob Smith,lost\n{rows}")
    with pytest.raises(DataError, match=r"b\.csv:1: no 'text' among its columns \(a long name") as refused:
        prepare_rows(input_filename="*.csv")
    assert "Bob" not in str(refused.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch, name):
    write_jsonl(tmp_path / name, FILLER)

    def no_right(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("raypipe.data.reading.fsspec.open", no_right)  # these tests may run as root, who reads all
    for read in (
        lambda: ingest.peek(str(tmp_path), [name], "text", "label"),
        lambda: ingest._newlines(str(tmp_path / name), 0, 9),  # a later file, of many pieces
    ):
        with pytest.raises(DataError, match=rf"no right to read .*{name}"):
            read()
