"""Wrong labels where a row can have several labels: one binary joint for each label."""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jax.typing import ArrayLike
from scipy import special

from jlabel.confident_learning.checks import EXCESS, ConfidentLearningError, blocks, fixed_point
from jlabel.confident_learning.count import Rule, check_rule, errors_of
from jlabel.confident_learning.filters import lowest, whole
from jlabel.confident_learning.joint import raise_diagonal, round_joint, scale_rows
from jlabel.confident_learning.scan import TOLERANCE, limits_for, thresholds_from_sums

MultilabelMethod = Literal["noise_rate", "margin"]
RowScore = Literal["moving_average", "softmin", "min", "mean"]

_UNKNOWN = -1
_DECAY = 0.8  # share of the worst label in the moving average
_TEMPERATURE = 0.1  # of the soft minimum, in units of a probability


@dataclasses.dataclass(frozen=True, eq=False)
class MultilabelErrors:
    """Suspected errors of rows with several labels.

    Attributes:
        mask: bool `[N, L]`, the flagged entries; a given label may be wrong, or a missing one due.
        scores: float64 `[N, L]`, normalised margin of the entry as given, -1 to 1, lower is worse; NaN if unknown.
        row_scores: float64 `[N]`, the row's entries taken together, lower is worse; NaN if none is known.
        order: int64 `[flagged, 2]`, row and label of the flagged entries, worst first; equal ones by row, then label.
        joints: int32 `[L, 2, 2]`, of each label its confident joint: given (absent, present) by confident.
        num_errors: float64 `[L]`, estimated wrong entries of each label.
        label_counts: int64 `[L, 2]`, known entries that are absent and present.
        thresholds: float64 `[L, 2]`; infinite where there are no entries.
        num_clipped: probabilities that exceeded 1 by rounding.
    """

    mask: np.ndarray
    scores: np.ndarray
    row_scores: np.ndarray
    order: np.ndarray
    joints: np.ndarray
    num_errors: np.ndarray
    label_counts: np.ndarray
    thresholds: np.ndarray
    num_clipped: int

    def __repr__(self) -> str:
        return (
            f"MultilabelErrors({len(self.order)} of {int(self.label_counts.sum())} entries flagged in"
            f" {int(self.mask.any(axis=1).sum())} of {len(self.mask)} rows, num_errors={self.num_errors.sum():.6g})"
        )


def multilabel_joints(labels: ArrayLike, probs: ArrayLike) -> np.ndarray:
    """Confident joints of L labels that a row can have at once.

    Label l is a problem of two classes, absent and present, with probabilities (1 - p_l, p_l):

        joints[l] = confident_joint(labels[:, l], [1 - probs[:, l], probs[:, l]])    over the rows where l is known,

    to the last count, but for all labels at once.

    Args:
        labels: `[N, L]`, truth values or 0 and 1; -1 or NaN is unknown and not counted.
        probs: `[N, L]`, out-of-sample probability that the row has the label.

    Returns:
        int32 `[L, 2, 2]`, by given (absent, present) and confident (absent, present).

    Raises:
        ConfidentLearningError: shapes that differ, another label, NaN, or a probability outside 0 to 1; with its place.

    Example:
        >>> labels = [[1, 0], [1, 0], [0, 1], [0, -1]]
        >>> probs = [[0.9, 0.1], [0.2, 0.1], [0.1, 0.8], [0.2, 0.9]]
        >>> multilabel_joints(labels, probs).tolist()
        [[[1, 0], [0, 1]], [[2, 0], [0, 1]]]

    Source: Thyagarajan et al., "Identifying incorrect annotations in multi-label classification data", 2022, section 3.
    """
    given, present, _ = _checked(labels, probs)
    return _joints(given, present)[0].astype(np.int32)


