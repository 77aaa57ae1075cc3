"""A stratified train/test split by seeded hash of the text."""

import numpy as np

from raypipe.core import sampling
from raypipe.data.table import TO_TEST, TO_TRAIN, Table

_PURPOSE = 2


def split(table: Table, test_fraction: float, seed: int) -> None:
    """Put each living row on one side; a class's test share is within one row of the target.

    A class with one row stays in train.
    """
    alive = table.alive
    counts = sampling.held_out_counts(table.class_sizes(alive), test_fraction)
    place = sampling.places(table.key_high[alive], table.key_low[alive], seed, _PURPOSE)
    in_test = sampling.first_of_each(table.label[alive], place, counts)
    table.side[alive] = np.where(in_test, TO_TEST, TO_TRAIN)
