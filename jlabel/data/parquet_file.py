"""`parquet:GLOB`: what the Hugging Face hub exports, its pictures read row group by row group."""

import glob
import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jlabel.data.columns import build_table, content_columns, label_columns, text_values
from jlabel.data.source import DataError, one_line
from jlabel.data.table import Table, check_rows

CACHED_BYTES = 1 << 30  # of encoded row groups kept in memory


@dataclass(frozen=True)
class RowGroup:
    """Where one row group lies; `start` is the dataset's row it begins at."""

    path: str
    number: int
    start: int
    rows: int


@dataclass
class ParquetPictures:
    """Encoded pictures of Parquet files; up to `CACHED_BYTES` of the row groups last read stay in memory."""

    groups: tuple[RowGroup, ...]
    column: str
    _cache: OrderedDict[int, pa.ChunkedArray] = field(default_factory=OrderedDict)
    _lock: Any = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to worker processes without its cache."""
        return ParquetPictures, (self.groups, self.column)

    @property
    def kind(self) -> str:
        """These are pictures."""
        return "image"

    @property
    def encoded(self) -> bool:
        """Always."""
        return True

    def read(self, row: int) -> bytes:
        """One encoded picture, from its bytes or, where these are null, from the file its path names."""
        number = bisect_right(self.groups, row, key=lambda group: group.start) - 1
        group = self.groups[number]
        value = self._load(number)[row - group.start].as_py()
        stored, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
        if isinstance(stored, bytes):
            return stored
        if isinstance(path, str):
            return (Path(group.path).parent / path).read_bytes()
        raise DataError("the picture is missing (null)")

    def _load(self, number: int) -> pa.ChunkedArray:
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
            group = self.groups[number]
            try:
                with pq.ParquetFile(group.path) as file:
                    column = file.read_row_group(group.number, columns=[self.column]).column(0)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"row group {group.number} of {group.path} is damaged: {one_line(error)}") from error
            self._cache[number] = column
            while len(self._cache) > 1 and sum(kept.nbytes for kept in self._cache.values()) > CACHED_BYTES:
                self._cache.popitem(last=False)
            return column


def parquet_table(location: str, options: Mapping[str, str], split: str) -> Table:
    """Every row of the files the pattern names; columns as `open` documents."""
    spec = f"parquet:{location}"
    paths = sorted(glob.glob(str(Path(location).expanduser()), recursive=True))
    if not paths:
        raise DataError(f"{spec}: no such file")
    schema, groups = layout(spec, paths)
    check_rows(spec, sum(group.rows for group in groups))
    kinds = {column.name: _kind(column.type) for column in schema}
    labels = label_columns(spec, list(kinds), options)
    for name in labels:
        if kinds[name] not in ("number", "text", "bytes"):
            held = schema.field(name).type
            raise DataError(f"{spec}: column {name!r} holds {held}; labels are texts or whole numbers")
    content = content_columns(spec, kinds, options, text_names=("text",))
    image, used = content.image, (*labels, *content.features, *content.text)
    wanted = [name for name, kind in kinds.items() if kind in ("number", "text") or name in used]
    wanted = [name for name in wanted if name != image]
    named = image is not None and kinds[image] == "picture" and schema.field(image).type.get_field_index("path") >= 0
    columns, faults = read_columns(spec, paths, wanted + [f"{image}.path"] * named)
    names = [f"{Path(group.path).name}:{group_row}" for group in groups for group_row in _rows_in_file(group, groups)]
    if named:
        given = columns.pop(str(image))
        names = [str(path) or name for path, name in zip(given, names, strict=True)]
    return build_table(
        spec,
        columns,
        options,
        names=names,
        reader=ParquetPictures(tuple(groups), image) if image else None,
        content=content,
        label_names=hub_label_names(schema, labels[0]) if labels else None,
        faults=faults,
    )


def layout(spec: str, paths: list[str]) -> tuple[pa.Schema, list[RowGroup]]:
    """The columns and row groups of all files, which must agree."""
    schema, groups, start = None, [], 0
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                metadata, here = file.metadata, file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{spec}: {path} is no readable Parquet file: {one_line(error)}") from error
        schema = schema or here
        if here.names != schema.names:
            odd = sorted(set(here.names) ^ set(schema.names)) or here.names
            raise DataError(f"{spec}: {path} and {paths[0]} differ in their columns ({', '.join(odd)})")
        for number in range(metadata.num_row_groups):
            rows = metadata.row_group(number).num_rows
            groups.append(RowGroup(path, number, start, rows))
            start += rows
    return schema, groups


def _rows_in_file(group: RowGroup, groups: list[RowGroup]) -> range:
    first = next(other.start for other in groups if other.path == group.path)
    return range(group.start - first, group.start - first + group.rows)


def _kind(column: pa.DataType) -> str:
    if pa.types.is_dictionary(column):
        column = column.value_type
    if pa.types.is_integer(column) or pa.types.is_floating(column) or pa.types.is_boolean(column):
        return "number"
    if pa.types.is_string(column) or pa.types.is_large_string(column) or pa.types.is_string_view(column):
        return "text"
    if _is_date(column):
        return "text"  # as 2025-01-31 and 2025-01-31 23:59:59
    if pa.types.is_binary(column) or pa.types.is_large_binary(column) or pa.types.is_binary_view(column):
        return "bytes"
    if pa.types.is_struct(column) and column.get_field_index("bytes") >= 0:
        return "picture"
    if pa.types.is_list(column) or pa.types.is_large_list(column) or pa.types.is_fixed_size_list(column):
        return "vector" if _kind(column.value_type) == "number" else "other"
    return "other"


def _is_date(column: pa.DataType) -> bool:
    return pa.types.is_date(column) or pa.types.is_timestamp(column)


def read_columns(spec: str, paths: list[str], wanted: list[str]) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Columns in memory as NumPy, and the rows whose text is not UTF-8."""
    parts = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                parts.append(file.read(columns=wanted))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{spec}: {path} is damaged: {one_line(error)}") from error
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{spec}: the files differ in the types of their columns: {one_line(error)}") from error
    columns: dict[str, np.ndarray] = {}
    faults: dict[int, str] = {}
    for name in table.column_names:
        column, kind = table.column(name), _kind(table.column(name).type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if kind == "vector":
            columns[name] = _vectors(spec, name, column)
        elif kind == "number":
            columns[name] = column.to_numpy()
        else:
            if pa.types.is_struct(column.type):  # of a picture only the path was read
                column = pa.chunked_array([chunk.field("path") for chunk in column.chunks], pa.string())
            if _is_date(column.type):
                column = column.cast(pa.string())
            # As bytes first: Arrow's own conversion gives up on the whole column at the first bad row.
            columns[name], bad = text_values(column.cast(pa.large_binary()).to_pylist())
            faults |= {row: f"column {name} is {reason}" for row, reason in bad.items()}
    return columns, faults


def _vectors(spec: str, name: str, column: pa.ChunkedArray) -> np.ndarray:
    sizes = pc.list_value_length(column).to_numpy()
    odd = np.flatnonzero(sizes != sizes[:1])
    if odd.size or (sizes.size and not sizes[0] > 0):
        row = int(odd[0]) if odd.size else 0
        raise DataError(f"{spec}: column {name} has {sizes[row]} values in row {row}, {sizes[0]} in row 0")
    values = pc.list_flatten(column).to_numpy()
    return np.asarray(values, np.float32).reshape(len(column), -1)


def hub_label_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Class names of a `ClassLabel` column, which the hub stores as JSON in the schema."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])
        names = stored["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None
