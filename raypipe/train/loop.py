"""The fine-tune of one worker, around the Hugging Face Trainer. No Ray in it: it runs bare on a GPU machine."""

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from raypipe.core import calibration, metrics
from raypipe.errors import ConfigError
from raypipe.hub import Source
from raypipe.runtime import say
from raypipe.tokens import Secret
from raypipe.train import modeling, tracking
from raypipe.train.recipe import Recipe

_SAID_EVERY_S = 5.0  # seconds between lines of progress
_TIMED_FROM, _TIMED_STEPS = 3, 10  # optimizer steps that the CPU forecast skips as warm-up, and measures


@dataclass(frozen=True)
class Job:
    """All that a worker needs; picklable."""

    model: Source
    labels: list[str]
    recipe: Recipe
    seed: int
    use_cpu: bool
    precision: str  # auto | fp32 | bf16
    threads: int  # CPU threads of this worker
    forecast_limit_s: float | None  # stop where the first steps predict longer; None: never
    early_stopping_patience: int | None
    hf_token: Secret
    wandb_key: Secret
    run_name: str
    tracked_config: Mapping[str, Any]


class Rows(torch.utils.data.Dataset):
    """Tokenised rows of an Arrow table  # input_ids: list<int32>, label: int64."""

    def __init__(self, table: pa.Table) -> None:
        self._ids = table["input_ids"].combine_chunks()
        self._labels = table["label"].to_numpy()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self._ids[row].values.to_numpy(), "labels": int(self._labels[row])}


def fine_tune(job: Job, train: pa.Table, validation: pa.Table, folder: str, rank: int = 0, world: int = 1) -> dict:
    """Train on ``train``, keep the weights that score best on ``validation``, and save them.

    On rank 0 ``folder`` receives ``model/`` (safetensors, tokenizer, configuration) and ``wandb/``.
    Returns the trainer's history and figures of the run. Raises ConfigError where the forecast is too long.
    """
    torch.set_num_threads(job.threads)
    bf16 = job.precision == "bf16" or (job.precision == "auto" and has_fast_bf16(job.use_cpu))
    tokenizer = modeling.load_tokenizer(job.model, job.hf_token.value)
    model = modeling.new_classifier(job.model, job.labels, job.seed, job.hf_token.value)
    with (
        tempfile.TemporaryDirectory(prefix="raypipe-checkpoints-") as checkpoints,
        tracking.tracked(folder, job.run_name, job.tracked_config, job.wandb_key.value, rank == 0) as tracker,
    ):
        callbacks: list[TrainerCallback] = [_Track(tracker)]
        if job.forecast_limit_s is not None:
            callbacks.append(_Forecast(job.forecast_limit_s))
        if job.early_stopping_patience is not None:
            callbacks.append(EarlyStoppingCallback(job.early_stopping_patience))
        trainer = Trainer(
            model=model,
            args=_arguments(job, bf16, world, checkpoints, rows=len(train)),
            train_dataset=Rows(train),
            eval_dataset=Rows(validation),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_scores,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # _Track says what there is to say
        start = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - start
        calibrated = _calibrate(trainer, Rows(validation))
        if rank == 0:
            model.save_pretrained(os.path.join(folder, "model"))
            tokenizer.save_pretrained(os.path.join(folder, "model"))
    return {
        "history": trainer.state.log_history,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "best_macro_f1": trainer.state.best_metric,
        "calibration": calibrated,
        "seconds": round(seconds, 2),
        "device": str(trainer.args.device),
        "precision": "bf16" if bf16 else "fp32",
    }


def has_fast_bf16(use_cpu: bool) -> bool:
    """Whether the device multiplies bfloat16 in hardware; on a CPU that is AVX-512 BF16 or AMX."""
    if not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _arguments(job: Job, bf16: bool, world: int, checkpoints: str, rows: int) -> TrainingArguments:
    recipe = job.recipe
    per_worker = max(1, recipe.batch_size // world)
    steps = int(np.ceil(rows / (per_worker * world)) * recipe.epochs)
    return TrainingArguments(
        output_dir=checkpoints,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=per_worker,
        per_device_eval_batch_size=4 * per_worker,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        bf16=bf16,
        use_cpu=job.use_cpu,
        seed=job.seed,
        data_seed=job.seed,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        logging_steps=max(1, min(50, steps // 20)),
        report_to=[],
        disable_tqdm=True,
        average_tokens_across_devices=False,  # with it the loss of two workers is reported doubled
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not job.use_cpu,
    )


def _scores(predicted: EvalPrediction) -> dict[str, float]:
    """Accuracy and macro-F1 of the validation rows."""
    best = predicted.predictions.argmax(axis=-1)
    matrix = metrics.confusion(predicted.label_ids, best, predicted.predictions.shape[-1])
    return {"accuracy": float((best == predicted.label_ids).mean()), "macro_f1": metrics.macro_f1(matrix)}


def _calibrate(trainer: Trainer, validation: Rows) -> dict[str, float]:
    """Fit the model's temperature on the validation rows and put it into its configuration; all workers take part."""
    predicted = trainer.predict(validation)
    logits, true = predicted.predictions, predicted.label_ids
    temperature = calibration.fit_temperature(logits, true)
    setattr(trainer.model.config, modeling.TEMPERATURE, temperature)
    losses = {"log_loss_before": 1.0, "log_loss": temperature}
    return {"temperature": temperature} | {
        name: calibration.mean_log_loss(logits, true, divisor) for name, divisor in losses.items()
    }


class _Track(TrainerCallback):
    """Hands what the Trainer logs to the tracker, and a line of progress to standard error."""

    def __init__(self, tracker: tracking.Tracker) -> None:
        self._tracker = tracker
        self._start = self._said = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        numbers = {name: float(v) for name, v in (logs or {}).items() if isinstance(v, int | float)}
        if not state.is_world_process_zero or not numbers:
            return
        self._tracker.log(numbers, step=state.global_step)
        shown = {k: v for k, v in numbers.items() if k in ("loss", "eval_loss", "eval_accuracy", "eval_macro_f1")}
        now = time.monotonic()
        if shown and (now - self._said >= _SAID_EVERY_S or "eval_loss" in shown):
            left = (now - self._start) / max(1, state.global_step) * (state.max_steps - state.global_step)
            scores = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            say(f"step {state.global_step} of {state.max_steps}: {scores} ({left:.0f} s left)")
            self._said = now


class _Forecast(TrainerCallback):
    """Stops a training on the CPU whose first steps predict more than the limit."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._start = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == _TIMED_FROM:
            self._start = time.monotonic()
        if state.global_step == _TIMED_FROM + _TIMED_STEPS:
            expected_s = (time.monotonic() - self._start) / _TIMED_STEPS * state.max_steps
            if expected_s > self._limit_s:
                raise ConfigError(
                    f"training on the CPU would take about {expected_s / 3600:.1f} hours",
                    f"at most {self._limit_s / 3600:.1f}",
                    "use a GPU (--device cuda), a smaller model, fewer --epochs, or say --device cpu to go on",
                )
