"""Where a result file comes from, in words: machine, versions, day, commit, and the command that repeats it."""

from collections.abc import Mapping
from pathlib import Path

from claims import Result
from suite import HERE, PLACES

PACKAGES = ("python", "ray", "torch", "transformers", "scikit-learn", "numpy", "numba")
SETS = "banking77", "hwu64"
PLACE_OF = {
    "--peers": "peers",
    "--text-dedup": "text_dedup",
    "--model": "encoder",
    "--data": "data",
    "--dataset": "data",
}


def machine(result: Result) -> str:
    hardware = result["hardware"]
    name = hardware.get("cpu", hardware["machine"])
    return f"{name}, {hardware['cpus']} CPUs, {hardware['memory_gib']:g} GiB"


def load(result: Result) -> str:
    """Processes that ran or waited at the end; empty where they were not noted."""
    averages = result["hardware"].get("load_average_at_the_end")
    return f"load {averages[0]:g} at the end" if averages else ""


def commit(result: Result) -> str:
    head, _, changes = (result["git_commit"] or "unknown").partition("+")
    return f"commit {head[:8]}" + (" with changes" if changes else "")


def versions(result: Result) -> str:
    """Of the packages that shape a number, and of the peers."""
    own = result["versions"]
    named = [f"{name} {own[name]}" for name in PACKAGES if name in own]
    return ", ".join(named) + "".join(f"; {peer}" for peer in peers(result.get("peers", {}), own))


def peers(theirs: Mapping[str, str | dict[str, str]], own: dict[str, str]) -> list[str]:
    """Packages of the peers' environments that ours lacks."""
    found = []
    for name, version in theirs.items():
        if isinstance(version, dict):
            found += peers(version, own)
        elif name not in own:
            found.append(f"{name} {version}")
    return found


def is_there(result: Result) -> bool:
    """Whether the script that wrote it is still among the benchmarks."""
    script = result["command"].split()[0]
    return not script.endswith(".py") or (HERE / script).exists()


def repeat(result: Result) -> str:
    """The command, with places as readers write them: the file has only the last part of each."""
    script, *words = result["command"].split()
    if not script.endswith(".py"):
        return result["command"]
    for number, flag in enumerate(words[:-1]):
        if flag in PLACE_OF:
            name = words[number + 1]
            words[number + 1] = PLACES[PLACE_OF[flag]] + (f"/{name}" if name in SETS else "")
    return " ".join(["python", f"benchmarks/{script}", *words])


def day(path: Path) -> str:
    return path.name[:10]


def name(path: Path) -> str:
    """Of a result file, without its day."""
    return path.stem[11:]
