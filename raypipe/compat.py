"""The five classic verbs on pandas frames, with their old names and arguments; each delegates.

``docs/migrating.md`` says where each argument went.
"""

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from raypipe.config import EvaluateConfig, PrepareConfig, TrainConfig
from raypipe.config.checks import fraction, require
from raypipe.core import sampling
from raypipe.core import text as core_text
from raypipe.errors import DataError
from raypipe.schema import ID, LABEL, TEXT


def clean_large_data(
    input_file: str, output_file: str, text: str = "text", label: str = "label", threshold: float = 0.9
) -> pd.DataFrame:
    """Remove duplicates and near-duplicates; write the rows that stay to ``output_file`` and return them.

    The columns keep their names; ``id`` and ``weight`` come with them. Raises ConfigError or DataError.
    """
    from raypipe.pipeline import prepare

    folder, name = os.path.split(os.path.abspath(input_file))
    with tempfile.TemporaryDirectory() as scratch:
        result = prepare(
            PrepareConfig(
                input_dir=folder,
                input_filename=name,
                output_filename=os.path.join(scratch, "cleaned.jsonl"),
                text=text,
                subject=label,
                similarity_threshold=threshold,
            )
        )
        lines = [line for split in ("train", "test") for line in _lines(result.outputs[split])]
    frame = pd.DataFrame([json.loads(line) for line in lines])
    place = frame[ID].str.rsplit(":", n=1).str[1].astype(int)
    frame = frame.iloc[np.argsort(place, kind="stable")].rename(columns={TEXT: text, LABEL: label})
    frame = frame.reset_index(drop=True)
    os.makedirs(os.path.dirname(os.path.abspath(output_file)), exist_ok=True)
    frame.to_json(output_file, orient="records", lines=True, force_ascii=False)
    return frame


def normalize_data(
    df: pd.DataFrame, filter_labels: Iterable[str] = (), reduce_majority_to: float = 1.0, subject_label: str = "label"
) -> pd.DataFrame:
    """Drop the rows of unwanted labels, and cut classes above ``reduce_majority_to`` times the largest one.

    Raises ConfigError or DataError.
    """
    require(not isinstance(filter_labels, str), f"filter_labels {filter_labels!r}", "a list of labels")
    fraction(reduce_majority_to, "reduce_majority_to", one_allowed=True)
    _require_column(df, subject_label)
    kept = df[~df[subject_label].isin(list(filter_labels))]
    codes = _codes(kept[subject_label])
    caps = sampling.class_caps(np.bincount(codes), reduce_majority_to, None)
    return kept[sampling.first_of_each(codes, _places(kept, PrepareConfig.seed, 1), caps)]


def df_to_train_test_bytes(
    df: pd.DataFrame, test_size: float = 0.2, seed: int = 42
) -> tuple[bytes, bytes, pd.DataFrame, pd.DataFrame]:
    """Split a frame with the column ``label``, stratified; the two parts as CSV bytes and as frames.

    Raises ConfigError or DataError.
    """
    fraction(test_size, "test_size")
    _require_column(df, LABEL)
    codes = _codes(df[LABEL])
    counts = sampling.held_out_counts(np.bincount(codes), test_size)
    in_test = sampling.first_of_each(codes, _places(df, seed, 2), counts)
    train, test = df[~in_test], df[in_test]
    return _csv(train), _csv(test), train, test


def finetune(
    hf_access_token: str | None,
    wandb_access_token: str | None,
    model_for_training_finetune: str,
    input_hf_dataset: str,
    hf_model_name: str | None,
    downsample: bool = False,
    wandb_output: str | None = None,
) -> str:
    """Fine-tune, evaluate and push; returns the folder of the model. Raises ConfigError or DataError."""
    from raypipe.pipeline import train

    config = TrainConfig(
        hf_access_token=hf_access_token,
        allow_literal_token=True,  # they come from Python, not from a command line
        wandb_access_token=wandb_access_token,
        model_for_training_finetune=model_for_training_finetune,
        input_hf_dataset=input_hf_dataset,
        hf_model_name=hf_model_name,
        downsample=downsample,
        wandb_output=wandb_output,
    )
    return train(config).outputs["model"]


@dataclass(frozen=True)
class Classifier:
    """A model by name, and how its predictions are written."""

    model: str
    cumulative_score: float | None = 0.8
    token: str | None = field(default=None, repr=False)


def run(
    classifier: Classifier,
    test_df: pd.DataFrame,
    output_classify_file: str,
    batch_size: int = 500,
    text_column: str = "text",
    subj_column: str = "label",
) -> dict[str, Any]:
    """Score a frame; writes the predictions with their metrics and page, and returns the metrics."""
    from raypipe.pipeline import evaluate

    for column in (text_column, subj_column):
        _require_column(test_df, column)
    with tempfile.TemporaryDirectory() as folder:
        test_df[[text_column, subj_column]].to_json(f"{folder}/test.jsonl", orient="records", lines=True)
        config = EvaluateConfig(
            model=classifier.model,
            hf_access_token=classifier.token,
            allow_literal_token=True,  # it comes from Python, not from a command line
            cumulative_score=classifier.cumulative_score,
            input_dir=folder,
            filename="test.jsonl",
            text=text_column,
            subject_column=subj_column,
            output_classify_file=output_classify_file,
            eval_batch_size=batch_size,
            overwrite=True,
        )
        return evaluate(config).metrics


def _require_column(frame: pd.DataFrame, column: str) -> None:
    if column not in frame:
        raise DataError(f"no column {column!r} in the frame", f"one of {', '.join(map(repr, frame))}")


def _codes(labels: "pd.Series") -> np.ndarray:
    if labels.isna().any():
        raise DataError(f"{int(labels.isna().sum())} rows without a label", "a label in each row", "drop those rows")
    return pd.factorize(labels, sort=True)[0]


def _places(frame: pd.DataFrame, seed: int, purpose: int) -> np.ndarray:
    """The seeded place of each row, by its text where there is a text column, else by all of its cells."""
    if TEXT in frame:
        keys = [core_text.key(core_text.canonical(str(text))) for text in frame[TEXT]]
    else:
        keys = [core_text.key(hashlib.sha256(repr(row).encode()).hexdigest()) for row in frame.itertuples(index=False)]
    pairs = np.array(keys, np.int64).reshape(-1, 2)
    return sampling.places(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]), seed, purpose)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, quoting=csv.QUOTE_ALL, lineterminator="\n").encode()


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf8", newline="\n") as file:
        return file.readlines()
