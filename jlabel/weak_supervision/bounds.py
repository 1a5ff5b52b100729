"""How far a factor graph with dependencies can be from one without them, or with others."""

import numpy as np

from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.dependencies import SWING, SYMMETRIC, Dependency
from jlabel.weak_supervision.factor_graph import FactorGraph, bias_of, check_graph

__all__ = ["misspecification_bounds"]


def misspecification_bounds(full: FactorGraph, independent: FactorGraph) -> dict[str, float]:
    """Bounds on what modelling (or leaving out) dependencies does to the labels.

    With `A = |theta - mu|_1` and `B = sum_f c_f |w_f|`, `c_f = max |phi_f(y) - phi_f(-y)|` (fixing and reinforcing 1,
    priority, bolstering and negated 2, similar 0), the log odds of a row differ by at most `d = 2 A + B`. The printed
    bounds have `c = 1` everywhere, which is false where it is 2 and too much for similar. Where rules vote for one
    class only, the biases `b` differ too, and `d = 2 A + B + 2 |b - b'|`.

    Args:
        full: Graph with dependencies, `theta` and `w`.
        independent: Graph of the same rules and balance, usually without dependencies, `mu`; where it has some, `w_f`
            is the difference of the weights, a missing one counting 0.

    Returns:
        - `accuracy_shift` A, `dependency_mass` B, `bias_shift` `|b - b'|`, `log_odds` d;
        - `posterior_gap` `d / 4 = A / 2 + B / 4`, at least `|p(y | l) - p'(y | l)|` of every row, and
          `posterior_gap_sharp` `tanh(d / 4)`, at least that too and at most 1;
        - `row_kl` `min(d, d^2 / 8)`, at least the divergence of a row's two posteriors in either direction;
        - `risk_excess` `d = 2 A + B`, to be added to the error of empirical risk minimisation;
        - `posterior_gap_printed`, `row_kl_printed`, `risk_excess_printed`, as the paper has them.

    Raises:
        WeakSupervisionError: Graphs of other rules or another balance.

    Example:
        >>> theta, q = np.ones(2), np.zeros(2)
        >>> full = FactorGraph(theta, q, (Dependency("bolstering", 0, 1),), np.array([0.1]), 0.5)
        >>> bounds = misspecification_bounds(full, FactorGraph(theta, q))
        >>> round(bounds["posterior_gap"], 6), round(bounds["posterior_gap_printed"], 6)
        (0.05, 0.025)

    Source: equations 3, 4 and 10 of the dependency paper, corrected.
    """
    full, independent = check_graph(full), check_graph(independent)
    if len(full.theta) != len(independent.theta):
        raise WeakSupervisionError(f"full has {len(full.theta)} rules, independent {len(independent.theta)}")
    if full.balance != independent.balance:
        raise WeakSupervisionError(
            f"full has balance {full.balance}, independent {independent.balance}; fit both with one"
        )
    weights = _by_factor(full)
    for factor, weight in _by_factor(independent).items():
        weights[factor] = weights.get(factor, 0.0) - weight
    shift = float(np.abs(full.theta - independent.theta).sum())
    mass = float(sum(SWING[factor.kind] * abs(weight) for factor, weight in weights.items()))
    plain = float(sum(abs(weight) for weight in weights.values()))
    bias = abs(bias_of(full) - bias_of(independent))
    odds = 2 * shift + mass + 2 * bias
    return {
        "accuracy_shift": shift,
        "dependency_mass": mass,
        "bias_shift": bias,
        "log_odds": odds,
        "posterior_gap": odds / 4,
        "posterior_gap_sharp": float(np.tanh(odds / 4)),
        "row_kl": min(odds, odds**2 / 8),
        "risk_excess": odds,
        "posterior_gap_printed": shift / 2 + plain / 4,
        "row_kl_printed": 2 * shift + plain,
        "risk_excess_printed": 2 * shift + plain,
    }


def _by_factor(graph: FactorGraph) -> dict[Dependency, float]:
    """Weight of each factor; symmetric ones under one name."""
    return {
        Dependency(kind, min(j, k), max(j, k)) if kind in SYMMETRIC else Dependency(kind, j, k): float(weight)
        for (kind, j, k), weight in zip(graph.dependencies, graph.weights, strict=True)
    }
