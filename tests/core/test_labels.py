"""Labels that look like one, and labels that conflict."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core import labels


@pytest.mark.parametrize(
    "same",
    [
        ["card_arrival", "Card Arrival", " CARD-ARRIVAL ", "card.arrival!", "CardArrival", "card/arrival"],
        ["Straße", "STRASSE"],
        ["ﬁle", "File"],
        ["???", "???"],
        ["C++", "c++"],
        ["level 1-2", "Level_1_2"],
    ],
)
def test_one_fold(same: list[str]) -> None:
    assert len(set(map(labels.fold, same))) == 1


@pytest.mark.parametrize(
    "different",
    [
        ["-1", "1", "0"],
        ["1.0", "10"],
        ["C", "C++", "C#"],
        ["<5", ">5"],
        ["?", "!"],
        ["1-2", "12"],
        ["a", "ä"],
        ["AT", "AT&T", "AT%", "AT@"],
    ],
)
def test_other_folds(different: list[str]) -> None:
    assert len(set(map(labels.fold, different))) == len(different)


def test_spellings_are_led_by_the_label_with_most_rows() -> None:
    sizes = {"Card": 3, "card": 9, "CARD": 3, "loan": 5, "Loan": 0, "a b": 20, "a_b": 1, "other": 99}
    found = labels.spellings(sizes)
    assert found == [{"a b": 20, "a_b": 1}, {"card": 9, "CARD": 3, "Card": 3}]
    assert [list(group) for group in found] == [["a b", "a_b"], ["card", "CARD", "Card"]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=60))
def test_conflicting_counts_unordered_pairs(met: list[tuple[int, int]]) -> None:
    first, second = (np.array(side, np.int64) for side in (zip(*met, strict=True) if met else ([], [])))
    found = labels.conflicting(first, second)
    assert {(a, b): n for a, b, n in found} == Counter(tuple(sorted(pair)) for pair in met)
    assert [n for *_, n in found] == sorted((n for *_, n in found), reverse=True)
