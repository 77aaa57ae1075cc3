"""Memory of a process and all its descendants while it runs, sampled from /proc by psutil."""

import re
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

INTERVAL_S = 0.5
MIB = 1 << 20
_SPILLED = re.compile(r"Spilled (\d+) MiB")
UNIT = (
    "MiB; private = RSS minus shared pages, so without Ray's object store, which the workers map; sampled every "
    f"{INTERVAL_S} s"
)


class Sampler:
    """Samples in a thread from ``start`` to ``stop``; peaks by process, grouped by what the process is."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._peaks: dict[tuple[int, str], dict[str, float]] = defaultdict(lambda: {"private": 0.0, "rss": 0.0})
        self._session: Path | None = None
        self.largest_sum = 0.0
        self.object_store = 0.0
        self.samples = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """The peaks, in MiB."""
        self._done.set()
        self._thread.join()
        kinds: dict[str, list[dict[str, float]]] = defaultdict(list)
        for (_, kind), peak in self._peaks.items():
            kinds[kind].append({name: round(value, 1) for name, value in peak.items()})
        return {
            "unit": UNIT,
            "samples": self.samples,
            "driver": kinds.pop("driver", [None])[0],
            "largest_worker_private": max((p["private"] for p in kinds["worker"]), default=0.0),
            "workers": sorted(kinds.pop("worker"), key=lambda p: -p["private"])[:8],
            "others": {kind: max(peaks, key=lambda p: p["private"]) for kind, peaks in sorted(kinds.items())},
            "largest_sum_of_private": round(self.largest_sum, 1),
            "object_store_peak": round(self.object_store, 1),
            "spilled": self._spilled(),
        }

    def _run(self) -> None:
        while not self._done.wait(INTERVAL_S):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            total = 0.0
            for process in family:
                try:
                    memory, words = process.memory_info(), process.cmdline()
                except psutil.Error:
                    continue
                kind = "driver" if process.pid == self._root.pid else self._kind(words)
                private, rss = (memory.rss - memory.shared) / MIB, memory.rss / MIB
                peak = self._peaks[process.pid, kind]
                peak["private"], peak["rss"] = max(peak["private"], private), max(peak["rss"], rss)
                total += private
                if kind == "raylet":
                    self.object_store = max(self.object_store, memory.shared / MIB)
            self.largest_sum = max(self.largest_sum, total)
            self.samples += 1

    def _kind(self, words: list[str]) -> str:
        title = words[0] if words else ""
        if title.startswith("ray::") or any(word.endswith("default_worker.py") for word in words):
            return "worker"
        name = Path(title.split(" ")[0]).name
        if name == "raylet" and self._session is None:
            found = [word.split("=", 1)[1] for word in words if word.startswith("--session_dir=")]
            self._session = Path(found[0]) if found else None
        scripts = [Path(word).stem for word in words[1:3] if word.endswith(".py")]
        return scripts[0] if name.startswith("python") and scripts else name or "ended"

    def _spilled(self) -> int | None:
        """MiB that Ray spilled to disk in all, by the raylet's log; None where there is no log."""
        log = self._session / "logs" / "raylet.out" if self._session else None
        if log is None or not log.exists():
            return None
        return max((int(n) for n in _SPILLED.findall(log.read_text(errors="replace"))), default=0)
