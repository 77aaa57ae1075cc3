"""evaluate: a model's scores on labelled rows, with predictions, metrics and a page."""

import json
import os
from typing import TYPE_CHECKING, Any

from raypipe import hub, provenance, splits, storage
from raypipe.config import EvaluateConfig, ScoringConfig, require
from raypipe.errors import ConfigError
from raypipe.forecast import Forecast, compared
from raypipe.hub import Source
from raypipe.pipeline.common import Clock, finished_output, hf_token, with_endings, write_json
from raypipe.pipeline.kept import kept_work, refuse_users
from raypipe.pipeline.rows import Rows, inputs, of_files, of_splits, require_rows
from raypipe.runtime import came, require_shared, say, session
from raypipe.schema import StageResult

if TYPE_CHECKING:
    from raypipe.evaluate.blocks import Block
    from raypipe.evaluate.earlier import Earlier
    from raypipe.evaluate.precision import Precision
    from raypipe.evaluate.scoring import Scored, Scorer


def evaluate(config: EvaluateConfig) -> StageResult:
    """Score --model on the test split of a dataset, or on a local file.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.data import labels

    config.validate()
    token = hf_token(config)
    out = Outputs(config.output_classify_file)
    finished = finished_output(out.mark, config, list(out.paths().values()))
    out.refuse_prepared()
    refuse_users(config, out.mark, out.stem, out.predictions_path)
    renames = labels.read_label_map(config.label_map)
    clock = Clock()
    if config.dry_run:
        from raypipe.pipeline import dry_run

        return dry_run.answer("evaluate", dry_run.estimate_evaluate(config), config, clock.total())
    from raypipe.evaluate import actors

    model, loaded, local = _local(config, out, token)
    with session(config):
        require_shared(out.folder, config.input_dir)
        if finished is None:
            actors.choose_device(config)
        model = model or resolve_classifier(config.model, token)
        require_shared(model.name if model.is_folder else None)
        if config.input_hf_dataset is not None:
            loaded = loaded or splits.load(config.input_hf_dataset, config.text, config.subject_column, token)
            rows = of_splits(loaded, config.eval_batch_size)
        else:
            folder, files = local
            rows = of_files(folder, files, config.text, config.subject_column, config.eval_batch_size)
            require_rows(rows)
            rows = rows.renamed(renames)
        earlier = _earlier(config.compare_with, rows)
        if finished is not None and (
            finished["data_fingerprint"] != rows.fingerprint
            or finished["model_fingerprint"] != hub.fingerprint(model)
            or (earlier is not None and finished["compared"]["sha256"] != earlier.sha256)
        ):
            raise ConfigError(
                "--resume with changed rows, model or --compare-with", "those of the finished evaluation", "--overwrite"
            )
        metrics = finished or score_and_write(rows, model, token, config, out, config.baselines, clock, earlier)
    status = "skipped" if finished else "done"
    return StageResult("evaluate", config.hash(), status, out.paths(), metrics["counts"], flat(metrics), clock.total())


def _local(
    config: EvaluateConfig, out: "Outputs", token: str | None
) -> tuple[Source | None, splits.Splits | None, tuple[str, list[str]]]:
    """What is not in a Hub repository, looked at before Ray starts: model, dataset, and folder and names of files."""
    model = None if hub.is_repository(config.model) else resolve_classifier(config.model, token)
    columns = config.text, config.subject_column
    if config.input_hf_dataset is None:
        return model, None, inputs(str(config.input_dir), str(config.filename), *columns, out.predictions_path)
    if hub.is_repository(config.input_hf_dataset):
        return model, None, ("", [])
    return model, splits.load(config.input_hf_dataset, *columns, token), ("", [])


def at_the_door(config: EvaluateConfig) -> None:
    """What can be refused before the model is there: files of rows and of an earlier evaluation. Raises ConfigError."""
    from raypipe.data import labels

    if config.input_hf_dataset is None:
        out = Outputs(config.output_classify_file).predictions_path
        inputs(str(config.input_dir), str(config.filename), config.text, config.subject_column, out)
        labels.read_label_map(config.label_map)
    if config.compare_with is not None and not storage.exists(storage.absolute(config.compare_with)):
        raise ConfigError(f"--compare-with {config.compare_with} is not there", "predictions of an earlier evaluation")


def resolve_classifier(name: str, token: str | None) -> Source:
    """The model by its name, refused at the door where it is no classifier. Raises ConfigError."""
    from raypipe.train import modeling

    model = hub.resolve(name, "model", token)
    model_config = modeling.load_config(model, token)
    modeling.require_classifier(model_config, model)
    modeling.require_safetensors(model, token)
    modeling.require_tokenizer(model, token, getattr(model_config, "pad_token_id", None))
    return model


def _earlier(path: str | None, rows: Rows) -> "Earlier | None":
    """The predictions of --compare-with, refused at the door where they are of other rows. Raises ConfigError."""
    if path is None:
        return None
    from raypipe.evaluate import earlier

    return earlier.read(storage.absolute(path), *rows.ids_and_labels())


class Outputs:
    """PATH.jsonl, PATH_metrics.json (the completion mark) and PATH_report.html."""

    def __init__(self, path: str) -> None:
        whole = storage.absolute(path)
        self.folder, self.stem = storage.parent(whole), os.path.basename(whole).removesuffix(".jsonl")
        self.predictions, self.metrics = f"{self.stem}.jsonl", f"{self.stem}_metrics.json"
        self.page = f"{self.stem}_report.html"
        self.predictions_path = storage.join(self.folder, self.predictions)
        self.mark = storage.join(self.folder, self.metrics)

    def refuse_prepared(self) -> None:
        """Refuse the name of a prepared dataset, which has a page of the same name. Raises ConfigError."""
        prepared = self.mark.removesuffix("_metrics.json") + "_report.json"
        remedy = "another --output-classify-file: both would write PATH_report.html"
        require(not storage.exists(prepared), f"a prepared set by that name: {prepared}", "a name of its own", remedy)

    def paths(self) -> dict[str, str]:
        names = {"predictions": self.predictions, "metrics": self.metrics, "page": self.page}
        return {kind: storage.join(self.folder, name) for kind, name in names.items()}


def score_and_write(
    rows: Rows,
    model: Source,
    token: str | None,
    config: ScoringConfig,
    out: Outputs,
    with_baselines: bool,
    clock: Clock,
    earlier: "Earlier | None" = None,
) -> dict[str, Any]:
    """Score the rows and complete the three files; returns the metrics file's content."""
    from raypipe.evaluate.evaluate import evaluate as judge
    from raypipe.pipeline import beside
    from raypipe.report import console, pages
    from raypipe.train import modeling

    model_config = modeling.load_config(model, token)
    labels, temperature = modeling.labels_of(model_config), modeling.temperature_of(model_config)
    fingerprint = hub.fingerprint(model)
    name, inputs = out.stem, [fingerprint, rows.fingerprint]
    is_strict = isinstance(config, EvaluateConfig)  # a training that goes on may have another model now
    with (
        kept_work(out.folder, name, config.hash(), inputs, config.resume, strict=is_strict) as work,
        storage.staged(out.folder, out.metrics, [out.predictions, out.page]) as stage,
    ):
        if is_strict:
            finished_output(out.mark, config, [])  # asked again: while this run waited, another one may have ended
        scorer, precision = make_scorer(config, model, token, fingerprint, rows.blocks, True, work)
        pending = beside.start(rows, config.seed, config.top_k, with_baselines, earlier)
        predictions = os.path.join(stage, out.predictions)
        with clock("score"), open(predictions, "wb") as file:
            forecast = Forecast(rows.count)

            def write(block: "Block", lines: list[bytes]) -> None:
                file.writelines(lines)
                forecast.add(block.rows)

            scored = scorer.score(rows.blocks, write, storage.join(work, scorer.precision))
        with clock("judge"):
            metrics = judge(scored, labels, pending.wait(labels), config.seed, config.top_k, temperature)
        metrics |= {"model_name": str(model), "model_fingerprint": fingerprint, **_described(rows, metrics, precision)}
        metrics["max_length"] = modeling.most_tokens(model_config, config.max_length)
        metrics |= {
            "config": config.public(),
            "config_hash": config.hash(),
            "seconds": clock.seconds,
            "forecasts": compared({"score": forecast}),
            **provenance.record(),
        }
        storage.write_text(
            os.path.join(stage, out.page), pages.evaluate_page(metrics, _details(predictions, scored, labels))
        )
        write_json(os.path.join(stage, out.metrics), metrics)
    for notice in metrics["notices"]:
        say(notice)
    console.scores_table(metrics)
    console.forecast_table(metrics["forecasts"])
    return metrics


