"""One frozen dataclass per command: the only home of a default, and the source of the command line.

The text under each field is its help.
"""

from raypipe.config.audit import AuditConfig
from raypipe.config.checks import nearest, of_type, require
from raypipe.config.common import HANDED_ON, RUN_CONTROL, CommonConfig
from raypipe.config.estimate import EstimatedConfig
from raypipe.config.prepare import PrepareConfig
from raypipe.config.scoring import EvaluateConfig, PredictConfig, ScoringConfig
from raypipe.config.sweep import SweepConfig
from raypipe.config.train import CPU_TOKEN_BUDGET, DEFAULT_MODEL, GPU_TOKEN_BUDGET, TrainConfig
from raypipe.config.whole import DemoConfig, DoctorConfig, RunConfig

__all__ = [
    "CPU_TOKEN_BUDGET",
    "DEFAULT_MODEL",
    "GPU_TOKEN_BUDGET",
    "HANDED_ON",
    "RUN_CONTROL",
    "AuditConfig",
    "CommonConfig",
    "DemoConfig",
    "DoctorConfig",
    "EstimatedConfig",
    "EvaluateConfig",
    "PredictConfig",
    "PrepareConfig",
    "RunConfig",
    "ScoringConfig",
    "SweepConfig",
    "TrainConfig",
    "nearest",
    "of_type",
    "require",
]
