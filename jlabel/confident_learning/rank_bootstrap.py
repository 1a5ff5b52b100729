"""Ranks of models on a benchmark with intervals over its rows."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from jlabel.confident_learning.benchmark import crossings, noise_prevalence
from jlabel.errors import InputError
from jlabel.evaluation import Interval

__all__ = [
    "AccuracyReplicates", "Crossings", "RankBootstrap", "RankIntervals", "bootstrap_accuracies", "bootstrap_ranks",
    "rank_correlation",
]  # fmt: skip

_DRAWN_AT_ONCE = 4_000_000  # counts held at a time


class AccuracyReplicates(NamedTuple):
    """Accuracies float64 ``[R, M]`` on rows drawn anew, within B and within C."""

    benign: np.ndarray
    original: np.ndarray
    corrected: np.ndarray


class RankIntervals(NamedTuple):
    """Accuracy and rank of each model, float64 ``[M]`` each; rank 1 is the best, equal ones share their mean rank."""

    accuracy: np.ndarray
    accuracy_low: np.ndarray
    accuracy_high: np.ndarray
    rank: np.ndarray
    rank_low: np.ndarray
    rank_high: np.ndarray


class Crossings(NamedTuple):
    """Where the lines A(N) of each pair of models cross, arrays ``[K]``, K = M (M - 1) / 2.

    Attributes:
      first, second: the models, first < second. prevalence: N*; infinity where the lines do not cross.
      low, high: interval of N* over the replicates in which they do; infinity where there is none.
      share: share of the replicates in which they cross.
    """

    first: np.ndarray
    second: np.ndarray
    prevalence: np.ndarray
    low: np.ndarray
    high: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class RankBootstrap:
    """Ranks on every set of rows, rank correlations and crossings, each with its interval over rows.

    Attributes:
      prevalence: abs(C) / abs(P). benign: on B. original, corrected: on P. original_correctable,
        corrected_correctable: on C.
      spearman: of original against corrected accuracy on P. spearman_correctable: on C.
      crossings_original, crossings_corrected: of the models' lines. replicates: how many.
    """

    prevalence: float
    benign: RankIntervals
    original: RankIntervals
    corrected: RankIntervals
    original_correctable: RankIntervals
    corrected_correctable: RankIntervals
    spearman: Interval
    spearman_correctable: Interval
    crossings_original: Crossings
    crossings_corrected: Crossings
    replicates: int


def bootstrap_accuracies(
    original: ArrayLike, corrected: ArrayLike, correctable: ArrayLike, *, replicates: int = 2000, key: jax.Array
) -> AccuracyReplicates:
    """Accuracies of models on rows drawn with replacement, as many within B and within C as there are.

    All replicates are drawn together: equal rows are counted once, and their numbers come from a multinomial.

    Args:
      original, corrected, correctable: as in `bootstrap_ranks`. replicates: R, at least 100.
      key: typed PRNG key; the same key gives the same replicates.

    Returns:
      `AccuracyReplicates`; original and corrected are those on C.

    Raises:
      InputError: as in `bootstrap_ranks`.

    Example:
      >>> right = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)
      >>> found = bootstrap_accuracies(right, right, [False, False, True, True], replicates=100, key=jax.random.key(0))
      >>> found.corrected.shape
      (100, 2)
    """
    return _replicates(*_check_matrices(original, corrected, correctable), replicates, key)


def bootstrap_ranks(
    original: ArrayLike,
    corrected: ArrayLike,
    correctable: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    key: jax.Array,
) -> RankBootstrap:
    """Ranks of M models, where they change places, and rank correlations, with percentile intervals over rows.

    Rows are drawn with replacement within B and within C, so the prevalence stays. Drawing adds noise to accuracies
    that have some already: ranks of close models come out nearer to the middle, and rank correlations nearer to 0,
    than they are; where an interval does not hold its own estimate, there are too few rows to say anything.

    Args:
      original: right or wrong by the given labels on the rows of P ``[M, N]``: bool, or 0 to 1 where it is a share of
        several runs.
      corrected: the same by the corrected labels; equal to original on B.
      correctable: bool ``[N]``, the rows of C.
      replicates: 100 or more. level: of the intervals. key: typed PRNG key.

    Returns:
      `RankBootstrap`.

    Raises:
      InputError: shapes that do not fit, values outside 0 to 1, matrices that differ on B, an empty B or C, fewer than
        2 models or 100 replicates, a level outside (0, 1).

    Example:
      >>> right = np.array([[1, 1, 0, 0], [1, 0, 1, 1]], bool)
      >>> found = bootstrap_ranks(right, right, [False, False, True, True], replicates=100, key=jax.random.key(0))
      >>> found.corrected.rank.tolist(), found.crossings_corrected.prevalence.round(3).tolist()
      ([2.0, 1.0], [0.333])

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3.
    """
    given, mended, mask = _check_matrices(original, corrected, correctable)
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie strictly between 0 and 1")
    drawn = _replicates(given, mended, mask, replicates, key)
    share = float(noise_prevalence(mask.sum(), (~mask).sum()))
    # the rows as they are stand before the replicates, so that each statistic is written once
    b, o, c = (
        np.concatenate([estimate[None], of_drawn])
        for estimate, of_drawn in zip(
            (given[:, ~mask].mean(1), given[:, mask].mean(1), mended[:, mask].mean(1)), drawn, strict=True
        )
    )
    whole = [(1 - share) * b + share * part for part in (o, c)]
    return RankBootstrap(
        prevalence=share,
        benign=_ranks(b, level),
        original=_ranks(whole[0], level),
        corrected=_ranks(whole[1], level),
        original_correctable=_ranks(o, level),
        corrected_correctable=_ranks(c, level),
        spearman=_interval(_correlation(*whole), level),
        spearman_correctable=_interval(_correlation(o, c), level),
        crossings_original=_crossings(b, o, level),
        crossings_corrected=_crossings(b, c, level),
        replicates=replicates,
    )


def rank_correlation(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Spearman's correlation along the last axis, for many lists at once; ties share their mean rank.

    Args:
      first: numbers ``[..., M]``; those that differ by less than 1e-12 are equal. second: the same, broadcast.

    Returns:
      float64 ``[...]``, -1 to 1; 0 where one list is all equal, which orders nothing.

    Raises:
      InputError: shapes that do not fit, fewer than 2 models, a number that is not finite.

    Example:
      >>> rank_correlation([1, 2, 3], [[4, 5, 6], [6, 5, 5], [1, 1, 1]]).round(3).tolist()
      [1.0, -0.866, 0.0]
    """
    try:
        both = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"first {np.shape(first)} and second {np.shape(second)} do not fit: {error}") from error
    if both[0].ndim < 1 or both[0].shape[-1] < 2 or not all(np.isfinite(values).all() for values in both):
        raise InputError(f"first and second need finite numbers of 2 models or more; got shape {both[0].shape}")
    return _correlation(*both)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    one, two = (
        stats.rankdata(np.round(values, 12), axis=-1) - (values.shape[-1] + 1) / 2 for values in (first, second)
    )
    scale = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    return np.divide((one * two).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)


