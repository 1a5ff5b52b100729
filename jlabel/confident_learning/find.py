"""From labels and probabilities to suspects, in one call."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import ConfidentLearningError
from jlabel.confident_learning.count import Rule, check_rule, errors_of
from jlabel.confident_learning.filters import both_mask, class_mask, filter_lowest, joint_mask, noise_rate_mask
from jlabel.confident_learning.joint import raise_diagonal, round_rows, scale_rows
from jlabel.confident_learning.rank import SCORES, Score, score_rows
from jlabel.confident_learning.scan import Collision, check_collision, scan

Method = Literal["margin", "noise_rate", "class", "both", "joint", "disagreement"]


class ClassPair(NamedTuple):
    """Rows labelled ``given`` that seem to be ``guess``."""

    given: int | str
    guess: int | str
    counted: int  # rows in the confident joint
    estimated: float  # rows after calibration
    share: float  # estimated, of the rows labelled `given`


@dataclasses.dataclass(frozen=True, eq=False)
class LabelErrors:
    """Suspected label errors, and what they were found by; `print` shows a summary.

    Attributes:
      mask: bool ``(N,)``, the flagged rows.
      scores: float64 ``(N,)``, lower is worse.
      order: int64 ``(flagged,)``, the flagged rows, worst first; equal scores by row.
      joint: int32 ``(C, C)`` confident joint, by given label and confident class.
      calibrated: float64 ``(C, C)``, the joint scaled to the label counts; sums to N.
      thresholds: float64 ``(C,)``, infinite for classes without rows.
      num_errors: estimated number of wrong labels.
      label_counts: int64 ``(C,)`` rows with each label.
      absent: classes without rows: nothing can be said about them.
      num_clipped: rows whose probabilities were clipped or renormalised.
      classes: names of the classes, or None.
    """

    mask: np.ndarray
    scores: np.ndarray
    order: np.ndarray
    joint: np.ndarray
    calibrated: np.ndarray
    thresholds: np.ndarray
    num_errors: float
    label_counts: np.ndarray
    absent: tuple[int, ...]
    num_clipped: int
    classes: tuple[str, ...] | None = None

    def pairs(self, limit: int | None = None) -> list[ClassPair]:
        """Pairs of classes by the estimated number of rows that confuse them, most first.

        Args:
          limit: at most so many; default all that occur.

        Returns:
          ``ClassPair`` (given, guess, counted, estimated, share of the rows with the given label).
        """
        off = self.calibrated.copy()
        np.fill_diagonal(off, 0)
        order = np.argsort(-off, axis=None, kind="stable")[: np.count_nonzero(off)][:limit]
        names: Sequence[int | str] = self.classes or range(len(off))
        return [
            ClassPair(
                names[i], names[j], int(self.joint[i, j]), float(off[i, j]), float(off[i, j] / self.label_counts[i])
            )
            for i, j in zip(*(axis.tolist() for axis in np.unravel_index(order, off.shape)), strict=True)
        ]

    def summary(self, limit: int = 10) -> str:
        """A few lines for people: how many labels seem wrong, and the most confused pairs."""
        n = len(self.mask)
        lines = [
            f"{len(self.order)} of {n} rows flagged; {self.num_errors:.1f} labels are estimated wrong "
            f"({self.num_errors / n:.2%})"
        ]
        if self.absent:
            shown = ", ".join(str(self.classes[i] if self.classes else i) for i in self.absent[:limit])
            lines.append(f"no rows, so nothing is known, of {len(self.absent)} classes: {shown}")
        if self.num_clipped:
            lines.append(f"probabilities of {self.num_clipped} rows were renormalised")
        if pairs := self.pairs(limit):
            cells = [("given", "seems", "rows", "of given")]
            cells += [(str(p.given), str(p.guess), f"{p.estimated:.1f}", f"{p.share:.2%}") for p in pairs]
            wide = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
            lines += [f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}  {d:>{wide[3]}}" for a, b, c, d in cells]
        return "\n".join(lines)

    __str__ = summary

    def __repr__(self) -> str:
        return f"LabelErrors({len(self.order)} of {len(self.mask)} rows flagged, num_errors={self.num_errors:.6g})"


def find_errors(
    labels: ArrayLike | Sequence,
    probs: ArrayLike,
    *,
    classes: Sequence | None = None,
    rule: Rule = "calibrated",
    collision: Collision = "confident",
    method: Method = "margin",
    score: Score = "normalized_margin",
) -> LabelErrors:
    """Estimates how many labels are wrong, flags the suspects, and orders them.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` probabilities from a model that has not seen the row in training.
      classes: names of the columns; needed for labels that are names, and shown in the summary.
      rule: how the number of errors is estimated (`count_errors`).
      collision: rows of which several classes are confident (`confident_joint`).
      method: which rows are flagged. ``"margin"``: as many as ``rule`` says, rounded down, with the lowest ``score``.
        ``"noise_rate"``, ``"class"``, ``"both"``, ``"joint"``, ``"disagreement"``: as ``filter_by_...``; those decide
        the number themselves, with the calibrated joint.
      score: what the rows are ordered by.

    Returns:
      ``LabelErrors``; ``print`` shows a summary.

    Raises:
      ConfidentLearningError: bad labels, probabilities or options.

    Example:
      >>> probs = [[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
      >>> found = find_errors(["cat"] * 8 + ["dog"] * 2, probs, classes=["cat", "dog"])
      >>> found.order.tolist()
      [7]
      >>> print(found)
      1 of 10 rows flagged; 1.1 labels are estimated wrong (11.43%)
      given  seems  rows  of given
      cat    dog     1.1    14.29%

    Source: Northcutt, Athalye and Mueller 2021, section 3.
    """
    check_rule(rule)
    check_collision(collision)
    if method not in get_args(Method):
        raise ConfidentLearningError(f"method is {method!r}; allowed: {', '.join(get_args(Method))}")
    if score not in SCORES:
        raise ConfidentLearningError(f"score is {score!r}; allowed: {', '.join(SCORES)}")
    found = scan(labels, probs, collision=collision, agreement=True, classes=classes)
    joint = raise_diagonal(found.joint, found.label_counts)
    calibrated = scale_rows(joint, found.label_counts)
    num_errors = errors_of(joint, found.label_counts, rule)
    scores = score_rows(found.checked, score)
    if method == "margin":
        mask = filter_lowest(scores, num_errors)
    elif method == "joint":
        mask = joint_mask(found, collision=collision)
    elif method == "disagreement":
        mask = ~found.agree
    else:
        by_count = {"noise_rate": noise_rate_mask, "class": class_mask, "both": both_mask}[method]
        mask = by_count(found, round_rows(calibrated))
    flagged = np.flatnonzero(mask)
    return LabelErrors(
        mask=mask,
        scores=scores,
        order=flagged[np.argsort(scores[flagged], kind="stable")],
        joint=joint,
        calibrated=calibrated,
        thresholds=found.thresholds,
        num_errors=num_errors,
        label_counts=found.label_counts,
        absent=found.checked.absent,
        num_clipped=found.checked.num_clipped,
        classes=None if classes is None else tuple(str(name) for name in np.asarray(classes).tolist()),
    )
