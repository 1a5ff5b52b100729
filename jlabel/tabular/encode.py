"""From a table to arrays: a code for each category, a scaled number for each number."""

import warnings
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from jlabel.tabular.checks import TabularError, check_choice, check_columns, check_count, check_frame
from jlabel.tabular.columns import ColumnTypes, check_types, distinct, infer_columns, numbers

__all__ = ["SCALINGS", "Scaling", "Table", "TableEncoder", "encode", "fit_encoder", "value_knots"]

Scaling = Literal["standard", "quantile"]
SCALINGS: tuple[Scaling, ...] = ("standard", "quantile")
_KNOTS = 1000  # quantiles of a column that are kept
_EDGE = 1e-7  # share at which the normal quantile is cut, at 5.2 deviations
_FAR = 1e6  # scaled numbers further out count as this, so that the network's products stay finite


class Table(NamedTuple):
    """A table as arrays.

    Attributes:
      codes: int32 ``(N, m)``, a code from 0 to d_i - 1 for each of column i's categories, d_i for missing or unknown.
      values: float32 ``(N, c)``, scaled numbers, then a 0/1 column for each number column that had gaps in fitting.
      unknown: int64 ``(m,)``, how many cells of each category column hold a value that fitting did not see.
    """

    codes: np.ndarray
    values: np.ndarray
    unknown: np.ndarray


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """How one table's columns become arrays; made by `fit_encoder`.

    Attributes:
      names: all columns of fitting, in order. columns: what each holds.
      categories: for each category column its values, sorted: texts, or float64 numbers.
      medians: float64, each number column's median, which stands for a gap.
      gaps: bool, number columns that had gaps in fitting.
      centers, scales: float64, of scaling "standard". quantiles: float64 ``(columns, 1000)``, of the known values.
      scaling: "standard" or "quantile".
    """

    names: tuple[Hashable, ...]
    columns: ColumnTypes
    categories: tuple[np.ndarray, ...] = field(repr=False)
    medians: np.ndarray = field(repr=False)
    gaps: np.ndarray = field(repr=False)
    centers: np.ndarray = field(repr=False)
    scales: np.ndarray = field(repr=False)
    quantiles: np.ndarray = field(repr=False)
    scaling: Scaling = "standard"

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """d_i, the number of known values of each category column."""
        return tuple(len(values) for values in self.categories)

    @property
    def num_values(self) -> int:
        """c, the width of `Table.values`."""
        return len(self.medians) + int(self.gaps.sum())

    @property
    def value_names(self) -> tuple[str, ...]:
        """A name for each column of `Table.values`."""
        continuous = [str(name) for name in self.columns.continuous]
        return (*continuous, *(f"{name} missing" for name, gap in zip(continuous, self.gaps, strict=True) if gap))


def fit_encoder(
    frame: pd.DataFrame, columns: ColumnTypes | Literal["infer"] = "infer", *, scaling: Scaling = "standard"
) -> TableEncoder:
    """Learn categories, medians and scales from a table.

    "standard" takes ``(x - mean) / std`` (1 where std is 0), "quantile" the normal quantile of a value's rank, both
    over the fitting rows' known values.

    Args:
      frame: table of N rows. columns: what its columns hold; "infer" asks `infer_columns`.
      scaling: of numbers.

    Returns:
      The encoder, for `encode`.

    Raises:
      TabularError: what `infer_columns` refuses, ``columns`` that name other columns than the frame's, an infinite
        number, or no column to learn from.

    Example:
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm"], "age": [31.0, 29.0, None]})
      >>> encoder = fit_encoder(frame)
      >>> encoder.cardinalities, encoder.num_values, encoder.value_names
      ((2,), 2, ('age', 'age missing'))
    """
    check_frame(frame)
    check_choice("scaling", scaling, SCALINGS)
    types = infer_columns(frame) if isinstance(columns, str) and columns == "infer" else check_types(columns, frame)
    if not types.categorical and not types.continuous:
        raise TabularError("the frame has no column that varies; give at least one")
    categories = tuple(_categories(frame[name], name) for name in types.categorical)
    table = _numbers(frame, types.continuous)
    gaps = np.isnan(table).any(0)
    medians, centers, scales = np.zeros(table.shape[1]), np.zeros(table.shape[1]), np.ones(table.shape[1])
    quantiles = np.zeros((table.shape[1], _KNOTS))
    for k in range(table.shape[1]):
        known = table[~np.isnan(table[:, k]), k]
        if not known.size:
            raise TabularError(f"column {types.continuous[k]!r} holds no numbers; drop it or make it categorical")
        medians[k], quantiles[k] = np.median(known), np.quantile(known, np.linspace(0, 1, _KNOTS))
        # Of the largest value, so that squares stay finite.
        most = np.abs(known).max() or 1.0
        center, std = (known / most).mean(), (known / most).std()
        centers[k], scales[k] = center * most, std * most if std > 1e-12 else 1.0
    return TableEncoder(tuple(frame.columns), types, categories, medians, gaps, centers, scales, quantiles, scaling)


