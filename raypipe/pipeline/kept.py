"""Work in progress that --resume goes on with: what tasks made, beside their output, and the folder of Ray Train.

Both are the caller's alone while it works, and hold nothing of a run with other flags or input.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from raypipe import __version__, locks, storage
from raypipe.config import CommonConfig
from raypipe.errors import ConfigError, RaypipeError
from raypipe.pipeline.common import refuse_existing
from raypipe.runtime import say

_PLAN = "plan.json"  # in a folder of Ray Train or Tune: whose work it holds


@contextlib.contextmanager
def kept_work(
    folder: str, name: str, config_hash: str, inputs: Any, resume: bool, layout: Any = None, strict: bool = True
) -> Iterator[str]:
    """The work folder of the output ``name`` under ``folder``, empty but for ``resume``; removed when the block ends.

    It stays where the block breaks, but for what is refused at its first try. The configuration and ``inputs`` are all
    that decides the result; work of another ``layout``, or of another version, cannot be used and is begun anew.

    Raises ConfigError where ``resume`` finds the work of others alone; without ``strict`` that is removed.
    """
    root = work_root(folder, name)
    plan = f"{config_hash}-{short_hash(inputs)}-"
    mine = plan + short_hash([layout, __version__])
    is_new = not storage.exists(folder)
    with locks.locked(root):
        found = [kept for kept in storage.names_in(root) if kept != locks.LOCK]
        if resume and strict and found and not any(kept.startswith(plan) for kept in found):
            raise ConfigError(
                f"--resume with another configuration, model or input than the unfinished {name} in {folder}",
                "the same flags, model and rows",
                "run without --resume to begin anew",
            )
        for kept in found:
            if kept != mine or not resume:
                storage.remove(storage.join(root, kept))
        try:
            yield storage.join(root, mine)
        except RaypipeError as error:
            if error.exit_code == 2 and mine not in found:
                locks.retire(root)
                if is_new:
                    storage.remove_if_empty(folder)
            raise
        locks.retire(root)


def is_kept(folder: str, name: str, config_hash: str) -> bool:
    """Whether there is kept work of a run with this configuration."""
    return any(kept.startswith(f"{config_hash}-") for kept in storage.names_in(work_root(folder, name)))


def refuse_users(config: CommonConfig, mark: str, name: str, *outputs: str) -> None:
    """Refuse to replace files that no run of ours made: no ``mark`` is beside them, and no kept work of this one.

    Raises ConfigError.
    """
    if not (config.overwrite or storage.exists(mark) or is_kept(storage.parent(mark), name, config.hash())):
        refuse_existing(*outputs)


def finish_moves(folder: str, name: str, mark: str) -> None:
    """Put an output whole in its place that a killed run was moving there; what it replaces is in part gone.

    Raises ConfigError where that run is still at work, or nothing can be written there.
    """
    if storage.is_half_moved(folder, mark):
        storage.require_writable(folder)
        with locks.locked(work_root(folder, name)):
            if storage.is_half_moved(folder, mark):
                storage.finish_moves(folder, mark)
                say(f"the files of {name} that a killed run left are in their places in {folder}")


@contextlib.contextmanager
def undone(place: str | None) -> Iterator[None]:
    """What is raised on purpose leaves nothing at ``place``: from its own checkpoints it would only happen again."""
    try:
        yield
    except RaypipeError:
        if place is not None:
            storage.remove(place)
        raise


def open_unfinished(place: str, plan: dict[str, Any], resume: bool, output: str) -> bool:
    """The folder in which Ray Train or Tune works on ``plan``, locked by the caller; empty but for --resume.

    Returns whether it holds work to go on with. Raises ConfigError where --resume finds there that of another plan.
    """
    path = storage.join(place, _PLAN)
    if resume and is_unfinished(place):
        if json.loads(storage.read_text(path)) != plan:
            raise ConfigError(
                f"--resume with another configuration, dataset, base model or raypipe than the unfinished {output}",
                "the same flags, data and version",
                "run without --resume to begin anew",
            )
        return True
    for name in storage.names_in(place):
        if name != locks.LOCK:
            storage.remove(storage.join(place, name))
    storage.write_text(path, json.dumps(plan))
    return False


def is_unfinished(place: str) -> bool:
    """Whether ``open_unfinished`` opened the folder for work that has not ended."""
    return storage.exists(storage.join(place, _PLAN))


def work_root(folder: str, name: str) -> str:
    """The folder beside an output that holds its kept work."""
    return storage.join(folder, f".{name}.work")


def short_hash(value: Any) -> str:
    """16 hex digits that tell JSON values apart."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
