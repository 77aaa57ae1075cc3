"""Label fit against obvious loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.label_quality import Fit, fit, is_confident, margin


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 4))
def test_fit_margin_and_confidence(seed: int, rows: int, size: int) -> None:
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(size, 0.5), rows)
    classes = np.sort(random.choice(6, size, replace=False))
    label = random.integers(0, 6, rows)
    found = fit(p, classes, label)
    means = {}
    for row in range(rows):
        by_class = dict(zip(classes.tolist(), p[row].tolist(), strict=True))
        if label[row] not in by_class:
            assert found.other[row] == -1 and np.isnan([found.p_label[row], found.p_other[row]]).all()
            continue
        means.setdefault(int(label[row]), []).append(by_class[label[row]])
        assert found.p_label[row] == by_class.pop(int(label[row]))
        assert found.p_other[row] == max(by_class.values()) == by_class[found.other[row]]
    confident = is_confident(found, label)
    for row in np.flatnonzero(found.other >= 0):
        own = means.get(int(found.other[row]), [np.inf])
        surer = found.p_other[row] > found.p_label[row]
        assert confident[row] == (surer and found.p_other[row] >= np.mean(own) - 1e-15)
        assert (margin(found.p_label, found.p_other)[row] < 0) == surer
    assert not confident[found.other < 0].any()


def test_edges() -> None:
    nothing = Fit(np.array([np.nan]), np.array([np.nan]), np.array([-1]))
    assert not is_confident(nothing, np.array([0])).any()
    assert margin(np.array([0.0, 1.0, 0.5]), np.array([0.0, 0.0, 0.25])).tolist() == [
        0.0,
        -np.log(1e-12),
        np.log(2),
    ]
