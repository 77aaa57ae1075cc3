"""Ray Tune over the fine-tune: a trial for each choice of learning rate, epochs, token budget and base model.

A trial is a driver function that launches its own TorchTrainer, which is how this Ray joins the two libraries. Trials
share the tokenised rows, and stop early by ASHA (Li et al. 2020, "A system for massively parallel hyperparameter
tuning"). What is compared is the macro-F1 on the validation share of train; test is never read.
"""

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.util.placement_group import PlacementGroup, PlacementGroupID, remove_placement_group

from raypipe import storage
from raypipe.errors import ConfigError, RaypipeError
from raypipe.runtime import of_each_machine, say
from raypipe.train import finetune
from raypipe.train.finetune import Workers
from raypipe.train.job import TrainJob

KEPT_SHARE = 3  # of the trials that reach a rung of ASHA, one in so many goes on
SAVED_EVERY_S = "1"  # the experiment's state: a trial that ended later than the last one before a kill is run again
EXPERIMENT = "tune"  # the experiment's folder, from which a killed sweep goes on
REPORTED = ("step", "epoch", "loss", "accuracy", "macro_f1", "macro_f1_low", "macro_f1_high")  # of an evaluation


@dataclass(frozen=True)
class Choice:
    """What a trial has of its own."""

    number: int
    model: str
    learning_rate: float
    epochs: float
    token_budget: int

    def __str__(self) -> str:
        return f"trial {self.number} (rate {self.learning_rate:g}, {self.epochs:g} epochs)"


@dataclass(frozen=True)
class TrialPlan:
    """A choice, what its workers are told, and the tokenised rows as references."""

    choice: Choice
    job: TrainJob
    train: list[Any]
    validation: list[Any]


@dataclass
class Trial:
    """How a trial went."""

    choice: Choice
    status: str  # finished, stopped (by ASHA or the time budget), failed, or not started
    reason: str | None = None  # of a failure
    history: list[dict[str, float]] = field(default_factory=list)  # its evaluations: step, epoch, macro_f1, ...
    seconds: float = 0.0
    is_refused: bool = False  # the failure is the flags' or the data's

    @property
    def best(self) -> dict[str, float] | None:
        """The evaluation of the highest macro-F1, the first of equals."""
        return max(self.history, key=lambda seen: seen["macro_f1"], default=None)

    def public(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self.choice) | {
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
        }


def share_out(workers: Workers, trials: int, most_at_once: int | None) -> tuple[int, Workers]:
    """How many trials run at a time, and what the workers of each take, so that all of these can run.

    On CPUs one thread for each of several trials does more than several threads for one.
    """
    return share_out_of(of_each_machine("GPU" if workers.use_gpu else "CPU"), workers, trials, most_at_once)


def share_out_of(
    nodes: Sequence[float], workers: Workers, trials: int, most_at_once: int | None
) -> tuple[int, Workers]:
    """The same from machines with so many GPUs or CPUs."""
    have = sum(map(int, nodes))
    at_once = max(1, min(trials, have // workers.most, most_at_once or trials))
    cpus = workers.cpus_each if workers.use_gpu else finetune.cpus_each(nodes, at_once * workers.most)
    limit = workers.forecast_limit_s and workers.forecast_limit_s * at_once / trials  # of a trial, of them all
    return at_once, dataclasses.replace(workers, cpus_each=cpus, forecast_limit_s=limit)


def sweep(
    plans: Sequence[TrialPlan],
    workers: Workers,
    at_once: int,
    with_asha: bool,
    time_budget_s: float | None,
    folder: str,
) -> list[Trial]:
    """Run the plans in the order given, at most ``at_once`` at a time, each with as many reports as it has evaluations.

    An experiment that a killed sweep left in ``folder`` goes on: trials that ended are kept, those that ran begin anew,
    and so do those that failed.
    """
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SAVED_EVERY_S)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would end at Ctrl-C as if all trials had ended
    logging.getLogger("ray.tune.execution.tune_controller").addFilter(_is_unexpected)
    function = tune.with_parameters(_run, plans=list(plans), workers=workers, folder=folder)
    trainable = tune.with_resources(function, {"CPU": finetune.TRIAL_CPUS})
    left = storage.join(folder, EXPERIMENT)
    if tune.Tuner.can_restore(left):
        tuner = tune.Tuner.restore(left, trainable, restart_errored=True)
    else:
        longest = max(plan.choice.epochs for plan in plans)
        tuner = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(range(len(plans))))},
            tune_config=tune.TuneConfig(
                metric="macro_f1",
                mode="max",
                scheduler=asha(longest, plans[0].job.evaluations_per_epoch) if with_asha else None,
                max_concurrent_trials=at_once,
                time_budget_s=time_budget_s,
            ),
            run_config=tune.RunConfig(
                name=EXPERIMENT, storage_path=folder, verbose=0, callbacks=[_Progress([p.choice for p in plans])]
            ),
        )
    results = {result.config["trial"]: result for result in tuner.fit() if result.config}
    return [_outcome(plan.choice, results.get(place)) for place, plan in enumerate(plans)]


