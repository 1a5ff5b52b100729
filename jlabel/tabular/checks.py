"""The tables' error, and checks at the public edge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jlabel.errors import InputError


class TabularError(InputError):
    """A table, a target or an option from which nothing can be learned."""


def check_frame(frame: Any, *, name: str = "frame") -> pd.DataFrame:
    """A DataFrame with rows and with columns whose names differ."""
    if not isinstance(frame, pd.DataFrame):
        raise TabularError(f"{name} is a {type(frame).__name__}; give a pandas DataFrame")
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        raise TabularError(f"{name}: column name {twice[0]!r} stands there more than once; names must differ")
    if not len(frame):
        raise TabularError(f"{name} has no rows")
    return frame


def check_columns(frame: pd.DataFrame, names: Sequence[Any], *, name: str = "frame") -> None:
    """The columns of fitting, in their order."""
    missing = [column for column in names if column not in frame.columns]
    known = set(names)
    extra = [column for column in frame.columns if column not in known]
    for what, columns in (("lacks", missing), ("has the unknown", extra)):
        if columns:
            shown = ", ".join(repr(column) for column in columns[:5]) + (", ..." if len(columns) > 5 else "")
            raise TabularError(f"{name} {what} column{'s' * (len(columns) > 1)} {shown}; give those of fitting")
    for place, (column, expected) in enumerate(zip(frame.columns, names, strict=True)):
        if column != expected:
            raise TabularError(
                f"{name}: column {place} is {column!r}, in fitting it was {expected!r}; "
                "give the columns in the order of fitting"
            )


def check_count(name: str, value: object, *, low: int = 1) -> int:
    """A whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise TabularError(f"{name} is {value!r}; allowed: whole numbers from {low}")
    return int(value)


def check_number(
    name: str, value: object, *, low: float = 0.0, high: float = float("inf"), open_low: bool = False
) -> float:
    """A finite number between ``low`` and ``high``, ``low`` itself only where the interval is closed there."""
    good = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    if not good or value < low or value > high or (open_low and value == low):  # type: ignore[operator]
        span = f"{'above' if open_low else 'from'} {low:g}" + (f" to {high:g}" if np.isfinite(high) else "")
        raise TabularError(f"{name} is {value!r}; allowed: {span}")
    return float(value)  # type: ignore[arg-type]


def check_choice(name: str, value: object, allowed: Sequence[Any]) -> None:
    """One of the allowed words."""
    if value not in allowed:
        raise TabularError(f"{name} is {value!r}; allowed: {', '.join(repr(choice) for choice in allowed)}")
