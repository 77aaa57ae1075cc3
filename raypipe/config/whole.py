"""The flags of the commands about a whole: `run`, `demo` and `doctor`."""

from dataclasses import dataclass

from raypipe.config.checks import require
from raypipe.config.common import CommonConfig
from raypipe.config.estimate import EstimatedConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig(EstimatedConfig):
    """Prepare, train and evaluate from one TOML file, into RUN/{prepare,train,evaluate}."""

    run_dir: str | None = None
    """Folder of the whole run (runs/run-UTC by default); its index.html is the entrance."""

    def validate(self) -> None:
        super().validate()
        require(
            self.config is not None,
            "no --config",
            "a TOML file with [prepare] and [train]",
            "start from jobs/configs/banking77.toml",
        )


@dataclass(frozen=True, kw_only=True)
class DemoConfig(CommonConfig):
    """The whole road offline on the CPU, on the docstrings of the installed packages."""

    output_dir: str = "out/demo"
    """Folder of the demo's run."""
    rows: int = 6_000
    """Rows of the docstring corpus to take (500 to 100000)."""
    epochs: float = 4.0
    """Passes over the training rows."""

    def validate(self) -> None:
        super().validate()
        require(500 <= self.rows <= 100_000, f"--rows {self.rows}", "500 to 100000")
        require(0 < self.epochs <= 100, f"--epochs {self.epochs}", "more than 0, at most 100")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(CommonConfig):
    """Say what this machine or cluster can do, and what is missing."""

    cluster: bool = False
    """Also prove on the cluster: machines, GPUs, equal versions, an all-reduce between workers, shared storage."""
    storage: str | None = None
    """Folder or address (s3://BUCKET/PREFIX) that --cluster writes to on one machine and reads on the others."""

    def validate(self) -> None:
        super().validate()
        require(self.cluster or self.storage is None, "--storage without --cluster", "both", "add --cluster")
