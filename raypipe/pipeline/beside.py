"""What stands beside a model's scores: baselines and near-copies, found by Ray tasks while the model scores."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raypipe.evaluate import baseline, near_copies
from raypipe.evaluate.earlier import Earlier
from raypipe.evaluate.evaluate import HEADLINE, Beside
from raypipe.evaluate.near_copies import DEFAULT_THRESHOLD, NearCopies
from raypipe.pipeline.rows import Rows
from raypipe.runtime import say
from raypipe.schema import LABEL, TEXT
from raypipe.splits import Splits

_CPUS = 0.15  # of each task, so that it runs beside the actors where CPUs are few


@dataclass
class Pending:
    """Started work; ``wait`` gathers it."""

    rows: Rows
    earlier: Earlier | None
    rankings: dict[str, np.ndarray] | None = None  # out of the cache, in the label numbers of the training rows
    place: str = ""  # of the cache
    tasks: dict[str, Any] = field(default_factory=dict)

    def wait(self, labels: list[str]) -> Beside:
        """What stands beside the scores of a model with these labels."""
        import ray

        found = {name: ray.get(task) for name, task in self.tasks.items()}
        rankings = self.rankings or found.get("baselines", {})
        if "baselines" in found and not baseline.keep(self.place, rankings):
            say(f"the baselines could not be kept for later in {self.place}")
        splits = self.rows.splits
        near = None
        if "near_copies" in found and splits is not None:
            near = NearCopies(_threshold(splits), splits.similarity_threshold is not None, found["near_copies"])
        return Beside(_in_model_labels(rankings, labels, splits), self.rows.weight(), near, self.earlier)


def start(rows: Rows, seed: int, top_k: int, with_baselines: bool, earlier: Earlier | None) -> Pending:
    """Start what needs training rows, where there are some; baselines that were fitted before come from the cache."""
    import ray

    pending, splits = Pending(rows, earlier), rows.splits
    if splits is None:
        return pending
    train, test = splits.train[TEXT].to_list(), splits.test[TEXT].to_list()
    task = ray.remote(num_cpus=_CPUS)(near_copies.has_near_copy)
    pending.tasks["near_copies"] = task.remote(train, test, _threshold(splits))
    if not with_baselines:
        return pending
    kept = max(*HEADLINE, top_k)
    pending.place = baseline.cache_path(rows.fingerprint, seed, kept)
    pending.rankings = baseline.cached(pending.place)
    if pending.rankings is None:
        codes = {label: code for code, label in enumerate(splits.labels)}
        task = ray.remote(num_cpus=_CPUS)(baseline.baselines)
        pending.tasks["baselines"] = task.remote(train, splits.train[LABEL].map(codes).to_numpy(), test, seed, kept)
    else:
        say(f"baselines of the same rows and seed from {pending.place}")
    return pending


def _threshold(splits: Splits) -> float:
    return splits.similarity_threshold or DEFAULT_THRESHOLD


def _in_model_labels(
    rankings: dict[str, np.ndarray], labels: list[str], splits: Splits | None
) -> dict[str, np.ndarray]:
    """The baselines' rankings in the model's label numbers; a label that the model lacks becomes -2, never right."""
    if splits is None:
        return {}
    number = {label: i for i, label in enumerate(labels)}
    translate = np.array([number.get(label, -2) for label in splits.labels])
    return {name: translate[ranked] for name, ranked in rankings.items()}
