"""The driver's view of all rows: numbers and decisions, never texts."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from raypipe import schema
from raypipe.data.ingest import BLOCK_CHARACTERS, LINE_BITS
from raypipe.errors import StageError

REMOVED, TO_TRAIN, TO_TEST = 0, 1, 2
_REASON_CODE = {reason: code for code, reason in enumerate(schema.REASONS)}
_STAYS = -1
_NUMBERS = ("order", "key_high", "key_low", "letters", "unspaced")
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one ingested block: what one task works on."""

    block: "ray.ObjectRef"  # of an Arrow table with the columns of ingest.SCHEMA
    offset: int  # the shard's first row in the block
    first: int  # the same row's number in the table
    rows: int

    def numbers(self) -> np.ndarray:
        """The table's row numbers of the shard's rows."""
        return np.arange(self.first, self.first + self.rows)


@dataclass
class Table:
    """One entry a row, in file order; a stage removes rows by giving them a reason."""

    files: list[str]
    shards: list["Shard"]  # where the texts are, in file order
    order: np.ndarray  # (rows,) int64
    names: list[str]  # label texts
    label: np.ndarray  # (rows,) codes into names, -1 where there is none
    raw_label: np.ndarray  # (rows,) the same after the label map and --corrections, before conflicts are settled
    key_high: np.ndarray  # (rows,) int64
    key_low: np.ndarray  # (rows,) int64
    letters: np.ndarray  # (rows,) int64
    unspaced: np.ndarray  # (rows,) int64
    reason: np.ndarray  # (rows,) int8, _STAYS or a place in schema.REASONS
    columns: list[str]  # every column that occurs in the input
    ingest_details: dict[int, str]  # place in file order -> what the reader said of an unusable row
    corrections: dict[str, Any] | None = None  # what --corrections did, for the report
    relabelled: int = 0  # kept rows that took the majority label of their duplicates
    witness: np.ndarray = field(init=False)  # (rows,) row number of the witness, -1 where none
    similarity: np.ndarray = field(init=False)  # (rows,) nan where none
    weight: np.ndarray = field(init=False)  # (rows,)
    side: np.ndarray = field(init=False)  # (rows,) REMOVED | TO_TRAIN | TO_TEST
    detail: dict[int, str] = field(default_factory=dict)  # row -> detail of its ledger line
    foreign_witness: dict[int, str] = field(default_factory=dict)  # row -> id outside the input

    def __post_init__(self) -> None:
        rows = len(self.order)
        self.witness = np.full(rows, -1)
        self.similarity = np.full(rows, np.nan)
        self.weight = np.ones(rows)
        self.side = np.full(rows, REMOVED, np.int8)

    @classmethod
    def of(cls, dataset: "ray.data.Dataset", files: list[str], shard_rows: int) -> "Table":
        """Gather everything but the texts from the ingested blocks. Raises StageError where they are out of order."""
        blocks = dataset.to_arrow_refs()
        digests = ray.get([ray.remote(digest).remote(block) for block in blocks])
        return cls.gathered(blocks, digests, files, shard_rows)

    @classmethod
    def gathered(cls, blocks: list[Any], digests: list[dict[str, Any]], files: list[str], shard_rows: int) -> "Table":
        """The same from the blocks' digests; ``blocks`` are only handed on."""
        numbers = {name: np.concatenate([_NO_ROWS, *(d[name] for d in digests)]) for name in _NUMBERS}
        if (np.diff(numbers["order"]) <= 0).any():
            raise StageError("blocks arrived out of file order", "Ray Data's preserve_order")
        names = sorted({name for d in digests for name in d["names"]})
        code = {name: place for place, name in enumerate(names)}
        labels = [np.array([*map(code.__getitem__, d["names"]), -1])[d["label"]] for d in digests]
        label = np.concatenate([_NO_ROWS, *labels])
        return cls(
            files=files,
            shards=_shards(blocks, [d["characters"] for d in digests], shard_rows),
            names=names,
            label=label,
            raw_label=label.copy(),
            reason=np.concatenate([_NO_ROWS, *(d["reason"] for d in digests)]).astype(np.int8),
            columns=list(dict.fromkeys(c for d in digests for c in d["columns"])),
            ingest_details={order: detail for d in digests for order, detail in d["details"]},
            **numbers,  # type: ignore[arg-type]
        )

    @property
    def is_alive(self) -> np.ndarray:
        """Which rows have not left  # (rows,) bool."""
        return self.reason == _STAYS

    def text_numbers(self, rows: np.ndarray) -> np.ndarray:
        """A number for each row's canonical text, equal for equal texts  # (rows,) int64."""
        high, low = self.key_high[rows], self.key_low[rows]
        order = np.lexsort((low, high))
        new = (np.diff(high[order], prepend=0) != 0) | (np.diff(low[order], prepend=0) != 0)
        numbers = np.empty(len(rows), np.int64)
        numbers[order] = np.cumsum(new) - (len(rows) > 0 and new[0])
        return numbers

    @property
    def alive(self) -> np.ndarray:
        """Numbers of the rows that have not left."""
        return np.flatnonzero(self.is_alive)

    def remove(self, rows: np.ndarray, reason: str) -> None:
        self.reason[rows] = _REASON_CODE[reason]
        self.side[rows] = REMOVED

    def rename(self, renamed: Sequence[str], more: Iterable[str] = ()) -> dict[str, int]:
        """Give the labels, in the order of ``names``, new texts beside ``more`` texts; returns each text's code."""
        self.names = sorted({*self.names, *renamed, *more})
        code = {name: place for place, name in enumerate(self.names)}
        self.label = np.array([*(code[name] for name in renamed), -1])[self.label]
        return code

    def row_id(self, row: int) -> str:
        return row_id(self.files, int(self.order[row]))

    def class_sizes(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.label[rows], minlength=len(self.names))

    def raw_class_sizes(self) -> np.ndarray:
        """Rows of each class as they came in, after the label map and --corrections."""
        return np.bincount(self.raw_label[self.raw_label >= 0], minlength=len(self.names))

    def extra_columns_without(self, *used: str) -> list[str]:
        return [c.encode(errors="replace").decode() for c in self.columns if c not in used]

    def by_file(self) -> dict[str, dict[str, int]]:
        """Records of each input file, in order; how many of them were unusable, and how many are kept."""
        is_unusable = np.isin(self.reason, [_REASON_CODE[reason] for reason in schema.UNUSABLE])
        parts = {"rows": slice(None), "unusable": is_unusable, "kept": self.side != REMOVED}
        file = self.order >> LINE_BITS
        counts = {part: np.bincount(file[rows], minlength=len(self.files)) for part, rows in parts.items()}
        return {name: {part: int(n[place]) for part, n in counts.items()} for place, name in enumerate(self.files)}

    def reasons(self) -> dict[str, int]:
        """How many rows left for each reason that occurred, in the order of the stages."""
        counts = np.bincount(self.reason[self.reason != _STAYS], minlength=len(schema.REASONS))
        return {reason: int(n) for reason, n in zip(schema.REASONS, counts, strict=True) if n}


