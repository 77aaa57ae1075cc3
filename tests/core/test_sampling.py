"""Seeded choices by hash, class caps and held-out counts."""

from decimal import Decimal
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core import text as core_text
from raypipe.core.sampling import (
    NEW,
    STAND_IN,
    WAS_TEST,
    WAS_TRAIN,
    class_caps,
    divide,
    first_of_each,
    held_out_counts,
    lookup,
    places,
    tiers,
    unique_keys,
)

FEW = settings(max_examples=100, deadline=None, derandomize=True)
SIZES = st.lists(st.integers(0, 10**6), min_size=1, max_size=6)
HALF = st.integers(-(2**63), 2**63 - 1)


def keys(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    high, low = np.array([core_text.key(text) for text in texts], np.int64).reshape(-1, 2).T
    return high.copy(), low.copy()


@FEW
@given(SIZES, st.integers(1, 100), st.none() | st.integers(10, 50))
def test_caps_follow_the_contract(sizes: list[int], percent: int, tenths: int | None) -> None:
    """Against exact fractions: R * largest, but not below the smallest class; K * smallest; only downsampling."""
    share, ratio = Fraction(percent, 100), None if tenths is None else Fraction(tenths, 10)
    present = [size for size in sizes if size]
    expected = list(sizes)
    if present:
        limit = max(floor(share * max(present)), min(present))
        if ratio is not None:
            limit = min(limit, floor(ratio * min(present)))
        expected = [min(size, limit) for size in sizes]
    caps = class_caps(np.array(sizes), float(Decimal(percent) / 100), None if tenths is None else tenths / 10)
    assert caps.tolist() == expected
    assert all(cap >= min(present) for cap, size in zip(caps, sizes, strict=True) if size)


@pytest.mark.parametrize(
    ("sizes", "share", "ratio", "expected"),
    [
        ([100, 10], 0.29, None, [29, 10]),  # 0.29 * 100 is 28.999999999999996
        ([100, 10], 0.07, None, [10, 10]),  # never below the smallest
        ([100, 40, 10], 0.5, None, [50, 40, 10]),
        ([100, 40, 10], 1.0, None, [100, 40, 10]),
        ([100, 40, 10], 1.0, 1.0, [10, 10, 10]),
        ([100, 40, 10], 1.0, 2.3, [23, 23, 10]),
        ([100, 40, 10], 0.3, 2.0, [20, 20, 10]),  # both: the tighter
        ([100, 40, 10], 0.15, 2.0, [15, 15, 10]),
        ([100, 0, 10], 1.0, 1.0, [10, 0, 10]),  # a class without rows counts for nothing
        ([0, 0], 0.5, 1.0, [0, 0]),
        ([1], 0.5, None, [1]),
    ],
)
def test_caps_by_hand(sizes: list[int], share: float, ratio: float | None, expected: list[int]) -> None:
    assert class_caps(np.array(sizes), share, ratio).tolist() == expected


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=25), st.lists(st.integers(0, 8), min_size=4))
def test_first_of_each_takes_the_lowest_places_and_then_the_earliest_rows(
    rows: list[tuple[int, int]], counts: list[int]
) -> None:
    group = np.array([g for g, _ in rows], np.int64)
    place = np.array([p for _, p in rows], np.uint64)
    chosen = first_of_each(group, place, np.array(counts))
    for code, count in enumerate(counts):
        members = sorted((p, i) for i, (g, p) in enumerate(rows) if g == code)
        assert {i for _, i in members[:count]} == {i for i in range(len(rows)) if chosen[i] and rows[i][0] == code}


@FEW
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.integers(1, 99), st.integers(0, 1))
def test_held_out_is_within_one_row_of_the_share(sizes: list[int], percent: int, at_least: int) -> None:
    counts = held_out_counts(np.array(sizes), percent / 100, at_least)
    assert counts.dtype == np.int64
    for size, count in zip(sizes, counts.tolist(), strict=True):
        assert abs(count - Fraction(percent * size, 100)) < 1
        assert 0 <= count <= max(0, size - 1)
        assert size < 2 or count >= at_least


def test_held_out_by_hand() -> None:
    sizes = np.array([0, 1, 2, 5, 10, 13, 100])
    assert held_out_counts(sizes, 0.2).tolist() == [0, 0, 1, 1, 2, 3, 20]
    assert held_out_counts(sizes, 0.01).tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert held_out_counts(sizes, 0.01, at_least=0).tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert held_out_counts(sizes, 0.99).tolist() == [0, 0, 1, 4, 9, 12, 99]
    assert held_out_counts(np.array([5, 15]), 0.1).tolist() == [1, 2]  # halves round up


