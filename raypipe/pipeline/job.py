"""What prepare and its --explore share: the input checked at the door, resumable work, rows up to their vectors."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from raypipe import __version__, storage
from raypipe.config import PrepareConfig
from raypipe.errors import ConfigError, DataError, RaypipeError
from raypipe.pipeline.common import Clock
from raypipe.runtime import say
from raypipe.schema import UNUSABLE


class Job:
    """One run of the stages; made on the driver, with everything refused at the door that can be."""

    def __init__(self, config: PrepareConfig, out: Any) -> None:
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

    def read_checksums(self) -> None:
        """SHA-256 of the input, and of the files that flags name: they decide the result as the input does."""
        from raypipe.data import ingest

        sums = ingest.checksums(self.source, self.files)
        if self.config.label_map is not None:
            sums[f"--label-map {os.path.basename(self.config.label_map)}"] = storage.sha256(self.config.label_map)
        if self.decontaminated is not None:
            sums |= {f"--decontaminate {name}": s for name, s in ingest.checksums(*self.decontaminated).items()}
        if self.earlier is not None:
            sums |= self.earlier.checksums()
        self.checksums = sums

    def run(self, stages: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The stages, going on where a killed run stopped under --resume; returns the report, which completes them.

        What finished tasks made is kept beside the output until it is complete, unless the input is at fault.
        """
        is_new = not storage.exists(self.out.folder)
        work = self._open_work()
        try:
            report = stages(work)
        except RaypipeError as error:
            if error.exit_code == 2:
                storage.remove(self.out.folder if is_new else work.folder)
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

    def vectorised(self, work: Any) -> tuple[Any, Any]:
        """The stages from ingest to decontamination: the table of all rows, and the vectors of those left."""
        from raypipe.data import decontaminate, ingest, labels, vectorise
        from raypipe.data.table import Table

        config, clock = self.config, self.clock
        with clock("ingest"):
            dataset = ingest.ingest(self.source, self.files, config.text, config.subject, config.block_rows, work.place)
            table = Table.of(dataset, self.files, config.block_rows)
            _refuse_bad_input(table, config.max_bad_fraction)
            say(f"{len(table.order):,} rows read, {len(table.alive):,} of them usable")
        with clock("labels"):
            labels.filter_labels(table, self.renames, config)
        with clock("vectorise"):
            analyzer = vectorise.choose_analyzer(table, config)
            vectors = vectorise.vectorise(table, analyzer, config.similarity_threshold, config.block_rows, work)
            say(f"{len(table.alive):,} rows vectorised as {vectors.analyzer}, {len(vectors.vocabulary):,} terms")
        if self.decontaminated is not None:
            with clock("decontaminate"):
                decontaminate.decontaminate(table, vectors, *self.decontaminated, config.text, work)
        return table, vectors


def refuse_changed_input(finished: dict[str, Any] | None, checksums: dict[str, str]) -> None:
    """Raise ConfigError where a finished output was made from other input."""
    if finished is not None and finished["sha256"]["inputs"] != checksums:
        raise ConfigError(
            "--resume with changed input files",
            "the input of the finished output",
            "--overwrite, or another output name",
        )


def _refuse_bad_input(table: Any, max_bad_fraction: float) -> None:
    """Raise DataError where more than the allowed share of rows cannot be used."""
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
