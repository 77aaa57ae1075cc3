"""Labels judged out of fold: each row by the TF-IDF + logistic regression baseline of rows that are not near it."""

import warnings
from dataclasses import dataclass

import numpy as np

from raypipe.core.label_quality import Fit, fit
from raypipe.errors import DataError
from raypipe.evaluate import baseline
from raypipe.evaluate.near_copies import has_near_copy


@dataclass(frozen=True)
class Judged:
    """How each row's label fits, and what each fold's model was made of."""

    fit: Fit
    fold: np.ndarray  # (rows,)
    trained: list[int]  # rows that each fold's model was fitted on
    left_out: list[int]  # rows of other folds that were not, as near-copies


def audit(text: list[str], label: np.ndarray, folds: int, near_copy_threshold: float, seed: int) -> Judged:
    """Judge each row by a model of the other folds, one Ray task each  # (rows,) texts and label numbers.

    A row of another fold with the same canonical text or at cosine >= the threshold stays out of the model: its label
    may be wrong in the same way. Raises DataError where there is too little to make folds of.
    """
    import ray

    fold = stratified(label, folds, seed)
    texts, labels, numbers = ray.put(text), ray.put(label), ray.put(fold)
    task = ray.remote(judge_fold)
    parts = ray.get([task.remote(texts, labels, numbers, n, near_copy_threshold, seed) for n in range(folds)])
    rows = len(label)
    whole = Fit(np.full(rows, np.nan), np.full(rows, np.nan), np.full(rows, -1))
    for number, (found, _, _) in enumerate(parts):
        for into, values in zip(whole, found, strict=True):
            into[fold == number] = values
    return Judged(whole, fold, [trained for _, trained, _ in parts], [left for _, _, left in parts])


def stratified(label: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row  # (rows,); a class of fewer rows than folds is in some of them. Raises DataError."""
    from sklearn.model_selection import StratifiedKFold

    sizes = np.bincount(label)
    classes, largest = int((sizes > 0).sum()), int(sizes.max(initial=0))
    if classes < 2:
        raise DataError(f"{classes} class{'es' * (classes != 1)}", "at least 2 classes", "check --subject-column")
    if largest < folds:
        raise DataError(f"--folds {folds} where the largest class has {largest} rows", "a smaller number of folds")
    fold = np.empty(len(label), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # the report counts its rows
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(label, label)
        for number, (_, held_out) in enumerate(parts):
            fold[held_out] = number
    return fold


def judge_fold(
    text: list[str], label: np.ndarray, fold: np.ndarray, number: int, near_copy_threshold: float, seed: int
) -> tuple[Fit, int, int]:
    """How the labels of one fold's rows fit; the rows that the model was fitted on, and the near-copies left out."""
    held_out, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
    judged = [text[row] for row in held_out]
    near = has_near_copy(judged, [text[row] for row in others], near_copy_threshold)
    trained = others[~near]
    model = baseline.fitted([text[row] for row in trained], label[trained], seed)
    if model is None:
        nothing = np.full(len(held_out), np.nan)
        found = Fit(nothing, nothing, np.full(len(held_out), -1))
    else:
        found = fit(model.predict_proba(judged), model.classes_, label[held_out])
    return found, len(trained), int(near.sum())
