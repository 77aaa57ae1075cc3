"""An estimate as a command's result: a table for people, numbers for the last line of standard output."""

from raypipe.config import EstimatedConfig
from raypipe.estimate import Estimate
from raypipe.runtime import say
from raypipe.schema import StageResult


def answer(command: str, estimate: Estimate, config: EstimatedConfig, seconds: float) -> StageResult:
    """The result of a dry run that took so many seconds."""
    from raypipe.report import console

    metrics = estimate.metrics(config.price_per_gpu_hour)
    console.estimate_table(command, estimate.counts, metrics)
    say("nothing was started, and nothing written")
    for note in dict.fromkeys(estimate.notes):
        say(f"note: {note}")
    return StageResult(command, config.hash(), "dry_run", {}, estimate.counts, metrics, round(seconds, 3))
