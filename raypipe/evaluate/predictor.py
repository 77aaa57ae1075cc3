"""The map_batches actor: a model loaded once, blocks of token ids to numbers and lines."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.evaluate.forward import Best, Forward
from raypipe.evaluate.tokenising import flat_ids
from raypipe.hub import Source
from raypipe.schema import ID, LABEL, TEXT
from raypipe.tokens import Secret

HEADLINE_K = 3  # top1, top2 and top3 are judged whatever --top-k says
_SCHEMA = {
    "best": pa.list_(pa.int32()),
    "scores": pa.list_(pa.float32()),
    "true": pa.int32(),
    "p_true": pa.float32(),
    "plain_score": pa.float32(),
    "plain_p_true": pa.float32(),
    "tokens": pa.int32(),
    "cut": pa.bool_(),
    "line": pa.large_binary(),
}
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Predictor:
    """Scores blocks of rows with the columns id, text, label (null where there is none), input_ids and cut.

    Each output row has ``best``  # (kept,) label numbers, ``scores``  # (kept,), ``true`` (-1 where the model does not
    know the label), ``p_true``, the two ``plain`` ones of them, as they were without the model's temperature (nan
    where the label is unknown), ``tokens``, ``cut``, and ``line``, the row's JSONL as bytes.
    """

    def __init__(
        self,
        model: Source,
        token: Secret,
        precision: str,
        use_gpu: bool,
        threads: int,
        tokens: int,
        top_k: int,
        cumulative_score: float | None,
        judged: bool,
    ) -> None:
        self._forward = Forward(model, token.value, precision, use_gpu, threads, tokens)
        labels = self._forward.labels
        self._number = {label: number for number, label in enumerate(labels)}
        self._heads = [f'{{"label": {_encode(label)}, "score": ' for label in labels]
        self._written, self._kept = (min(k, len(labels)) for k in (top_k, max(top_k, HEADLINE_K)))
        self._judged, self._cumulative = judged, cumulative_score

    def __call__(self, batch: pa.Table) -> pa.Table:
        true = np.array([self._number.get(label, -1) for label in batch[LABEL].to_pylist()], np.int32)
        ids, starts, lengths = flat_ids(batch["input_ids"])
        best = self._forward(ids, starts, lengths, true, self._kept)
        columns = {
            "best": _lists(best.labels),
            "scores": _lists(best.scores),
            "true": true,
            "p_true": np.where(true >= 0, best.p_true, np.float32(np.nan)),
            "plain_score": best.plain_score,
            "plain_p_true": np.where(true >= 0, best.plain_p_true, np.float32(np.nan)),
            "tokens": lengths,
            "cut": batch["cut"].to_numpy() > 0,
            "line": self._lines(batch, best, true),
        }
        return pa.table({name: pa.array(columns[name], kind) for name, kind in _SCHEMA.items()})

    def _lines(self, batch: pa.Table, best: Best, true: np.ndarray) -> list[bytes]:
        """The JSON of each row, as json.dumps would write it."""
        scores = best.scores.astype(np.float64)
        written = np.full(len(scores), self._written)
        if self._cumulative is not None:  # up to the label that crosses it, that one included
            written = np.minimum(written, (np.cumsum(scores, axis=1) < self._cumulative).sum(axis=1) + 1)
        heads, rounded = self._heads, scores.round(6).tolist()
        rows = zip(batch[ID].to_pylist(), batch[TEXT].to_pylist(), best.labels.tolist(), rounded, written, strict=True)
        lines = []
        for (row_id, text, numbers, values, count), more in zip(rows, self._judgements(batch, best, true), strict=True):
            found = ", ".join([f"{heads[numbers[i]]}{values[i]}}}" for i in range(count)])
            label, tops = more
            row = f'{{"id": {_encode(row_id)}, "text": {_encode(text)}{label}, "predictions": [{found}]{tops}}}\n'
            lines.append(row.encode())
        return lines

    def _judgements(self, batch: pa.Table, best: Best, true: np.ndarray) -> list[tuple[str, str]]:
        """The parts of each line about its true label."""
        if not self._judged:
            return [("", "")] * len(true)
        hits = (best.labels[:, :HEADLINE_K] == true[:, None]) & (true >= 0)[:, None]
        place = np.where(hits.any(axis=1), hits.argmax(axis=1), HEADLINE_K)  # of the true label among the first k
        tops = [
            "".join(f', "top{k}": {"true" if at < k else "false"}' for k in range(1, HEADLINE_K + 1))
            for at in range(HEADLINE_K + 1)
        ]
        return [
            (f', "label": {_encode(label)}', tops[at])
            for label, at in zip(batch[LABEL].to_pylist(), place.tolist(), strict=True)
        ]


def _lists(values: np.ndarray) -> pa.Array:
    """Each row of a matrix as a list."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    flat: Any = values.ravel()
    return pa.ListArray.from_arrays(offsets, flat)
