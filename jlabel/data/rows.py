"""What the options `separator`, `drop` and `time` do to the rows of a table."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jlabel.data.source import DataError, object_array
from jlabel.data.table import encode_labels

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ][\d:.,+Z -]{0,40})?)?)?")


class RowLabels(NamedTuple):
    """Labels of the rows: `labels` int32 [N], `several` [N] tuples or None, the names they index, and faults."""

    labels: np.ndarray
    several: np.ndarray | None
    names: tuple[str, ...]
    faults: dict[int, str]


def several_labels(
    columns: Sequence[Sequence[Any] | np.ndarray], *, separator: str | None, label_names: Sequence[str] | None = None
) -> RowLabels:
    """Labels of rows that have one or more of them, from cells that hold several or from several columns.

    The first of the first column is the row's label; without it the row is faulty. Labels are as `encode_labels` takes
    them; a label that stands twice in a row counts once.

    >>> several_labels([["b", "a", ""], ["a|c", None, "c"]], separator="|")[:3]
    (array([ 1,  0, -1], dtype=int32), array([(1, 0, 2), (0,), (2,)], dtype=object), ('a', 'b', 'c'))
    """
    cells = [[_parts(cell, separator) for cell in row] for row in zip(*columns, strict=True)]
    owners = np.repeat(np.arange(len(cells)), [sum(map(len, row)) for row in cells])
    flat = [label for row in cells for parts in row for label in parts]
    if all(isinstance(label, str) for label in flat):
        try:
            flat = [int(label) for label in flat]  # numbers sort as numbers, and -1 is unlabelled
        except ValueError:
            pass
    codes, names, bad = encode_labels(flat, label_names=label_names)
    faults = {int(owners[place]): reason for place, reason in bad.items()}
    found: list[list[int]] = [[] for _ in cells]
    for owner, code in zip(owners.tolist(), codes.tolist(), strict=True):
        found[owner].append(code)
    labels = np.full(len(cells), -1, np.int32)
    for row, parts_of_columns in enumerate(cells):
        if parts_of_columns[0]:
            labels[row] = found[row][0]
        else:
            faults[row] = "the label is missing"
    return RowLabels(labels, object_array([_once(row) for row in found]), names, faults)


def _parts(cell: Any, separator: str | None) -> list[Any]:
    """The labels of one cell; none where it is empty."""
    if cell is None or cell == "" or (isinstance(cell, float) and np.isnan(cell)):
        return []
    if separator is None or not isinstance(cell, str):
        return [cell]
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _once(codes: Sequence[int]) -> tuple[int, ...]:
    return tuple(code for code in dict.fromkeys(codes) if code >= 0)


def drop_labels(spec: str, given: RowLabels, dropped: Sequence[str]) -> tuple[RowLabels, np.ndarray]:
    """Takes labels out: of the names, of the rows that have others too, and the rows whose label is one of them.

    Returns:
      The labels that stay, and bool [N], the rows to leave out.

    >>> given = RowLabels(np.array([0, 1, 2]), None, ("cat", "dog", "oos"), {})
    >>> drop_labels("pets", given, ["cat"])
    (RowLabels(labels=array([-1,  0,  1]), several=None, names=('dog', 'oos'), faults={}), array([ True, False, False]))
    """
    for name in dropped:
        if name not in given.names:
            there = ", ".join(given.names[:10]) + (", ..." if len(given.names) > 10 else "")
            raise DataError(f"{spec}: no label {name!r} (option drop); there are {there or 'none'}")
    kept = [code for code, name in enumerate(given.names) if name not in dropped]
    moved = np.full(len(given.names) + 1, -1, given.labels.dtype)  # the last place is that of -1, unlabelled
    moved[kept] = np.arange(len(kept))
    labels = moved[given.labels]
    several = given.several
    if several is not None:
        several = object_array([_once([int(moved[code]) for code in row]) for row in several])
    names = tuple(given.names[code] for code in kept)
    return RowLabels(labels, several, names, given.faults), (labels < 0) & (given.labels >= 0)


def time_splits(name: str, values: np.ndarray, left_out: np.ndarray | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """The last quarter of the rows in order of time (ties in the order of the rows) as "test", the others as "train".

    Args:
      name: of the column, for messages.
      values: [N] numbers, or dates written year first: 2025, 2025-01 or 2025-01-31, with or without a time of day.
      left_out: bool [N], rows that do not count.

    Returns:
      Splits [N], "" where there is no time, and those rows as faults.

    >>> time_splits("day", np.array([3, 1, 2, 1]))
    (array(['test', 'train', 'train', 'train'], dtype='<U5'), {})
    """
    if values.dtype.kind in "biuf":
        keys, bad = values, ~np.isfinite(values)
    else:
        keys = np.array([str(value) if _DATE.fullmatch(str(value)) else "" for value in values])
        bad = keys == ""
    counted = np.flatnonzero(~bad if left_out is None else ~bad & ~left_out)
    order = counted[np.argsort(keys[counted], kind="stable")]
    splits = np.full(len(values), "", "<U5")
    splits[order] = "train"
    splits[order[len(order) - len(order) // 4 :]] = "test"
    return splits, {
        row: f"column {name} holds {str(values[row])[:40]!r}, neither a number nor a date like 2025-01-31"
        for row in np.flatnonzero(bad).tolist()
    }
