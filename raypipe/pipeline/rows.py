"""Rows on their way to the actors: a dataset's test split, or local files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import storage
from raypipe.errors import DataError
from raypipe.evaluate import blocks as blocks_of
from raypipe.evaluate.blocks import Block
from raypipe.pipeline import weights
from raypipe.pipeline.kept import short_hash
from raypipe.runtime import a_few_at_a_time, say
from raypipe.schema import ID, LABEL, TEXT, WEIGHT
from raypipe.splits import Splits

COLUMN_FLAGS = ("--text", "--subject-column")
CHARACTERS = 16 << 20  # of the texts of a block of files, but for a longer single text


@dataclass(frozen=True)
class Rows:
    """Rows on their way to the actors, with labels or without."""

    blocks: list[Block]
    name: str
    notices: list[str]
    splits: Splits | None  # where there are training rows for baselines
    fingerprint: str  # of the rows, for --resume
    removed: dict[str, int]  # unusable rows by reason
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # file -> rows_in, rows, removed
    weights: np.ndarray | None = None  # (rows,) what each row stands for, where it is known

    @property
    def count(self) -> int:
        return sum(block.rows for block in self.blocks)

    def table(self, *columns: str) -> pa.Table:
        """These columns of all rows, in order; id, text and label without a word."""
        import ray

        names = list(columns or (ID, TEXT, LABEL))
        task = ray.remote(num_cpus=0.25)(lambda table: table.select(names).combine_chunks())
        return pa.concat_tables(ray.get(a_few_at_a_time(partial(task.remote, block.ref) for block in self.blocks)))

    def ids_and_labels(self) -> tuple[list[str], list[str]]:
        """Of each row, in order."""
        table = self.table(ID, LABEL)
        return table[ID].to_pylist(), table[LABEL].to_pylist()

    def renamed(self, renames: dict[str, str]) -> "Rows":
        """With the new labels of a label map in place of old ones, each applied once."""
        import ray

        if not renames:
            return self
        task = ray.remote(num_cpus=0.25, num_returns=2)(_renamed)
        made = a_few_at_a_time(partial(task.remote, block.ref, renames) for block in self.blocks)
        occurring = set().union(*ray.get([found for _, found in made]))
        say(f"{len(occurring)} of {len(renames)} labels of --label-map occur")
        blocks = [replace(block, ref=ref) for block, (ref, _) in zip(self.blocks, made, strict=True)]
        return replace(self, blocks=blocks, fingerprint=f"{self.fingerprint} {short_hash(renames)}")

    def weight(self) -> np.ndarray | None:
        """What each row stands for  # (rows,); None where it is not known, no weight, or the same for all."""
        return self.weights if self.weights is not None and len(np.unique(self.weights)) > 1 else None


def of_splits(splits: Splits, block_rows: int) -> Rows:
    """The test rows of a dataset, in blocks of at most ``block_rows``."""
    import ray

    test = splits.test
    table = pa.table({c: pa.array(test[c].to_list(), pa.large_string()) for c in (ID, TEXT, LABEL)})
    size = blocks_of.sizes(len(test), block_rows)
    parts = [table.slice(start, size) for start in range(0, len(test), size)]
    blocks = [Block(ray.put(part), len(part)) for part in parts]
    weight, notices = weights.checked(test[WEIGHT].to_numpy(float))
    return Rows(blocks, f"test of {splits.source}", notices, splits, splits.row_fingerprint(), {}, weights=weight)


def of_files(
    folder: str, files: list[str], text: str, label: str | None, block_rows: int, by_file: bool = False
) -> Rows:
    """The usable rows of files under a folder; the others are counted by reason. ``by_file``: blocks end with a file.

    Raises DataError where a file cannot be read, or has no such column.
    """
    import ray

    from raypipe.data import ingest

    read = ingest.ingest(folder, files, text, label, block_rows, flags=COLUMN_FLAGS).to_arrow_refs()
    task = ray.remote(num_cpus=0.25)(_digest)
    digests = ray.get(a_few_at_a_time(partial(task.remote, block) for block in read))
    found: dict[str, dict[str, Any]] = {name: {"rows_in": 0, "rows": 0, "removed": {}} for name in files}
    for digest in digests:
        _count(found, files, digest)
    count = sum(entry["rows"] for entry in found.values())
    blocks = _usable_blocks(read, digests, files, blocks_of.sizes(count, block_rows), by_file)
    removed: dict[str, int] = {}
    for entry in found.values():
        for reason, rows in entry["removed"].items():
            removed[reason] = removed.get(reason, 0) + rows
    left_out = sum(removed.values())
    notices = [f"{left_out} rows without a usable text or label were left out"] if left_out else []
    weight = None
    if label is not None and any(digest["has_weight"] for digest in digests):
        orders = np.concatenate([digest["order"] for digest in digests])
        weight, more = weights.of_files(folder, files, text, orders, block_rows)
        notices += more
    sums = ingest.checksums(folder, files)
    for name, entry in found.items():
        entry["sha256"] = sums[name]
    return Rows(blocks, ", ".join(files[:3]), notices, None, " ".join(sums.values()), removed, found, weight)


