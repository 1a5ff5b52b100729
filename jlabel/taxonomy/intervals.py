"""How sure each edge is: intervals over the rows of each class."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import stats

from jlabel.taxonomy.checks import TaxonomyError, as_matrix, check_level
from jlabel.taxonomy.cross import assemble, pair_sizes
from jlabel.taxonomy.relations import Relations


class EdgeIntervals(NamedTuple):
    """The share of rows behind each possible edge, with its interval over rows; float64 ``(V, V)`` each.

    Attributes:
      share: M(i, j) / n_i. low, high: its interval. base: what column j gets from the classes of the row's domain
        alike, the mean of their shares. All are 0 within a domain.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    base: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        """bool ``(V, V)``: edges whose lower bound lies above the column's base rate."""
        return self.low > self.base


def edge_intervals(counts: Mapping[tuple[int, int], ArrayLike], *, level: float = 0.95) -> EdgeIntervals:
    """Bootstrap intervals of all cross-predictions over the rows of each class, without a refit.

    Resampling the n rows of class i with replacement draws row i of the counts from a multinomial, so each entry is
    a binomial count, whose quantiles are the percentile interval of infinitely many replicates: no draw is needed.
    Of few rows, which may all agree by chance, the plain bootstrap is too sure (one row: the interval is a point).
    So one more row, spread like the column's base rate, joins those that are drawn from:
    ``M*(i, j) ~ Binomial(n_i, (M(i, j) + base(j)) / (n_i + 1))``.

    Args:
      counts: (a, b) -> ``(C_a, C_b)`` whole numbers, `cross_counts` of domain b's model on the rows of domain a, for
        all a != b.
      level: of the intervals, in (0, 1).

    Returns:
      `EdgeIntervals`; of a class without rows the share and the interval are 0.

    Raises:
      TaxonomyError: a missing pair or one that does not fit, entries that are no counts, a level out of range.

    Example:
      >>> counts = {(0, 1): [[9, 1], [0, 10]], (1, 0): [[1, 0], [5, 5]]}
      >>> edge_intervals(counts).clear[:2, 2:].tolist()
      [[True, False], [False, True]]
      >>> edge_intervals(counts).clear[2:, :2].tolist()  # one row and five against five say nothing
      [[False, False], [False, False]]

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3.
    """
    check_level(level)
    sizes = pair_sizes(counts)
    found: dict[str, dict[tuple[int, int], np.ndarray]] = {name: {} for name in EdgeIntervals._fields}
    for (a, b), given in counts.items():
        rows = as_matrix(f"counts[{a}, {b}]", given)
        if rows.shape != (sizes[a], sizes[b]):
            raise TaxonomyError(f"counts[{a}, {b}] has shape {rows.shape}, should be ({sizes[a]}, {sizes[b]})")
        bad = (rows < 0) | (rows != np.floor(rows))
        if bad.any():
            i, j = (int(k) for k in np.argwhere(bad)[0])
            raise TaxonomyError(f"counts[{a}, {b}][{i}, {j}] is {rows[i, j]:.6g}; allowed: whole numbers from 0")
        for name, block in zip(EdgeIntervals._fields, _intervals(rows, level), strict=True):
            found[name][a, b] = block
    return EdgeIntervals(*(assemble(found[name], sizes) for name in EdgeIntervals._fields))


def _intervals(counts: np.ndarray, level: float) -> tuple[np.ndarray, ...]:
    """Share, low, high and base of one pair."""
    totals = counts.sum(1, keepdims=True)
    share = counts / np.maximum(totals, 1)
    present = (totals > 0).sum()
    base = np.broadcast_to(share.sum(0) / max(1, present), share.shape)
    smoothed = (counts + base) / (totals + 1)
    low, high = (
        np.where(totals > 0, stats.binom.ppf(tail, totals, smoothed), 0) / np.maximum(totals, 1)
        for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    return share, low, high, base


def clear_relations(relations: Relations, intervals: EdgeIntervals) -> Relations:
    """Drops the edges whose lower bound does not clear the column's base rate.

    Args:
      relations: what a rule has found.
      intervals: `edge_intervals` over the same classes.

    Returns:
      `Relations` with the other edges' weights as they were.

    Raises:
      TaxonomyError: intervals over other classes.

    Example:
      >>> found = Relations(("a", "b"), (("cat", "dog"), ("Cat", "Dog")), np.kron([[0, 1], [1, 0]], [[0.5, 0.5]] * 2))
      >>> intervals = edge_intervals({(0, 1): [[9, 1], [0, 10]], (1, 0): [[1, 0], [5, 5]]})
      >>> print(clear_relations(found, intervals))
      2 domains, 4 classes, 2 edges
      a:cat -> b:Cat 0.50
      a:dog -> b:Dog 0.50
    """
    if intervals.low.shape != relations.weights.shape:
        raise TaxonomyError(
            f"intervals are over {len(intervals.low)} classes, relations over {len(relations.weights)}: give counts of "
            "the same domains"
        )
    return Relations(relations.domains, relations.class_names, np.where(intervals.clear, relations.weights, 0))
