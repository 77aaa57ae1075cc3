"""A published dataset back into memory: train and test rows with text, label, id and weight."""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pandas as pd

from raypipe import hub, storage
from raypipe.config import checks, nearest
from raypipe.errors import DataError
from raypipe.hub import Source
from raypipe.schema import ID, LABEL, TEST, TEXT, TRAIN, WEIGHT

_CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class Splits:
    """Frames with the columns text, label, id, weight; all strings but weight."""

    train: pd.DataFrame
    test: pd.DataFrame
    source: Source
    similarity_threshold: float | None = None  # what the dataset was cleaned at, as its card says
    license: str | None = None  # of the dataset, as its card says

    @property
    def labels(self) -> list[str]:
        """The labels of the training split, sorted."""
        return sorted(self.train[LABEL].unique())

    def fingerprint(self) -> str:
        """SHA-256 over texts and labels of both splits, in order."""
        return self._hash(TEXT, LABEL)

    def row_fingerprint(self) -> str:
        """The same over all that an evaluation writes of the rows: with their ids and weights."""
        return self._hash(TEXT, LABEL, ID, WEIGHT)

    def _hash(self, *columns: str) -> str:
        digest = hashlib.sha256()
        for frame in (self.train, self.test):
            for column in columns:
                digest.update("\0".join(frame[column].astype(str)).encode() + b"\0\0")
        return digest.hexdigest()


def load(name: str, text_column: str, label_column: str, token: str | None) -> Splits:
    """Read a repository or a folder with train.csv and test.csv.

    Raises ConfigError for a name that leads nowhere; DataError for a missing split, column or value.
    """
    return sample(name, text_column, label_column, token, None)[0]


def sample(
    name: str, text_column: str, label_column: str, token: str | None, most_bytes: int | None
) -> tuple[Splits, dict[str, float]]:
    """The same from about ``most_bytes`` of each file of a folder, and the share of each split that this is.

    A repository is loaded whole, into the cache of the Hub's client.
    """
    source = hub.resolve(name, "dataset", token)
    shares = dict.fromkeys((TRAIN, TEST), 1.0)
    columns = [text_column, label_column]
    frames = _from_folder(source.name, columns, most_bytes, shares) if source.is_folder else _from_hub(source, token)
    train, test = (_normal(frames[s], s, text_column, label_column, str(source)) for s in (TRAIN, TEST))
    card = hub.card(source, "dataset", token)
    return Splits(train, test, source, cleaned_at(card), hub.license_of(card)), shares


def cleaned_at(card: str) -> float | None:
    """The threshold that the card of a dataset of ours names (``report/templates/dataset_card.md``)."""
    found = re.search(r"TF-IDF cosine of ([0-9.]+) or more", " ".join(card.split()))
    return float(found[1]) if found else None


def require_trainable(splits: Splits) -> None:
    """Refuse one class, and test labels that train lacks. Raises DataError."""
    if len(splits.labels) < 2:
        raise DataError(
            f"one class only in train: {splits.labels[0]!r}", "at least 2 classes", "check --subject-column"
        )
    unknown = sorted(set(splits.test[LABEL]) - set(splits.labels))
    if unknown:
        raise DataError(
            f"labels in test that train lacks: {', '.join(map(repr, unknown[:10]))}",
            "the same labels in both",
            "split again with `raypipe prepare`",
        )


def _from_folder(
    folder: str, columns: list[str], most_bytes: int | None, shares: dict[str, float]
) -> dict[str, pd.DataFrame]:
    """The files of a folder; ``shares`` receives what was read of each where that is not all."""
    frames = {}
    for split in (TRAIN, TEST):
        path = storage.join(folder, f"{split}.csv")
        if not storage.exists(path):
            raise DataError(
                f"no {split}.csv in {folder}",
                "a folder with train.csv and test.csv",
                "`raypipe prepare` makes one from raw files",
            )
        try:
            frames[split], shares[split] = _read_csv(path, columns, most_bytes)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} is not readable as CSV ({type(error).__name__}: {str(error).splitlines()[0]})",
                "UTF-8 with a header, and as many fields in each row as it has",
            ) from None
    return frames


