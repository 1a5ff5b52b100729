"""Rows of whatever a user holds them in, chunk by chunk, for functions of a row and functions of columns."""

import functools
import gc
import itertools
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jlabel.data.source import object_array
from jlabel.errors import InputError


class MappingRow(dict):
    """A row given as a mapping: `row["text"]` and `row.text` are the same.

    >>> MappingRow({"text": "hello"}).text
    'hello'
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no {name!r}; it has {_listed(self)}") from None


class _Names:
    """What a row has besides its columns; a column of the same name comes first."""

    __slots__ = ()

    def keys(self) -> tuple[Any, ...]:
        """Names of the columns."""
        return self._names  # type: ignore[attr-defined]

    def get(self, name: Any, default: Any = None) -> Any:
        """The value of a column, or `default` where there is no such column."""
        return self[name] if name in self else default  # type: ignore[operator, index]


@functools.lru_cache(maxsize=256)
def row_type(names: tuple[Any, ...]) -> type:
    """A class of rows with these columns: values are reached as attributes (`row.text`) and items (`row["text"]`).

    An instance is a tuple, which is made and read many times faster than a pandas Series. A name that is no Python
    identifier, such as "my text" or 0, is reached as an item only.

    >>> row = row_type(("text", "my id"))(("hello", 7))
    >>> row.text, row["my id"], "text" in row, dict(row)
    ('hello', 7, True, {'text': 'hello', 'my id': 7})
    """
    field_names = [str(name) for name in names]
    fields: Any = namedtuple("Row", field_names, rename=True)  # type: ignore[misc]
    places = {name: place for place, name in enumerate(names)}
    value = tuple.__getitem__

    class Row(fields, _Names):
        __slots__ = ()
        _names = names

        def __new__(cls, values: Iterable[Any]) -> Any:
            return tuple.__new__(cls, values)

        def __getitem__(self, name: Any) -> Any:
            try:
                return value(self, places[name])
            except KeyError:
                raise KeyError(f"no column {name!r}; there are {_listed(names)}") from None

        def __contains__(self, name: Any) -> bool:
            return name in places

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"no column {name!r}; there are {_listed(names)}")

    return Row


class Chunk(NamedTuple):
    """Rows `start .. start + size - 1`: a DataFrame, columns by name, an array, or a list of rows."""

    start: int
    size: int
    content: Any

    def part(self, low: int, high: int) -> "Chunk":
        """Rows `low .. high - 1` of this chunk."""
        if isinstance(self.content, pd.DataFrame):
            content = self.content.iloc[low:high]
        elif isinstance(self.content, dict):
            content = {name: column[low:high] for name, column in self.content.items()}
        else:
            content = self.content[low:high]
        return Chunk(self.start + low, high - low, content)

    def rows(self) -> list[Any]:
        """The rows one by one, as light objects with attributes and items where they have columns."""
        content = self.content
        if isinstance(content, pd.DataFrame):
            columns = [content.iloc[:, place].tolist() for place in range(content.shape[1])]
            return _light_rows(tuple(content.columns), columns)
        if isinstance(content, dict):
            return _light_rows(tuple(content), [_listing(column) for column in content.values()])
        if isinstance(content, np.ndarray):
            return _listing(content)
        if not any(issubclass(kind, Mapping) for kind in set(map(type, content))):  # asked of each row, this costs
            return content
        return [MappingRow(row) if isinstance(row, Mapping) else row for row in content]

    def columns(self) -> Any:
        """What a function of columns gets: a DataFrame, an object of arrays, an array, or a list of rows."""
        content = self.content
        if isinstance(content, list) and content and isinstance(content[0], Mapping):
            content = {name: _column([self._value(i, name) for i in range(self.size)]) for name in content[0]}
        return row_type(tuple(content))(content.values()) if isinstance(content, dict) else content

    def _value(self, place: int, name: Any) -> Any:
        try:
            return self.content[place][name]
        except (KeyError, TypeError, IndexError):
            raise InputError(f"row {self.start + place} has no {name!r}, as the rows before it have") from None


def read_chunks(data: Any, chunk_size: int) -> Iterator[Chunk]:
    """Cuts rows into chunks, in order, without holding more than one of an iterator's.

    Args:
        data: A pandas DataFrame or Series (or what has `to_pandas`); a mapping of columns; an array; a sequence of rows
            (mappings, texts, any objects); or an iterable of them.
        chunk_size: Rows of a chunk, 1 or more.

    Returns:
        An iterator of `Chunk`.

    Raises:
        InputError: Columns of other lengths, columns without a name of their own, or data that hold no rows.

    Example:
        >>> [chunk.content for chunk in read_chunks(iter("abc"), 2)]
        [['a', 'b'], ['c']]
    """
    if hasattr(data, "to_pandas"):
        data = data.to_pandas()
    if isinstance(data, pd.Series):
        data = data.to_numpy()
    elif isinstance(data, pd.DataFrame):
        if not data.columns.is_unique:
            raise InputError(f"data has two columns {data.columns[data.columns.duplicated()][0]!r}: rename one")
    elif isinstance(data, Mapping):
        data = {name: _column(values) for name, values in data.items()}
        lengths = {name: len(column) for name, column in data.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"columns of data must have one length, got {lengths}")
    elif hasattr(data, "__array__"):
        data = np.asarray(data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        data = {name: data[name] for name in data.dtype.names}
    if isinstance(data, str | bytes) or not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        raise InputError(
            f"data is a {type(data).__name__}: give a DataFrame, columns by name, or a sequence or iterator of rows"
        )
    if isinstance(data, np.ndarray) and not data.ndim:
        raise InputError(f"data is the single value {data}; give rows")
    return _cut(data, chunk_size)


def _cut(data: Any, chunk_size: int) -> Iterator[Chunk]:
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        feed = iter(data)
        for start in itertools.count(0, chunk_size):
            content = list(itertools.islice(feed, chunk_size))
            if content:
                yield Chunk(start, len(content), content)
            if len(content) < chunk_size:
                return
    whole = Chunk(0, len(next(iter(data.values()))) if isinstance(data, dict) else len(data), data)
    sliced = isinstance(data, pd.DataFrame | dict | np.ndarray | list)
    for start in range(0, whole.size, chunk_size):
        stop = min(start + chunk_size, whole.size)
        # A source of rows may take one index at a time.
        yield whole.part(start, stop) if sliced else Chunk(start, stop - start, [data[i] for i in range(start, stop)])


def _light_rows(names: tuple[Any, ...], columns: list[list[Any]]) -> list[Any]:
    kind = itertools.repeat(row_type(names))
    collects = gc.isenabled()
    gc.disable()  # thousands of new objects set off collections over all of memory, which cost more than the rows
    try:
        return list(map(tuple.__new__, kind, zip(*columns, strict=True)))
    finally:
        if collects:
            gc.enable()


def _listing(column: np.ndarray) -> list[Any]:
    """Plain Python numbers of a vector, which are read faster than NumPy's; else the parts along the first axis."""
    return column.tolist() if column.ndim == 1 else list(column)


def _column(values: Any) -> np.ndarray:
    """An array of numbers, dates or booleans; anything else, texts too, as objects."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "__array__"):
        return np.asarray(values)
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"a column of data is the single value {values!r}; give one value for each row")
    values = list(values)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of other lengths
        return object_array(values)
    return array if array.dtype.kind in "biufcmM" else object_array(values)


def _listed(names: Iterable[Any]) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")
