"""A model over a Ray dataset of rows, once each and in order: predictions to a file, numbers to the driver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from raypipe.config import ScoringConfig
from raypipe.errors import ConfigError, StageError
from raypipe.evaluate.predictor import Predictor
from raypipe.hub import Source
from raypipe.runtime import say, wait_for
from raypipe.tokens import Secret


@dataclass(frozen=True)
class Scored:
    """The numbers of all rows, in order; no texts."""

    order: np.ndarray  # (rows,) int64
    best: np.ndarray  # (rows, kept) label numbers of the model, best first
    scores: np.ndarray  # (rows, kept) probabilities
    true: np.ndarray  # (rows,) -1 where the model does not know the label
    p_true: np.ndarray  # (rows,) probability of the true label, nan where unknown
    plain_score: np.ndarray  # (rows,) the best label's probability before the temperature
    plain_p_true: np.ndarray  # (rows,) the true label's before the temperature, nan where unknown
    tokens: np.ndarray  # (rows,) int64, after the cut
    cut: np.ndarray  # (rows,) bool, the text was longer than --max-length


def score(
    dataset: "ray.data.Dataset",
    rows: int,
    model: Source,
    token: str | None,
    config: ScoringConfig,
    judged: bool,
    write: Callable[[bytes], Any],
) -> Scored:
    """Score every row (columns order, id, text, label) and write its JSONL line, in the dataset's order.

    Raises ConfigError for ``cuda`` without a GPU, StageError where rows were lost.
    """
    pool, actor = _actors(config)
    arguments = {
        "model": model,
        "token": Secret(token),
        "max_length": config.max_length,
        "top_k": config.top_k,
        "cumulative_score": config.cumulative_score,
        "judged": judged,
        **actor["arguments"],
    }
    scored = dataset.map_batches(
        Predictor,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=pool),
        batch_format="pyarrow",
        batch_size=config.eval_batch_size,
        num_cpus=actor["num_cpus"],
        num_gpus=actor["num_gpus"],
    )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Scored.__dataclass_fields__}
    done, next_said = 0, rows // 10
    for block in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
        for line in block["line"].to_pylist():
            write(line)
        for name, part in parts.items():
            column = block[name].combine_chunks()
            nested = name in ("best", "scores")
            part.append(
                column.flatten().to_numpy().reshape(len(column), -1)
                if nested
                else column.to_numpy(zero_copy_only=False)
            )
        done += block.num_rows
        if done >= next_said:
            say(f"{done:,} of {rows:,} rows scored")
            next_said = done + rows // 10
    gathered = Scored(**{name: np.concatenate(part) for name, part in parts.items()})
    if done != rows or (np.diff(gathered.order) <= 0).any():
        raise StageError(f"{done} rows came back in place of {rows}, or out of order", "each row once")
    return gathered


def _actors(config: ScoringConfig) -> tuple[int, dict[str, Any]]:
    """How many actors, and what each takes: one on each GPU, else one on each machine with all of its threads.

    Ray reserves all but one CPU of a machine for its actor (half a CPU where there is but one), so that Ray Data's
    own tasks always find room.
    """
    use_gpu = config.device != "cpu" and wait_for({"GPU": 1}, config.wait_for_resources)
    if config.device == "cuda" and not use_gpu:
        raise ConfigError("--device cuda without a GPU", "at least one", "--device auto or cpu")
    if use_gpu:
        gpus = int(ray.cluster_resources()["GPU"])
        return gpus, {"num_cpus": 0.5, "num_gpus": 1, "arguments": {"use_gpu": True, "threads": 1}}
    cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    usable = [n for n in cpus if n >= 1] or [1]
    smallest = min(usable)
    reserved = smallest - 1 if smallest > 1 else 0.5
    return len(usable), {"num_cpus": reserved, "num_gpus": 0, "arguments": {"use_gpu": False, "threads": int(smallest)}}
