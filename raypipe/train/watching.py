"""What looks on while a model trains: progress and tracker, the forecast on a CPU, the collapse detector."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from raypipe.errors import ConfigError, StageError
from raypipe.runtime import say
from raypipe.train import tracking
from raypipe.train.batching import TokenBatches

_SAID_EVERY_S = 5.0  # seconds between lines of progress
_TIMED_FROM, _TIMED_STEPS = 3, 10  # optimizer steps that the CPU forecast skips as warm-up, and measures
COLLAPSE_AFTER = 0.2  # share of the steps after which the loss must have left that of chance
COLLAPSE_WITHIN = 0.02  # how near to ln C, from below, is still chance
COLLAPSE_LEAST_STEPS = 50  # a fifth of fewer steps says too little: such short trainings are not judged


class Track(TrainerCallback):
    """Hands what the Trainer logs, and tokens a second beside it, to the tracker; says a line of progress."""

    def __init__(self, tracker: tracking.Tracker, batches: TokenBatches) -> None:
        self._tracker, self._batches = tracker, batches
        self._start = self._said = self._counted_from = time.monotonic()
        self._first = self._tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed training logs once more what the killed one had logged: its own log may be lost."""
        self._start, self._first = time.monotonic(), state.global_step
        self._counted_from = self._start
        if state.is_world_process_zero and self._first:
            say(f"going on from step {self._first} of {state.max_steps}")
            for entry in state.log_history:
                self._tracker.log(_numbers(entry, without="step"), step=entry["step"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tokens += self._batches.tokens_of_step(state.global_step - 1)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._counted_from, self._tokens = time.monotonic(), 0  # the time of an evaluation is not training's

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            now = time.monotonic()
            state.log_history[-1]["tokens_per_second"] = logs["tokens_per_second"] = round(
                self._tokens / max(now - self._counted_from, 1e-3), 1
            )
            self._counted_from, self._tokens = now, 0
        numbers = _numbers(logs or {})
        if not state.is_world_process_zero or not numbers:
            return
        self._tracker.log(numbers, step=state.global_step)
        shown = {k: v for k, v in numbers.items() if k in ("loss", "eval_loss", "eval_accuracy", "eval_macro_f1")}
        now = time.monotonic()
        if shown and (now - self._said >= _SAID_EVERY_S or "eval_loss" in shown):
            each_s = (now - self._start) / max(1, state.global_step - self._first)
            scores = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            left_s = each_s * (state.max_steps - state.global_step)
            say(f"step {state.global_step} of {state.max_steps}: {scores} ({left_s:.0f} s left)")
            self._said = now


class WithinEpoch(TrainerCallback):
    """Evaluates so many times an epoch, evenly; the Trainer itself does at its end."""

    def __init__(self, times: int, batches: TokenBatches) -> None:
        self._times, self._batches = times, batches

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        steps = self._batches.steps
        place = state.global_step % steps
        if place and place * self._times // steps > (place - 1) * self._times // steps:
            control.should_evaluate = True


class Evaluated(TrainerCallback):
    """Hands on each evaluation, and whether it was the last; it comes after what may stop the training."""

    def __init__(self, told: Callable[[dict[str, Any]], None]) -> None:
        self._told = told

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
        scores = {name.removeprefix("eval_"): float(v) for name, v in metrics.items() if isinstance(v, int | float)}
        finished = control.should_training_stop or state.global_step >= state.max_steps
        self._told(scores | {"step": state.global_step, "epoch": float(state.epoch), "finished": finished})


class WholeTime(TrainerCallback):
    """Predicts a training from its first steps; stops one beyond the limit, on all workers alike.

    ``evaluated`` are the tokens evaluated in an epoch, as a share of those trained on; a forward pass is a third of
    a step's work. ``seconds_before`` were spent before this part of a training that goes on.
    """

    def __init__(self, limit_s: float | None, evaluated: float, seconds_before: float = 0.0) -> None:
        self._limit_s, self._evaluation = limit_s, float(evaluated) / 3
        self._before, self._begun = seconds_before, time.monotonic()
        self._start = 0.0
        self._seen = 0
        self.predicted_s: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._seen += 1
        if self._seen == _TIMED_FROM:
            self._start = time.monotonic()
        if self._seen == _TIMED_FROM + _TIMED_STEPS:
            now = time.monotonic()
            each_s = (now - self._start) / _TIMED_STEPS
            left_s = each_s * (state.max_steps - state.global_step) * (1 + self._evaluation)
            self.predicted_s = self._before + now - self._begun + left_s
            if self._limit_s is None:
                return
            expected = torch.tensor(self.predicted_s)
            if torch.distributed.is_initialized():  # or one worker would stop, and the others wait for it
                torch.distributed.all_reduce(expected, torch.distributed.ReduceOp.MAX)
            if expected > self._limit_s:
                raise ConfigError(
                    f"training on the CPU would take about {expected / 3600:.1f} hours",
                    f"at most {self._limit_s / 3600:.1f}",
                    "use a GPU (--device cuda), a smaller model, fewer --epochs, or say --device cpu to go on",
                )


class Collapse(TrainerCallback):
    """Stops a training whose loss is still that of guessing, ln C, after a fifth of its steps.

    Judged once, by the mean of the losses logged in the later half of that fifth. A loss above ln C counts as well.
    """

    def __init__(self, classes: int, learning_rate: float) -> None:
        self._classes, self._rate = classes, learning_rate

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        until = COLLAPSE_AFTER * state.max_steps
        steps = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        if "loss" not in (logs or {}) or until < COLLAPSE_LEAST_STEPS or steps[-1][0] < until:
            return
        if len(steps) > 1 and steps[-2][0] >= until:
            return  # judged before
        recent = [loss for step, loss in steps if step > until / 2]
        loss, chance = sum(recent) / len(recent), math.log(self._classes)
        if not loss < (1 - COLLAPSE_WITHIN) * chance:
            raise StageError(
                f"the training has collapsed: after {state.global_step} of {state.max_steps} steps its loss is "
                f"{loss:.3f}, and guessing among {self._classes} labels gives {chance:.3f}",
                f"less than {(1 - COLLAPSE_WITHIN) * chance:.3f} by then",
                f"half the rate: --learning-rate {self._rate / 2:g}",
            )


def _numbers(logs: dict[str, Any], without: str = "") -> dict[str, float]:
    return {name: float(v) for name, v in logs.items() if isinstance(v, int | float) and name != without}
