"""The best weights, and checkpoints from which a killed training goes on bit by bit as if nothing had happened.

A checkpoint is what the Trainer writes (weights, optimizer, schedule, its state, the random states of Python, NumPy and
torch of each worker) with the place among the batches and the best weights so far. No Ray here: ``report`` takes the
folder.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from raypipe.errors import StageError
from raypipe.train import modeling
from raypipe.train.batching import TokenBatches

PROGRESS, BEST = "progress.json", "best"

Report = Callable[[str], None]  # takes a checkpoint's folder, on every worker; the folder is the receiver's to remove


class KeepBest(TrainerCallback):
    """Keeps the weights of the best evaluation by macro-F1 in a folder; stops after ``patience`` without a better.

    With them goes the temperature that fits that evaluation's rows, into the model's configuration.
    """

    def __init__(self, folder: str, patience: int | None) -> None:
        self.folder, self._patience = folder, patience
        self.without_better = 0
        self.calibration: dict[str, float] = {}
        self.notices: list[str] = []  # what to know of the weights that are kept

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, model: Any, **_: Any) -> None:
        if state.best_metric is None or metrics["eval_macro_f1"] > state.best_metric:  # of the evaluations before
            self.without_better = 0
            self.calibration = {
                "temperature": metrics["eval_temperature"],
                "log_loss_before": metrics["eval_loss"],
                "log_loss": metrics["eval_calibrated_loss"],
            }
            setattr(model.config, modeling.TEMPERATURE, metrics["eval_temperature"])
            if state.is_world_process_zero:
                model.save_pretrained(self.folder)
        else:
            self.without_better += 1
            if self._patience is not None and self.without_better >= self._patience:
                control.should_training_stop = True


class Checkpoints(TrainerCallback):
    """Saves a checkpoint and hands its folder on, ``least_s`` seconds or more after the last one.

    Only where the loss is logged, so that a resumed training logs the same numbers, and at the end of an epoch only
    after its evaluation, which would else be lost. After the last step there is nothing left to save.
    """

    def __init__(
        self, least_s: float, batches: TokenBatches, best: KeepBest, report: Report, seconds_before: float
    ) -> None:
        self._least_s, self._batches, self._best, self._report = least_s, batches, best, report
        self._last = time.monotonic()
        self._start = self._last - seconds_before

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        ends_epoch = state.global_step % self._batches.steps == 0 or state.global_step >= state.max_steps
        if state.global_step % state.logging_steps == 0 and not ends_epoch:
            control.should_save = self._is_due(args.device)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = True
        if state.global_step < state.max_steps:
            control.should_save = self._is_due(args.device)

    def _is_due(self, device: torch.device) -> bool:
        """Whether it is time, by the clock of rank 0 for all."""
        due = torch.tensor(int(time.monotonic() - self._last >= self._least_s), device=device)
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(due, 0)
        if due:
            self._last = time.monotonic()
        return bool(due)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        if state.is_world_process_zero:
            if os.path.isdir(self._best.folder):
                shutil.copytree(self._best.folder, os.path.join(folder, BEST))
            progress = {
                "place": self._batches.place(state.global_step).public(),
                "without_better": self._best.without_better,
                "calibration": self._best.calibration,
                "finished": control.should_training_stop,
                "seconds": round(time.monotonic() - self._start, 2),
            }
            with open(os.path.join(folder, PROGRESS), "w", encoding="utf8") as file:
                json.dump(progress, file)
        self._report(folder)


def go_on(checkpoint: str, batches: TokenBatches, best: KeepBest) -> dict[str, Any]:
    """Bring the best weights back; returns what the checkpoint says of its progress.

    The number of workers and the token budget may be others, as long as the steps have the same rows.

    Raises StageError where they do not.
    """
    with open(os.path.join(checkpoint, PROGRESS), encoding="utf8") as file:
        progress: dict[str, Any] = json.load(file)
    with open(os.path.join(checkpoint, "trainer_state.json"), encoding="utf8") as file:
        step = json.load(file)["global_step"]
    if progress["place"] != batches.place(step).public():
        raise StageError(
            "a checkpoint of other batches than this training's",
            "the rows and seed that it was made with, and workers and --token-budget that leave the steps as they are",
            "train without --resume to begin anew",
        )
    if os.path.isdir(os.path.join(checkpoint, BEST)):
        shutil.copytree(os.path.join(checkpoint, BEST), best.folder, dirs_exist_ok=True)
    best.without_better, best.calibration = progress["without_better"], progress["calibration"]
    return progress
