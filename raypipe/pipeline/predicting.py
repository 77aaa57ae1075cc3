"""predict: labels for new text, from a file, a glob, an address or standard input."""

import os
import re
import sys
import tempfile
from typing import IO

from raypipe import storage
from raypipe.config import PredictConfig
from raypipe.errors import ConfigError, DataError
from raypipe.pipeline.common import Clock, hf_token
from raypipe.pipeline.evaluating import resolve_classifier
from raypipe.pipeline.rows import of_files
from raypipe.runtime import require_shared, say, session
from raypipe.schema import StageResult

_MAGIC = re.compile(r"[*?\[]")  # what makes a name a pattern


def predict(config: PredictConfig, rows_to: IO[str] | None = None) -> StageResult:
    """Write a line with id, text and predictions for each usable row, to --output or to ``rows_to``.

    Raises ConfigError or DataError before anything is written.
    """
    from raypipe.evaluate.scoring import score

    config.validate()
    token = hf_token(config)
    output = None if config.output is None else storage.absolute(config.output)
    if output is not None and storage.exists(output) and not config.overwrite:
        raise ConfigError(f"the output exists: {output}", "a new place", "--overwrite to replace it")
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="raypipe-predict-") as scratch:
        folder, pattern = _source(config.input, scratch)
        with session(config):
            require_shared(output, "of standard input" if config.input == "-" else folder)
            model = resolve_classifier(config.model, token)
            require_shared(model.name if model.is_folder else None)
            rows = of_files(folder, pattern, config.text, None, output)
            for notice in rows.notices:
                say(notice)
            if output is None:
                stream = rows_to or sys.stdout
                score(rows.dataset, rows.count, model, token, config, False, lambda line: stream.write(line.decode()))
                stream.flush()
            else:
                name = os.path.basename(output)
                with (
                    storage.staged(storage.parent(output), name, []) as stage,
                    open(os.path.join(stage, name), "wb") as file,
                ):
                    score(rows.dataset, rows.count, model, token, config, False, file.write)
    outputs = {} if output is None else {"predictions": output}
    return StageResult(
        "predict",
        config.hash(),
        "done",
        outputs,
        {"rows_in": rows.count + sum(rows.removed.values()), "removed": rows.removed, "rows": rows.count},
        seconds=clock.total(),
    )


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
