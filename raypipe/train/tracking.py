"""Weights & Biases on one worker, or a silent stand-in; numbers and configuration only, never row text."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from raypipe.runtime import say
from raypipe.tokens import redact

ONLINE_TIMEOUT_S = 30  # how long a start may take before the run is logged offline instead


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...


class _Silent:
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        del metrics, step


@contextlib.contextmanager
def tracked(folder: str, name: str, config: Mapping[str, Any], key: str | None, active: bool) -> Iterator[Tracker]:
    """A tracker while the block runs: W&B online with a key, else offline into ``folder``/wandb.

    ``active`` is true on rank 0 only; WANDB_MODE=disabled turns tracking off.
    """
    if not active or os.environ.get("WANDB_MODE") == "disabled":
        yield _Silent()
        return
    import wandb

    os.makedirs(folder, exist_ok=True)
    mode = "online" if key and os.environ.get("WANDB_MODE") != "offline" else "offline"
    if key:
        os.environ["WANDB_API_KEY"] = key  # of this worker process alone; wandb.login would write it to a file
    run = _start(wandb, mode, folder, name, config)
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _start(wandb: Any, mode: str, folder: str, name: str, config: Mapping[str, Any]) -> Any:
    """A run, offline where W&B cannot be reached or does not know the key: training must not fail for its log."""
    common = {"project": "raypipe", "name": name, "dir": folder, "config": dict(config)}
    settings = {"init_timeout": ONLINE_TIMEOUT_S, "console": "off", "silent": True, "disable_git": True}
    if mode == "online":
        try:
            return wandb.init(mode="online", settings=wandb.Settings(**settings), **common)
        except (wandb.errors.Error, ValueError, OSError) as error:
            reason = redact((str(error).strip().splitlines() or [""])[0])
            say(f"warning: W&B is not to be had ({reason}); logging offline")
            os.environ.pop("WANDB_API_KEY", None)
            wandb.teardown()
    return wandb.init(mode="offline", settings=wandb.Settings(**settings), **common)
