"""Weights & Biases on one worker, or a silent stand-in; numbers, label names and configuration only, never row text."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from raypipe.runtime import say
from raypipe.tokens import redact

ONLINE_TIMEOUT_S = 30  # how long a start may take before the run is logged offline instead
_CONFUSION = "wandb/confusion_matrix/v1"  # the chart of wandb.plot.confusion_matrix, which takes rows, not counts


class Tracker(Protocol):
    """Where metrics go; ``id`` names the run, and is empty where there is none."""

    id: str
    offline: bool

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...


class _Silent:
    id, offline = "", True

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        del metrics, step


@contextlib.contextmanager
def tracked(
    folder: str,
    name: str,
    config: Mapping[str, Any],
    key: str | None,
    active: bool,
    group: str | None = None,
    mode: str | None = None,
) -> Iterator[Tracker]:
    """A tracker while the block runs: W&B online with a key, else offline into ``folder``/wandb.

    ``active`` is true on rank 0 only. ``mode`` is the WANDB_MODE of the user, or else this process's: "disabled" turns
    tracking off.
    """
    mode = mode or os.environ.get("WANDB_MODE")
    if not active or mode == "disabled":
        yield _Silent()
        return
    is_online = bool(key) and mode != "offline"
    with _finished(_start(is_online, folder, key, name=name, group=group, config=dict(config))) as run:
        yield run
    with contextlib.suppress(OSError):  # copied with the folder it would be a second run of the same id
        os.unlink(os.path.join(folder, "wandb", "latest-run"))


def add_results(
    folder: str, run_id: str, key: str | None, summary: Mapping[str, float], cells: Sequence[tuple[str, str, int]]
) -> None:
    """Test scores into the summary of a finished run, and its confusion as rows by (true, predicted) label.

    The run may have been logged by another process. With a ``key`` it is resumed online. Else, or where W&B is not to
    be had, a second segment of it comes into ``folder``/wandb, and `wandb sync` joins the two. A W&B table holds
    200,000 cells; of more the largest stay, and the summary counts the others.
    """
    import wandb

    most = wandb.Table.MAX_ARTIFACT_ROWS
    shown = [list(cell) for cell in sorted(cells, key=lambda cell: -cell[2])[:most]]
    table = wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=shown)
    chart = wandb.plot_table(_CONFUSION, table, {c: c for c in table.columns}, {"title": "Confusion on test"})
    quiet = {"x_disable_meta": True, "x_disable_stats": True}  # this process and machine are not the training's
    with _finished(_start(bool(key), folder, key, quiet, id=run_id, resume="allow")) as run:
        run.log({"test/confusion": chart})
        run.summary.update({f"test/{name}": value for name, value in summary.items() if value is not None})
        run.summary["test/confusion_cells_left_out"] = len(cells) - len(shown)


@contextlib.contextmanager
def _finished(run: Any) -> Iterator[Any]:
    """The run, and its files whole afterwards: ``finish`` returns before W&B's service has written the last of them."""
    import wandb

    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    wandb.teardown()


def _start(is_online: bool, folder: str, key: str | None, more: Mapping[str, Any] | None = None, **run: Any) -> Any:
    """A run, offline where W&B cannot be reached or does not know the key: training must not fail for its log."""
    import wandb

    os.makedirs(folder, exist_ok=True)
    common = {"init_timeout": ONLINE_TIMEOUT_S, "console": "off", "silent": True, "disable_git": True}
    settings = wandb.Settings(**common, **(more or {}))
    run |= {"project": "raypipe", "dir": folder}
    if is_online:
        try:
            with _in_environment(key):
                return wandb.init(mode="online", settings=settings, **run)
        except (wandb.errors.Error, ValueError, OSError) as error:
            reason = redact((str(error).strip().splitlines() or [""])[0])
            say(f"warning: W&B is not to be had ({reason}); logging offline")
            wandb.teardown()
    return wandb.init(mode="offline", settings=settings, **run)


@contextlib.contextmanager
def _in_environment(key: str | None) -> Iterator[None]:
    """The key where wandb looks for it, of this process and for a moment; wandb.login would write it to a file."""
    before = os.environ.get("WANDB_API_KEY")
    os.environ["WANDB_API_KEY"] = key or ""
    try:
        yield
    finally:
        del os.environ["WANDB_API_KEY"]
        if before is not None:
            os.environ["WANDB_API_KEY"] = before
