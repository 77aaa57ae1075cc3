"""Each kind of bad record to its reason; usable ones to the text and label that were written."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import DataError, schema
from raypipe.data.records import Record, from_values, parse_csv, parse_json_line, without_quote

FEW = settings(max_examples=100, deadline=None, derandomize=True)
UNICODE = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | UNICODE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(UNICODE, inner, max_size=3),
    max_leaves=6,
)


def parsed(raw: bytes | str, line: int = 2) -> Record:
    record = parse_json_line(raw if isinstance(raw, bytes) else raw.encode(), line, "text", "label")
    assert record is not None
    assert record.line == line
    return record


def label_of(literal: str) -> Record:
    return parsed(f'{{"text": "x", "label": {literal}}}')


def text_of(literal: str) -> Record:
    return parsed(f'{{"text": {literal}, "label": "a"}}')


def csv_rows(text: str) -> list[Record]:
    return list(parse_csv(io.StringIO(text, newline=""), "text", "label"))


def test_a_usable_line() -> None:
    record = parsed('{"text": "  Zwei  Wörter ", "label": " a b ", "other": 1}')
    assert record[:5] == (2, "  Zwei  Wörter ", "a b", "", "")
    assert list(record.columns) == ["text", "label", "other"]


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b'{"text": "x"', " at character 13"),
        (b"not json", " at character 1"),
        (b'{"text": "x", "label": "a"} {}', " at character 29"),
        (b"{'text': 'x'}", " at character 2"),
        (b'["x", "a"]', "a JSON list, not an object"),
        (b'"x"', "a JSON string, not an object"),
        (b"1.5", "a JSON number, not an object"),
        (b"true", "a JSON boolean, not an object"),
        (b"null", "a JSON null, not an object"),
        (b'{"text": "a\x00b", "label": "x"}', " at character 12"),
        (b"\x00\x00\x00", " at character 1"),
        (b'{"text": "\\ud800", "label": "a"}', "half of a surrogate pair"),
        (b'{"text": "x", "label": "\\udc00"}', "half of a surrogate pair"),
        (b'{"text": ["\\ud800"], "label": "a"}', "half of a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"text": "x", "label": ' + b'{"a": ' * 100_000, "nested too deeply"),
        (b'\xef\xbb\xbf{"text": "x", "label": "a"}', " at character 1"),  # not on line 1
    ],
)
def test_lines_that_are_no_object_are_bad_json_and_kept_as_they_are(raw: bytes, detail: str) -> None:
    record = parsed(raw + b"\r\n")
    assert (record.text, record.label, record.reason, record.columns) == (raw.decode(), "", schema.BAD_JSON, ())
    assert record.detail.endswith(detail) and (detail[0] == " " or record.detail == detail)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b'{"text": "caf\xe9", "label": "a"}', b'{"text": "\xed\xa0\x80"}'])
def test_bytes_that_are_not_utf8_are_bad_json(raw: bytes) -> None:
    record = parsed(raw)
    assert (record.reason, record.detail, record.label) == (schema.BAD_JSON, "not UTF-8", "")
    assert record.text == raw.decode(errors="replace")


@pytest.mark.parametrize("raw", [b"", b"\n", b"  \t \r\n", b"\xef\xbb\xbf\n"])
def test_a_blank_line_is_no_row(raw: bytes) -> None:
    assert parse_json_line(raw, 1, "text", "label") is None


def test_a_byte_order_mark_on_line_1_belongs_to_no_text() -> None:
    assert parsed(b'\xef\xbb\xbf{"text": "x", "label": "a"}\n', 1)[:5] == (1, "x", "a", "", "")
    assert parsed(b"\xef\xbb\xbfnonsense", 1).text == "nonsense"


def test_carriage_returns_end_a_line() -> None:
    assert parsed(b'{"text": "x", "label": "a"}\r\n') == parsed(b'{"text": "x", "label": "a"}')
    assert parsed(b'{"text": "x\\r\\n", "label": "a"}\r\n').text == "x\r\n"


def test_escaped_characters_are_text() -> None:
    assert parsed(rb'{"text": "a\u0000b", "label": "\ud83d\ude00"}')[1:4] == ("a\x00b", "\U0001f600", "")


@pytest.mark.parametrize(
    "literal", ["1", "1.0", "1e3", "1E+3", "-0", "0.10", "1e400", "123456789012345678901234567890", "9" * 5000]
)
def test_a_number_as_label_keeps_its_literal(literal: str) -> None:
    assert label_of(literal)[2:5] == (literal, "", "")


@pytest.mark.parametrize(("literal", "label"), [("true", "true"), ("false", "false"), ('"1"', "1"), ('" NA "', "NA")])
def test_booleans_and_strings_as_labels(literal: str, label: str) -> None:
    assert label_of(literal)[2:5] == (label, "", "")


@pytest.mark.parametrize("literal", ["null", "NaN", "Infinity", "-Infinity", '""', '" \\t\\n"'])
def test_no_label(literal: str) -> None:
    assert label_of(literal)[1:5] == ("x", "", schema.MISSING_LABEL, "")
    assert parsed('{"text": "x"}')[1:5] == ("x", "", schema.MISSING_LABEL, "no 'label' among its columns ('text')")


@pytest.mark.parametrize("literal", ['["a"]', '["a", "b"]', "[]"])
def test_a_list_of_labels_says_that_multi_label_input_is_not_supported(literal: str) -> None:
    record = label_of(literal)
    assert (record.label, record.reason) == ("", schema.MISSING_LABEL)
    assert record.detail == f"label is a list, {literal}; multi-label input is not supported"


def test_an_object_as_label_is_no_label() -> None:
    record = label_of('{"a": 1}')
    assert (record.label, record.reason) == ("", schema.MISSING_LABEL)
    assert record.detail == 'label is an object, {"a": 1}'


def test_of_a_label_that_is_none_the_ledger_has_the_value_cut_where_it_is_long_and_without_half_characters() -> None:
    assert label_of('["\\ud83d"]').detail.startswith('label is a list, ["?"];')
    long = label_of(json.dumps({"a": "b" * 5000})).detail
    assert long.endswith("b…") and len(long) < 1100


@pytest.mark.parametrize(
    ("literal", "detail"),
    [
        ("null", ""),
        ("1", "number"),
        ("1.5", "number"),
        ("true", "boolean"),
        ('["a"]', "list"),
        ('{"a": "b"}', "object"),
    ],
)
def test_text_that_is_no_string_is_missing(literal: str, detail: str) -> None:
    record = text_of(literal)
    assert (record.reason, record.label) == (schema.MISSING_TEXT, "a")
    assert record.detail.endswith(detail) and bool(record.detail) == bool(detail)
    assert parsed('{"label": "a"}')[1:5] == ("", "a", schema.MISSING_TEXT, "no 'text' among its columns ('label')")


@pytest.mark.parametrize("literal", ["1", "1.0", "-0", "1e3", "0.10", "true", '["a", {"ä": null}]'])
def test_the_ledger_shows_text_that_is_no_string_as_it_was_written(literal: str) -> None:
    assert text_of(literal).text == literal


@pytest.mark.parametrize("literal", ["[1, 2.5]", '{"a": 1.0}'])
def test_numbers_inside_text_that_is_no_string_stay_numbers(literal: str) -> None:
    assert text_of(literal).text == literal


def test_a_huge_number_as_text_is_missing_text() -> None:
    """Python refuses to convert integers of more than 4,300 digits, with a plain ValueError."""
    digits = "9" * 5000
    record = text_of(digits)
    assert (record.text, record.reason, record.detail) == (digits, schema.MISSING_TEXT, "text is a number")


@pytest.mark.parametrize("literal", ['""', '"   "', '"\\t\\r\\n"', '"\u00a0\u3000"'])
def test_white_space_is_empty_text(literal: str) -> None:
    record = text_of(literal)
    assert record[1:5] == (json.loads(literal), "a", schema.EMPTY_TEXT, "")


def test_one_reason_each_in_the_order_of_the_stages() -> None:
    assert parsed('{"text": null, "label": null}').reason == schema.MISSING_TEXT
    assert parsed('{"text": " ", "label": null}').reason == schema.MISSING_LABEL


def test_without_a_label_column_labels_are_not_asked_for() -> None:
    assert parse_json_line(b'{"text": "x", "label": ["a"]}', 1, "text", None) == (1, "x", "", "", "", {"text", "label"})
    empty = parse_json_line(b'{"text": " "}', 1, "text", None)
    assert empty is not None and empty.reason == schema.EMPTY_TEXT


def test_other_column_names() -> None:
    record = parse_json_line('{"body": "x", "тема": 3, "text": null}'.encode(), 7, "body", "тема")
    assert record is not None and record[:4] == (7, "x", "3", "")


@FEW
@given(UNICODE, UNICODE, st.booleans(), st.sampled_from(["\n", "\r\n", ""]))
def test_strings_come_back_as_they_were_written(text: str, label: str, ascii_only: bool, end: str) -> None:
    record = parsed(json.dumps({"text": text, "label": label}, ensure_ascii=ascii_only) + end)
    assert (record.text, record.label) == (text, label.strip())
    expected = schema.MISSING_LABEL if not label.strip() else schema.EMPTY_TEXT if not text.strip() else ""
    assert record.reason == expected


@FEW
@given(VALUES, VALUES)
def test_any_json_values_have_the_reason_of_their_kind(text: Any, label: Any) -> None:
    record = parsed(json.dumps({"text": text, "label": label}))
    if isinstance(label, str):
        written = label.strip()
    else:
        written = "" if label is None or isinstance(label, list | dict) else json.dumps(label)
    assert record.label == written
    if not isinstance(text, str):
        assert record.reason == schema.MISSING_TEXT
    elif not written:
        assert record.reason == schema.MISSING_LABEL
    else:
        assert record.reason == ("" if text.strip() else schema.EMPTY_TEXT)
    record.text.encode()


@FEW
@given(st.binary(max_size=40) | st.text('{}[]",:\\ tfn01.-eu\x00', max_size=40).map(str.encode), st.integers(1, 2))
def test_no_bytes_break_the_parser(raw: bytes, line: int) -> None:
    record = parse_json_line(raw, line, "text", "label")
    if record is None:
        assert not raw.removeprefix(b"\xef\xbb\xbf").strip()
        return
    assert record.reason in ("", *schema.UNUSABLE)
    assert record.reason or (record.text.strip() and record.label)
    record.text.encode(), record.label.encode()


def test_parquet_values_have_the_types_of_parquet() -> None:
    def label(value: Any) -> tuple[str, str]:
        record = from_values({"text": "x", "label": value}, 1, "text", "label")
        return record.label, record.reason

    assert label(1) == ("1", "")
    assert label(1.0) == ("1.0", "")
    assert label(True) == ("true", "")
    assert label(float("nan")) == label(None) == ("", schema.MISSING_LABEL)
    assert from_values({"text": 3, "label": "a"}, 1, "text", "label")[1:5] == (
        "3",
        "a",
        schema.MISSING_TEXT,
        "text is a number",
    )


def test_csv_cells_are_never_inferred() -> None:
    rows = csv_rows("text,label\nNA,NA\n0,0\n1.0,1.0\nnull,null\nTrue,True\n1e3,007\n")
    pairs = [("NA", "NA"), ("0", "0"), ("1.0", "1.0"), ("null", "null"), ("True", "True"), ("1e3", "007")]
    assert [(r.text, r.label) for r in rows] == pairs
    assert {r.reason for r in rows} == {""}


def test_csv_with_a_wrong_number_of_fields() -> None:
    rows = csv_rows('text,label\nx,a\nlonely\nx,"b, c",d\ny,b\n')
    assert [(r.line, r.reason) for r in rows] == [(1, ""), (2, schema.BAD_JSON), (3, schema.BAD_JSON), (4, "")]
    assert [(r.text, r.detail) for r in rows[1:3]] == [
        ("lonely", "1 fields under 2 columns"),
        ('x,"b, c",d', "3 fields under 2 columns"),
    ]


def test_csv_records_are_numbered_not_lines() -> None:
    rows = csv_rows('label,text,more\r\na,"one\ntwo ""three""",1\r\n\r\nb,"four, five",\r\n')
    assert [(r.line, r.text, r.label, r.reason) for r in rows] == [
        (1, 'one\ntwo "three"', "a", ""),
        (2, "four, five", "b", ""),
    ]
    assert list(rows[0].columns) == ["label", "text", "more"]


