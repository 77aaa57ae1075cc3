"""A TOML file as the defaults of a command: each value checked against the type of its field."""

import dataclasses
import json
import tomllib
import typing
from typing import Any

import tyro

from raypipe import storage
from raypipe.config import (
    AuditConfig,
    CommonConfig,
    DemoConfig,
    DoctorConfig,
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    SweepConfig,
    TrainConfig,
    nearest,
    of_type,
)
from raypipe.errors import ConfigError

TABLES: dict[str, type[CommonConfig]] = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "sweep": SweepConfig,
    "predict": PredictConfig,
    "audit": AuditConfig,
    "demo": DemoConfig,
    "doctor": DoctorConfig,
}


def read(path: str) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file, checked. Raises ConfigError."""
    storage.require_reachable(path)
    try:
        tables = tomllib.loads(storage.read_text(path))
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror or error}", "a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} is not TOML: {error}", "a TOML file") from None
    for name, values in tables.items():
        if name not in TABLES or not isinstance(values, dict):
            known = [table for table in TABLES if table != name]
            raise ConfigError(f"{path}: [{name}]", f"the tables {', '.join(TABLES)}", nearest(name, known))
        kind = TABLES[name]
        tables[name] = {key: _checked(kind, key, value, f"{path}: [{name}] {key}") for key, value in values.items()}
    return tables


def defaults_of(kind: type[CommonConfig], path: str | None, table: str) -> Any:
    """An instance to parse flags over: TOML values over defaults, required fields missing where not given."""
    given = read(path).get(table, {}) if path is not None else {}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in given:
            values[field.name] = given[field.name]
        elif field.default is dataclasses.MISSING:
            values[field.name] = tyro.MISSING
    return kind(**values)


def configure(kind: type[CommonConfig], values: dict[str, Any], **more: Any) -> Any:
    """A validated configuration from a checked table and further fields. Raises ConfigError."""
    fields = values | more
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    lacking = [name for name in required if name not in fields]
    if lacking:
        raise ConfigError(f"no {lacking[0]!r} in the configuration", "a value for it")
    config = kind(**fields)
    config.validate()
    return config


def _checked(kind: type[CommonConfig], key: str, value: Any, where: str) -> Any:
    """The value as its field holds it. Raises ConfigError."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name != "config"}
    if key not in fields:
        raise ConfigError(where, "a flag's name with underscores", nearest(key, fields))
    if fields[key].metadata.get("secret"):
        raise ConfigError(f"{where}: a token in a file", "HF_TOKEN, WANDB_API_KEY, env:NAME or @FILE as a flag")
    return of_type(value, typing.get_type_hints(kind)[key], f"{where} = {json.dumps(value, default=str)}")
