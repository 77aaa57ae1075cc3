"""What a whole run would need: its stages one after another in one Ray, on the rows that prepare would keep."""

from typing import Any

import numpy as np

from raypipe.data.table import TO_TEST, TO_TRAIN
from raypipe.estimate import Estimate
from raypipe.pipeline.dry_run.preparing import Rehearsed, estimate_prepare
from raypipe.pipeline.dry_run.training import Sampled, as_splits, estimate_train, estimate_training, frame_of
from raypipe.pipeline.job import PrepareJob


def estimate_run(stages: dict[str, Any], job: PrepareJob | None) -> Estimate:
    """Predict the stages of a run; ``job`` is that of [prepare] where there is one."""
    whole = Estimate()
    if job is not None:
        made = estimate_prepare(stages["prepare"], job)
        _add(whole, "prepare", made.estimate)
        trained = estimate_training(stages["train"], _splits(made, job))
    else:
        trained = estimate_train(stages["train"])
    _add(whole, "train", trained)
    if "evaluate" in stages:
        whole.notes.append("the separate [evaluate] is predicted like the evaluation that ends the training")
        again = {stage: s for stage, s in trained.seconds.items() if stage in ("compare", "score", "judge")}
        whole.seconds |= {f"evaluate_{stage}": seconds for stage, seconds in again.items()}
        whole.gpu_seconds += trained.scoring_gpu_seconds
    return whole


def _add(whole: Estimate, name: str, part: Estimate) -> None:
    """Take in a stage: one start of Ray, the larger memory, and the tokens of the training."""
    if whole.seconds:
        part.seconds.pop("start")
    whole.seconds |= {
        stage if stage == "start" else f"{name}_{stage}": seconds for stage, seconds in part.seconds.items()
    }
    whole.counts[name] = part.counts
    whole.gpu_seconds += part.gpu_seconds
    if part.peak_memory_mib() > whole.peak_memory_mib():
        whole.memory_mib, whole.workers = part.memory_mib, part.workers
    if name == "train":
        whole.tokens, whole.tokens_cut = part.tokens, part.tokens_cut
        whole.rows_tokenised, whole.rows_cut = part.rows_tokenised, part.rows_cut
    whole.notes += part.notes


def _splits(made: Rehearsed, job: PrepareJob) -> Sampled:
    """The dataset that prepare would make of the sample."""
    table = made.rehearsal.table
    names = np.array(table.names, object)
    frames = [
        frame_of(made.rehearsal.texts(side), names[table.label[table.side == side]]) for side in (TO_TRAIN, TO_TEST)
    ]
    return as_splits(frames[0], frames[1], made.share, job.source)
