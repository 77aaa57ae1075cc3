"""predict: labels for new text, from a file, a glob, an address or standard input."""

import os
import re
import sys
import tempfile
from typing import IO, Any

from raypipe import hub, provenance, storage
from raypipe.config import PredictConfig
from raypipe.errors import ConfigError, DataError
from raypipe.hub import Source
from raypipe.pipeline.common import Clock, hf_token, write_json
from raypipe.pipeline.evaluating import make_scorer, resolve_classifier
from raypipe.pipeline.kept import kept_work
from raypipe.pipeline.outputs import Finished, Places, Writer
from raypipe.pipeline.rows import inputs, of_files, require_rows
from raypipe.runtime import require_shared, say, session
from raypipe.schema import StageResult

_MAGIC = re.compile(r"[*?\[]")  # what makes a name a pattern


def predict(config: PredictConfig, rows_to: IO[str] | None = None) -> StageResult:
    """Write a line with id, text and predictions for each usable row, to --output or to ``rows_to``.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.evaluate import actors

    config.validate()
    token = hf_token(config)
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="raypipe-predict-") as scratch:
        folder, pattern = _source(config.input, scratch)
        places = Places(config.output)
        places.finished(config)
        folder, files = inputs(folder, pattern, config.text, None, *places.made())
        places.assign(files, config)
        local = None if hub.is_repository(config.model) else resolve_classifier(config.model, token)
        with session(config):
            require_shared(places.folder, "of standard input" if config.input == "-" else folder)
            actors.choose_device(config)
            model = local or resolve_classifier(config.model, token)
            require_shared(model.name if model.is_folder else None)
            if places.folder is None:
                counts = _to_stream(config, rows_to or sys.stdout, folder, files, model, token)
                return StageResult("predict", config.hash(), "done", {}, counts, seconds=clock.total())
            status, counts = _to_files(config, places, folder, files, model, token, clock)
    outputs = {"predictions": places.path, "summary": places.mark}
    return StageResult("predict", config.hash(), status, outputs, counts, seconds=clock.total())


def _to_stream(
    config: PredictConfig, stream: IO[str], folder: str, files: list[str], model: Source, token: str | None
) -> dict[str, Any]:
    """Write the lines of all rows to a stream; returns the counts."""
    rows = of_files(folder, files, config.text, None, config.eval_batch_size)
    require_rows(rows)
    scorer, precision = make_scorer(config, model, token, hub.fingerprint(model), rows.blocks, False, None)
    _say(rows.notices + precision.notice())
    scorer.score(rows.blocks, lambda _, lines: stream.writelines(line.decode() for line in lines))
    stream.flush()
    return _counts(rows.files)


def _to_files(
    config: PredictConfig, places: Places, folder: str, files: list[str], model: Source, token: str | None, clock: Clock
) -> tuple[str, dict[str, Any]]:
    """Score what is not finished yet; the summary completes the output. Returns status and counts."""
    assert places.folder is not None
    fingerprint = hub.fingerprint(model)
    with kept_work(places.folder, places.stem, config.hash(), fingerprint, config.resume) as work:
        earlier = places.finished(config)
        if earlier is not None and earlier["model_fingerprint"] != fingerprint:
            raise ConfigError("--resume with another model", "that of the finished predictions", "--overwrite")
        finished = Finished(work, earlier)
        left = finished.left(folder, files, places)
        summary = {"precision": None, "notices": []} if earlier is None else earlier
        if left:
            summary = _score(config, places, finished, folder, left, model, token, fingerprint, work)
        elif earlier is not None and list(earlier["files"]) == files:
            return "skipped", _counts(finished.files)
        counts = _counts(finished.files)
        summary = {
            "model_name": str(model),
            "model_fingerprint": fingerprint,
            **counts,
            "files": {name: finished.files[name] for name in files},
            "precision": summary["precision"],
            "notices": summary["notices"],
            "config": config.public(),
            "config_hash": config.hash(),
            "seconds": clock.total(),
            **provenance.record(),
        }
        write_json(places.mark, summary)
    return "done", counts


def _score(
    config: PredictConfig,
    places: Places,
    finished: Finished,
    folder: str,
    files: list[str],
    model: Source,
    token: str | None,
    fingerprint: str,
    work: str,
) -> dict[str, Any]:
    """Score the rows of these files into their outputs; what the summary says of it."""
    rows = of_files(folder, files, config.text, None, config.eval_batch_size, places.is_folder)
    if not finished.files:
        require_rows(rows)
    scorer, precision = make_scorer(config, model, token, fingerprint, rows.blocks, False, work)
    notices = rows.notices + precision.notice()
    _say(notices)
    finished.begin(places.mark)
    with Writer(places, rows, finished) as writer:
        if rows.blocks:
            scorer.score(rows.blocks, writer.write, storage.join(work, scorer.precision))
    return {"precision": precision.public(), "notices": notices}


def _counts(files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Rows in, scored, and left out by reason, over all files."""
    removed: dict[str, int] = {}
    for entry in files.values():
        for reason, rows in entry["removed"].items():
            removed[reason] = removed.get(reason, 0) + rows
    sums = {name: sum(entry[name] for entry in files.values()) for name in ("rows_in", "rows")}
    return {"rows_in": sums["rows_in"], "removed": removed, "rows": sums["rows"]}


def _say(notices: list[str]) -> None:
    for notice in notices:
        say(notice)


def _source(name: str, scratch: str) -> tuple[str, str]:
    """Folder and file pattern of --input; standard input is kept in a file first."""
    if name != "-":
        parts = name.split("/")
        fixed = next((place for place, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        fixed = min(fixed, len(parts) - 1)
        return "/".join(parts[:fixed]) or ("/" if fixed else "."), "/".join(parts[fixed:])
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise DataError("nothing on standard input", "JSONL rows, or --input FILE")
    with open(os.path.join(scratch, "stdin.jsonl"), "wb") as file:
        file.write(content)
    return scratch, "stdin.jsonl"
