"""What corrected labels do to a benchmark: sets of rows, accuracy against noise prevalence, and where models cross."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from jlabel.confident_learning.votes import CORRECTABLE, NON_ERROR, VOTE_CATEGORIES
from jlabel.errors import InputError

__all__ = [
    "BenchmarkSets", "SpearmanInterval", "accuracy_at_prevalence", "benchmark_sets", "corrected_accuracy",
    "crossing_prevalence", "dropped_share", "noise_prevalence", "original_accuracy", "spearman_interval",
]  # fmt: skip


class BenchmarkSets(NamedTuple):
    """Masks bool ``[N]`` over the test rows; every row is in one of the three, and P is benign or correctable."""

    benign: np.ndarray
    correctable: np.ndarray
    unknown: np.ndarray

    @property
    def pruned(self) -> np.ndarray:
        """The rows that stay, P = B + C, bool ``[N]``."""
        return self.benign | self.correctable


class SpearmanInterval(NamedTuple):
    """A rank correlation over models, its interval, and the p value of no correlation."""

    correlation: float
    low: float
    high: float
    p_value: float
    models: int


def benchmark_sets(category: ArrayLike, flagged: ArrayLike) -> BenchmarkSets:
    """Splits the test rows D into benign B, correctable C and unknown U.

    U are flagged rows that are multi-label, neither or non-agreement, C the correctable ones, B all others, human-
    confirmed non-errors included; so D = B + C + U.

    Args:
      category: positions in ``VOTE_CATEGORIES``, from `tally_votes`: one for each flagged row in order ``[F]``, or one
        for each row ``[N]``, of which only the flagged ones count.
      flagged: bool ``[N]``, the rows that people voted on.

    Returns:
      `BenchmarkSets`.

    Raises:
      InputError: a mask that is not bool, another number of categories, or one that there is not.

    Example:
      >>> sets = benchmark_sets([0, 2, 4], [True, True, False, True])
      >>> sets.benign.tolist(), sets.correctable.tolist()
      ([True, False, True, False], [False, True, False, False])

    Source: Northcutt et al. 2021, definitions 3 to 6. They define B as the rows that were not flagged, with which
    their own figures cannot be had.
    """
    mask = np.asarray(flagged)
    if mask.ndim != 1 or mask.dtype != bool:
        raise InputError(f"flagged must be a mask, bool (N,); got {mask.dtype} {mask.shape}")
    found = np.asarray(category)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise InputError(f"category must hold whole numbers (F,) or (N,); got {found.dtype} {found.shape}")
    if len(found) == len(mask):
        found = found[mask]
    if len(found) != mask.sum():
        raise InputError(f"category holds {len(found)} rows; give one for each of {mask.sum()} flagged or {len(mask)}")
    bad = (found < 0) | (found >= len(VOTE_CATEGORIES))
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"category {found[row]} of row {np.flatnonzero(mask)[row]} is not one of 0 to {len(VOTE_CATEGORIES) - 1} "
            f"({', '.join(VOTE_CATEGORIES)})"
        )
    correctable, unknown = np.zeros((2, len(mask)), bool)
    correctable[mask] = found == CORRECTABLE
    unknown[mask] = (found != CORRECTABLE) & (found != NON_ERROR)
    return BenchmarkSets(~correctable & ~unknown, correctable, unknown)


def noise_prevalence(correctable: ArrayLike, benign: ArrayLike, *, dropped: ArrayLike = 0.0) -> np.ndarray:
    """Share of rows with a wrong label that can be corrected, N(x) = abs(C) / (abs(C) + (1 - x) abs(B)).

    Args:
      correctable: numbers of rows in C, at least 0. benign: in B, at least 0. dropped: share x of B left out, 0 to 1.

    Returns:
      float64, broadcast.

    Raises:
      InputError: a number out of its range, or no rows at all.

    Example:
      >>> round(float(noise_prevalence(1428, 47084)), 5)  # ImageNet
      0.02944
    """
    c, b = _numbers("correctable", correctable), _numbers("benign", benign)
    x = _numbers("dropped", dropped, high=1)
    total = c + (1 - x) * b
    if (total == 0).any():
        raise InputError("correctable and benign leave no rows: the prevalence is not defined")
    return np.asarray(c / total)


def original_accuracy(predicted: ArrayLike, labels: ArrayLike, *, rows: ArrayLike | None = None) -> np.ndarray:
    """Share of rows predicted as the given labels say.

    Args:
      predicted: labels ``[N]``, or ``[M, N]`` of M models.
      labels: the given labels ``[N]``. rows: bool ``[N]``, the rows to score, such as ``sets.correctable``; or all.

    Returns:
      float64, a scalar or ``[M]``.

    Raises:
      InputError: shapes that do not fit, or no row to score.

    Example:
      >>> float(original_accuracy([0, 1, 2, 2], [0, 1, 1, 2]))
      0.75
    """
    found, given = np.asarray(predicted), np.asarray(labels)
    if given.ndim != 1 or found.ndim not in (1, 2) or found.shape[-1:] != given.shape:
        raise InputError(f"predicted {found.shape} and labels {given.shape} must be (N,) or (M, N) and (N,)")
    return _mean(found == given, rows, "labels")


def corrected_accuracy(
    predicted: ArrayLike, labels: ArrayLike, guessed: ArrayLike, sets: BenchmarkSets, *, rows: ArrayLike | None = None
) -> np.ndarray:
    """Share of the rows of P predicted as the corrected labels say; rows of U have no right label and are left out.

    Args:
      predicted: labels ``[N]``, or ``[M, N]`` of M models. labels: the given labels ``[N]``.
      guessed: labels ``[N]`` that stand instead on the rows of C; elsewhere anything.
      sets: from `benchmark_sets`. rows: bool ``[N]``, score only these of P.

    Returns:
      float64, a scalar or ``[M]``.

    Raises:
      InputError: shapes that do not fit, or no row to score.

    Example:
      >>> sets = benchmark_sets([2, 4], [False, True, True])
      >>> float(corrected_accuracy([0, 1, 1], [0, 0, 0], [-1, 1, -1], sets))
      1.0
    """
    given, instead = np.asarray(labels), np.asarray(guessed)
    if given.shape != sets.correctable.shape or instead.shape != given.shape:
        raise InputError(
            f"labels {given.shape} and guessed {instead.shape} must have {len(sets.benign)} rows, as the sets"
        )
    kept = sets.pruned if rows is None else sets.pruned & _mask(rows, given.shape)
    return original_accuracy(predicted, np.where(sets.correctable, instead, given), rows=kept)


def accuracy_at_prevalence(benign: ArrayLike, correctable: ArrayLike, prevalence: ArrayLike) -> np.ndarray:
    """A(N) = N A_C + (1 - N) A_B, expected after dropping benign rows at random: a straight line in the prevalence.

    Args:
      benign: accuracies A_B on B, 0 to 1. correctable: accuracies A_C on C, by the labels that are to count.
      prevalence: N, 0 to 1.

    Returns:
      float64, broadcast.

    Raises:
      InputError: a number out of its range.

    Example:
      >>> round(float(accuracy_at_prevalence(0.95, 0.40, 20 / 1000)), 3)
      0.939
    """
    b, c = _numbers("benign", benign, high=1), _numbers("correctable", correctable, high=1)
    n = _numbers("prevalence", prevalence, high=1)
    return np.asarray(n * c + (1 - n) * b)


def crossing_prevalence(first: tuple[float, float], second: tuple[float, float]) -> float | None:
    """The prevalence at which two models change places, N* = dB / (dB - dC).

    Args:
      first: (A_B, A_C) of one model, each 0 to 1. second: of the other.

    Returns:
      N*, strictly between 0 and 1; None where the differences on B and on C have the same sign, or one of them is 0:
      the lines do not cross.

    Raises:
      InputError: an accuracy out of its range.

    Example:
      >>> round(crossing_prevalence((0.95, 0.40), (0.93, 0.65)), 6)
      0.074074
      >>> crossing_prevalence((0.95, 0.65), (0.93, 0.40)) is None
      True
    """
    one, two = _numbers("first", first, high=1), _numbers("second", second, high=1)
    for name, pair in (("first", one), ("second", two)):
        if pair.shape != (2,):
            raise InputError(f"{name} must be (A_B, A_C); got shape {pair.shape}")
    found = float(crossings(*(one - two)))
    return found if math.isfinite(found) else None


def crossings(benign: np.ndarray, correctable: np.ndarray) -> np.ndarray:
    """N* from differences on B and on C, elementwise; infinity where lines do not cross."""
    benign, correctable = np.broadcast_arrays(benign, correctable)
    cross = benign * correctable < 0
    return np.divide(benign, benign - correctable, out=np.full(benign.shape, np.inf), where=cross)


def dropped_share(prevalence: float, correctable: float, benign: float) -> float:
    """The share x of B to drop for a prevalence: N(x) solved for x; below 0 where rows of B would have to be added.

    Args:
      prevalence: N, above 0, at most 1. correctable: rows in C. benign: rows in B, above 0.

    Returns:
      x = 1 - abs(C) (1 - N) / (N abs(B)), at most 1.

    Raises:
      InputError: a number out of its range.

    Example:
      >>> round(dropped_share(2 / 27, 20, 980), 6)
      0.744898
    """
    n = float(_numbers("prevalence", prevalence, high=1))
    c, b = float(_numbers("correctable", correctable)), float(_numbers("benign", benign))
    if n == 0 or b == 0:
        raise InputError(f"prevalence={n:g} and benign={b:g} must be above 0")
    return 1 - c * (1 - n) / (n * b)


def spearman_interval(
    first: ArrayLike | Sequence[float], second: ArrayLike | Sequence[float], *, level: float = 0.95
) -> SpearmanInterval:
    """Spearman's rank correlation over models with its interval: would other models of this kind show it?

    Fisher's z with Bonett and Wright's variance: tanh(atanh(r) +- z sqrt((1 + r^2 / 2) / (M - 3))). Ties share their
    mean rank.

    Args:
      first: one number a model ``[M]``, at least 4. second: another one. level: of the interval.

    Returns:
      `SpearmanInterval`; a perfect order has the interval of no width that the formula gives.

    Raises:
      InputError: fewer than 4 models, lengths that differ, a number that is not finite, or one list all equal.

    Example:
      >>> found = spearman_interval([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5])
      >>> round(found.correlation, 3), round(found.low, 2), round(found.high, 2)
      (0.829, -0.13, 0.99)

    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations".
    """
    one, two = (_numbers(name, v, low=-math.inf) for name, v in (("first", first), ("second", second)))
    if one.ndim != 1 or one.shape != two.shape or len(one) < 4:
        raise InputError(f"first {one.shape} and second {two.shape} must hold one number for each of at least 4 models")
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie strictly between 0 and 1")
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        raise InputError("first and second need different values: all models are the same in one of them")
    found = stats.spearmanr(one, two)
    r, p_value = float(np.clip(found.statistic, -1, 1)), float(found.pvalue)
    if abs(r) > 1 - 1e-12:
        return SpearmanInterval(round(r), round(r), round(r), p_value, len(one))
    half = stats.norm.ppf((1 + level) / 2) * math.sqrt((1 + r * r / 2) / (len(one) - 3))
    return SpearmanInterval(
        r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), p_value, len(one)
    )  # fmt: skip


def _numbers(
    name: str, values: ArrayLike | Sequence[float], *, low: float = 0, high: float | None = None
) -> np.ndarray:
    """Values as float64; refuses what is not finite or out of its range, with its place."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers: {error}") from error
    bad = ~np.isfinite(array) | (array < low) | (array > (math.inf if high is None else high))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        allowed = "finite" if low == -math.inf else f"{low:g} to {high:g}" if high is not None else f"at least {low:g}"
        raise InputError(f"{name}{list(place) if place else ''} is {array[place]:g}; allowed: {allowed}")
    return array


def _mask(rows: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(rows)
    if mask.dtype != bool or mask.shape != shape:
        raise InputError(f"rows must be a mask, bool {shape}; got {mask.dtype} {mask.shape}")
    return mask


def _mean(right: np.ndarray, rows: ArrayLike | None, name: str) -> np.ndarray:
    if rows is not None:
        right = right[..., _mask(rows, right.shape[-1:])]
    if not right.shape[-1]:
        raise InputError(f"{name}: no row to score")
    return np.asarray(right.mean(-1, dtype=np.float64))
