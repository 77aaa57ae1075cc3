"""The flags of an estimate: `--dry-run` and what its figures need."""

import math
from dataclasses import dataclass
from typing import Literal

from raypipe.config.checks import require
from raypipe.config.common import CommonConfig


@dataclass(frozen=True, kw_only=True)
class EstimatedConfig(CommonConfig):
    """What every command takes that can tell beforehand what it will need."""

    dry_run: bool = False
    """Only estimate: time the work on a sample, print rows, tokens, seconds, memory, GPU-hours and cost; start no Ray
    and write nothing."""
    price_per_gpu_hour: float | None = None
    """Price of one GPU for an hour; --dry-run multiplies it by the predicted GPU-hours."""
    assume_gpu: Literal["a10g", "a100", "h100", "l4", "t4", "v100"] = "a100"
    """GPU that --dry-run computes with for --device cuda where this machine has none to measure."""

    def validate(self) -> None:
        super().validate()
        price = self.price_per_gpu_hour
        require(price is None or 0 <= price < math.inf, f"--price-per-gpu-hour {price}", "at least 0")
        require(not (self.dry_run and self.resume), "--dry-run with --resume", "one of them", "leave --resume out")
