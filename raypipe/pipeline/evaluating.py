"""evaluate: a model's scores on labelled rows, with predictions, metrics and a page."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe import hub, provenance, storage
from raypipe.config import EvaluateConfig, ScoringConfig
from raypipe.errors import ConfigError, DataError
from raypipe.hub import Source
from raypipe.pipeline.common import Clock, finished_output, hf_token, write_json
from raypipe.runtime import require_shared, say, session
from raypipe.schema import ID, LABEL, TEXT, StageResult
from raypipe.splits import Splits

ROWS_PER_BLOCK = 4096  # rows of one block handed to the actors


def evaluate(config: EvaluateConfig) -> StageResult:
    """Score --model on the test split of a dataset, or on a local file.

    Raises ConfigError or DataError before anything is written.
    """
    config.validate()
    token = hf_token(config)
    out = Outputs(config.output_classify_file)
    finished = finished_output(out.mark, config, list(out.paths().values()))
    clock = Clock()
    with session(config):
        require_shared(out.folder, config.input_dir)
        model = resolve_classifier(config.model, token)
        require_shared(model.name if model.is_folder else None)
        if config.input_hf_dataset is not None:
            from raypipe import splits

            loaded = splits.load(config.input_hf_dataset, config.text, config.subject_column, token)
            rows = of_splits(loaded)
        else:
            rows = of_files(
                str(config.input_dir), str(config.filename), config.text, config.subject_column, out.predictions_path
            )
        if finished is not None and (
            finished["data_fingerprint"] != rows.fingerprint or finished["model_fingerprint"] != hub.fingerprint(model)
        ):
            raise ConfigError("--resume with changed rows or model", "those of the finished evaluation", "--overwrite")
        metrics = finished or score_and_write(rows, model, token, config, out, config.baselines, clock)
    status = "skipped" if finished else "done"
    return StageResult("evaluate", config.hash(), status, out.paths(), metrics["counts"], flat(metrics), clock.total())


def resolve_classifier(name: str, token: str | None) -> Source:
    """The model by its name, refused at the door where it is no classifier. Raises ConfigError."""
    from raypipe.train import modeling

    model = hub.resolve(name, "model", token)
    modeling.require_classifier(modeling.load_config(model, token), model)
    return model


@dataclass(frozen=True)
class Rows:
    """Labelled rows on their way to the actors."""

    dataset: Any  # ray.data.Dataset with order, id, text, label
    count: int
    name: str
    notices: list[str]
    splits: Splits | None  # where there are training rows for baselines
    fingerprint: str  # of the rows, for --resume
    removed: dict[str, int]  # unusable rows by reason


class Outputs:
    """PATH.jsonl, PATH_metrics.json (the completion mark) and PATH_report.html."""

    def __init__(self, path: str) -> None:
        whole = storage.absolute(path)
        self.folder, stem = storage.parent(whole), os.path.basename(whole).removesuffix(".jsonl")
        self.predictions, self.metrics, self.page = f"{stem}.jsonl", f"{stem}_metrics.json", f"{stem}_report.html"
        self.predictions_path = storage.join(self.folder, self.predictions)
        self.mark = storage.join(self.folder, self.metrics)

    def paths(self) -> dict[str, str]:
        names = {"predictions": self.predictions, "metrics": self.metrics, "page": self.page}
        return {kind: storage.join(self.folder, name) for kind, name in names.items()}


def of_splits(splits: Splits) -> Rows:
    """The test rows of a dataset."""
    import ray

    test = splits.test
    table = pa.table(
        {
            "order": np.arange(len(test)),
            **{c: pa.array(test[c].to_list(), pa.large_string()) for c in (ID, TEXT, LABEL)},
        }
    )
    blocks = [table.slice(start, ROWS_PER_BLOCK) for start in range(0, len(test), ROWS_PER_BLOCK)]
    return Rows(
        ray.data.from_arrow(blocks), len(test), f"test of {splits.source}", [], splits, splits.fingerprint(), {}
    )


def of_files(folder: str, pattern: str, text: str, label: str | None, output: str | None) -> Rows:
    """The usable rows of local files; the others are counted by reason. ``output`` must not be one of the files."""

    from raypipe.data import ingest
    from raypipe.data.table import row_id

    files = ingest.find(storage.absolute(folder), pattern)
    if output in {storage.join(storage.absolute(folder), name) for name in files}:
        raise ConfigError(f"the output {output} is one of the input files", "another place for it")
    dataset = ingest.ingest(storage.absolute(folder), files, text, label, ROWS_PER_BLOCK)

    def usable(block: pa.Table) -> pa.Table:
        block = block.filter(pa.array([reason == "" for reason in block["reason"].to_pylist()], pa.bool_()))
        ids = [row_id(files, order) for order in block["order"].to_pylist()]
        return block.select(["order", TEXT, LABEL]).append_column(ID, pa.array(ids, pa.large_string()))

    kept = dataset.map_batches(usable, batch_format="pyarrow", batch_size=None, num_cpus=0.25).materialize()
    reasons = dataset.select_columns(["reason"]).to_pandas()["reason"].value_counts()
    removed = {str(reason): int(n) for reason, n in reasons.items() if reason}
    total, count = dataset.count(), kept.count()
    if not count:
        raise DataError(f"none of the {total} rows can be used", "rows with the text and label columns")
    notices = [f"{total - count} rows without a usable text or label were left out"] if count < total else []
    sums = ingest.checksums(storage.absolute(folder), files)
    return Rows(kept, count, ", ".join(files[:3]), notices, None, " ".join(sums.values()), removed)


def score_and_write(
    rows: Rows,
    model: Source,
    token: str | None,
    config: ScoringConfig,
    out: Outputs,
    with_baselines: bool,
    clock: Clock,
) -> dict[str, Any]:
    """Score the rows and complete the three files; returns the metrics file's content."""
    from raypipe.evaluate.evaluate import evaluate as judge
    from raypipe.evaluate.evaluate import hardest
    from raypipe.evaluate.scoring import score
    from raypipe.report import console, pages
    from raypipe.train import modeling

    labels = modeling.labels_of(modeling.load_config(model, token))
    baselines = _start_baselines(rows.splits, config.seed) if with_baselines and rows.splits is not None else None
    with storage.staged(out.folder, out.metrics, [out.predictions, out.page]) as stage:
        predictions = os.path.join(stage, out.predictions)
        with clock("score"), open(predictions, "wb") as file:
            scored = score(rows.dataset, rows.count, model, token, config, True, file.write)
        with clock("judge"):
            metrics = judge(scored, labels, _in_model_labels(baselines, labels, rows.splits), config.seed)
        metrics |= {
            "model_name": str(model),
            "data_name": rows.name,
            "data_fingerprint": rows.fingerprint,
            "model_fingerprint": hub.fingerprint(model),
            "notices": rows.notices + _notices(metrics),
            "counts": {
                "rows_in": metrics["rows"] + sum(rows.removed.values()),
                "removed": rows.removed,
                "rows": metrics["rows"],
                "unknown_label_rows": metrics["unknown_label_rows"],
                "cut_rows": metrics["cut_rows"],
            },
            "config": config.public(),
            "config_hash": config.hash(),
            "seconds": clock.seconds,
            **provenance.record(),
        }
        details = {
            "confidence": scored.scores[:, 0],
            "correct": scored.best[:, 0] == scored.true,
            "labels": labels,
            "errors": _lines(predictions, hardest(scored)),
        }
        storage.write_text(os.path.join(stage, out.page), pages.evaluate_page(metrics, details))
        write_json(os.path.join(stage, out.metrics), metrics)
    for notice in metrics["notices"]:
        say(notice)
    console.scores_table(metrics)
    return metrics


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """The headline for the last line of standard output: each number with its interval, baselines beside it."""
    numbers: dict[str, Any] = {}
    for prefix, scores in {"": metrics["model"], **{f"{n}_": s for n, s in metrics["baselines"].items()}}.items():
        for key in ("top1", "top2", "top3", "macro_f1"):
            estimate = scores[key]
            numbers |= {
                f"{prefix}{key}": estimate["value"],
                f"{prefix}{key}_low": estimate["low"],
                f"{prefix}{key}_high": estimate["high"],
            }
    return numbers


