"""What the scripts share: vectors, a worker in the peers' environment, and timing side by side."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import scipy.sparse as sp

from raypipe.core import tfidf

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "TOKENIZERS")  # X_NUM_THREADS
SLOW_S = 120  # what takes longer than this is run once


def vectorise(texts: Sequence[str], analyzer: tfidf.Analyzer) -> sp.csr_matrix:
    """Unit TF-IDF rows as prepare makes them, in one process; columns run from rare to frequent."""
    shard, vocabulary = tfidf.count_terms(texts, analyzer), tfidf.Vocabulary()
    numbers = vocabulary.add(shard.terms, shard.document_frequency())
    return tfidf.unit_rows(shard.counts, numbers, vocabulary.weights(len(texts)))


def single_threaded() -> dict[str, str]:
    """Environment of a process that computes on one thread."""
    return os.environ | {f"{name}_NUM_THREADS": "1" for name in THREADS} | {"TOKENIZERS_PARALLELISM": "false"}


def alternate(
    runs: dict[str, Callable[[], float | None]], rounds: int, slow_s: float = SLOW_S
) -> dict[str, dict[str, Any]]:
    """Seconds of each, one after the other in every round; a run returns its own seconds or is timed from outside.

    What takes longer than ``slow_s`` is not run again; its number of runs stands beside its median.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if times[name] and max(times[name]) > slow_s:
                continue
            start = time.perf_counter()
            own = run()
            times[name].append(time.perf_counter() - start if own is None else own)
    return {
        name: {
            "seconds": round(statistics.median(t), 4),
            "runs": len(t),
            "least": round(min(t), 4),
            "most": round(max(t), 4),
        }
        for name, t in times.items()
    }


class Peers:
    """A process in the peers' environment that answers one request a line."""

    def __init__(self, python: str, one_cpu: bool = False) -> None:
        command = [python, str(Path(__file__).with_name("peers_worker.py"))]
        env = single_threaded() | {"HF_HUB_OFFLINE": "1"} | ({"PEERS_ON_ONE_CPU": "1"} if one_cpu else {})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, env=env, **pipes)

    def __call__(self, task: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the peers' process ended during {task} with {self._process.wait()}")
        reply = json.loads(answer)
        if "error" in reply:
            raise SystemExit(f"{task}: {reply['error']}")
        return reply

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def peers(python: str, one_cpu: bool = False) -> Iterator[Peers]:
    worker = Peers(python, one_cpu)
    try:
        yield worker
    finally:
        worker.close()


def parser_for(doc: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """A parser with what every script takes."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="runs of each, alternating; the median counts")
    parser.add_argument("--name", help="name of the result file, such as a trial's")
    return parser


def add_peers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers",
        default=os.environ.get("RAYPIPE_PEERS"),
        help="Python of the peers' environment (RAYPIPE_PEERS); README.md says what is in it",
    )


def raypipe_command(*words: str) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-m", "raypipe.cli", *words]


def report(measured: dict[str, Any]) -> None:
    print(json.dumps(measured), flush=True)