def _replicates(
    original: np.ndarray, corrected: np.ndarray, correctable: np.ndarray, replicates: int, key: jax.Array
) -> AccuracyReplicates:
    if isinstance(replicates, bool) or not isinstance(replicates, int | np.integer) or replicates < 100:
        raise InputError(f"replicates={replicates!r} must be a whole number, 100 or more")
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    benign = _resampled_means(original[:, ~correctable], replicates, generator)
    both = np.concatenate([original[:, correctable], corrected[:, correctable]])  # drawn together: the same rows
    parts = _resampled_means(both, replicates, generator)
    return AccuracyReplicates(benign, parts[:, : len(original)], parts[:, len(original) :])


def _resampled_means(values: np.ndarray, replicates: int, generator: np.random.Generator) -> np.ndarray:
    """Means ``[R, K]`` of values ``[K, N]`` over N columns drawn with replacement."""
    patterns, counts = np.unique(values, axis=1, return_counts=True)
    total = values.shape[1]
    at_once = max(1, _DRAWN_AT_ONCE // len(counts))
    means = [
        generator.multinomial(total, counts / total, size=min(at_once, replicates - start)) @ patterns.T / total
        for start in range(0, replicates, at_once)
    ]
    return np.concatenate(means)


def _ranks(accuracies: np.ndarray, level: float) -> RankIntervals:
    """From accuracies ``[1 + R, M]``, the estimate first."""
    ranks = stats.rankdata(-np.round(accuracies, 12), axis=1)  # equal accuracies can differ in the last bits
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(accuracies[1:], ends, axis=0)
    rank_low, rank_high = np.quantile(ranks[1:], ends, axis=0)
    return RankIntervals(accuracies[0], low, high, ranks[0], rank_low, rank_high)


def _interval(values: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(values[1:].std(ddof=1)), float(low), float(high), len(values) - 1)


def _crossings(benign: np.ndarray, correctable: np.ndarray, level: float) -> Crossings:
    first, second = np.triu_indices(benign.shape[1], k=1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    found, low, high, share = np.full((4, len(first)), np.inf)
    for k, (i, j) in enumerate(zip(first, second, strict=True)):  # a pair at a time: pairs times replicates are many
        values = crossings(*(np.round(part[:, i] - part[:, j], 12) for part in (benign, correctable)))
        found[k], of_drawn = values[0], values[1:]
        crossed = of_drawn[np.isfinite(of_drawn)]
        share[k] = len(crossed) / len(of_drawn)
        if len(crossed):
            low[k], high[k] = np.quantile(crossed, ends)
    return Crossings(first, second, found, low, high, share)


def _check_matrices(
    original: ArrayLike, corrected: ArrayLike, correctable: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mask = np.asarray(correctable)
    if mask.ndim != 1 or mask.dtype != bool:
        raise InputError(f"correctable must be a mask, bool (N,); got {mask.dtype} {mask.shape}")
    found = []
    for name, values in (("original", original), ("corrected", corrected)):
        try:
            matrix = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} must hold numbers: {error}") from error
        if matrix.ndim != 2 or matrix.shape[1] != len(mask) or len(matrix) < 2:
            raise InputError(f"{name} must be (models, {len(mask)}) with 2 models or more; got shape {matrix.shape}")
        bad = ~((matrix >= 0) & (matrix <= 1))
        if bad.any():
            model, row = (int(i) for i in np.argwhere(bad)[0])
            raise InputError(f"{name}[{model}, {row}] is {matrix[model, row]:g}: right is 1, wrong 0, a share between")
        found.append(matrix)
    if found[0].shape != found[1].shape:
        raise InputError(f"original has {len(found[0])} models, corrected {len(found[1])}")
    if mask.all() or not mask.any():
        raise InputError(f"correctable marks {mask.sum()} of {len(mask)} rows: ranks need rows of B and of C")
    differ = (found[0] != found[1]) & ~mask
    if differ.any():
        model, row = (int(i) for i in np.argwhere(differ)[0])
        raise InputError(
            f"original and corrected differ at [{model}, {row}], a row that is not correctable: its label stands, so "
            "right stays right; mark it in correctable, or give the same value in both"
        )
    return found[0], found[1], mask
