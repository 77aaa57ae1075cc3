"""The folder beside an output where scored blocks are kept until it is complete."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from raypipe import __version__, storage
from raypipe.errors import ConfigError, RaypipeError


@contextlib.contextmanager
def kept_work(folder: str, name: str, plan: list[Any], resume: bool, strict: bool = True) -> Iterator[str]:
    """The work folder ``.NAME.work/PLAN`` under ``folder``, empty but for ``resume``; removed when the block ends.

    It stays where the block breaks, but for what is refused at its first try. ``plan`` is all that decides the scores.

    Raises ConfigError where ``resume`` finds the work of another plan alone; without ``strict`` that is removed.
    """
    root = storage.join(folder, f".{name}.work")
    mine = hashlib.sha256(json.dumps([*plan, __version__]).encode()).hexdigest()[:32]
    is_new = not storage.exists(folder)
    with storage.locked(root):
        found = [name for name in storage.names_in(root) if name != storage.LOCK]
        if resume and strict and found and mine not in found:
            raise ConfigError(
                f"--resume with another configuration, model or input than the unfinished {name}",
                "the same flags, model and rows",
                "run without --resume to begin anew",
            )
        for other in found:
            if other != mine or not resume:
                storage.remove(storage.join(root, other))
        try:
            yield storage.join(root, mine)
        except RaypipeError as error:
            if error.exit_code == 2 and mine not in found:
                storage.remove(root)
                if is_new:
                    storage.remove_if_empty(folder)
            raise
        storage.remove(root)
