"""What each column of a table is: categories, numbers, or nothing to learn from."""

import warnings
from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jlabel.tabular.checks import TabularError, check_columns, check_count, check_frame

__all__ = ["ColumnTypes", "infer_columns"]

_NUMBERS = 0.99  # share of a text column's values that must parse as numbers for it to be one of numbers


class ColumnTypes(NamedTuple):
    """Names of a table's columns by what they hold, each in the table's order.

    Attributes:
      categorical: columns whose values are categories. continuous: columns whose values are numbers.
      dropped: columns that say nothing.
    """

    categorical: tuple[Hashable, ...] = ()
    continuous: tuple[Hashable, ...] = ()
    dropped: tuple[Hashable, ...] = ()


def infer_columns(
    frame: pd.DataFrame,
    *,
    max_integer_categories: int = 10,
    categorical: Collection[Hashable] = (),
    continuous: Collection[Hashable] = (),
) -> ColumnTypes:
    """Tell categories from numbers by the columns' types and values.

    - Texts, bools and pandas categories are categories, unless 99 % of a text column's values parse as numbers; but
      texts that are whole numbers with few values are codes.
    - Whole numbers, by type, with at most ``max_integer_categories`` values are categories; more values are numbers,
      and so are all fractions, dates and durations (in days).
    - A column with one value throughout is dropped. So, with a warning, is one without any. One value with gaps stays:
      whether it is there may matter.

    Args:
      frame: table of N rows. Missing is None, NaN, NaT or NA; "?" and "" are categories like others.
      max_integer_categories: values up to which whole numbers are codes, from 0.
      categorical: columns that are categories whatever they look like, such as codes of many values.
      continuous: columns that are numbers whatever they look like.

    Returns:
      Every column's name in one of three groups.

    Raises:
      TabularError: not a DataFrame, no rows, names that stand twice, an unknown name in ``categorical`` or
        ``continuous``, values of no known type, or free text: more different values than half the rows and than
        ``max_integer_categories``.

    Example:
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm"], "age": [31.0, 28.0, None], "country": "DE"})
      >>> infer_columns(frame)
      ColumnTypes(categorical=('city',), continuous=('age',), dropped=('country',))
    """
    check_frame(frame)
    check_count("max_integer_categories", max_integer_categories, low=0)
    for argument, names in (("categorical", categorical), ("continuous", continuous)):
        if isinstance(names, str):
            raise TabularError(f"{argument} is the text {names!r}; give a list of column names")
        for name in names:
            if name not in frame.columns:
                raise TabularError(
                    f"{argument}: {name!r} is no column of the frame; there are {_listed(frame.columns)}"
                )
    both = set(categorical) & set(continuous)
    if both:
        raise TabularError(f"column {min(both, key=str)!r} is in categorical and in continuous; name it once")
    groups: dict[str, list[Hashable]] = {"categorical": [], "continuous": [], "dropped": []}
    for name in frame.columns:
        column = plain(frame[name])
        if not column.notna().any():
            warnings.warn(f"column {name!r} has no values: dropped", UserWarning, stacklevel=2)
            groups["dropped"].append(name)
        elif not column.isna().any() and _constant(column):
            groups["dropped"].append(name)
        elif name in categorical:
            groups["categorical"].append(name)
        elif name in continuous:
            if np.isnan(numbers(column, name)).all():
                raise TabularError(
                    f"column {name!r} holds no numbers ({column.dropna().iloc[0]!r}); make it categorical"
                )
            groups["continuous"].append(name)
        else:
            groups[_kind(column, name, max_integer_categories)].append(name)
    return ColumnTypes(*(tuple(groups[group]) for group in ColumnTypes._fields))


