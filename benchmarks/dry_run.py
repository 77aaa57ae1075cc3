"""How near is --dry-run to the run that follows it, stage by stage?

    python benchmarks/dry_run.py [--sets banking77 hwu64 prose] [--epochs 1] [--num-cpus 2] [--data FOLDER]

prepare, train (MiniLM on the CPU) and evaluate, each with --dry-run first and then in earnest, as commands in processes
of their own. The constants of raypipe/estimate.py come from `--sets demo`, which is none of the three sets above: the
known sets of ../shared/data, and 20,000 texts of corpus.py. The training on those takes a share of an epoch, to last
about as long. One run of each; the ratio is predicted / actual.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import corpus
from common import ROOT, raypipe_command
from results_file import save

from raypipe.demo import encoder_path, gather


class Set(NamedTuple):
    """A raw file and the flags of prepare and train for it."""

    file: Path
    prepare: list[str]
    train: list[str]


def sets(names: list[str], data: Path, scratch: Path, epochs: float) -> dict[str, Set]:
    """The raw files, made where they are not there."""
    known = {"banking77": ["-t", "utterance", "-s", "intent"], "hwu64": []}
    found = {}
    for name in names:
        if name in known:
            found[name] = Set(data / name / "raw.jsonl", known[name], ["--epochs", str(epochs)])
        elif name == "demo":
            file = scratch / "demo" / "docstrings.jsonl"
            gather(file, 6_000)
            flags = ["-s", "package", "--min-class-rows", "120"]
            found[name] = Set(file, flags, ["--epochs", str(epochs), "--max-length", "48"])
        else:
            file = scratch / "prose" / "prose.jsonl"
            texts = [text._replace(label=text.label.split(".")[0]) for text in corpus.load(20_000)]
            corpus.write_jsonl(texts, file)
            flags = ["--min-class-rows", "200"]
            found[name] = Set(file, flags, ["--epochs", str(epochs / 6), "--max-length", "64"])
    return found


def command(words: list[str], cache: Path) -> tuple[dict[str, Any], float]:
    """The last line of a command, and the seconds of its process."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "RAYPIPE_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run(raypipe_command(*words), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:1])} ended with {done.returncode}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - start


def beside(words: list[str], record: Path, cache: Path) -> dict[str, Any]:
    """A dry run, the run, and both of each stage that both know."""
    dry, dry_s = command([*words, "--dry-run"], cache)
    real, _ = command(words, cache)
    took = json.loads(record.read_text())["seconds"]
    prefix = "predicted_seconds_"
    predicted = {k.removeprefix(prefix): v for k, v in dry["metrics"].items() if k.startswith(prefix)}
    stages = {"all": (dry["metrics"]["predicted_seconds"], real["seconds"])}
    stages |= {stage: (seconds, took[stage]) for stage, seconds in predicted.items() if stage in took}
    counts = {k: v for k, v in dry["counts"].items() if not isinstance(v, dict)}
    return {
        "dry_run_s": round(dry_s, 1),
        "stages": {
            stage: {"predicted": round(p, 2), "actual": round(a, 2), "ratio": round(p / max(a, 1e-3), 2)}
            for stage, (p, a) in stages.items()
        },
        "counts": {name: {"predicted": n, "actual": real["counts"].get(name)} for name, n in counts.items()},
        "metrics": dry["metrics"],
        "forecasts": json.loads(record.read_text())["forecasts"],
    }


def measure(name: str, given: Set, folder: Path, cpus: int) -> dict[str, Any]:
    """The three commands on one set."""
    out, cache, model = folder / name, folder / "cache", encoder_path()
    stem, run, scored = out / "set", out / "run", out / "scored"
    prepare = ["prepare", "-i", str(given.file.parent), "-f", given.file.name, "-o", f"{stem}.jsonl", *given.prepare]
    train = ["train", "--input-hf-dataset", f"{stem}_dataset", "--output-dir", str(run), "--device", "cpu"]
    train += ["--model-for-training-finetune", model, *given.train]
    evaluate = ["evaluate", "--input-hf-dataset", f"{stem}_dataset", "--model", str(run / "model")]
    evaluate += ["--output-classify-file", f"{scored}.jsonl"]
    for words in (prepare, train, evaluate):
        words += ["--num-cpus", str(cpus)]
    found = {
        "prepare": beside(prepare, Path(f"{stem}_report.json"), cache),
        "train": beside(train, run / "run.json", cache),
        "evaluate": beside(evaluate, Path(f"{scored}_metrics.json"), cache),
    }
    for verb, result in found.items():
        for stage, figures in result["stages"].items():
            print(f"{name:10} {verb:9} {stage:10}", *(f"{figures[k]:9.2f}" for k in figures), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["banking77", "hwu64", "prose"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--num-cpus", type=int, default=2)
    parser.add_argument("--name", default="dry-run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = sets(options.sets, options.data, Path(scratch), options.epochs)
        found = {name: measure(name, given, Path(scratch), options.num_cpus) for name, given in chosen.items()}
    save(options.name, {"epochs": options.epochs, "num_cpus": options.num_cpus, "sets": found})


if __name__ == "__main__":
    main()