def _read_csv(path: str, columns: list[str], most_bytes: int | None) -> tuple[pd.DataFrame, float]:
    """A file, or its first rows; and the share of its bytes that they took. Raises DataError for a doubled column."""
    # Every cell is the string it is: "NA", "null" and "0" are labels like others.
    as_text: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    with fsspec.open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        header = pd.read_csv(file, header=None, nrows=1, **as_text).iloc[0].tolist()
        checks.refuse_twice(header, path, *columns)
        file.seek(0)
        as_text["index_col"] = False  # else a row of one field too many would have its first one taken for an index
        if most_bytes is None or size <= most_bytes:
            return pd.read_csv(file, **as_text), 1.0
        chunks, read = [], 0
        for chunk in pd.read_csv(file, **as_text, chunksize=_CHUNK_ROWS):
            chunks.append(chunk)
            read = size if file.closed else file.tell()  # pandas closes what it has read to its end
            if read >= most_bytes:
                break
        return pd.concat(chunks, ignore_index=True), read / size


def _from_hub(source: Source, token: str | None) -> dict[str, pd.DataFrame]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        loaded = load_dataset(source.name, revision=source.revision, token=token)
    except (ValueError, FileNotFoundError, DatasetsError) as error:  # no data files, several sets, a broken one
        raise DataError(
            f"the dataset {source} cannot be loaded ({type(error).__name__})", "train and test splits"
        ) from error
    lacking = [split for split in (TRAIN, TEST) if split not in loaded]
    if lacking:
        raise DataError(f"the dataset {source} has the splits {', '.join(loaded)}", "train and test")
    frames = {}
    for split in (TRAIN, TEST):
        frame, features = loaded[split].to_pandas(), loaded[split].features
        for column, feature in features.items():
            if hasattr(feature, "int2str"):  # a ClassLabel stores numbers
                # -1 is how a Hub dataset says that a row has no label
                frame[column] = [None if pd.isna(v) or v < 0 else feature.int2str(int(v)) for v in frame[column]]
        frames[split] = frame
    return frames


def _normal(frame: pd.DataFrame, split: str, text_column: str, label_column: str, source: str) -> pd.DataFrame:
    for column in (text_column, label_column):
        if column not in frame:
            raise DataError(
                f"no column {column!r} in {split} of {source}, which has {checks.names_of(frame)}",
                "the columns of --text and --subject-column",
                nearest(column, frame),
            )
    if frame.empty:
        raise DataError(f"no rows in {split} of {source}", "at least one row")
    for column in (text_column, label_column):
        if frame[column].map(pd.api.types.is_list_like).any():  # as in a dataset of several labels a row
            raise DataError(f"lists in the column {column!r} of {split} of {source}", "one value in each row")
        empty = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
        if empty.any():
            raise DataError(
                f"{int(empty.sum())} rows of {split} of {source} have no {column} (the first is number "
                f"{int(empty.to_numpy().argmax()) + 1})",
                "a value in each row",
                "clean the dataset with `raypipe prepare`",
            )
    places = pd.Series([f"{split}.csv:{n}" for n in range(1, len(frame) + 1)], frame.index)
    ids = frame[ID].astype(str).where(frame[ID].notna(), places) if ID in frame else places
    return pd.DataFrame(
        {
            TEXT: frame[text_column].astype(str).to_numpy(),
            LABEL: _as_text(frame[label_column]).str.strip().to_numpy(),
            ID: ids.to_numpy(),
            WEIGHT: pd.to_numeric(frame[WEIGHT], errors="coerce").to_numpy() if WEIGHT in frame else 1.0,
        }
    )


def _as_text(labels: pd.Series) -> pd.Series:
    """Labels as text, booleans among them as JSON writes them: so they come out of raw files as well."""
    text = labels.astype(str)
    return text.mask(np.array([isinstance(label, bool | np.bool_) for label in labels]), text.str.lower())
