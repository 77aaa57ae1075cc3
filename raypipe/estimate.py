"""What a command will need: the figures of a dry run, and the few constants behind them that no dry run can time.

A dry run times the work itself on a sample, in its own process. It starts no Ray, so what Ray and its processes take
to start stands here, measured once: `benchmarks/dry_run.py --sets demo` repeats the runs, on a set that is none of
those that it judges the estimates by.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from raypipe.config import EstimatedConfig, ScoringConfig
from raypipe.errors import ConfigError

# Seconds on two cores, packages in the page cache (results/2026-11-24-dry-run-demo.json).
RAY_START_S = 7.0  # ray.init and its end, the checksums' first worker among them
READ_START_S = 1.3  # Ray Data's first plan, and the first workers with pyarrow and pandas
KERNELS_START_S = 0.5  # the compiled functions of vectorise out of numba's cache, in each worker at the same time
STAGE_S = 0.05  # a stage of a few tasks beyond their work
TOKENISE_START_S = 3.5  # a worker with transformers and the tokenizer, twice Ray Data's plan
TRAIN_START_S = 19.0  # Ray Train's controller, the workers with torch and transformers, the last checkpoint's copy
SCORE_START_S = 9.0  # actors with torch, transformers and the model
COMPARE_START_S = 6.0  # the same for the comparison of precisions, in a task of its own before the actors
TRIAL_START_S = 12.0  # a sweep's trial: driver and workers, most of whose packages are loaded by then

TIMED_S = 12.0  # of a training's batches that a dry run times
BUSY_SHARE = 0.5  # load average by CPUs beyond which a dry run says that its timing is disturbed

MIB = 1 << 20
# MiB of a process, bytes of a row, and a factor; benchmarks/results/2026-11-24-scale.json, 250,000 to 1,000,000 rows.
RAY_MIB, DRIVER_MIB, WORKER_MIB = 520, 150, 110
DRIVER_ROW_BYTES = 950
WORKER_COPIES = 3.5  # of a block's bytes that a task holds at its peak

# Dense tensor TFLOP/s in bfloat16 (T4, V100: float16) by NVIDIA's data sheets, without sparsity.
PEAK_TFLOPS = {"a10g": 70.0, "a100": 312.0, "h100": 989.0, "l4": 121.0, "t4": 65.0, "v100": 125.0}
ASSUMED_MFU = 0.3  # share of the peak that an encoder of base size reaches in padded batches; an assumption


@dataclass(frozen=True)
class Machine:
    """Where the work is predicted to run."""

    cpus: int
    gpus: int  # that are here, and so can be measured
    notes: tuple[str, ...] = ()


def machine_of(config: EstimatedConfig) -> Machine:
    """This machine, in place of a cluster too."""
    cpus = config.num_cpus or len(os.sched_getaffinity(0))
    address = config.address or os.environ.get("RAY_ADDRESS")
    notes: tuple[str, ...] = ()
    load = os.getloadavg()[0]
    if load > BUSY_SHARE * cpus:
        notes += (f"this machine is busy (load {load:.1f} on {cpus} CPUs): what is timed is slower than when idle",)
    if address and address != "local":
        notes += (f"the cluster at {address} is not asked: it is taken for one machine like this one, {cpus} CPUs",)
    if not isinstance(config, ScoringConfig) or config.device == "cpu":
        return Machine(cpus, 0, notes)
    import torch

    return Machine(cpus, torch.cuda.device_count(), notes)


def uses_gpu(config: ScoringConfig, machine: Machine, least: int = 1) -> bool:
    """Whether GPUs compute, ``least`` of them: where they are asked for, also in place of those that are not here."""
    return config.device == "cuda" or (config.device == "auto" and machine.gpus >= least)


def assumed_flops(config: EstimatedConfig) -> float:
    """FLOP/s of the GPU that the flags assume."""
    return PEAK_TFLOPS[config.assume_gpu] * 1e12 * ASSUMED_MFU


@dataclass
class Estimate:
    """Predicted figures of a command; its stages have the names that the real run gives them."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0  # of the training rows before the cut; of prepare its terms
    tokens_cut: int = 0
    rows_cut: int = 0
    rows_tokenised: int = 0
    memory_mib: dict[str, float] = field(default_factory=dict)  # driver, worker, object_store, ray, gpu
    workers: int = 1  # processes with the memory of a worker at the same time
    gpu_seconds: float = 0.0  # times GPUs held
    scoring_gpu_seconds: float = 0.0  # of these, those of scoring
    notes: list[str] = field(default_factory=list)

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    def peak_memory_mib(self) -> float:
        """Of all processes of the machine together, the object store with them."""
        worker = self.memory_mib.get("worker", 0.0) * self.workers
        return worker + sum(self.memory_mib.get(part, 0.0) for part in ("driver", "object_store", "ray"))

    def metrics(self, price_per_gpu_hour: float | None) -> dict[str, float]:
        """The numbers of the last line of standard output."""
        hours = self.gpu_seconds / 3600
        made = {"predicted_seconds": self.total_s, "peak_memory_mib": self.peak_memory_mib(), "gpu_hours": hours}
        made |= {f"predicted_seconds_{stage}": seconds for stage, seconds in self.seconds.items()}
        if self.rows_tokenised:
            made["share_truncated"] = self.rows_cut / self.rows_tokenised
            made["share_tokens_cut"] = self.tokens_cut / max(1, self.tokens)
        if "gpu" in self.memory_mib:
            made["gpu_memory_mib"] = self.memory_mib["gpu"]
        if price_per_gpu_hour is not None:
            made["cost"] = hours * price_per_gpu_hour
        return {name: round(value, 4) for name, value in made.items()}


def require_cpus(machine: Machine, workers: int) -> None:
    """Refuse more workers than the machine has CPUs, as the real run does. Raises ConfigError."""
    if machine.cpus < workers:
        raise ConfigError(f"{machine.cpus} CPUs for {workers} workers", "one each")
