"""Waiting for what other processes do: as long as a slow machine may take, and no longer than a hang deserves."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 1_200  # the bound of a hang, never a measure of speed: some machines take five times as long as others


def wait_until(ready: Callable[[], Any], going_on: Callable[[], bool] = lambda: True, every_s: float = 0.1) -> Any:
    """The first true answer of ``ready``; fails where ``going_on`` says that none will come, or after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ready()):
        assert going_on(), "it ended before"
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(every_s)
    return answer
