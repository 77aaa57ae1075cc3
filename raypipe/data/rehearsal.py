"""prepare on a sample in this process, without Ray: what it would keep, and how long each kind of task takes.

What runs is what the tasks of prepare run: the same functions on the same kinds of blocks, their results packed as a
task packs them. So the figures are of this machine, and of these texts.
"""

import contextlib
import dataclasses
import functools
import io
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.config import PrepareConfig
from raypipe.core.keep import Nearest
from raypipe.core.tfidf import Vocabulary
from raypipe.data import balance, dedup, ingest, labels, lengths, previous, vectorise, write
from raypipe.data.records import Record
from raypipe.data.sample import Sample
from raypipe.data.table import Table, digest
from raypipe.errors import RaypipeError

WARM_ROWS = 64  # go through the compiled functions first, so that loading them is not timed


@dataclass
class Rehearsal:
    """What came of the sample, and the seconds that each function took on it, on one CPU."""

    table: Table
    blocks: list[pa.Table]  # with the texts
    rows_alive: int  # before duplicates leave
    terms: int  # counted, repetitions included
    block_bytes: int  # of the texts and all their vectors, as the object store holds them
    seconds: dict[str, float]  # of read, count, merge, weigh, half_join, join, write, describe

    def texts(self, side: int) -> list[str]:
        """The texts that stay on one side of the split."""
        texts = pa.concat_tables(block.select(["text"]) for block in self.blocks)["text"]
        return texts.take(pa.array(np.flatnonzero(self.table.side == side))).to_pylist()


def rehearse(
    sample: Sample,
    files: list[str],
    config: PrepareConfig,
    renames: dict[str, str],
    check: Callable[[Table], None],
) -> Rehearsal:
    """All stages on the sample; ``check`` may refuse its rows as they were read.

    Raises DataError where the label rules leave nothing to split.

    --corrections, --decontaminate and --previous are left out: each needs files of its own. A class is rare by its
    share of --min-class-rows.
    """
    few = dataclasses.replace(config, min_class_rows=math.ceil(config.min_class_rows * sample.share))
    usable = (numbered for numbered in sample.records if not numbered[1].reason)
    if warm := list(itertools.islice(usable, WARM_ROWS)):
        timed = _Timed(0.0)
        with contextlib.suppress(RaypipeError):  # what these few rows alone are refused for says nothing of the whole
            _stages(*_read(warm, files, config, timed), config, timed)
    timed = _Timed(sample.seconds)
    table, blocks = _read(sample.records, files, config, timed)
    check(table)
    labels.rename(table, renames, sample.is_whole)
    labels.filter_labels(table, few, sample.is_whole)
    return _stages(table, blocks, few, timed)


class _Timed:
    """Calls functions and adds up the seconds that they take, by name."""

    def __init__(self, read: float) -> None:
        self.seconds: dict[str, float] = {"read": read}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        made = function(*args)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return made

    def task(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The same, with the packing of the arrays that a task returns."""
        made = self(name, function, *args)
        for arrays in made if isinstance(made, tuple) else (made,):
            self(name, functools.partial(np.savez, io.BytesIO(), **arrays))
        return made


def _read(
    records: list[tuple[int, Record]], files: list[str], config: PrepareConfig, timed: _Timed
) -> tuple[Table, list[pa.Table]]:
    blocks = timed("read", lambda: list(ingest.tables(iter(records), config.block_rows)))
    digests = timed("read", lambda: [digest(block) for block in blocks])
    return Table.gathered(blocks, digests, files, config.block_rows), blocks


def _stages(table: Table, blocks: list[pa.Table], config: PrepareConfig, timed: _Timed) -> Rehearsal:
    alive = table.alive
    counted = _vectorise(table, config, timed)
    if len(alive):
        _dedup(table, counted, config, timed)
    balance.balance_and_split(table, config, previous.recognise(table, previous.Former()))
    timed.task("write", _write, table)
    timed("describe", lambda: [lengths.measure(block["text"].to_pylist()) for block in blocks])
    stored = sum(block.nbytes for block in blocks) + sum(array.nbytes for array in counted.block.values())
    return Rehearsal(table, blocks, len(alive), counted.terms, stored, timed.seconds)


@dataclass(frozen=True)
class _Counted:
    """The unit rows of all living rows as one block."""

    block: dict[str, np.ndarray]
    terms: int  # repetitions included


def _vectorise(table: Table, config: PrepareConfig, timed: _Timed) -> _Counted:
    analyzer = vectorise.choose_analyzer(table, config)
    vocabulary, counts, numbers, terms = Vocabulary(), [], [], 0
    for shard in table.shards:
        positions = np.flatnonzero(table.is_alive[shard.numbers()]) + shard.offset
        made, summary = timed.task("count", vectorise.count_shard, shard.block, positions, analyzer)
        numbers.append(timed("merge", _merge, vocabulary, summary))
        counts.append(made)
        terms += int(made["data"].sum())
    weights = timed("merge", vocabulary.weights, len(table.alive))
    block = timed.task("weigh", vectorise.weigh_block, config.similarity_threshold, weights, numbers, *counts)
    return _Counted(block, terms)


def _merge(vocabulary: Vocabulary, summary: dict[str, np.ndarray]) -> np.ndarray:
    from raypipe.data.tasks import unpacked

    return vocabulary.add(unpacked(summary), summary["frequency"])


def _dedup(table: Table, counted: _Counted, config: PrepareConfig, timed: _Timed) -> None:
    """The keep rule over the sample as one block; over its first half before, for how the time grows."""
    alive, rows = table.alive, len(table.order)
    text = table.text_numbers(alive)
    asks, free = np.ones(len(alive), bool), np.zeros(len(alive), bool)
    half = np.arange(len(alive)) < len(alive) // 2
    timed("half_join", dedup.decide, counted.block, half, text, free)
    found = timed.task("join", dedup.decide, counted.block, asks, text, free)
    texts, kept, nearest = np.full(rows, -1), np.zeros(rows, bool), Nearest(rows)
    texts[alive], kept[alive] = text, found["kept"]
    nearest.update(alive[found["left"]], alive[found["right"]], found["cosine"])
    dedup.conclude(table, texts, kept, nearest, config.on_conflict)


def _write(table: Table) -> dict[str, np.ndarray]:
    decisions = write.Decisions.of(table)
    parts = [write.format_rows(shard.block, shard, decisions) for shard in table.shards]
    return {f"{number}.{name}": array for number, part in enumerate(parts) for name, array in part.items()}
