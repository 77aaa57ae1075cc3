"""What made a result: versions, commit, hardware, command, time."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from raypipe import __version__
from raypipe.tokens import redact

PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "huggingface_hub",
    "accelerate",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "numba",
    "wandb",
)


def versions() -> dict[str, str]:
    """Versions of raypipe, Python and the packages that shape a result."""
    found = {"raypipe": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the raypipe checkout that runs, with "+changes" where it is not clean; None outside of one."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def hardware() -> dict[str, Any]:
    """The machine that the driver runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"machine": platform.machine(), "cpus": os.cpu_count(), "memory_gib": round(memory / 2**30, 1)}


def now() -> str:
    """UTC time for reports."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp() -> str:
    """UTC time that can stand in a folder's name."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")


def command_line() -> str:
    """The command of this process, without tokens."""
    return redact(" ".join(sys.argv))


def record() -> dict[str, Any]:
    """All of it, for reports."""
    return {
        "versions": versions(),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "command": command_line(),
        "finished": now(),
    }
