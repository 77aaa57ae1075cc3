"""Dated result files: what was measured, on what, with what."""

import datetime
import json
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
    path.write_text(json.dumps(measured | record, indent=1) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path
