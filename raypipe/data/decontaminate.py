"""Let rows leave that repeat a row of another file, such as a benchmark's test set."""

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from raypipe import schema
from raypipe.core import keep, similarity, tfidf
from raypipe.core.keep import Nearest
from raypipe.data import ingest
from raypipe.data.table import Table, row_id
from raypipe.data.tasks import Arrays, TaskGraph, Work, in_order, packed, unpacked
from raypipe.data.vectorise import Vectors, arrays_of, matrix_of, ready_of
from raypipe.errors import DataError
from raypipe.runtime import say

_ROWS = 20_000  # rows of a block of the other file


def decontaminate(
    table: Table,
    vectors: Vectors,
    folder: str,
    files: list[str],
    text_column: str,
    max_bad_fraction: float,
    work: Work,
) -> None:
    """Remove rows with the same canonical text as, or cosine >= the vectors' threshold to, a row of the given files.

    The file is transformed with the input's IDF and not fitted on. The witness is the file's row of highest
    similarity, ties to its earliest; an equal canonical text counts as 1.

    Raises DataError where more than the given share of the files' rows have no text, or all of them.
    """
    foreign = ingest.ingest(folder, files, text_column, None, _ROWS).to_arrow_refs()
    count = ray.remote(num_returns=2)(_count)
    counted = [count.remote(block, vectors.analyzer) for block in foreign]
    summaries = list(in_order("decontaminate", lambda i: counted[i][1], len(counted), work))
    _refuse_bad(sum(int(s["rows"]) for s in summaries), sum(len(s["places"]) for s in summaries), max_bad_fraction)
    places = np.concatenate([np.empty((0, 3), np.int64), *(s["places"] for s in summaries)])  # order, key high, key low
    starts = np.cumsum([0, *(len(s["places"]) for s in summaries)])
    nearest = Nearest(len(table.order))  # rows of the other files numbered by their place
    graph = TaskGraph("decontaminate", len(vectors.blocks) * len(foreign), work)
    numbers = [vectors.vocabulary.numbers(unpacked(summary)) for summary in summaries]

    def look(number: int, other: int) -> None:
        name, counts = f"decontaminate/{number:05d}-{other:05d}", counted[other][0]

        def submit() -> "ray.ObjectRef":
            return work.submit(name, compare, vectors.blocks[number], counts, numbers[other], vectors.weights)

        def done(found: Arrays) -> None:
            nearest.update(vectors.rows[number][found["left"]], starts[other] + found["right"], found["cosine"])

        graph.add((other, number), submit, done)

    for number, other in product(range(len(vectors.blocks)), range(len(foreign))):
        look(number, other)
    graph.run()
    _record(table, files, places, nearest)


def _refuse_bad(rows: int, usable: int, max_bad_fraction: float) -> None:
    bad = rows - usable
    if not usable or bad > max_bad_fraction * rows:
        raise DataError(
            f"{bad:,} of {rows:,} rows of --decontaminate cannot be used",
            f"at most {max_bad_fraction:.0%}, and rows with a text",
            "mend the file, check --text, or raise --max-bad-fraction",
        )
    if bad:
        say(f"warning: {bad:,} of {rows:,} rows of --decontaminate have no text, and nothing was compared with them")


def _record(table: Table, files: list[str], places: np.ndarray, nearest: Nearest) -> None:
    first = {(high, low): place for place, (_, high, low) in reversed([*enumerate(places.tolist())])}
    alive = table.alive
    keys = zip(table.key_high[alive].tolist(), table.key_low[alive].tolist(), strict=True)
    exact = {row: first[key] for row, key in zip(alive.tolist(), keys, strict=True) if key in first}
    near = {int(row): int(nearest.row[row]) for row in alive[nearest.row[alive] >= 0]}
    for row, place in (near | exact).items():  # an equal text is the witness, whatever is near
        table.foreign_witness[row] = row_id(files, int(places[place, 0]))
        table.similarity[row] = 1.0 if row in exact else min(float(nearest.cosine[row]), 1.0)
        table.detail[row] = "exact" if row in exact else "near"
    table.remove(np.array(sorted(near | exact), dtype=np.int64), schema.DECONTAMINATED)


def _count(block: pa.Table, analyzer: tfidf.Analyzer) -> tuple[Arrays, Arrays]:
    usable = block.filter(pc.equal(block["reason"], ""))
    counted = tfidf.count_terms(usable["text"].to_pylist(), analyzer)
    places = np.column_stack([usable[c].to_numpy() for c in ("order", "key_high", "key_low")])
    return arrays_of(counted.counts), packed(counted.terms) | {"places": places, "rows": np.array(block.num_rows)}


def compare(block: Arrays, counts: Arrays, numbers: np.ndarray, weights: tfidf.Weights) -> Arrays:
    """For each row of a block its nearest row of the other file, where one is at the block's threshold."""
    rows = ready_of(block)
    foreign = similarity.ready(tfidf.unit_rows(matrix_of(counts), numbers, weights), rows.threshold)
    return keep.nearest(similarity.compare(rows, foreign, rows.all(), foreign.all()))._asdict()
