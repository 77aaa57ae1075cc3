"""In which arithmetic to score: what a reduced one changes is measured on rows of the run before all are scored."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray

from raypipe.config import ScoringConfig
from raypipe.evaluate.actors import Actors, has_bf16
from raypipe.evaluate.blocks import Block, sample
from raypipe.evaluate.forward import Forward
from raypipe.evaluate.tokenising import flat_ids, tokenise
from raypipe.hub import Source
from raypipe.schema import TEXT
from raypipe.tokens import Secret

SAMPLE_ROWS = 512  # compared, spread evenly over the rows
CHANGED_AT_MOST = 0.005  # share of the sample whose first label may be another one
DIFFERENCE_AT_MOST = 0.05  # between two scores of the first label
WORTH_IT = 4 * SAMPLE_ROWS  # fewer rows are scored in float32 by auto: comparing would take longer than it saves


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a run, and what was seen of ``compared`` against float32; nothing where none was."""

    name: str  # fp32, bf16 or fp16
    asked: str
    compared: str | None = None
    sample_rows: int = 0
    changed_labels: int = 0
    largest_score_difference: float = 0.0

    def public(self) -> dict[str, Any]:
        return asdict(self)

    def notice(self) -> list[str]:
        """A line for people, where a reduced precision was used or refused."""
        if self.compared is None:
            return []
        seen = (
            f"of {self.sample_rows:,} rows {self.changed_labels} have another first label in {self.compared} than in "
            f"fp32, and scores differ by at most {self.largest_score_difference:.2g}"
        )
        return [f"scored in {self.name}: {seen}"]


def choose(
    config: ScoringConfig,
    model: Source,
    token: str | None,
    fingerprint: str,
    blocks: list[Block],
    actors: Actors,
) -> Precision:
    """The precision of --precision; auto is bf16 where the device has it and the sample bears it."""
    asked, rows = config.scoring_precision(), sum(block.rows for block in blocks)
    wanted = "bf16" if asked == "auto" else asked
    if asked == "fp32" or (asked == "auto" and (rows < WORTH_IT or not has_bf16(actors.use_gpu))):
        return Precision("fp32", asked)
    task = ray.remote(num_cpus=actors.num_cpus, num_gpus=1 if actors.use_gpu else 0)(measure)
    texts = sample(blocks, SAMPLE_ROWS)
    seen = task.remote(texts, model, Secret(token), fingerprint, config.max_length, wanted, actors)
    changed, largest = ray.get(seen)
    bears_it = changed <= CHANGED_AT_MOST * len(texts) and largest <= DIFFERENCE_AT_MOST
    name = wanted if asked == wanted or bears_it else "fp32"
    return Precision(name, asked, wanted, len(texts), changed, round(largest, 6))


def measure(
    texts: list[str],
    model: Source,
    token: Secret,
    fingerprint: str,
    max_length: int | None,
    precision: str,
    actors: Actors,
) -> tuple[int, float]:
    """How many texts have another first label than in float32, and the largest difference of its score."""
    import pyarrow as pa

    rows = pa.table({TEXT: pa.array(texts, pa.large_string())})
    ids = flat_ids(tokenise(rows, model, token, fingerprint, max_length)["input_ids"])
    unknown, device = np.full(len(texts), -1), (actors.use_gpu, actors.threads, actors.tokens)
    exact = Forward(model, token.value, "fp32", *device)(*ids, unknown, 1)
    true = exact.labels[:, 0]
    reduced = Forward(model, token.value, precision, *device)(*ids, true, 1)
    difference = np.abs(reduced.p_true - exact.scores[:, 0])  # of the label that float32 ranks first
    return int((reduced.labels[:, 0] != true).sum()), float(difference.max())
