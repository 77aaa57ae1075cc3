"""The predictions of an earlier evaluation, to be compared row by row."""

import json
import os
from dataclasses import dataclass

import numpy as np

from raypipe import storage
from raypipe.errors import ConfigError
from raypipe.schema import ID, LABEL

_FLAG = "--compare-with"


@dataclass(frozen=True)
class Earlier:
    """What an earlier evaluation got right, by the rows of this one."""

    name: str
    sha256: str
    correct: np.ndarray  # (rows,) bool


def read(path: str, ids: list[str], labels: list[str]) -> Earlier:
    """The predictions in ``path`` in the order of ``ids``.

    Raises ConfigError where it is no predictions file, holds other rows than these, or other labels for them.
    """
    if not storage.exists(path):
        raise ConfigError(f"{_FLAG} {path}: no such file", "PATH.jsonl of an earlier evaluation")
    found = _rows(path)
    wanted, lacking = set(ids), sum(row_id not in found for row_id in ids)
    more = sum(row_id not in wanted for row_id in found)
    if lacking or more:
        raise ConfigError(
            f"{_FLAG} {path}: it lacks {lacking} of the {len(ids)} rows, and has {more} other rows",
            "the same ids in both",
            "evaluate both models on the same rows",
        )
    differing = sum(found[row_id][0] != label for row_id, label in zip(ids, labels, strict=True))
    if differing:
        raise ConfigError(f"{_FLAG} {path}: {differing} rows have another label there", "the same labels in both")
    correct = np.array([found[row_id][1] for row_id in ids], bool)
    return Earlier(os.path.basename(path), storage.sha256(path), correct)


def _rows(path: str) -> dict[str, tuple[str, bool]]:
    """Label and success of each row by id."""
    found: dict[str, tuple[str, bool]] = {}
    for number, line in enumerate(storage.read_bytes(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row_id, label, right = row[ID], row[LABEL], row["top1"]
        except (ValueError, KeyError, TypeError):
            row_id, label, right = None, None, None
        if not isinstance(row_id, str) or not isinstance(right, bool):
            raise ConfigError(
                f"{_FLAG} {path}: line {number} is no prediction on a labelled row",
                "id, label and top1 in each line",
                "name the PATH.jsonl that `raypipe evaluate` wrote",
            )
        if row_id in found:
            raise ConfigError(f"{_FLAG} {path}: an id occurs twice (line {number})", "each id once")
        found[row_id] = (label, right)
    return found
