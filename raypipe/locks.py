"""Folders that one process at a time works in; the lock is a file in them, and goes with them."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from typing import Any

from raypipe import storage
from raypipe.errors import ConfigError

LOCK = "lock"  # the file in a folder that `locked` locks


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """A folder that one process at a time works in; the lock goes with the process, however it ends.

    A folder with nothing else in it goes as well. Raises ConfigError where another process holds the lock. An address
    has no locks.
    """
    if storage.is_uri(folder):
        yield
        return
    path = os.path.join(folder, LOCK)
    while True:
        try:
            os.makedirs(folder, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        except (FileExistsError, FileNotFoundError):  # its holder retires the folder just now
            if os.path.isfile(folder):
                raise
            continue
        with open(descriptor, "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another run is at work in {folder}", "one run for an output", "wait for it, or another -o"
                ) from None
            if not _is_at(file, path):  # locked too late: the holder has retired the folder with this file in it
                continue
            try:
                yield
            finally:
                if _is_at(file, path) and os.listdir(folder) == [LOCK]:
                    retire(folder)
            return


def _is_at(file: Any, path: str) -> bool:
    """Whether an open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def retire(folder: str) -> None:
    """Remove a folder that this process has locked, in one step for those who wait for it."""
    if storage.is_uri(folder) or not os.path.exists(folder):
        storage.remove(folder)
        return
    gone = f"{folder}.gone-{os.getpid()}"
    os.rename(folder, gone)
    try:
        shutil.rmtree(gone)
    except OSError:  # who was opening the lock just then has left a new one in it, and cannot do so again
        shutil.rmtree(gone)
