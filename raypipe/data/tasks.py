"""Ray tasks whose results outlive a kill: each is written beside the outputs, and read instead of repeated.

A result is one or more dictionaries of arrays, kept as uncompressed .npz without pickle. Ray hands it on through its
object store as ever; the file is there for --resume, and for a task that Ray repeats because a node was lost.
"""

import contextlib
import functools
import heapq
import io
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any
from zipfile import BadZipFile

import numpy as np
import ray

from raypipe import storage
from raypipe.forecast import Forecast
from raypipe.runtime import say

Arrays = dict[str, np.ndarray]
ORDER_SEED = os.environ.get("RAYPIPE_TASK_ORDER_SEED")  # tests shuffle with it whatever may run in any order
PROGRESS_S = 5.0  # seconds between two lines of progress


class Work:
    """The finished tasks of one run, in a folder that all workers see."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.before = frozenset(storage.match(folder, "**/*")) if storage.exists(folder) else frozenset()
        self.counts: dict[str, dict[str, int]] = {}
        self.forecasts: dict[str, Forecast] = {}  # of each stage by its first tasks

    def submit(self, name: str, function: Callable[..., Any], *args: Any, parts: int = 1) -> Any:
        """Run ``function(*args)`` as a task, or read its result if it is there; ``name`` is STAGE/TASK.

        The function returns ``parts`` dictionaries of arrays; the answer is as many references.
        """
        path = self.place(name, "npz")
        task = _task.options(num_returns=parts, name=f"{function.__module__}.{function.__name__}")
        return task.remote(path, parts, function, *args)

    def place(self, name: str, ending: str) -> str:
        """Where the result of a task is kept; counts whether it is there already."""
        counted = self.counts.setdefault(name.split("/")[0], {"run": 0, "reused": 0})
        counted["reused" if f"{name}.{ending}" in self.before else "run"] += 1
        return storage.join(self.folder, f"{name}.{ending}")


def in_order(stage: str, submit: Callable[[int], Any], total: int, work: Work) -> Iterator[Any]:
    """The results of tasks 0 to total - 1, in order, a bounded number of them under way or waiting."""
    for reference in started(stage, submit, total, work):
        yield ray.get(reference)


def started(stage: str, submit: Callable[[int], Any], total: int, work: Work) -> Iterator[Any]:
    """References to the results of tasks 0 to total - 1, each once it is there, a bounded number under way."""
    progress = Progress(stage, total, work)
    running: deque[Any] = deque()
    submitted = 0
    while submitted < total or running:
        while submitted < total and len(running) < tasks_at_once():
            running.append(submit(submitted))
            submitted += 1
        ray.wait([running[0]], fetch_local=False)
        yield running.popleft()
        progress.step()


def tasks_at_once() -> int:
    """How many tasks to have under way: enough to keep all CPUs busy, few enough to bound what waits in memory.

    Twice the CPUs, so that an autoscaler sees that more of them would be used; asked anew while it grows.
    """
    return _tasks_at_once(int(time.monotonic() / PROGRESS_S))


@functools.lru_cache(maxsize=1)
def _tasks_at_once(moment: int) -> int:
    return 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))


class TaskGraph:
    """Runs tasks as they become ready, first things first, a bounded number at a time."""

    def __init__(self, stage: str, total: int, work: Work) -> None:
        self._progress = Progress(stage, total, work)
        self._ready: list[tuple[Any, int, Callable[[], Any], Callable[[Any], None]]] = []  # a heap
        self._added = 0
        self._shuffle = random.Random(ORDER_SEED) if ORDER_SEED else None

    def add(self, priority: tuple[int, ...], submit: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Have ``submit()`` called when there is room, the lowest priority first; ``done`` receives its result."""
        self._added += 1
        place = (self._shuffle.random(),) if self._shuffle else priority
        heapq.heappush(self._ready, (place, self._added, submit, done))

    def run(self) -> None:
        """Until nothing is ready or running; ``done`` may add more."""
        running: dict[Any, Callable[[Any], None]] = {}
        while self._ready or running:
            while self._ready and len(running) < tasks_at_once():
                *_, submit, done = heapq.heappop(self._ready)
                running[submit()] = done
            finished, _ = ray.wait(list(running), num_returns=1)
            for reference in finished:
                running.pop(reference)(ray.get(reference))
                self._progress.step()


class Progress:
    """Lines of progress that read well in a job's log: how far, how long, how long still."""

    def __init__(self, stage: str, total: int, work: Work) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self._forecast = work.forecasts[stage] = Forecast(total)
        self.start = self.said = time.monotonic()

    def step(self) -> None:
        self.done += 1
        self._forecast.add(1)
        now = time.monotonic()
        if now - self.said >= PROGRESS_S and self.done < self.total:
            self.said, spent = now, now - self.start
            left = spent / self.done * (self.total - self.done)
            say(f"{self.stage}: {self.done} of {self.total} tasks, {spent:.0f} s, about {left:.0f} s left")


def _once(path: str, parts: int, function: Callable[..., Any], *args: Any) -> Any:
    if storage.exists(path):
        with contextlib.suppress(OSError, EOFError, ValueError, BadZipFile):  # torn by a crash: made again
            return _read(path, parts)
    made = function(*args)
    results = (made,) if parts == 1 else made
    with storage.writing(path) as file:
        np.savez(file, **{f"{part}.{name}": array for part, r in enumerate(results) for name, array in r.items()})
    return made


_task = ray.remote(_once)  # made once: Ray sends each that is made to all workers


def _read(path: str, parts: int) -> Any:
    results: tuple[Arrays, ...] = tuple({} for _ in range(parts))
    with np.load(io.BytesIO(storage.read_bytes(path)), allow_pickle=False) as file:
        for key in file.files:
            part, _, name = key.partition(".")
            results[int(part)][name] = file[key]
    return results[0] if parts == 1 else results


def packed(texts: Iterable[str]) -> Arrays:
    """Texts as two arrays: their UTF-8 bytes one after another, and where each starts and the last ends."""
    encoded = [text.encode("utf8", "surrogatepass") for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return {"bytes": np.frombuffer(b"".join(encoded), np.uint8), "bounds": bounds}


def unpacked(arrays: Arrays) -> list[str]:
    """What ``packed`` took."""
    whole = arrays["bytes"].tobytes()
    return [whole[a:b].decode("utf8", "surrogatepass") for a, b in pairwise(arrays["bounds"].tolist())]
