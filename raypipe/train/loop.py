"""The fine-tune of one worker, around the Hugging Face Trainer. No Ray in it: it runs bare on a GPU machine."""

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PrinterCallback,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from raypipe.core import calibration, intervals, metrics
from raypipe.errors import StageError
from raypipe.runtime import say
from raypipe.train import attention, checkpoints, memory, modeling, tracking
from raypipe.train.batching import TokenBatches
from raypipe.train.job import TrainJob
from raypipe.train.stepping import StepTrainer
from raypipe.train.watching import Collapse, Evaluated, Track, WholeTime, WithinEpoch


class DivergedError(StageError):
    """The outputs of the model are no numbers any more."""


class TokenRows(torch.utils.data.Dataset):
    """Tokenised rows of an Arrow table  # input_ids: list<int32>, label: int64."""

    def __init__(self, table: pa.Table) -> None:
        self._ids = table["input_ids"].combine_chunks()
        self._labels = table["label"].to_numpy()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self._ids[row].values.to_numpy(), "labels": int(self._labels[row])}


def fine_tune(
    job: TrainJob,
    train: pa.Table,
    validation: pa.Table,
    folder: str,
    scratch: str,
    rank: int = 0,
    world: int = 1,
    report: checkpoints.Report | None = None,
    resume: str | None = None,
    evaluated: Callable[[dict[str, Any]], None] | None = None,
) -> dict:
    """Train on ``train``, keep the weights that score best on ``validation``, and save them.

    On rank 0 ``folder`` receives ``model/`` (safetensors, tokenizer, configuration) and ``wandb/``. ``scratch`` is an
    empty folder for what is only needed on the way. ``report`` is handed checkpoints, from one of which ``resume``
    goes on; ``evaluated`` the numbers of each evaluation, on every worker. Returns the trainer's history and figures of
    the run.

    Raises ConfigError where the forecast is too long, StageError where the training collapses.
    """
    torch.set_num_threads(job.threads)
    if job.use_cpu:
        memory.keep_freed()
    validation = validation.take(np.argsort(_lengths(validation), kind="stable"))  # neighbours pad least
    batches = job.batches(_lengths(train), rank, world)
    best = checkpoints.KeepBest(os.path.join(scratch, "best"), job.early_stopping_patience)
    progress = {"seconds": 0.0, "finished": False} if resume is None else checkpoints.go_on(resume, batches, best)
    tokenizer = modeling.load_tokenizer(job.model, job.hf_token.value)
    collate = DataCollatorWithPadding(tokenizer)
    arguments = _arguments(job, batches, os.path.join(scratch, "checkpoints"), int(_lengths(validation).max()))
    sample = collate([TokenRows(train)[int(row)] for row in _of_all_lengths(train)])
    model, computes = _classifier(job, arguments, sample, warns=rank == 0)
    forecast = _forecast(job, _lengths(validation).sum() / _lengths(train).sum(), resume is None, progress["seconds"])
    key, group, mode = job.wandb_key.value, job.run_group, job.wandb_mode
    with tracking.tracked(folder, job.run_name, job.tracked_config, key, rank == 0, group, mode) as tracker:
        trainer = StepTrainer(
            batches=batches,
            class_weights=_balanced(train, len(job.labels)) if job.balanced_classes else None,
            model=model,
            args=arguments,
            train_dataset=TokenRows(train),
            eval_dataset=TokenRows(validation),
            data_collator=collate,
            compute_metrics=scores,
            callbacks=_callbacks(job, tracker, batches, best, forecast, report, progress["seconds"], evaluated),
        )
        trainer.remove_callback(PrinterCallback)  # Track says what there is to say
        seconds = _train(trainer, best, resume, progress)
    if rank == 0:
        _save(best, tokenizer, job.max_length, os.path.join(folder, "model"))
    return {
        **_history(trainer.state, best, forecast),
        "seconds": round(seconds, 2),
        "workers": world,
        "rows_of_a_step": round(len(train) / batches.steps, 2),
        "wandb": {"id": tracker.id, "offline": tracker.offline},
        **_computed(job, arguments, batches, computes),
    }


def _forecast(job: TrainJob, held_out: float, is_new: bool, seconds_before: float) -> WholeTime:
    """``held_out``: tokens of an evaluation over those of an epoch."""
    limit_s = job.forecast_limit_s if is_new else None  # what was allowed to begin may end
    return WholeTime(limit_s, job.evaluations_per_epoch * held_out, seconds_before)


def _save(best: checkpoints.KeepBest, tokenizer: Any, max_length: int, folder: str) -> None:
    shutil.copytree(best.folder, folder)
    tokenizer.model_max_length = max_length  # plain transformers cuts there as well
    tokenizer.save_pretrained(folder)


def _train(trainer: StepTrainer, best: checkpoints.KeepBest, resume: str | None, progress: dict[str, Any]) -> float:
    """Train, from ``resume`` on where there is a checkpoint; seconds in all, those before it included.

    A training that diverges ends with the best weights that it had, if it had any. Raises DivergedError if not.
    """
    start = time.monotonic()
    if progress["finished"]:
        trainer.state = TrainerState.load_from_json(os.path.join(str(resume), "trainer_state.json"))
        return float(progress["seconds"])
    try:
        trainer.train(resume_from_checkpoint=resume)
    except DivergedError:
        if trainer.state.best_metric is None:
            raise
        best.notices.append(
            f"warning: the training diverged by step {trainer.state.global_step} of {trainer.state.max_steps} (NaN or "
            "infinite outputs); the model is its best epoch before, and a smaller --learning-rate may do better"
        )
    return time.monotonic() - start + float(progress["seconds"])


