"""The forward pass: token ids to the best labels, rows of like length together. No Ray in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.hub import Source
from raypipe.train import modeling


@dataclass(frozen=True)
class Best:
    """What judging and writing need of each row."""

    labels: np.ndarray  # (rows, kept) int32 label numbers, best first
    scores: np.ndarray  # (rows, kept) float32 probabilities
    p_true: np.ndarray  # (rows,) float32 probability of the true label; of any where that is unknown
    plain_score: np.ndarray  # (rows,) float32 the best label's probability before the temperature
    plain_p_true: np.ndarray  # (rows,) float32 the true label's, likewise


class Forward:
    """A classifier on its device, in ``precision`` fp32, bf16 or fp16; its head is always in float32.

    A pass takes at most ``tokens``, padding included, but for a longer single row.
    """

    def __init__(
        self,
        model: Source,
        token: str | None,
        precision: str,
        use_gpu: bool,
        threads: int,
        tokens: int,
        classifier: Any = None,
    ) -> None:
        """``classifier`` stands in for the stored one, which is then not loaded."""
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._device = torch.device("cuda" if use_gpu else "cpu")
        self._model = modeling.load_classifier(model, token) if classifier is None else classifier
        self.labels = modeling.labels_of(self._model.config)
        self._temperature = modeling.temperature_of(self._model.config)
        self._pad = self._model.config.pad_token_id or 0
        self._budget = tokens
        self._reduce({"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])
        self._model.to(self._device)

    def __call__(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, true: np.ndarray, kept: int) -> Best:
        """The best ``kept`` labels of each row, in the order given.

        ``ids`` holds the tokens of all rows; row r has ``lengths[r]`` of them from ``starts[r]`` on, and the true
        label ``true[r]``, -1 where that is unknown. They stay on the device until the last row is scored.
        """
        torch = self._torch
        runs = batches(lengths, self._budget)
        with torch.inference_mode():
            found = [self._best(self._logits(ids, starts[run], lengths[run]), true[run], kept) for run in runs]
            columns = [torch.cat(column).cpu().numpy() for column in zip(*found, strict=True)]
        back = np.argsort(np.concatenate(runs))
        return Best(*(column[back] for column in columns))

    def _reduce(self, dtype: Any) -> None:
        """Keep the encoder in ``dtype``. The head stays: 8 bits of a logit would make ties of near labels."""
        if dtype is None:
            return
        self._model.to(dtype)
        for name, module in self._model.named_children():
            if name != self._model.base_model_prefix:
                module.float()
                module.register_forward_pre_hook(lambda _, inputs: tuple(value.float() for value in inputs))

    def _logits(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Any:
        torch = self._torch
        places = np.arange(lengths[0])  # the first row is the longest
        real = places < lengths[:, None]  # (rows, width)
        padded = np.where(real, ids[np.where(real, starts[:, None] + places, 0)], self._pad)
        inputs = {"input_ids": torch.from_numpy(padded.astype(np.int64)).to(self._device, non_blocking=True)}
        if not real.all():
            inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64)).to(self._device, non_blocking=True)
        return self._model(**inputs).logits.double()

    def _best(self, logits: Any, true: np.ndarray, kept: int) -> tuple[Any, ...]:
        torch = self._torch
        plain, probabilities = logits.softmax(dim=-1), (logits / self._temperature).softmax(dim=-1)
        scores, best = probabilities.topk(kept, dim=-1)
        known = torch.from_numpy(np.maximum(true, 0).astype(np.int64)).to(self._device)[:, None]
        others = (probabilities.gather(1, known), plain.gather(1, best[:, :1]), plain.gather(1, known))
        return best.int(), scores.float(), *(other[:, 0].float() for other in others)


def batches(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Row numbers sorted by length, longest first, in runs whose padded size stays within ``budget`` tokens."""
    order = np.argsort(-lengths, kind="stable")
    runs: list[np.ndarray] = []
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        runs.append(order[start : start + size])
        start += size
    return runs
