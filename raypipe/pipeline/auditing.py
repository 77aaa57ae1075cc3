"""audit: the rows whose label is suspect, most suspect first, for a person to read and correct."""

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raypipe import provenance, storage
from raypipe.config import AuditConfig
from raypipe.core import intervals, label_quality
from raypipe.errors import ConfigError
from raypipe.pipeline.common import Clock, finished_output, hf_token, with_endings, write_json
from raypipe.pipeline.kept import kept_work
from raypipe.runtime import require_shared, say, session
from raypipe.schema import ID, LABEL, TEST, TEXT, TRAIN, StageResult

if TYPE_CHECKING:
    from raypipe.evaluate.audit import Judged

READ_ROWS = 16_384  # of a block of local files
DECIMALS = 6  # of probabilities and margins in the suspects file, and so of the ranking


def audit(config: AuditConfig) -> StageResult:
    """Judge every row's label out of fold and rank the rows; no row is changed or removed.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.data import labels
    from raypipe.report import console

    config.validate()
    token = hf_token(config)
    storage.require_reachable(config.input_dir)
    out = _Outputs(config.output_filename)
    finished = finished_output(out.mark, config, list(out.paths().values()))
    renames = labels.read_label_map(config.label_map)
    clock = Clock()
    with session(config):
        require_shared(out.folder, config.input_dir)
        rows = _read(config, token, out, renames)
        if finished is not None and finished["data_fingerprint"] != rows.fingerprint:
            raise ConfigError("--resume with changed rows", "those of the finished audit", "--overwrite")
        report = finished or _alone(config, rows, out, clock)
    for notice in report["notices"]:
        say(f"notice: {notice}")
    console.audit_table(report)
    status = "skipped" if finished else "done"
    return StageResult("audit", config.hash(), status, out.paths(), report["counts"], _flat(report), clock.total())


@dataclass(frozen=True)
class _Rows:
    """Labelled rows with the columns id, text, label, split; all strings."""

    frame: pd.DataFrame
    name: str
    fingerprint: str
    removed: dict[str, int]  # unusable rows by reason


class _Outputs:
    """DIR/NAME_suspects.jsonl, DIR/NAME_audit.html and, as completion mark, DIR/NAME_audit.json."""

    def __init__(self, output_filename: str) -> None:
        path = storage.absolute(output_filename)
        self.folder, stem = storage.parent(path), os.path.basename(path).removesuffix(".jsonl")
        self.name, self.suspects = f"{stem}_audit", f"{stem}_suspects.jsonl"
        self.page, self.mark_name = f"{self.name}.html", f"{self.name}.json"
        self.mark = storage.join(self.folder, self.mark_name)

    def paths(self) -> dict[str, str]:
        names = {"suspects": self.suspects, "report": self.mark_name, "page": self.page}
        return {kind: storage.join(self.folder, name) for kind, name in names.items()}


def _read(config: AuditConfig, token: str | None, out: _Outputs, renames: dict[str, str]) -> _Rows:
    """The rows of the dataset's splits, or of the local files."""
    if config.input_hf_dataset is None:
        from raypipe.pipeline.rows import inputs, of_files, require_rows

        columns = config.text, config.subject_column
        folder, files = inputs(str(config.input_dir), str(config.filename), *columns, *out.paths().values())
        found = of_files(folder, files, config.text, config.subject_column, READ_ROWS)
        require_rows(found)
        found = found.renamed(renames)
        frame = found.table().to_pandas().assign(split="")
        return _Rows(frame, found.name, found.fingerprint, found.removed)
    from raypipe import splits

    loaded = splits.load(config.input_hf_dataset, config.text, config.subject_column, token)
    parts = {TRAIN: loaded.train, TEST: loaded.test}
    wanted = parts if config.split == "all" else {config.split: parts[config.split]}
    frame = pd.concat([part[[ID, TEXT, LABEL]].assign(split=name) for name, part in wanted.items()], ignore_index=True)
    return _Rows(frame, f"{' and '.join(wanted)} of {loaded.source}", loaded.fingerprint(), {})


def _alone(config: AuditConfig, rows: _Rows, out: _Outputs, clock: Clock) -> dict[str, Any]:
    """``_judge_and_write`` as the only run in its place."""
    with kept_work(out.folder, out.name, config.hash(), rows.fingerprint, config.resume):
        finished_output(out.mark, config, [])  # asked again: while this run waited, another one may have ended
        return _judge_and_write(config, rows, out, clock)