def find_multilabel_errors(
    labels: ArrayLike,
    probs: ArrayLike,
    *,
    rule: Rule = "calibrated",
    method: MultilabelMethod = "noise_rate",
    row_score: RowScore = "moving_average",
) -> MultilabelErrors:
    """Finds given labels that are wrong and missing ones that are due.

    Each label is judged on its own, as `find_errors` judges two classes; a row is scored by its entries together.

    Args:
        labels: `[N, L]`, truth values or 0 and 1; -1 or NaN is unknown: not counted, never flagged.
        probs: `[N, L]`, out-of-sample probability that the row has the label.
        rule: how many entries of a label are wrong (`count_errors`): the reported `num_errors`, and what `"margin"`
            flags.
        method: which entries are flagged. `"noise_rate"`: as many wrong and as many missing ones as the calibrated
            joint says, each kind by its own ranking, none that the model agrees with. `"margin"`: as many as `rule`
            says, both kinds in one ranking. Few rows have a label, so its presence looks less probable than its
            absence at any quality, and one ranking of both takes true rare labels for errors.
        row_score: how the scores s of a row become one. `"moving_average"`: from the best to the worst,
            S <- 0.8 s + 0.2 S, so that the worst counts most; `"softmin"`: sum of s weighted by softmax(-s / 0.2);
            `"min"`; `"mean"`.

    Returns:
        `MultilabelErrors`.

    Raises:
        ConfidentLearningError: as for `multilabel_joints`, or an unknown option.

    Example:
        >>> labels = np.array([[1, 0]] * 5 + [[0, 1]] * 5)
        >>> probs = np.where(labels, 0.9, 0.2)
        >>> labels[0, 1], labels[9, 1] = 1, 0  # one label too many, one missing
        >>> found = find_multilabel_errors(labels, probs)
        >>> found.order.tolist(), found.row_scores.argsort()[:2].tolist()
        ([[9, 1], [0, 1]], [9, 0])

    Source: Thyagarajan et al., "Identifying incorrect annotations in multi-label classification data", 2022, section 3.
    """
    check_rule(rule)
    for name, option, allowed in (("method", method, MultilabelMethod), ("row_score", row_score, RowScore)):
        if option not in get_args(allowed):
            raise ConfidentLearningError(f"{name} is {option!r}; allowed: {', '.join(get_args(allowed))}")
    given, present, num_clipped = _checked(labels, probs)
    joints, counts, thresholds = _joints(given, present)
    num_errors = np.array([errors_of(joint, count, rule) for joint, count in zip(joints, counts, strict=True)])

    scores = np.where(given == 1, present - (1 - present), (1 - present) - present)
    mask = np.zeros(given.shape[::-1], bool)
    columns = np.ascontiguousarray(scores.T), np.ascontiguousarray(given.T)
    for flags, margins, values, joint, count, num in zip(mask, *columns, joints, counts, num_errors, strict=True):
        if method == "margin":
            flags[_lowest_where(values != _UNKNOWN, margins, whole(num))] = True
            continue
        rounded = round_joint(scale_rows(joint, count))
        too_few = _lowest_where(values == 0, margins, int(rounded[0, 1]))
        too_many = _lowest_where(values == 1, margins, int(rounded[1, 0]))
        flags[too_few[margins[too_few] < 0]] = True
        flags[too_many[margins[too_many] <= 0]] = True  # even odds say absent: of equal classes the lower counts
    mask = np.ascontiguousarray(mask.T)
    scores[given == _UNKNOWN] = np.nan
    flagged = np.argwhere(mask)
    return MultilabelErrors(
        mask=mask,
        scores=scores,
        row_scores=_row_scores(scores, row_score),
        order=flagged[np.argsort(scores[mask], kind="stable")],
        joints=joints.astype(np.int32),
        num_errors=num_errors,
        label_counts=counts,
        thresholds=thresholds,
        num_clipped=num_clipped,
    )


def _lowest_where(rows: np.ndarray, scores: np.ndarray, num: int) -> np.ndarray:
    """The `num` rows of a mask with the lowest scores."""
    places = np.flatnonzero(rows)
    return places[lowest(scores[places], num)]