def check_types(columns: ColumnTypes, frame: pd.DataFrame) -> ColumnTypes:
    """Column types given by a caller name each column of the frame once."""
    if not isinstance(columns, ColumnTypes) or any(isinstance(group, str) for group in columns):
        raise TabularError(
            f"columns is {columns!r}; give 'infer' or ColumnTypes of tuples, as infer_columns makes them"
        )
    named = [name for group in columns for name in group]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise TabularError(f"columns: {twice!r} is named twice")
    check_columns(frame[[name for name in named if name in frame.columns]], named, name="the frame")
    unnamed = [name for name in frame.columns if name not in set(named)]
    if unnamed:
        raise TabularError(f"columns: {unnamed[0]!r} is in no group; name it categorical, continuous or dropped")
    return ColumnTypes(*map(tuple, columns))


def plain(column: pd.Series) -> pd.Series:
    """A column with NumPy's or pandas' own types instead of objects, Arrow's, sparse ones and periods."""
    if isinstance(column.dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(column.dtype, pd.ArrowDtype):
        if pd.api.types.is_integer_dtype(column.dtype):
            return column.astype("Int64")
        column = pd.Series(column.to_numpy(object, na_value=None), column.index, dtype=object)
    if column.dtype != object:
        return column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("date", "datetime"):
        return pd.to_datetime(column, utc=True)  # some may have a zone, others none
    if kind == "decimal":
        return pd.to_numeric(column)
    if kind == "integer" and column.isna().any():
        return column.astype("Int64")  # infer_objects would make fractions of them
    return column.infer_objects()


def distinct(column: pd.Series, name: Hashable) -> tuple[np.ndarray, Any]:
    """Where each row's value stands among the different ones (-1 at gaps), and these."""
    try:
        return pd.factorize(plain(column))
    except TypeError as error:  # lists and the like
        sort = type(column.dropna().iloc[0]).__name__
        raise TabularError(f"column {name!r} holds a {sort}; give texts or numbers") from error


def numbers(column: pd.Series, name: Hashable) -> np.ndarray:
    """A column as float64 ``(N,)``, NaN where missing; dates and durations in days; text that is none is missing."""
    column = plain(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        column = column - pd.Timestamp(0)
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        values = (column / pd.Timedelta(days=1)).to_numpy(np.float64, na_value=np.nan)
    elif pd.api.types.is_complex_dtype(column.dtype):
        raise TabularError(f"column {name!r} holds complex numbers; give real ones")
    elif _is_text(column):
        values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    else:
        try:
            values = column.to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise TabularError(f"column {name!r} is of type {column.dtype}; give texts, numbers or dates") from error
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise TabularError(f"column {name!r}, row {row} (index {column.index[row]}): {values[row]} is not finite")
    return values


def _kind(column: pd.Series, name: Hashable, most: int) -> str:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return "categorical"
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "continuous"
    if not _is_text(column):
        if pd.api.types.is_integer_dtype(dtype):
            return "categorical" if column.nunique() <= most else "continuous"
        numbers(column, name)
        return "continuous"
    place, texts = distinct(column, name)
    counts = np.bincount(place[place >= 0], minlength=len(texts))
    found = pd.to_numeric(pd.Series(np.asarray(texts, object)), errors="coerce").to_numpy(np.float64)
    parsed = ~np.isnan(found)
    if counts[parsed].sum() >= _NUMBERS * counts.sum():
        if len(counts) <= most and bool((found[parsed] == np.rint(found[parsed])).all()):
            return "categorical"
        numbers(column, name)
        return "continuous"
    if len(counts) > max(most, len(column) / 2):
        strange = np.asarray(texts, object)[~parsed][0]
        real = counts[parsed].sum() / counts.sum()
        raise TabularError(
            f"column {name!r} has {len(counts)} different texts in {len(column)} rows, such as {strange!r}: "
            + (
                f"{real:.0%} are numbers; if all should be, name it continuous"
                if real > 0.5
                else "free text or a name of the row; leave it out, or make numbers, dates or a few categories of it"
            )
        )
    return "categorical"


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype)


def _constant(column: pd.Series) -> bool:
    try:
        return column.nunique() <= 1
    except TypeError:
        return False  # lists and the like: refused later, by name


def _listed(names: Any) -> str:
    shown = ", ".join(str(name) for name in list(names)[:8])
    return shown + (", ..." if len(names) > 8 else "")
