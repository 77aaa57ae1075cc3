"""Read raw files into rows, in parallel, each with its place in file order; a bad line is a row with a reason."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fsspec
import pyarrow as pa
import ray

from raypipe import storage
from raypipe.config import checks
from raypipe.core import text as core_text
from raypipe.data.reading import read_piece, refused_without_rights
from raypipe.data.records import Record
from raypipe.errors import DataError
from raypipe.schema import FORMATS

PIECE_BYTES = 16 << 20  # a JSONL file is read in pieces of this size, one task each
BLOCK_CHARACTERS = 16 << 20  # characters of text after which a block ends, however few its rows
LINE_BITS = 40  # order = file number << LINE_BITS | line
COLUMN_FLAGS = ("--text", "--subject")  # which name the two columns; in prepare, that is
_MOST_PIECES = 256  # small files that one task reads
_CHECKSUM_TASKS = 256
_NO_NAMES = {"", ".", ".."}  # parts of a path that lead out of a folder; an object store has keys with them
PEEKED_ROWS = 200  # records looked at on the driver, to refuse a wrong column before work starts
PEEKED_IN_VAIN = 50_000  # looked at before a column that no record has is refused: a log may begin without labels

SCHEMA = pa.schema(
    [
        ("order", pa.int64()),
        ("text", pa.large_string()),
        ("label", pa.large_string()),
        ("reason", pa.string()),  # "" for a usable row
        ("detail", pa.string()),
        ("key_high", pa.int64()),  # 128-bit hash of the canonical text
        ("key_low", pa.int64()),
        ("letters", pa.int64()),
        ("unspaced", pa.int64()),  # letters of scripts without spaces
        ("columns", pa.string()),  # JSON list of column names not seen before in this block, else ""
    ]
)


def find(folder: str, pattern: str) -> list[str]:
    """The input files, relative to the folder, by code point. Raises DataError where none fits."""
    files = storage.match(folder, pattern)
    if not files:
        if not storage.is_uri(folder) and not os.path.isdir(folder):
            kind = "is a file" if os.path.exists(folder) else "does not exist"
            raise DataError(f"{folder} {kind}", "the folder that holds the input files", "check its name")
        raise DataError(
            f"no file {pattern!r} under {folder}", f"at least one {', '.join(FORMATS)} file", "check its name"
        )
    for name in files:
        if not _NO_NAMES.isdisjoint(name.split("/")):  # predict would write beside its output folder
            raise DataError(f"the input file {name!r}", f"a path below {folder}", "check the pattern, or rename it")
        shown = name.encode(errors="backslashreplace").decode()
        if shown != name:  # bytes that are no UTF-8; ids, which hold the name, could not be written
            raise DataError(f"the input file {shown}", "a name in UTF-8", "rename it")
        if "::" in storage.join(folder, name):
            raise DataError(f"the input file {storage.join(folder, name)}", "a path without '::'", "rename it")
        if not name.endswith(FORMATS):
            raise DataError(f"the input file {name}", f"a name that ends in {', '.join(FORMATS)}")
    return files


def ingest(
    folder: str,
    files: list[str],
    text_column: str,
    label_column: str | None,
    block_rows: int,
    kept_at: Callable[[str, str], str] | None = None,
    flags: tuple[str, str] = COLUMN_FLAGS,
) -> "ray.data.Dataset":
    """Rows of all files as a materialised Ray dataset with the columns of SCHEMA, in file order.

    With ``kept_at`` (name and ending to a path; see ``tasks.Work.place``) each piece is also kept as a file, and read
    from it where it is there. Raises DataError where the first records have no such column.
    """
    peek(folder, files, text_column, label_column, flags)
    pieces = [piece for number, name in enumerate(files) for piece in _pieces(storage.join(folder, name), number)]
    tasks = [
        {"pieces": group, "kept_at": kept_at(f"ingest/{number:05d}", "arrow") if kept_at else ""}
        for number, group in enumerate(_grouped(pieces))
    ]

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        for task in batch.to_pylist():
            rows = (
                (p["file"], r) for p in task["pieces"] for r in read_piece(p, text_column, label_column, block_rows)
            )
            yield from _kept(task["kept_at"], tables(rows, block_rows))

    source = ray.data.from_items(tasks, override_num_blocks=len(tasks))
    return source.map_batches(read, batch_format="pyarrow", batch_size=None, zero_copy_batch=True).materialize()


def _kept(path: str, made: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The tables of a task, out of the file at ``path`` or, made now, into it; without a path just made."""
    if not path:
        yield from made
        return
    if storage.exists(path):
        with contextlib.suppress(pa.ArrowInvalid, OSError), fsspec.open(path, "rb") as file:
            kept = pa.ipc.open_file(file)  # a file torn by a crash has no footer: made again
            batches = [kept.get_batch(number) for number in range(kept.num_record_batches)]
            yield from (pa.Table.from_batches([batch]) for batch in batches)
            yield SCHEMA.empty_table()
            return
    with storage.writing(path) as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for table in made:
            writer.write_table(table)
            yield table