def _shards(blocks: list["ray.ObjectRef"], characters: list[np.ndarray], shard_rows: int) -> list[Shard]:
    """Blocks in shares of at most ``shard_rows`` rows and, but for a longer single row, BLOCK_CHARACTERS.

    Ray Data puts small tables of one task together again, so a block can hold more than the reader gave at once.
    """
    shards, first = [], 0
    for block, lengths in zip(blocks, characters, strict=True):
        start, ends = 0, np.cumsum(lengths)
        while start < len(lengths):
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + BLOCK_CHARACTERS, side="right"))
            stop = max(start + 1, min(stop, start + shard_rows))
            shards.append(Shard(block, start, first + start, stop - start))
            start = stop
        first += len(lengths)
    return shards


def digest(block: pa.Table) -> dict[str, Any]:
    """What the driver needs of a block: numbers, label codes into its own list of names, codes of reasons."""
    reasons = pc.index_in(block["reason"], pa.array(schema.REASONS, block["reason"].type)).fill_null(_STAYS)
    reason = reasons.to_numpy()
    has_label = pc.and_(
        pc.not_equal(block["label"], ""), pa.array(np.isin(reason, [_STAYS, _REASON_CODE[schema.EMPTY_TEXT]]))
    )
    label = pc.if_else(has_label, block["label"], None).combine_chunks().dictionary_encode()
    return {
        **{name: block[name].to_numpy() for name in _NUMBERS},
        "reason": reason,
        "characters": pc.utf8_length(block["text"]).to_numpy(),
        "names": label.dictionary.to_pylist(),
        "label": label.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64),
        "details": [
            (order, detail)
            for order, detail in zip(block["order"].to_pylist(), block["detail"].to_pylist(), strict=True)
            if detail
        ],
        "columns": [name for cell in block["columns"].to_pylist() if cell for name in json.loads(cell)],
    }


def row_id(files: list[str], order: int) -> str:
    """FILE:LINE of a place in file order."""
    return f"{files[order >> LINE_BITS]}:{order & ((1 << LINE_BITS) - 1)}"
