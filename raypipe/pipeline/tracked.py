"""The test scores on their way to the W&B run of a training, which another process has logged and closed."""

import tempfile
from pathlib import Path
from typing import Any

from raypipe import storage
from raypipe.pipeline import evaluating
from raypipe.runtime import say
from raypipe.tokens import Secret

_CPUS = 0.25  # of the task: it waits more than it works


def add_results(folder: str, logged: dict[str, Any], key: str | None, metrics: dict[str, Any]) -> None:
    """Summary and confusion to the run ``logged`` (id, offline); what W&B writes comes into ``folder``/wandb.

    A Ray task does it: W&B keeps a service, a session and the arguments of its process, which are the user's here.
    """
    import ray

    if not logged["id"]:
        return
    online_key = Secret(None if logged["offline"] else key)
    task = ray.remote(num_cpus=_CPUS)(files_of_results)
    try:
        files = ray.get(task.remote(logged["id"], online_key, evaluating.flat(metrics), _cells(metrics)))
    except Exception as error:  # a training must not fail for its log
        say(f"warning: W&B did not take the test scores ({type(error).__name__})")
        return
    for name, content in files.items():
        with storage.writing(storage.join(folder, f"wandb/{name}")) as file:
            file.write(content)


def files_of_results(
    run_id: str, key: Secret, summary: dict[str, Any], cells: list[tuple[str, str, int]]
) -> dict[str, bytes]:
    """Log the results; returns the files of the segment that W&B wrote, by their path in the folder wandb."""
    from raypipe.train import tracking

    with tempfile.TemporaryDirectory(prefix="raypipe-wandb-") as scratch:
        tracking.add_results(scratch, run_id, key.value, summary, cells)
        root = Path(scratch, "wandb")
        found = [path for segment in root.glob("*run-*-*") for path in segment.rglob("*") if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def _cells(metrics: dict[str, Any]) -> list[tuple[str, str, int]]:
    """True label, predicted label and rows, where there are rows."""
    names = list(metrics["classes"])
    return [
        (names[true], names[predicted], rows)
        for true, line in enumerate(metrics["confusion"])
        for predicted, rows in enumerate(line)
        if rows
    ]
