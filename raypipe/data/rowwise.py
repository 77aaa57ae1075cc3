"""Ask the blocks about some rows by number; the texts stay where they are unless they are what is asked for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raypipe.data.table import Table


def start(table: Table, rows: np.ndarray, function: Callable[[Sequence[str]], Any], returns: int = 1) -> list[Any]:
    """Start ``function(texts)`` on the given ascending rows, one task for each shard that has some, in file order.

    In a rehearsal the blocks are here, and so are the answers.
    """
    started = []
    for shard in table.shards:
        first, last = np.searchsorted(rows, [shard.first, shard.first + shard.rows])
        if last > first:
            asked = (shard.block, rows[first:last] - shard.first + shard.offset, function)
            is_here = isinstance(shard.block, pa.Table)
            started.append(_ask(*asked) if is_here else ray.remote(num_returns=returns)(_ask).remote(*asked))
    return started


def gather(table: Table, rows: np.ndarray, function: Callable[[Sequence[str]], np.ndarray]) -> np.ndarray:
    """What ``function(texts)`` returns for the given ascending rows, as one array, first axis the rows."""
    return np.concatenate([function([]), *_answers(start(table, rows, function))])


def fetch_texts(table: Table, rows: Iterable[int]) -> dict[int, str]:
    """The texts of a few rows, by row number."""
    numbers = np.unique(np.fromiter(rows, np.int64))
    texts = (text for part in _answers(start(table, numbers, list)) for text in part)
    return dict(zip(numbers.tolist(), texts, strict=True))


def _answers(started: list[Any]) -> list[Any]:
    return ray.get(started) if any(isinstance(one, ray.ObjectRef) for one in started) else started


def _ask(block: pa.Table, positions: np.ndarray, function: Callable[[Sequence[str]], Any]) -> Any:
    return function(block["text"].take(pa.array(positions)).to_pylist())
