"""The error of this system, and checks at the public edge."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError

__all__ = [
    "AmalgamationError",
    "as_numbers",
    "check_choice",
    "check_count",
    "check_features",
    "check_label_names",
    "check_probs",
    "check_unit",
    "column_order",
    "is_number",
]


class AmalgamationError(InputError):
    """Teachers, rows, labels or options from which no student can be trained."""


def check_label_names(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    """One or more different names, none of them empty; as a tuple."""
    if isinstance(names, str):
        raise AmalgamationError(f"{argument} is one text, {names!r}: give a list of names")
    found = tuple(names)
    if not found:
        raise AmalgamationError(f"{argument} is empty: give one name for each label")
    place: dict[str, int] = {}
    for k, name in enumerate(found):
        if not isinstance(name, str) or not name.strip():
            raise AmalgamationError(f"{argument}: name {k} is {name!r}; allowed: text that is not empty")
        if place.setdefault(name, k) != k:
            raise AmalgamationError(f"{argument}: {name!r} stands at {place[name]} and at {k}: names must differ")
    return tuple(str(name) for name in found)


def check_count(name: str, value: object, *, low: int = 1) -> int:
    """A whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise AmalgamationError(f"{name} is {value!r}; allowed: whole numbers from {low}")
    return int(value)


def is_number(value: object) -> TypeGuard[float]:
    """A finite real number that is no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(float(value))


def check_unit(name: str, value: object) -> float:
    """A number in [0, 1]."""
    if not is_number(value) or not 0 <= value <= 1:
        raise AmalgamationError(f"{name} is {value!r}; allowed: 0 to 1")
    return float(value)


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """One of the allowed words."""
    if value not in allowed:
        raise AmalgamationError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def as_numbers(argument: str, values: ArrayLike, axes: Sequence[str]) -> np.ndarray:
    """An array of numbers with these axes, e.g. ``("row", "column")``."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" and array.dtype != "bfloat16":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise AmalgamationError(f"{argument} must hold numbers: {error}") from error
    if array.ndim != len(axes):
        raise AmalgamationError(f"{argument} must have the axes ({', '.join(axes)}), got shape {array.shape}")
    return array


def check_features(
    argument: str, values: ArrayLike, *, axes: Sequence[str] = ("row", "column"), num_columns: int | None = None
) -> np.ndarray:
    """Finite numbers with these axes, float32; the first that is not is named with its place."""
    array = as_numbers(argument, values, axes).astype(np.float32)
    if num_columns is not None and array.shape[-1] != num_columns:
        raise AmalgamationError(f"{argument} has {array.shape[-1]} columns; this model was trained on {num_columns}")
    if not array.shape[-1]:
        raise AmalgamationError(f"{argument} has no column, shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        place = np.argwhere(bad)[0]
        raise AmalgamationError(
            f"{argument}: {_place(axes, place)} is {array[tuple(place)]}: fill or drop what is not a finite number"
        )
    return array


def check_probs(
    argument: str, values: ArrayLike, label_names: Sequence[str], *, axes: Sequence[str] = ("row", "label")
) -> np.ndarray:
    """Probabilities in [0, 1], float32, the last axis one column for each label; the first bad one is named."""
    array = as_numbers(argument, values, axes).astype(np.float32)
    if array.shape[-1] != len(label_names):
        raise AmalgamationError(
            f"{argument} has {array.shape[-1]} columns, but there are {len(label_names)} labels: {list(label_names)}"
        )
    bad = ~((array >= 0) & (array <= 1))
    if bad.any():
        place = np.argwhere(bad)[0]
        where = f"{_place(axes[:-1], place)}, label {label_names[place[-1]]!r}"
        raise AmalgamationError(f"{argument}: {where} is {array[tuple(place)]:.6g}; allowed: 0 to 1")
    return array


def column_order(argument: str, wanted: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Where each of the wanted names stands among the known ones, which must be the same names."""
    names = check_label_names(argument, wanted)
    missing, extra = [x for x in known if x not in set(names)], [x for x in names if x not in set(known)]
    if missing or extra:
        raise AmalgamationError(
            f"{argument} must be the model's labels in any order; missing: {missing}, extra: {extra}"
        )
    return np.array([list(known).index(name) for name in names])


def _place(axes: Sequence[str], place: Any) -> str:
    return ", ".join(f"{axis} {k}" for axis, k in zip(axes, place, strict=False))
