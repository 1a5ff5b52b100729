"""Rows of Parquet and NumPy files in parts: only the part asked for is in memory."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jlabel import InputError
from jlabel.data.parquet_file import RowGroup, layout
from jlabel.data.source import one_line

__all__ = ["NpyProbs", "ParquetProbs", "ParquetRows", "ProbRows", "numbers", "vectors"]


class ProbRows(Protocol):
    """Probabilities that can be read in parts."""

    rows: int
    num_columns: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""


class ParquetRows:
    """Some columns of Parquet files, read from the front in parts of any size; going back, or far ahead, seeks."""

    def __init__(self, spec: str, paths: Sequence[str], columns: Sequence[str], *, batch_rows: int):
        """Open nothing yet; `batch_rows` rows are decoded at a time."""
        self.spec, self.columns, self.batch_rows = spec, list(columns), batch_rows
        self.schema, self.groups = layout(spec, list(paths))
        self.rows = sum(group.rows for group in self.groups)
        self._batches: Iterator[pa.Table] = iter(())
        self._held: pa.Table | None = None
        self._position = 0  # of the first row held
        self._end = 0  # of the row group being read

    def read(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop` of all files together."""
        parts: list[pa.Table] = []
        while start < stop:
            held = self._held
            if held is None or not self._position <= start < self._position + held.num_rows:
                self._advance(start)
                continue
            part = held.slice(start - self._position, stop - start)
            parts.append(part)
            start += part.num_rows
        return pa.concat_tables(parts, promote_options="permissive")

    def _advance(self, row: int) -> None:
        """Decode on within a row group, or begin at the one that holds the row."""
        if self._held is not None and self._position <= row < self._end:
            self._position += self._held.num_rows
        else:
            group = self.groups[bisect_right(self.groups, row, key=lambda group: group.start) - 1]
            self._batches, self._position, self._end = self._decode(group), group.start, group.start + group.rows
        self._held = next(self._batches, None)
        if self._held is None:
            raise InputError(f"{self.spec}: there are fewer rows than the file says, {row} of {self.rows}")

    def _decode(self, group: RowGroup) -> Iterator[pa.Table]:
        try:
            with pq.ParquetFile(group.path, buffer_size=1 << 20) as file:
                for batch in file.iter_batches(self.batch_rows, row_groups=[group.number], columns=self.columns):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{self.spec}: row group {group.number} of {group.path} is damaged: {one_line(error)}"
            ) from error


class ParquetProbs:
    """Probabilities from Parquet files: one column of vectors, or a column per label."""

    def __init__(self, spec: str, paths: Sequence[str], columns: Sequence[str], *, batch_rows: int):
        """Read one row, for the number of labels."""
        self._reader = ParquetRows(spec, paths, columns, batch_rows=batch_rows)
        self.rows = self._reader.rows
        self.num_columns = self.read(0, 1).shape[1] if self.rows else 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Probabilities `[stop - start, C]`."""
        table = self._reader.read(start, stop)
        if table.num_columns > 1:
            return np.stack([numbers(self._reader.spec, name, table.column(name)) for name in table.column_names], 1)
        return vectors(self._reader.spec, table.column_names[0], table.column(0), start=start)


class NpyProbs:
    """Probabilities from a `.npy` file, mapped into memory."""

    def __init__(self, spec: str, path: Path):
        """Map the file."""
        try:
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{spec}: cannot be read: {one_line(error)}") from error
        if self._array.ndim != 2 or self._array.dtype.kind not in "fiu":
            raise InputError(
                f"{spec}: an array of {self._array.dtype} {self._array.shape}; give numbers [rows, labels]"
            )
        self.rows, self.num_columns = self._array.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        """Probabilities `[stop - start, C]`."""
        return np.array(self._array[start:stop])


def numbers(spec: str, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers, `[B]`."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise InputError(
            f"{spec}: column {name!r} holds {column.type}; columns are probabilities, one per label, or name"
        )
    return column.to_numpy()


def vectors(spec: str, name: str, column: pa.ChunkedArray, *, start: int = 0) -> np.ndarray:
    """A column of vectors of one length as `[B, C]`; `start` is the number of its first row, for messages."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(
            f"{spec}: column {name!r} holds {kind}; give vectors of probabilities, or one column per label"
        )
    sizes = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(~(sizes == sizes[:1]))
    if odd.size or not sizes[0] > 0:
        row = int(odd[0]) if odd.size else 0
        raise InputError(f"{spec}: column {name!r} has {sizes[row]} values in row {start + row}, {sizes[0]} in another")
    values = pc.list_flatten(column)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise InputError(f"{spec}: column {name!r} holds vectors of {values.type}, not of numbers")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
