"""Bounds on misspecified dependencies: known numbers, and that nothing exceeds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.weak_supervision import (
    Dependency,
    FactorGraph,
    WeakSupervisionError,
    factor_graph_probs,
    misspecification_bounds,
)
from jlabel.weak_supervision.dependencies import KINDS

D = Dependency


def divergence(p, q):
    return float(np.sum(p * np.log(p / q)))


def test_weak_bolstering_exceeds_the_printed_bound():  # check 9
    theta, nothing = np.zeros(2), np.zeros(2)
    full = FactorGraph(theta, nothing, (D("bolstering", 0, 1),), np.array([0.1]))
    independent = FactorGraph(theta, nothing)
    gap = (factor_graph_probs(full, [[1, 1]]) - factor_graph_probs(independent, [[1, 1]]))[0, 1]
    bounds = misspecification_bounds(full, independent)
    np.testing.assert_allclose(gap, 0.0498, atol=5e-5)
    np.testing.assert_allclose([bounds["posterior_gap_printed"], bounds["posterior_gap"]], [0.025, 0.05])


def test_strong_bolstering_exceeds_the_printed_divergence():  # check 9
    # Rule 2 abstains or votes; with both others for class 1 the base logit is -5.
    theta, nothing = np.array([0.0, 0.0, 2.5]), np.zeros(3)
    full = FactorGraph(theta, nothing, (D("bolstering", 0, 1),), np.array([3.0]))
    independent = FactorGraph(theta, nothing)
    p, q = (factor_graph_probs(graph, [[1, 1, 0]])[0] for graph in (full, independent))
    bounds = misspecification_bounds(full, independent)
    np.testing.assert_allclose(divergence(p, q), 3.0798, atol=5e-5)
    np.testing.assert_allclose([bounds["row_kl_printed"], bounds["row_kl"]], [3, 4.5])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.5, 3.0]), st.booleans())
def test_no_row_exceeds_the_bounds(seed, scale, one_sided):
    draw = np.random.default_rng(seed)
    dependencies = tuple(D(kind, *draw.permutation(4)[:2].tolist()) for kind in KINDS)
    polarity = draw.integers(-1, 2, 4) if one_sided else np.zeros(4, int)
    propensity = draw.normal(0, 1, 4)
    full = FactorGraph(draw.normal(0, 1, 4), propensity, dependencies, draw.normal(0, scale, 6), 0.4, polarity)
    # Another graph with two of the same dependencies.
    other = FactorGraph(
        full.theta + draw.normal(0, scale, 4), propensity, dependencies[:2], draw.normal(0, scale, 2), 0.4, polarity
    )
    rows = np.stack(np.meshgrid(*[(-1, 0, 1)] * 4), axis=-1).reshape(-1, 4)
    signs = np.where(rows < 0, 0, 2 * rows - 1)
    rows = rows[(signs * polarity >= 0).all(axis=1)]
    p, q = factor_graph_probs(full, rows), factor_graph_probs(other, rows)
    bounds = misspecification_bounds(full, other)
    gap = np.abs(p - q).max()
    assert gap <= bounds["posterior_gap_sharp"] + 1e-12
    assert bounds["posterior_gap_sharp"] <= min(bounds["posterior_gap"], 1)
    odds = np.log(p[:, 1] / p[:, 0]) - np.log(q[:, 1] / q[:, 0])
    assert np.abs(odds).max() <= bounds["log_odds"] * (1 + 1e-9) + 1e-9
    for one, two in ((p, q), (q, p)):
        assert np.sum(one * (np.log(one) - np.log(two)), axis=1).max() <= bounds["row_kl"] * (1 + 1e-9) + 1e-12
    assert misspecification_bounds(other, full)["log_odds"] == pytest.approx(bounds["log_odds"])


def test_the_sharp_bound_is_reached():
    # Log odds -d/2 and d/2 of the same row.
    full = FactorGraph(np.array([-0.4, 0.0]), np.zeros(2), (D("negated", 0, 1),), np.array([0.8]))
    other = FactorGraph(np.array([-0.4, 0.0]), np.zeros(2))
    gap = (factor_graph_probs(full, [[0, 1]]) - factor_graph_probs(other, [[0, 1]]))[0, 1]
    shifted = FactorGraph(np.array([0.4, 0.0]), np.zeros(2), full.dependencies, np.array([0.8]))
    base = FactorGraph(np.array([0.4, 0.0]), np.zeros(2))
    reached = (factor_graph_probs(shifted, [[0, 1]]) - factor_graph_probs(base, [[0, 1]]))[0, 1]
    assert gap < reached
    np.testing.assert_allclose(reached, misspecification_bounds(shifted, base)["posterior_gap_sharp"], rtol=1e-12)


def test_the_same_graph_has_no_gap_and_similar_moves_no_label():
    graph = FactorGraph(np.ones(2), np.zeros(2), (D("similar", 0, 1),), np.array([2.0]))
    assert set(misspecification_bounds(graph, graph).values()) == {0.0}
    bounds = misspecification_bounds(graph, FactorGraph(np.ones(2), np.zeros(2)))
    assert bounds["posterior_gap"] == 0
    assert bounds["posterior_gap_printed"] == 0.5


def test_risk_excess_is_twice_the_shift_and_the_mass():
    full = FactorGraph(
        np.array([1.0, 0.5]), np.zeros(2), (D("priority", 0, 1), D("fixing", 1, 0)), np.array([0.3, -0.2])
    )
    bounds = misspecification_bounds(full, FactorGraph(np.array([0.8, 0.6]), np.zeros(2)))
    np.testing.assert_allclose(bounds["accuracy_shift"], 0.3)
    np.testing.assert_allclose(bounds["dependency_mass"], 0.8)  # 2 * .3 + .2
    np.testing.assert_allclose(bounds["risk_excess"], 1.4)
    np.testing.assert_allclose(bounds["risk_excess_printed"], 1.1)


def test_graphs_that_cannot_be_compared():
    two, three = FactorGraph(np.ones(2), np.zeros(2)), FactorGraph(np.ones(3), np.zeros(3))
    with pytest.raises(WeakSupervisionError, match="full has 2 rules, independent 3"):
        misspecification_bounds(two, three)
    with pytest.raises(WeakSupervisionError, match="full has balance 0.5, independent 0.4; fit both with one"):
        misspecification_bounds(two, FactorGraph(np.ones(2), np.zeros(2), balance=0.4))
