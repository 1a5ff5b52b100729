"""Exact sums over all votes: rules are summed out one at a time, so that no table holds more than a few rules.

All of it is given the label: `side` 0 is `y = -1`, `side` 1 is `y = 1`. Where every rule can vote for both classes, the
two sums are equal, as flipping the sign of every vote and of `y` leaves each factor as it is.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.weak_supervision.dependencies import FACTORS, Dependency

__all__ = ["MAX_WIDTH", "NEVER", "Plan", "log_z", "plan_elimination", "sample_exactly", "unary_terms"]

NEVER = -1e9  # log weight of what cannot be; finite, as 0 times it must be 0
MAX_WIDTH = 8  # rules in one table: 3^8 = 6,561 entries


class Plan(NamedTuple):
    """In which order the rules that have dependencies are summed out."""

    order: tuple[int, ...]
    width: int  # rules in the largest table, at most the size of the largest component


@functools.lru_cache(maxsize=1024)
def plan_elimination(dependencies: tuple[Dependency, ...]) -> Plan:
    """Always the rule with the fewest neighbours next; the sum over it joins those neighbours."""
    neighbours: dict[int, set[int]] = {}
    for _, j, k in dependencies:
        neighbours.setdefault(j, set()).add(k)
        neighbours.setdefault(k, set()).add(j)
    order, width = [], 1
    while neighbours:
        rule = min(neighbours, key=lambda r: (len(neighbours[r]), r))
        around = neighbours.pop(rule)
        for other in around:
            neighbours[other] = (neighbours[other] | around) - {rule, other}
        order.append(rule)
        width = max(width, 1 + len(around))
    return Plan(tuple(order), width)


def unary_terms(theta: jax.Array, propensity: jax.Array, polarity: jax.Array, side: int) -> jax.Array:
    """Log weights `(M, 3)` of the votes -1, 0 and 1 of each rule; a vote against its polarity has none."""
    right = theta * (2 * side - 1)
    against = jnp.where(polarity > 0, NEVER, propensity - right)
    favour = jnp.where(polarity < 0, NEVER, propensity + right)
    return jnp.stack([against, jnp.zeros_like(theta), favour], axis=1)


def _stages(
    unary: jax.Array, weights: jax.Array, dependencies: Sequence[Dependency], side: int
) -> tuple[jax.Array, list[tuple[int, tuple[int, ...], jax.Array]]]:
    """`log Z_y`, and for each rule summed out: the rule, the rules of its table, the table before the sum."""
    order = plan_elimination(tuple(dependencies)).order
    free = np.setdiff1d(np.arange(len(unary)), order)
    total = jnp.sum(jax.scipy.special.logsumexp(unary[free], axis=1))
    tables: list[tuple[tuple[int, ...], jax.Array]] = [((rule,), unary[rule]) for rule in order]
    for f, (kind, j, k) in enumerate(dependencies):
        table = FACTORS[kind][..., side]
        tables.append(((min(j, k), max(j, k)), weights[f] * (table if j < k else table.T)))
    stages = []
    for rule in order:
        here = [entry for entry in tables if rule in entry[0]]
        tables = [entry for entry in tables if rule not in entry[0]]
        scope = tuple(sorted({r for rules, _ in here for r in rules}))
        joined = jnp.zeros((3,) * len(scope))
        for rules, values in here:
            joined = joined + jnp.expand_dims(values, [a for a, r in enumerate(scope) if r not in rules])
        summed = jax.scipy.special.logsumexp(joined, axis=scope.index(rule))
        stages.append((rule, scope, joined))
        if len(scope) == 1:
            total = total + summed
        else:
            tables.append((tuple(r for r in scope if r != rule), summed))
    return total, stages


def log_z(unary: jax.Array, weights: jax.Array, dependencies: Sequence[Dependency], side: int) -> jax.Array:
    """`log Z_y = log sum_l exp(...)` given the label, without its own term."""
    return _stages(unary, weights, dependencies, side)[0]


def sample_exactly(
    unary: jax.Array, weights: jax.Array, dependencies: Sequence[Dependency], side: int, uniforms: np.ndarray
) -> np.ndarray:
    """Signed votes `(n, M)` given the label, from uniforms `(n, M)`: the rules in the reverse order of the sums."""
    _, stages = _stages(unary, weights, dependencies, side)
    free = np.setdiff1d(np.arange(len(unary)), [rule for rule, _, _ in stages])
    places = np.empty(uniforms.shape, np.int8)
    for rule, scope, table in [*((int(rule), (int(rule),), unary[rule]) for rule in free), *reversed(stages)]:
        last = np.moveaxis(np.asarray(table), scope.index(rule), -1)
        logits = last[tuple(places[:, r] for r in scope if r != rule)]
        places[:, rule] = _draw(np.broadcast_to(logits, (len(uniforms), 3)), uniforms[:, rule])
    return places - np.int8(1)


def _draw(logits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Index drawn from each row of log weights `(n, 3)`."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = np.cumsum(weights, axis=1)
    return (uniforms[:, None] * sums[:, -1:] >= sums[:, :2]).sum(axis=1)
