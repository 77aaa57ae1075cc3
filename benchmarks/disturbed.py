"""raypipe's command line with other piece sizes and with tasks that finish in another order; determinism.py runs it.

    python benchmarks/disturbed.py PIECE_BYTES SHUFFLE_SEED prepare ...

A seed other than 0 makes every task that raypipe hands to Ray, and every function that it hands to Ray Data, sleep a
random part of half a second first, so that tasks finish out of order. (RAYPIPE_TASK_ORDER_SEED, which determinism.py
sets to the same seed, has them started out of order too.)
"""

import functools
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.data

LONGEST_DELAY_S = 0.5


def late(function: Callable) -> Callable:
    """The function after a random while, drawn anew in each task."""

    @functools.wraps(function)
    def delayed(*args: Any, **kwargs: Any) -> Any:
        time.sleep(random.SystemRandom().random() * LONGEST_DELAY_S)
        return function(*args, **kwargs)

    return delayed


def shuffle() -> None:
    """Have raypipe's tasks start late: ray.remote(f), ray.remote(...)(f), Dataset.map_batches(f)."""
    remote, map_batches = ray.remote, ray.data.Dataset.map_batches

    def late_remote(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return remote(_ours(args[0]))
        made = remote(*args, **kwargs)
        return (lambda function: made(_ours(function))) if callable(made) else made

    def late_batches(self: Any, function: Callable, *args: Any, **kwargs: Any) -> Any:
        return map_batches(self, _ours(function), *args, **kwargs)

    ray.remote = late_remote
    ray.data.Dataset.map_batches = late_batches


def _ours(function: Callable) -> Callable:
    """A delayed function where it is one of raypipe's; a class is an actor's and stays."""
    ours = getattr(function, "__module__", "").startswith("raypipe") and not isinstance(function, type)
    return late(function) if ours else function


def main() -> None:
    piece_bytes, seed = int(sys.argv[1]), int(sys.argv[2])
    if seed:
        shuffle()
    from raypipe import cli
    from raypipe.data import ingest

    ingest.PIECE_BYTES = piece_bytes
    sys.argv[:] = ["raypipe", *sys.argv[3:]]
    cli.main()


if __name__ == "__main__":
    main()
