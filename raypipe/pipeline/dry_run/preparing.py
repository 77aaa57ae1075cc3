"""What prepare would need: all its stages on a sample, and how each grows from there to all rows."""

from typing import NamedTuple

import numpy as np

from raypipe.config import PrepareConfig
from raypipe.data import ingest, sample
from raypipe.data.rehearsal import Rehearsal, rehearse
from raypipe.data.sample import Sample
from raypipe.data.table import TO_TEST, TO_TRAIN, Table
from raypipe.estimate import (
    DRIVER_MIB,
    DRIVER_ROW_BYTES,
    KERNELS_START_S,
    MIB,
    RAY_MIB,
    RAY_START_S,
    READ_START_S,
    STAGE_S,
    WORKER_COPIES,
    WORKER_MIB,
    Estimate,
    Machine,
    machine_of,
)
from raypipe.pipeline.job import PrepareJob, refuse_bad_input
from raypipe.schema import TEST, TRAIN


class Rehearsed(NamedTuple):
    """An estimate, and the sample that it was made from."""

    estimate: Estimate
    rehearsal: Rehearsal
    share: float  # of all rows that the sample stands for


def estimate_prepare(config: PrepareConfig, job: PrepareJob) -> Rehearsed:
    """Predict prepare; ``job`` has refused at the door what can be. Raises DataError as the real run would."""
    machine = machine_of(config)
    taken = sample.take(job.source, job.files, config.text, config.subject)

    def check(table: Table) -> None:
        if taken.is_whole:
            refuse_bad_input(table, config.max_bad_fraction)

    rehearsal = rehearse(taken, job.files, config, job.renames, check)
    scale, alive = 1 / taken.share, round(rehearsal.rows_alive / taken.share)
    sides = rehearsal.table.side
    counts = {"rows_in": taken.all_rows(), "sample_rows": len(taken.records)}
    counts |= {TRAIN: round(int((sides == TO_TRAIN).sum()) * scale), TEST: round(int((sides == TO_TEST).sum()) * scale)}
    removed = {reason: round(rows * scale) for reason, rows in rehearsal.table.reasons().items()}
    tasks = _Tasks.of(taken, alive, config)
    estimate = Estimate(
        seconds=_seconds(rehearsal, taken.share, alive, tasks, machine),
        counts=counts | {"kept": counts[TRAIN] + counts[TEST], "removed": removed},
        tokens=round(rehearsal.terms * scale),
        memory_mib=_memory(rehearsal, taken, tasks),
        workers=min(machine.cpus, max(tasks.pieces, tasks.blocks)),
        notes=[*machine.notes, *_notes(config, taken, rehearsal.table)],
    )
    estimate.counts["tokens"] = estimate.tokens
    return Rehearsed(estimate, rehearsal, taken.share)


class _Tasks(NamedTuple):
    """How the work is divided."""

    pieces: int  # of the files, a reading task each
    blocks: int  # of rows, for counting, weighing, joining and writing
    rows: int  # of a block

    @classmethod
    def of(cls, taken: Sample, alive: int, config: PrepareConfig) -> "_Tasks":
        characters = sum(len(record.text) for _, record in taken.records) / taken.share
        by_characters = -(-int(characters) // ingest.BLOCK_CHARACTERS)
        pieces = max(1, -(-taken.stored_bytes // ingest.PIECE_BYTES))
        count = max(1, -(-alive // config.block_rows), by_characters)
        return cls(pieces, count, -(-alive // count))


def _seconds(rehearsal: Rehearsal, share: float, alive: int, tasks: _Tasks, machine: Machine) -> dict[str, float]:
    """By stage; the sample's seconds by its share, over the tasks that run at the same time."""
    timed = rehearsal.seconds

    def spread(name: str, parts: int) -> float:
        return timed[name] / share / min(machine.cpus, parts)

    vectorise = spread("count", max(tasks.blocks, tasks.pieces)) + timed["merge"] / share
    vectorise += spread("weigh", tasks.blocks)
    return {
        "start": RAY_START_S,
        "ingest": READ_START_S + spread("read", tasks.pieces),
        "vectorise": KERNELS_START_S + vectorise,
        "join": STAGE_S + _join_s(rehearsal, alive, tasks, machine.cpus),
        "write": STAGE_S + spread("write", max(tasks.blocks, tasks.pieces)),
        "describe": STAGE_S + spread("describe", max(tasks.blocks, tasks.pieces)),
    }


def _join_s(rehearsal: Rehearsal, alive: int, tasks: _Tasks, cpus: int) -> float:
    """Of the keep rule over all blocks.

    One block of n rows takes a n + b n²: a and b from the sample and its half. Two different blocks have twice the
    pairs of one, of which the earlier one's removed rows are never asked. What can run at the same time waits for the
    rule inside each block in turn: so the longer of that chain, and of all work over the CPUs.
    """
    n = max(1, rehearsal.rows_alive)
    whole, half = rehearsal.seconds.get("join", 0.0), rehearsal.seconds.get("half_join", 0.0)
    square = max(0.0, 2 * (whole - 2 * half)) / n**2
    linear = max(0.0, whole - square * n**2) / n
    kept = (rehearsal.table.side > 0).sum() / n
    inside = linear * tasks.rows + square * tasks.rows**2
    between = linear * tasks.rows + 2 * kept * square * tasks.rows**2
    work = tasks.blocks * inside + tasks.blocks * (tasks.blocks - 1) / 2 * between
    chain = tasks.blocks * inside + (tasks.blocks - 1) * between
    return float(max(chain, work / cpus))


def _memory(rehearsal: Rehearsal, taken: Sample, tasks: _Tasks) -> dict[str, float]:
    stored = rehearsal.block_bytes / taken.share / MIB
    return {
        "driver": DRIVER_MIB + taken.all_rows() * DRIVER_ROW_BYTES / MIB,
        "worker": WORKER_MIB + WORKER_COPIES * stored / tasks.blocks,
        "object_store": stored,
        "ray": RAY_MIB,
    }


def _notes(config: PrepareConfig, taken: Sample, table: Table) -> list[str]:
    notes = []
    if not taken.is_whole:
        notes.append(
            f"a sample of {taken.share:.1%} of the input: duplicates of rows outside of it are not seen, so more rows "
            "will leave"
        )
        if len(np.unique(table.label[table.side > 0])) < 2:
            notes.append("the sample has one label: input that is not sorted by label would be refused")
    left_out = {
        "--corrections": config.corrections,
        "--decontaminate": config.decontaminate,
        "--previous": config.previous,
    }
    notes += [f"{flag} is not part of the estimate" for flag, value in left_out.items() if value is not None]
    if config.explore:
        notes.append("--explore is predicted as prepare without it; its join at 0.6 takes longer")
    return notes
