"""Labelled rows on their way to the actors: a dataset's test split, or local files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
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

    def ids_and_labels(self) -> tuple[list[str], list[str]]:
        """Of each row, in order."""
        blocks = self.dataset.select_columns([ID, LABEL]).iter_batches(batch_size=None, batch_format="pyarrow")
        table = pa.concat_tables(list(blocks))
        return table[ID].to_pylist(), table[LABEL].to_pylist()

    def weight(self) -> np.ndarray | None:
        """What each row stands for  # (rows,); None where it is not known, no weight, or the same for all."""
        if self.splits is None or not _are_weights(self.splits):
            return None
        weight = self.splits.test[WEIGHT].to_numpy(float)
        return weight if len(np.unique(weight)) > 1 else None


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
    notices = ["the column weight has values that are not above 0, so that no headline is weighted by it"]
    notices *= not _are_weights(splits)
    dataset, name = ray.data.from_arrow(blocks), f"test of {splits.source}"
    return Rows(dataset, len(test), name, notices, splits, splits.fingerprint(), {})


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
    sums = ingest.checksums(storage.absolute(folder), files)
    return Rows(kept, count, ", ".join(files[:3]), notices, None, " ".join(sums.values()), removed)


def _are_weights(splits: Splits) -> bool:
    """Whether the column ``weight`` of test can be one: in somebody else's dataset it may mean anything."""
    weight = splits.test[WEIGHT].to_numpy(float)
    return bool((np.isfinite(weight) & (weight > 0)).all())
