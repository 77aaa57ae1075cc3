"""Files by local path or URI (s3://, gs://, ...), through fsspec; outputs that are either whole or absent."""

import contextlib
import fnmatch
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from raypipe.errors import ConfigError

_URI = re.compile(r"^[a-z][a-z0-9+.-]+://")
_LOCAL = re.compile(r"^(?:file|local)://")
_VERSION = ("ETag", "etag", "LastModified", "updated", "mtime", "created")  # of a file, as file systems name it
_WHOLE = "whole.json"  # in a stage: the names of its outputs, once all are written
_OBJECT_STORES = ("s3://", "s3a://", "gs://", "gcs://")


def is_uri(path: str) -> bool:
    """Whether the path is an address such as s3://bucket/key, and not a local one (file://)."""
    return bool(_URI.match(path)) and not _LOCAL.match(path)


def join(folder: str, name: str) -> str:
    """A name under a folder or address."""
    return f"{folder.rstrip('/')}/{name}" if is_uri(folder) else os.path.join(folder, name)


def parent(path: str) -> str:
    """The folder or address that holds a path."""
    return path.rsplit("/", 1)[0] if is_uri(path) else os.path.dirname(path) or "."


def absolute(path: str) -> str:
    """The absolute form of a local path; an address stays as it is."""
    return path.rstrip("/") if is_uri(path) else os.path.abspath(os.path.expanduser(_LOCAL.sub("", path)))


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of a path, and the path on it. Raises ConfigError where its library is missing.

    It keeps no listings: s3fs and gcsfs would go on to answer from an old one, whatever others wrote since.
    """
    try:
        return url_to_fs(path, use_listings_cache=False) if is_uri(path) else url_to_fs(path)
    except (ImportError, ValueError) as error:
        remedy = "pip install s3fs" if path.startswith("s3:") else "install the fsspec library for it"
        raise ConfigError(f"cannot open {path}: {error}", "a supported address", remedy) from None


def require_reachable(*paths: str | None) -> None:
    """Refuse an address whose bucket is not there or may not be seen. Raises ConfigError."""
    for path in paths:
        if path is None or not path.startswith(_OBJECT_STORES):
            continue
        fs, inner = filesystem(path)
        bucket = inner.split("/")[0]
        try:
            found = fs.exists(bucket)
        except Exception as error:  # each store has its own; none of them is worth a traceback
            raise ConfigError(
                f"{path} cannot be reached: {type(error).__name__}", "credentials and a network"
            ) from None
        if not found:
            raise ConfigError(
                f"no bucket {bucket} for {path}, or no right to see it",
                "an existing bucket",
                "check its name, region and endpoint, and the credentials of this machine",
            )


def require_writable(folder: str) -> None:
    """Refuse a folder that cannot be made or written to, or an address out of reach. Raises ConfigError."""
    if is_uri(folder):
        require_reachable(folder)
        return
    there = folder
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise ConfigError(f"{there} is not a folder", "a folder for the output", "another output path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"no right to write in {there}", "a folder for the output", "another output path")


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    fs, inner = filesystem(path)
    return bool(fs.exists(inner))


def read_text(path: str) -> str:
    """The content of a UTF-8 file."""
    with fsspec.open(path, "rt", encoding="utf8") as file:
        return file.read()


def read_bytes(path: str) -> bytes:
    """The content of a file."""
    with fsspec.open(path, "rb") as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Write a UTF-8 file whole: a reader sees the old content or the new."""
    with writing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def writing(path: str) -> Iterator[Any]:
    """A binary file to write that appears when the block ends, or not at all."""
    if is_uri(path):
        fs, inner = filesystem(path)
        with tempfile.NamedTemporaryFile(prefix="raypipe-") as file:  # closing a remote file would keep half of it
            yield file
            file.flush()
            fs.put_file(file.name, inner)
        return
    os.makedirs(parent(path), exist_ok=True)
    part = f"{path}.{uuid.uuid4().hex}.part"  # two tries of one task, on two machines maybe, must not meet
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def remove_parts(path: str) -> None:
    """Remove what killed processes left of a local file that ``writing`` makes; the caller is its only writer."""
    for part in [] if is_uri(path) else glob.glob(f"{glob.escape(path)}.*.part"):
        Path(part).unlink(missing_ok=True)


def sha256(path: str) -> str:
    """SHA-256 of a file as stored, in hex."""
    digest = hashlib.sha256()
    with fsspec.open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def match(folder: str, pattern: str) -> list[str]:
    """Paths of the files under the folder that fit the pattern, relative and POSIX, sorted by code point.

    The same for local folders and for addresses: ** is any number of folders, and a star takes no leading dot.
    """
    if is_uri(folder):
        return _match_remote(folder, pattern)
    literal = Path(folder, pattern)
    if literal.is_file():  # a name with brackets or stars in it is a name first
        return [Path(pattern).as_posix()]
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    return sorted({Path(p).as_posix() for p in found if Path(folder, p).is_file()})  # several ** find a file twice


