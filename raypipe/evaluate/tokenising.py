"""The stage before the actors: texts to token ids, on one thread, the tokenizer loaded once for each worker process."""

import functools
import os
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.hub import Source
from raypipe.schema import TEXT
from raypipe.tokens import Secret
from raypipe.train import modeling

ROWS_AT_ONCE = 1_024  # their tokens are Python numbers for a moment, before they are cut


def tokenise(batch: pa.Table, model: Source, token: Secret, fingerprint: str, max_length: int | None) -> pa.Table:
    """A block with two columns more: ``input_ids`` and ``cut``, the tokens cut off.

    ``fingerprint`` is that of the model's files, so that no process goes on with the tokenizer of another model.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other CPUs are the actors'
    tokenizer, config = _loaded(model, token.value, fingerprint)
    most, truncation = modeling.most_tokens(config, max_length), modeling.truncation_of(config)
    texts = batch[TEXT].to_pylist()
    starts = range(0, max(1, len(texts)), ROWS_AT_ONCE)
    encoded = pa.concat_tables(
        modeling.encode_table(tokenizer, texts[start : start + ROWS_AT_ONCE], most, truncation) for start in starts
    )
    for name in ("input_ids", "cut"):
        batch = batch.append_column(name, encoded[name])
    return batch


def flat_ids(ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids of all rows one after another, where each row starts  # (rows,), and its length  # (rows,)."""
    whole = pa.concat_arrays(ids.chunks)
    offsets = whole.offsets.to_numpy()
    return whole.values.to_numpy(), offsets[:-1], np.diff(offsets)


@functools.lru_cache(maxsize=1)
def _loaded(model: Source, token: str | None, fingerprint: str) -> tuple[Any, Any]:
    return modeling.load_tokenizer(model, token), modeling.load_config(model, token)
