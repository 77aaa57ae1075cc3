"""How long the texts are in the tokens of a model, what is cut of them, and how long that takes."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raypipe.config import ScoringConfig, TrainConfig
from raypipe.hub import Source

MOST_ROWS = 20_000  # that are tokenised; of more an even share


@dataclass(frozen=True)
class Encoded:
    """The rows of a split in tokens; what is cut is exact where all rows were tokenised."""

    rows: int
    lengths: np.ndarray  # (sample,) after the cut
    tokens: int  # of all rows, before the cut
    rows_cut: int
    tokens_cut: int
    seconds: float  # of all rows, on one thread

    def of_all_rows(self) -> np.ndarray:
        """The lengths, repeated where they are a sample's  # (rows,) int64."""
        if len(self.lengths) == self.rows:
            return self.lengths
        return np.random.default_rng(0).permutation(np.resize(self.lengths, self.rows))


def encoded(texts: "pd.Series[str]", share: float, model: Source, config: ScoringConfig, token: str | None) -> Encoded:
    """Tokenise texts that are ``share`` of all, or an even share of them."""
    from raypipe.train import modeling

    tokenizer = modeling.load_tokenizer(model, token)
    truncation = config.truncation if isinstance(config, TrainConfig) else "head"
    taken = texts.iloc[np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MOST_ROWS)).astype(np.int64))].to_list()
    most = modeling.most_tokens(modeling.load_config(model, token), config.max_length)
    modeling.encode(tokenizer, taken[:1], most, truncation)
    start = time.perf_counter()
    ids, cut = modeling.encode(tokenizer, taken, most, truncation)
    seconds = time.perf_counter() - start
    lengths, over = np.array([len(row) for row in ids], np.int64), np.array(cut, np.int64)
    rows = round(len(texts) / share)
    scale = rows / len(taken)
    return Encoded(
        rows,
        lengths,
        round(int((lengths + over).sum()) * scale),
        round(int((over > 0).sum()) * scale),
        round(int(over.sum()) * scale),
        seconds * scale,
    )
