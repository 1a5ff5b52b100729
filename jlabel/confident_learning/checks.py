"""Checks at the public edge, and the blocks in which large arrays are read."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.errors import InputError

_BLOCK_BYTES = 1 << 19  # a block and its temporaries stay in the second-level cache
EXCESS = 1e-4  # a probability may exceed 1 by this much
_ROW_SUM = 1e-3  # a row sum may be off by this much
_ROUNDING = 1e-5  # row sums this near to 1 are left alone
_COUNTED_ROWS = 1 << 16
_UNIT = 2.0**32  # probabilities are added as integers of this unit: no order of the rows changes a sum


class ConfidentLearningError(InputError):
    """Labels, probabilities, votes or options that confident learning cannot use."""


class CheckedInputs(NamedTuple):
    """Labels and probabilities that have passed the checks."""

    labels: np.ndarray  # int32 (N,)
    probs: np.ndarray  # float32 or float64 (N, C); the caller's own array unless a row was mended
    num_clipped: int  # rows clipped to 1 and renormalised
    absent: tuple[int, ...]  # classes without rows


def check_labels_and_probs(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None
) -> CheckedInputs:
    """Checks labels and out-of-sample probabilities, and mends what is only rounding.

    Probabilities above 1 by at most 1e-4 and row sums off by at most 1e-3 (but more than 1e-5) are clipped,
    renormalised and counted; the caller's array is never changed, and is copied only if a row is mended.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` probabilities; float32 and float64 are kept, other types converted.
      classes: names of the columns of ``probs``, for labels that are names.

    Returns:
      ``CheckedInputs``: labels int32 ``(N,)``, probs ``(N, C)``, number of mended rows, classes without rows.

    Raises:
      ConfidentLearningError: shapes that do not fit, an unknown label, NaN, a negative probability or one above
        1 + 1e-4, a row sum off by more than 1e-3; with the row and the value.

    Example:
      >>> checked = check_labels_and_probs(["dog", "cat"], [[0.9, 0.1], [0.4, 0.6]], classes=["cat", "dog"])
      >>> checked.labels.tolist(), checked.num_clipped, checked.absent
      ([1, 0], 0, ())
    """
    ids, rows = check_shapes(labels, probs, classes=classes)
    suspects = [suspect_rows(block) + place.start for place, block in blocks(rows)]
    rows, num_clipped = mend(rows, np.concatenate(suspects))
    return CheckedInputs(ids, rows, num_clipped, absent_classes(count_labels(ids, rows.shape[1])))


def check_shapes(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int32, probabilities as float32 or float64; all is checked but the values of the probabilities."""
    rows = np.asarray(probs)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ConfidentLearningError(f"probs must be (rows, classes) with at least one of each, got shape {rows.shape}")
    if rows.dtype not in (np.float32, np.float64):
        rows = _as_floats(rows)
    ids = check_labels(labels, rows.shape[1], classes=classes)
    if len(ids) != len(rows):
        raise ConfidentLearningError(f"labels has {len(ids)} rows, probs has {len(rows)}: give one label to each row")
    return ids, rows


