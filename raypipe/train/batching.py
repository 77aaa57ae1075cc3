"""Token-budget batches: rows of like length share a step, so that hardly a padding token is computed.

An epoch is a seeded plan of optimizer steps. Rows are shuffled, pooled and sorted by length, and each pool is cut into
steps of equally many tokens; the steps are shuffled, and each is divided over the workers and, where it does not fit
the budget, over accumulated batches. So what a step consists of does not depend on the number of workers, nor on the
budget (but where a step would have fewer rows than batches), and the loss of each step, a mean over its rows, is the
same. The average step has the rows that the recipe says. Batches of like length and equal tokens: Vaswani et al. 2017,
"Attention is all you need", section 5.1; the plan by steps is our own. No Ray and no torch.distributed here.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raypipe.errors import ConfigError

POOL_STEPS = 256  # steps cut from one pool: more pad less, and meet other rows less
SPREAD = 4  # a step has a quarter to about four times the average rows, however long or short they are


def equal_parts(lengths: np.ndarray, parts: int, at_least: int) -> np.ndarray:
    """Where to cut a row of lengths into ``parts`` runs of about equal sums  # (parts + 1,) int64, from 0 to rows.

    ``at_least`` rows fall to each run (rows >= parts * at_least >= 1): for that, long rows count as ``cap`` only,
    the largest number of tokens that, taken ``at_least`` times, is no more than an equal share of all.
    """
    longest = int(lengths.max())
    counts = np.bincount(lengths, minlength=longest + 1)
    caps = np.arange(longest + 1)
    sums = np.cumsum(counts * caps) + caps * (len(lengths) - np.cumsum(counts))  # of min(length, cap), by cap
    cap = int(np.flatnonzero(sums >= caps * parts * at_least)[-1])
    ends = np.cumsum(np.minimum(lengths, cap))
    run = (ends * parts - 1) // ends[-1]  # of each row: run r takes the ends in (r, r + 1] shares
    return np.searchsorted(run, np.arange(parts + 1))


@dataclass(frozen=True)
class Place:
    """Where a training stands among its batches; what a checkpoint keeps of them."""

    epoch: int
    step: int  # optimizer steps that are done in the epoch
    seed: int
    plan: str  # fingerprint of the rows of each step: other steps cannot go on from here, other workers can

    def public(self) -> dict[str, Any]:
        return asdict(self)


class TokenBatches:
    """The batches of one worker, as a batch sampler of torch: lists of row numbers, one epoch an iteration.

    ``lengths`` are the tokens of each row  # (rows,); ``step_rows`` the average rows of an optimizer step over all
    workers; ``budget`` the most tokens of one batch, padding included. Each row comes once an epoch, each worker takes
    ``steps`` × ``accumulation`` batches of an epoch, and the same object is made on every worker but for ``rank``.
    ``most`` workers (``world``, if that is more) find a row each in every step, so that all numbers of workers up to it
    have the same steps.

    Raises ConfigError where a row exceeds the budget or there are fewer rows than workers need.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        step_rows: int,
        budget: int,
        seed: int,
        epochs: int,
        rank: int = 0,
        world: int = 1,
        most: int = 1,
    ) -> None:
        self._lengths = np.maximum(np.asarray(lengths, np.int64), 1)
        self._budget, self._seed, self._rank, self._world = budget, seed, rank, world
        self._epoch = 0
        self._planned: tuple[int, list[np.ndarray]] | None = None  # the epoch made last, and its steps
        rows, longest = len(self._lengths), int(self._lengths.max())
        if longest > budget:
            raise ConfigError(
                f"--token-budget {budget} with a row of {longest} tokens", "at least the longest row", "raise it"
            )
        wanted = -(-rows // step_rows)
        self.accumulation = 0
        while True:
            self.accumulation += 1
            self._planned = None
            parts = world * self.accumulation
            self._at_least = max(parts, most, min(step_rows // SPREAD, rows // wanted))
            self.steps = min(wanted, rows // self._at_least)
            if not self.steps:
                raise ConfigError(
                    f"{rows} training rows for {world} workers with --token-budget {budget}",
                    "a row for each batch of a step",
                    "fewer --num-workers or a larger --token-budget",
                )
            if all(self._largest(step) <= budget for epoch in range(epochs) for step in self._plan(epoch)):
                break

    def __len__(self) -> int:
        """Batches of this worker in an epoch."""
        return self.steps * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._plan(self._epoch):
            for part in self._divided(step)[self._rank :: self._world]:
                yield part.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration gives; the Trainer calls it."""
        self._epoch = epoch

    def rows_of_step(self, step: int) -> int:
        """Rows of an optimizer step, counted from the start of training, over all workers."""
        return len(self._plan(step // self.steps)[step % self.steps])

    def tokens_of_step(self, step: int) -> int:
        """Tokens of an optimizer step over all workers, padding left out."""
        return int(self._lengths[self._plan(step // self.steps)[step % self.steps]].sum())

    def place(self, step: int) -> Place:
        """Where a training stands after so many optimizer steps."""
        return Place(step // self.steps, step % self.steps, self._seed, self._fingerprint)

    @cached_property
    def _fingerprint(self) -> str:
        sizes = np.array([self.steps, self._at_least])
        return hashlib.sha256(sizes.tobytes() + self._lengths.tobytes()).hexdigest()[:16]

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """The rows of each step of an epoch, longest row first."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = epoch, self._steps_of(epoch)
        return self._planned[1]

    def _steps_of(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._lengths))
        pools = -(-self.steps // POOL_STEPS)
        step_cuts = self.steps * np.arange(pools + 1) // pools
        row_cuts = len(order) * step_cuts // self.steps
        made: list[np.ndarray] = []
        for pool in range(pools):
            rows = order[row_cuts[pool] : row_cuts[pool + 1]]
            rows = rows[np.argsort(-self._lengths[rows], kind="stable")]
            steps = int(step_cuts[pool + 1] - step_cuts[pool])
            tokens = self._lengths[rows]
            tokens = np.maximum(tokens, int(tokens.mean()) // SPREAD)
            cuts = equal_parts(tokens, steps, self._at_least)
            made += [rows[cuts[i] : cuts[i + 1]] for i in range(steps)]
        return [made[i] for i in rng.permutation(len(made))]

    def _divided(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's rows as one batch for each worker and accumulation, neighbours for the workers of one moment."""
        parts = self._world * self.accumulation
        cuts = equal_parts(self._lengths[step], parts, 1)
        return [step[cuts[i] : cuts[i + 1]] for i in range(parts)]

    def _largest(self, step: np.ndarray) -> int:
        """Tokens of a step's largest batch, padding included."""
        return max(len(part) * int(self._lengths[part[0]]) for part in self._divided(step))
