"""A model over blocks of rows, once each and in order: predictions to a file, numbers to the driver."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from raypipe.config import ScoringConfig
from raypipe.errors import StageError
from raypipe.evaluate import blocks as blocks_of
from raypipe.evaluate.actors import Actors
from raypipe.evaluate.blocks import Block
from raypipe.evaluate.parts import Parts
from raypipe.evaluate.predictor import Predictor
from raypipe.evaluate.tokenising import tokenise
from raypipe.hub import Source
from raypipe.runtime import say
from raypipe.tokens import Secret

Write = Callable[[Block, list[bytes]], Any]


@dataclass(frozen=True)
class Scored:
    """The numbers of all rows, in order; no texts. 40 bytes a row at three labels each."""

    best: np.ndarray  # (rows, kept) int32 label numbers of the model, best first
    scores: np.ndarray  # (rows, kept) float32 probabilities
    true: np.ndarray  # (rows,) int32, -1 where the model does not know the label
    p_true: np.ndarray  # (rows,) float32 probability of the true label, nan where unknown
    plain_score: np.ndarray  # (rows,) float32 the best label's probability before the temperature
    plain_p_true: np.ndarray  # (rows,) float32 the true label's before the temperature, nan where unknown
    tokens: np.ndarray  # (rows,) int32, after the cut
    cut: np.ndarray  # (rows,) bool, the text was longer than --max-length


@dataclass(frozen=True)
class Scorer:
    """A classifier and how it scores."""

    model: Source
    token: str | None
    fingerprint: str  # of the model's files
    config: ScoringConfig
    actors: Actors
    precision: str
    judged: bool  # the rows have labels

    def score(self, blocks: list[Block], write: Write, kept_at: str | None = None) -> Scored:
        """Score every row of the blocks, in order; ``write`` receives each block's JSONL lines.

        With ``kept_at`` each scored block is also kept in that folder, and read from it where it is there. Raises
        StageError where rows were lost, or have no scores.
        """
        gathered: Gathered | None = None
        total = sum(block.rows for block in blocks)
        done, next_said = 0, total // 10
        for block, table in self._in_order(blocks, Parts(kept_at)):
            gathered = gathered or Gathered(total, table)
            gathered.add(table)
            write(block, table["line"].to_pylist())
            done += block.rows
            if done >= next_said:
                say(f"{done:,} of {total:,} rows scored")
                next_said = done + total // 10
        assert gathered is not None and done == total
        return gathered.scored()

    def _in_order(self, blocks: list[Block], parts: Parts) -> Iterator[tuple[Block, pa.Table]]:
        """Each block with its scores, as kept or made now."""
        keys = blocks_of.keys(blocks)
        kept = [parts.has(key) for key in keys]
        if any(kept):
            say(f"{sum(kept)} of {len(kept)} blocks of rows were scored before")
        missing = [block for block, there in zip(blocks, kept, strict=True) if not there]
        made = _recut(self._scored(missing), [block.rows for block in missing])
        for block, key, there in zip(blocks, keys, kept, strict=True):
            table = parts.find(key) if there else next(made)
            if table is None:
                raise StageError("a kept block of rows is gone", "no other run in the same place")
            if not there:
                parts.keep(key, table)
            yield block, table
        next(made, None)  # lets it see that nothing is left over

    def _scored(self, blocks: list[Block]) -> Iterator[pa.Table]:
        """The blocks through the tokenising tasks and the actors, in order."""
        if not blocks:
            return iter(())
        token, actors = Secret(self.token), self.actors
        tokenised = ray.data.from_arrow_refs([block.ref for block in blocks]).map_batches(
            tokenise,
            fn_kwargs={
                "model": self.model,
                "token": token,
                "fingerprint": self.fingerprint,
                "max_length": self.config.max_length,
            },
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=0.25,
            compute=ray.data.TaskPoolStrategy(size=actors.tokenisers),
        )
        scored = tokenised.map_batches(
            Predictor,
            fn_constructor_kwargs={
                "model": self.model,
                "token": token,
                "precision": self.precision,
                "use_gpu": actors.use_gpu,
                "threads": actors.threads,
                "tokens": actors.tokens,
                "top_k": self.config.top_k,
                "cumulative_score": self.config.cumulative_score,
                "judged": self.judged,
            },
            compute=ray.data.ActorPoolStrategy(size=min(actors.count, len(blocks))),
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=actors.num_cpus,
            num_gpus=1 if actors.use_gpu else 0,
        )
        return iter(scored.iter_batches(batch_size=None, batch_format="pyarrow"))


def _recut(tables: Iterator[pa.Table], sizes: list[int]) -> Iterator[pa.Table]:
    """The same rows in tables of these sizes: Ray Data may join or divide blocks. Raises StageError where rows lack."""
    left: pa.Table | None = None
    for size in sizes:
        parts, rows = [] if left is None else [left], 0 if left is None else len(left)
        while rows < size:
            table = next(tables, None)
            if table is None:
                raise StageError(f"{rows} rows came back in place of {size}", "each row once")
            parts.append(table)
            rows += len(table)
        whole = pa.concat_tables(parts).combine_chunks()
        yield whole.slice(0, size)
        left = whole.slice(size)
    if (left is not None and len(left)) or any(len(table) for table in tables):
        raise StageError("more rows came back than were sent", "each row once")


class Gathered:
    """Room for the numbers of all rows, taken at once, so that memory does not grow with the rows that are done."""

    def __init__(self, rows: int, first: pa.Table) -> None:
        kept = len(first["best"][0])
        self._done = 0
        self._columns: dict[str, np.ndarray] = {}
        for field in fields(Scored):
            kind = first.schema.field(field.name).type
            nested = pa.types.is_list(kind)
            shape = (rows, kept) if nested else (rows,)
            dtype = (kind.value_type if nested else kind).to_pandas_dtype()
            self._columns[field.name] = np.ones(shape, dtype)  # written to, so that the memory is really there

    def add(self, table: pa.Table) -> None:
        """The numbers of the next rows. Raises StageError where the model gave none."""
        rows = slice(self._done, self._done + len(table))
        for name, column in self._columns.items():
            values = pa.concat_arrays(table[name].chunks)
            flat = values.flatten() if column.ndim == 2 else values
            column[rows] = flat.to_numpy(zero_copy_only=False).reshape(column[rows].shape)
        without = int((~np.isfinite(self._columns["scores"][rows])).any(axis=1).sum())
        if without:
            raise StageError(
                f"the model gives no numbers (NaN) for {without:,} of {len(table):,} rows",
                "a probability of each label",
                "--precision fp32; if that fails as well, the model's weights are broken",
            )
        self._done = rows.stop

    def scored(self) -> Scored:
        return Scored(**self._columns)
