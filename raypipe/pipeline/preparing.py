"""prepare: raw rows to a clean, balanced, split dataset."""

import os
from typing import Any

from raypipe import hub, storage
from raypipe.config import PrepareConfig, require
from raypipe.forecast import compared
from raypipe.pipeline import exploring, publishing
from raypipe.pipeline.common import hf_token, write_json
from raypipe.pipeline.job import PrepareJob, refuse_changed_input
from raypipe.runtime import require_shared, say, session
from raypipe.schema import DATASET_FILES, TEST, TRAIN, StageResult


def prepare(config: PrepareConfig) -> StageResult:
    """Run every stage from ingest to split and write the files of DIR/NAME.jsonl.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.report import console

    config.validate()
    job, target, token = at_the_door(config)
    if config.explore and not config.dry_run:
        return exploring.explore(job)
    out, outputs = job.out, job.out.paths()
    finished = job.finished()
    if config.dry_run:
        from raypipe.pipeline import dry_run

        return dry_run.answer("prepare", dry_run.estimate_prepare(config, job).estimate, config, job.clock.total())
    if finished is not None and target is not None:
        publishing.refuse_private_rows(finished, target, config.yes_publish)
    with session(config):
        place = target.name if target is not None and target.state == "folder" else None
        require_shared(job.source, out.folder, config.decontaminate, config.previous, place)
        job.read_checksums()
        refuse_changed_input(finished, job.checksums)
        report = finished or job.run(lambda work: _stages(job, out, work))
    console.prepare_table(report)
    if finished is None:
        console.forecast_table(report["forecasts"])
    for notice in report["notices"]:
        say(f"notice: {notice}")
    if target is not None:
        outputs["published"] = publishing.publish(report, outputs, target, config.yes_publish, token)
    counts = {key: report[key] for key in ("rows_in", "kept", "removed")} | report["splits"]
    return StageResult(
        "prepare", config.hash(), "skipped" if finished else "done", outputs, counts, seconds=job.clock.total()
    )


def at_the_door(config: PrepareConfig) -> tuple[PrepareJob, hub.Target | None, str | None]:
    """All that can be refused before work, with the target of a push and the token. Raises ConfigError or DataError."""
    token = hf_token(config)
    read = (config.input_dir, config.corrections, config.decontaminate, config.previous)
    storage.require_reachable(*read, config.output_filename)
    if config.explore:
        return PrepareJob(config, exploring.Outputs(config.output_filename)), None, token
    out = _Outputs(config.output_filename)
    scored = storage.join(out.folder, f"{out.name}_metrics.json")
    remedy = "another -o: both would write NAME_report.html"
    require(not storage.exists(scored), f"an evaluation by that name: {scored}", "a name of its own", remedy)
    target = publishing.at_the_door(config, out.paths()["dataset"], token)
    folder = target.name if target is not None and target.state == "folder" else None
    pushed = [] if folder is None else [storage.join(folder, name) for name in DATASET_FILES]
    return PrepareJob(config, out, pushed), target, token


class _Outputs:
    """The names of the contract under DIR/NAME."""

    def __init__(self, output_filename: str) -> None:
        path = storage.absolute(output_filename)
        self.folder, self.name = storage.parent(path), os.path.basename(path).removesuffix(".jsonl")
        self.page = f"{self.name}_report.html"
        self.dataset = f"{self.name}_dataset"
        self.rows = [f"{self.name}_{kind}.jsonl" for kind in (TRAIN, TEST, "removed")]
        self.mark_name = f"{self.name}_report.json"
        self.mark = storage.join(self.folder, self.mark_name)

    def paths(self) -> dict[str, str]:
        names = dict(zip((TRAIN, TEST, "removed"), self.rows, strict=True))
        names |= {"dataset": self.dataset, "report": self.mark_name, "page": self.page}
        return {kind: storage.join(self.folder, name) for kind, name in names.items()}


def _stages(job: PrepareJob, out: _Outputs, work: Any) -> dict[str, Any]:
    """All stages in their order; returns the report that completes the output."""
    from raypipe.data import balance, dedup, labels, previous

    config, clock = job.config, job.clock
    former = previous.read(job.earlier)
    table, vectors = job.vectorised(work)
    with clock("join"):
        featureless = int(table.is_alive[vectors.featureless].sum())
        dedup.dedup(table, vectors, config.on_conflict, work)
        labels.require_classes(table, "duplicates and conflicts", "another --on-conflict or --similarity-threshold")
        say(f"{len(table.alive):,} rows left without duplicates")
    with clock("split"):
        past = previous.recognise(table, former)
        short = balance.balance_and_split(table, config, past)
        previous.explain(table, past)
    facts = {
        "previous": None if job.earlier is None else previous.account(table, former, past, short),
        "analyzer": str(vectors.analyzer),
        "rows_without_features": featureless,
    }
    return _write(job, out, table, facts, work)


def _write(job: PrepareJob, out: _Outputs, table: Any, facts: dict[str, Any], work: Any) -> dict[str, Any]:
    from raypipe.data import write
    from raypipe.pipeline import describing
    from raypipe.report import cards, pages

    with storage.staged(out.folder, out.mark_name, [*out.rows, out.dataset, out.page]) as stage:
        with job.clock("write"):
            facts |= write.write(table, stage, out.name, work)
        with job.clock("describe"):
            facts |= describing.facts(table)
            examples = describing.examples(table, facts["differ_only_in"])
        report = describing.report(job, table, facts) | {"tasks": work.counts, "forecasts": compared(work.forecasts)}
        card = cards.dataset_card(report)
        storage.write_text(os.path.join(stage, out.dataset, "README.md"), card)
        written = [*out.rows, *(f"{out.dataset}/{file}" for file in DATASET_FILES)]
        report["sha256"]["outputs"] = {name: storage.sha256(os.path.join(stage, name)) for name in written}
        storage.write_text(os.path.join(stage, out.page), pages.prepare_page(report, examples, card))
        write_json(os.path.join(stage, out.mark_name), report)
    return report
