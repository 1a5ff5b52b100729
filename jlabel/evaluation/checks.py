"""Host-side checks that the files of this package share."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError

Array = np.ndarray


def as_rows(name: str, values: ArrayLike | Sequence, *, ndim: int | None = 1) -> Array:
    """Returns `values` as a NumPy array of `ndim` axes with at least one row."""
    array = np.asarray(values)
    if ndim is not None and array.ndim != ndim:
        raise InputError(f"{name} must have {ndim} axes, got shape {array.shape}")
    if not array.ndim or not array.shape[0]:
        raise InputError(f"{name} is empty, shape {array.shape}: give at least one row")
    return array


def as_floats(name: str, values: ArrayLike | Sequence, *, ndim: int | None = 1, finite: bool = True) -> Array:
    """Returns `values` as float64; NaN is refused with its place, infinity too where `finite`."""
    array = as_rows(name, values, ndim=ndim)
    try:
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers: {error}") from error
    bad = ~np.isfinite(array) if finite else np.isnan(array)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"{name}{list(place)} is {array[place]}: leave such rows out first")
    return array


def as_labels(name: str, values: ArrayLike | Sequence, *, low: int = 0, high: int | None = None) -> Array:
    """Returns `values` as int64 `[N]` within `low .. high - 1`."""
    array = as_rows(name, values)
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != bool:
        raise InputError(f"{name} must hold integers, got dtype {array.dtype}")
    array = array.astype(np.int64)
    bad = (array < low) | (array >= high if high is not None else False)
    if bad.any():
        row = int(np.argmax(bad))
        allowed = f"at least {low}" if high is None else f"{low} to {high - 1}"
        raise InputError(f"{name}[{row}] is {array[row]}; allowed: {allowed}")
    return array


def same_length(**arrays: Array) -> None:
    """Raises unless all named arrays have the same number of rows."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError("rows differ: " + ", ".join(f"{name} has {n}" for name, n in lengths.items()))


def check_level(level: float) -> float:
    """Returns the confidence level, strictly between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level must lie strictly between 0 and 1, got {level}")
    return float(level)