def asha(longest: float, evaluations_per_epoch: int) -> ASHAScheduler:
    """Stops trials from their first evaluation on; ``longest`` is the most epochs of a trial."""
    most = 2 * longest  # a trial that gets to its end ends by itself
    return ASHAScheduler(
        "epoch", max_t=most, grace_period=min(most, 1 / evaluations_per_epoch), reduction_factor=KEPT_SHARE
    )


def _run(config: dict[str, Any], plans: list[TrialPlan], workers: Workers, folder: str) -> None:
    """The driver of a trial. What the loop raises on purpose is the trial's failure, not the sweep's."""
    plan = plans[config["trial"]]
    place = storage.join(folder, f"trial-{plan.choice.number}")
    storage.remove(place)  # of a trial that was killed
    try:
        finetune.finetune(plan.job, plan.train, plan.validation, workers, place, 0, trial=Reported())
    except RaypipeError as error:
        told = {"reason": str(error), "exit_code": error.exit_code}
        tune.report({"macro_f1": float("nan"), "epoch": plan.choice.epochs, **told})
        raise  # a trial that did not end well begins anew with --resume


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Whether a line of Tune's log is worth its traceback: what is raised on purpose is said by ``_Progress``."""
    return not (record.exc_info and isinstance(record.exc_info[1], RaypipeError))


class Reported(TuneReportCallback):
    """Passes on the evaluations, and not the report that ends a training."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if "step" in metrics[0]:
            super().after_report(run_context, metrics, checkpoint)


class _Progress(tune.Callback):
    """A line for each evaluation; and the end of what a stopped trial leaves behind.

    Tune ends a stopped trial's driver by force. Its workers' placement group then waits for Ray Train's own cleaner,
    which asks the state API of whatever cluster started last on the machine, and may never find it (ray issue 54305).
    """

    def __init__(self, choices: list[Choice]) -> None:
        self._choices = choices
        self._groups: dict[str, str] = {}  # trial -> placement group of its workers

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._groups[trial.trial_id] = result.get("placement_group", "")
        choice = self._choices[trial.config["trial"]]
        if reason := result.get("reason"):
            say(f"{choice} failed: {reason}")
            return
        ended = sum(other.is_finished() for other in trials)
        say(f"{choice}: epoch {result['epoch']:.2f}, macro-F1 {result['macro_f1']:.4f}; {ended} trials have ended")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self._release(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self._release(trial)

    def _release(self, trial: Any) -> None:
        if group := self._groups.pop(trial.trial_id, ""):
            remove_placement_group(
                PlacementGroup(PlacementGroupID(bytes.fromhex(group)))
            )  # one that is gone is no fault


def _outcome(choice: Choice, result: Any) -> Trial:
    """The record of a trial from what Tune kept of it."""
    if result is None or result.metrics_dataframe is None or result.metrics_dataframe.empty:
        failed = result is not None and result.error is not None
        return Trial(choice, "failed" if failed else "not started", str(result.error) if failed else None)
    rows = result.metrics_dataframe.to_dict("records")
    told = [row for row in rows if isinstance(row.get("reason"), str)]
    seen = {row["epoch"]: row for row in rows if row["macro_f1"] == row["macro_f1"]}  # one begun anew repeats itself
    history = [{name: float(seen[epoch][name]) for name in REPORTED} for epoch in sorted(seen)]
    seconds = float(rows[-1]["time_total_s"])
    if result.error is not None:
        reason = told[-1]["reason"] if told else str(result.error)
        is_refused = bool(told) and told[-1]["exit_code"] == ConfigError.exit_code
        return Trial(choice, "failed", reason, history, seconds, is_refused)
    if not seen:  # what failed before a kill had not begun anew
        return Trial(choice, "not started")
    return Trial(choice, "finished" if seen[max(seen)]["finished"] else "stopped", None, history, seconds)
