"""The decisions and the texts meet: rows, ledger and CSV files, formatted in parallel, written in file order."""

import functools
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raypipe import schema
from raypipe.data import private
from raypipe.data.table import REMOVED, TO_TEST, Shard, Table, row_id
from raypipe.data.tasks import Arrays, Work, in_order, packed, unpacked
from raypipe.schema import TEST, TRAIN

_KINDS = ("train_jsonl", "test_jsonl", "removed_jsonl", "train_csv", "test_csv")
_EXAMPLES = 3  # ids that the report names for each kind of private data
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_json = json.encoder.encode_basestring  # a string as JSON, what is not ASCII as it is
CSV_HEADER = '"text","label","id","weight"\n'


@dataclass(frozen=True)
class Decisions:
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

    @classmethod
    def of(cls, table: Table) -> "Decisions":
        return cls(**{name: getattr(table, name) for name in cls.__dataclass_fields__})


def write(table: Table, stage: str, name: str, work: Work) -> dict[str, Any]:
    """Write NAME_train.jsonl, NAME_test.jsonl, NAME_removed.jsonl and NAME_dataset/{train,test}.csv into ``stage``.

    Returns for the report how many kept rows look like they hold private data, by kind, with the first ids.
    """
    os.makedirs(os.path.join(stage, f"{name}_dataset"))
    decisions = ray.put(Decisions.of(table))
    paths = {
        "train_jsonl": f"{name}_train.jsonl",
        "test_jsonl": f"{name}_test.jsonl",
        "removed_jsonl": f"{name}_removed.jsonl",
        "train_csv": f"{name}_dataset/train.csv",
        "test_csv": f"{name}_dataset/test.csv",
    }
    counts = dict.fromkeys(private.KINDS, 0)
    examples: dict[str, list[str]] = {kind: [] for kind in private.KINDS}

    def formatted(number: int) -> "ray.ObjectRef":
        return work.submit(f"write/{number:05d}", format_shard, table.shards[number], decisions)

    files = {kind: open(os.path.join(stage, path), "wb") for kind, path in paths.items()}  # noqa: SIM115
    try:
        for kind in ("train_csv", "test_csv"):
            files[kind].write(CSV_HEADER.encode())
        for parts in in_order("write", formatted, len(table.shards), work):
            found = json.loads(unpacked(parts)[0])
            for kind in private.KINDS:
                counts[kind] += found["counts"][kind]
                examples[kind] = (examples[kind] + found["examples"][kind])[:_EXAMPLES]
            for kind, file in files.items():
                file.write(parts[kind])
    finally:
        for file in files.values():
            file.close()
    return {"looks_private": counts, "looks_private_examples": examples}


def format_shard(shard: Shard, d: Decisions) -> Arrays:
    """A shard's part of each output file, as bytes."""
    return format_rows(ray.get(shard.block), shard, d)


def format_rows(block: pa.Table, shard: Shard, d: Decisions) -> Arrays:
    """The same, given the block that the shard is of."""
    block = block.slice(shard.offset, shard.rows)
    out: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    looks_private: dict[str, list[str]] = {kind: [] for kind in private.KINDS}
    label_kinds = functools.cache(private.kinds)  # a label is pushed as well, and there are few of them
    columns = (block[c].to_pylist() for c in ("order", "text", "label", "detail"))
    sides, codes, weights = (a[shard.first : shard.first + shard.rows].tolist() for a in (d.side, d.label, d.weight))
    for row, (order, text, label, detail) in enumerate(zip(*columns, strict=True)):
        if sides[row] == REMOVED:
            out["removed_jsonl"].append(_line(_ledger_row(d, shard.first + row, text, label, detail)))
            continue
        name, kept_id, weight = d.names[codes[row]], row_id(d.files, order), repr(weights[row])
        for kind in private.kinds(text) | label_kinds(name):
            looks_private[kind].append(kept_id)
        side = TEST if sides[row] == TO_TEST else TRAIN
        out[f"{side}_jsonl"].append(  # as json.dumps of the dictionary would have it, in a fifth of the time
            f'{{"id": {_json(kept_id)}, "text": {_json(text)}, "label": {_json(name)}, "weight": {weight}}}\n'
        )
        out[f"{side}_csv"].append(f"{_cell(text)},{_cell(name)},{_cell(kept_id)},{_cell(weight)}\n")
    facts = {
        "counts": {kind: len(ids) for kind, ids in looks_private.items()},
        "examples": {kind: ids[:_EXAMPLES] for kind, ids in looks_private.items()},
    }
    parts = {kind: np.frombuffer("".join(lines).encode(), np.uint8) for kind, lines in out.items()}
    return packed([json.dumps(facts)]) | parts


def _cell(text: str) -> str:
    """A quoted CSV field (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"'


def _ledger_row(d: Decisions, row: int, text: str, label: str, detail: str) -> dict[str, Any]:
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
    return _ENCODER.encode(row) + "\n"
