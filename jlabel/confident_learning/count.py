"""How many labels are wrong, and how sure that number is."""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.confident_learning.checks import (
    CheckedInputs,
    ConfidentLearningError,
    blocks,
    fixed_point,
)
from jlabel.confident_learning.joint import check_joint, raise_diagonal, scale_rows
from jlabel.confident_learning.scan import (
    TOLERANCE,
    Collision,
    Entries,
    check_collision,
    entries_above,
    limits_for,
    resolve,
    scan,
    thresholds_from_sums,
)
from jlabel.evaluation import Interval

Rule = Literal["calibrated", "uncalibrated", "off_diagonal"]


def count_errors(joint: ArrayLike, label_counts: ArrayLike, *, rule: Rule = "calibrated") -> float:
    """Estimates how many labels are wrong.

    ``calibrated``: ``n (1 - trace Q)`` with ``Q`` of Eq. 2, so that rows no class is confident of count like the
    others of their label. ``uncalibrated``: ``n offdiag(C) / sum(C)``. ``off_diagonal``: ``offdiag(C)``.

    Args:
      joint: ``(C, C)`` counts by given label and confident class, from `confident_joint`.
      label_counts: ``(C,)`` rows with each label.
      rule: one of the three above.

    Returns:
      The estimate, 0 to n; round it down to flag so many rows.

    Raises:
      ConfidentLearningError: an unknown rule, shapes that do not fit, or a negative or non-finite entry.

    Example:
      >>> [round(count_errors([[6, 1], [0, 1]], [8, 2], rule=rule), 6) for rule in ("calibrated", "uncalibrated")]
      [1.142857, 1.25]

    Source: Northcutt, Athalye and Mueller 2021, section 3.
    """
    check_rule(rule)
    counts, rows = check_joint(joint, label_counts)
    return errors_of(counts, rows, rule)


def check_rule(rule: str) -> None:
    """Raises unless the rule for the number of errors is known."""
    if rule not in get_args(Rule):
        raise ConfidentLearningError(f"rule is {rule!r}; allowed: {', '.join(get_args(Rule))}")


def errors_of(joint: np.ndarray, label_counts: np.ndarray, rule: Rule) -> float:
    """`count_errors` of checked counts."""
    off = float(joint.sum() - np.trace(joint))
    if rule == "off_diagonal":
        return off
    if rule == "uncalibrated":
        return float(label_counts.sum()) * off / max(1.0, float(joint.sum()))
    calibrated = scale_rows(joint, label_counts)
    np.fill_diagonal(calibrated, 0)
    return float(calibrated.sum())


def count_interval(
    labels: ArrayLike | Sequence,
    probs: ArrayLike,
    *,
    rule: Rule = "calibrated",
    collision: Collision = "confident",
    replicates: int = 200,
    classes: Sequence | None = None,
    key: jax.Array,
) -> Interval:
    """Percentile bootstrap interval of the number of errors, over rows.

    Each replicate draws N rows with replacement (as multiplicities, nothing is copied), and recomputes thresholds,
    joint and count. It says how far the choice of rows decides the number, not whether the model is any good.

    Args:
      labels: ``(N,)`` integers in ``[0, C)``, or names found in ``classes``.
      probs: ``(N, C)`` out-of-sample probabilities.
      rule: as in `count_errors`.
      collision: as in `confident_joint`.
      replicates: how many, at least 20.
      classes: names of the columns, for labels that are names.
      key: PRNG key of the draws.

    Returns:
      ``Interval``: ``mean`` is the estimate from all rows, ``std`` the bootstrap standard error, ``low`` and ``high``
      bound the middle 95 % of the replicates, ``runs`` is N.

    Raises:
      ConfidentLearningError: bad labels, probabilities or options.

    Example:
      >>> import jax
      >>> labels = np.repeat([0, 1], 50)
      >>> probs = np.where(np.arange(100)[:, None] % 10 == 0, [0.1, 0.9], [0.9, 0.1])
      >>> probs = np.where(labels[:, None] == 1, probs[:, ::-1], probs)
      >>> found = count_interval(labels, probs, key=jax.random.key(0))
      >>> found.mean, found.low < 10 < found.high
      (10.0, True)

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    check_rule(rule)
    check_collision(collision)
    if replicates < 20:
        raise ConfidentLearningError(f"replicates must be 20 or more, got {replicates}")
    found = scan(labels, probs, collision=collision, classes=classes)
    joint = raise_diagonal(found.joint, found.label_counts)
    estimate = errors_of(joint, found.label_counts, rule)
    drawn = np.array(
        [errors_of(*sample, rule) for sample in _resampled_joints(found.checked, collision, replicates, key)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(estimate, float(np.std(drawn, ddof=1)), float(low), float(high), len(found.checked.labels))


def _resampled_joints(
    checked: CheckedInputs, collision: Collision, replicates: int, key: jax.Array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Joint and label counts of each replicate, float64."""
    labels, probs, *_ = checked
    n, num_classes = probs.shape
    given = fixed_point(probs[np.arange(n), labels])

    def weights(replicate: int) -> np.ndarray:
        bits = np.asarray(jax.random.key_data(jax.random.fold_in(key, replicate)))
        return np.bincount(np.random.default_rng(bits).integers(n, size=n), minlength=n)

    def thresholds(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.bincount(labels, weight, minlength=num_classes)
        return thresholds_from_sums(np.bincount(labels, given * weight, minlength=num_classes), rows), rows

    # No replicate is confident of an entry below the lowest of its thresholds: only the others are kept.
    lowest = np.min([thresholds(weights(replicate))[0] for replicate in range(replicates)], axis=0)
    entries, best = _entries(probs, limits_for(lowest, TOLERANCE, probs.dtype), collision)
    for replicate in range(replicates):
        weight = weights(replicate)
        limits, rows = thresholds(weight)
        keep = entries.values >= limits_for(limits, TOLERANCE, probs.dtype)[entries.classes]
        places, chosen, shared = resolve(Entries(*(field[keep] for field in entries)))
        if best is not None:
            chosen = np.where(shared, best[places], chosen)
        cells = labels[places].astype(np.int64) * num_classes + chosen
        joint = np.bincount(cells, weight[places], minlength=num_classes**2).reshape(num_classes, num_classes)
        yield raise_diagonal(joint, rows), rows


def _entries(probs: np.ndarray, limits: np.ndarray, collision: Collision) -> tuple[Entries, np.ndarray | None]:
    """All entries at or above their limits; with ``collision="all"`` the most probable class of each row as well."""
    parts, best = [], []
    for place, block in blocks(probs):
        rows, columns, values = entries_above(block, limits)
        parts.append((rows + place.start, columns.astype(np.int32), values))
        if collision == "all":
            best.append(block.argmax(1).astype(np.int32))
    return Entries(*map(np.concatenate, zip(*parts, strict=True))), np.concatenate(best) if best else None
