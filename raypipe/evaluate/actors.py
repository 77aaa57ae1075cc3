"""How many actors score, and what each takes, from the cluster as it is once its resources are there."""

from dataclasses import dataclass

import ray

from raypipe.config import ScoringConfig
from raypipe.errors import ConfigError
from raypipe.runtime import wait_for
from raypipe.train.devices import has_fast_bf16

ROWS_OF_AN_ACTOR = 4_096  # an actor takes about as long to start on a CPU as to score so many short texts
# Tokens of one forward pass, padding included. On a CPU the activations of more leave the cache: MiniLM in float32
# on one thread, texts of 19 tokens in the mean, scores 171 rows a second at 1,024, 156, 133, 107 at 2,048 to 8,192.
CPU_TOKENS, GPU_TOKENS = 1_024, 65_536
THREADS_EACH = 4  # of an actor on machines with more CPUs; up to so many CPUs have an actor for each


@dataclass(frozen=True)
class Actors:
    """The pool, and what Ray reserves for each of its actors."""

    count: int
    use_gpu: bool
    threads: int  # of the forward pass
    tokens: int  # of a forward pass, padding included
    num_cpus: float
    tokenisers: int  # tasks of one thread that feed the pool


def choose_device(config: ScoringConfig, waits: bool = True) -> bool:
    """Whether GPUs score, after waiting for them as long as the configuration says.

    Raises ConfigError for ``cuda`` without a GPU, and for a precision that the device does not have.
    """
    use_gpu = config.device != "cpu" and wait_for({"GPU": 1}, config.wait_for_resources if waits else 0.0)
    if config.device == "cuda" and not use_gpu:
        raise ConfigError("--device cuda without a GPU", "at least one", "--device auto or cpu")
    wanted = config.scoring_precision()
    if (wanted == "fp16" and not use_gpu) or (wanted == "bf16" and not has_bf16(use_gpu)):
        device = "this GPU" if use_gpu else "a CPU" if wanted == "fp16" else "this CPU"
        raise ConfigError(f"--precision {wanted} on {device}", "hardware for it", "--precision auto or fp32")
    return use_gpu


def has_bf16(use_gpu: bool) -> bool:
    """Whether a machine that scores multiplies bfloat16 in hardware; asked there."""
    task = ray.remote(num_cpus=0.25, num_gpus=1 if use_gpu else 0)(has_fast_bf16)
    return bool(ray.get(task.remote(not use_gpu)))


def choose_actors(use_gpu: bool, rows: int) -> Actors:
    """One actor on each GPU; else actors that have all CPUs together, or fewer for few rows.

    Up to THREADS_EACH CPUs each actor computes on one thread: threads of one forward pass wait for each other, and
    wait long while a tokenising task has a CPU.
    """
    gpus = int(ray.cluster_resources()["GPU"]) if use_gpu else 0
    return actors_on([int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]], gpus, rows)


def actors_on(cpus: list[int], gpus: int, rows: int) -> Actors:
    """The same on machines with these CPUs; on GPUs where there are any."""
    wanted = max(1, -(-rows // ROWS_OF_AN_ACTOR))
    if gpus:
        return Actors(min(gpus, wanted), True, 1, GPU_TOKENS, 0.5, 2 * gpus)
    usable = [n for n in cpus if n >= 1] or [1]
    smallest = min(usable)
    threads = 1 if smallest <= THREADS_EACH else THREADS_EACH
    if wanted == 1:
        threads = smallest
    each = smallest // threads
    reserved = (smallest - _room(smallest, each)) / each
    count = min(wanted, sum(n // threads for n in usable))
    return Actors(count, False, threads, CPU_TOKENS, round(reserved, 3), len(usable))


def _room(cpus: int, actors: int) -> float:
    """CPUs that a machine with so many actors keeps for Ray Data's own tasks: at most one, and less than an actor has.

    Ray starts the actors of a lost machine again wherever they fit. If they could fill the machines that are left, the
    tasks that feed them would wait for ever.
    """
    return min(1.0, 0.9 * cpus / (actors + 1))