def _match_remote(folder: str, pattern: str) -> list[str]:
    fs, root = filesystem(folder)
    root = root.rstrip("/")
    if fs.isfile(f"{root}/{pattern}"):
        return [pattern]
    parts = pattern.split("/")
    # Only what the pattern can reach is listed: below its folders without stars, and no deeper than it goes.
    fixed = next((n for n, part in enumerate(parts[:-1]) if glob.has_magic(part)), len(parts) - 1)
    found = fs.find("/".join([root, *parts[:fixed]]), maxdepth=None if "**" in parts else len(parts) - fixed)
    names = [path[len(root) + 1 :] for path in found if not path.endswith("/")]  # a key with "/" stands for a folder
    return sorted(name for name in names if _fits(name.split("/"), parts))


def _fits(names: list[str], parts: list[str]) -> bool:
    """Whether a path fits a pattern, both cut at their slashes, by the rules of Python's glob."""
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _fits(names, parts[1:]) or (not names[0].startswith(".") and _fits(names[1:], parts))
    hidden = names[0].startswith(".") and not parts[0].startswith(".")
    return not hidden and fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


@contextlib.contextmanager
def staged(folder: str, mark: str, names: list[str]) -> Iterator[str]:
    """A local folder to write the named outputs into; on success they move to their place, the mark last.

    Files and folders both move. Where the block raises, nothing of the destination has been touched. An older
    mark is removed before the first move, so that a reader never takes a mixture for a complete output. Moves in a
    local folder that are broken off, by a kill or an error, end by ``finish_moves``.
    """
    local = not is_uri(folder)
    if local:
        os.makedirs(folder, exist_ok=True)
    stage = _stage(folder, mark) if local else tempfile.mkdtemp(prefix="raypipe-staging-")
    _discard(stage)  # what a killed run left behind
    os.makedirs(stage, mode=0o777 if local else 0o700)  # /tmp is everybody's, and these are rows of text
    try:
        yield stage
        missing = [name for name in [*names, mark] if not os.path.exists(os.path.join(stage, name))]
        assert not missing, f"the stage did not write {missing}"
        if local:
            write_text(os.path.join(stage, _WHOLE), json.dumps([*names, mark]))
        remove(join(folder, mark))
        for name in [*names, mark]:
            _put(os.path.join(stage, name), join(folder, name))
    finally:
        if not is_half_moved(folder, mark):
            _discard(stage)


def is_half_moved(folder: str, mark: str) -> bool:
    """Whether the outputs of ``staged`` are in part in a local folder, in part in their stage still."""
    return (
        not is_uri(folder)
        and os.path.exists(os.path.join(_stage(folder, mark), _WHOLE))
        and not exists(join(folder, mark))
    )


def finish_moves(folder: str, mark: str) -> None:
    """Move what is left of ``is_half_moved`` outputs into its place; the caller alone works there."""
    stage = _stage(folder, mark)
    for name in json.loads(read_text(os.path.join(stage, _WHOLE))):
        if os.path.exists(os.path.join(stage, name)):
            _put(os.path.join(stage, name), join(folder, name))
    _discard(stage)


def _stage(folder: str, mark: str) -> str:
    return os.path.join(folder, f".staging-{mark}")


def _discard(stage: str) -> None:
    """Remove a stage, first of all the note that it is whole: a part of it must not pass for that."""
    Path(stage, _WHOLE).unlink(missing_ok=True)
    shutil.rmtree(stage, ignore_errors=True)


def _put(source: str, target: str) -> None:
    """Move a local file or folder in the place of another, or upload it there."""
    if is_uri(target) or os.path.isdir(source):
        remove(target)
    if is_uri(target):
        upload(source, target)
    else:
        os.replace(source, target)


def names_in(folder: str) -> list[str]:
    """The names of what a folder holds; none where it is not there, or cannot be."""
    fs, inner = filesystem(folder)
    try:
        return sorted({name.rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(inner, detail=False)})
    except (FileNotFoundError, NotADirectoryError):
        return []


def state(folder: str) -> str:
    """What changes when a file in a folder does, by its listing alone: names, sizes, and the store's tags or times."""
    fs, inner = filesystem(folder)
    found = fs.find(inner, detail=True)
    return str([(name, entry["size"], [str(entry.get(key)) for key in _VERSION]) for name, entry in found.items()])


def upload(source: str, target: str) -> None:
    """Copy a local file, or what a local folder holds, to a path or address."""
    if is_uri(target):
        fs, inner = filesystem(target)
        files = [Path(source)] if os.path.isfile(source) else sorted(p for p in Path(source).rglob("*") if p.is_file())
        for file in files:  # one by one under its own name: put() would nest a folder in one that exists
            tail = file.relative_to(source).as_posix()
            fs.put_file(str(file), inner if tail == "." else f"{inner.rstrip('/')}/{tail}")
    elif os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        os.makedirs(parent(target), exist_ok=True)
        shutil.copy2(source, target)


def download(source: str, target: str) -> None:
    """Copy a file or folder at a path or URI to a local path."""
    fs, inner = filesystem(source)
    fs.get(inner.rstrip("/") + ("/" if fs.isdir(inner) else ""), target, recursive=True)


def remove_if_empty(folder: str) -> None:
    """Remove a local folder that holds nothing; an address has no empty folders."""
    if not is_uri(folder):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove(path: str) -> None:
    """Remove a file or folder, if it is there."""
    fs, inner = filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=True)
