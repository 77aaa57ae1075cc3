"""--dry-run: what each command would need, from a sample and timed work in this process. No Ray, nothing written."""

from raypipe.pipeline.dry_run.answer import answer
from raypipe.pipeline.dry_run.evaluating import estimate_evaluate
from raypipe.pipeline.dry_run.preparing import estimate_prepare
from raypipe.pipeline.dry_run.sweeping import estimate_sweep
from raypipe.pipeline.dry_run.training import estimate_train
from raypipe.pipeline.dry_run.whole import estimate_run

__all__ = ["answer", "estimate_evaluate", "estimate_prepare", "estimate_run", "estimate_sweep", "estimate_train"]
