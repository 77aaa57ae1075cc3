"""What a person decided about rows: another label, or that they leave.

A file in one of two forms, CSV or JSONL. By hand: ``id`` or ``text``, and ``label`` or ``drop``. Or the suspects file
of ``raypipe audit`` with its field ``correction`` filled in: then ``text`` and ``label`` say which rows are meant.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from raypipe import schema, storage
from raypipe.config import nearest
from raypipe.core import text as core_text
from raypipe.data.ingest import LINE_BITS
from raypipe.data.records import label_text
from raypipe.data.table import Table
from raypipe.errors import ConfigError, DataError
from raypipe.runtime import say

DROP = "drop"  # the word in the field ``correction`` that lets a row leave
_TOO_MANY = "\0more fields"  # where csv puts what the header has no name for
_TRUTH = {"true": True, "false": False, "": False}


class Correction(NamedTuple):
    """One decision. Of ``row_id`` and ``key`` one is None; so is ``given`` where the rows' label does not matter."""

    line: int  # line of a JSONL file, or record of a CSV file
    row_id: str | None
    key: tuple[int, int] | None  # of the canonical text
    given: str | None  # only rows with this label are meant
    label: str | None  # the new label; None: the rows leave


def read_corrections(path: str | None) -> list[Correction]:
    """The decisions of a file; a suspects row without a correction is none. Raises ConfigError."""
    if path is None:
        return []
    found: dict[tuple[Any, ...], Correction] = {}
    try:
        content = storage.read_text(path).removeprefix("\ufeff")
        for line, values in _csv(content) if path.endswith(".csv") else _jsonl(content):
            correction = _correction(line, values)
            if correction is None:
                continue
            first = found.setdefault(correction[1:4], correction)
            if first.label != correction.label:
                raise ConfigError(f"lines {first.line} and {line} say two things of the same rows", "one correction")
    except ConfigError as error:
        got, expected, remedy = error.parts
        raise ConfigError(f"--corrections {path}: {got}", expected, remedy) from None
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(
            f"--corrections {path} cannot be read ({type(error).__name__})", "a CSV or JSONL file in UTF-8"
        ) from None
    return list(found.values())


def correct(table: Table, corrections: list[Correction]) -> None:
    """Give rows their new label, or let them leave. Raises DataError where two corrections disagree about a row.

    What was done is kept in ``table.corrections`` for the report.
    """
    if any(c.given is not None and c.label is None for c in corrections) and DROP in table.names:
        raise DataError(
            f"a correction {DROP!r} where {DROP!r} is a label too", "one meaning", "a file with the columns id and drop"
        )
    decided: dict[int, Correction] = {}
    unmatched = []
    for correction, rows in zip(corrections, _matches(table, corrections), strict=True):
        if not rows:
            unmatched.append(correction.line)
        for row in rows:
            first = decided.setdefault(row, correction)
            if first.label != correction.label:
                raise DataError(
                    f"--corrections, lines {first.line} and {correction.line} say two things of {table.row_id(row)}",
                    "one correction for a row",
                )
    if unmatched:
        say(f"warning: {len(unmatched):,} corrections match no row; the first is in line {unmatched[0]}")
    table.corrections = _apply(table, decided) | {"corrections": len(corrections), "without_rows": len(unmatched)}


def _csv(content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(content, newline=""), restkey=_TOO_MANY)
    for number, values in enumerate(reader, 1):
        if _TOO_MANY in values or None in values.values():
            raise ConfigError(f"record {number} has another number of fields than the header", "as many")
        yield number, values


def _jsonl(content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, parse_float=str)
        except (ValueError, RecursionError):  # no JSON, or a number that is too long
            values = None
        if not isinstance(values, dict):
            raise ConfigError(f"line {number}", "a JSON object, or a name that ends in .csv")
        yield number, values


def _correction(line: int, values: dict[str, Any]) -> Correction | None:
    row_id, text = (values.get(column) or None for column in (schema.ID, schema.TEXT))
    label, dropped = label_text(values.get(schema.LABEL))[0] or None, _is_true(line, values.get(DROP))
    for cell in (row_id, text):
        if cell is not None and not isinstance(cell, str):
            raise ConfigError(f"line {line}: an id or text that is no string", "a string")
    given = None
    if "correction" in values:
        given, label = label, label_text(values["correction"])[0] or None
        if dropped:
            raise ConfigError(f"line {line} has both of correction and drop", "exactly one")
        if label is None:
            return None
        row_id, label = None if text else row_id, None if label == DROP else label
    elif (label is None) != dropped:
        raise ConfigError(f"line {line} has {'both' if dropped else 'neither'} of label and drop", "exactly one")
    if (row_id is None) == (text is None):
        raise ConfigError(f"line {line} has {'both' if text else 'neither'} of id and text", "exactly one")
    key = core_text.key(core_text.canonical(text)) if text else None
    return Correction(line, row_id, key, given, label)


def _is_true(line: int, value: Any) -> bool:
    truth = _TRUTH.get(str(value).strip().lower() if value is not None else "")
    if truth is None:
        raise ConfigError(f"line {line}: a value of drop that is neither true nor false", "true, or nothing")
    return truth


def _matches(table: Table, corrections: list[Correction]) -> Iterator[list[int]]:
    """The usable rows that each correction means."""
    rows_of_key: dict[tuple[int, int], list[int]] = {c.key: [] for c in corrections if c.key is not None}
    alive = table.alive
    lows = np.array([low for _, low in rows_of_key], np.int64)
    for row in alive[np.isin(table.key_low[alive], lows)].tolist():
        key = int(table.key_high[row]), int(table.key_low[row])
        if key in rows_of_key:
            rows_of_key[key].append(row)
    number = {name: n for n, name in enumerate(table.files)}
    for c in corrections:
        rows = _row_of_id(table, number, c.row_id) if c.row_id is not None else rows_of_key[c.key or (0, 0)]
        yield [row for row in rows if c.given in (None, table.names[table.label[row]])]


def _row_of_id(table: Table, number: dict[str, int], row_id: str) -> list[int]:
    file, _, line = row_id.rpartition(":")
    if file not in number or not (line.isascii() and line.isdigit()) or len(line) > 12:  # 2^40 has 13 digits
        return []
    order = number[file] << LINE_BITS | int(line)
    row = int(np.searchsorted(table.order, order))
    return [row] if row < len(table.order) and table.order[row] == order and table.is_alive[row] else []


def _apply(table: Table, decided: dict[int, Correction]) -> dict[str, Any]:
    """Change the table; returns the counts for the report."""
    new = {c.label for c in decided.values() if c.label is not None}
    for label in sorted(new - set(table.names)):
        say(f"warning: the label {label!r} of --corrections is new {nearest(label, table.names)}".rstrip())
    code = table.rename(table.names, new)
    pairs: Counter[tuple[str, str]] = Counter()
    unchanged, dropped = 0, []
    for row, correction in sorted(decided.items()):
        old = table.names[table.label[row]]
        if correction.label is None:
            dropped.append(row)
        elif correction.label == old:
            unchanged += 1
        else:
            pairs[old, correction.label] += 1
            table.label[row] = code[correction.label]
    table.remove(np.array(dropped, np.int64), schema.CORRECTION)
    table.raw_label = table.label.copy()
    changes = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return {
        "rows_relabelled": sum(pairs.values()),
        "rows_unchanged": unchanged,
        "rows_dropped": len(dropped),
        "relabelled": [{"from": old, "to": label, "rows": rows} for (old, label), rows in changes],
    }
