"""The test scores on their way to the W&B run of a training, which another process has logged and closed."""

import glob
import os
import tempfile
from typing import Any

from raypipe import storage
from raypipe.pipeline import evaluating
from raypipe.runtime import say


def add_results(folder: str, logged: dict[str, Any], key: str | None, metrics: dict[str, Any]) -> None:
    """Summary and confusion to the run ``logged`` (id, offline); what W&B writes comes into ``folder``/wandb."""
    from raypipe.train import tracking

    if not logged["id"]:
        return
    online_key = None if logged["offline"] else key
    with tempfile.TemporaryDirectory(prefix="raypipe-wandb-") as scratch:
        try:
            tracking.add_results(scratch, logged["id"], online_key, evaluating.flat(metrics), _cells(metrics))
        except Exception as error:  # a training must not fail for its log
            say(f"warning: W&B did not take the test scores ({type(error).__name__})")
        for segment in glob.glob(os.path.join(scratch, "wandb", "*run-*-*")):
            storage.upload(segment, storage.join(folder, f"wandb/{os.path.basename(segment)}"))


def _cells(metrics: dict[str, Any]) -> list[tuple[str, str, int]]:
    """True label, predicted label and rows, where there are rows."""
    names = list(metrics["classes"])
    return [
        (names[true], names[predicted], rows)
        for true, line in enumerate(metrics["confusion"])
        for predicted, rows in enumerate(line)
        if rows
    ]
