"""Cut large classes down; the rows that stay are chosen by seeded hash of their text."""

import numpy as np

from raypipe import schema
from raypipe.config import PrepareConfig
from raypipe.core import sampling
from raypipe.data.table import Table

_PURPOSE = 1


def balance(table: Table, rows: np.ndarray, config: PrepareConfig) -> None:
    """Remove rows of classes above their cap, among the given living rows, and weigh those that stay.

    A class that keeps a of its b rows has their weights multiplied by b / a.
    """
    before = table.class_sizes(rows)
    caps = sampling.class_caps(before, config.reduce_majority_to, config.max_class_ratio)
    place = sampling.places(table.key_high[rows], table.key_low[rows], config.seed, _PURPOSE)
    stays = sampling.first_of_each(table.label[rows], place, caps)
    table.remove(rows[~stays], schema.BALANCED)
    kept = rows[stays]
    table.weight[kept] *= before[table.label[kept]] / caps[table.label[kept]]
