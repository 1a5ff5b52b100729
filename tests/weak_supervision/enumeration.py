"""The factor graph written out: every row of votes with both labels, in plain float64 loops."""

import itertools

import numpy as np


def factor(kind, j, k, y):
    """One factor, from the table of the specification, line by line."""
    if kind == "similar":
        return float(j == k)
    if kind == "fixing":
        return 1.0 if (j == -y and k == y) else -1.0 if (j == 0 and k != 0) else 0.0
    if kind == "reinforcing":
        return 1.0 if (j == y and k == y) else -1.0 if (j == 0 and k != 0) else 0.0
    if kind == "priority":
        return 1.0 if (j == -y and k == y) else -1.0 if (j == y and k == -y) else 0.0
    if kind == "bolstering":
        return 1.0 if (j == y and k == y) else -1.0 if ((j == -y and k == -y) or (j == -k and k != 0)) else 0.0
    assert kind == "negated"
    return 1.0 if (j == -y and k == y) else -1.0 if ((j == y and k == -y) or (j == k and k != 0)) else 0.0


def energy(graph, signed, y):
    """Log weight of votes and label, without the bias."""
    total = sum(t * v * y + q * (v != 0) for t, q, v in zip(graph.theta, graph.propensity, signed, strict=True))
    return total + sum(
        w * factor(d.kind, signed[d.j], signed[d.k], y) for d, w in zip(graph.dependencies, graph.weights, strict=True)
    )


def all_rows(graph):
    """Every possible row of signed votes."""
    polarity = np.zeros(len(graph.theta), int) if graph.polarity is None else graph.polarity
    values = {0: (-1, 0, 1), 1: (0, 1), -1: (-1, 0)}
    return list(itertools.product(*(values[int(p)] for p in polarity)))


def joint(graph):
    """Rows of signed votes, and `p(l, y)` as `(rows, 2)`; `p(y)` is the balance."""
    rows = all_rows(graph)
    table = np.array([[energy(graph, row, y) for y in (-1, 1)] for row in rows])
    table = np.exp(table - table.max())
    return np.array(rows), table / table.sum(axis=0) * np.array([1 - graph.balance, graph.balance])


def as_votes(signed):
    """-1 for abstain, else the class."""
    return np.where(np.asarray(signed) == 0, -1, (np.asarray(signed) + 1) // 2).astype(np.int8)
