"""Dated result files: what was measured, on what, with what."""

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from raypipe import provenance

RESULTS = Path(__file__).parent / "results"


def save(name: str, measured: dict[str, Any]) -> Path:
    """Write ``results/DATE-NAME.json`` and say where."""
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    path = RESULTS / f"{day}-{name}.json"
    RESULTS.mkdir(exist_ok=True)
    record = provenance.record()
    record["command"] = " ".join(word.rsplit("/", 1)[-1] for word in record["command"].split())  # without local folders
    record["hardware"] |= {"cpu": _cpu(), "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()]}
    record["git_commit"] = commit()
    path.write_text(json.dumps(measured | record, indent=1) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def commit() -> str | None:
    """The commit without its mark of changes where the only ones are results that were measured before this one."""
    found = provenance.git_commit()
    if found is None or not found.endswith("+changes"):
        return found
    words = ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"]
    changed = subprocess.run(words, cwd=RESULTS.parent.parent, capture_output=True, text=True, check=True).stdout
    return found if changed else found.removesuffix("+changes")
