"""One record of a file to one row: its text, its label, or the reason why it cannot be used."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from raypipe import schema

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")


class Record(NamedTuple):
    """A parsed row; ``text`` holds the raw line where it could not be parsed, ``reason`` is "" for a usable row."""

    line: int
    text: str
    label: str
    reason: str
    detail: str
    columns: Iterable[str]  # the columns that the record has


class _Number(str):
    """The literal of a JSON number, so that a label 1.0 stays "1.0"."""


_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=lambda _: None)  # NaN is null


def parse_json_line(raw: bytes, line: int, text_column: str, label_column: str | None) -> Record | None:
    """A row from a line of JSONL; None for a blank line."""
    if line == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark belongs to no text
    if not raw.strip():
        return None
    try:
        value = _DECODER.decode(raw.decode().strip("\r\n\t "))
        if not isinstance(value, dict):
            return _bad(raw, line, f"a JSON {_kind(value)}, not an object")
        return from_values(value, line, text_column, label_column)
    except UnicodeDecodeError:
        return _bad(raw, line, "not UTF-8")
    except UnicodeEncodeError:
        return _bad(raw, line, "half of a surrogate pair")
    except RecursionError:
        return _bad(raw, line, "nested too deeply")
    except json.JSONDecodeError as error:
        return _bad(raw, line, f"{error.msg.removesuffix(' at')} at character {error.pos + 1}")


def from_values(value: dict[str, Any], line: int, text_column: str, label_column: str | None) -> Record:
    """A row from a record's values. Raises UnicodeEncodeError for text that is not Unicode.

    With ``label_column`` None labels are not asked for; a missing one is then no reason to leave.
    """
    text = value.get(text_column)
    label, label_detail = _label(value.get(label_column)) if label_column else ("", "")
    reason = detail = ""
    if not isinstance(text, str) or isinstance(text, _Number):
        reason, detail = schema.MISSING_TEXT, "" if text is None else f"text is {_article(_kind(text))}"
        text = "" if text is None else _as_json(text)
    elif label_column and not label:
        reason, detail = schema.MISSING_LABEL, label_detail
    elif not text.strip():
        reason = schema.EMPTY_TEXT
    text.encode(), label.encode()
    return Record(line, text, label, reason, detail, value.keys())


def parse_csv(file: Iterable[str], text_column: str, label_column: str | None) -> Iterator[Record]:
    """Rows from the lines of a CSV file with a header; cells are never type-inferred."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(file)
    header = next(reader, [])
    for number, cells in enumerate(filter(None, reader), 1):
        if len(cells) != len(header):
            yield _bad(_joined(cells), number, f"{len(cells)} fields under {len(header)} columns")
            continue
        try:
            yield from_values(dict(zip(header, cells, strict=True)), number, text_column, label_column)
        except UnicodeEncodeError:
            yield _bad(_joined(cells), number, "not UTF-8")


def _joined(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode(errors="surrogateescape")


def _label(value: Any) -> tuple[str, str]:
    """The label's text, and why there is none."""
    if value is None or (isinstance(value, float) and value != value):
        return "", ""
    if isinstance(value, str):
        return value.strip(), ""
    if isinstance(value, bool | int | float):
        return json.dumps(value), ""
    kind = _kind(value)
    return "", f"label is {_article(kind)}" + ("; multi-label input is not supported" if kind == "list" else "")


def _bad(raw: bytes, line: int, detail: str) -> Record:
    return Record(line, raw.decode(errors="replace").rstrip("\r\n"), "", schema.BAD_JSON, detail, ())


def _kind(value: Any) -> str:
    kinds = {_Number: "number", int: "number", float: "number", bool: "boolean", dict: "object", list: "list"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__.replace("str", "string"))


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _as_json(value: Any) -> str:
    """The value as JSON, with number literals as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_as_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_as_json(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, default=str)  # str: a date from Parquet
