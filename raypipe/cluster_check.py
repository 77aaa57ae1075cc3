"""What doctor --cluster proves: machines, GPUs, equal versions, talk between workers, shared storage."""

import os
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from raypipe import provenance, storage

Finding = tuple[str, str]  # verdict, what was found and the remedy
OK, WARN, FAIL = "ok", "warn", "FAIL"
TALK_TIMEOUT_S = 120  # how long workers may take to find one another


def cluster_checks(shared: str | None) -> list[tuple[str, Callable[[], Finding]]]:
    """The checks by name, for a connected Ray; ``shared`` is the folder or address that all machines should see."""
    machines = _machines()
    return [
        ("machines", lambda: describe(machines)),
        ("equal versions", lambda: compare(_on_each(machines, provenance.versions))),
        ("gpus", lambda: _gpus(machines)),
        ("workers talk", lambda: _talk(machines)),
        ("shared storage", lambda: _storage(machines, shared)),
    ]


def _machines() -> list[dict[str, Any]]:
    """The nodes that are alive and have CPUs for a task."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def describe(machines: list[dict[str, Any]]) -> Finding:
    """Which machines there are, by what they have."""
    if not machines:
        return FAIL, "no machine with a CPU; add workers, or --wait-for-resources where the cluster grows"
    kinds = Counter(
        f"{node['Resources'].get('CPU', 0):.0f} CPUs, {node['Resources'].get('GPU', 0):.0f} GPUs" for node in machines
    )
    memory = [node["Resources"].get("memory", 0) / 2**30 for node in machines]
    listed = "; ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items()))
    return OK, f"{listed}; {min(memory):.0f} to {max(memory):.0f} GiB of memory each"


def compare(versions: dict[str, dict[str, str]]) -> Finding:
    """Whether all machines have the same packages  # address -> package -> version."""
    names = sorted({name for found in versions.values() for name in found})
    differing = []
    for name in names:
        by_version: dict[str, list[str]] = {}
        for address, found in versions.items():
            by_version.setdefault(found.get(name, "none"), []).append(address)
        if len(by_version) > 1:
            rarest = min(by_version, key=lambda version: len(by_version[version]))
            others = ", ".join(version for version in by_version if version != rarest)
            differing.append(f"{name} {rarest} on {by_version[rarest][0]}, {others} elsewhere")
    if differing:
        return FAIL, "; ".join(differing) + "; give all machines the same image"
    return OK, f"{len(names)} packages are the same on {len(versions)} machine(s)"


def _on_each(machines: list[dict[str, Any]], function: Callable[..., Any], **resources: Any) -> dict[str, Any]:
    """What the function returns on each machine, by its address."""
    import ray

    tasks = {
        node["NodeManagerAddress"]: ray.remote(**{"num_cpus": 0, **resources})(function)
        .options(**_there(node))
        .remote()
        for node in machines
    }
    return dict(zip(tasks, ray.get(list(tasks.values()), timeout=TALK_TIMEOUT_S), strict=True))


def _there(node: dict[str, Any]) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)}


def _gpus(machines: list[dict[str, Any]]) -> Finding:
    """Whether torch can use each GPU that Ray counts."""
    import ray

    with_gpu = [node for node in machines if node["Resources"].get("GPU", 0) > 0]
    if not with_gpu:
        return WARN, "none; training takes CPU workers (fit for small models)"
    counted = {node["NodeManagerAddress"]: int(node["Resources"]["GPU"]) for node in with_gpu}
    seen: dict[str, list[str]] = {}
    for node in with_gpu:
        try:
            seen |= _on_each([node], _gpu_names, num_gpus=counted[node["NodeManagerAddress"]])
        except ray.exceptions.GetTimeoutError:
            return WARN, f"{sum(counted.values())} by Ray's count, not all free to be looked at; ask again later"
    lacking = [f"{a}: Ray counts {n}, torch can use {len(seen[a])}" for a, n in counted.items() if len(seen[a]) < n]
    if lacking:
        return FAIL, "; ".join(lacking) + "; the image needs CUDA builds of torch and a fitting driver"
    kinds = Counter(name for names in seen.values() for name in names)
    return OK, "; ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items()))


def _gpu_names() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    for device in range(torch.cuda.device_count()):
        torch.ones(1, device=f"cuda:{device}").item()  # a driver too old fails here
    return [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]


def _talk(machines: list[dict[str, Any]]) -> Finding:
    """An all-reduce between one worker on each machine, by gloo, and by NCCL where each has a GPU."""
    import ray

    every_gpu = all(node["Resources"].get("GPU", 0) > 0 for node in machines)
    used = {"num_cpus": 0, "num_gpus": 1 if every_gpu else 0}
    workers = [ray.remote(**used)(_Worker).options(**_there(node)).remote() for node in machines]
    addresses = [worker.address.remote() for worker in workers]
    try:
        started, _ = ray.wait(addresses, num_returns=len(addresses), timeout=TALK_TIMEOUT_S)
        if every_gpu and len(started) < len(addresses):
            lacking = len(addresses) - len(started)
            return WARN, f"the GPUs of {lacking} of {len(addresses)} machines are at work; ask again when they are free"
        address = ray.get(addresses[0], timeout=TALK_TIMEOUT_S)
        backend = "nccl" if every_gpu else "gloo"
        calls = [w.all_reduce.remote(address, rank, len(workers), backend) for rank, w in enumerate(workers)]
        sums = ray.get(calls, timeout=TALK_TIMEOUT_S)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayTaskError) as error:
        reason = str(error).strip().splitlines()[-1:]
        return FAIL, f"no all-reduce ({' '.join(reason)}); open all ports between the machines of the cluster"
    finally:
        for worker in workers:
            ray.kill(worker)
    expected = len(workers) * (len(workers) - 1) // 2
    if set(sums) != {expected}:
        return FAIL, f"the all-reduce gives {sums} in place of {expected}"
    return OK, f"an all-reduce between {len(workers)} worker(s) by {backend}"


class _Worker:
    """A process of torch.distributed."""

    def address(self) -> str:
        import socket

        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def all_reduce(self, address: str, rank: int, world: int, backend: str) -> int:
        import datetime

        import torch

        timeout = datetime.timedelta(seconds=TALK_TIMEOUT_S // 2)
        torch.distributed.init_process_group(backend, address, timeout, world, rank)
        number = torch.tensor([rank], device="cuda" if backend == "nccl" else "cpu")
        torch.distributed.all_reduce(number)
        torch.distributed.destroy_process_group()
        return int(number.item())


def _storage(machines: list[dict[str, Any]], shared: str | None) -> Finding:
    """Whether what one machine writes can be read on every other."""
    if shared is None:
        return WARN, "not tried; name the place of your outputs with --storage s3://BUCKET/PREFIX"
    path = storage.join(storage.absolute(shared), f".raypipe-doctor-{uuid.uuid4().hex}")
    content = os.urandom(32).hex()
    first, *others = machines
    _on_each([first], lambda: storage.write_text(path, content))
    try:
        read = _on_each(others or [first], lambda: storage.read_text(path) if storage.exists(path) else None)
    finally:
        _on_each([first], lambda: storage.remove(path))
    blind = [address for address, found in read.items() if found != content]
    if blind:
        return FAIL, f"{', '.join(blind)} cannot read what {first['NodeManagerAddress']} wrote; use object storage"
    return OK, f"written on {first['NodeManagerAddress']}, read on {len(read)} machine(s)"
