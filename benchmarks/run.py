"""Run the benchmarks of this folder one after another, at a size of minutes or, with --long, at full size.

    python benchmarks/run.py [SCRIPT …] [--long] [--list] [--peers PEERS/bin/python] [--text-dedup …] [--data FOLDER]

What this machine cannot run (no peers' environment, no GPU, no known sets) is named and left out, as is what has no
quick size. A script that fails does not keep the others from running; then the exit code is 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import ROOT, add_peers
from suite import LACKING, SUITE, Script

from raypipe.demo import encoder_path
from raypipe.errors import ConfigError


def places(options: argparse.Namespace) -> dict[str, str]:
    """What of all that scripts may need is here."""
    found = {"peers": options.peers, "text_dedup": options.text_dedup, "gpu": shutil.which("nvidia-smi")}
    found["data"] = str(options.data) if options.data.is_dir() else None
    try:
        found["encoder"] = encoder_path()
    except ConfigError:
        found["encoder"] = None
    return {name: place for name, place in found.items() if place}


def reason_to_leave_out(script: Script, here: dict[str, str], is_long: bool) -> str | None:
    """Why it does not run now; None where it does."""
    lacking = [LACKING[place] for place in script.needs() if place not in here]
    if lacking:
        return ", ".join(lacking)
    return "no quick size (--long)" if script.quick is None and not is_long else None


def run(script: Script, here: dict[str, str], is_long: bool) -> bool:
    """Whether it ended well."""
    words = [sys.executable, str(script.path), *script.arguments(here, is_long)]
    print(" ".join(Path(word).name for word in words), flush=True)
    return subprocess.run(words).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="only these, such as join", default=[])
    parser.add_argument("--long", action="store_true", help="at the size of the numbers in docs/benchmarks.md")
    parser.add_argument("--list", action="store_true", help="only say what would run, and what not")
    add_peers(parser)
    parser.add_argument("--text-dedup", default=os.environ.get("RAYPIPE_TEXT_DEDUP"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    unknown = set(options.scripts) - {script.name for script in SUITE}
    if unknown:
        parser.error(f"no such script: {', '.join(sorted(unknown))}; --list names all")
    here, failed = places(options), []
    for script in SUITE:
        if options.scripts and script.name not in options.scripts:
            continue
        why_not = reason_to_leave_out(script, here, options.long)
        if why_not or options.list:
            print(f"{script.name}: {f'left out: {why_not}' if why_not else script.question()}")
        elif not run(script, here, options.long):
            failed.append(script.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