def _start_baselines(splits: Splits, seed: int) -> Any:
    """The baselines as a Ray task beside the model's scoring."""
    import ray

    from raypipe.evaluate.baseline import baselines

    codes = {label: code for code, label in enumerate(splits.labels)}
    task = ray.remote(num_cpus=0.5)(baselines)  # so that it runs beside the actors where CPUs are few
    return task.remote(
        splits.train[TEXT].to_list(), splits.train[LABEL].map(codes).to_numpy(), splits.test[TEXT].to_list(), seed
    )


def _in_model_labels(task: Any, labels: list[str], splits: Splits | None) -> dict[str, np.ndarray]:
    """The baselines' rankings in the model's label numbers; a label that the model lacks becomes -2, never right."""
    if task is None or splits is None:
        return {}
    import ray

    number = {label: i for i, label in enumerate(labels)}
    translate = np.array([number.get(label, -2) for label in splits.labels])
    return {name: translate[ranked] for name, ranked in ray.get(task).items()}


def _notices(metrics: dict[str, Any]) -> list[str]:
    notices = {
        f"{metrics['unknown_label_rows']} rows have a label that the model does not know; they count as wrong": metrics[
            "unknown_label_rows"
        ],
        f"{metrics['cut_rows']} texts were longer than --max-length and were cut": metrics["cut_rows"],
        "no baseline beside the model: there are no training rows to make one from": not metrics["baselines"],
    }
    return [text for text, holds in notices.items() if holds]


def _lines(path: str, places: Iterable[int]) -> list[dict[str, Any]]:
    """The rows at these places of a JSONL file, in the given order."""
    wanted = {int(place): None for place in places}
    found: dict[int, dict[str, Any]] = {}
    with open(path, encoding="utf8", newline="\n") as file:
        for number, line in enumerate(file):
            if number in wanted:
                found[number] = json.loads(line)
    return [found[place] for place in wanted]
