"""What Ray Train costs: the same training by a Ray Train worker and by train/loop.py in a bare process.

    python benchmarks/ray_overhead.py --data ../shared/data [--set banking77] [--rows 4000] [--rounds 5]

Seconds of the whole training (steps, evaluations, checkpoints under Ray), without the start of Ray, of processes and of
the model. Pairs alternate, the same threads for both; the ratio is the median of the pairs' ratios.
"""

import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from common import parser_for, report
from results_file import save
from training_sides import SEED, read

from raypipe.config.scoring import MAX_LENGTH
from raypipe.demo import encoder_path
from raypipe.hub import Source
from raypipe.tokens import Secret
from raypipe.train import loop, modeling
from raypipe.train.job import TrainJob
from raypipe.train.recipe import Recipe


def job(options: Any, labels: list[str]) -> TrainJob:
    """One epoch of the small models' recipe, untracked."""
    return TrainJob(
        model=Source(encoder_path()),
        labels=labels,
        recipe=Recipe(2e-4, 1, 16),
        seed=SEED,
        use_cpu=True,
        precision="auto",
        threads=options.threads,
        forecast_limit_s=None,
        early_stopping_patience=None,
        hf_token=Secret(None),
        wandb_key=Secret(None),
        run_name="ray_overhead",
        tracked_config={},
        token_budget=4096,
        truncation="head",
        max_length=MAX_LENGTH,
        balanced_classes=False,
        checkpoint_minutes=options.checkpoint_minutes,
        attention="auto",
        most_workers=1,
    )


def bare(work: TrainJob, train: pa.Table, validation: pa.Table) -> float:
    """Seconds of the training in a new process without Ray."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_bare, (work, train, validation)))


def _bare(work: TrainJob, train: pa.Table, validation: pa.Table) -> float:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, kind) for kind in ("model", "scratch")]
        for folder in folders:
            folder.mkdir()
        return float(loop.fine_tune(work, train, validation, *map(str, folders))["seconds"])


def under_ray(work: TrainJob, train: Any, validation: Any) -> float:
    """Seconds of the training in a Ray Train worker."""
    from raypipe.train.finetune import Workers, finetune

    with tempfile.TemporaryDirectory() as name:
        workers = Workers(1, 1, False, float(work.threads), None)
        outcome, _ = finetune(work, [train], [validation], workers, name, max_failures=0)
        return float(outcome["seconds"])


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the known sets")
    parser.add_argument("--set", default="banking77", choices=["banking77", "hwu64"])
    parser.add_argument("--rows", type=int, default=4000, help="training rows, for one epoch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0, help="least time between checkpoints")
    options = parser.parse_args()
    import ray

    os.environ |= {"WANDB_MODE": "disabled", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}
    ray.init(address="local", num_cpus=options.threads, include_dashboard=True, log_to_driver=False)
    texts, labels = read(str(options.data), options.set)
    names = sorted(set(labels))
    work, tokenizer = job(options, names), modeling.load_tokenizer(Source(encoder_path()), None)
    codes = pa.array([names.index(label) for label in labels])
    # The sets are ordered by label: every so many rows, for training and for validation.
    table = modeling.encode_table(tokenizer, texts, MAX_LENGTH, "head", label=codes)
    every = max(1, len(table) // options.rows)
    train = table.take(list(range(0, len(table), every))[: options.rows])
    validation = table.take(list(range(0, len(table), every * 10)))
    blocks = ray.put(train), ray.put(validation)
    pairs = []
    for turn in range(options.rounds):
        sides = {"bare": lambda: bare(work, train, validation), "ray": lambda: under_ray(work, *blocks)}
        order = list(sides)[:: 1 if turn % 2 == 0 else -1]
        pairs.append({side: sides[side]() for side in order})
        report(pairs[-1])
    ratio = statistics.median(pair["ray"] / pair["bare"] for pair in pairs)
    measured = {"data": {"set": options.set, "rows": len(train)}, "threads": options.threads, "seconds": pairs}
    save(options.name or "ray_overhead", measured | {"ray_train_times_bare": round(ratio, 4)})
    print(json.dumps({"ray_train_times_bare": round(ratio, 4)}))


if __name__ == "__main__":
    main()
