"""Let rows leave that repeat a row of another file, such as a benchmark's test set."""

import numpy as np
import pyarrow as pa
import ray

from raypipe import schema
from raypipe.core import similarity, tfidf
from raypipe.core.keep import TIE_DIGITS
from raypipe.data import ingest
from raypipe.data.table import Table, row_id
from raypipe.data.vectorise import Vectors


def decontaminate(
    table: Table, vectors: Vectors, folder: str, files: list[str], text_column: str, threshold: float, block_rows: int
) -> None:
    """Remove rows with the same canonical text as, or cosine >= threshold to, a row of the given files.

    The file is transformed with the input's IDF and not fitted on. The witness is the file's row of highest
    similarity, ties to its earliest; an equal canonical text counts as 1.
    """
    dataset = ingest.ingest(folder, files, text_column, None, block_rows)
    blocks = dataset.to_arrow_refs()
    encode = ray.remote(num_returns=2)(_encode)
    encoded = [encode.remote(block, vectors.vocabulary, vectors.analyzer) for block in blocks]
    shard_keys = ray.get([key for _, key in encoded])  # (shard rows, 3) each: order, high, low
    keys = np.concatenate(shard_keys)
    join = ray.remote(similarity.cross_join)
    hits: list[tuple[int, float, int]] = []  # row, cosine, foreign order
    for rows, shard in zip(vectors.rows, vectors.shards, strict=True):
        found = ray.get([join.remote(shard, foreign, threshold) for foreign, _ in encoded])
        for shard_key, pairs in zip(shard_keys, found, strict=True):
            orders = shard_key[:, 0]
            hits += zip(rows[pairs.left].tolist(), pairs.cosine.tolist(), orders[pairs.right].tolist(), strict=True)
    first_with_key = {(high, low): order for order, high, low in keys[np.argsort(-keys[:, 0])].tolist()}
    for row in table.alive.tolist():
        order = first_with_key.get((int(table.key_high[row]), int(table.key_low[row])))
        if order is not None:
            hits.append((row, 2.0, order))  # above every cosine: an equal text is the witness
    best: dict[int, tuple[float, int, float]] = {}
    for row, cosine, order in hits:
        best[row] = max(best.get(row, (-1.0, 0, 0.0)), (round(cosine, TIE_DIGITS), -order, cosine))
    for row, (_, order, cosine) in best.items():
        table.foreign_witness[row] = row_id(files, -order)
        table.similarity[row] = min(cosine, 1.0)
        table.detail[row] = "exact" if cosine > 1.5 else "near"
    table.remove(np.array(sorted(best), dtype=np.int64), schema.DECONTAMINATED)


def _encode(block, vocabulary, analyzer):  # type: ignore[no-untyped-def]
    block = block.sort_by("order")
    usable = block.filter(pa.array([reason == "" for reason in block["reason"].to_pylist()], pa.bool_()))
    matrix = tfidf.unit_rows(tfidf.count_terms(usable["text"].to_pylist(), analyzer), vocabulary)
    return matrix, np.column_stack([usable[c].to_numpy() for c in ("order", "key_high", "key_low")])
