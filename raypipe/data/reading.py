"""The records of one input file, or of a range of its bytes, whatever its format."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.config import checks
from raypipe.data import records
from raypipe.data.records import Record
from raypipe.errors import DataError


def read_piece(piece: dict[str, Any], text_column: str, label_column: str | None, batch_rows: int) -> Iterator[Record]:
    """Records of a piece that ``ingest`` cut; a line belongs to the piece that it starts in. Raises DataError.

    A piece of what is no plain JSONL begins with the file, and ends about where so many of its bytes are read.
    """
    path, end = piece["path"], piece["end"]
    with refused_without_rights(path):
        if path.endswith(".parquet"):
            yield from _read_parquet(path, end, text_column, label_column, batch_rows)
        elif path.endswith(".csv"):
            yield from _read_csv(path, end, text_column, label_column)
        else:
            yield from _read_jsonl(piece, text_column, label_column)


@contextlib.contextmanager
def refused_without_rights(path: str) -> Iterator[None]:
    """Raise DataError where the file may not be read."""
    try:
        yield
    except PermissionError:
        raise DataError(f"no right to read {path}", "a file that its reader may read", "check its rights") from None


def _read_csv(path: str, end: int, text_column: str, label_column: str | None) -> Iterator[Record]:
    name = os.path.basename(path)
    with fsspec.open(path, "rb") as binary:
        records.refuse_other_bytes(binary.read(records.START_BYTES), name)
        binary.seek(0)
        file = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        for row in records.parse_csv(file, text_column, label_column, name):
            yield row
            if 0 <= end <= binary.tell():
                return


def _read_jsonl(piece: dict[str, Any], text_column: str, label_column: str | None) -> Iterator[Record]:
    try:
        for number, raw in _lines(piece):
            record = records.parse_json_line(raw, number, text_column, label_column)
            if record is not None:
                yield record
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        name = os.path.basename(piece["path"])
        why = str(error).split("(b'")[0].strip()  # gzip quotes the first bytes of what it read
        raise DataError(f"{name} cannot be decompressed: {why}", "a whole gzip file") from None


def _lines(piece: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a piece, without their line ends."""
    start, end, first = piece["start"], piece["end"], piece["line"]
    packed = piece["path"].endswith(".gz")
    with fsspec.open(piece["path"], "rb", compression="gzip" if packed else None) as file:
        if start:
            file.seek(start - 1)
            skipped = file.readline()  # b"\n" where a line starts right at `start`, else the tail of an earlier line
            start += len(skipped) - 1
            first += len(skipped) > 1
            if 0 <= end <= start:
                return  # the line that spans this whole piece belongs to the one that it starts in
        if packed:  # of any size once unpacked, so line by line
            lines: Iterable[bytes] = _unpacked_lines(file, end)
        else:
            content = file.read(max(0, end - start) if end >= 0 else -1)
            lines = (content + (b"" if content.endswith(b"\n") else file.readline())).split(b"\n")
        for number, raw in enumerate(lines, first):
            if number == 1:
                records.refuse_other_bytes(raw, os.path.basename(piece["path"]))
            yield number, raw


def _unpacked_lines(file: Any, end: int) -> Iterator[bytes]:
    """The lines of a gzip file, up to about where ``end`` of its bytes are read."""
    for line in file:
        yield line.rstrip(b"\n")
        if 0 <= end <= file.fileobj.tell():
            return


def _read_parquet(path: str, end: int, text_column: str, label_column: str | None, batch_rows: int) -> Iterator[Record]:
    name = os.path.basename(path)
    with fsspec.open(path, "rb") as file:
        try:
            table = pq.ParquetFile(file)
            size = file.seek(0, io.SEEK_END)
            most = table.metadata.num_rows if end < 0 else -(-table.metadata.num_rows * end // size)
            names = table.schema_arrow.names
            checks.refuse_twice(names, name, text_column, label_column)
            wanted = [c for c in (text_column, label_column) if c in names]
            number = 0
            for batch in table.iter_batches(batch_size=min(batch_rows, max(1, most)), columns=wanted):
                for values in _values(batch):
                    if number == most:
                        return
                    number += 1
                    record = records.from_cells(values, number, text_column, label_column)
                    yield record._replace(columns=names)
        except (pa.ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the disk or the network is at fault, not the file
            reason = str(error).splitlines()[0]
            raise DataError(f"{name} cannot be read as Parquet: {reason}", "a whole Parquet file") from None


def _values(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch; bytes that are no UTF-8 come as surrogates, as from a CSV file."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [
            {n: v.decode(errors="surrogateescape") if isinstance(v, bytes) else v for n, v in row.items()}
            for row in pa.table({n: _as_bytes(c) for n, c in zip(batch.schema.names, batch, strict=True)}).to_pylist()
        ]


def _as_bytes(column: pa.Array) -> pa.Array:
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.large_binary()) if is_text else column
