"""prepare: raw rows to a clean, balanced, split dataset."""

import json
import os
from typing import Any

import numpy as np

from raypipe import __version__, hub, provenance, storage
from raypipe.config import PrepareConfig
from raypipe.errors import ConfigError, DataError, RaypipeError
from raypipe.pipeline.common import Clock, finished_output, hf_token, write_json
from raypipe.runtime import require_shared, say, session
from raypipe.schema import DATASET_FILES, TEST, TRAIN, UNUSABLE, StageResult


def prepare(config: PrepareConfig) -> StageResult:
    """Run every stage from ingest to split and write the files of DIR/NAME.jsonl.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.data import ingest
    from raypipe.report import console

    config.validate()
    token = hf_token(config)
    hub.check_target(config.target_hf_dataset, "dataset", token)
    out = _Outputs(config.output_filename)
    finished = finished_output(out.mark, config, list(out.paths().values()))
    job = _Job(config, out)
    with session(config):
        target = config.target_hf_dataset
        require_shared(
            job.source,
            out.folder,
            config.decontaminate,
            config.previous,
            None if hub.is_repository(target or "") else target,
        )
        job.checksums = ingest.checksums(job.source, job.files) | job.checksums_of_flags()
        if finished is not None and finished["sha256"]["inputs"] != job.checksums:
            raise ConfigError(
                "--resume with changed input files",
                "the input of the finished output",
                "--overwrite, or another output name",
            )
        report = finished or job.run()
    console.prepare_table(report)
    for notice in report["notices"]:
        say(f"notice: {notice}")
    outputs = out.paths()
    if config.target_hf_dataset is not None:
        message = f"{report['kept']} rows prepared by raypipe {__version__}"
        outputs["published"] = hub.push(outputs["dataset"], config.target_hf_dataset, "dataset", token, message)
    counts = {key: report[key] for key in ("rows_in", "kept", "removed")} | report["splits"]
    return StageResult(
        "prepare", config.hash(), "skipped" if finished else "done", outputs, counts, seconds=job.clock.total()
    )


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


class _Job:
    """One run of the stages; made on the driver, with everything refused at the door that can be."""

    def __init__(self, config: PrepareConfig, out: _Outputs) -> None:
        from raypipe.data import ingest, labels, previous

        self.config, self.out, self.clock = config, out, Clock()
        self.source = storage.absolute(config.input_dir)
        self.files = ingest.find(self.source, config.input_filename)
        ingest.peek(self.source, self.files, config.text, config.subject)
        self.renames = labels.read_label_map(config.label_map)
        inputs = {storage.join(self.source, name) for name in self.files}
        for path in out.paths().values():
            if path in inputs:
                raise ConfigError(
                    f"the output {path} is one of the input files",
                    "outputs apart from inputs",
                    "another -o, or a narrower -f",
                )
        self.earlier = previous.locate(config.previous, config.output_filename, config.resume)
        self.decontaminated: tuple[str, list[str]] | None = None  # folder and files
        if config.decontaminate is not None:
            path = storage.absolute(config.decontaminate)
            self.decontaminated = storage.parent(path), ingest.find(storage.parent(path), path.rsplit("/", 1)[-1])
            ingest.peek(*self.decontaminated, config.text, None)
        self.checksums: dict[str, str] = {}

    def checksums_of_flags(self) -> dict[str, str]:
        """SHA-256 of the files that flags name; they decide the result as the input does."""
        from raypipe.data import ingest

        sums = {}
        if self.config.label_map is not None:
            sums[f"--label-map {os.path.basename(self.config.label_map)}"] = storage.sha256(self.config.label_map)
        if self.decontaminated is not None:
            sums |= {f"--decontaminate {name}": s for name, s in ingest.checksums(*self.decontaminated).items()}
        if self.earlier is not None:
            sums |= self.earlier.checksums()
        return sums

    def run(self) -> dict[str, Any]:
        """All stages, going on where a killed run stopped under --resume; returns the report, which completes them.

        What finished tasks made is kept beside the output until it is complete, unless the input is at fault.
        """
        work = self._open_work()
        try:
            report = self._stages(work)
        except RaypipeError as error:
            if error.exit_code == 2:
                storage.remove(work.folder)
            raise
        storage.remove(work.folder)
        return report

    def _open_work(self) -> Any:
        """The folder of finished tasks; empty but for --resume. Raises ConfigError where it is of another job."""
        from raypipe.data import ingest
        from raypipe.data.tasks import Work

        folder = storage.join(self.out.folder, f".{self.out.name}.work")
        plan_path = storage.join(folder, "plan.json")
        plan = {"config_hash": self.config.hash(), "inputs": self.checksums}
        layout = {"block_rows": self.config.block_rows, "piece_bytes": ingest.PIECE_BYTES, "raypipe": __version__}
        if storage.exists(plan_path):
            old = json.loads(storage.read_text(plan_path))
            if self.config.resume and old["plan"] != plan:
                raise ConfigError(
                    f"--resume with another configuration or input than the unfinished {self.out.mark}",
                    "the same flags and files",
                    "run without --resume to begin anew",
                )
            if not self.config.resume or old["layout"] != layout:
                storage.remove(folder)
        storage.write_text(plan_path, json.dumps({"plan": plan, "layout": layout}))
        return Work(folder)

    def _stages(self, work: Any) -> dict[str, Any]:
        from raypipe.data import balance, decontaminate, dedup, ingest, labels, previous, split, vectorise
        from raypipe.data.table import TO_TRAIN, Table

        config, clock = self.config, self.clock
        former = previous.read(self.earlier)
        with clock("ingest"):
            dataset = ingest.ingest(self.source, self.files, config.text, config.subject, config.block_rows, work.place)
            table = Table.of(dataset, self.files)
            _refuse_bad_input(table, config.max_bad_fraction)
            say(f"{len(table.order):,} rows read, {len(table.alive):,} of them usable")
        with clock("labels"):
            labels.filter_labels(table, self.renames, config)
        with clock("vectorise"):
            analyzer = vectorise.choose_analyzer(table, config)
            vectors = vectorise.vectorise(table, analyzer, work)
            say(f"{len(table.alive):,} rows vectorised as {analyzer.kind} n-grams {analyzer.ngram_range}")
        if self.decontaminated is not None:
            with clock("decontaminate"):
                decontaminate.decontaminate(
                    table, vectors, *self.decontaminated, config.text, config.similarity_threshold, work
                )
        with clock("join"):
            threshold = config.similarity_threshold
            featureless = int(table.is_alive[vectors.featureless].sum())
            dedup.dedup(table, vectors, threshold, config.on_conflict, config.block_rows, work)
            say(f"{len(table.alive):,} rows left without duplicates")
        with clock("split"):
            past = previous.recognise(table, former)
            if config.balance_scope == "all":
                balance.balance(table, table.alive, config, past)
            short = split.split(table, config.test_fraction, config.seed, past)
            if config.balance_scope == "train":
                balance.balance(table, np.flatnonzero(table.side == TO_TRAIN), config, past)
            previous.explain(table, past)
        facts = {
            "previous": None if self.earlier is None else previous.account(table, former, past, short),
            "analyzer": f"{analyzer.kind} n-grams {analyzer.ngram_range[0]} to {analyzer.ngram_range[1]}",
            "rows_without_features": featureless,
        }
        return self._write(table, facts, work)

    def _write(self, table: Any, facts: dict[str, Any], work: Any) -> dict[str, Any]:
        from raypipe.data import write
        from raypipe.report import cards, pages

        out = self.out
        with storage.staged(out.folder, out.mark_name, [*out.rows, out.dataset, out.page]) as stage:
            with self.clock("write"):
                write.write(table, stage, out.name, work)
            report = self._report(table, facts) | {"tasks": work.counts}
            storage.write_text(os.path.join(stage, out.dataset, "README.md"), cards.dataset_card(report))
            written = [*out.rows, *(f"{out.dataset}/{file}" for file in DATASET_FILES)]
            report["sha256"]["outputs"] = {name: storage.sha256(os.path.join(stage, name)) for name in written}
            storage.write_text(os.path.join(stage, out.page), pages.prepare_page(report))
            write_json(os.path.join(stage, out.mark_name), report)
        return report

    def _report(self, table: Any, facts: dict[str, Any]) -> dict[str, Any]:
        from raypipe.data import previous
        from raypipe.data.table import TO_TEST, TO_TRAIN

        sizes = {
            TRAIN: table.class_sizes(np.flatnonzero(table.side == TO_TRAIN)),
            TEST: table.class_sizes(np.flatnonzero(table.side == TO_TEST)),
            "in": table.raw_class_sizes(),
        }
        classes = {
            name: {side: int(sizes[side][code]) for side in ("in", TRAIN, TEST)}
            for code, name in enumerate(table.names)
            if sizes["in"][code]
        }
        splits = {side: int(sizes[side].sum()) for side in (TRAIN, TEST)}
        return {
            "rows_in": len(table.order),
            "kept": sum(splits.values()),
            "splits": splits,
            "removed": table.reasons(),
            "classes": classes,
            "notices": _notices(table, classes, facts, self.config) + previous.notices(self.earlier, facts["previous"]),
            **facts,
            "relabelled_by_majority": table.relabelled,
            "extra_columns": table.extra_columns_without(self.config.text, self.config.subject),
            "seconds": self.clock.seconds,
            "config": self.config.public(),
            "config_hash": self.config.hash(),
            "sha256": {"inputs": self.checksums, "outputs": {}},
            **provenance.record(),
        }


def _refuse_bad_input(table: Any, max_bad_fraction: float) -> None:
    counts = {reason: n for reason, n in table.reasons().items() if reason in UNUSABLE}
    bad, rows = sum(counts.values()), len(table.order)
    if bad > max_bad_fraction * rows:
        first = table.row_id(int(np.flatnonzero(table.reason >= 0)[0]))
        listed = ", ".join(f"{n:,} {reason}" for reason, n in counts.items())
        raise DataError(
            f"{bad:,} of {rows:,} rows cannot be used ({listed}; the first is {first})",
            f"at most {max_bad_fraction:.0%}",
            "mend the input, check --text and --subject, or raise --max-bad-fraction",
        )


def _notices(table: Any, classes: dict[str, dict[str, int]], facts: dict[str, Any], config: PrepareConfig) -> list[str]:
    """What a reader of the report should know beside the numbers."""
    single = [name for name, c in classes.items() if c[TRAIN] == 1 and c[TEST] == 0]
    gone = [name for name, c in classes.items() if c[TRAIN] + c[TEST] == 0]
    lists = sum("multi-label" in detail for detail in table.ingest_details)
    notices = {
        "more than a tenth of the letters belong to scripts without spaces, so --analyzer auto took "
        + facts["analyzer"]: config.analyzer == "auto" and not facts["analyzer"].startswith("word"),
        f"{len(single)} class(es) with one row, which is in train: {', '.join(single[:10])}": single,
        f"{len(gone)} class(es) with no row left: {', '.join(gone[:10])}": gone,
        f"{facts['rows_without_features']} rows have no feature and are never near-duplicates": facts[
            "rows_without_features"
        ],
        f"{lists} rows have a list of labels; multi-label input is not supported": lists,
        f"{table.relabelled} kept rows took the majority label of their duplicates": table.relabelled,
    }
    return [text for text, holds in notices.items() if holds]
