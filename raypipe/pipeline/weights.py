"""What each row stands for: the column ``weight`` of a dataset or of local files."""

import numpy as np
import pandas as pd

from raypipe.errors import DataError
from raypipe.schema import LABEL, WEIGHT


def of_files(
    folder: str, files: list[str], text: str, orders: np.ndarray, block_rows: int
) -> tuple[np.ndarray | None, list[str]]:
    """The weights of the rows with these order numbers  # (rows,), or None; and what to say of them.

    Rows carry text and label alone, so the files, such as prepare's NAME_test.jsonl, are read once more with ``weight``
    as the label.
    """
    from raypipe.data import ingest

    try:
        again = ingest.ingest(folder, files, text, WEIGHT, block_rows)
    except DataError:  # the first rows have none
        return checked(np.array([np.nan]))
    weight = again.select_columns(["order", LABEL]).to_pandas().set_index("order")[LABEL]
    return checked(pd.to_numeric(weight.loc[orders], errors="coerce").to_numpy(float))


def checked(weight: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """The weights, or None and a notice where they cannot be some: in a foreign file the column may mean anything."""
    if (np.isfinite(weight) & (weight > 0)).all():
        return weight, []
    return None, ["the column weight has values that are not above 0, so that no headline is weighted by it"]
