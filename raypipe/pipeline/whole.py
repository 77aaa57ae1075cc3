"""run: prepare, train and evaluate from one TOML file, with one page as the entrance."""

import dataclasses
import hashlib
import json
import os
from typing import Any

from raypipe import provenance, storage, toml
from raypipe.config import (
    HANDED_ON,
    EstimatedConfig,
    EvaluateConfig,
    PrepareConfig,
    RunConfig,
    TrainConfig,
    require,
)
from raypipe.errors import ConfigError
from raypipe.pipeline import evaluating, preparing, training
from raypipe.pipeline.common import Clock
from raypipe.pipeline.job import PrepareJob
from raypipe.report import pages
from raypipe.report.hints import Story
from raypipe.runtime import session
from raypipe.schema import StageResult

PREDICTIONS = "predictions.jsonl"
NAME = "dataset"  # the prepared files are RUN/prepare/dataset_*


def run(config: RunConfig) -> StageResult:
    """All stages into RUN/{prepare,train,evaluate}; without [prepare], train reads its own --input-hf-dataset.

    Everything is refused before the first stage starts. Raises ConfigError or DataError.
    """
    config.validate()
    clock = Clock()
    folder = storage.absolute(config.run_dir or os.path.join("runs", f"run-{provenance.stamp()}"))
    index = storage.join(folder, "index.html")
    storage.require_writable(folder)
    if storage.exists(index) and not (config.overwrite or config.resume):
        raise ConfigError(f"a complete run exists: {index}", "a new --run-dir", "--overwrite or --resume")
    stages = _configure(config, folder)
    where = one_ray(stages)
    stages = {name: dataclasses.replace(stage, **where) for name, stage in stages.items()}
    config = dataclasses.replace(config, **where)
    job = _refuse_early(stages)
    if config.dry_run:
        from raypipe.pipeline import dry_run

        return dry_run.answer("run", dry_run.estimate_run(stages, job), config, clock.total())
    verbs: dict[str, Any] = {"prepare": preparing.prepare, "train": training.train, "evaluate": evaluating.evaluate}
    results: dict[str, StageResult] = {}
    with session(config):
        for name in stages:
            results[name] = verbs[name](stages[name])
            if results[name].status == "done":
                storage.remove(index)  # it speaks of older outputs until the run is complete again
                begin_anew(stages, after=name)
    pages_of = {n: r.outputs["report" if n == "train" else "page"] for n, r in results.items()}
    pages_of.setdefault("evaluate", results["train"].outputs["page"])
    links = {name: os.path.relpath(page, folder) for name, page in pages_of.items()}
    last = results[list(results)[-1]]
    seconds, toml_text = {name: r.seconds for name, r in results.items()}, storage.read_text(str(config.config))
    page = pages.index_page(_story(results, last), links, seconds, provenance.command_line(), toml_text)
    storage.write_text(index, page)
    outputs = {"run": folder, "page": index} | {f"{n}_{k}": v for n, r in results.items() for k, v in r.outputs.items()}
    status = "skipped" if all(r.status == "skipped" for r in results.values()) else "done"
    return StageResult(
        "run",
        _hash_of(results),
        status,
        outputs,
        {n: r.counts for n, r in results.items()},
        last.metrics,
        clock.total(),
    )


def one_ray(stages: dict[str, Any]) -> dict[str, Any]:
    """Where all stages run, and how long they wait, as flags or tables say. Raises ConfigError where these differ."""
    where: dict[str, Any] = {"wait_for_resources": max(made.wait_for_resources for made in stages.values())}
    for name in ("address", "num_cpus"):
        said = {stage: value for stage, made in stages.items() if (value := getattr(made, name)) is not None}
        places = " and ".join(f"{value!r} for {stage}" for stage, value in said.items())
        require(
            len(set(said.values())) < 2, f"{name} {places} in one run", "one Ray for all", "a flag of `raypipe run`"
        )
        where[name] = next(iter(said.values()), None)
    return where


