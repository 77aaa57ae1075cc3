"""How well given labels fit, from probabilities of a model that has not seen the rows.

Kuan and Mueller, "Model-agnostic label quality scoring to detect real-world label errors", ICML DataPerf workshop 2022,
section 2, compare such scores; Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70, 2021, section 3.1, take the mean self-confidence of a class as the threshold of what is confident.
"""

from typing import NamedTuple

import numpy as np

LEAST_P = 1e-12  # a smaller probability counts as this in a logarithm


class Fit(NamedTuple):
    """Of each row the probability of its label, and the likeliest other label with its probability."""

    p_label: np.ndarray  # (rows,) nan where the row cannot be judged
    p_other: np.ndarray  # (rows,) likewise
    other: np.ndarray  # (rows,) label numbers, -1 where the row cannot be judged


def fit(p: np.ndarray, classes: np.ndarray, label: np.ndarray) -> Fit:
    """How the labels fit probabilities  # (rows, classes), (classes,) ascending label numbers, (rows,) label numbers.

    A row whose label the model does not know cannot be judged.
    """
    column = np.minimum(np.searchsorted(classes, label), len(classes) - 1)
    known, row = classes[column] == label, np.arange(len(label))
    others = p.copy()
    others[row[known], column[known]] = -1.0
    best = others.argmax(axis=1)
    p_label = np.where(known, p[row, column], np.nan)
    return Fit(p_label, np.where(known, p[row, best], np.nan), np.where(known, classes[best], -1))


def margin(p_label: np.ndarray, p_other: np.ndarray) -> np.ndarray:
    """The log-odds of the label against the likeliest other one, below 0 where that one is likelier  # (rows,)."""
    return np.log(np.maximum(p_label, LEAST_P)) - np.log(np.maximum(p_other, LEAST_P))


def is_confident(found: Fit, label: np.ndarray) -> np.ndarray:
    """Whether a row is, by its probabilities, as surely of another class as that class's own rows are  # (rows,) bool.

    As sure as they are on average (Northcutt et al., equation 2), and surer than of its own label.
    """
    judged = found.other >= 0
    size = int(max(label.max(initial=-1), found.other.max(initial=-1))) + 1
    rows = np.bincount(label[judged], minlength=size)
    sums = np.bincount(label[judged], found.p_label[judged], minlength=size)
    own = np.where(rows, sums / np.maximum(rows, 1), np.inf)  # of a class without a judged row nothing is known
    confident = np.zeros(len(label), bool)
    p_label, p_other = found.p_label[judged], found.p_other[judged]
    confident[judged] = (p_other > p_label) & (p_other >= own[found.other[judged]])
    return confident
