"""Ask the blocks about some rows by number; the texts stay where they are unless they are what is asked for."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raypipe.data.table import Table


def start(dataset: "ray.data.Dataset", table: Table, rows: np.ndarray, function: Callable, returns: int = 1) -> list:
    """Start ``function(texts)`` on the given rows of each block, one task a block.

    The first value of a task is the place, among the sorted ``rows``, of each row that the block has; the rest is
    what the function returns (a tuple where there are several values).
    """
    wanted = ray.put(table.order[np.unique(rows)])
    task = ray.remote(num_returns=returns + 1)(_ask)
    return [task.remote(block, wanted, function) for block in dataset.to_arrow_refs()]


def gather(dataset: "ray.data.Dataset", table: Table, rows: np.ndarray, function: Callable) -> np.ndarray:
    """One array over ``np.unique(rows)`` of what ``function(texts)`` returns for each row, first axis the rows."""
    answers = [ray.get(refs) for refs in start(dataset, table, rows, function)]
    places = np.concatenate([place for place, _ in answers])
    return np.concatenate([values for _, values in answers])[np.argsort(places)]


def fetch_texts(dataset: "ray.data.Dataset", table: Table, rows: Iterable[int]) -> dict[int, str]:
    """The texts of a few rows, by row number."""
    numbers = np.unique(np.fromiter(rows, np.int64))
    texts: dict[int, str] = {}
    for refs in start(dataset, table, numbers, list) if len(numbers) else []:
        places, found = ray.get(refs)
        texts |= zip(numbers[places].tolist(), found, strict=True)
    return texts


def _ask(block: pa.Table, wanted: np.ndarray, function: Callable) -> tuple[Any, ...]:
    order = block["order"].to_numpy()
    place = np.searchsorted(wanted, order)
    chosen = wanted[np.minimum(place, len(wanted) - 1)] == order if len(wanted) else np.zeros(len(order), bool)
    answer = function(block["text"].filter(pa.array(chosen)).to_pylist())
    return (place[chosen], *(answer if isinstance(answer, tuple) else (answer,)))
