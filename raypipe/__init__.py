"""Raw labelled JSONL to a published, evaluated text classifier, on Ray.

Importing this package loads neither Ray nor torch: the names below are found when they are first used.
The verbs are functions of ``raypipe.pipeline``, each taking one configuration:
``pipeline.prepare(PrepareConfig(...))``.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "PrepareConfig": "raypipe.config",
    "TrainConfig": "raypipe.config",
    "EvaluateConfig": "raypipe.config",
    "PredictConfig": "raypipe.config",
    "AuditConfig": "raypipe.config",
    "RunConfig": "raypipe.config",
    "SweepConfig": "raypipe.config",
    "RaypipeError": "raypipe.errors",
    "ConfigError": "raypipe.errors",
    "DataError": "raypipe.errors",
    "StageError": "raypipe.errors",
    "StageResult": "raypipe.schema",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'raypipe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
