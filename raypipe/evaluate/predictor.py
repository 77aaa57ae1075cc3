"""The map_batches actor: a model loaded once, rows of like length batched to a token budget, top-k on the device."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.hub import Source
from raypipe.schema import ID, LABEL, TEXT
from raypipe.tokens import Secret

CPU_TOKENS, GPU_TOKENS = 4_096, 65_536  # tokens of one forward pass, padding included; larger batches leave the cache
HEADLINE_K = 3  # top1, top2 and top3 are judged whatever --top-k says


class Predictor:
    """Scores blocks of rows with the columns order, id, text and label (null where there is none).

    Each output row keeps order and adds ``best``  # (kept,) label numbers, ``scores``  # (kept,), ``true`` (-1 where
    the model does not know the label), ``p_true``, the two ``plain`` ones of them, as they were without the model's
    temperature, ``tokens``, ``cut``, and ``line``, the row's JSONL as bytes.
    """

    def __init__(
        self,
        model: Source,
        token: Secret,
        max_length: int,
        top_k: int,
        cumulative_score: float | None,
        use_gpu: bool,
        threads: int,
        judged: bool,
    ) -> None:
        import torch

        from raypipe.train import modeling

        torch.set_num_threads(threads)
        self._torch = torch
        self._device = torch.device("cuda" if use_gpu else "cpu")
        self._tokenizer = modeling.load_tokenizer(model, token.value)
        self._model = modeling.load_classifier(model, token.value).to(self._device)
        self._encode = modeling.encode
        self._labels = modeling.labels_of(self._model.config)
        self._temperature = modeling.temperature_of(self._model.config)
        self._number = {label: number for number, label in enumerate(self._labels)}
        self._max_length, self._truncation = max_length, modeling.truncation_of(self._model.config)
        self._written = min(top_k, len(self._labels))
        self._kept = min(max(top_k, HEADLINE_K), len(self._labels))
        self._budget = GPU_TOKENS if use_gpu else CPU_TOKENS
        self._judged = judged
        self._cumulative = cumulative_score

    def __call__(self, batch: pa.Table) -> pa.Table:
        texts, labels = batch[TEXT].to_pylist(), batch[LABEL].to_pylist()
        true = np.array([self._number.get(label, -1) for label in labels], np.int64)
        ids, cut = self._encode(self._tokenizer, texts, self._max_length, self._truncation)
        best = np.empty((len(ids), self._kept), np.int64)
        scores = np.empty((len(ids), self._kept))
        others = np.empty((len(ids), 3))  # p_true, plain_score, plain_p_true
        for rows in self._batches(ids):
            best[rows], scores[rows], others[rows] = self._forward([ids[r] for r in rows], true[rows])
        hits = (best == true[:, None]) & (true >= 0)[:, None]
        lines = [
            self._line(row_id, text, label, *found)
            for row_id, text, label, *found in zip(
                batch[ID].to_pylist(), texts, labels, best, scores, hits, strict=True
            )
        ]
        return pa.table(
            {
                "order": batch["order"],
                "best": pa.array(list(best), pa.list_(pa.int64())),
                "scores": pa.array(list(scores), pa.list_(pa.float64())),
                "true": true,
                "p_true": np.where(true >= 0, others[:, 0], np.nan),
                "plain_score": others[:, 1],
                "plain_p_true": np.where(true >= 0, others[:, 2], np.nan),
                "tokens": np.array([len(row) for row in ids], np.int64),
                "cut": np.array(cut, np.int64) > 0,
                "line": pa.array(lines, pa.large_binary()),
            }
        )

    def _batches(self, ids: list[list[int]]) -> list[np.ndarray]:
        """Rows sorted by length, in runs whose padded size stays within the token budget."""
        lengths = np.array([len(row) for row in ids])
        runs: list[np.ndarray] = []
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, self._budget // max(1, int(lengths[order[start]])))
            runs.append(order[start : start + size])
            start += size
        return runs

    def _forward(self, ids: list[list[int]], true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        torch = self._torch
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**padded).logits.double()
            plain, probabilities = logits.softmax(dim=-1), (logits / self._temperature).softmax(dim=-1)
            scores, best = probabilities.topk(self._kept, dim=-1)
            known = torch.as_tensor(np.maximum(true, 0), device=self._device)[:, None]
            others = [probabilities.gather(1, known), plain.gather(1, best[:, :1]), plain.gather(1, known)]
        return best.cpu().numpy(), scores.cpu().numpy(), torch.cat(others, dim=1).cpu().numpy()

    def _line(
        self, row_id: str, text: str, label: str | None, best: np.ndarray, scores: np.ndarray, hits: np.ndarray
    ) -> bytes:
        written = self._written
        if self._cumulative is not None:  # up to the label that crosses it, that one included
            written = min(written, int(np.searchsorted(np.cumsum(scores), self._cumulative)) + 1)
        found = [
            {"label": self._labels[number], "score": round(float(score), 6)}
            for number, score in zip(best[:written], scores[:written], strict=True)
        ]
        row: dict[str, Any] = {ID: row_id, TEXT: text}
        if self._judged:
            top = {f"top{k}": bool(hits[:k].any()) for k in range(1, HEADLINE_K + 1)}
            row |= {LABEL: label, "predictions": found, **top}
        else:
            row["predictions"] = found
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
