"""Cut large classes down; the rows that stay are chosen by seeded hash of their text."""

import numpy as np

from raypipe import schema
from raypipe.config import PrepareConfig
from raypipe.core import sampling
from raypipe.data import split
from raypipe.data.table import TO_TRAIN, Table

_PURPOSE = 1


def balance_and_split(table: Table, config: PrepareConfig, past: np.ndarray) -> np.ndarray:
    """Balance all rows and then split them, or by --balance-scope train split them and then balance that side.

    ``past`` and what is returned are those of ``split.split``.
    """
    if config.balance_scope == "all":
        balance(table, table.alive, config, past)
    short = split.split(table, config.test_fraction, config.seed, past)
    if config.balance_scope == "train":
        balance(table, np.flatnonzero(table.side == TO_TRAIN), config, past)
    return short


def balance(table: Table, rows: np.ndarray, config: PrepareConfig, past: np.ndarray) -> None:
    """Remove rows of classes above their cap, among the given living rows, and weigh those that stay.

    A class that keeps a of its b rows has their weights multiplied by b / a. ``past`` says what each row was in an
    earlier set  # (table rows,): former test rows stay before others, up to the test share of the cap.
    """
    label, high, low = table.label[rows], table.key_high[rows], table.key_low[rows]
    before = table.class_sizes(rows)
    caps = sampling.class_caps(before, config.reduce_majority_to, config.max_class_ratio)
    in_split = sampling.places(high, low, config.seed, split.PURPOSE)
    tier = sampling.tiers(label, in_split, past[rows], caps, config.test_fraction)
    place = sampling.places(high, low, config.seed, _PURPOSE)
    stays = sampling.first_of_each(label, place, caps, tier)
    table.remove(rows[~stays], schema.BALANCED)
    kept = rows[stays]
    table.weight[kept] *= before[table.label[kept]] / caps[table.label[kept]]
