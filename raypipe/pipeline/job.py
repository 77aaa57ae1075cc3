"""What prepare and its --explore share: the input checked at the door, resumable work, rows up to their vectors."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from raypipe import storage
from raypipe.config import PrepareConfig
from raypipe.data import records
from raypipe.errors import ConfigError, DataError
from raypipe.pipeline.common import Clock, finished_output
from raypipe.pipeline.kept import finish_moves, is_kept, kept_work, work_root
from raypipe.runtime import say
from raypipe.schema import BAD_JSON, NOT_UTF8, REASONS, UNUSABLE


class PrepareJob:
    """One run of the stages; made on the driver, with everything refused at the door that can be."""

    def __init__(self, config: PrepareConfig, out: Any, more_made: Sequence[str] = ()) -> None:
        from raypipe.data import corrections, ingest, labels, previous

        self.config, self.out, self.clock = config, out, Clock()
        self.source = storage.absolute(config.input_dir)
        self.files = ingest.find(self.source, config.input_filename)
        ingest.peek(self.source, self.files, config.text, config.subject)
        self.renames = labels.read_label_map(config.label_map)
        self.corrections = corrections.read_corrections(config.corrections)
        made = (*out.paths().values(), work_root(out.folder, out.name), *more_made)
        decided = storage.absolute(config.corrections) if config.corrections is not None else None
        for path in (storage.join(self.source, name) for name in self.files):
            if path == decided:
                raise ConfigError(f"--corrections {path} is one of the input files", "a file apart", "a narrower -f")
            if any(path == place or path.startswith(f"{place}/") for place in made):
                raise ConfigError(
                    f"the output would replace {path}, one of the input files",
                    "outputs apart from inputs",
                    "another -o, or a narrower -f",
                )
        if config.previous is not None:
            self._finish_previous(config.previous)
        self.earlier = previous.locate(config.previous, config.output_filename, config.resume)
        self.decontaminated: tuple[str, list[str]] | None = None  # folder and files
        if config.decontaminate is not None:
            path = storage.absolute(config.decontaminate)
            self.decontaminated = storage.parent(path), ingest.find(storage.parent(path), path.rsplit("/", 1)[-1])
            ingest.peek(*self.decontaminated, config.text, None)
        self.checksums: dict[str, str] = {}

    def _finish_previous(self, stem: str) -> None:
        """A killed run may have left the earlier set in part where it was made. Raises ConfigError."""
        stem = storage.absolute(stem).removesuffix(".jsonl")
        folder, name = storage.parent(stem), os.path.basename(stem)
        mark = f"{name}_report.json"
        if (self.config.dry_run or self.config.explore) and storage.is_half_moved(folder, mark):
            raise ConfigError(
                f"--previous {stem}, whose files a killed run was moving to their places",
                "a set that is whole",
                "any other prepare with this --previous moves the rest",
            )
        finish_moves(folder, name, mark)

    def read_checksums(self) -> None:
        """SHA-256 of the input, and of the files that flags name: they decide the result as the input does."""
        from raypipe.data import ingest

        sums = ingest.checksums(self.source, self.files)
        for flag, path in (("--label-map", self.config.label_map), ("--corrections", self.config.corrections)):
            if path is not None:
                sums[f"{flag} {os.path.basename(path)}"] = storage.sha256(path)
        if self.decontaminated is not None:
            sums |= {f"--decontaminate {name}": s for name, s in ingest.checksums(*self.decontaminated).items()}
        if self.earlier is not None:
            sums |= self.earlier.checksums()
        self.checksums = sums

    def run(self, stages: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The stages, going on where a killed run stopped under --resume; returns the report, which completes them."""
        import ray

        from raypipe.data import ingest
        from raypipe.data.tasks import Work

        config, out = self.config, self.out
        python = ".".join(map(str, sys.version_info[:2]))
        layout = [config.block_rows, ingest.PIECE_BYTES, ray.__version__, np.__version__, python]
        with kept_work(out.folder, out.name, config.hash(), self.checksums, config.resume, layout) as place:
            self.finished()  # asked again: while this run waited, another one may have ended
            return stages(Work(place))

    def finished(self) -> dict[str, Any] | None:
        """The report that --resume may keep; none where there is work of a killed run to go on with.

        Raises ConfigError where a complete output stands in the way.
        """
        config, out = self.config, self.out
        if config.resume and is_kept(out.folder, out.name, config.hash()):
            return None
        return finished_output(out.mark, config, list(out.paths().values()))

    def vectorised(self, work: Any) -> tuple[Any, Any]:
        """The stages from ingest to decontamination: the table of all rows, and the vectors of those left."""
        from raypipe.data import corrections, decontaminate, ingest, labels, vectorise
        from raypipe.data.table import Table

        config, clock = self.config, self.clock
        with clock("ingest"):
            dataset = ingest.ingest(self.source, self.files, config.text, config.subject, config.block_rows, work.place)
            table = Table.of(dataset, self.files, config.block_rows)
            refuse_bad_input(table, config.max_bad_fraction)
            say(f"{len(table.order):,} rows read, {len(table.alive):,} of them usable")
        with clock("labels"):
            labels.rename(table, self.renames)
            if config.corrections is not None:
                corrections.correct(table, self.corrections)
            labels.filter_labels(table, config)
        with clock("vectorise"):
            analyzer = vectorise.choose_analyzer(table, config)
            vectors = vectorise.vectorise(table, analyzer, config.similarity_threshold, config.block_rows, work)
            say(f"{len(table.alive):,} rows vectorised as {vectors.analyzer}, {len(vectors.vocabulary):,} terms")
        if self.decontaminated is not None:
            with clock("decontaminate"):
                decontaminate.decontaminate(
                    table, vectors, *self.decontaminated, config.text, config.max_bad_fraction, work
                )
            labels.require_classes(table, "--decontaminate", "is it the file of the input itself?")
        return table, vectors


def refuse_changed_input(finished: dict[str, Any] | None, checksums: dict[str, str]) -> None:
    """Raise ConfigError where a finished output was made from other input."""
    if finished is not None and finished["sha256"]["inputs"] != checksums:
        raise ConfigError(
            "--resume with changed input files",
            "the input of the finished output",
            "--overwrite, or another output name",
        )


def refuse_bad_input(table: Any, max_bad_fraction: float) -> None:
    """Raise DataError where more than the allowed share of rows cannot be used."""
    counts = {reason: n for reason, n in table.reasons().items() if reason in UNUSABLE}
    bad, rows = sum(counts.values()), len(table.order)
    if bad > max_bad_fraction * rows:
        remedy = "mend the input, check --text and --subject, or raise --max-bad-fraction: the ledger then has them all"
        if counts.get(BAD_JSON) == rows:
            remedy = "one JSON object on each line of a .jsonl file; .csv and .parquet files are read by their ending"
        if set(table.ingest_details.values()) == {NOT_UTF8}:
            remedy = "UTF-8, such as iconv -f ISO-8859-1 -t UTF-8 FILE > NEW_FILE makes of Latin-1"
        listed = ", ".join(f"{n:,} {reason} ({_first(table, reason)})" for reason, n in counts.items())
        raise DataError(
            f"{bad:,} of {rows:,} rows cannot be used, with the first of each kind: {listed}",
            f"at most {max_bad_fraction:.0%}",
            remedy,
        )


def _first(table: Any, reason: str) -> str:
    """Where the first row with a reason stands, and what the reader said of it."""
    row = int(np.flatnonzero(table.reason == REASONS.index(reason))[0])
    said = table.ingest_details.get(int(table.order[row]))
    return table.row_id(row) + (f": {records.without_quote(said)}" if said else "")