@FEW
@given(st.lists(st.tuples(HALF, HALF), min_size=1, max_size=20), st.integers(0, 20), HALF, st.integers(0, 2**64))
def test_a_place_depends_on_its_own_key_alone(drawn: list[tuple[int, int]], at: int, new: int, seed: int) -> None:
    high, low = np.array(drawn, np.int64).T
    before = places(high, low, seed, 1)
    at = min(at, len(drawn))
    after = places(np.insert(high, at, new), np.insert(low, at, new), seed, 1)
    assert np.delete(after, at).tolist() == before.tolist()
    alone = [int(places(high[i : i + 1], low[i : i + 1], seed, 1)[0]) for i in range(len(drawn))]
    assert before.tolist() == alone


def test_inserted_rows_leave_the_order_of_the_others() -> None:
    old, new = [f"old {n}" for n in range(400)], [f"new {n}" for n in range(200)]
    mixed = np.random.default_rng(1).permutation(600)
    texts = [[*old, *new][i] for i in mixed]
    order_alone = [old[i] for i in np.argsort(places(*keys(old), 42, 2))]
    order_mixed = [texts[i] for i in np.argsort(places(*keys(texts), 42, 2))]
    assert [text for text in order_mixed if text.startswith("old")] == order_alone

    def chosen(texts: list[str], count: int) -> set[str]:
        picked = first_of_each(np.zeros(len(texts), np.int64), places(*keys(texts), 42, 2), np.array([count]))
        return {text for text, yes in zip(texts, picked, strict=True) if yes}

    again = chosen(texts, 150)
    assert {text for text in again if text.startswith("old")} <= chosen(old, 150)
    assert chosen(old, 100) < chosen(old, 101)


def test_seed_purpose_and_each_half_of_the_key_matter() -> None:
    high, low = keys([str(n) for n in range(1000)])
    base = places(high, low, 42, 1)
    for other in (
        places(high, low, 43, 1),
        places(high, low, 42 + 2**63, 1),
        places(high, low, 42, 2),
        places(high, low, 41, 2),
        places(low, high, 42, 1),
        places(high ^ 1, low, 42, 1),
        places(high, low ^ 1, 42, 1),
    ):
        assert (base != other).all()
        assert abs(np.corrcoef(base.astype(float), other.astype(float))[0, 1]) < 0.15
    assert places(high, low, 42, 1).tolist() == base.tolist()


def test_places_spread_evenly() -> None:
    count = 20_000
    shares = places(np.arange(count), np.zeros(count, np.int64), 0, 0) / 2.0**64
    assert len(np.unique(shares)) == count
    quarters = np.bincount((shares * 4).astype(int), minlength=4)
    assert (abs(quarters - count / 4) < 5 * np.sqrt(count * 3 / 16)).all()


CLASSES = 3
ROWS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, 6), st.integers(NEW, WAS_TEST)), max_size=40)
PERCENT = st.integers(1, 99)


