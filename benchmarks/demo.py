"""What does `make demo` end with, and how long does it take? The table of README's first screen.

    python benchmarks/demo.py [--output-dir FOLDER]

One run with nothing cached but the packages. With --output-dir its pages stay: the picture in README is a part of
FOLDER/run/index.html in a window 860 pixels wide, from the splits to the scores.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from common import parser_for
from results_file import save

from raypipe.config import DemoConfig
from raypipe.demo import demo


def measure(folder: Path) -> dict[str, Any]:
    """One demo under ``folder``; its scores and its seconds."""
    start = time.perf_counter()
    result = demo(DemoConfig(output_dir=str(folder), overwrite=True))
    seconds = time.perf_counter() - start
    run = json.loads((folder / "run" / "train" / "run.json").read_text())
    scores = json.loads((folder / "run" / "evaluate" / "predictions_metrics.json").read_text())
    return {
        "wall_seconds": round(seconds, 1),
        "seconds_by_stage": result.seconds,
        "counts": result.counts,
        **{key: scores[key] for key in ("rows", "model", "baselines", "precision")},
        **{key: run[key] for key in ("recipe", "seed")},
    }


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--output-dir", type=Path, help="where the demo's files stay; without it, none are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RAYPIPE_CACHE"] = str(Path(scratch, "cache"))
        save(options.name or "demo", measure(options.output_dir or Path(scratch, "demo")))


if __name__ == "__main__":
    main()
