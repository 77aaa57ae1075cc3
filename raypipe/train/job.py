"""What a training worker is told. Without torch, so that the driver and Ray's controller start without it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.hub import Source
from raypipe.tokens import Secret
from raypipe.train.batching import TokenBatches
from raypipe.train.devices import has_fast_bf16
from raypipe.train.modeling import Truncation
from raypipe.train.recipe import Recipe


@dataclass(frozen=True)
class TrainJob:
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
    token_budget: int  # tokens of one batch of one worker, padding included
    truncation: Truncation
    max_length: int  # tokens of a text
    balanced_classes: bool
    checkpoint_minutes: float  # least time between checkpoints
    attention: str  # auto | eager | fused
    most_workers: int  # that the training may come to have
    evaluations_per_epoch: int = 1
    run_group: str | None = None  # of a sweep's trials
    wandb_mode: str | None = None  # WANDB_MODE of the driver, which the workers of a cluster do not inherit

    def uses_bf16(self) -> bool:
        """Whether the device of this process multiplies in bfloat16."""
        return self.precision == "bf16" or (self.precision == "auto" and has_fast_bf16(self.use_cpu))

    def batches(self, lengths: np.ndarray, rank: int, world: int) -> TokenBatches:
        """Those of a worker, for training rows of so many tokens  # (rows,). Raises ConfigError."""
        epochs = math.ceil(self.recipe.epochs)
        return TokenBatches(
            lengths, self.recipe.batch_size, self.token_budget, self.seed, epochs, rank, world, self.most_workers
        )

    def evaluation_rows(self, longest: int) -> int:
        """Rows of a batch of the evaluation, where the longest has so many tokens."""
        return max(1, self.token_budget // max(1, longest))
