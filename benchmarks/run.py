"""Run the benchmarks of this folder, one after another; the quick ones (minutes) or, with --long, all at full size.

    python benchmarks/run.py [--long] [--peers PEERS/bin/python] [--text-dedup TEXT_DEDUP/bin/python] [--data FOLDER]

What a machine lacks (a peers' environment, the known sets) is said and left out.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, add_peers

HERE = Path(__file__).parent
QUICK = {  # script: flags at a size of minutes
    "exactness": ["--thresholds", "0.8", "1.0"],
    "determinism": ["--runs", "6", "--kills", "2"],
    "kills": ["--kills", "2"],
    "join": ["--rows", "20000", "--char-rows", "3000", "--short-rows", "20000", "--rounds", "3"],
    "dedup_peers": ["--rows", "5000", "--rounds", "3"],
    "script_vs_prepare": ["--rows", "5000", "--rounds", "3"],
}
LONG = ("exactness", "determinism", "kills", "join", "dedup_peers", "script_vs_prepare", "scale")


def commands(options: argparse.Namespace) -> Iterator[list[str]]:
    """What can run here, with its flags."""
    for script in LONG if options.long else QUICK:
        flags = [] if options.long else [*QUICK[script], "--name", f"{script}-quick"]
        if script in ("join", "dedup_peers"):
            if not options.peers:
                print(f"{script}.py left out: no peers' environment (--peers or RAYPIPE_PEERS)")
                continue
            flags += ["--peers", options.peers]
        if script == "dedup_peers" and options.text_dedup:
            flags += ["--text-dedup", options.text_dedup]
        if script == "exactness":
            if not options.data.is_dir():
                print(f"{script}.py left out: no known sets in {options.data}")
                continue
            flags += ["--data", str(options.data)]
        if script == "determinism" and options.data.is_dir():
            flags += ["--data", str(options.data / "hwu64")]
        yield [sys.executable, str(HERE / f"{script}.py"), *flags]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_peers(parser)
    parser.add_argument("--long", action="store_true", help="all of them, at the size of the README's numbers")
    parser.add_argument("--text-dedup", default=os.environ.get("RAYPIPE_TEXT_DEDUP"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    for command in commands(parser.parse_args()):
        print(" ".join(Path(word).name for word in command), flush=True)
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
