"""Where predictions go: one file of all, or one for each input file, and a summary that completes them."""

import contextlib
import hashlib
import json
import os
from typing import Any

from raypipe import storage
from raypipe.config import PredictConfig
from raypipe.errors import ConfigError
from raypipe.evaluate.blocks import Block
from raypipe.pipeline.common import finished_output, write_json
from raypipe.pipeline.kept import is_kept, refuse_users
from raypipe.pipeline.rows import Rows
from raypipe.schema import FORMATS

SUMMARY = "predict_summary.json"  # in a folder of predictions; PATH_summary.json beside a PATH.jsonl


class Places:
    """The output of predict: PATH.jsonl, or a folder that mirrors the input files; nothing for standard output."""

    def __init__(self, output: str | None) -> None:
        self.path = "" if output is None else storage.absolute(output)
        self.is_folder = output is not None and not output.endswith(".jsonl")
        self.folder = None if output is None else self.path if self.is_folder else storage.parent(self.path)
        self.stem = "predict" if self.is_folder else os.path.basename(self.path).removesuffix(".jsonl")
        self.mark = storage.join(self.folder or "", SUMMARY if self.is_folder else f"{self.stem}_summary.json")
        self._names: dict[str, str] = {}

    def made(self) -> list[str]:
        """Paths that no input file may be, or be in."""
        return [] if self.folder is None else [self.path, self.mark]

    def finished(self, config: PredictConfig) -> dict[str, Any] | None:
        """The summary of an earlier run that --resume goes on from. Raises ConfigError where one stands in the way."""
        if self.folder is None:
            return None
        storage.require_writable(self.folder)
        if not self.is_folder and not config.overwrite and storage.exists(self.path):
            is_ours = storage.exists(self.mark) or is_kept(self.folder, self.stem, config.hash())
            if not (config.resume and is_ours):  # it may be a file of the user's
                remedy = "--overwrite to replace it" + ", --resume to keep it" * is_ours
                raise ConfigError(f"the output exists: {self.path}", "a new place", remedy)
        return finished_output(self.mark, config, [])

    def assign(self, files: list[str], config: PredictConfig) -> None:
        """Choose an output for each input file.

        Raises ConfigError where two of them would have the same, or one is a file of the user's.
        """
        if not self.is_folder:
            self._names = dict.fromkeys(files, self.path)
            return
        taken: dict[str, str] = {}
        for name in files:
            stem = next(name.removesuffix(ending) for ending in FORMATS if name.endswith(ending))
            other = taken.setdefault(f"{stem}.jsonl", name)
            if other != name:
                raise ConfigError(
                    f"{other} and {name} would both be written to {stem}.jsonl",
                    "names that differ before their ending",
                    "a narrower --input, or rename one",
                )
        self._names = {name: storage.join(self.path, made) for made, name in taken.items()}
        refuse_users(config, self.mark, self.stem, *self._names.values())

    def of(self, file: str) -> str:
        """The output of an input file."""
        return self._names[file]


class Finished:
    """Input files whose predictions are whole: what was counted in each, by an earlier summary and the work folder."""

    def __init__(self, work: str, earlier: dict[str, Any] | None) -> None:
        self._folder = storage.join(work, "files")
        self.files: dict[str, dict[str, Any]] = dict(earlier["files"]) if earlier else {}
        for name in storage.names_in(self._folder):
            self.files |= json.loads(storage.read_text(storage.join(self._folder, name)))

    def left(self, folder: str, files: list[str], places: Places) -> list[str]:
        """The files that are not finished. Raises ConfigError where a finished one has other content now."""
        from raypipe.data import ingest

        if not places.is_folder and self.files.keys() != set(files):
            self.files = {}  # all files go into the one output
        self.files = {name: self.files[name] for name in files if name in self.files}
        if self.files:
            sums = ingest.checksums(folder, list(self.files))
            changed = [name for name, entry in self.files.items() if entry["sha256"] != sums[name]]
            if changed:
                raise ConfigError(
                    f"--resume with changed input files ({', '.join(changed[:3])})",
                    "those of the finished predictions",
                    "--overwrite, or another output",
                )
        self.files = {name: entry for name, entry in self.files.items() if storage.exists(places.of(name))}
        return [name for name in files if name not in self.files]

    def begin(self, mark: str) -> None:
        """Take the summary away before an output changes; what it said of finished files is kept."""
        if self.files:
            write_json(storage.join(self._folder, "earlier.json"), self.files)
        storage.remove(mark)

    def add(self, file: str, entry: dict[str, Any]) -> None:
        """Note a file whose output is in its place."""
        name = hashlib.sha256(file.encode("utf8", "surrogateescape")).hexdigest()[:32]
        write_json(storage.join(self._folder, f"{name}.json"), {file: entry})
        self.files[file] = entry


class Writer:
    """Writes the lines of blocks, in order, to the outputs of their files; each appears when it is whole."""

    def __init__(self, places: Places, rows: Rows, finished: Finished) -> None:
        self._places, self._rows, self._finished = places, rows, finished
        self._names, self._left = list(rows.files), list(rows.files)
        self._open: contextlib.ExitStack | None = None
        self._file: Any = None

    def __enter__(self) -> "Writer":
        return self

    def write(self, block: Block, lines: list[bytes]) -> None:
        """The lines of the next block."""
        if self._places.is_folder:
            while self._left[0] != self._names[block.file]:
                self._finish(self._left.pop(0))
        self._begin(self._left[0])
        self._file.writelines(lines)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is not None:
            if self._open is not None:
                self._open.__exit__(kind, error, trace)
            return
        if self._places.is_folder:
            while self._left:
                self._finish(self._left.pop(0))
        elif self._open is not None:
            self._open.close()
            for name in self._left:
                self._finished.add(name, self._rows.files[name])

    def _begin(self, name: str) -> None:
        if self._open is None:
            storage.remove_parts(self._places.of(name))
            self._open = contextlib.ExitStack()
            self._file = self._open.enter_context(storage.writing(self._places.of(name)))

    def _finish(self, name: str) -> None:
        """Put the output of a file in its place, an empty one where it has no usable row."""
        self._begin(name)
        assert self._open is not None
        self._open.close()
        self._open = None
        self._finished.add(name, self._rows.files[name])
