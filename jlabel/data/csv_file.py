"""`csv:FILE`: a table of numbers, of texts, or of paths to pictures."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from jlabel.data.columns import build_table, content_columns, label_columns, split_column
from jlabel.data.folder import FileReader
from jlabel.data.source import DataError, one_line
from jlabel.data.table import Table, check_rows

_UNDECODED = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that are not UTF-8
_LONGEST_CELL = 2**31 - 1


def csv_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """All rows of the file; a column is numeric when each of its cells that is not empty is a number."""
    spec = f"csv:{location}"
    path = Path(location).expanduser()
    try:
        # Everything as text first: otherwise a class named NA or None would be read as a missing value. As objects,
        # since only these hold the bytes that are not UTF-8, which become faults of their rows.
        frame = pd.read_csv(
            path, dtype=object, keep_default_na=False, encoding="utf-8", encoding_errors="surrogateescape"
        )
        names = [str(name) for name in frame.columns]
        "".join(names).encode()
    except UnicodeEncodeError as error:  # of the names: cells may hold anything
        raise DataError(f"{spec}: line 1: the names of the columns are not UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{spec}: no readable table: {one_line(error)}") from error
    for name in names:
        if len(name.splitlines()) > 1:
            raise DataError(f"{spec}: the column name {name[:40]!r} has a line break; line 1 must name the columns")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first cells for names of rows
        raise DataError(f"{spec}: the rows have more cells than line 1 has names; put cells with a comma in quotes")
    check_rows(spec, len(frame))
    cells = {name: np.array(frame[name], dtype=object) for name in names}
    faults = _mend_undecoded(path, cells)
    labels = {*label_columns(spec, names, options), split_column(spec, names, options), "name"}
    texts = {"text", *options.get("text", "").split(","), options.get("text")}
    columns = {
        name: values if name in texts - labels else _whole_numbers(values) if name in labels else _column(values)
        for name, values in cells.items()
    }
    kinds = {name: "text" if values.dtype == object else "number" for name, values in columns.items()}
    content = content_columns(spec, kinds, options, image_names=("image", "path"), text_names=("text",))
    row_names = [f"{path.name}:{row}" for row in range(len(frame))]
    reader = None
    if content.image:
        row_names = columns.pop(content.image).tolist()
        reader = FileReader(tuple(path.parent / name for name in row_names))
    return build_table(spec, columns, options, names=row_names, reader=reader, content=content, faults=faults)


def _column(cells: np.ndarray) -> np.ndarray:
    values = pd.Series(cells, dtype=object)
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


def _mend_undecoded(path: Path, columns: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Empties the cells with bytes that are not UTF-8; says of their rows in which line and column these are."""
    bad: dict[int, str] = {}
    for name, cells in columns.items():
        for row, cell in enumerate(cells):
            if not cell.isascii() and (match := _UNDECODED.search(cell)):
                start = len(cell[: match.start()].encode())
                bad.setdefault(row, f"column {name} is not UTF-8 text at byte {start} of its cell; save it as UTF-8")
                cells[row] = ""
    if not bad:
        return bad
    lines = dict(enumerate(_first_lines(path)))
    return {row: f"line {lines.get(row, '?')}: {reason}" for row, reason in sorted(bad.items())}


def _first_lines(path: Path) -> Iterator[int]:
    """The line that each row starts at, the header's left out; a row can be several lines long."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            line, header = 1, True
            for cells in reader:
                if "".join(cells).strip() or len(cells) > 1:  # pandas passes over blank lines
                    if not header:
                        yield line
                    header = False
                line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)
