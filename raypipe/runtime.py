"""Ray for the length of one command: where it runs, what it has, and waiting for more."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raypipe import storage
from raypipe.config import CommonConfig
from raypipe.errors import ConfigError

# Tries of a task that Ray ended because the machine's memory was full, with pauses that grow to a minute. Ray itself
# would try for ever, and a task that never fits would never be an error.
OOM_RETRIES = "20"
# Of Ray Train, on a machine of one's own: no other Ray watches whether it is about to be taken away.
LOCAL = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

_own = False
_came: set[str] = set()  # the resources that this session has seen


@contextlib.contextmanager
def session(config: CommonConfig) -> Iterator[None]:
    """A connected Ray while the block runs; one that is connected already is used and left alone.

    Raises ConfigError where a cluster was named but does not answer.
    """
    os.environ.setdefault("RAY_task_oom_retries", OOM_RETRIES)  # read as Ray is imported
    import ray

    if ray.is_initialized():
        quiet_data()
        yield
        return
    global _own
    address = config.address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": True, "logging_level": logging.WARNING}
    is_local = not address or address == "local"
    try:
        if not is_local:
            if config.num_cpus is not None:
                raise ConfigError(f"--num-cpus {config.num_cpus} with the cluster {address}", "a local Ray for it")
            ray.init(address=address, **quiet)
        else:
            # A cluster's address left behind in the environment of a local run must not be joined by accident.
            # Said at each start: that Ray asks for a token, which it makes and reads by itself.
            logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
            with _environment(LOCAL):  # which Ray's processes inherit
                ray.init(address="local", num_cpus=config.num_cpus, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        if is_local:
            raise
        raise ConfigError(
            f"no use of a Ray cluster at {address}: {error}",
            "a running cluster with this Ray and Python, and its token where it asks for one",
            "start it, or drop --address and RAY_ADDRESS for a local Ray; a token goes into RAY_AUTH_TOKEN_PATH",
        ) from None
    try:
        _own = is_local
        quiet_data()
        if not wait_for({"CPU": 1}, config.wait_for_resources):
            raise ConfigError("a cluster without CPUs", "at least one", "--wait-for-resources SECONDS where it grows")
        yield
    finally:
        _own = False
        _came.clear()
        ray.shutdown()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables set while the block runs; those that are set already are left alone."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def is_own() -> bool:
    """Whether Ray was started by ``session`` in this process, and ends with it."""
    return _own


def came(resource: str) -> bool:
    """Whether ``wait_for`` has found the resource in this session: where it has gone since, it may come again."""
    return resource in _came


def require_shared(*paths: str | None) -> None:
    """Refuse a local path on a cluster of several machines, whose workers would not see it."""
    import ray

    # By name and address: machines made from one image can share a name.
    machines = {(node["NodeManagerHostname"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
    for path in paths:
        if path is not None and not storage.is_uri(path) and len(machines) > 1:
            raise ConfigError(
                f"the local path {path} on a cluster of {len(machines)} machines",
                "a path that all machines see",
                "use an s3:// or gs:// address",
            )


def of_each_machine(resource: str) -> list[float]:
    """How much of a resource, such as CPU, each machine that is alive has."""
    import ray

    return [node["Resources"].get(resource, 0) for node in ray.nodes() if node["Alive"]]


def a_few_at_a_time(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """The references that ``calls`` to ``remote`` give, in order; no more tasks are under way than there are CPUs.

    For tasks that ask for a part of a CPU, to fit beside others: Ray starts a process for each that fits, and to start
    one takes longer than such a task.
    """
    import ray

    most = max(1, int(sum(of_each_machine("CPU"))))
    answers: list[Any] = []
    running: list[Any] = []
    for call in calls:
        if len(running) == most:
            _, running = ray.wait(running, fetch_local=False)
        answer = call()
        answers.append(answer)
        running.append(answer[0] if isinstance(answer, list) else answer)  # a task may return several parts
    return answers


def wait_for(resources: dict[str, float], timeout_s: float) -> bool:
    """Whether the cluster has these resources in all, asking the autoscaler for them until the timeout."""
    import ray
    from ray.autoscaler.sdk import request_resources

    deadline = time.monotonic() + timeout_s
    asked = False
    while True:
        have = ray.cluster_resources()
        lacking = {name: amount for name, amount in resources.items() if have.get(name, 0) < amount}
        if not lacking or time.monotonic() >= deadline:
            if asked:
                request_resources(bundles=[])  # a request stands until the next one: machines would never idle down
            if not lacking:
                _came.update(resources)
            return not lacking
        if not asked:
            whole = max(1, *(int(amount) for amount in resources.values()))
            request_resources(bundles=[dict.fromkeys(lacking, 1.0)] * whole)
            asked = True
        say(f"waiting for {lacking} ({deadline - time.monotonic():.0f} s left)")
        time.sleep(min(5.0, max(0.1, deadline - time.monotonic())))


def say(message: str) -> None:
    """One line of progress for people, on standard error."""
    sys.stderr.write(f"raypipe: {message}\n")  # print() in a Ray Train worker would be logged a second time
    sys.stderr.flush()


def quiet_data() -> None:
    """Have Ray Data keep row order in this process, and be silent but for its bars on a terminal."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = sys.stderr.isatty()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # The first two print the traceback of an error that is raised as well, the third says that bars are off.
    for name in ("exceptions", "_internal.execution.streaming_executor_state", "_internal.progress"):
        logging.getLogger(f"ray.data.{name}").setLevel(logging.CRITICAL)
