"""A bounded, evenly spread sample of raw files, read in this process; whole where the files are small."""

import itertools
import time
from typing import Any, NamedTuple

import numpy as np

from raypipe import storage
from raypipe.data.reading import read_piece
from raypipe.data.records import Record

SAMPLE_BYTES = 8 << 20  # of the files as stored; ten seconds of work for all that is timed on them
WINDOWS = 32  # places that a sample is taken from: files are often sorted by label
BATCH_ROWS = 4_096


class Sample(NamedTuple):
    """Rows of the files, and what they stand for."""

    records: list[tuple[int, Record]]  # with the number of the file
    share: float  # of all bytes that the sample stands for; 1 where every file was read whole
    stored_bytes: int  # of all files
    seconds: float  # that reading took

    @property
    def is_whole(self) -> bool:
        return self.share == 1

    def all_rows(self) -> int:
        """Rows of all files; an estimate unless the sample is whole."""
        return round(len(self.records) / self.share)


def take(
    folder: str, files: list[str], text_column: str, label_column: str | None, most_bytes: int = SAMPLE_BYTES
) -> Sample:
    """About ``most_bytes`` of the files, from WINDOWS places. Raises DataError where a file cannot be read."""
    paths = [storage.join(folder, name) for name in files]
    sizes = [_size(path) for path in paths]
    pieces = _whole(paths, sizes) if sum(sizes) <= most_bytes else _windows(paths, sizes, most_bytes)
    start = time.perf_counter()
    records = [
        (piece["file"], record)
        for piece in pieces
        for record in read_piece(piece, text_column, label_column, BATCH_ROWS)
    ]
    seconds = time.perf_counter() - start
    records.sort(key=lambda numbered: numbered[0])
    read = sum(piece["bytes"] for piece in pieces)
    return Sample(_renumbered(records), min(1.0, read / max(1, sum(sizes))), sum(sizes), seconds)


def _size(path: str) -> int:
    fs, inner = storage.filesystem(path)
    return int(fs.size(inner))


def _piece(path: str, file: int, start: int, end: int, size: int) -> dict[str, Any]:
    """What ``read_piece`` takes; the number of a line is only right in the first piece of a file."""
    stands_for = (size if end < 0 else min(end, size)) - start
    return {"path": path, "file": file, "start": start, "end": end, "line": 1 + (start > 0), "bytes": stands_for}


def _whole(paths: list[str], sizes: list[int]) -> list[dict[str, Any]]:
    return [_piece(path, number, 0, -1, size) for number, (path, size) in enumerate(zip(paths, sizes, strict=True))]


def _windows(paths: list[str], sizes: list[int], most_bytes: int) -> list[dict[str, Any]]:
    """Ranges of equal width over all files in a row; a file that can only be read from its start gives its head."""
    width = max(1, most_bytes // WINDOWS)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    starts = np.linspace(0, max(0, int(bounds[-1]) - width), WINDOWS).astype(np.int64)
    heads: dict[int, int] = {}
    pieces = []
    for start in starts.tolist():
        number = int(np.searchsorted(bounds, start, side="right")) - 1
        if paths[number].endswith(".jsonl"):
            inside = start - int(bounds[number])
            pieces.append(_piece(paths[number], number, inside, min(inside + width, sizes[number]), sizes[number]))
        else:
            heads[number] = heads.get(number, 0) + width
    pieces += [_piece(paths[n], n, 0, end if end < sizes[n] else -1, sizes[n]) for n, end in heads.items()]
    return pieces


def _renumbered(records: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    """The records with line numbers that grow within each file, as file order wants them."""
    numbered = itertools.count(1)
    return [(file, record._replace(line=next(numbered))) for file, record in records]
