"""Files by local path or URI (s3://, gs://, ...), through fsspec; outputs that are either whole or absent."""

import contextlib
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from raypipe.errors import ConfigError

_URI = re.compile(r"^[a-z][a-z0-9+.-]+://")


def is_uri(path: str) -> bool:
    """Whether the path is an address such as s3://bucket/key."""
    return bool(_URI.match(path))


def join(folder: str, name: str) -> str:
    """A name under a folder or address."""
    return f"{folder.rstrip('/')}/{name}" if is_uri(folder) else os.path.join(folder, name)


def parent(path: str) -> str:
    """The folder or address that holds a path."""
    return path.rsplit("/", 1)[0] if is_uri(path) else os.path.dirname(path) or "."


def absolute(path: str) -> str:
    """The absolute form of a local path; an address stays as it is."""
    return path if is_uri(path) else os.path.abspath(os.path.expanduser(path))


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of a path, and the path on it. Raises ConfigError where its library is missing."""
    try:
        return url_to_fs(path)
    except (ImportError, ValueError) as error:
        remedy = "pip install 'raypipe[s3]'" if path.startswith("s3:") else "install the fsspec library for it"
        raise ConfigError(f"cannot open {path}: {error}", "a supported address", remedy) from None


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
        with fsspec.open(path, "wb") as file:  # an object appears when it is closed
            yield file
        return
    os.makedirs(parent(path), exist_ok=True)
    part = f"{path}.{os.getpid()}.part"  # two tries of one task must not write into each other
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def sha256(path: str) -> str:
    """SHA-256 of a file as stored, in hex."""
    digest = hashlib.sha256()
    with fsspec.open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def match(folder: str, pattern: str) -> list[str]:
    """Paths of the files under the folder that fit the pattern, relative and POSIX, sorted by code point."""
    if is_uri(folder):
        fs, root = filesystem(folder)
        found = [p[len(root.rstrip("/")) + 1 :] for p in fs.glob(f"{root.rstrip('/')}/{pattern}")]
        return sorted(p for p in found if fs.isfile(f"{root.rstrip('/')}/{p}"))
    literal = Path(folder, pattern)
    if literal.is_file():  # a name with brackets or stars in it is a name first
        return [Path(pattern).as_posix()]
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    return sorted(Path(p).as_posix() for p in found if Path(folder, p).is_file())


@contextlib.contextmanager
def staged(folder: str, mark: str, names: list[str]) -> Iterator[str]:
    """A local folder to write the named outputs into; on success they move to their place, the mark last.

    Files and folders both move. Where the block raises, nothing of the destination has been touched. An older
    mark is removed before the first move, so that a reader never takes a mixture for a complete output.
    """
    local = not is_uri(folder)
    if local:
        os.makedirs(folder, exist_ok=True)
    stage = os.path.join(folder, f".staging-{mark}") if local else tempfile.mkdtemp(prefix="raypipe-staging-")
    shutil.rmtree(stage, ignore_errors=True)  # what a killed run left behind
    os.makedirs(stage)
    try:
        yield stage
        missing = [name for name in [*names, mark] if not os.path.exists(os.path.join(stage, name))]
        assert not missing, f"the stage did not write {missing}"
        remove(join(folder, mark))
        for name in [*names, mark]:
            remove(join(folder, name))
            if local:
                os.replace(os.path.join(stage, name), os.path.join(folder, name))
            else:
                upload(os.path.join(stage, name), join(folder, name))
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def upload(source: str, target: str) -> None:
    """Copy a local file or folder to a path or URI."""
    if is_uri(target):
        fs, inner = filesystem(target)
        if os.path.isdir(source):  # with the slashes its content goes there, also where the folder exists already
            source, inner = source.rstrip("/") + "/", inner.rstrip("/") + "/"
        fs.put(source, inner, recursive=os.path.isdir(source))
    elif os.path.isdir(source):
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        os.makedirs(parent(target), exist_ok=True)
        shutil.copy2(source, target)


def download(source: str, target: str) -> None:
    """Copy a file or folder at a path or URI to a local path."""
    fs, inner = filesystem(source)
    fs.get(inner.rstrip("/") + ("/" if fs.isdir(inner) else ""), target, recursive=True)


def remove(path: str) -> None:
    """Remove a file or folder, if it is there."""
    fs, inner = filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=True)
