"""The driver's view of all rows: numbers and decisions, never texts."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import ray

from raypipe import schema
from raypipe.data.ingest import LINE_BITS

REMOVED, TO_TRAIN, TO_TEST = 0, 1, 2
_REASON_CODE = {reason: code for code, reason in enumerate(schema.REASONS)}
_STAYS = -1


@dataclass
class Table:
    """One entry a row, in file order; a stage removes rows by giving them a reason."""

    files: list[str]
    order: np.ndarray  # (rows,) int64
    names: list[str]  # label texts
    label: np.ndarray  # (rows,) codes into names, -1 where there is none
    raw_label: np.ndarray  # (rows,) the same after the label map, before conflicts are settled
    key_high: np.ndarray  # (rows,) int64
    key_low: np.ndarray  # (rows,) int64
    letters: np.ndarray  # (rows,) int64
    unspaced: np.ndarray  # (rows,) int64
    reason: np.ndarray  # (rows,) int8, _STAYS or a place in schema.REASONS
    columns: list[str]  # every column that occurs in the input
    ingest_details: list[str]  # what the reader said of unusable rows
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
    def of(cls, dataset: "ray.data.Dataset", files: list[str]) -> "Table":
        """Gather everything but the texts from the ingested blocks."""
        without_text = ray.remote(lambda block: block.drop_columns(["text"]).to_pandas())
        blocks = ray.get([without_text.remote(ref) for ref in dataset.to_arrow_refs()])
        frame = pd.concat(blocks, ignore_index=True).sort_values("order", ignore_index=True)
        has_label = (frame["label"] != "") & frame["reason"].isin(["", schema.EMPTY_TEXT])
        names = sorted(frame.loc[has_label, "label"].unique())
        label = pd.Categorical(frame["label"].where(has_label), categories=names).codes.astype(np.int64)
        reason = frame["reason"].map(_REASON_CODE).fillna(_STAYS).to_numpy(np.int8)
        columns = {c: None for cell in frame["columns"] if cell for c in json.loads(cell)}
        numbers = {c: frame[c].to_numpy(np.int64) for c in ("order", "key_high", "key_low", "letters", "unspaced")}
        return cls(
            files=files,
            names=names,
            label=label,
            raw_label=label.copy(),
            reason=reason,
            columns=list(columns),
            ingest_details=[d for d in frame["detail"] if d],
            **numbers,
        )

    @property
    def alive(self) -> np.ndarray:
        """Numbers of the rows that have not left."""
        return np.flatnonzero(self.reason == _STAYS)

    def remove(self, rows: np.ndarray, reason: str) -> None:
        self.reason[rows] = _REASON_CODE[reason]
        self.side[rows] = REMOVED

    def row_id(self, row: int) -> str:
        return row_id(self.files, int(self.order[row]))

    def class_sizes(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.label[rows], minlength=len(self.names))

    def raw_class_sizes(self) -> np.ndarray:
        """Rows of each class as they came in, after the label map."""
        return np.bincount(self.raw_label[self.raw_label >= 0], minlength=len(self.names))

    def extra_columns_without(self, *used: str) -> list[str]:
        return [c.encode(errors="replace").decode() for c in self.columns if c not in used]

    def reasons(self) -> dict[str, int]:
        """How many rows left for each reason that occurred, in the order of the stages."""
        counts = np.bincount(self.reason[self.reason != _STAYS], minlength=len(schema.REASONS))
        return {reason: int(n) for reason, n in zip(schema.REASONS, counts, strict=True) if n}


def row_id(files: list[str], order: int) -> str:
    """FILE:LINE of a place in file order."""
    return f"{files[order >> LINE_BITS]}:{order & ((1 << LINE_BITS) - 1)}"
