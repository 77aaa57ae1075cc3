"""Rows on their way to the actors: blocks in the object store that the driver knows by numbers alone."""

import hashlib
import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from raypipe.runtime import a_few_at_a_time
from raypipe.schema import ID, LABEL, TEXT


@dataclass(frozen=True)
class Block:
    """Consecutive rows: an Arrow table with the columns id, text and label (null where there is none)."""

    ref: Any  # ray.ObjectRef
    rows: int
    file: int = 0  # number of the input file that they are of, where blocks end with their file


def sizes(rows: int, most: int) -> int:
    """Rows of a block: at most ``most``, and so few that several actors share the rows evenly.

    A twentieth, so that no actor waits for another one's last block for more than that; but 2,048 at least, which
    sorted by length pad 4 % (of short texts, in passes of 1,024 tokens).
    """
    return max(1, min(most, max(2_048, rows // 20)))


def keys(blocks: list[Block]) -> list[str]:
    """A hash over the rows of each block."""
    task = ray.remote(num_cpus=0.25)(_key)
    return ray.get(a_few_at_a_time(partial(task.remote, block.ref) for block in blocks))


def sample(blocks: list[Block], rows: int) -> list[str]:
    """About ``rows`` texts, each the same number of rows after the other."""
    every = max(1, sum(block.rows for block in blocks) // rows)
    task = ray.remote(num_cpus=0.25)(_every)
    befores = itertools.accumulate((block.rows for block in blocks), initial=0)
    calls = (partial(task.remote, b.ref, -before % every, every) for b, before in zip(blocks, befores, strict=False))
    return [text for texts in ray.get(a_few_at_a_time(calls)) for text in texts]


def _key(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([table.schema.field(name) for name in (ID, TEXT, LABEL)])) as writer:
        writer.write_table(table.select([ID, TEXT, LABEL]).combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()[:32]


def _every(table: pa.Table, start: int, step: int) -> list[str]:
    return table[TEXT].take(list(range(start, len(table), step))).to_pylist()