def require_rows(rows: Rows) -> None:
    """Refuse files without a usable row. Raises DataError."""
    if not rows.count:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in rows.removed.items())
        raise DataError(
            f"none of the {sum(rows.removed.values()):,} rows can be used ({counts})",
            'rows such as {"text": "..."}, with a label where they are to be judged',
            "check the format of the file by its ending, and --text",
        )


def _digest(table: pa.Table) -> dict[str, Any]:
    """What the driver needs of a block as read: counts by file, and the usable rows' files and lengths."""
    from raypipe.data.ingest import LINE_BITS

    file = (table["order"].to_numpy() >> LINE_BITS).astype(np.int32)
    reason = np.array(table["reason"].to_pylist(), object)
    usable = reason == ""
    counts: dict[tuple[int, str], int] = {}
    for number in np.unique(file):
        names, rows = np.unique(reason[file == number].astype(str), return_counts=True)
        counts |= {(int(number), str(name)): int(n) for name, n in zip(names, rows, strict=True)}
    lengths = pc.utf8_length(table[TEXT]).to_numpy()[usable].astype(np.int32)
    return {
        "counts": counts,
        "files": file[usable],
        "characters": lengths,
        "order": table["order"].to_numpy()[usable],
        "has_weight": any(WEIGHT in json.loads(names) for names in table["columns"].to_pylist() if names),
    }


def _count(found: dict[str, dict[str, Any]], files: Sequence[str], digest: dict[str, Any]) -> None:
    for (number, reason), rows in digest["counts"].items():
        entry = found[files[number]]
        entry["rows_in"] += rows
        if reason:
            entry["removed"][reason] = entry["removed"].get(reason, 0) + rows
        else:
            entry["rows"] += rows


def _usable_blocks(
    read: list[Any], digests: list[dict[str, Any]], files: list[str], size: int, by_file: bool
) -> list[Block]:
    """The usable rows of blocks as read, without the rest, in blocks of at most ``size`` rows and CHARACTERS."""
    import ray

    task = ray.remote(num_cpus=0.25)(_usable)
    calls, found = [], []
    for block, digest in zip(read, digests, strict=True):
        cuts = _cuts(digest["characters"], digest["files"] if by_file else np.zeros_like(digest["files"]), size)
        if spans := list(pairwise(cuts)):
            calls.append(partial(task.options(num_returns=len(spans)).remote, block, files, spans))
            found.append((spans, digest["files"]))
    return [
        Block(ref, b - a, int(file[a]))
        for made, (spans, file) in zip(a_few_at_a_time(calls), found, strict=True)
        for ref, (a, b) in zip(made if len(spans) > 1 else [made], spans, strict=True)
    ]


def _cuts(characters: np.ndarray, files: np.ndarray, size: int) -> list[int]:
    """Where blocks begin and end."""
    cuts, ends = [0], np.cumsum(characters, dtype=np.int64)
    while cuts[-1] < len(characters):
        start = cuts[-1]
        before = int(ends[start - 1]) if start else 0
        stop = min(start + size, int(np.searchsorted(ends, before + CHARACTERS, side="right")))
        stop = min(max(stop, start + 1), int(np.searchsorted(files, files[start], side="right")))
        cuts.append(stop)
    return cuts


def _usable(table: pa.Table, files: list[str], spans: list[tuple[int, int]]) -> Any:
    from raypipe.data.table import row_id

    table = table.filter(pc.equal(table["reason"], ""))
    ids = [row_id(files, order) for order in table["order"].to_pylist()]
    table = table.select([TEXT, LABEL]).add_column(0, ID, pa.array(ids, pa.large_string())).combine_chunks()
    parts = [pa.table({name: table[name].slice(a, b - a) for name in table.column_names}) for a, b in spans]
    return parts[0] if len(parts) == 1 else parts


def _renamed(table: pa.Table, renames: dict[str, str]) -> tuple[pa.Table, set[str]]:
    """The table with other labels, and which of those to rename it had."""
    old = table[LABEL].to_pylist()
    label = pa.array([renames.get(name, name) for name in old], pa.large_string())
    return table.set_column(table.column_names.index(LABEL), LABEL, label), renames.keys() & set(old)


def inputs(folder: str, pattern: str, text: str, label: str | None, *made: str) -> tuple[str, list[str]]:
    """The absolute folder and the files under it that fit the pattern; ``made`` are outputs, which none may be.

    Raises DataError where no file fits or has such columns, ConfigError where an output would replace one.
    """
    from raypipe.data import ingest
    from raypipe.errors import ConfigError

    folder = storage.absolute(folder)
    storage.require_reachable(folder)
    files = ingest.find(folder, pattern)
    for path in (storage.join(folder, name) for name in files):
        for place in made:
            if path == place or path.startswith(f"{place}/"):
                raise ConfigError(f"the output {place} holds or is one of the input files", "another place for it")
    ingest.peek(folder, files, text, label, COLUMN_FLAGS)
    return folder, files
