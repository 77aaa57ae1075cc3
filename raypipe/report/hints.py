"""What to look at next after a run, derived from its numbers alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.report.score_plots import confused_pairs

CONFLICTS, NEAR_COPIES, CUT = 0.01, 0.05, 0.05  # shares of rows from which a hint is given
CALIBRATION_OFF = 0.05  # expected calibration error whose interval lies above: scores mislead
CALIBRATION_ROWS = 300  # with fewer test rows it is about that large whatever the model (docs/evaluation.md)
WIDE = 0.1  # width of the interval of top-1 from which two models are hard to tell apart
WEAK_F1, WEAK_ROWS = 0.5, 5  # a class below, with so many test rows at least
NAMED = 3  # classes named in a hint


@dataclass(frozen=True)
class Story:
    """What a whole run found; no row text."""

    prepared: dict[str, Any] | None  # NAME_report.json
    run: dict[str, Any]  # run.json
    history: list[dict[str, float]]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Hint:
    """One thing to look at: where (a stage with a page), and a command or flag that may help."""

    said: str
    stage: str
    command: str = ""


def next_steps(story: Story) -> list[Hint]:
    """The hints that these numbers give, the most telling first; reading the hardest errors is always one."""
    checks: tuple[Callable[[Story], Iterator[Hint]], ...] = (
        _baseline,
        _confused,
        _labels,
        _training,
        _calibration,
        _near_copies,
        _cut,
        _weak_classes,
        _interval,
        _reading,
    )
    return [hint for check in checks for hint in check(story)]


def _baseline(story: Story) -> Iterator[Hint]:
    for name, own in story.metrics["baselines"].items():
        less = own["model_less_it"]
        if name != "majority" and less["low"] <= 0:
            how = "is no better than" if less["high"] >= 0 else "is worse than"
            yield Hint(
                f"The model {how} the baseline {name}: its top-1 less that is {_said(less, '+.3f')}. More epochs, more "
                "rows or a larger model may help; or the baseline will do.",
                "train",
                "--epochs N --model-for-training-finetune NAME",
            )


def _confused(story: Story) -> Iterator[Hint]:
    matrix, labels = np.asarray(story.metrics["confusion"]), list(story.metrics["classes"])
    for true, predicted, rows in confused_pairs(matrix, 1):
        yield Hint(
            f"The most frequent error: {rows:,} of {matrix[true].sum():,} test rows of {labels[true]!r} are taken for "
            f"{labels[predicted]!r}. Are these two classes to you? If not, merge them.",
            "evaluate",
            "--label-map FILE",
        )


def _labels(story: Story) -> Iterator[Hint]:
    if story.prepared is None:
        return
    merges, removed = story.prepared["proposed_merges"], story.prepared["removed"]
    if groups := len(merges["same_spelling"]):
        yield Hint(f"{groups} group(s) of labels look like spellings of one; a label map is proposed.", "prepare")
    conflicts = removed.get("label_conflict", 0)
    if merges["conflicting"]:
        top = merges["conflicting"][0]
        first, second = top["labels"]
        yield Hint(
            f"{conflicts:,} rows left because an equal or near text has another label, most often {first!r} and "
            f"{second!r} ({top['conflicts']:,}). If they are one class to you, this is a line for --label-map:",
            "prepare",
            top["line"],
        )
    if conflicts > CONFLICTS * story.prepared["rows_in"] and story.prepared["config"]["on_conflict"] == "keep":
        yield Hint(
            f"That is {conflicts / story.prepared['rows_in']:.1%} of the raw rows; the witnesses stayed with the label "
            "that came first, which may be the wrong one.",
            "prepare",
            "--on-conflict drop",
        )
    if private := sum(story.prepared["looks_private"].values()):
        yield Hint(f"{private:,} marks of e-mail, telephone or card numbers are in kept rows.", "prepare")


def _training(story: Story) -> Iterator[Hint]:
    scores = [entry["eval_macro_f1"] for entry in story.history if "eval_macro_f1" in entry]
    if len(scores) > 1 and scores[-1] > max(scores[:-1]):
        yield Hint(
            "The last epoch was the best on validation: the model may not have learned all it can.",
            "train",
            f"--epochs {2 * story.run['recipe']['epochs']:g}",
        )


def _calibration(story: Story) -> Iterator[Hint]:
    error = story.metrics["calibration"]["ece_after"]
    if story.metrics["rows"] >= CALIBRATION_ROWS and error["low"] > CALIBRATION_OFF:
        yield Hint(
            f"Confidence and accuracy are apart: expected calibration error {_said(error)}. Do not read the scores as "
            "probabilities; more validation rows fit a better temperature.",
            "evaluate",
            f"--validation-fraction {min(0.3, 2 * story.run['config']['validation_fraction']):g}",
        )


def _near_copies(story: Story) -> Iterator[Hint]:
    near, rows = story.metrics["near_copies"], story.metrics["rows"]
    if near is not None and near["with"]["rows"] > NEAR_COPIES * rows and near["without"]["rows"]:
        yield Hint(
            f"{near['with']['rows']:,} test rows ({near['with']['rows'] / rows:.0%}) nearly repeat a training row; on "
            f"the others top-1 is {_said(near['without']['model'])}.",
            "evaluate",
            f"--similarity-threshold {near['threshold']:g}",
        )


def _cut(story: Story) -> Iterator[Hint]:
    cut, found = story.run["truncation"], story.metrics["truncation"]
    if cut["rows_cut"] <= CUT * cut["rows"]:
        return
    apart = ""
    if found["cut"]["rows"] and found["uncut"]["rows"]:
        apart = (
            f" On test, top-1 is {_said(found['cut']['model'])} for cut texts, {_said(found['uncut']['model'])} else."
        )
    yield Hint(
        f"{cut['rows_cut']:,} training texts ({cut['rows_cut'] / cut['rows']:.0%}) were cut at {cut['max_length']} "
        f"tokens.{apart}",
        "train",
        "--max-length 512" if cut["max_length"] < 512 else "--truncation head_tail" * (cut["kind"] == "head"),
    )


def _weak_classes(story: Story) -> Iterator[Hint]:
    classes = sorted(story.metrics["classes"].items(), key=lambda item: item[1]["f1"])
    weak = [label for label, own in classes if own["f1"] < WEAK_F1 and own["support"] >= WEAK_ROWS]
    if weak:
        named = ", ".join(map(repr, weak[:NAMED]))
        yield Hint(f"{len(weak)} class(es) have an F1 below {WEAK_F1}, lowest first: {named}.", "evaluate")


def _interval(story: Story) -> Iterator[Hint]:
    top1 = story.metrics["model"]["top1"]
    if top1["high"] - top1["low"] > WIDE:
        yield Hint(
            f"{story.metrics['rows']:,} test rows leave top-1 between {top1['low']:.3f} and {top1['high']:.3f}: "
            "compare models on more rows.",
            "evaluate",
            "--test-fraction 0.3" if story.prepared is not None else "",
        )


def _reading(story: Story) -> Iterator[Hint]:
    yield Hint("Read the hardest errors: wrong labels and missing classes show there first.", "evaluate")
    dataset = story.run["dataset"]["name"]
    audit = f"raypipe audit --input-hf-dataset {dataset} -o audit/set.jsonl"
    yield Hint("Look for wrong labels in the dataset, by models that have not seen the rows:", "", audit)
    if story.prepared is not None and story.prepared["removed"].get("near_duplicate"):
        yield Hint(
            f"{story.prepared['removed']['near_duplicate']:,} rows left as near-duplicates: is the threshold right?",
            "prepare",
            "raypipe prepare ... --explore",
        )


def _said(estimate: dict[str, float], form: str = ".3f") -> str:
    return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"