def test_csv_empty_cells_and_missing_columns() -> None:
    assert [r.reason for r in csv_rows("text,label\nx,\n ,a\n")] == [schema.MISSING_LABEL, schema.EMPTY_TEXT]
    assert [r.reason for r in csv_rows("body,label\nx,a\n")] == [schema.MISSING_TEXT]
    assert csv_rows("") == csv_rows("text,label\n") == []


def test_csv_bytes_that_are_not_utf8() -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"text,label\ncaf\xe9,a\nx,b\n"), "utf8", errors="surrogateescape", newline="")
    rows = list(parse_csv(lines, "text", "label"))
    assert rows[0] == (1, "caf\ufffd,a", "", schema.BAD_JSON, "not UTF-8", ())
    assert rows[1][:4] == (2, "x", "b", "")


def test_csv_with_a_header_that_never_ends() -> None:
    with pytest.raises(DataError, match="the header has a quoted field that never ends"):
        csv_rows('"text,label\nx,a\ny,b\n')


def test_csv_cells_beyond_the_limit_of_the_csv_module() -> None:
    assert len(csv_rows(f"text,label\n{'x' * 200_000},a\n")[0].text) == 200_000


@FEW
@given(st.lists(st.tuples(UNICODE, UNICODE), max_size=6))
def test_csv_cells_come_back_as_they_were_written(pairs: list[tuple[str, str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *pairs])
    found = csv_rows(buffer.getvalue())
    assert [(r.line, r.text, r.label) for r in found] == [
        (n, text, label.strip()) for n, (text, label) in enumerate(pairs, 1)
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('["my name, Bob", "b"]', "label is a list; multi-label input is not supported"),
        ('{"name": "Bob, Ann"}', "label is an object"),
        ("null", ""),
    ],
)
def test_a_detail_for_messages_quotes_no_row(value, said):
    detail = label_of(value).detail
    assert without_quote(detail) == said
    assert ("Bob" in detail) == bool(said)


def test_a_detail_names_columns_and_no_texts():
    (record,) = parse_csv(["My card was stolen by Bob Smith,card_lost\n", "x,y\n"], "text", "label")
    assert record.detail == "no 'text' among its columns (a long name, 'card_lost')"
