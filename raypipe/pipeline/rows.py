"""Labelled rows on their way to the actors: a dataset's test split, or local files."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from raypipe import storage
from raypipe.errors import ConfigError, DataError
from raypipe.schema import ID, LABEL, TEXT, WEIGHT
from raypipe.splits import Splits

ROWS_PER_BLOCK = 4096  # rows of one block handed to the actors


@dataclass(frozen=True)
class Rows:
    """Labelled rows on their way to the actors."""

    dataset: Any  # ray.data.Dataset with order, id, text, label
    count: int
    name: str
    notices: list[str]
    splits: Splits | None  # where there are training rows for baselines
    fingerprint: str  # of the rows, for --resume
    removed: dict[str, int]  # unusable rows by reason
    weights: np.ndarray | None = None  # (rows,) what each row stands for, where it is known

    def ids_and_labels(self) -> tuple[list[str], list[str]]:
        """Of each row, in order."""
        blocks = self.dataset.select_columns([ID, LABEL]).iter_batches(batch_size=None, batch_format="pyarrow")
        table = pa.concat_tables(list(blocks))
        return table[ID].to_pylist(), table[LABEL].to_pylist()

    def weight(self) -> np.ndarray | None:
        """What each row stands for  # (rows,); None where it is not known, no weight, or the same for all."""
        return self.weights if self.weights is not None and len(np.unique(self.weights)) > 1 else None


def of_splits(splits: Splits) -> Rows:
    """The test rows of a dataset."""
    import ray

    test = splits.test
    table = pa.table(
        {
            "order": np.arange(len(test)),
            **{c: pa.array(test[c].to_list(), pa.large_string()) for c in (ID, TEXT, LABEL)},
        }
    )
    blocks = [table.slice(start, ROWS_PER_BLOCK) for start in range(0, len(test), ROWS_PER_BLOCK)]
    weights, notices = _checked(test[WEIGHT].to_numpy(float))
    dataset, name = ray.data.from_arrow(blocks), f"test of {splits.source}"
    return Rows(dataset, len(test), name, notices, splits, splits.fingerprint(), {}, weights)


def of_files(folder: str, pattern: str, text: str, label: str | None, output: str | None) -> Rows:
    """The usable rows of local files; the others are counted by reason. ``output`` must not be one of the files."""
    from raypipe.data import ingest
    from raypipe.data.table import row_id

    files = ingest.find(storage.absolute(folder), pattern)
    if output in {storage.join(storage.absolute(folder), name) for name in files}:
        raise ConfigError(f"the output {output} is one of the input files", "another place for it")
    dataset = ingest.ingest(storage.absolute(folder), files, text, label, ROWS_PER_BLOCK)

    def usable(block: pa.Table) -> pa.Table:
        block = block.filter(pa.array([reason == "" for reason in block["reason"].to_pylist()], pa.bool_()))
        ids = [row_id(files, order) for order in block["order"].to_pylist()]
        return block.select(["order", TEXT, LABEL]).append_column(ID, pa.array(ids, pa.large_string()))

    kept = dataset.map_batches(usable, batch_format="pyarrow", batch_size=None, num_cpus=0.25).materialize()
    reasons = dataset.select_columns(["reason"]).to_pandas()["reason"].value_counts()
    removed = {str(reason): int(n) for reason, n in reasons.items() if reason}
    total, count = dataset.count(), kept.count()
    if not count:
        raise DataError(f"none of the {total} rows can be used", "rows with the text and label columns")
    notices = [f"{total - count} rows without a usable text or label were left out"] if count < total else []
    weights, more = _weights_of(dataset, kept, storage.absolute(folder), files, text) if label else (None, [])
    sums = ingest.checksums(storage.absolute(folder), files)
    name, fingerprint = ", ".join(files[:3]), " ".join(sums.values())
    return Rows(kept, count, name, notices + more, None, fingerprint, removed, weights)


def _weights_of(
    dataset: Any, kept: Any, folder: str, files: list[str], text: str
) -> tuple[np.ndarray | None, list[str]]:
    """The column ``weight`` of local files, such as prepare's NAME_test.jsonl, by the rows kept; and what to say of it.

    Rows carry text and label alone, so the files are read once more with ``weight`` as the label.
    """
    from raypipe.data import ingest

    seen = dataset.select_columns(["columns"]).to_pandas()["columns"]
    if not any(WEIGHT in json.loads(names) for names in seen if names):
        return None, []
    try:
        again = ingest.ingest(folder, files, text, WEIGHT, ROWS_PER_BLOCK)
    except DataError:  # the first rows have none
        return _checked(np.array([np.nan]))
    weight = again.select_columns(["order", LABEL]).to_pandas().set_index("order")[LABEL]
    orders = kept.select_columns(["order"]).to_pandas()["order"]
    return _checked(pd.to_numeric(weight.loc[orders], errors="coerce").to_numpy(float))


def _checked(weight: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """The weights, or None and a notice where they cannot be some: in a foreign file the column may mean anything."""
    if (np.isfinite(weight) & (weight > 0)).all():
        return weight, []
    return None, ["the column weight has values that are not above 0, so that no headline is weighted by it"]
