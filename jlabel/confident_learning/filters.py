"""Which rows to flag: masks of labels that are probably wrong."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import (
    ConfidentLearningError,
    blocks,
    check_labels,
    check_labels_and_probs,
)
from jlabel.confident_learning.joint import raise_diagonal, round_rows, scale_rows
from jlabel.confident_learning.rank import score_rows
from jlabel.confident_learning.scan import TOLERANCE, Collision, Scan, confident_classes, limits_for, scan

_PAIR_ENTRIES = 1 << 14  # margins ranked at once


def filter_lowest(scores: ArrayLike | Sequence, num: float) -> np.ndarray:
    """Flags the rows with the lowest scores.

    Args:
      scores: ``(N,)``, lower is worse.
      num: how many, 0 to N; a fraction is rounded down. Equal scores: the lower row first.

    Returns:
      bool ``(N,)`` with ``num`` rows set.

    Raises:
      ConfidentLearningError: NaN, a shape other than ``(N,)``, or a number of rows there are not.

    Example:
      >>> filter_lowest([0.5, -0.2, 0.5, 0.9], 2.7).tolist()
      [True, True, False, False]
    """
    values = np.asarray(scores)
    if values.ndim != 1 or values.dtype.kind not in "iufb":
        raise ConfidentLearningError(f"scores must be (rows,) numbers, got {values.dtype} of shape {values.shape}")
    if np.isnan(values).any():
        raise ConfidentLearningError(f"scores[{int(np.argmax(np.isnan(values)))}] is nan: leave such rows out first")
    if not 0 <= num <= len(values):
        raise ConfidentLearningError(f"num is {num}; allowed: 0 to {len(values)}, the number of scores")
    mask = np.zeros(len(values), bool)
    mask[lowest(values, whole(num))] = True
    return mask


def whole(count: float) -> int:
    """A count rounded down; what only rounding keeps below a whole number counts as it."""
    return int(np.floor(count + 1e-9))


def lowest(scores: np.ndarray, num: int) -> np.ndarray:
    """Rows of the lowest scores, in order of rows; of equal scores the lower rows."""
    if num == 0:
        return np.zeros(0, np.int64)
    cut = np.partition(scores, num - 1)[num - 1]
    below, level = np.flatnonzero(scores < cut), np.flatnonzero(scores == cut)
    return np.sort(np.concatenate([below, level[: num - len(below)]]))


def filter_by_noise_rate(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, keep_agreeing: bool = True, classes: Sequence | None = None
) -> np.ndarray:
    """Flags, for each pair of classes, as many rows as the joint says are wrong in that way.

    For ``i != j`` the ``n Q[i, j]`` rows (whole numbers by `round_joint`) labelled i with the largest ``p_j - p_i``.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      keep_agreeing: do not flag rows whose most probable class is their label.
      classes: names of the columns, for labels that are names.

    Returns:
      bool ``(N,)``. A row can be among the worst of several pairs, so fewer rows than the joint counts may be set.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> probs = [[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
      >>> np.flatnonzero(filter_by_noise_rate([0] * 8 + [1] * 2, probs)).tolist()
      [7]
    """
    found = scan(labels, probs, agreement=True, classes=classes)
    return noise_rate_mask(found, rounded_joint(found), keep_agreeing=keep_agreeing)


def filter_by_class(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, keep_agreeing: bool = True, classes: Sequence | None = None
) -> np.ndarray:
    """Flags, for each class, as many rows as the joint says are wrong, least confident first.

    The ``n_i - n Q[i, i]`` rows (whole numbers by `round_joint`) labelled i with the smallest ``p_i``.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      keep_agreeing: do not flag rows whose most probable class is their label.
      classes: names of the columns, for labels that are names.

    Returns:
      bool ``(N,)``.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> probs = [[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
      >>> np.flatnonzero(filter_by_class([0] * 8 + [1] * 2, probs)).tolist()
      [7]
    """
    found = scan(labels, probs, agreement=True, classes=classes)
    return class_mask(found, rounded_joint(found), keep_agreeing=keep_agreeing)


def filter_by_both(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, keep_agreeing: bool = True, classes: Sequence | None = None
) -> np.ndarray:
    """Flags the rows that both `filter_by_noise_rate` and `filter_by_class` flag.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      keep_agreeing: do not flag rows whose most probable class is their label.
      classes: names of the columns, for labels that are names.

    Returns:
      bool ``(N,)``.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> probs = [[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
      >>> np.flatnonzero(filter_by_both([0] * 8 + [1] * 2, probs)).tolist()
      [7]
    """
    found = scan(labels, probs, agreement=True, classes=classes)
    return both_mask(found, rounded_joint(found), keep_agreeing=keep_agreeing)


def filter_by_joint(
    labels: ArrayLike | Sequence, probs: ArrayLike, *, keep_agreeing: bool = True, classes: Sequence | None = None
) -> np.ndarray:
    """Flags the rows that the confident joint counts off its diagonal: confident of another class.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      keep_agreeing: do not flag rows whose most probable class is their label.
      classes: names of the columns, for labels that are names.

    Returns:
      bool ``(N,)``.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``).

    Example:
      >>> filter_by_joint([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]).tolist()
      [False, False, True, False]
    """
    found = scan(labels, probs, agreement=True, classes=classes)
    return joint_mask(found, keep_agreeing=keep_agreeing)


def filter_by_disagreement(
    labels: ArrayLike | Sequence, probs: ArrayLike | Sequence, *, classes: Sequence | None = None
) -> np.ndarray:
    """Flags the rows whose most probable class is not their label.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities (of equal ones the lower class counts), or ``(N,)`` predicted
        labels, integers or names like ``labels``.
      classes: names of the columns, for labels that are names.

    Returns:
      bool ``(N,)``.

    Raises:
      ConfidentLearningError: bad labels or probabilities (see ``check_labels_and_probs``), or lengths that differ.

    Example:
      >>> filter_by_disagreement([0, 1], [[0.75, 0.25], [0.625, 0.375]]).tolist()
      [False, True]
      >>> filter_by_disagreement(["cat", "dog"], ["cat", "cat"]).tolist()
      [False, True]
    """
    predicted = np.asarray(probs)
    if predicted.ndim != 1:
        checked = check_labels_and_probs(labels, predicted, classes=classes)
        parts = [block.argmax(1) != checked.labels[place] for place, block in blocks(checked.probs)]
        return np.concatenate(parts)
    given = np.asarray(labels)
    if given.shape != predicted.shape:
        raise ConfidentLearningError(f"labels have shape {given.shape}, predicted labels {predicted.shape}")
    if classes is not None:
        given, predicted = (check_labels(values, len(classes), classes=classes) for values in (given, predicted))
    if ("U" in (given.dtype.kind, predicted.dtype.kind)) and given.dtype.kind != predicted.dtype.kind:
        raise ConfidentLearningError(f"labels are {given.dtype}, predicted labels {predicted.dtype}: give both alike")
    return given != predicted


def rounded_joint(found: Scan) -> np.ndarray:
    """The calibrated joint in whole rows."""
    return round_rows(scale_rows(raise_diagonal(found.joint, found.label_counts), found.label_counts))


def joint_mask(found: Scan, *, collision: Collision = "confident", keep_agreeing: bool = True) -> np.ndarray:
    """`filter_by_joint` of a scan."""
    labels, probs, *_ = found.checked
    limits = limits_for(found.thresholds, TOLERANCE, probs.dtype)
    mask = np.zeros(len(labels), bool)
    for place, block in blocks(probs):
        rows, chosen = confident_classes(block, limits, collision=collision)
        mask[place][rows[chosen != labels[place][rows]]] = True
    if keep_agreeing:
        mask[found.agree] = False
    return mask


def noise_rate_mask(found: Scan, rounded: np.ndarray, *, keep_agreeing: bool = True) -> np.ndarray:
    """`filter_by_noise_rate` of a scan and its rounded joint."""
    labels, probs, *_ = found.checked
    agree = found.agree
    suspects = np.flatnonzero(~agree)
    suspects = suspects[np.argsort(labels[suspects], kind="stable")]
    ends = np.cumsum(np.bincount(labels[suspects], minlength=len(rounded)))
    mask = np.zeros(len(labels), bool)
    for i, group in enumerate(np.split(suspects, ends[:-1])):
        pairs = np.flatnonzero(rounded[i] * (np.arange(len(rounded)) != i))
        step = max(1, _PAIR_ENTRIES // max(1, len(group)))
        for start in range(0, len(pairs), step):
            columns = pairs[start : start + step]
            nums = rounded[i, columns]
            chosen, enough = _largest(probs, group, i, columns, nums)
            mask[chosen] = True
            if enough.all():
                continue
            # Who prefers j to the label i disagrees, so the others are needed only where those are too few.
            everyone = np.flatnonzero(labels == i)
            for j, num in zip(columns[~enough], nums[~enough], strict=True):
                margins = probs[everyone, j].astype(np.float64) - probs[everyone, i]
                mask[everyone[lowest(-margins, num)]] = True
    if keep_agreeing:
        mask[agree] = False
    return mask


def _largest(
    probs: np.ndarray, rows: np.ndarray, label: int, columns: np.ndarray, nums: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of rows with one label, for each column j the ``num`` with the largest ``p_j - p_label``, lower rows first.

    Returns:
      The rows, and for each column whether so many rows prefer it to the label; columns without that give no rows.
    """
    given = probs[rows, label].astype(np.float64)
    margins = np.ascontiguousarray((probs[rows[:, None], columns[None]] - given[:, None]).T)
    enough = (margins > 0).sum(1) >= nums
    return rows[_top(margins[enough], nums[enough]).any(0)], enough


def _top(values: np.ndarray, nums: np.ndarray) -> np.ndarray:
    """Marks in each row of ``values`` the ``nums`` largest, of equal values the first."""
    cuts = np.sort(values, axis=1)[np.arange(len(values)), values.shape[1] - nums][:, None]
    above, level = values > cuts, values == cuts
    spare = nums[:, None] - above.sum(1, keepdims=True)
    return above | (level & (np.cumsum(level, axis=1) <= spare))


def class_mask(found: Scan, rounded: np.ndarray, *, keep_agreeing: bool = True) -> np.ndarray:
    """`filter_by_class` of a scan and its rounded joint."""
    labels = found.checked.labels
    given = score_rows(found.checked, "self_confidence")
    mask = np.zeros(len(labels), bool)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(rounded)))
    wrong = rounded.sum(1) - rounded.diagonal()
    for rows, num in zip(np.split(order, ends[:-1]), wrong.tolist(), strict=True):
        mask[rows[lowest(given[rows], num)]] = True
    if keep_agreeing:
        mask[found.agree] = False
    return mask


def both_mask(found: Scan, rounded: np.ndarray, *, keep_agreeing: bool = True) -> np.ndarray:
    """`filter_by_both` of a scan and its rounded joint."""
    by_pair = noise_rate_mask(found, rounded, keep_agreeing=keep_agreeing)
    return by_pair & class_mask(found, rounded, keep_agreeing=keep_agreeing)
