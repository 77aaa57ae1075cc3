"""The flags of `sweep`: those of `train`, and what to try."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from raypipe.config.checks import require
from raypipe.config.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig(TrainConfig):
    """Find the learning rate, and what else is tried, on a validation share of train; takes train's flags."""

    learning_rates: tuple[float, ...] = ()
    """Learning rates to try."""
    learning_rate_range: tuple[float, float] | None = None
    """Or try --num-samples of them between these two, drawn evenly on a logarithmic scale."""
    num_samples: int = 8
    """Learning rates drawn from --learning-rate-range."""
    try_epochs: tuple[float, ...] = ()
    """Numbers of epochs to try with each rate."""
    try_token_budgets: tuple[int, ...] = ()
    """Token budgets to try with each rate."""
    try_models: tuple[str, ...] = ()
    """Base models to try with each rate, in place of --model-for-training-finetune."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha stops trials early that do worse than others at the same point; none runs all to their end."""
    evaluations_per_epoch: int = 4
    """How often a trial is scored on the validation rows, which is where asha may stop it."""
    max_concurrent: int | str = "auto"
    """Trials at a time; auto: as many as the cluster's CPUs or GPUs can hold."""
    time_budget_minutes: float | None = None
    """Minutes after which no trial goes on; the best of what ran is taken."""

    def validate(self) -> None:
        super().validate()
        require(
            bool(self.learning_rates) != bool(self.learning_rate_range),
            "not exactly one of --learning-rates and --learning-rate-range",
            "one of them",
            "--learning-rates 1e-5 2e-5 4e-5",
        )
        for rate in self.learning_rates + (self.learning_rate_range or ()):
            require(0 < rate < 1, f"a learning rate of {rate}", "a number between 0 and 1")
        low, high = self.learning_rate_range or (0.1, 0.2)
        require(low < high, f"--learning-rate-range {low:g} {high:g}", "the lower rate first")
        require(self.num_samples >= 1, f"--num-samples {self.num_samples}", "at least 1")
        for flag, given in {"--learning-rate": self.learning_rate, "--hf-model-name": self.hf_model_name}.items():
            require(
                given is None, f"{flag} in a sweep", "train's flags but this one", "train with best.toml afterwards"
            )
        require(self.train and not self.examples, "--no-train or --examples in a sweep", "a training")
        require(self.wandb_output is None, "--wandb-output in a sweep", "sweep.html has the curves", "leave it out")
        for name in ("max_failures", "checkpoint_minutes", "output_classify_file"):
            flag, is_default = f"--{name.replace('_', '-')}", getattr(self, name) == getattr(TrainConfig, name)
            require(is_default, f"{flag} in a sweep", "trials without checkpoints or scores on test", "leave it out")
        for epochs in self.try_epochs:
            require(0 < epochs < math.inf, f"--try-epochs {epochs}", "more than 0")
        for budget in self.try_token_budgets:
            require(
                budget >= self.max_length, f"--try-token-budgets {budget}", f"at least --max-length {self.max_length}"
            )
        require(
            re.fullmatch(r"auto|[1-9]\d*", str(self.max_concurrent)) is not None,
            f"--max-concurrent {self.max_concurrent}",
            "auto, or a whole number of at least 1",
        )
        require(self.evaluations_per_epoch >= 1, f"--evaluations-per-epoch {self.evaluations_per_epoch}", "at least 1")
        minutes = self.time_budget_minutes
        require(minutes is None or minutes > 0, f"--time-budget-minutes {minutes}", "more than 0")

    def most_at_once(self) -> int | None:
        """The most trials at a time; None where the cluster decides."""
        return None if self.max_concurrent == "auto" else int(self.max_concurrent)
