"""One record of a file to one row: its text, its label, or the reason why it cannot be used."""

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from raypipe import schema
from raypipe.config import checks
from raypipe.errors import DataError

DETAIL_CHARACTERS = 1000  # of a value that is no label, in the ledger
START_BYTES = 64  # of a file, enough to see that it is no UTF-8 text
_OTHER_BYTES = {b"\x1f\x8b": "gzip", b"PAR1\x15": "Parquet", b"PK\3\4": "a zip archive"}
_END_OF_FILE = "\0end of file"  # a line after the last one, to see whether a quoted field swallows it


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


def refuse_other_bytes(start: bytes, name: str) -> None:
    """Refuse a file whose first bytes are no UTF-8 text. Raises DataError."""
    start = start[:START_BYTES]
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) and b"\0" in start:
        raise DataError(f"{name} is UTF-16 or UTF-32", "UTF-8", f"iconv -f UTF-16 -t UTF-8 {name}")
    for mark, kind in _OTHER_BYTES.items():
        if start.startswith(mark):
            raise DataError(
                f"{name} holds {kind}", "UTF-8 text", f"one of the endings {', '.join(schema.FORMATS)} that fits"
            )


def parse_json_line(raw: bytes, line: int, text_column: str, label_column: str | None) -> Record | None:
    """A row from a line of JSONL; None for a blank line."""
    if line == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark belongs to no text
    if not raw.strip():
        return None
    try:
        value = _decoded(raw.decode().strip("\r\n\t "))
        if not isinstance(value, dict):
            return _bad(raw, line, f"a JSON {_kind(value)}, not an object")
        return from_values(value, line, text_column, label_column)
    except UnicodeDecodeError:
        return _bad(raw, line, schema.NOT_UTF8)
    except UnicodeEncodeError:
        return _bad(raw, line, "half of a surrogate pair")
    except RecursionError:
        return _bad(raw, line, "nested too deeply")
    except json.JSONDecodeError as error:
        return _bad(raw, line, f"{error.msg.removesuffix(' at')} at character {error.pos + 1}")


def _decoded(text: str) -> Any:
    try:
        value, end = _DECODER.scan_once(text, 0)  # type: ignore[attr-defined]  # what decode does between two regular expressions for white space
    except StopIteration:
        end = -1
    return value if end == len(text) else _DECODER.decode(text)


def from_values(value: dict[str, Any], line: int, text_column: str, label_column: str | None) -> Record:
    """A row from a record's values. Raises UnicodeEncodeError for text that is not Unicode.

    With ``label_column`` None labels are not asked for; a missing one is then no reason to leave.
    """
    text = value.get(text_column)
    label, label_detail = label_text(value.get(label_column)) if label_column else ("", "")
    reason = detail = ""
    if not isinstance(text, str) or isinstance(text, _Number):
        reason, detail = schema.MISSING_TEXT, _lacks(value, text_column)
        if text is not None:
            detail = f"text is {_article(_kind(text))}"
        text = "" if text is None else _as_json(text)
    elif label_column and not label:
        reason, detail = schema.MISSING_LABEL, label_detail or _lacks(value, label_column)
    elif not text.strip():
        reason = schema.EMPTY_TEXT
    text.encode(), label.encode()
    return Record(line, text, label, reason, detail, value.keys())


def from_cells(value: dict[str, Any], line: int, text_column: str, label_column: str | None) -> Record:
    """The same from cells in which surrogates stand for bytes that are no UTF-8; such a record is bad."""
    try:
        return from_values(value, line, text_column, label_column)
    except UnicodeEncodeError:
        return _bad(_joined([cell for cell in value.values() if isinstance(cell, str)]), line, schema.NOT_UTF8)


def parse_csv(file: Iterable[str], text_column: str, label_column: str | None, name: str = "it") -> Iterator[Record]:
    """Rows from the lines of a CSV file with a header; cells are never type-inferred; empty lines are no records.

    Raises DataError where the header names a wanted column twice, or a quoted field runs to the end of the file:
    nobody knows how many records it has swallowed.
    """
    csv.field_size_limit(2**31 - 1)
    records = filter(None, csv.reader(itertools.chain(file, [_END_OF_FILE])))
    header = next(records)
    if header != [_END_OF_FILE] and header[-1].endswith(_END_OF_FILE):
        raise DataError(f"{name}: the header has a quoted field that never ends", "a closing quote")
    checks.refuse_twice(header, name, text_column, label_column)
    for number, cells in enumerate(records, 1):
        if cells == [_END_OF_FILE]:
            return
        if cells[-1].endswith(_END_OF_FILE):
            raise DataError(f"{name}: the last field of record {number} is quoted and never ends", "a closing quote")
        if len(cells) != len(header):
            yield _bad(_joined(cells), number, f"{len(cells)} fields under {len(header)} columns")
        else:
            yield from_cells(dict(zip(header, cells, strict=True)), number, text_column, label_column)


def _joined(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode(errors="surrogateescape")


def label_text(value: Any) -> tuple[str, str]:
    """The label's text, and why there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):  # JSON has no NaN and no Infinity
        return "", ""
    if isinstance(value, str):
        return value.strip(), ""
    if isinstance(value, Decimal):
        return str(value), ""
    if isinstance(value, bool | int | float):
        return json.dumps(value), ""
    kind = _kind(value)
    more = f"; {schema.MULTI_LABEL}" if kind == "list" else ""
    written = _as_json(value).encode(errors="replace").decode()
    cut = "…" if len(written) > DETAIL_CHARACTERS else ""
    return "", f"label is {_article(kind)}, {written[:DETAIL_CHARACTERS]}{cut}{more}"


def _lacks(value: dict[str, Any], column: str) -> str:
    """That a record has no such column, and which it has; "" where it is there and empty."""
    return "" if column in value else f"no {column!r} among its columns ({checks.names_of(value)})"


def without_quote(detail: str) -> str:
    """The detail of a record without what ``label_text`` quotes of it: a message may end in a log."""
    kind, quote, quoted = detail.partition(", ")
    if not quote or not kind.startswith("label is a"):
        return detail
    return f"{kind}; {schema.MULTI_LABEL}" if quoted.endswith(schema.MULTI_LABEL) else kind


def _bad(raw: bytes, line: int, detail: str) -> Record:
    return Record(line, raw.decode(errors="replace").rstrip("\r\n"), "", schema.BAD_JSON, detail, ())


def _kind(value: Any) -> str:
    kinds = {_Number: "number", int: "number", float: "number", Decimal: "number", bool: "boolean", dict: "object"}
    kinds |= {list: "list", bytes: "binary value", str: "string", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _as_json(value: Any) -> str:
    """The value as JSON, with number literals as they were written."""
    if isinstance(value, _Number | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return f"[{', '.join(map(_as_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_as_json(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, default=str)  # str: a date from Parquet
