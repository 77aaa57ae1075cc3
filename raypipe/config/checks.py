"""Conditions that a configuration must meet, each refused with what it got, what it expected and a remedy."""

import difflib
import functools
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from raypipe.errors import ConfigError, DataError

_A_NAME = re.compile(r"(?=.{1,40}$)\S+(?: \S+){0,2}")  # what can be a column's name; a file without a header has texts


def require(holds: bool, got: str, expected: str, remedy: str = "") -> None:
    """Raise ConfigError unless the condition holds."""
    if not holds:
        raise ConfigError(got, expected, remedy)


def of_type(value: Any, annotation: Any, got: str) -> Any:
    """The value as the annotation's type; paths serve as strings, lists as tuples, whole numbers as numbers.

    Raises ConfigError where it is of another type.
    """
    from pydantic import ValidationError

    plain = os.fspath(value) if isinstance(value, os.PathLike) else tuple(value) if isinstance(value, list) else value
    try:
        return _adapter(annotation).validate_python(plain, strict=True)
    except ValidationError as error:
        raise ConfigError(got, error.errors()[0]["msg"].removeprefix("Input should be ")) from None


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def one_source(dataset: str | None, folder: str | None, filename: str | None, label_map: str | None) -> None:
    """Raise ConfigError unless rows come from a dataset, or from local files, which alone have labels to rename."""
    local, both = bool(folder and filename), bool(dataset and (folder or filename))
    require(
        local != bool(dataset) and not both,
        "not exactly one source of rows",
        "--input-hf-dataset, or --input-dir with --filename",
    )
    require(
        not (dataset and label_map),
        "--label-map with --input-hf-dataset",
        "local files for it",
        "prepare renames the labels of a dataset",
    )


def fraction(value: float, flag: str, one_allowed: bool = False) -> None:
    """Raise ConfigError unless 0 < value < 1, or = 1 where that is allowed."""
    high = "<= 1" if one_allowed else "< 1"
    remedy = f"did you mean {value / 100:g}?" if 10 <= value < 100 else ""
    require(0 < value < 1 or (one_allowed and value == 1), f"{flag} {value}", f"a number > 0 and {high}", remedy)


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy "did you mean ...", or "" where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def names_of(columns: Iterable[str]) -> str:
    """The names of columns, the first twelve, for a message; of a file without a header they would be its texts."""
    return ", ".join(repr(name) if _A_NAME.fullmatch(name) else "a long name" for name in list(columns)[:12])


def refuse_twice(columns: Sequence[str], name: str, *wanted: str | None) -> None:
    """Refuse a file in which the text or the label column stands twice. Raises DataError."""
    for column in wanted:
        if column is not None and list(columns).count(column) > 1:
            raise DataError(f"{name} has {list(columns).count(column)} columns {column!r}", "one", "rename the others")


def groups(pattern: str) -> int:
    """Groups of a regular expression. Raises ConfigError where it is none."""
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"--token-pattern {pattern!r}", "a regular expression", str(error)) from None
