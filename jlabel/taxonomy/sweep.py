"""All four rules at many values of their parameters in one call."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import TaxonomyError, check_choice, check_count, check_pairs, check_share
from jlabel.taxonomy.cross import assemble, pair_sizes
from jlabel.taxonomy.relations import Relations, RelationScores, relation_scores
from jlabel.taxonomy.selection import METHODS, TOLERANCE, Method, descending, hypothesis_counts, leading, mass_before

SWEEP = tuple(k / 50 for k in range(1, 51))  # .02, .04, ..., 1


class RelationSweep(NamedTuple):
    """Relations between all V classes by each rule at each of its values.

    Raising t drops entries, raising p adds some, so that two numbers an entry say all.

    Attributes:
      probs: float64 ``(V, V)`` cross-predictions, 0 within a domain.
      thresholds, densities: the T values of t and the S values of p, both rising.
      threshold_end: whole numbers ``(V, V)``: t = thresholds[k] keeps the entry for k < this.
      density_start: whole numbers ``(V, V)``: p = densities[k] keeps the entry for k >= this.
      top, hypothesis: bool ``(V, V)``.
    """

    probs: np.ndarray
    thresholds: np.ndarray
    densities: np.ndarray
    threshold_end: np.ndarray
    density_start: np.ndarray
    top: np.ndarray
    hypothesis: np.ndarray

    def edges(self, method: Method) -> Iterator[np.ndarray]:
        """The edges at each value of a rule in turn, bool ``(V, V)``; once of a rule without values."""
        check_choice("method", method, METHODS)
        if method == "threshold":
            return (self.threshold_end > k for k in range(len(self.thresholds)))
        if method == "density":
            return (self.density_start <= k for k in range(len(self.densities)))
        return iter([self.top if method == "top" else self.hypothesis])


def sweep_relations(
    cross: Mapping[tuple[int, int], ArrayLike],
    *,
    thresholds: Sequence[float] = SWEEP,
    densities: Sequence[float] = SWEEP,
    max_relations: int = 5,
    allow_none: bool = True,
) -> RelationSweep:
    """Chooses relations in every ordered pair of domains by all four rules, with one sort of each row.

    Args:
      cross: (a, b) -> ``(C_a, C_b)``, `cross_predictions` of domain b's model on the rows of domain a, for all a != b.
      thresholds: rising values of t in (0, 1]. densities: rising values of p in (0, 1].
      max_relations, allow_none: of `hypothesis_relations`.

    Returns:
      `RelationSweep`; its edges are those of `select_relations` at each value.

    Raises:
      TaxonomyError: a missing pair or one that does not fit, bad probabilities, a value out of range or not above the
        one before.

    Example:
      >>> cross = {(0, 1): [[0.9, 0.1], [0.5, 0.5]], (1, 0): [[1.0, 0.0], [0.4, 0.6]]}
      >>> found = sweep_relations(cross, thresholds=[0.2, 0.6], densities=[0.5])
      >>> [int(edges.sum()) for edges in found.edges("threshold")]
      [6, 3]
    """
    limits, masses = _check_values("thresholds", thresholds), _check_values("densities", densities)
    most = check_count("max_relations", max_relations, low=1)
    sizes = pair_sizes(cross)
    checked = check_pairs(cross, sizes, [f"domain {a}" for a in range(len(sizes))])
    ends, starts, top, hypothesis = {}, {}, {}, {}
    for pair, probs in checked.items():
        rows = descending(probs)
        ends[pair] = np.zeros(probs.shape, np.min_scalar_type(len(limits)))
        starts[pair] = np.full(probs.shape, len(masses), np.min_scalar_type(len(masses)))
        end = np.searchsorted(limits - TOLERANCE, rows.values, side="right")
        start = np.searchsorted(masses - TOLERANCE, mass_before(rows), side="right")
        np.put_along_axis(ends[pair], rows.order, np.where(rows.values > 0, end, 0), 1)
        np.put_along_axis(starts[pair], rows.order, np.where(rows.values > 0, start, len(masses)), 1)
        top[pair] = leading(rows, np.ones(len(probs), np.int64))
        hypothesis[pair] = leading(rows, hypothesis_counts(rows, most, allow_none))
    return RelationSweep(
        probs=assemble(checked, sizes),
        thresholds=limits,
        densities=masses,
        threshold_end=assemble(ends, sizes),
        density_start=assemble(starts, sizes, len(masses)),
        top=assemble(top, sizes),
        hypothesis=assemble(hypothesis, sizes),
    )


def _check_values(name: str, values: Sequence[float]) -> np.ndarray:
    checked = np.array([check_share(f"{name}[{k}]", value) for k, value in enumerate(values)])
    falls = np.flatnonzero(np.diff(checked) <= 0)
    if len(falls) or not len(checked):
        shown = f"{name}[{falls[0] + 1}] is {values[falls[0] + 1]!r}" if len(falls) else f"{name} is empty"
        raise TaxonomyError(f"{shown}; give one value or more, each above the one before")
    return checked


def sweep_scores(sweep: RelationSweep, truth: Relations | ArrayLike) -> dict[Method, list[RelationScores]]:
    """Scores of each choice of a sweep against known relations, for precision-recall curves.

    Args:
      sweep: from `sweep_relations`.
      truth: `Relations` or weights ``(V, V)``.

    Returns:
      rule -> its `RelationScores`: T of "threshold", S of "density", one of "top" and of "hypothesis".

    Raises:
      TaxonomyError: a truth over other classes.

    Example:
      >>> cross = {(0, 1): [[0.9, 0.1], [0.5, 0.5]], (1, 0): [[1.0, 0.0], [0.4, 0.6]]}
      >>> found = sweep_scores(sweep_relations(cross, thresholds=[0.2, 0.6]), np.eye(4)[[2, 3, 0, 1]])
      >>> [(round(score.precision, 3), score.recall) for score in found["threshold"]]
      [(0.667, 1.0), (1.0, 0.75)]
    """
    known = truth.weights if isinstance(truth, Relations) else truth
    if np.shape(known) != sweep.probs.shape:
        raise TaxonomyError(f"truth has shape {np.shape(known)}; the sweep's classes: {sweep.probs.shape}")
    return {
        method: [relation_scores(np.where(edges, sweep.probs, 0), known) for edges in sweep.edges(method)]
        for method in METHODS
    }