def count_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Rows with each label, int64 ``(C,)``; in parts, as bincount copies labels that are not int64."""
    counts = np.zeros(num_classes, np.int64)
    for start in range(0, len(labels), _COUNTED_ROWS):
        counts += np.bincount(labels[start : start + _COUNTED_ROWS], minlength=num_classes)
    return counts


def absent_classes(label_counts: np.ndarray) -> tuple[int, ...]:
    """Classes without rows."""
    return tuple(np.flatnonzero(label_counts == 0).tolist())


def check_labels(labels: ArrayLike | Sequence, num_classes: int, *, classes: Sequence | None = None) -> np.ndarray:
    """Labels as int32 ``(N,)`` in ``[0, num_classes)``; names are looked up in ``classes``."""
    values = np.asarray(labels)
    if values.ndim != 1:
        raise ConfidentLearningError(f"labels must have one axis, got shape {values.shape}")
    if classes is not None:
        return _look_up(values, classes, num_classes)
    if values.dtype.kind not in "iub":
        hint = "pass classes=, the names of the columns of probs" if values.dtype.kind in "USOT" else "give integers"
        shown = repr(values[0].item() if hasattr(values[0], "item") else values[0]) if len(values) else "none"
        raise ConfidentLearningError(f"labels are {values.dtype} (labels[0] is {shown}): {hint}")
    if len(values) and (values.min() < 0 or values.max() >= num_classes):
        row = int(np.argmax((values < 0) | (values >= num_classes)))
        raise ConfidentLearningError(
            f"labels[{row}] is {values[row]}; allowed: 0 to {num_classes - 1}, one for each column of probs"
        )
    return values.astype(np.int32, copy=False)


def _look_up(values: np.ndarray, classes: Sequence, num_classes: int) -> np.ndarray:
    """The column of each name."""
    names = np.asarray(classes)
    if names.ndim != 1 or len(names) != num_classes:
        raise ConfidentLearningError(
            f"classes names {len(names)} columns, probs has {num_classes}: name each column once"
        )
    column: dict[object, int] = {}
    for place, name in enumerate(names.tolist()):
        if column.setdefault(name, place) != place:
            raise ConfidentLearningError(
                f"classes[{place}] is {name!r}, as is classes[{column[name]}]: names must differ"
            )
    known, inverse = np.unique(values, return_inverse=True)
    unknown = [place for place, name in enumerate(known.tolist()) if name not in column]
    if unknown:
        row = int(np.argmax(np.isin(inverse, unknown)))
        raise ConfidentLearningError(f"labels[{row}] is {values[row]!s}, which is not in classes {shown_names(names)}")
    return np.array([column[name] for name in known.tolist()], np.int32)[inverse]


def shown_names(names: np.ndarray, limit: int = 8) -> str:
    """The first names, for messages."""
    text = ", ".join(str(name) for name in names[:limit].tolist())
    return f"({text}{', ...' if len(names) > limit else ''})"


def _as_floats(values: np.ndarray) -> np.ndarray:
    """Half precision as float32, all else as float64."""
    try:
        return values.astype(np.float32 if values.dtype.itemsize == 2 and values.dtype.kind in "fV" else np.float64)
    except (TypeError, ValueError) as error:
        raise ConfidentLearningError(f"probs must hold numbers, got {values.dtype}: {error}") from error


def pieces(count: int, probs: np.ndarray) -> Iterator[slice]:
    """Slices of so many rows, each small enough for the cache."""
    step = max(1, _BLOCK_BYTES // (probs.itemsize * probs.shape[1]))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def blocks(probs: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of all rows with their contiguous probabilities."""
    for place in pieces(len(probs), probs):
        yield place, np.ascontiguousarray(probs[place])


def fixed_point(values: np.ndarray) -> np.ndarray:
    """``round(p * 2^32)`` in float64; sums of fewer than 2^20 of these are exact."""
    return np.rint(values.astype(np.float64) * _UNIT)


def suspect_rows(block: np.ndarray) -> np.ndarray:
    """Rows of a block that may need mending or refusing: a cheap check, in floating point as it comes."""
    # Without negative entries, a row that sums to 1 holds none above 1 either; NaN fails every comparison.
    sums = block @ np.ones(block.shape[1], block.dtype)
    if block.min() >= 0 and sums.min() >= 1 - _ROUNDING / 2 and sums.max() <= 1 + _ROUNDING / 2:
        return np.zeros(0, np.int64)
    return np.flatnonzero(~(np.abs(sums - 1) <= _ROUNDING / 2) | (block < 0).any(1))


def mend(probs: np.ndarray, suspects: np.ndarray) -> tuple[np.ndarray, int]:
    """Refuses bad values, renormalises rows that are slightly off; returns the rows and how many those were."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for place in pieces(len(suspects), probs):
        numbers = suspects[place]
        rows = probs[numbers].astype(np.float64)
        _refuse(rows, numbers)
        off = np.abs(_row_sums(rows) - 1) > _ROUNDING
        if off.any():
            rows = np.minimum(rows[off], 1)
            found.append((numbers[off], rows / _row_sums(rows)[:, None]))
    if not found:
        return probs, 0
    probs = probs.copy()
    for numbers, rows in found:
        probs[numbers] = rows
    return probs, sum(len(numbers) for numbers, _ in found)


def _row_sums(rows: np.ndarray) -> np.ndarray:
    """Sums that do not depend on which rows were checked together: below 8, integers of this unit add exactly."""
    return np.rint(rows * 2.0**50).sum(1) / 2.0**50


def _refuse(rows: np.ndarray, numbers: np.ndarray) -> None:
    """Raises at the first row that holds what no rounding explains."""
    wrong = ~((rows >= 0) & (rows <= 1 + EXCESS))
    with np.errstate(invalid="ignore", over="ignore"):  # infinities
        sums = rows.sum(1)
    bad = wrong.any(1) | (np.abs(sums - 1) > _ROW_SUM)
    if not bad.any():
        return
    k = int(np.argmax(bad))
    if wrong[k].any():
        column = int(np.argmax(wrong[k]))
        value = rows[k, column]
        advice = (
            "leave such rows out first" if np.isnan(value) else "give probabilities (softmax), not logits or scores"
        )
        raise ConfidentLearningError(f"probs[{numbers[k]}, {column}] is {value:.6g}; allowed: 0 to 1: {advice}")
    raise ConfidentLearningError(
        f"probs[{numbers[k]}] sums to {sums[k]:.6g}, not 1: give one probability for each class, and all classes"
    )
