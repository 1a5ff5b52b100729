"""Thresholds, the confident joint, and its calibration."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import (
    CheckedInputs,
    ConfidentLearningError,
    absent_classes,
    blocks,
    check_labels_and_probs,
    check_shapes,
    fixed_point,
    mend,
    suspect_rows,
)

Collision = Literal["confident", "all"]

_SUMMED_ROWS = 1 << 15  # well below the 2^20 fixed-point numbers that float64 adds exactly
TOLERANCE = 1e-6


def class_thresholds(labels: ArrayLike | Sequence, probs: ArrayLike, *, classes: Sequence | None = None) -> np.ndarray:
    """Mean probability of a class over the rows labelled with it.

    ``t_j = sum_{x: y(x) = j} p_j(x) / n_j``. Probabilities are added as ``round(p * 2^32)`` in int64, so the sum does
    not depend on the order of the rows.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      classes: names of the columns, for labels that are names.

    Returns:
      float64 ``(C,)``; infinite for a class without rows.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> class_thresholds([0, 0, 1], [[0.9, 0.1], [0.7, 0.3], [0.25, 0.75]]).round(6).tolist()
      [0.8, 0.75]

    Source: Northcutt, Athalye and Mueller 2021, appendix B.
    """
    checked = check_labels_and_probs(labels, probs, classes=classes)
    counts = np.bincount(checked.labels, minlength=checked.probs.shape[1])
    return thresholds_from_sums(label_sums(checked.labels, checked.probs), counts)


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


def confident_joint(
    labels: ArrayLike | Sequence,
    probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    collision: Collision = "confident",
    tolerance: float = TOLERANCE,
    min_diagonal: int = 1,
    classes: Sequence | None = None,
) -> np.ndarray:
    """Counts rows by given label and confident class.

    ``C[i, j] = |{x: y(x) = i, p_j(x) >= t_j - tolerance}|``, each row counted once or, with no confident class, not at
    all. Columns follow the rows' order of classes; a class without rows has an empty row and column.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      thresholds: ``(C,)``; default ``class_thresholds(labels, probs)``.
      collision: where several classes are confident: ``"confident"`` counts the most probable of them, ``"all"`` the
        most probable of all classes, even one below its own threshold. Ties go to the lower class.
      tolerance: slack below the threshold, at least 0.
      min_diagonal: the least count on the diagonal of a class that has rows.
      classes: names of the columns, for labels that are names.

    Returns:
      int32 ``(C, C)``.

    Raises:
      ConfidentLearningError: bad labels, probabilities, thresholds or options.

    Example:
      >>> probs = [[0.9, 0.1, 0], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.1, 0.5, 0.4]]
      >>> confident_joint([0, 0, 1, 1, 2, 2], probs).tolist()
      [[1, 0, 0], [0, 1, 0], [0, 1, 1]]

    Source: Northcutt, Athalye and Mueller 2021, appendix B.
    """
    check_collision(collision)
    if not tolerance >= 0:
        raise ConfidentLearningError(f"tolerance must be 0 or more, got {tolerance}")
    if min_diagonal < 0:
        raise ConfidentLearningError(f"min_diagonal must be 0 or more, got {min_diagonal}")
    found = scan(labels, probs, thresholds=thresholds, collision=collision, tolerance=tolerance, classes=classes)
    return raise_diagonal(found.joint, found.label_counts, min_diagonal).astype(np.int32)


class Scan(NamedTuple):
    """What one pass over the probabilities finds."""

    checked: CheckedInputs
    label_counts: np.ndarray  # int64 (C,)
    thresholds: np.ndarray  # float64 (C,)
    joint: np.ndarray  # int64 (C, C), its diagonal not raised yet
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
        counts = np.bincount(ids, minlength=rows.shape[1])
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
    cells = np.zeros(num_classes * num_classes, np.int64)
    agree = np.empty(len(labels) if agreement else 0, bool)
    suspects = []
    for place, block in blocks(probs):
        given = labels[place]
        suspects.append(suspect_rows(block) + place.start)
        rows, chosen = confident_classes(block, limits, collision=collision)
        np.add.at(cells, given[rows].astype(np.int64) * num_classes + chosen, 1)
        if agreement:
            np.equal(block.argmax(1), given, out=agree[place])
    return cells.reshape(num_classes, num_classes), agree, np.concatenate(suspects)


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


def raise_diagonal(joint: np.ndarray, label_counts: np.ndarray, min_diagonal: int = 1) -> np.ndarray:
    """The joint with at least ``min_diagonal`` on the diagonal of every class that has rows."""
    least = np.where(label_counts > 0, min_diagonal, 0)
    joint = joint.copy()
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), least))
    return joint


def calibrate_joint(joint: ArrayLike, label_counts: ArrayLike) -> np.ndarray:
    """Scales each row of the joint to the number of rows with that label (Eq. 2, times n).

    ``n Q[i, j] = C[i, j] / sum_j C[i, j] * n_i``.

    Args:
      joint: ``(C, C)`` counts by given label and confident class.
      label_counts: ``(C,)`` rows with each label.

    Returns:
      float64 ``(C, C)``, summing to ``n``. A class with rows but without counts keeps all of them on the diagonal.

    Raises:
      ConfidentLearningError: shapes that do not fit, or a negative or non-finite entry.

    Example:
      >>> calibrate_joint([[6, 1], [0, 1]], [8, 2]).round(6).tolist()
      [[6.857143, 1.142857], [0.0, 2.0]]

    Source: Northcutt, Athalye and Mueller 2021, Eq. 2.
    """
    counts, rows = check_joint(joint, label_counts)
    return scale_rows(counts, rows)


def check_joint(joint: ArrayLike, label_counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The joint and the label counts as float64, checked."""
    counts, rows = np.asarray(joint, np.float64), np.asarray(label_counts, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ConfidentLearningError(f"joint must be (classes, classes), got shape {counts.shape}")
    if rows.shape != counts.shape[:1]:
        raise ConfidentLearningError(f"label_counts must have shape ({len(counts)},), got {rows.shape}")
    for name, values in (("joint", counts), ("label_counts", rows)):
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            place = np.argwhere(bad)[0].tolist()
            raise ConfidentLearningError(f"{name}{place} is {values[tuple(place)]:.6g}: counts must be 0 or more")
    return counts, rows


def scale_rows(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`calibrate_joint` of checked counts."""
    totals = counts.sum(1)
    calibrated = counts * np.divide(rows, totals, out=np.zeros_like(rows, np.float64), where=totals > 0)[:, None]
    calibrated[np.diag_indices(len(rows))] += np.where(totals > 0, 0, rows)
    return calibrated


def round_joint(calibrated: ArrayLike) -> np.ndarray:
    """Rounds a calibrated joint to whole rows, keeping the total of each label (largest remainder).

    Args:
      calibrated: ``(C, C)`` rows by given and true label, from `calibrate_joint`.

    Returns:
      int64 ``(C, C)``; entries differ by less than 1 from ``calibrated``. Equal remainders: the lower class first.

    Raises:
      ConfidentLearningError: not square, or a negative or non-finite entry.

    Example:
      >>> round_joint([[6.857143, 1.142857], [0.5, 0.5]]).tolist()
      [[7, 1], [1, 0]]
    """
    values, _ = check_joint(calibrated, np.zeros(len(np.atleast_1d(calibrated))))
    return round_rows(values)


def round_rows(calibrated: np.ndarray) -> np.ndarray:
    """`round_joint` of checked numbers."""
    rows, columns = np.nonzero(calibrated)
    values = calibrated[rows, columns]
    floors = np.floor(values)
    missing = np.rint(np.bincount(rows, values)) - np.bincount(rows, floors)
    # Remainders that differ only by the rounding of the calibration count as equal.
    order = np.lexsort((columns, -np.round(values - floors, 9), rows))
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # within its row, once ordered
    floors[order[place < missing[rows]]] += 1
    whole = np.zeros(calibrated.shape, np.int64)
    whole[rows, columns] = floors
    return whole
