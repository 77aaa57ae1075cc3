"""Scored blocks that outlive a kill: each is written whole beside the outputs, under a hash of its rows."""

import contextlib

import pyarrow as pa

from raypipe import storage


class Parts:
    """A folder of scored blocks; ``None`` keeps none."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._there = frozenset(storage.names_in(folder)) if folder else frozenset()

    def find(self, key: str) -> pa.Table | None:
        """The scored block of these rows; None where there is none, or a crash tore it."""
        if self._folder is None or self._name(key) not in self._there:
            return None
        with contextlib.suppress(pa.ArrowInvalid, OSError):
            return pa.ipc.open_file(pa.BufferReader(storage.read_bytes(self._place(key)))).read_all()
        return None

    def has(self, key: str) -> bool:
        """Whether the scored block of these rows is there, and whole."""
        return self.find(key) is not None

    def keep(self, key: str, block: pa.Table) -> None:
        """Write a scored block, whole or not at all."""
        if self._folder is None:
            return
        with storage.writing(self._place(key)) as file, pa.ipc.new_file(file, block.schema) as writer:
            writer.write_table(block)

    def _name(self, key: str) -> str:
        return f"{key}.arrow"

    def _place(self, key: str) -> str:
        assert self._folder is not None
        return storage.join(self._folder, self._name(key))
