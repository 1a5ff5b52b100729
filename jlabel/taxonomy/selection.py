"""Which entries of a row of cross-predictions are relations: four rules.

All four keep the largest entries of a row and differ in how many. They run in float64 on the host: one sort of
integer keys serves every rule, and takes a tenth of the time of XLA's sort on a CPU.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import check_choice, check_count, check_probs, check_share

Method = Literal["threshold", "top", "density", "hypothesis"]
METHODS: tuple[Method, ...] = get_args(Method)
TOLERANCE = 1e-6  # shares come in float32: .7 is stored as .69999999, and .45 + .35 is less than .8


class Ordered(NamedTuple):
    """The entries above 0 in descending order; of equal ones, the first comes first.

    Rows with fewer of them than the fullest, which has K, end in entries of 0.
    """

    probs: np.ndarray  # float64 (C_a, C_b), the rows as they are
    order: np.ndarray  # (C_a, K) columns, the largest entry's first
    values: np.ndarray  # float64 (C_a, K), the entries in that order


def select_relations(
    probs: ArrayLike,
    *,
    method: Method = "hypothesis",
    threshold: float = 0.2,
    density: float = 0.6,
    max_relations: int = 5,
    allow_none: bool = True,
) -> np.ndarray:
    """Chooses the relations of each class by one of the four rules.

    Args:
      probs: ``(C_a, C_b)`` cross-predictions; rows sum to 1, or to 0 for a class without rows.
      method: "threshold", "top", "density" or "hypothesis": see the functions of these names.
      threshold: t of `threshold_relations`. density: p of `density_relations`.
      max_relations, allow_none: of `hypothesis_relations`.

    Returns:
      bool ``(C_a, C_b)``: the edges; none from a zero row.

    Raises:
      TaxonomyError: an unknown method, NaN or negative probabilities, row sums other than 1 or 0, an option out of
        range, whether the rule uses it or not.

    Example:
      >>> probs = [[0.45, 0.35, 0.1, 0.05, 0.05]]
      >>> [int(select_relations(probs, method=method).sum()) for method in METHODS]
      [2, 1, 2, 2]
    """
    check_rule(method, threshold=threshold, density=density, max_relations=max_relations)
    if method == "threshold":
        return threshold_relations(probs, threshold=threshold)
    if method == "top":
        return top_relations(probs)
    if method == "density":
        return density_relations(probs, density=density)
    return hypothesis_relations(probs, max_relations=max_relations, allow_none=allow_none)


def check_rule(method: str, *, threshold: float, density: float, max_relations: int) -> None:
    """Raises unless the rule is known and all options are in range."""
    check_choice("method", method, METHODS)
    check_share("threshold", threshold)
    check_share("density", density)
    check_count("max_relations", max_relations, low=1)


def threshold_relations(probs: ArrayLike, *, threshold: float = 0.2) -> np.ndarray:
    """Entries with ``P >= t``, within 1e-6.

    Args:
      probs: ``(C_a, C_b)`` cross-predictions.
      threshold: t in (0, 1].

    Returns:
      bool ``(C_a, C_b)``.

    Raises:
      TaxonomyError: bad probabilities, t out of range.

    Example:
      >>> threshold_relations([[0.7, 0.2, 0.1]]).tolist()
      [[True, True, False]]

    Source: slides, Eq. 2.
    """
    limit = check_share("threshold", threshold)
    checked = check_probs("probs", probs, zero_rows=True)
    return (checked >= limit - TOLERANCE) & (checked > 0)


def top_relations(probs: ArrayLike) -> np.ndarray:
    """The largest entry of each row, the first of equal ones; none of a zero row.

    Args:
      probs: ``(C_a, C_b)`` cross-predictions.

    Returns:
      bool ``(C_a, C_b)``.

    Raises:
      TaxonomyError: bad probabilities.

    Example:
      >>> top_relations([[0.5, 0.5], [0.0, 0.0]]).tolist()
      [[True, False], [False, False]]

    Source: slides, Eq. 3, "most common foreign prediction".
    """
    rows = descending(check_probs("probs", probs, zero_rows=True))
    return leading(rows, np.ones(len(rows.order), np.int64))


def density_relations(probs: ArrayLike, *, density: float = 0.6) -> np.ndarray:
    """The fewest leading entries of each row, largest first, that hold the mass p: ``sum >= p - 1e-6``.

    Args:
      probs: ``(C_a, C_b)`` cross-predictions.
      density: p in (0, 1].

    Returns:
      bool ``(C_a, C_b)``; of equal entries the first ones.

    Raises:
      TaxonomyError: bad probabilities, p out of range.

    Example:
      >>> density_relations([[0.1, 0.45, 0.35, 0.1]], density=0.8).tolist()
      [[False, True, True, False]]

    Source: slides, "density thresholding".
    """
    mass = check_share("density", density)
    rows = descending(check_probs("probs", probs, zero_rows=True))
    return leading(rows, (mass_before(rows) < mass - TOLERANCE).sum(1))


def hypothesis_relations(probs: ArrayLike, *, max_relations: int = 5, allow_none: bool = True) -> np.ndarray:
    """The k largest entries of each row, for the k whose uniform distribution is nearest to the row.

    With X the row in descending order, k in 1..max_relations minimises ``sum_{j<=k} |X(j) - 1/k| + sum_{j>k} X(j)``;
    k = 0, no relation, deviates by ``sum_j |X(j) - 1/C_b|``. Of deviations within 1e-6 the smaller k wins.

    Args:
      probs: ``(C_a, C_b)`` cross-predictions.
      max_relations: the largest k tried, 1 or more.
      allow_none: try k = 0 too; then a uniform row has no relation.

    Returns:
      bool ``(C_a, C_b)``; of equal entries the first ones.

    Raises:
      TaxonomyError: bad probabilities, ``max_relations`` below 1.

    Example:
      >>> hypothesis_relations([[0.45, 0.35, 0.1, 0.05, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]]).sum(1).tolist()
      [2, 0]

    Source: slides, Eq. 4; k = 0 is of the published code.
    """
    most = check_count("max_relations", max_relations, low=1)
    rows = descending(check_probs("probs", probs, zero_rows=True))
    return leading(rows, hypothesis_counts(rows, most, allow_none))


def descending(probs: np.ndarray) -> Ordered:
    """Sorts checked rows.

    The keys are the bits of the numbers, which are not negative, with the column in the lowest bits: integers sort
    faster than indices, and entries that agree to some 1e-11 go by column.
    """
    width = probs.shape[1]
    low = (1 << (width - 1).bit_length()) - 1
    keys = (probs + 0.0).view(np.int64)  # -0 becomes 0
    keys &= ~low
    keys |= low - np.arange(width)
    keys.sort(axis=1)
    most = np.count_nonzero(probs, 1).max(initial=0)
    order = low - (keys[:, : -most - 1 : -1] & low)
    return Ordered(probs, order, np.take_along_axis(probs, order, 1))


def leading(rows: Ordered, counts: np.ndarray) -> np.ndarray:
    """The first so many entries of each row, but none that is 0: bool ``(C_a, C_b)``."""
    chosen = np.zeros(rows.probs.shape, bool)
    width = counts.max(initial=0)
    keep = (np.arange(rows.order.shape[1])[:width] < counts[:, None]) & (rows.values[:, :width] > 0)
    np.put_along_axis(chosen, rows.order[:, :width], keep, 1)
    return chosen


def mass_before(rows: Ordered) -> np.ndarray:
    """The mass of the larger entries, in descending order: float64 ``(C_a, K)``."""
    return np.cumsum(rows.values, 1) - rows.values


def hypothesis_counts(rows: Ordered, most: int, allow_none: bool) -> np.ndarray:
    """The best k of each row, int64 ``(C_a,)``; by the triangle inequality no k beyond the entries above 0 can win."""
    leaders = rows.values[:, :most]
    beyond = rows.values.sum(1, keepdims=True) - np.cumsum(leaders, 1)
    found = [np.abs(rows.probs - 1 / rows.probs.shape[1]).sum(1)] if allow_none else []
    for k in range(1, leaders.shape[1] + 1):
        found.append(np.abs(leaders[:, :k] - 1 / k).sum(1) + beyond[:, k - 1])
    if not found:
        return np.zeros(len(rows.probs), np.int64)
    deviations = np.stack(found, 1)
    near = deviations <= deviations.min(1, keepdims=True) + TOLERANCE
    return near.argmax(1) + (0 if allow_none else 1)
