"""Ray Train's TorchTrainer around the loop: rows tokenised once, workers fed by reference, a model folder back."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import ray

from raypipe.config import TrainConfig
from raypipe.core import sampling
from raypipe.core import text as core_text
from raypipe.errors import ConfigError, DataError, RaypipeError, StageError
from raypipe.hub import Source
from raypipe.runtime import is_own, of_each_machine, say, wait_for
from raypipe.schema import LABEL, TEXT
from raypipe.train import modeling
from raypipe.train.job import TrainJob

TRIAL_CPUS = 0.01  # of a sweep's trial that drives its workers; it must be above 0
_OUTCOME = "outcome.json"  # in the last checkpoint, beside model/
_VALIDATION, _DOWNSAMPLE = 3, 4  # purposes of the seeded hash; prepare uses 1 and 2


@dataclass(frozen=True)
class Workers:
    """What the training runs on."""

    least: int
    most: int
    use_gpu: bool
    cpus_each: float
    forecast_limit_s: float | None
    on_own_ray: bool = False  # one that ends with its driver


def choose_workers(config: TrainConfig) -> Workers:
    """GPU or CPU workers from the cluster's resources, after waiting for them.

    Raises ConfigError for ``cuda`` without enough GPUs; ``auto`` takes the CPU with a warning.
    """
    least, _ = config.workers_range()
    use_gpu = config.device != "cpu" and wait_for({"GPU": least}, config.wait_for_resources)
    if config.device == "cuda" and not use_gpu:
        have = ray.cluster_resources().get("GPU", 0)
        raise ConfigError(
            f"--device cuda with {have:.0f} GPUs for {least} workers",
            f"at least {least}",
            "--device auto or cpu, fewer --num-workers, or --wait-for-resources SECONDS on a cluster that grows",
        )
    if not use_gpu and not wait_for({"CPU": least}, config.wait_for_resources):
        raise ConfigError(f"{ray.cluster_resources().get('CPU', 0):.0f} CPUs for {least} workers", "one each")
    if not use_gpu and config.device == "auto":
        have = ray.cluster_resources().get("GPU", 0)
        found = f"{have:.0f} GPU(s) for {least} workers" if have else "no GPU"
        say(f"warning: {found}; training on the CPU (--device cpu says that this is meant)")
    return workers_on(of_each_machine("CPU"), use_gpu, config)


def workers_on(nodes: list[float], use_gpu: bool, config: TrainConfig) -> Workers:
    """The workers on machines with these CPUs."""
    least, most = config.workers_range()
    limit = config.max_cpu_hours * 3600 if config.device == "auto" and not use_gpu else None
    # A worker keeps whole CPUs; on a GPU one is enough, since the rows are tokenised beforehand.
    cpus = 1.0 if use_gpu else cpus_each(nodes, most)
    return Workers(least, most, use_gpu, cpus, limit, on_own_ray=is_own())


def cpus_each(nodes: Sequence[float], workers: int) -> float:
    """The most whole CPUs that each worker can have, no worker crossing machines."""
    fitting = (c for c in range(int(max(nodes)), 0, -1) if sum(n // c for n in nodes) >= workers)
    return float(next(fitting, 1))


def hold_out(train: pd.DataFrame, labels: list[str], config: TrainConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and validation rows, stratified by seeded hash; --downsample cuts the classes first.

    Raises DataError where no class has two rows.
    """
    keys = np.array([core_text.key(core_text.canonical(text)) for text in train[TEXT]], dtype=np.int64).reshape(-1, 2)
    high, low = np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1])
    label = pd.Categorical(train[LABEL], categories=labels).codes.astype(np.int64)
    rows = np.arange(len(train))
    if config.downsample:
        caps = sampling.class_caps(np.bincount(label, minlength=len(labels)), 1.0, 1.0)
        rows = rows[sampling.first_of_each(label, sampling.places(high, low, config.seed, _DOWNSAMPLE), caps)]
    sizes = np.bincount(label[rows], minlength=len(labels))
    counts = sampling.held_out_counts(sizes, config.validation_fraction, at_least=0)
    if not counts.sum():
        counts = sampling.held_out_counts(sizes, config.validation_fraction)
    if not counts.sum():
        raise DataError("no class with two training rows", "rows to hold out for validation")
    places = sampling.places(high[rows], low[rows], config.seed, _VALIDATION)
    held = sampling.first_of_each(label[rows], places, counts)
    return train.iloc[rows[~held]], train.iloc[rows[held]]


def tokenise(
    frame: pd.DataFrame, labels: list[str], model: Source, token: Any, max_length: int, truncation: modeling.Truncation
) -> list[Any]:
    """Arrow blocks with the columns input_ids, cut and label in the object store, made by Ray Data."""
    tokenizers: dict[str, Any] = {}

    def encode(batch: pa.Table) -> pa.Table:
        tokenizer = tokenizers.setdefault("one", None) or modeling.load_tokenizer(model, token.value)
        tokenizers["one"] = tokenizer
        texts = batch[TEXT].to_pylist()
        return modeling.encode_table(tokenizer, texts, max_length, truncation, label=batch["label"])

    codes = pd.Categorical(frame[LABEL], categories=labels).codes.astype(np.int64)
    rows = ray.data.from_arrow(pa.table({TEXT: frame[TEXT].to_list(), "label": codes}))
    return rows.map_batches(encode, batch_format="pyarrow", batch_size=4096).materialize().to_arrow_refs()


