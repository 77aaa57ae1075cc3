"""--previous: the sides of an earlier set. A row once in test stays in test or leaves, and never enters train.

A row is recognised by the key of its canonical text, so renamed and reordered files change nothing. Rows that an
earlier set had in test and the new set has not are remembered in its report (`previous.retired_test_keys`): they
stay barred from train along a chain of sets, whatever happened to them in between.
"""

import base64
import hashlib
import json
import os
from array import array
from dataclasses import dataclass, field
from typing import Any

import fsspec
import numpy as np
import ray

from raypipe import schema, storage
from raypipe.core import sampling
from raypipe.core import text as core_text
from raypipe.data.table import TO_TEST, TO_TRAIN, Table
from raypipe.errors import ConfigError, DataError

_NO_KEYS = np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class PreviousSet:
    """The files of an earlier set, looked up at the door."""

    train: str
    test: str
    retired: str  # base64 of keys: rows that sets before it had in test, and it has not
    complete: bool  # its report is there

    @property
    def folder(self) -> str:
        return storage.parent(self.test)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of what decides the sides, by the name that the report gives it."""
        sums = {f"--previous {os.path.basename(p)}": storage.sha256(p) for p in (self.train, self.test)}
        if self.retired:
            sums["--previous retired_test_keys"] = hashlib.sha256(self.retired.encode()).hexdigest()
        return sums


@dataclass(frozen=True)
class Former:
    """The keys of an earlier set, each once  # (keys, 2) int64: high, low."""

    train: np.ndarray = field(default_factory=_NO_KEYS.copy)
    test: np.ndarray = field(default_factory=_NO_KEYS.copy)  # with the retired ones
    in_both: int = 0  # keys that were in both; they count as test


def locate(stem: str | None, own_output: str, resume: bool) -> PreviousSet | None:
    """The earlier set that was written with ``-o stem``. Raises ConfigError where it is not there."""
    if stem is None:
        return None
    stem = storage.absolute(stem).removesuffix(".jsonl")
    train, test = f"{stem}_{schema.TRAIN}.jsonl", f"{stem}_{schema.TEST}.jsonl"
    for path in (train, test):
        if not storage.exists(path):
            raise ConfigError(
                f"--previous: there is no {path}", "an earlier set", "name its -o value, DIR/NAME or DIR/NAME.jsonl"
            )
    report = f"{stem}_report.json"
    complete = storage.exists(report)
    if stem == storage.absolute(own_output).removesuffix(".jsonl"):
        _refuse_to_replace(stem, complete, resume)
    return PreviousSet(train, test, _retired(report) if complete else "", complete)


def read(earlier: PreviousSet | None) -> Former:
    """The keys of both sides, one task a file. Raises DataError."""
    if earlier is None:
        return Former()
    keys = ray.remote(_keys)
    train, test = (sampling.unique_keys(k) for k in ray.get([keys.remote(p) for p in (earlier.train, earlier.test)]))
    retired = np.frombuffer(base64.b64decode(earlier.retired), ">i8").astype(np.int64).reshape(-1, 2)
    test = sampling.unique_keys(np.concatenate([test, retired]))
    both = sampling.lookup(train[:, 0], train[:, 1], test) >= 0
    return Former(train[~both], test, int(both.sum()))


def recognise(table: Table, former: Former) -> np.ndarray:
    """The past of each row  # (rows,) int8, see core.sampling; asked when duplicates have left.

    A new row is a stand-in where a former test row left as its duplicate: a near-copy of a test row is no train row.
    """
    past = np.full(len(table.order), sampling.NEW, np.int8)
    for keys, was in ((former.train, sampling.WAS_TRAIN), (former.test, sampling.WAS_TEST)):
        past[_places(table, keys) >= 0] = was
    witness = table.witness[_replaced(table, past)]
    past[witness[past[witness] == sampling.NEW]] = sampling.STAND_IN
    return past


def explain(table: Table, past: np.ndarray) -> None:
    """Name in the ledger the former test row because of which a stand-in left."""
    left = (past == sampling.STAND_IN) & (table.reason == schema.REASONS.index(schema.PREVIOUS_TEST))
    for row in _replaced(table, past)[::-1].tolist():  # the earliest is written last
        stand_in = int(table.witness[row])
        if left[stand_in]:
            table.witness[stand_in], table.similarity[stand_in] = row, table.similarity[row]
            table.detail[stand_in] = "stands in for a former test row"


