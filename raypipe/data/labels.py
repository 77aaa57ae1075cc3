"""Rename labels, and let the rows of unwanted and rare labels leave."""

import csv
import io
from collections.abc import Iterable

import numpy as np

from raypipe import schema, storage
from raypipe.config import PrepareConfig, nearest
from raypipe.data.table import Table
from raypipe.errors import ConfigError, DataError
from raypipe.runtime import say


def read_label_map(path: str | None) -> dict[str, str]:
    """The renames of a CSV file with the columns old,new. Raises ConfigError."""
    if path is None:
        return {}
    storage.require_reachable(path)
    try:
        rows = list(csv.reader(io.StringIO(storage.read_text(path).removeprefix("\ufeff"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"--label-map {path} cannot be read: {error}", "a CSV file with the columns old,new"
        ) from None
    if not rows or rows[0] != ["old", "new"]:
        raise ConfigError(f"--label-map {path} begins with {rows[0] if rows else 'nothing'}", "the header old,new")
    renames: dict[str, str] = {}
    for number, cells in enumerate(rows[1:], 2):
        pair = [cell.strip() for cell in cells]
        if not any(pair):
            continue
        if len(pair) != 2 or not all(pair):
            raise ConfigError(f"--label-map {path}, line {number}", "two labels, old,new")
        if renames.get(pair[0], pair[1]) != pair[1]:
            raise ConfigError(f"--label-map {path} maps {pair[0]!r} twice", "one new label for each old one")
        renames[pair[0]] = pair[1]
    return renames


def rename(table: Table, renames: dict[str, str], is_whole: bool = True) -> None:
    """Apply the label map: one step, no chains. A sample, which is not whole, may lack labels without a warning."""
    if is_whole:
        _warn_of_absent(renames, table.names, "--label-map")
    table.rename([renames.get(name, name) for name in table.names])
    table.raw_label = table.label.copy()


def _warn_of_absent(labels: Iterable[str], occurring: Iterable[str], flag: str) -> None:
    """Say which labels that a flag names never occur."""
    for label in sorted(set(labels) - set(occurring)):
        say(f"warning: the label {label!r} of {flag} never occurs {nearest(label, occurring)}".rstrip())


def filter_labels(table: Table, config: PrepareConfig, is_whole: bool = True) -> None:
    """Apply the label filter and the rare-label rule, in this order.

    Raises DataError where they leave less than two classes. A sample, which is not whole, may have one: its rows may
    have been sorted by label. Of one whose labels are all unwanted the rows stay, to be measured.
    """
    unwanted = {label.strip() for label in config.labels_to_filter}
    occurring = [name for name, size in zip(table.names, table.class_sizes(table.alive), strict=True) if size]
    if is_whole:
        _warn_of_absent(unwanted, occurring, "--labels-to-filter")
    elif unwanted.issuperset(occurring):
        return
    codes = [code for code, name in enumerate(table.names) if name in unwanted]
    alive = table.alive
    table.remove(alive[np.isin(table.label[alive], codes)], schema.FILTERED_LABEL)
    alive = table.alive
    rare = np.flatnonzero(table.class_sizes(alive) < config.min_class_rows)
    table.remove(alive[np.isin(table.label[alive], rare)], schema.RARE_LABEL)
    if is_whole or not len(table.alive):
        require_classes(table, "the label rules", "check --subject, --labels-to-filter and --min-class-rows")


def require_classes(table: Table, after: str, remedy: str) -> None:
    """Refuse rows that nothing can be learned from. Raises DataError."""
    classes = int((table.class_sizes(table.alive) > 0).sum())
    if classes < 2:
        raise DataError(f"{classes} class{'es' * (classes != 1)} left after {after}", "at least 2 classes", remedy)