def _judge_and_write(config: AuditConfig, rows: _Rows, out: _Outputs, clock: Clock) -> dict[str, Any]:
    from raypipe.evaluate.audit import audit as judge
    from raypipe.report import pages

    label, names = pd.factorize(rows.frame[LABEL], sort=True)
    with clock("judge"):
        judged = judge(rows.frame[TEXT].to_list(), label, config.folds, config.near_copy_threshold, config.seed)
    ranked = _ranked(rows.frame, names, judged)
    report = _report(config, rows, names, label, judged) | {"seconds": clock.seconds}
    listed = max(1, round(config.top_share * len(ranked))) if len(ranked) else 0
    report["counts"] |= {"listed": listed, "beyond": len(ranked) - listed}
    with storage.staged(out.folder, out.mark_name, [out.suspects, out.page]) as stage:
        with clock("write"), open(os.path.join(stage, out.suspects), "wb") as file:
            for row in ranked[:listed].to_dict("records"):
                file.write(json.dumps(row | {"correction": None}, ensure_ascii=False).encode() + b"\n")
        storage.write_text(os.path.join(stage, out.page), pages.audit_page(report, ranked))
        write_json(os.path.join(stage, out.mark_name), report)
    return report


def _ranked(frame: pd.DataFrame, names: pd.Index, judged: "Judged") -> pd.DataFrame:
    """The judged rows as the suspects file has them, by margin; ties by place."""
    found = judged.fit
    rows = np.flatnonzero(found.other >= 0)
    margin = label_quality.margin(found.p_label[rows], found.p_other[rows]).round(DECIMALS)
    order = np.argsort(margin, kind="stable")
    rows = rows[order]
    return frame.loc[rows, [ID, TEXT, LABEL]].assign(
        suggested_label=names[found.other[rows]],
        p_label=found.p_label[rows].round(DECIMALS),
        p_suggested=found.p_other[rows].round(DECIMALS),
        margin=margin[order],
        rank=np.arange(1, len(rows) + 1),
    )


def _report(config: AuditConfig, rows: _Rows, names: pd.Index, label: np.ndarray, judged: "Judged") -> dict[str, Any]:
    """The content of NAME_audit.json, but for what only the writing knows."""
    found = judged.fit
    is_judged = found.other >= 0
    suspect, confident = is_judged & (found.p_other > found.p_label), label_quality.is_confident(found, label)
    total, usable = int(is_judged.sum()), len(label)
    marks = {"rows": np.ones(usable, bool), "judged": is_judged, "suspects": suspect, "confident_suspects": confident}
    largest = int(np.bincount(label[is_judged], minlength=1).max())
    counts = {name: int(mark.sum()) for name, mark in marks.items()}
    return {
        "data_name": rows.name,
        "data_fingerprint": rows.fingerprint,
        "accuracy": intervals.wilson(total - counts["suspects"], total).public(),
        "majority_accuracy": intervals.wilson(largest, total).public(),
        "confident_share": intervals.wilson(counts["confident_suspects"], total).public(),
        "counts": {"rows_in": usable + sum(rows.removed.values()), "removed": rows.removed, **counts},
        "classes": _by(names[label], marks),
        "splits": _by(rows.frame["split"].to_numpy(), marks) if config.input_hf_dataset else None,
        "pairs": _pairs(names, label, found.other, suspect, confident),
        "folds": _folds(judged),
        "notices": _notices(rows, names[label[~is_judged]], judged),
        "config": config.public(),
        "config_hash": config.hash(),
        **provenance.record(),
    }


def _by(group: Any, marks: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """How many rows of each group have each mark."""
    found = pd.DataFrame(marks).groupby(np.asarray(group)).sum()
    return {str(name): {mark: int(n) for mark, n in values.items()} for name, values in found.to_dict("index").items()}


def _pairs(
    names: pd.Index, label: np.ndarray, other: np.ndarray, suspect: np.ndarray, confident: np.ndarray
) -> list[dict[str, Any]]:
    """Label and suggested label of the suspects, most frequent first."""
    frame = pd.DataFrame({LABEL: names[label[suspect]], "suggested_label": names[other[suspect]]})
    grouped = (
        frame.assign(rows=1, confident=confident[suspect]).groupby([LABEL, "suggested_label"], as_index=False).sum()
    )
    ordered = grouped.sort_values(["rows", LABEL, "suggested_label"], ascending=[False, True, True])
    return ordered.to_dict("records")


def _folds(judged: "Judged") -> list[dict[str, int]]:
    sizes = np.bincount(judged.fold)
    parts = zip(sizes, judged.trained, judged.left_out, strict=True)
    return [{"rows": int(n), "trained_on": trained, "near_copies_left_out": left} for n, trained, left in parts]


def _notices(rows: _Rows, unjudged: pd.Index, judged: "Judged") -> list[str]:
    labels, left = sorted(set(unjudged)), sum(judged.left_out)
    notices = {
        f"{sum(rows.removed.values())} rows without a usable text or label were left out": rows.removed,
        f"{len(unjudged)} rows cannot be judged, because their label is in no other fold, near-copies apart: "
        f"{', '.join(labels[:10])}{' and others' * (len(labels) > 10)}": labels,
        f"{left} times a row stayed out of the model of another fold, as a near-copy of a row to be judged": left,
    }
    return [text for text, holds in notices.items() if holds]


def _flat(report: dict[str, Any]) -> dict[str, float | None]:
    """The numbers for the last line of standard output, each with its interval."""
    named = {name: report[name] for name in ("accuracy", "majority_accuracy", "confident_share")}
    return with_endings(named)
