"""doctor: what this machine or cluster can do, what is missing, and what to do about it."""

import contextlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable

from raypipe.cluster_check import FAIL, OK, WARN, Finding, cluster_checks
from raypipe.config import DoctorConfig
from raypipe.errors import RaypipeError
from raypipe.pipeline.common import Clock
from raypipe.report.console import checks_table
from raypipe.runtime import session
from raypipe.schema import StageResult

MIN_MEMORY_GIB, MIN_DISK_GIB = 4, 10


def doctor(config: DoctorConfig) -> StageResult:
    """Run every check; the status is "done" also where checks fail, and the counts say how many.

    Raises ConfigError where --cluster finds no cluster.
    """
    config.validate()
    clock = Clock()
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("packages", _packages),
        ("memory", _memory),
        ("disk", _disk),
        ("writable folder", _writable),
        ("compiled kernel", _kernel),
        ("gpu", _gpu),
        ("ray", lambda: _ray(config)),
        ("hugging face", _hugging_face),
        ("weights & biases", _wandb),
        ("demo encoder", _encoder),
    ]
    with session(config) if config.cluster else contextlib.nullcontext():
        found = _run(checks + (cluster_checks(config.storage) if config.cluster else []))
    checks_table(found)
    counts = {verdict.lower(): sum(v == verdict for _, v, _ in found) for verdict in (OK, WARN, FAIL)}
    verdicts = {name: {"verdict": verdict.lower(), "finding": finding} for name, verdict, finding in found}
    return StageResult("doctor", config.hash(), "done", {}, counts, verdicts, clock.total())


def _run(checks: list[tuple[str, Callable[[], Finding]]]) -> list[tuple[str, str, str]]:
    """Name, verdict and finding of each check."""
    found = []
    for name, check in checks:
        try:
            verdict, finding = check()
        except Exception as error:  # a check that breaks is a finding, and the others still run
            verdict, finding = FAIL, f"{type(error).__name__}: {error}"
        found.append((name, verdict, finding))
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return (OK, version) if sys.version_info >= (3, 11) else (FAIL, f"{version}; raypipe needs 3.11 or newer")


def _packages() -> Finding:
    from packaging.requirements import Requirement

    lacking = []
    for line in importlib.metadata.requires("raypipe") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            lacking.append(f"{requirement.name} {version}, needs {requirement.specifier}")
    return (FAIL, "; ".join(lacking) + "; make setup installs them") if lacking else (OK, "all requirements are met")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (OK, f"{total:.0f} GiB") if total >= MIN_MEMORY_GIB else (WARN, f"{total:.1f} GiB; Ray may kill workers")


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    text = f"{free:.0f} GiB free in {tempfile.gettempdir()}"
    return (OK, text) if free >= MIN_DISK_GIB else (WARN, f"{text}; Ray spills there, point TMPDIR to a larger disk")


def _writable() -> Finding:
    try:
        with tempfile.TemporaryFile(dir="."):
            return OK, os.getcwd()
    except OSError as error:
        return WARN, f"{os.getcwd()}: {error.strerror}; give outputs another place with -o or --output-dir"


def _kernel() -> Finding:
    import scipy.sparse as sp

    from raypipe.core.similarity import self_join

    pairs = self_join(sp.csr_matrix([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]]), 0.9)
    return (OK, "the join runs") if len(pairs.left) == 1 else (FAIL, "the join gives a wrong answer; reinstall numba")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return WARN, "no CUDA device; training takes the CPU (fit for small models)"
    names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return OK, f"{torch.cuda.device_count()} x {', '.join(sorted(names))}"


def _ray(config: DoctorConfig) -> Finding:
    import ray

    try:
        with session(config):
            resources = ray.cluster_resources()
            nodes = sum(node["Alive"] for node in ray.nodes())
    except RaypipeError as error:
        return FAIL, str(error)
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    return OK, f"Ray {ray.__version__} with {nodes} node(s), {cpus:.0f} CPUs, {gpus:.0f} GPUs"


def _hugging_face() -> Finding:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return WARN, "HF_HUB_OFFLINE is set: models and datasets come from folders or the cache only"
    if get_token() is None:
        return WARN, "no token: public repositories only; set HF_TOKEN or run `hf auth login` to push"
    return OK, f"a token is there, for {constants.ENDPOINT}"


def _wandb() -> Finding:
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return OK, f"WANDB_MODE is {os.environ['WANDB_MODE']}"
    return (OK, "a key is there") if os.environ.get("WANDB_API_KEY") else (WARN, "no key: runs are logged offline")


def _encoder() -> Finding:
    from raypipe.demo import encoder_path

    try:
        return OK, encoder_path()
    except RaypipeError as error:
        return WARN, str(error)