def _refuse_early(stages: dict[str, Any]) -> PrepareJob | None:
    """Raise at once what a later stage would raise after hours, ConfigError or DataError; the job of prepare."""
    job = preparing.at_the_door(stages["prepare"])[0] if "prepare" in stages else None
    training.at_the_door(stages["train"])
    if "evaluate" in stages:
        evaluating.at_the_door(stages["evaluate"])
    return job


def begin_anew(stages: dict[str, Any], after: str) -> None:
    """A stage has made something new: what later stages made of older inputs is neither kept nor in their way."""
    for name in list(stages)[list(stages).index(after) + 1 :]:
        stage = stages[name]
        if stage.resume or stage.overwrite:
            for mark in _marks_of(stage):
                storage.remove(mark)
            stages[name] = dataclasses.replace(stage, resume=False, overwrite=True)


def _marks_of(stage: TrainConfig | EvaluateConfig) -> list[str]:
    """The files that complete the outputs of a stage after prepare."""
    marks = [evaluating.Outputs(str(stage.output_classify_file)).mark]
    return [*marks, storage.join(str(stage.output_dir), "run.json")] if isinstance(stage, TrainConfig) else marks


def _story(results: dict[str, StageResult], last: StageResult) -> Story:
    """What the stages wrote down, for the page."""

    def read(result: StageResult, output: str) -> Any:
        return json.loads(storage.read_text(result.outputs[output]))

    trained = results["train"]
    return Story(
        read(results["prepare"], "report") if "prepare" in results else None,
        json.loads(storage.read_text(storage.join(trained.outputs["run"], "run.json"))),
        read(trained, "history"),
        read(last, "metrics"),
    )


def _hash_of(results: dict[str, StageResult]) -> str:
    """One hash of the configurations of all stages."""
    return hashlib.sha256(" ".join(r.config_hash for r in results.values()).encode()).hexdigest()[:16]


def _configure(config: RunConfig, folder: str) -> dict[str, Any]:
    """A validated configuration for each stage. Raises ConfigError."""
    tables = toml.read(str(config.config))

    def made(kind: type[EstimatedConfig], values: dict[str, Any]) -> Any:
        """A stage's configuration; of what both could say, a table wins over a default of this command."""
        handed_on = {name: getattr(config, name) for name in (*HANDED_ON, "assume_gpu")}
        said = {n: v for n, v in handed_on.items() if n not in values or v != getattr(EstimatedConfig, n)}
        stage = toml.configure(kind, values, **said)
        require(not stage.dry_run, "dry_run = true for a stage of a run", "--dry-run", "raypipe run --dry-run")
        return stage

    stages: dict[str, Any] = {}
    settings = dict(tables.get("train", {}))
    if "prepare" in tables:
        values = tables["prepare"] | {"output_filename": storage.join(folder, f"prepare/{NAME}.jsonl")}
        stages["prepare"] = made(PrepareConfig, values)
        require(
            not stages["prepare"].explore,
            "explore = true under [prepare] of a whole run",
            "a [prepare] that makes a dataset",
            "raypipe prepare --config FILE --explore",
        )
        settings |= {
            "input_hf_dataset": storage.join(folder, f"prepare/{NAME}_dataset"),
            "text": "text",
            "subject_column": "label",
        }
    settings |= {"output_dir": storage.join(folder, "train")}
    own_evaluation = "evaluate" in tables  # else the evaluation that ends the training is the evaluate stage
    settings["output_classify_file"] = storage.join(
        folder, f"{'train' if own_evaluation else 'evaluate'}/{PREDICTIONS}"
    )
    stages["train"] = made(TrainConfig, settings)
    require(
        stages["train"].train and not stages["train"].examples,
        "a [train] of a whole run that does not train",
        "no train = false and no examples = true",
        "raypipe evaluate",
    )
    if own_evaluation:
        scoring = {"model": storage.join(folder, "train/model"), "input_hf_dataset": settings["input_hf_dataset"]}
        scoring |= {k: settings[k] for k in ("text", "subject_column", "device") if k in settings}
        scoring |= tables["evaluate"] | {"output_classify_file": storage.join(folder, f"evaluate/{PREDICTIONS}")}
        if "filename" in scoring:
            del scoring["input_hf_dataset"]
        stages["evaluate"] = made(EvaluateConfig, scoring)
    return stages
