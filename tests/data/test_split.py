"""Balance and split together, over random tables: the laws hold for both rules, both scopes and any past."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import PrepareConfig
from raypipe.core.sampling import NEW, STAND_IN, WAS_TEST, WAS_TRAIN, class_caps
from raypipe.data.balance import balance
from raypipe.data.split import split
from raypipe.data.table import TO_TEST, TO_TRAIN, Table

CLASSES = 4
FLAGS = st.fixed_dictionaries(
    {
        "reduce_majority_to": st.sampled_from((0.05, 0.29, 0.5, 1.0)),
        "max_class_ratio": st.sampled_from((None, 1.0, 1.5, 3.0)),
        "balance_scope": st.sampled_from(("all", "train")),
        "test_fraction": st.sampled_from((0.01, 0.2, 0.5, 0.9)),
        "seed": st.integers(0, 5),
    }
)
SIZES = st.lists(st.integers(0, 60), min_size=CLASSES, max_size=CLASSES)


def table_of(sizes: list[int]) -> Table:
    label = np.repeat(np.arange(CLASSES), sizes)
    rows = len(label)
    return Table(
        files=["raw.jsonl"],
        shards=[],
        order=np.arange(1, rows + 1),
        names=["a", "b", "c", "d"],
        label=label,
        raw_label=label.copy(),
        key_high=np.random.default_rng(rows).integers(-(2**62), 2**62, rows),
        key_low=np.arange(rows),
        letters=np.zeros(rows, np.int64),
        unspaced=np.zeros(rows, np.int64),
        reason=np.full(rows, -1, np.int8),
        columns=[],
        ingest_details={},
    )


def divided(table: Table, config: PrepareConfig, past: np.ndarray) -> np.ndarray:
    """As prepare orders it."""
    if config.balance_scope == "all":
        balance(table, table.alive, config, past)
    short = split(table, config.test_fraction, config.seed, past)
    if config.balance_scope == "train":
        balance(table, np.flatnonzero(table.side == TO_TRAIN), config, past)
    return short


def config_of(flags: dict) -> PrepareConfig:
    config = PrepareConfig(input_dir="d", input_filename="f.jsonl", output_filename="o.jsonl", **flags)
    config.validate()
    return config


def sides(table: Table, side: int) -> np.ndarray:
    return table.class_sizes(np.flatnonzero(table.side == side))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SIZES, FLAGS)
def test_shares_caps_and_weights_without_a_past(sizes: list[int], flags: dict) -> None:
    table, config = table_of(sizes), config_of(flags)
    assert not divided(table, config, np.full(sum(sizes), NEW, np.int8)).any()
    train, test, before = sides(table, TO_TRAIN), sides(table, TO_TEST), np.array(sizes)
    assert (table.reasons().get("balanced", 0)) == before.sum() - (train + test).sum()
    for code, size in enumerate(sizes):
        weight = table.weight[(table.label == code) & (table.side != 0)].sum()
        assert abs(weight - size) < 1e-9 * max(1, size), "weights sum to the rows of the class"
        assert bool(train[code]) == bool(size), "a class of one row is in train, and none is lost"
    if config.balance_scope == "all":
        whole = train + test
        assert whole.tolist() == class_caps(before, config.reduce_majority_to, config.max_class_ratio).tolist()
    else:
        whole = before
        untouched = before - test
        assert train.tolist() == class_caps(untouched, config.reduce_majority_to, config.max_class_ratio).tolist()
        assert (table.weight[table.side == TO_TEST] == 1).all()
    for size, count in zip(whole.tolist(), test.tolist(), strict=True):
        assert abs(count - Fraction(str(config.test_fraction)) * size) < 1
        assert size < 2 or count >= 1


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SIZES, FLAGS, st.data())
def test_no_past_leads_from_test_to_train(sizes: list[int], flags: dict, data: st.DataObject) -> None:
    table, config = table_of(sizes), config_of(flags)
    odds = data.draw(st.lists(st.sampled_from((NEW, WAS_TRAIN, STAND_IN, WAS_TEST)), min_size=1, max_size=5))
    past = np.random.default_rng(sum(sizes)).choice(np.array(odds, np.int8), sum(sizes))
    short = divided(table, config, past)
    assert not (past[table.side == TO_TRAIN] >= STAND_IN).any()
    assert not (past[table.side == TO_TEST] == WAS_TRAIN).any()
    train, test = sides(table, TO_TRAIN), sides(table, TO_TEST)
    assert (test[train == 0] == 0).all(), "a class in test has something to train on"
    gone = table.reasons()
    assert train.sum() + test.sum() + gone.get("balanced", 0) + gone.get("previous_test", 0) == sum(sizes)
    if config.balance_scope == "all":
        for in_train, in_test, lacking in zip(train.tolist(), test.tolist(), short.tolist(), strict=True):
            distance = in_test - Fraction(str(config.test_fraction)) * (in_train + in_test)
            assert distance < 1 and (distance > -1 or lacking)