def encode(encoder: TableEncoder, frame: pd.DataFrame) -> Table:
    """Turn a table into codes and scaled numbers; no Python loop over rows.

    Categories that fitting did not see count as missing, and so do texts in a column of numbers; where they are more
    than half of a column's rows, a warning names the column. Numbers beyond a million deviations count as a million.

    Args:
      encoder: from `fit_encoder`. frame: table with the columns of fitting.

    Returns:
      The arrays.

    Raises:
      TabularError: columns missing, unknown or in another order, or an infinite number: its row and column.

    Example:
      >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm"], "age": [31.0, 29.0, None]})
      >>> encode(fit_encoder(frame), pd.DataFrame({"city": ["Bonn", "Rome"], "age": [None, 32.0]}))
      Table(codes=array([[0],
             [2]], dtype=int32), values=array([[0., 1.],
             [2., 0.]], dtype=float32), unknown=array([1]))
    """
    check_frame(frame)
    check_columns(frame, encoder.names)
    codes = np.empty((len(frame), len(encoder.categories)), np.int32)
    unknown = np.zeros(len(encoder.categories), np.int64)
    strange = {}
    for k, (name, known) in enumerate(zip(encoder.columns.categorical, encoder.categories, strict=True)):
        place, values = distinct(frame[name], name)
        found = pd.Index(known).get_indexer(pd.Index(_comparable(values, known.dtype.kind == "f")))
        found = np.where(found < 0, len(known), found)
        codes[:, k] = np.append(found, len(known))[place]  # place is -1 at gaps
        unknown[k] = strange[name] = int((codes[:, k] == len(known)).sum() - (place < 0).sum())
    table = np.zeros((len(frame), len(encoder.columns.continuous)))
    for k, name in enumerate(encoder.columns.continuous):
        table[:, k] = numbers(frame[name], name)
        strange[name] = int(np.isnan(table[:, k]).sum() - frame[name].isna().sum())
    most = {name: count for name, count in strange.items() if 2 * count > len(frame)}
    if most:
        counted = ", ".join(f"{name!r} ({count} of {len(frame)})" for name, count in most.items())
        warnings.warn(f"values that fitting did not see count as missing: {counted}", UserWarning, stacklevel=2)
    missing = np.isnan(table)
    values = np.concatenate([_scaled(np.where(missing, encoder.medians, table), encoder), missing[:, encoder.gaps]], 1)
    return Table(codes, values.astype(np.float32), unknown)


def value_knots(encoder: TableEncoder, bins: int) -> np.ndarray:
    """Edges of bins that hold equally many known values of fitting each, on the scale of `Table.values`.

    Args:
      encoder: from `fit_encoder`. bins: 1 or more.

    Returns:
      float32 ``(c, bins + 1)``, not decreasing in a row; 0 to 1 in equal steps for the columns of gaps.

    Example:
      >>> value_knots(fit_encoder(pd.DataFrame({"age": [20.0, 30.0, 40.0, 70.0, None]})), 2).round(2)
      array([[-1.07, -0.27,  1.6 ],
             [ 0.  ,  0.5 ,  1.  ]], dtype=float32)
    """
    check_count("bins", bins)
    grid = np.linspace(0, 1, bins + 1)
    at = [np.interp(grid, np.linspace(0, 1, _KNOTS), known) for known in encoder.quantiles]
    edges = _scaled(np.stack(at, 1), encoder).T if at else np.zeros((0, bins + 1))
    return np.concatenate([edges, np.tile(grid, (int(encoder.gaps.sum()), 1))]).astype(np.float32)


def _categories(column: pd.Series, name: Hashable) -> np.ndarray:
    """A column's different values, sorted: float64 where they are numbers, else texts as objects."""
    values = pd.Series(np.asarray(distinct(column, name)[1], object)).infer_objects()
    if not len(values):
        raise TabularError(f"column {name!r} has no values; drop it")
    real = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype)
    return np.unique(_comparable(values, True)) if real else np.array(sorted(set(_comparable(values, False))), object)


def _comparable(given: Any, real: bool) -> np.ndarray:
    """Different values as they are compared: float64 (NaN for what is no number), or texts."""
    values = pd.Series(np.asarray(given, object))
    return pd.to_numeric(values, errors="coerce").to_numpy(np.float64) if real else values.map(str).to_numpy(object)


def _numbers(frame: pd.DataFrame, names: tuple[Hashable, ...]) -> np.ndarray:
    """Number columns side by side, float64 ``(N, columns)``."""
    columns = [numbers(frame[name], name) for name in names]
    return np.stack(columns, 1) if columns else np.zeros((len(frame), 0))


def _scaled(table: np.ndarray, encoder: TableEncoder) -> np.ndarray:
    """Numbers ``(N, columns)`` as the network sees them."""
    if encoder.scaling == "quantile":
        return _quantiles(table, encoder.quantiles)
    return np.clip((table - encoder.centers) / encoder.scales, -_FAR, _FAR)


def _quantiles(table: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Normal quantiles of ranks; a value that many rows share gets the middle of its ranks."""
    grid = np.linspace(0, 1, quantiles.shape[1])
    scaled = np.empty_like(table)
    for k, known in enumerate(quantiles):
        upper = np.interp(table[:, k], known, grid)
        lower = 1 - np.interp(-table[:, k], -known[::-1], grid)
        scaled[:, k] = ndtri(np.clip((upper + lower) / 2, _EDGE, 1 - _EDGE))
    return scaled
