"""Tables that users bring: rows, labels and teachers' probabilities as CSV, each fault told with its place."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jlabel import InputError

__all__ = ["label_matrix", "numbers_of", "read_probs", "read_table", "row_ids"]


def read_table(path: Path, flag: str) -> pd.DataFrame:
    """A CSV with its cells as text.

    Raises:
      InputError: no readable table, no rows, or two columns of one name.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(f"{flag}={path}: two columns are called {twice[0]!r}")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # of pandas and of bytes that are no UTF-8, too
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise InputError(f"{flag}={path}: no readable table: {reason}") from error
    if not len(table):
        raise InputError(f"{flag}={path}: the table has no rows")
    return table


def numbers_of(table: pd.DataFrame, columns: Sequence[str], what: str) -> np.ndarray:
    """Columns as float64 ``(N, columns)``.

    Raises:
      InputError: no columns, a column that is not there, or a cell that is no finite number.
    """
    if not columns:
        raise InputError(f"{what}: no column is left for features")
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{what}: no column {missing[0]!r}; there are {', '.join(map(str, table.columns[:12]))}")
    found = np.empty((len(table), len(columns)))
    for k, name in enumerate(columns):
        found[:, k] = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        bad = ~np.isfinite(found[:, k])
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"{what}: row {row}, column {name!r} holds {table[name].iloc[row]!r}, not a finite number; fill it, or "
                "leave the column out"
            )
    return found


def label_matrix(table: pd.DataFrame, names: Sequence[str], what: str, *, empty: bool = False) -> np.ndarray:
    """Columns of 0 and 1 as float64 ``(N, L)``; where `empty` cells are allowed they become NaN."""
    unknown = np.zeros((len(table), len(names)), bool)
    if empty:
        unknown = (table[list(names)] == "").to_numpy()
        table = table[list(names)].mask(unknown, "0")
    found = numbers_of(table, names, what)
    bad = np.argwhere(~np.isin(found, (0, 1)))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"{what}: row {row}, column {names[column]!r} holds {found[row, column]:g}: labels are 0 or 1")
    found[unknown] = np.nan
    return found


def row_ids(table: pd.DataFrame, column: str, what: str) -> list[str]:
    """The rows' names.

    Raises:
      InputError: no such column, or a name that two rows have.
    """
    if column not in table:
        raise InputError(f"{what}: no column {column!r}, which names the rows; see --id_column")
    found = table[column].tolist()
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InputError(f"{what}: {twice!r} stands twice in column {column!r}: every row needs a name of its own")
    return found


def read_probs(path: Path, ids: Sequence[str] | None, count: int, column: str) -> pd.DataFrame:
    """A teacher's probabilities for N rows, a column a label, in the order of the rows.

    Args:
      path: the file. ids: names of the rows, where `column` names them. count: N. column: of names, in the file too.

    Raises:
      InputError: rows that do not fit, or a cell that is no probability.
    """
    what = f"--teacher_probs={path}"
    table = read_table(path, "--teacher_probs")
    if ids is not None:
        place = {name: k for k, name in enumerate(row_ids(table, column, what))}
        missing = [name for name in ids if name not in place]
        if missing:
            raise InputError(f"{what}: no row {missing[0]!r} ({len(missing)} of {count} rows are missing)")
        table = table.iloc[[place[name] for name in ids]].drop(columns=column).reset_index(drop=True)
    elif len(table) != count:
        raise InputError(
            f"{what}: {len(table)} rows, --data has {count}: give the same rows in the same order, or --id_column"
        )
    if not len(table.columns):
        raise InputError(f"{what}: no column of probabilities")
    probs = numbers_of(table, list(table.columns), what)
    bad = np.argwhere((probs < 0) | (probs > 1))
    if len(bad):
        row, k = bad[0]
        raise InputError(
            f"{what}: row {row}, label {table.columns[k]!r} has {probs[row, k]:g}; probabilities lie in [0, 1]"
        )
    return pd.DataFrame(probs, columns=table.columns)
