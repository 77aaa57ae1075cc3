"""A stratified train/test split by seeded hash of the text."""

import numpy as np

from raypipe import schema
from raypipe.core import sampling
from raypipe.data.table import TO_TEST, TO_TRAIN, Table

PURPOSE = 2


def split(table: Table, test_fraction: float, seed: int, past: np.ndarray) -> np.ndarray:
    """Put each living row on one side; a class's test share is within one row of the target.

    ``past`` says what each row was in an earlier set  # (rows,), see core.sampling. A class with one row stays in
    train. Former test rows beyond the share leave. Returns how many test rows each class lacks because its rows were
    in train before  # (classes,).
    """
    alive = table.alive
    place = sampling.places(table.key_high[alive], table.key_low[alive], seed, PURPOSE)
    division = sampling.divide(table.label[alive], place, past[alive], len(table.names), test_fraction)
    table.side[alive] = np.where(division.test, TO_TEST, TO_TRAIN)
    table.remove(alive[division.leaves], schema.PREVIOUS_TEST)
    return division.short