def _described(rows: Rows, metrics: dict[str, Any], precision: "Precision") -> dict[str, Any]:
    """What was judged, and what to know beside the numbers."""
    return {
        "data_name": rows.name,
        "data_fingerprint": rows.fingerprint,
        "precision": precision.public(),
        "notices": rows.notices + precision.notice() + _notices(metrics, rows.splits is not None),
        "counts": {
            "rows_in": metrics["rows"] + sum(rows.removed.values()),
            "removed": rows.removed,
            "rows": metrics["rows"],
            "unknown_label_rows": metrics["unknown_label_rows"],
            "cut_rows": metrics["cut_rows"],
        },
    }


def make_scorer(
    config: ScoringConfig,
    model: Source,
    token: str | None,
    fingerprint: str,
    blocks: "list[Block]",
    judged: bool,
    work: str | None,
) -> "tuple[Scorer, Precision]":
    """What scores these blocks, and in which precision: the one that ``work`` holds, if a killed run chose it there.

    The command has waited for GPUs before, and waits again for those that have gone since. Raises ConfigError where the
    device cannot do as asked.
    """
    from raypipe.evaluate.actors import choose_actors, choose_device
    from raypipe.evaluate.precision import Precision, choose
    from raypipe.evaluate.scoring import Scorer

    actors = choose_actors(choose_device(config, waits=came("GPU")), sum(block.rows for block in blocks))
    place = None if work is None else storage.join(work, f"{'gpu' if actors.use_gpu else 'cpu'}.json")
    if place is not None and storage.exists(place):
        precision = Precision(**json.loads(storage.read_text(place)))
    else:
        precision = choose(config, model, token, fingerprint, blocks, actors)
        if place is not None:
            write_json(place, precision.public())
    return Scorer(model, token, fingerprint, config, actors, precision.name, judged), precision


def flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """The headline for the last line of standard output: each number with its interval, baselines beside it."""
    groups = {"": metrics["model"]} | {f"{name}_": scores for name, scores in metrics["baselines"].items()}
    if metrics["traffic"] is not None:
        groups["traffic_"] = metrics["traffic"]["model"]
        groups |= {f"traffic_{name}_": scores for name, scores in metrics["traffic"]["baselines"].items()}
    if metrics["compared"] is not None:
        groups["compared_"] = metrics["compared"]
    return with_endings(
        {
            f"{prefix}{key}": estimate
            for prefix, scores in groups.items()
            for key, estimate in scores.items()
            if isinstance(estimate, dict)
        }
    )


def _notices(metrics: dict[str, Any], has_training_rows: bool) -> list[str]:
    notices = {
        f"{metrics['unknown_label_rows']} rows have a label that the model does not know; they count as wrong": metrics[
            "unknown_label_rows"
        ],
        f"{metrics['cut_rows']} texts were longer than --max-length or the model, and were cut": metrics["cut_rows"],
        "no baseline beside the model: there are no training rows to make one from": not has_training_rows,
    }
    return [text for text, holds in notices.items() if holds]


def _details(predictions: str, scored: "Scored", labels: list[str]) -> dict[str, Any]:
    """What only the page shows, out of the predictions file too."""
    correct, errors = scored.best[:, 0] == scored.true, _hardest(predictions, scored, labels)
    return {"confidence": scored.scores[:, 0], "correct": correct, "labels": labels, "errors": errors}


def _hardest(path: str, scored: "Scored", labels: list[str]) -> list[dict[str, Any]]:
    """The surest errors, out of the predictions file, each with its best three labels however few were written."""
    from raypipe.evaluate.evaluate import HEADLINE, hardest

    places = hardest(scored)
    wanted = set(places.tolist())
    with open(path, encoding="utf8", newline="\n") as file:
        found = {number: json.loads(line) for number, line in enumerate(file) if number in wanted}
    for place, row in found.items():
        best = zip(scored.best[place], scored.scores[place], range(max(HEADLINE)), strict=False)
        row["predictions"] = [{"label": labels[number], "score": float(score)} for number, score, _ in best]
    return [found[place] for place in places.tolist()]