def arrays(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    group, place, past = np.array(rows, np.int64).reshape(-1, 3).T
    return group, place.astype(np.uint64), past.astype(np.int8)


def quota(size: int, share: float) -> int:
    return int(held_out_counts(np.array([size]), share)[0])


@settings(FEW, max_examples=300)
@given(ROWS, PERCENT)
def test_a_division_by_the_past_equals_the_oracle(rows: list[tuple[int, int, int]], percent: int) -> None:
    """Class by class, row by row: who must be in test, who leaves, who fills."""
    share = percent / 100
    found = divide(*arrays(rows), CLASSES, share)
    for code in range(CLASSES):
        of_class = [(i, place, past) for i, (group, place, past) in enumerate(rows) if group == code]
        held = sorted((r for r in of_class if r[2] in (STAND_IN, WAS_TEST)), key=lambda r: (-r[2], r[1], r[0]))
        new = sorted((r for r in of_class if r[2] == NEW), key=lambda r: (r[1], r[0]))
        others = len(of_class) - len(held)
        stay = max(n for n in range(len(held) + 1) if n <= quota(others + n, share))
        wanted = quota(others + stay, share)
        assert {i for i, _, _ in held[stay:]} == {i for i, _, _ in of_class if found.leaves[i]}
        expected = {i for i, _, _ in held[:stay] + new[: wanted - stay]}
        assert expected == {i for i, _, _ in of_class if found.test[i]}
        assert found.short[code] == max(0, wanted - stay - len(new))


@settings(FEW, max_examples=300)
@given(ROWS, PERCENT)
def test_the_laws_of_a_division(rows: list[tuple[int, int, int]], percent: int) -> None:
    group, _, past = arrays(rows)
    found = divide(*arrays(rows), CLASSES, percent / 100)
    train = ~found.test & ~found.leaves
    assert not (train & (past >= STAND_IN)).any(), "a row held by test is in train"
    assert not (found.test & (past == WAS_TRAIN)).any() and not (found.leaves & (past < STAND_IN)).any()
    assert not (found.test & found.leaves).any()
    for code in range(CLASSES):
        in_test, in_train = (int((side & (group == code)).sum()) for side in (found.test, train))
        distance = in_test - Fraction(percent * (in_test + in_train), 100)
        assert distance < 1, "never more test rows than the share"
        assert distance > -1 or found.short[code], "fewer only where rows were in train before"
        assert in_train or not in_test, "a class in test has something to train on"
        if found.short[code]:
            assert not (train & (group == code) & (past == NEW)).any()


def test_divisions_by_hand() -> None:
    def sides(past: list[int], share: float) -> str:
        found = divide(np.zeros(len(past), int), np.arange(len(past), dtype=np.uint64), np.array(past), 1, share)
        return "".join("e" if t else "-" if g else "a" for t, g in zip(found.test, found.leaves, strict=True))

    new, train, near, test = NEW, WAS_TRAIN, STAND_IN, WAS_TEST
    assert sides([], 0.5) == ""
    assert sides([new], 0.5) == sides([train], 0.5) == "a"
    assert sides([test], 0.5) == sides([near], 0.5) == "-", "the only row of its class"
    assert sides([test, test, test], 0.5) == "---", "no row to train on"
    assert sides([test, new], 0.5) == sides([near, train], 0.2) == "ea"
    assert sides([test, test, new], 0.4) == "e-a"
    assert sides([near, test, new], 0.4) == "-ea", "a former test row stays before a stand-in"
    assert sides([train, train, new, new], 0.5) == "aaee"
    assert sides([train, train, train, new], 0.5) == "aaae", "one short"
    assert sides([new] * 10, 0.2) == "eeaaaaaaaa"
    assert sides([test, test, test, *[train] * 4], 0.2) == "e--aaaa", "one of five is a fifth"


@FEW
@given(ROWS, PERCENT, st.lists(st.integers(1, 12), min_size=CLASSES, max_size=CLASSES))
def test_a_cut_prefers_former_test_rows_up_to_their_share(
    rows: list[tuple[int, int, int]], percent: int, limits: list[int]
) -> None:
    group, place, past = arrays(rows)
    share = percent / 100
    caps = np.minimum(np.bincount(group, minlength=CLASSES), limits)
    kept = first_of_each(group, place, caps, tiers(group, place, past, caps, share))
    assert np.bincount(group[kept], minlength=CLASSES).tolist() == caps.tolist()
    for code in range(CLASSES):
        of_class = group == code
        held, others = of_class & (past >= STAND_IN), of_class & (past < STAND_IN)
        wanted = min(int(held.sum()), quota(int(caps[code]), share))
        stayed = int((kept & held).sum())
        assert stayed >= wanted, "former test rows stay first"
        assert stayed == wanted or (kept & others).sum() == others.sum(), "more only where nothing else is left"
    no_past = np.zeros(len(rows), np.int8)
    plain = first_of_each(group, place, caps, tiers(group, place, no_past, caps, share))
    assert plain.tolist() == first_of_each(group, place, caps).tolist()


@FEW
@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 2), max_size=20), st.lists(st.tuples(*[st.integers(-2, 2)] * 2)))
def test_keys_are_found_by_both_halves(drawn: list[tuple[int, int]], rows: list[tuple[int, int]]) -> None:
    keys = unique_keys(np.array(drawn, np.int64).reshape(-1, 2))
    assert list(map(tuple, keys.tolist())) == sorted(set(drawn))
    high, low = np.array(rows, np.int64).reshape(-1, 2).T
    place = {key: i for i, key in enumerate(sorted(set(drawn)))}
    assert lookup(high, low, keys).tolist() == [place.get(row, -1) for row in rows]
