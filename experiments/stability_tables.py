"""Published tables beside this file, and a user's own table of models."""

import csv
import math
from pathlib import Path

import numpy as np

from jlabel import InputError

__all__ = ["SHIPPED_MODELS", "ModelTable", "read_models", "shipped_table"]

TABLES = Path(__file__).parent / "tables"
SHIPPED_MODELS = ("imagenet", "cifar10")
SHARES = ("original", "corrected", "original_top5", "corrected_top5", "accuracy", "benign")


class ModelTable(dict[str, np.ndarray]):
    """Column name to shares ``[M]``; ``names`` and ``platforms`` (empty texts where not given) beside it."""

    def __init__(self, title: str, names: list[str], platforms: list[str], columns: dict[str, np.ndarray]):
        super().__init__(columns)
        self.title, self.names, self.platforms = title, names, platforms


def shipped_table(name: str) -> list[dict[str, str]]:
    """The rows of a table in tables/."""
    return _rows(TABLES / f"{name}.csv")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start} is wrong") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [
        {key.strip(): (value or "").strip() for key, value in row.items() if key is not None}
        for row in csv.DictReader(lines)
    ]
    if not rows:
        raise InputError(f"{path} holds no rows: write a header and a row for each model")
    return rows


def read_models(where: str) -> ModelTable:
    """A shipped table (imagenet, cifar10) or a CSV file.

    Columns: ``model``; ``original`` and ``corrected``, accuracies on the correctable rows, 0 to 1. Also, if there:
    ``platform``; ``original_top5`` and ``corrected_top5``; ``benign``, the accuracy on B, or ``accuracy``, the one on
    all rows by the given labels. Lines that begin with # are skipped.

    Raises:
      InputError: no such file, a column that lacks, a cell that is no share; the message names model and column.
    """
    path = TABLES / f"{where}_models.csv" if where in SHIPPED_MODELS else Path(where).expanduser()
    rows = _rows(path)
    for column in ("model", "original", "corrected"):
        if column not in rows[0]:
            raise InputError(f"{path} has no column {column!r}; it has {', '.join(rows[0])}")
    columns = {column: np.array([_share(path, row, column) for row in rows]) for column in SHARES if column in rows[0]}
    names, platforms = [row["model"] for row in rows], [row.get("platform", "") for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    full = [
        f"{name} ({platform.split()[0]})" if name in twice and platform else name
        for name, platform in zip(names, platforms, strict=True)
    ]
    for name in full:
        if full.count(name) > 1 or not name:
            raise InputError(f"{path}: model {name!r} stands twice; give each its own name, or a platform")
    if len(rows) < 4:
        raise InputError(f"{path} holds {len(rows)} models; a correlation needs 4 or more")
    title = where if where in SHIPPED_MODELS else path.stem
    return ModelTable(title, full, platforms, columns)


def _share(path: Path, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(f"{path}: {column} of {row['model']!r} is {row[column]!r}; write a share from 0 to 1")
    return value
