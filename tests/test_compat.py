"""The classic functions on frames: what they keep, and what they refuse."""

import io

import pandas as pd
import pytest
from conftest import read_jsonl, sentences, write_jsonl

from raypipe import ConfigError, DataError
from raypipe.compat import Classifier, clean_large_data, df_to_train_test_bytes, normalize_data, run

SIZES = {"a": 40, "b": 20, "c": 4}
FRAME = pd.DataFrame([{"text": f"{label} {n}", "label": label} for label, rows in SIZES.items() for n in range(rows)])


def test_unwanted_labels_leave_and_large_classes_are_cut():
    assert normalize_data(FRAME)["label"].value_counts().to_dict() == SIZES
    assert normalize_data(FRAME, ["c"], 0.5)["label"].value_counts().to_dict() == {"a": 20, "b": 20}
    assert normalize_data(FRAME, reduce_majority_to=0.01)["label"].value_counts().to_dict() == {"a": 4, "b": 4, "c": 4}
    other = FRAME.rename(columns={"label": "topic"})
    assert len(normalize_data(other, ["a", "b"], subject_label="topic")) == 4


def test_a_split_is_stratified_seeded_and_whole():
    as_train, as_test, train, test = df_to_train_test_bytes(FRAME, 0.25, seed=1)
    assert test["label"].value_counts().to_dict() == {"a": 10, "b": 5, "c": 1}
    assert pd.concat([train, test]).sort_index().equals(FRAME)
    for content, frame in ((as_train, train), (as_test, test)):
        assert pd.read_csv(io.BytesIO(content)).equals(frame.reset_index(drop=True))
    assert df_to_train_test_bytes(FRAME, 0.25, seed=1)[1] == as_test != df_to_train_test_bytes(FRAME, 0.25, seed=2)[1]


def test_cleaning_writes_and_returns_the_rows_that_stay_in_file_order(tmp_path):
    rows = [{"body": row["text"], "topic": row["label"]} for row in sentences(60)]
    write_jsonl(tmp_path / "raw.jsonl", rows)
    frame = clean_large_data(str(tmp_path / "raw.jsonl"), str(tmp_path / "out/clean.jsonl"), "body", "topic", 0.9)
    assert list(frame.columns) == ["id", "body", "topic", "weight"] and 20 < len(frame) < 60
    lines = frame["id"].str.removeprefix("raw.jsonl:").astype(int)
    assert lines.is_monotonic_increasing and frame["body"].tolist() == [rows[n - 1]["body"] for n in lines]
    assert read_jsonl(tmp_path / "out/clean.jsonl") == frame.to_dict("records")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normalize_data(FRAME, "a"), "a list of labels"),
        (lambda: normalize_data(FRAME, reduce_majority_to=5), "reduce_majority_to 5"),
        (lambda: normalize_data(FRAME, reduce_majority_to=-1), "reduce_majority_to -1"),
        (lambda: normalize_data(FRAME, subject_label="topic"), "no column 'topic'"),
        (lambda: df_to_train_test_bytes(FRAME, 1.5), "test_size 1.5"),
        (lambda: df_to_train_test_bytes(FRAME, 0), "test_size 0"),
        (lambda: df_to_train_test_bytes(FRAME.rename(columns={"label": "topic"})), "no column 'label'"),
        (lambda: df_to_train_test_bytes(pd.DataFrame({"text": ["x"], "label": [None]})), "1 rows without a label"),
        (lambda: run(Classifier("nowhere"), FRAME, "out.jsonl", text_column="body"), "no column 'body'"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises((ConfigError, DataError), match=message):
        call()
