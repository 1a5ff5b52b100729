"""Directed relations between the classes of several domains, and their scores against known ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import (
    TaxonomyError,
    as_matrix,
    check_domains,
    check_pairs,
    check_several_classes,
    check_weights,
)
from jlabel.taxonomy.cross import assemble
from jlabel.taxonomy.selection import Method, check_rule, select_relations


@dataclass(frozen=True, eq=False)
class Relations:
    """Weighted edges from classes that rows have to classes that another domain's model gives them.

    All classes stand in one order: domain 0's, then domain 1's, and so on; V of them.

    Attributes:
      domains: names of the D domains. class_names: names of each domain's classes.
      weights: float64 ``(V, V)``, 0 to 1; row: the class that rows have, column: the class that is predicted;
        0 is no edge, and there is none between classes of a domain. Read-only.

    Example:
      >>> found = Relations(("a", "b"), (("cat", "dog"), ("pet",)), [[0, 0, 0.9], [0, 0, 0], [0, 0, 0]])
      >>> print(found)
      2 domains, 3 classes, 1 edge
      a:cat -> b:pet 0.90
    """

    domains: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    weights: np.ndarray

    def __post_init__(self) -> None:
        domains, class_names = check_domains(self.domains, self.class_names)
        object.__setattr__(self, "domains", domains)
        object.__setattr__(self, "class_names", class_names)
        weights = check_weights("weights", self.weights, self.starts)
        weights.flags.writeable = False
        object.__setattr__(self, "weights", weights)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The place of each domain's first class, and V: D + 1 numbers."""
        return (0, *np.cumsum([len(names) for names in self.class_names]).tolist())

    @property
    def edges(self) -> np.ndarray:
        """bool ``(V, V)``."""
        return self.weights > 0

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """``"domain:class"`` of all V classes."""
        return tuple(
            f"{domain}:{name}" for domain, names in zip(self.domains, self.class_names, strict=True) for name in names
        )

    def block(self, a: int, b: int) -> np.ndarray:
        """Weights ``(C_a, C_b)`` of the edges from domain a to domain b."""
        return self.weights[self.starts[a] : self.starts[a + 1], self.starts[b] : self.starts[b + 1]]

    def __str__(self) -> str:
        rows, columns = np.nonzero(self.weights)
        order = np.argsort(-self.weights[rows, columns], kind="stable")
        lines = [f"{len(self.domains)} domains, {self.starts[-1]} classes, {len(rows)} edge{'s' * (len(rows) != 1)}"]
        for k in order[:20]:
            i, j = rows[k], columns[k]
            lines.append(f"{self.labels[i]} -> {self.labels[j]} {self.weights[i, j]:.2f}")
        return "\n".join(lines + ["..."] * (len(order) > 20))


class RelationScores(NamedTuple):
    """How near found relations are to the true ones; EDR 0 is best, the others 1."""

    edr: float
    precision: float
    recall: float
    f1: float


def find_relations(
    cross: Mapping[tuple[int, int], ArrayLike],
    *,
    domains: Sequence[str],
    class_names: Sequence[Sequence[str]],
    method: Method = "hypothesis",
    threshold: float = 0.2,
    density: float = 0.6,
    max_relations: int = 5,
    allow_none: bool = True,
) -> Relations:
    """Chooses relations in every ordered pair of domains; kept edges carry their cross-prediction as weight.

    Args:
      cross: (a, b) -> ``(C_a, C_b)``, `cross_predictions` of domain b's model on the rows of domain a, for all a != b.
      domains: names of the domains. class_names: names of each domain's classes, two or more.
      method, threshold, density, max_relations, allow_none: as in `select_relations`.

    Returns:
      `Relations`.

    Raises:
      TaxonomyError: fewer than two domains, a domain with one class, names twice, a missing pair or one that does not
        fit, bad probabilities, an option out of range.

    Example:
      >>> cross = {(0, 1): [[0.9, 0.1], [0.5, 0.5]], (1, 0): [[1.0, 0.0], [0.0, 1.0]]}
      >>> print(find_relations(cross, domains=["a", "b"], class_names=[["cat", "dog"], ["Cat", "car"]]))
      2 domains, 4 classes, 3 edges
      b:Cat -> a:cat 1.00
      b:car -> a:dog 1.00
      a:cat -> b:Cat 0.90
    """
    names, classes = check_domains(domains, class_names)
    for domain, of_domain in zip(names, classes, strict=True):
        check_several_classes(domain, len(of_domain))
    check_rule(method, threshold=threshold, density=density, max_relations=max_relations)
    probs = check_pairs(cross, [len(of_domain) for of_domain in classes], names)
    weights = {
        pair: np.where(
            select_relations(
                values, method=method, threshold=threshold, density=density, max_relations=max_relations,
                allow_none=allow_none,
            ),
            np.minimum(values, 1), 0,
        )
        for pair, values in probs.items()
    }  # fmt: skip
    return Relations(names, classes, assemble(weights, [len(of_domain) for of_domain in classes]))


def relation_scores(found: Relations | ArrayLike, truth: Relations | ArrayLike) -> RelationScores:
    """Scores found relations against true ones.

    A (found) and B (true) get a self-loop of 1 at each class without edges in or out. ``EDR = sum |A - B| /
    sum max(A, B)``; precision, recall and F1 compare ``A > 0`` with ``B > 0`` and ignore weights.

    Args:
      found: `Relations`, or weights ``(V, V)`` that are not negative.
      truth: the same, e.g. from `overlap_relations`.

    Returns:
      `RelationScores`; without any class, EDR 0 and the others 1.

    Raises:
      TaxonomyError: weights that are not square, negative or not finite, or of different sizes.

    Example:
      >>> relation_scores([[0, 0.8], [0.8, 0]], [[0, 0.6], [0, 0]])
      RelationScores(edr=0.625, precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    a, b = _with_loops("found", found), _with_loops("truth", truth)
    if a.shape != b.shape:
        raise TaxonomyError(f"found has {len(a)} classes, truth {len(b)}: give both over the same classes")
    if not len(a):
        return RelationScores(0.0, 1.0, 1.0, 1.0)
    right = int(((a > 0) & (b > 0)).sum())
    precision, recall = right / int((a > 0).sum()), right / int((b > 0).sum())
    f1 = 2 * right / int((a > 0).sum() + (b > 0).sum())
    edr = float(np.abs(a - b).sum() / np.maximum(a, b).sum())
    return RelationScores(edr, precision, recall, f1)


def _with_loops(name: str, given: Relations | ArrayLike) -> np.ndarray:
    if isinstance(given, Relations):
        weights = given.weights
    else:
        weights = as_matrix(name, given)
        if weights.shape[0] != weights.shape[1]:
            raise TaxonomyError(f"{name} must be square, got shape {weights.shape}")
        if (weights < 0).any():
            i, j = (int(k) for k in np.argwhere(weights < 0)[0])
            raise TaxonomyError(f"{name}[{i}, {j}] is {weights[i, j]:.6g}; allowed: weights from 0")
    edges = weights > 0
    return weights + np.diag(np.where(edges.any(0) | edges.any(1), 0.0, 1.0))
