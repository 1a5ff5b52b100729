"""`csv:FILE`: a table of numbers, or of paths to pictures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from jlabel.data.columns import build_table, content_columns, label_column, split_column
from jlabel.data.folder import FileReader
from jlabel.data.source import DataError, one_line
from jlabel.data.table import Table, check_rows


def csv_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """All rows of the file; a column is numeric when each of its cells that is not empty is a number."""
    spec = f"csv:{location}"
    path = Path(location).expanduser()
    try:
        # Everything as text first: otherwise a class named NA or None would be read as a missing value.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{spec}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{spec}: no readable table: {one_line(error)}") from error
    check_rows(spec, len(frame))
    names = [str(name) for name in frame.columns]
    texts = {label_column(spec, names, options), split_column(spec, names, options), "name"}
    columns = {name: _column(frame[name], text=name in texts) for name in names}
    kinds = {name: "text" if values.dtype == object else "number" for name, values in columns.items()}
    image, features = content_columns(spec, kinds, options, image_names=("image", "path"))
    row_names = [f"{path.name}:{row}" for row in range(len(frame))]
    reader = None
    if image:
        row_names = columns.pop(image).tolist()
        reader = FileReader(tuple(path.parent / name for name in row_names))
    return build_table(spec, columns, options, names=row_names, reader=reader, features=features)


def _column(values: pd.Series, *, text: bool) -> np.ndarray:
    cells = values.to_numpy(dtype=object)
    if text:
        return _whole_numbers(cells)
    numbers = pd.to_numeric(values.where(values.str.strip() != ""), errors="coerce").to_numpy(np.float64)
    empty = np.array([not cell.strip() for cell in cells], bool)
    is_numeric = not empty.all() and not (np.isnan(numbers) & ~empty & (values.str.lower() != "nan").to_numpy()).any()
    return numbers if is_numeric else cells


def _whole_numbers(cells: np.ndarray) -> np.ndarray:
    """Labels written as whole numbers sort as numbers; an empty cell stays empty."""
    try:
        return np.array([int(cell) if cell else "" for cell in cells], dtype=object)
    except ValueError:
        return cells