def count_cut(blocks: list[Any]) -> dict[str, int]:
    """Rows and tokens of tokenised blocks before they were cut at the length limit, and how many of them it cost."""

    def count(block: pa.Table) -> list[int]:
        cut = block["cut"].to_numpy()
        kept = pc.list_value_length(block["input_ids"]).to_numpy()
        return [len(cut), int((cut > 0).sum()), int(cut.sum() + kept.sum()), int(cut.sum())]

    task = ray.remote(count)
    sums = np.sum(ray.get([task.remote(block) for block in blocks]), axis=0)
    return dict(zip(("rows", "rows_cut", "tokens", "tokens_cut"), sums.tolist(), strict=True))


def finetune(
    job: TrainJob,
    train: list[Any],
    validation: list[Any],
    workers: Workers,
    storage_path: str,
    max_failures: int,
    trial: "ray.train.UserCallback | None" = None,
) -> tuple[dict, str]:
    """Run the loop on the workers; returns its outcome and the path or URI of the folder with model/ and wandb/.

    A ``trial`` of a sweep is told each evaluation; its model is not kept, and its workers leave some of their CPUs to
    its driver.

    Ray Train keeps the last checkpoint under ``storage_path``, and goes on from one that it finds there: after a
    worker has failed, and after the driver has.

    Raises what the loop raised on purpose, else Ray Train's TrainingFailedError with the worker's traceback.
    """
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from raypipe.train.local_trainer import LocalTrainer

    trainer = (LocalTrainer if workers.on_own_ray else TorchTrainer)(
        _worker,
        train_loop_config={"job": job, "train": train, "validation": validation, "is_trial": trial is not None},
        torch_config=TorchConfig(backend="nccl" if workers.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers.most if workers.least == workers.most else (workers.least, workers.most),
            use_gpu=workers.use_gpu,
            resources_per_worker={
                "CPU": workers.cpus_each - (TRIAL_CPUS if trial is not None else 0),
                **({"GPU": 1} if workers.use_gpu else {}),
            },
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=storage_path,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
            callbacks=None if trial is None else [trial],
        ),
    )
    result = trainer.fit()
    outcome = result.return_value
    if isinstance(outcome, RaypipeError):
        raise outcome
    if result.checkpoint is None:
        raise StageError("training ended without a model", "a checkpoint from rank 0")
    scheme = storage_path.split("://")[0] + "://" if "://" in storage_path else ""
    return outcome, scheme + result.checkpoint.path


def _worker(config: dict[str, Any]) -> dict[str, Any] | RaypipeError:
    """What each Ray Train worker runs; the last checkpoint that it reports holds the model, and no training state.

    What is raised on purpose is returned: it is the same on all workers, and another try would end no better.
    """
    import contextlib
    import logging
    import tempfile

    import ray.train
    from ray.train import Checkpoint

    from raypipe.train.loop import fine_tune

    logging.getLogger().setLevel(logging.WARNING)  # Ray Train names a logger by its file, out of LoggingConfig's reach
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if world == 1:
        _leave_process_group()
    found = ray.train.get_checkpoint()
    with contextlib.ExitStack() as stack:
        resume = None if found is None else stack.enter_context(found.as_directory())
        if resume is not None and os.path.exists(os.path.join(resume, _OUTCOME)):
            with open(os.path.join(resume, _OUTCOME), encoding="utf8") as file:
                return json.load(file)  # the training was done; what came after it was not
        folder, scratch = (
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f"raypipe-{kind}-"))
            for kind in ("model", "checkpoints")
        )
        tables = {split: pa.concat_tables(ray.get(config[split])) for split in ("train", "validation")}
        try:
            outcome = fine_tune(
                config["job"],
                tables["train"],
                tables["validation"],
                folder,
                scratch,
                rank,
                world,
                report=None if config["is_trial"] else _report,
                resume=resume,
                evaluated=_tell if config["is_trial"] else None,
            )
        except RaypipeError as error:
            return error
        if rank == 0:
            if config["is_trial"]:
                shutil.rmtree(os.path.join(folder, "model"))
            with open(os.path.join(folder, _OUTCOME), "w", encoding="utf8") as file:
                json.dump(outcome, file)
        ray.train.report(
            {"macro_f1": outcome["best_macro_f1"]}, checkpoint=Checkpoint.from_directory(folder) if rank == 0 else None
        )
    return outcome


def _leave_process_group() -> None:
    """A worker alone trains as a plain process does.

    In a process group, were it of one, Accelerate wraps the model in DistributedDataParallel, which copies all
    gradients at each step and keeps them twice in memory.
    """
    import torch

    torch.distributed.destroy_process_group()
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def _report(folder: str) -> None:
    """Hand a checkpoint to Ray Train, which copies it to the storage beside the next steps, and then removes it."""
    import ray.train
    from ray.train import Checkpoint, CheckpointUploadMode

    checkpoint = Checkpoint.from_directory(folder)
    ray.train.report({}, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.ASYNC)


def _tell(scores: dict[str, Any]) -> None:
    """An evaluation of a sweep's trial, with the placement group that goes when the trial is stopped."""
    import ray.train
    from ray.util import get_current_placement_group

    group = get_current_placement_group()
    ray.train.report(scores | {"placement_group": "" if group is None else group.id.hex()})