def _joints(given: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints int64 `[L, 2, 2]`, known entries int64 `[L, 2]` and thresholds float64 `[L, 2]`; two passes in blocks."""
    num_labels = given.shape[1]
    sums, counts = np.zeros((2, num_labels), np.int64), np.zeros((2, num_labels), np.int64)
    for place, block in blocks(present):
        for value, own in enumerate((1 - block, block)):
            known = given[place] == value
            sums[value] += np.where(known, fixed_point(own), 0).sum(axis=0).astype(np.int64)
            counts[value] += known.sum(axis=0)
    thresholds = thresholds_from_sums(sums, counts)
    limits = limits_for(thresholds, TOLERANCE, present.dtype)[:, None]
    joints = np.zeros((num_labels, 2, 2), np.int64)
    for place, block in blocks(present):
        absent = 1 - block
        confident = absent >= limits[0], block >= limits[1]
        both = confident[0] & confident[1]
        counted = confident[0] & ~(both & (block > absent)), confident[1] & ~(both & (block <= absent))
        for value in (0, 1):
            known = given[place] == value
            for guess in (0, 1):
                joints[:, value, guess] += (known & counted[guess]).sum(axis=0)
    raised = [raise_diagonal(joint, count) for joint, count in zip(joints, counts.T, strict=True)]
    return np.stack(raised), counts.T.copy(), thresholds.T.copy()


def _row_scores(scores: np.ndarray, row_score: RowScore) -> np.ndarray:
    """One score for each row, of its known entries; NaN if there are none."""
    known = ~np.isnan(scores)
    count = known.sum(axis=1)
    ordered = np.sort(np.where(known, scores, np.where(count > 0, np.inf, 0)[:, None]), axis=1)  # worst first
    place = np.arange(scores.shape[1])[None]
    if row_score == "moving_average":
        # The best entry is where the average starts: nothing stands before it to share its weight with.
        weights = np.where(place < count[:, None] - 1, _DECAY, 1.0) * (1 - _DECAY) ** place
    elif row_score == "softmin":
        weights = special.softmax(-ordered / (2 * _TEMPERATURE), axis=1)  # a margin is twice a probability
    elif row_score == "min":
        weights = (place == 0).astype(np.float64)
    else:
        weights = 1 / np.maximum(count, 1)[:, None]
    totals = np.where(place < count[:, None], weights * np.where(np.isinf(ordered), 0, ordered), 0).sum(axis=1)
    return np.where(count > 0, totals, np.nan)


def _checked(labels: ArrayLike, probs: ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels int8 `[N, L]` in -1, 0, 1; probabilities float64 `[N, L]` in 0 to 1, and how many were clipped to 1."""
    try:
        values, present = np.asarray(labels), np.asarray(probs, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfidentLearningError(f"labels and probs must be numbers (rows, labels): {error}") from error
    if present.ndim != 2 or 0 in present.shape:
        raise ConfidentLearningError(f"probs must be (rows, labels) with at least one of each, got {present.shape}")
    if values.shape != present.shape:
        raise ConfidentLearningError(f"labels have shape {values.shape}, probs {present.shape}: give both alike")
    if values.dtype.kind not in "biuf":
        raise ConfidentLearningError(f"labels are {values.dtype}: give truth values, or 0, 1 and -1 for unknown")
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(1, bool)
    bad = ~(unknown | (values == 0) | (values == 1) | (values == _UNKNOWN))
    if bad.any():
        row, label = np.argwhere(bad)[0].tolist()
        raise ConfidentLearningError(f"labels[{row}, {label}] is {values[row, label]}; allowed: 0, 1, -1 for unknown")
    bad = ~((present >= 0) & (present <= 1 + EXCESS))
    if bad.any():
        row, label = np.argwhere(bad)[0].tolist()
        raise ConfidentLearningError(
            f"probs[{row}, {label}] is {present[row, label]:.6g}; allowed: 0 to 1: give the probability that the row"
            " has the label (sigmoid), not logits or scores"
        )
    over = present > 1
    if over.any():
        present = np.minimum(present, 1)
    return np.where(unknown, _UNKNOWN, values).astype(np.int8), present, int(over.sum())