def checksums(folder: str, files: list[str]) -> dict[str, str]:
    """SHA-256 of each file as stored."""
    digest = ray.remote(lambda names: [storage.sha256(storage.join(folder, name)) for name in names])
    few = -(-len(files) // _CHECKSUM_TASKS)
    sums = ray.get([digest.remote(files[start : start + few]) for start in range(0, len(files), few)])
    return dict(zip(files, itertools.chain(*sums), strict=True))


def peek(
    folder: str,
    files: list[str],
    text_column: str,
    label_column: str | None,
    flags: tuple[str, str] = COLUMN_FLAGS,
) -> None:
    """Look at the first records for the columns that ``flags`` asked for. Raises DataError."""
    seen: dict[str, None] = {}
    wanted = {c for c in (text_column, label_column) if c is not None}
    rows = 0
    for record in itertools.islice(_records(folder, files, text_column, label_column), PEEKED_IN_VAIN):
        rows += 1
        seen.update(dict.fromkeys(record.columns))
        if wanted <= seen.keys():
            return
    if not rows:
        raise DataError(f"no rows in {', '.join(files[:3])}", "at least one record")
    if not seen:
        return  # nothing but bad lines: the ledger counts them and --max-bad-fraction decides
    for column, flag in zip((text_column, label_column), flags, strict=True):
        if column is not None and column not in seen:
            raise DataError(
                f"no column {column!r} in {files[0]}, which has {checks.names_of(seen)}",
                f"the column of {flag}",
                checks.nearest(column, seen) or f"{flag} COLUMN",
            )


def _records(folder: str, files: list[str], text_column: str, label_column: str | None) -> Iterator[Record]:
    """The records at the beginning of each file."""
    for name in files:
        piece = {"path": storage.join(folder, name), "start": 0, "end": PIECE_BYTES, "line": 1}
        yield from read_piece(piece, text_column, label_column, PEEKED_ROWS)


def _pieces(path: str, number: int) -> list[dict[str, Any]]:
    """Byte ranges of a file, each with the number of the line that follows its start."""
    fs, inner = storage.filesystem(path)
    size = fs.size(inner)
    whole = {"path": path, "file": number, "start": 0, "end": -1, "line": 1, "bytes": size}
    if not path.endswith(".jsonl") or size <= PIECE_BYTES:
        return [whole]
    starts = list(range(0, size, PIECE_BYTES))
    count = ray.remote(_newlines)
    newlines = ray.get([count.remote(path, start, start + PIECE_BYTES) for start in starts])
    pieces, line = [], 1
    for start, lines in zip(starts, newlines, strict=True):
        pieces.append(whole | {"start": start, "end": start + PIECE_BYTES, "line": line, "bytes": PIECE_BYTES})
        line += lines
    return pieces


def _grouped(pieces: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Consecutive small pieces together, so that ten thousand small files are no ten thousand tasks."""
    groups: list[list[dict[str, Any]]] = []
    room = 0
    for piece in pieces:
        room -= piece["bytes"]
        if not groups or room < 0 or len(groups[-1]) == _MOST_PIECES:
            groups.append([])
            room = PIECE_BYTES - piece["bytes"]
        groups[-1].append(piece)
    return groups


def _newlines(path: str, start: int, end: int) -> int:
    with refused_without_rights(path), fsspec.open(path, "rb") as file:
        file.seek(start)
        return file.read(end - start).count(b"\n")


def tables(rows: Iterable[tuple[int, Record]], block_rows: int) -> Iterator[pa.Table]:
    """Blocks with the columns of SCHEMA from records and the numbers of their files."""
    block: list[tuple[Any, ...]] = []
    known: set[str] = set()
    characters = 0
    for file, row in rows:
        new = [] if known.issuperset(row.columns) else [c for c in row.columns if c not in known]
        known.update(new)
        usable = not row.reason
        key = core_text.key(core_text.canonical(row.text)) if usable else (0, 0)
        letters = core_text.letters(row.text) if usable else (0, 0)
        block.append(
            (
                file << LINE_BITS | row.line,
                row.text,
                row.label,
                row.reason,
                row.detail,
                *key,
                *letters,
                json.dumps(new) if new else "",
            )
        )
        characters += len(row.text)
        if len(block) >= block_rows or characters >= BLOCK_CHARACTERS:
            yield _table(block)
            block, characters = [], 0
    yield _table(block)  # also where it is empty: Ray Data wants the columns of every piece


def _table(block: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*block, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
