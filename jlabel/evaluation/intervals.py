"""Intervals and paired comparisons: over seeds (t, sign flips) and over rows (bootstrap)."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from jlabel.errors import InputError
from jlabel.evaluation.checks import as_floats, check_level, same_length

_EXACT_PAIRS = 14  # 2**14 sign vectors are enumerated; above that they are drawn
_DRAWN_FLIPS = 10_000


class Interval(NamedTuple):
    """An estimate with its interval; what cannot be known from one run is NaN."""

    mean: float
    std: float
    low: float
    high: float
    runs: int


class Comparison(NamedTuple):
    """A paired difference `a - b`: its interval and two two-sided p values."""

    difference: float
    low: float
    high: float
    p_value: float
    p_sign_flip: float
    pairs: int


def seed_interval(values: ArrayLike | Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean over runs with Student's t interval, `mean ± t_{R-1} std / sqrt(R)`.

    Args:
        values: `[R]` one number per run (seed).
        level: Confidence level.

    Returns:
        `Interval`; `std` has the divisor R - 1. With one run, or an infinite value, `std`, `low` and `high` are NaN.

    Raises:
        InputError: No value, NaN, or a level outside (0, 1).

    Example:
        >>> found = seed_interval([0.5, 0.75, 1.0])  # t_2 = 4.303
        >>> found.mean, found.std, round(found.low, 3), round(found.high, 3), found.runs
        (0.75, 0.25, 0.129, 1.371, 3)
    """
    runs = as_floats("values", values, finite=False)
    check_level(level)
    mean, count = float(np.mean(runs)), len(runs)
    if count < 2 or not np.isfinite(runs).all():
        return Interval(mean, np.nan, np.nan, np.nan, count)
    if (runs == runs[0]).all():  # exactly: the mean of equal numbers can differ from them in the last bit
        return Interval(float(runs[0]), 0.0, float(runs[0]), float(runs[0]), count)
    std = float(np.std(runs, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * std / math.sqrt(count)
    return Interval(mean, std, mean - half, mean + half, count)


def bootstrap_interval(
    values: ArrayLike | Sequence[float],
    *,
    statistic: Callable[[np.ndarray], float] = np.mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic over rows.

    Rows are drawn with replacement `resamples` times; the interval holds the middle `level` of the statistics. It says
    how far the choice of test rows decides the number. It is too short below about 30 rows, or where all are right.

    Args:
        values: `[N, ...]` one entry per row, such as correctness; the statistic may need columns (predicted, label).
        statistic: Takes resampled rows `[N, ...]`, returns a float.
        level: Confidence level.
        resamples: Number of resamples, 100 or more.
        seed: Seed of the draws.

    Returns:
        `Interval`; `mean` is the statistic of all rows, `std` the bootstrap standard error, `runs` is N.

    Raises:
        InputError: No rows, NaN, a level outside (0, 1), too few resamples.

    Example:
        >>> found = bootstrap_interval([1, 0] * 50)
        >>> found.mean, round(found.low, 1), round(found.high, 1)
        (0.5, 0.4, 0.6)

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    rows = as_floats("values", values, ndim=None)
    check_level(level)
    drawn = _resample(rows, statistic, resamples, seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(rows)), float(np.std(drawn, ddof=1)), float(low), float(high), len(rows))


def _resample(rows: np.ndarray, statistic: Callable[[np.ndarray], float], resamples: int, seed: int) -> np.ndarray:
    """Statistics `[resamples]` of rows drawn with replacement."""
    if resamples < 100:
        raise InputError(f"resamples must be 100 or more, got {resamples}")
    generator, count = np.random.default_rng(seed), len(rows)
    return np.array([statistic(rows[generator.integers(count, size=count)]) for _ in range(resamples)])


def _sign_flip_p(differences: np.ndarray, seed: int) -> float:
    """Two-sided p value of the mean under random signs: exact for few pairs, drawn for many."""
    differences = differences[differences != 0]  # their sign changes nothing
    count = len(differences)
    # Equal sums must count as equal, whatever order they are added in.
    reach = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if count <= _EXACT_PAIRS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
        return float(np.mean(np.abs(signs @ differences) >= reach))
    generator = np.random.default_rng(seed)
    hits, left = 0, _DRAWN_FLIPS
    while left:  # in parts: rows may be many
        part = min(left, max(1, 4_000_000 // count))
        signs = generator.integers(0, 2, size=(part, count), dtype=np.int8) * 2.0 - 1
        hits += int(np.sum(np.abs(signs @ differences) >= reach))
        left -= part
    return (1 + hits) / (1 + _DRAWN_FLIPS)


def _paired(a: ArrayLike | Sequence[float], b: ArrayLike | Sequence[float]) -> np.ndarray:
    first, second = as_floats("a", a), as_floats("b", b)
    same_length(a=first, b=second)
    if len(first) < 2:
        raise InputError("a and b hold one pair; a comparison needs two or more")
    return first - second


def paired_comparison(
    a: ArrayLike | Sequence[float], b: ArrayLike | Sequence[float], *, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Compares two methods run with the same seeds: paired t test and sign-flip test.

    `d_r = a_r - b_r`; the interval and `p_value` are Student's, `p_sign_flip` is the share of sign vectors s with
    `|sum s_r d_r| >= |sum d_r|`, exact up to 14 pairs (with 5 pairs it cannot fall below 2 / 32).

    Args:
        a: `[R]` one number per run.
        b: `[R]` the other method's, in the same order of seeds.
        level: Confidence level.
        seed: Seed of the drawn sign vectors, above 14 pairs.

    Returns:
        `Comparison`.

    Raises:
        InputError: Fewer than two pairs, other lengths, or values that are not finite.

    Example:
        >>> found = paired_comparison([0.5, 0.6, 0.7], [0.4, 0.4, 0.4])
        >>> round(found.difference, 3), round(found.p_value, 3), found.p_sign_flip
        (0.2, 0.074, 0.25)
    """
    differences = _paired(a, b)
    check_level(level)
    interval = seed_interval(differences, level=level)
    if interval.std > 0:
        statistic = interval.mean / (interval.std / np.sqrt(interval.runs))
        p_value = float(2 * stats.t.sf(abs(statistic), interval.runs - 1))
    else:  # the same difference in every run
        p_value = 0.0 if interval.mean else 1.0
    return Comparison(
        interval.mean, interval.low, interval.high, p_value, _sign_flip_p(differences, seed), interval.runs
    )


def paired_bootstrap(
    a: ArrayLike | Sequence[float],
    b: ArrayLike | Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares two methods on the same test rows: bootstrap of the mean difference over rows.

    Args:
        a: `[N]` score of each row, such as correctness (or its mean over seeds).
        b: `[N]` the other method's scores of the same rows.
        level: Confidence level.
        resamples: Number of resamples, 100 or more.
        seed: Seed of the draws.

    Returns:
        `Comparison`; `p_value` is twice the smaller share of resampled differences on one side of 0.

    Raises:
        InputError: Fewer than two rows, other lengths, or values that are not finite.

    Example:
        >>> found = paired_bootstrap([1, 1, 1, 0] * 25, [1, 0, 1, 0] * 25)
        >>> found.difference, found.low > 0.1, found.p_value < 0.01
        (0.25, True, True)
    """
    differences = _paired(a, b)
    check_level(level)
    drawn = _resample(differences, np.mean, resamples, seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    return Comparison(
        difference=float(np.mean(differences)),
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2 * (1 + tail) / (1 + resamples)),
        p_sign_flip=_sign_flip_p(differences, seed),
        pairs=len(differences),
    )
