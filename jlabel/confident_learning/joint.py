"""Thresholds, the confident joint, and its calibration."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import ConfidentLearningError, check_labels_and_probs, count_labels
from jlabel.confident_learning.scan import TOLERANCE, Collision, check_collision, label_sums, scan, thresholds_from_sums


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
    counts = count_labels(checked.labels, checked.probs.shape[1])
    return thresholds_from_sums(label_sums(checked.labels, checked.probs), counts)


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
    return raise_diagonal(found.joint, found.label_counts, min_diagonal)


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
