"""One pass over the probabilities: checks, thresholds, confident classes and agreement."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import (
    CheckedInputs,
    ConfidentLearningError,
    absent_classes,
    blocks,
    check_shapes,
    count_labels,
    fixed_point,
    mend,
    suspect_rows,
)

Collision = Literal["confident", "all"]

TOLERANCE = 1e-6
_SUMMED_ROWS = 1 << 15  # well below the 2^20 fixed-point numbers that float64 adds exactly


class Scan(NamedTuple):
    """What one pass over the probabilities finds."""

    checked: CheckedInputs
    label_counts: np.ndarray  # int64 (C,)
    thresholds: np.ndarray  # float64 (C,)
    joint: np.ndarray  # int32 (C, C), its diagonal not raised yet
    agree: np.ndarray  # bool (N,): the label is the most probable class


def scan(
    labels: ArrayLike | Sequence,
    probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    collision: Collision = "confident",
    tolerance: float = TOLERANCE,
    agreement: bool = False,
    classes: Sequence | None = None,
) -> Scan:
    """Checks labels and probabilities and counts the joint, reading the probabilities once.

    ``agree`` is empty unless ``agreement`` is set.
    """
    ids, rows = check_shapes(labels, probs, classes=classes)
    num_clipped = 0
    while True:
        counts = count_labels(ids, rows.shape[1])
        if thresholds is None:
            with np.errstate(invalid="ignore", over="ignore"):  # values are not checked yet
                limits = thresholds_from_sums(label_sums(ids, rows), counts)
        else:
            limits = _check_thresholds(thresholds, counts)
        joint, agree, suspects = _count(ids, rows, limits, collision, tolerance, agreement)
        mended, num = mend(rows, suspects)
        if not num:
            checked = CheckedInputs(ids, mended, num_clipped, absent_classes(counts))
            return Scan(checked, counts, limits, joint, agree)
        rows, num_clipped = mended, num


def _count(
    labels: np.ndarray,
    probs: np.ndarray,
    thresholds: np.ndarray,
    collision: Collision,
    tolerance: float,
    agreement: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joint, agreement, and suspect rows: all that is wanted of a block while it is in the cache."""
    num_classes = probs.shape[1]
    limits = limits_for(thresholds, tolerance, probs.dtype)
    cells = np.zeros(num_classes * num_classes, np.int32)
    agree = np.empty(len(labels) if agreement else 0, bool)
    one = np.int32(1)  # add.at is slow where types differ
    suspects = []
    for place, block in blocks(probs):
        given = labels[place]
        suspects.append(suspect_rows(block) + place.start)
        rows, chosen = confident_classes(block, limits, collision=collision)
        np.add.at(cells, given[rows].astype(np.int64) * num_classes + chosen, one)
        if agreement:
            np.equal(block.argmax(1), given, out=agree[place])
    return cells.reshape(num_classes, num_classes), agree, np.concatenate(suspects)


def label_sums(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Fixed-point sums of the given label's probability over the rows of each class: int64 ``(C,)``."""
    num_classes = probs.shape[1]
    sums = np.zeros(num_classes, np.int64)
    for start in range(0, len(labels), _SUMMED_ROWS):
        part = labels[start : start + _SUMMED_ROWS]
        given = probs[np.arange(start, start + len(part)), part]
        sums += np.bincount(part, fixed_point(given), minlength=num_classes).astype(np.int64)
    return sums


def thresholds_from_sums(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``sums / 2^32 / counts``, infinite where there are no rows."""
    means = sums / 2.0**32 / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.inf)


def check_collision(collision: str) -> None:
    """Raises unless the rule for several confident classes is known."""
    if collision not in get_args(Collision):
        raise ConfidentLearningError(f"collision is {collision!r}; allowed: {', '.join(get_args(Collision))}")


def _check_thresholds(thresholds: ArrayLike, counts: np.ndarray) -> np.ndarray:
    limits = np.asarray(thresholds, np.float64)
    if limits.shape != counts.shape:
        raise ConfidentLearningError(f"thresholds must have shape ({len(counts)},), got {limits.shape}")
    if np.isnan(limits).any():
        raise ConfidentLearningError(f"thresholds[{int(np.argmax(np.isnan(limits)))}] is nan: use inf for no rows")
    return limits


class Entries(NamedTuple):
    """Probabilities at or above their limits, ordered by row, then class."""

    rows: np.ndarray  # int64 (E,), within the block
    classes: np.ndarray  # int64 (E,)
    values: np.ndarray  # (E,)


def limits_for(thresholds: np.ndarray, tolerance: float, dtype: np.dtype) -> np.ndarray:
    """``t - tolerance`` in the type of the probabilities, rounded up, so that comparing them stays exact."""
    limits = thresholds - tolerance
    rounded = limits.astype(dtype)
    return np.where(rounded < limits, np.nextafter(rounded, np.array(np.inf, dtype)), rounded)


def entries_above(block: np.ndarray, limits: np.ndarray) -> Entries:
    """The entries of a contiguous block at or above their class's limit: about one in each row."""
    # One limit for all is three times as fast to compare with, and as a row sums to 1, few entries pass the lowest.
    places = np.flatnonzero(block >= limits.min())
    values = block.ravel()[places]
    rows = places // block.shape[1]
    columns = places - rows * block.shape[1]
    keep = values >= limits[columns]
    return Entries(rows[keep], columns[keep], values[keep])


def resolve(entries: Entries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One class for each row that has entries: the largest, the lower class of equals.

    Returns:
      Rows, their classes, and whether there was a choice; all ``(rows with entries,)``.
    """
    rows, columns, values = entries
    again = rows[1:] == rows[:-1]
    if not again.any():
        return rows, columns, np.zeros(len(rows), bool)
    first = np.ones(len(rows), bool)
    np.logical_not(again, out=first[1:])
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    shared = np.bincount(group) > 1
    chosen = columns[starts]
    several = np.flatnonzero(shared[group])
    order = several[np.lexsort((columns[several], -values[several], group[several]))]
    best = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    chosen[group[best]] = columns[best]
    return rows[starts], chosen, shared


def confident_classes(block: np.ndarray, limits: np.ndarray, *, collision: Collision) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a block that have a confident class, and that class."""
    rows, chosen, shared = resolve(entries_above(block, limits))
    if collision == "all" and shared.any():
        chosen[shared] = block[rows[shared]].argmax(1)
    return rows, chosen
