"""The decisions and the texts meet: rows, ledger and CSV files, formatted in parallel, written in file order."""

import csv
import functools
import io
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raypipe import schema
from raypipe.data import private
from raypipe.data.table import REMOVED, TO_TEST, TO_TRAIN, Table, row_id
from raypipe.errors import StageError

_KINDS = ("train_jsonl", "test_jsonl", "removed_jsonl", "train_csv", "test_csv")
_FORMATTED = pa.schema(
    [
        ("first_order", pa.int64()),
        ("last_order", pa.int64()),
        ("private", pa.string()),  # JSON: kind -> kept rows that look like they hold it
        ("examples", pa.string()),  # JSON: kind -> ids of the first of them
        *((kind, pa.large_binary()) for kind in _KINDS),
    ]
)
_EXAMPLES = 3  # ids that the report names for each kind of private data
CSV_HEADER = '"text","label","id","weight"\n'


@dataclass(frozen=True)
class _Decisions:
    """What a formatting task needs of the table."""

    files: list[str]
    names: list[str]
    order: np.ndarray
    label: np.ndarray
    reason: np.ndarray
    witness: np.ndarray
    similarity: np.ndarray
    weight: np.ndarray
    side: np.ndarray
    detail: dict[int, str]
    foreign_witness: dict[int, str]


def write(dataset: "ray.data.Dataset", table: Table, stage: str, name: str) -> dict[str, Any]:
    """Write NAME_train.jsonl, NAME_test.jsonl, NAME_removed.jsonl and NAME_dataset/{train,test}.csv into ``stage``.

    Returns for the report how many kept rows look like they hold private data, by kind, with the first ids.
    """
    os.makedirs(os.path.join(stage, f"{name}_dataset"))
    decisions = ray.put(_Decisions(**{f: getattr(table, f) for f in _Decisions.__dataclass_fields__}))
    paths = {
        "train_jsonl": f"{name}_train.jsonl",
        "test_jsonl": f"{name}_test.jsonl",
        "removed_jsonl": f"{name}_removed.jsonl",
        "train_csv": f"{name}_dataset/train.csv",
        "test_csv": f"{name}_dataset/test.csv",
    }
    formatted = dataset.map_batches(
        _format, batch_format="pyarrow", batch_size=None, zero_copy_batch=True, fn_kwargs={"decisions": decisions}
    )
    counts = dict.fromkeys(private.KINDS, 0)
    examples: dict[str, list[str]] = {kind: [] for kind in private.KINDS}
    files = {kind: open(os.path.join(stage, path), "wb") for kind, path in paths.items()}  # noqa: SIM115
    try:
        for kind in ("train_csv", "test_csv"):
            files[kind].write(CSV_HEADER.encode())
        last = -1
        for block in formatted.iter_batches(batch_size=None, batch_format="pyarrow"):
            for row in block.to_pylist():
                if row["first_order"] <= last:
                    raise StageError("blocks arrived out of file order", "Ray Data's preserve_order")
                last = row["last_order"]
                found, ids = json.loads(row["private"]), json.loads(row["examples"])
                for kind in private.KINDS:
                    counts[kind] += found[kind]
                    examples[kind] = (examples[kind] + ids[kind])[:_EXAMPLES]
                for kind, file in files.items():
                    file.write(row[kind])
    finally:
        for file in files.values():
            file.close()
    return {"looks_private": counts, "looks_private_examples": examples}


def _format(block: pa.Table, decisions: "ray.ObjectRef") -> pa.Table:
    """One row of bytes for each output file."""
    if block.num_rows == 0:
        return _FORMATTED.empty_table()
    d: _Decisions = ray.get(decisions)
    block = block.sort_by("order")
    out: dict[str, list[str]] = {kind: [] for kind in _KINDS[:3]}
    sheets = {TO_TRAIN: io.StringIO(newline=""), TO_TEST: io.StringIO(newline="")}
    writers = {side: csv.writer(s, quoting=csv.QUOTE_ALL, lineterminator="\n") for side, s in sheets.items()}
    orders = block["order"].to_numpy()
    looks_private: dict[str, list[str]] = {kind: [] for kind in private.KINDS}
    label_kinds = functools.cache(private.kinds)  # a label is pushed as well, and there are few of them
    columns = (block[c].to_pylist() for c in ("text", "label", "detail"))
    for row, order, text, label, detail in zip(
        np.searchsorted(d.order, orders).tolist(), orders.tolist(), *columns, strict=True
    ):
        side = d.side[row]
        if side == REMOVED:
            out["removed_jsonl"].append(_line(_ledger_row(d, row, text, label, detail)))
            continue
        kept = {
            schema.ID: row_id(d.files, order),
            schema.TEXT: text,
            schema.LABEL: d.names[d.label[row]],
            schema.WEIGHT: float(d.weight[row]),
        }
        for kind in private.kinds(text) | label_kinds(kept[schema.LABEL]):
            looks_private[kind].append(kept[schema.ID])
        out["test_jsonl" if side == TO_TEST else "train_jsonl"].append(_line(kept))
        writers[side].writerow([text, kept[schema.LABEL], kept[schema.ID], repr(kept[schema.WEIGHT])])
    cells = {kind: "".join(lines).encode() for kind, lines in out.items()}
    cells |= {"train_csv": sheets[TO_TRAIN].getvalue().encode(), "test_csv": sheets[TO_TEST].getvalue().encode()}
    facts = {
        "first_order": int(orders[0]),
        "last_order": int(orders[-1]),
        "private": json.dumps({kind: len(ids) for kind, ids in looks_private.items()}),
        "examples": json.dumps({kind: ids[:_EXAMPLES] for kind, ids in looks_private.items()}),
    }
    return pa.Table.from_pylist([facts | cells], schema=_FORMATTED)


def _ledger_row(d: _Decisions, row: int, text: str, label: str, detail: str) -> dict[str, Any]:
    witness = int(d.witness[row])
    similarity = float(d.similarity[row])
    return {
        schema.ID: row_id(d.files, int(d.order[row])),
        schema.TEXT: text,
        schema.LABEL: d.names[d.label[row]] if d.label[row] >= 0 else label or None,
        "reason": schema.REASONS[d.reason[row]],
        "witness_id": row_id(d.files, int(d.order[witness])) if witness >= 0 else d.foreign_witness.get(row),
        "similarity": None if similarity != similarity else round(similarity, 6),
        "detail": d.detail.get(row, detail) or None,
    }


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
