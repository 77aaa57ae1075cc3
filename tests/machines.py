"""Real Ray clusters of several raylets on this machine: an address for each, token authentication, sudden deaths."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parent.parent
RAY = str(Path(sys.executable).parent / "ray")
HEAD_IP = "127.0.0.1"
# A node that is killed is missed within seconds, in place of half a minute.
QUICK_HEALTH_CHECKS = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}


class Machines:
    """A head at 127.0.0.1 and workers at 127.0.0.2 and on, each with a temporary folder of its own."""

    def __init__(self, folder: Path, cpus: Sequence[int], **environment: str) -> None:
        (folder / "token").write_text(secrets.token_hex(16))
        self.environment = os.environ | environment | QUICK_HEALTH_CHECKS
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        # The `python` of a job's entry point
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.logs = Path(tempfile.mkdtemp(prefix="rp", dir="/tmp"))  # Ray's sockets have a limit of 107 characters
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen] = {}
        port, dashboard = _free_ports(2)
        self.address, self.dashboard = f"{HEAD_IP}:{port}", f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
        self._start(HEAD_IP, cpus[0], head)
        self._wait(HEAD_IP, self._dashboard_answers)
        self.add(*cpus[1:])

    def add(self, *cpus: int) -> None:
        """More machines, with so many CPUs each."""
        added = [f"127.0.0.{len(self._nodes) + number}" for number in range(1, len(cpus) + 1)]
        for ip, count in zip(added, cpus, strict=True):
            self._start(ip, count, [f"--address={self.address}"])
        for ip in added:
            log = self._folder / f"{ip}.log"
            self._wait(ip, lambda log=log: "Ray runtime started" in log.read_text())

    def kill(self, ip: str) -> None:
        """End a machine at once: SIGKILL for all its processes, before any of them can say a word."""
        for process in self.processes(ip):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._nodes[ip].wait(10)

    def processes(self, ip: str) -> list[psutil.Process]:
        """What runs on a machine now."""
        node = psutil.Process(self._nodes[ip].pid)
        return [node, *node.children(recursive=True)]

    def running(self, title: str) -> str | None:
        """The address of a worker machine where a process with these words in its title is at work."""
        for ip, node in self._nodes.items():
            if ip != HEAD_IP and node.poll() is None and titled(title, psutil.Process(node.pid)):
                return ip
        return None

    def submit(self, *entry: str) -> subprocess.Popen:
        """A job by Ray's own command, whose output has the job's log."""
        command = [RAY, "job", "submit", "--address", self.dashboard, "--working-dir", str(ROOT), "--", *entry]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=self.environment, cwd=self._folder, text=True, **pipes)

    def run(self, *entry: str, timeout_s: int = PATIENCE_S) -> tuple[int, str]:
        """A job to its end: exit code and log; asked again while the agent of a new cluster is not up."""
        while True:
            job = self.submit(*entry)
            log, _ = job.communicate(timeout=timeout_s)
            if "No available agent" not in log:
                return job.returncode, log
            time.sleep(1)

    def close(self) -> None:
        processes = [p for ip, node in self._nodes.items() if node.poll() is None for p in self.processes(ip)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(processes, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for node in self._nodes.values():
            node.wait(10)
        shutil.rmtree(self.logs, ignore_errors=True)

    def _start(self, ip: str, cpus: int, role: list[str]) -> None:
        (agent,) = _free_ports(1)  # the fixed default may belong to another Ray of this machine
        command = [RAY, "start", "--block", f"--node-ip-address={ip}", f"--num-cpus={cpus}", *role]
        command += [f"--dashboard-agent-listen-port={agent}", f"--object-store-memory={200 << 20}"]
        command.append(f"--temp-dir={self.logs / ip.rsplit('.', 1)[-1]}")  # in one folder their sockets would collide
        with open(self._folder / f"{ip}.log", "w") as log:
            self._nodes[ip] = subprocess.Popen(command, env=self.environment, cwd=self._folder, stdout=log, stderr=log)

    def _wait(self, ip: str, is_up: Callable[[], bool]) -> None:
        try:
            wait_until(is_up, going_on=lambda: self._nodes[ip].poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}: {(self._folder / f'{ip}.log').read_text()[-3000:]}") from None

    def _dashboard_answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.dashboard}/api/version", timeout=2)
        except urllib.error.HTTPError:
            return True  # 401 without a token
        except OSError:
            return False
        return True


def titled(title: str, ancestor: psutil.Process) -> list[psutil.Process]:
    """The processes under another one that have these words in their title, as Ray's workers name what they do."""
    found = []
    for process in ancestor.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


@contextlib.contextmanager
def machines(folder: Path, cpus: Sequence[int], **environment: str) -> Iterator[Machines]:
    """A cluster with so many CPUs on each machine, the head first."""
    if sys.platform != "linux" and len(cpus) > 1:
        pytest.skip("127.0.0.2 is an address of this machine on Linux only")
    made = Machines(folder, cpus, **environment)
    try:
        yield made
    finally:
        made.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]