def account(table: Table, former: Former, past: np.ndarray, short: np.ndarray) -> dict[str, Any]:
    """What became of the rows of the earlier set, by key, and where the new rows went; for the report."""
    train, test = _Fate(table, former.train), _Fate(table, former.test)
    new = {
        side: np.isin(past, (sampling.NEW, sampling.STAND_IN)) & (table.side == side) for side in (TO_TRAIN, TO_TEST)
    }
    return {
        "test_kept": int(test.on(TO_TEST).sum()),
        "train_kept": int(train.on(TO_TRAIN).sum()),
        "test_left": test.left(),
        "train_left": train.left(),
        "new_train": int(new[TO_TRAIN].sum()),
        "new_test": int(new[TO_TEST].sum()),
        "new_test_for_former_test_rows": int((new[TO_TEST] & (past == sampling.STAND_IN)).sum()),
        "moved": int(test.on(TO_TRAIN).sum() + train.on(TO_TEST).sum()),
        "in_both_before": former.in_both,
        "test_rows_short": {table.names[code]: int(short[code]) for code in np.flatnonzero(short)},
        "retired_test_keys": base64.b64encode(former.test[~test.on(TO_TEST)].astype(">i8").tobytes()).decode(),
    }


def notices(earlier: PreviousSet | None, account: dict[str, Any] | None) -> list[str]:
    """Where --previous could not have its way."""
    if earlier is None or account is None:
        return []
    short, both = account["test_rows_short"], account["in_both_before"]
    texts = {
        f"test lacks {sum(short.values())} rows of its share in {len(short)} class(es), whose other rows were in train "
        f"before: {', '.join(list(short)[:10])}": short,
        f"{both} texts were in train and in test before; they count as test": both,
        "the set of --previous has no report: what sets before it had in test is not known": not earlier.complete,
    }
    return [text for text, holds in texts.items() if holds]


class _Fate:
    """Where the rows of some keys are now."""

    def __init__(self, table: Table, keys: np.ndarray) -> None:
        self.table, self.size = table, len(keys)
        place = _places(table, keys)
        self.rows = np.flatnonzero(place >= 0)
        self.place = place[self.rows]

    def on(self, side: int) -> np.ndarray:
        """Whether a key has a row on this side  # (keys,) bool."""
        found = np.zeros(self.size, bool)
        found[self.place[self.table.side[self.rows] == side]] = True
        return found

    def left(self) -> dict[str, int]:
        """Keys without a row by the reason of their first row; "absent" where no usable row of the input has them."""
        reason = np.full(self.size, len(schema.REASONS))
        reason[self.place[::-1]] = self.table.reason[self.rows[::-1]]  # the first row of a key is written last
        gone = reason[~(self.on(TO_TRAIN) | self.on(TO_TEST))]
        counts = np.bincount(gone, minlength=len(schema.REASONS) + 1).tolist()
        return {name: n for name, n in zip((*schema.REASONS, "absent"), counts, strict=True) if n}


def _places(table: Table, keys: np.ndarray) -> np.ndarray:
    """The place of each row's key among the keys, -1 where it is not there, or the row has no usable text."""
    found = sampling.lookup(table.key_high, table.key_low, keys)
    return np.where((table.key_high != 0) | (table.key_low != 0), found, -1)


def _replaced(table: Table, past: np.ndarray) -> np.ndarray:
    """Former test rows that left because of another row."""
    return np.flatnonzero((past == sampling.WAS_TEST) & (table.witness >= 0))


def _keys(path: str) -> np.ndarray:
    """The keys of a file's texts  # (rows, 2) int64."""
    keys = array("q")
    with fsspec.open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                keys.extend(core_text.key(core_text.canonical(json.loads(line)[schema.TEXT])))
            except (ValueError, KeyError, TypeError):  # no row text in an exception
                raise DataError(
                    f"--previous: {os.path.basename(path)}:{number} is no row with a text", "a file that prepare wrote"
                ) from None
    return np.frombuffer(keys, np.int64).reshape(-1, 2)


def _retired(report: str) -> str:
    try:
        return (json.loads(storage.read_text(report)).get("previous") or {}).get("retired_test_keys", "")
    except (ValueError, AttributeError):
        raise ConfigError(f"--previous: {report} cannot be read", "the report of an earlier set") from None


def _refuse_to_replace(stem: str, complete: bool, resume: bool) -> None:
    if not complete:
        raise ConfigError(
            f"--previous {stem} is the output to be written, and has no report",
            "a complete earlier set",
            "name a copy of it as --previous, and another -o",
        )
    if resume:
        raise ConfigError(
            "--resume with a --previous that is the output itself",
            "--overwrite, or another -o",
            "the earlier sides are gone once the output is replaced",
        )
