"""What every command takes, and which of its fields decide a result."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_type_hints

from tyro import MISSING
from tyro.conf import arg

from raypipe.config.checks import of_type, require

# Fields that say how a command runs and where its outputs go, not what it computes: they are not part of its hash.
RUN_CONTROL = frozenset({"config", "address", "num_cpus", "wait_for_resources", "overwrite", "resume"}) | {
    "allow_literal_token",
    "output_filename",
    "output_dir",
    "output_classify_file",
    "output",
    "run_dir",
    "target_hf_dataset",
    "yes_publish",
    "hf_model_name",
    "wandb_output",
    "block_rows",
    "explore_max_pairs",
    "checkpoint_minutes",
    "max_failures",
    "max_concurrent",
    "max_cpu_hours",
    "dry_run",
    "price_per_gpu_hour",
    "assume_gpu",
}

# What `run` and `demo` hand on to the stages that they start.
HANDED_ON = ("seed", "address", "num_cpus", "wait_for_resources", "overwrite", "resume", "allow_literal_token")


def secret() -> Any:
    """A field for a token: never printed, hashed or stored."""
    return field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, kw_only=True)
class CommonConfig:
    """What every command takes."""

    config: str | None = None
    """TOML file with a table for each command, [prepare] [train] ...; flags win over it."""
    seed: int = 42
    """Seed of every random choice."""
    address: str | None = None
    """Ray cluster to use; without it the running cluster (inside a Ray job or with RAY_ADDRESS), else a local Ray."""
    num_cpus: int | None = None
    """CPUs of a local Ray (all of the machine's by default)."""
    wait_for_resources: float = 0.0
    """Seconds to wait for an autoscaling cluster to bring the CPUs or GPUs that the command needs."""
    overwrite: bool = False
    """Replace an existing complete output."""
    resume: bool = False
    """Keep an existing complete output of the same input and configuration; finish an incomplete one."""
    allow_literal_token: bool = False
    """Accept a token written out on the command line inside a Ray job, where it is stored in the job's metadata."""

    def __post_init__(self) -> None:
        """Hold each value as its field's type. Raises ConfigError."""
        annotations = get_type_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not MISSING:  # the parser's mark for what is still to come
                shown = type(value).__name__ if f.metadata.get("secret") else repr(value)
                held = of_type(value, annotations[f.name], f"--{f.name.replace('_', '-')} {shown}")
                object.__setattr__(self, f.name, held)

    def validate(self) -> None:
        """Refuse values that cannot work. Raises ConfigError."""
        require(0 <= self.seed < 2**32, f"--seed {self.seed}", "a whole number from 0 to 4294967295")
        require(self.num_cpus is None or self.num_cpus >= 1, f"--num-cpus {self.num_cpus}", "at least 1")
        require(self.wait_for_resources >= 0, f"--wait-for-resources {self.wait_for_resources}", "at least 0")
        require(not (self.overwrite and self.resume), "--overwrite and --resume together", "one of them", "drop one")

    def public(self) -> dict[str, Any]:
        """The fields without secrets, as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata.get("secret")}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def hash(self) -> str:
        """Sixteen hex digits of SHA-256 over everything that decides the result."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:16]

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result."""
        return {name: value for name, value in self.public().items() if name not in RUN_CONTROL}


HfToken = Annotated[str | None, arg(aliases=["-ht"], metavar="TOKEN|env:NAME|@FILE")]
WandbToken = Annotated[str | None, arg(metavar="KEY|env:NAME|@FILE")]