def _history(state: TrainerState, best: checkpoints.KeepBest, forecast: WholeTime) -> dict[str, Any]:
    """What is known of the training when it has ended."""
    return {
        "history": [_finite(entry) for entry in state.log_history],
        "notices": best.notices,
        "steps": state.global_step,
        "epochs": state.epoch,
        "best_macro_f1": state.best_metric,
        "calibration": best.calibration,
        "predicted_s": forecast.predicted_s,
    }


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    """A line of the history without what JSON cannot hold, as the loss of a training that diverged."""
    return {name: v for name, v in entry.items() if not (isinstance(v, float) and not math.isfinite(v))}


def _classifier(
    job: TrainJob, arguments: TrainingArguments, sample: Any, warns: bool
) -> tuple[Any, attention.Attention]:
    """The model to train, with the attention that the device and the job allow."""
    device = arguments.device
    model = modeling.new_classifier(job.model, job.labels, job.seed, job.hf_token.value, job.truncation, job.max_length)
    model, computes = attention.install(model, job.attention, device, arguments.bf16, sample)
    if warns and computes.reason and (job.attention == "fused" or device.type == "cuda"):
        say(f"warning: no fused attention: {computes.reason}; training with {computes.kind} attention")
    return model, computes


def _computed(
    job: TrainJob, arguments: TrainingArguments, batches: TokenBatches, computes: attention.Attention
) -> dict[str, Any]:
    """On what a worker computed, and how."""
    return {
        "device": str(arguments.device),
        "device_name": f"CPU, threads: {job.threads}" if job.use_cpu else torch.cuda.get_device_name(),
        "precision": "bf16" if arguments.bf16 else "fp32",
        "attention": asdict(computes),
        "accumulation": batches.accumulation,
    }


def _callbacks(
    job: TrainJob,
    tracker: tracking.Tracker,
    batches: TokenBatches,
    best: checkpoints.KeepBest,
    forecast: WholeTime,
    report: checkpoints.Report | None,
    seconds_before: float,
    evaluated: Callable[[dict[str, Any]], None] | None,
) -> list[TrainerCallback]:
    callbacks: list[TrainerCallback] = [
        Track(tracker, batches),
        Collapse(len(job.labels), job.recipe.learning_rate),
        forecast,
        best,
    ]
    if job.evaluations_per_epoch > 1:
        callbacks.append(WithinEpoch(job.evaluations_per_epoch, batches))
    if evaluated is not None:
        callbacks.append(Evaluated(evaluated))
    if report is not None:
        least_s = 60 * job.checkpoint_minutes
        callbacks.append(checkpoints.Checkpoints(least_s, batches, best, report, seconds_before))
    return callbacks


def _of_all_lengths(table: pa.Table) -> np.ndarray:
    """Eight rows from the shortest to the longest  # (at most 8,) int64."""
    order = np.argsort(_lengths(table), kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, 8).astype(np.int64))]


def _lengths(table: pa.Table) -> np.ndarray:
    """Tokens of each row  # (rows,) int64."""
    return pc.list_value_length(table["input_ids"]).to_numpy().astype(np.int64)


def _steps(job: TrainJob, batches: TokenBatches) -> int:
    """Optimizer steps of the whole training, as the Trainer counts them."""
    return math.ceil(job.recipe.epochs * batches.steps)


def _balanced(table: pa.Table, classes: int) -> torch.Tensor:
    """Weights rows / (classes × rows of the class), which average 1 over the rows  # (classes,) float32."""
    counts = np.bincount(table["label"].to_numpy(), minlength=classes)
    return torch.tensor(len(table) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


def _arguments(job: TrainJob, batches: TokenBatches, folder: str, longest: int) -> TrainingArguments:
    recipe = job.recipe
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=recipe.epochs,
        gradient_accumulation_steps=batches.accumulation,
        per_device_eval_batch_size=job.evaluation_rows(longest),
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        bf16=job.uses_bf16(),
        use_cpu=job.use_cpu,
        seed=job.seed,
        data_seed=job.seed,
        eval_strategy="epoch",
        save_strategy="no",  # checkpoints.py says when
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        logging_steps=max(1, min(50, _steps(job, batches) // 20)),
        logging_nan_inf_filter=False,  # it would log a loss of 0 in place of NaN, and Collapse would let it pass
        report_to=[],
        disable_tqdm=True,
        average_tokens_across_devices=False,  # StepTrainer knows the rows of a step without asking the others
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not job.use_cpu,
    )


def scores(predicted: EvalPrediction) -> dict[str, float]:
    """Of the validation rows loss, accuracy and macro-F1 with intervals; their temperature, and the loss with it.

    Raises DivergedError where the model gives no numbers.
    """
    logits, true = predicted.predictions, predicted.label_ids  # (rows, classes), (rows,)
    if not np.isfinite(logits).all():
        raise DivergedError(
            "the training has collapsed: the model's outputs on the validation rows are NaN or infinite",
            "numbers",
            "a smaller --learning-rate, or --precision fp32; if both fail, look for NaN in the base model's weights",
        )
    best, temperature = logits.argmax(axis=-1), calibration.fit_temperature(logits, true)
    accuracy = intervals.wilson(int((best == true).sum()), len(true))
    macro_f1 = metrics.class_estimates(true, best, logits.shape[-1], seed=0)["macro_f1"]
    return {
        "loss": calibration.mean_log_loss(logits, true, 1.0),
        **{"accuracy": accuracy.value, "accuracy_low": accuracy.low, "accuracy_high": accuracy.high},
        **{"macro_f1": macro_f1.value, "macro_f1_low": macro_f1.low, "macro_f1_high": macro_f1.high},
        "temperature": temperature,
        "calibrated_loss": calibration.mean_log_loss(logits, true, temperature),
    }
