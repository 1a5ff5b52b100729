"""The factor graph against sums written out, and what fitting recovers."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.weak_supervision import (
    Dependency,
    FactorGraph,
    WeakSupervisionError,
    compress,
    factor_graph_probs,
    fit_factor_graph,
    graph_fit,
    log_partition,
    sample_votes,
    vote_log_likelihood,
)
from jlabel.weak_supervision.dependencies import FACTORS, KINDS, SWING
from jlabel.weak_supervision.elimination import plan_elimination
from tests.weak_supervision.enumeration import as_votes, energy, factor, joint

D = Dependency
# A star, a chain and a cycle among seven rules, two of them alone.
MIXED = (
    D("fixing", 0, 1), D("priority", 2, 0), D("bolstering", 3, 0), D("negated", 3, 4), D("reinforcing", 4, 2),
    D("similar", 1, 3),
)  # fmt: skip


def mixed(seed=0, polarity=None, balance=0.3):
    draw = np.random.default_rng(seed)
    return FactorGraph(
        draw.normal(0.4, 0.5, 7), draw.normal(0, 0.7, 7), MIXED, draw.normal(0, 0.8, len(MIXED)), balance,
        None if polarity is None else np.array(polarity),
    )  # fmt: skip


def test_factors_are_those_of_the_table():
    for kind in KINDS:
        for (j, k, y), value in np.ndenumerate(FACTORS[kind]):
            assert value == factor(kind, j - 1, k - 1, 2 * y - 1)
            assert value == factor(kind, 1 - j, 1 - k, 1 - 2 * y)  # flipping every sign changes nothing
    assert SWING == {"fixing": 1, "reinforcing": 1, "priority": 2, "bolstering": 2, "negated": 2, "similar": 0}


@pytest.mark.parametrize(
    ("kind", "row", "value"),
    [
        ("fixing", [0, 1], 0.7311),
        ("reinforcing", [1, 1], 0.7311),
        ("priority", [0, 1], 0.8808),
        ("bolstering", [1, 1], 0.8808),
        ("negated", [0, 1], 0.8808),
    ],
)
def test_one_factor_of_weight_1(kind, row, value):  # check 7
    graph = FactorGraph(np.zeros(2), np.zeros(2), (D(kind, 0, 1),), np.ones(1))
    np.testing.assert_allclose(factor_graph_probs(graph, [row])[0, 1], value, atol=5e-5)


def test_both_abstaining_is_no_evidence_under_bolstering():
    graph = FactorGraph(np.ones(2), np.zeros(2), (D("bolstering", 0, 1),), np.full(1, 3.0))
    assert factor_graph_probs(graph, [[-1, -1]]).tolist() == [[0.5, 0.5]]


def test_normaliser_of_two_rules():  # check 8
    theta, nothing = np.array([1.0, 0.5]), np.zeros(2)
    np.testing.assert_allclose(np.exp(log_partition(FactorGraph(theta, nothing))), 26.6030, atol=5e-5)
    fixing = FactorGraph(theta, nothing, (D("fixing", 0, 1),), np.ones(1))
    np.testing.assert_allclose(np.exp(log_partition(fixing)), 25.8362, atol=5e-5)
    # Without the -1 where rule 1 votes and rule 0 does not: each of these four weights grows e-fold.
    lost = sum(np.exp(0.5 * k * y - 1) for k in (-1, 1) for y in (-1, 1))
    np.testing.assert_allclose(np.exp(log_partition(fixing)) + lost * (np.e - 1), 28.6873, atol=5e-5)


def test_accuracies_of_full_coverage():  # check 10
    votes = np.array([[1, 1, 1]] * 504 + [[0, 1, 1]] * 56 + [[1, 0, 1]] * 126 + [[0, 0, 1]] * 14, np.int8)
    votes = np.concatenate([votes, [[1, 1, 0]] * 216, [[0, 1, 0]] * 24, [[1, 0, 0]] * 54, [[0, 0, 0]] * 6])
    votes = np.concatenate([votes, 1 - votes])  # the same with y = 0; accuracies .9, .8, .7, independent
    labels = np.repeat([1, 0], len(votes) // 2)
    graph = fit_factor_graph(
        votes, l2=1e-7, expert_rows=np.arange(len(votes)), expert_labels=labels, key=jax.random.key(0)
    )
    np.testing.assert_allclose(graph.theta, [1.0986, 0.6931, 0.4236], atol=5e-4)


def test_propensity_of_partial_coverage():  # check 10
    rows = [[1, 1]] * 32 + [[0, 1]] * 8 + [[-1, 1]] * 60
    votes = np.concatenate([rows, np.where(np.array(rows) < 0, -1, 1 - np.array(rows))])
    graph = fit_factor_graph(
        votes, l2=1e-7, expert_rows=np.arange(200), expert_labels=np.repeat([1, 0], 100), key=jax.random.key(0)
    )
    np.testing.assert_allclose((graph.theta[0], graph.propensity[0]), (0.6931, -1.3218), atol=5e-4)


@pytest.mark.parametrize("polarity", [None, [1, -1, 0, 1, -1, 0, 1]])
def test_normaliser_posterior_and_balance_are_those_of_all_rows(polarity):
    graph = mixed(polarity=polarity)
    rows, table = joint(graph)
    bias = 0.5 * np.log(0.3 / 0.7)
    if polarity is None:
        by_hand = np.logaddexp.reduce([energy(graph, row, y) + bias * y for row in rows for y in (-1, 1)])
        np.testing.assert_allclose(log_partition(graph), by_hand, rtol=1e-12)
    np.testing.assert_allclose(np.exp(vote_log_likelihood(graph, as_votes(rows))), table.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(
        factor_graph_probs(graph, as_votes(rows)), table / table.sum(axis=1, keepdims=True), atol=1e-12
    )
    np.testing.assert_allclose(table[:, 1].sum(), 0.3, rtol=1e-12)  # of the distribution that the posterior is of


@pytest.mark.slow
@pytest.mark.parametrize("polarity", [None, [1, -1, 0, 1, -1, 0, 1]])
def test_gradient_is_that_of_all_rows(polarity):
    truth = mixed(1, polarity)
    votes, labels = sample_votes(truth, 300, key=jax.random.key(0))
    known = np.arange(0, 300, 7)
    buckets = compress(votes)
    signs = graph_fit._known_labels(buckets, known, labels[known])
    sides = np.zeros(7, np.int8) if polarity is None else np.array(polarity, np.int8)
    data, _ = graph_fit._prepare(buckets, MIXED, signs, 0.5 * np.log(0.3 / 0.7), sides)
    data = data._replace(active=np.ones_like(data.active))
    at = np.concatenate([truth.theta, truth.propensity, truth.weights]) * 0.7

    def loss(params):
        graph = FactorGraph(params[:7], params[7:14], MIXED, params[14:], 0.3, sides)
        rows, table = joint(graph)
        place = {tuple(row): i for i, row in enumerate(as_votes(rows).tolist())}
        found = np.log(table)
        asked = set(known.tolist())
        terms = [
            found[place[tuple(row)], label] if i in asked else np.logaddexp(*found[place[tuple(row)]])
            for i, (row, label) in enumerate(zip(votes.tolist(), labels, strict=True))
        ]
        return -np.mean(terms) + 0.01 / 2 * np.sum((params - data.centre) ** 2)

    options = {"dependencies": MIXED, "two_sided": polarity is None}
    with jax.enable_x64(True):
        (value, _), gradient = graph_fit._exact_loss(at, data, 0.01, **options)
        (shifted, _), _ = graph_fit._exact_loss(at * 1.1, data, 0.01, **options)
    # Up to a constant of the balance.
    np.testing.assert_allclose(float(shifted) - float(value), loss(at * 1.1) - loss(at), rtol=1e-9)
    for place in (0, 4, 9, 13, *range(14, 20)):
        step = np.zeros(20)
        step[place] = 1e-5
        np.testing.assert_allclose(gradient[place], (loss(at + step) - loss(at - step)) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("polarity", [None, [1, -1, 0, 1, -1, 0, 1]])
def test_draws_follow_the_distribution(polarity):
    graph = mixed(2, polarity)
    votes, labels = sample_votes(graph, 40_000, key=jax.random.key(3))
    rows, table = joint(graph)
    place = {tuple(row): i for i, row in enumerate(as_votes(rows).tolist())}
    seen = np.zeros_like(table)
    np.add.at(seen, ([place[tuple(row)] for row in votes.tolist()], labels), 1 / 40_000)
    assert np.abs(seen - table).max() < 5 * np.sqrt(table.max() / 40_000)
    assert np.abs(seen.sum(axis=0) - table.sum(axis=0)).max() < 0.01
    signed = (rows != 0).T @ table.sum(axis=1)
    np.testing.assert_allclose((votes >= 0).mean(axis=0), signed, atol=0.012)


@pytest.mark.slow
def test_fit_recovers_the_graph_and_keeps_the_balance():
    truth = FactorGraph(
        np.array([0.9, 0.7, 0.5, 0.8, 0.4]), np.array([0.5, -0.5, 0.0, 1.0, 0.3]),
        (D("similar", 0, 1), D("fixing", 2, 3)), np.array([1.0, 0.8]), 0.3,
    )  # fmt: skip
    votes, _ = sample_votes(truth, 60_000, key=jax.random.key(0))
    graph = fit_factor_graph(votes, truth.dependencies, balance=0.3, l2=1e-5, key=jax.random.key(1))
    np.testing.assert_allclose(graph.theta, truth.theta, atol=0.08)
    np.testing.assert_allclose(graph.propensity, truth.propensity, atol=0.08)
    np.testing.assert_allclose(graph.weights, truth.weights, atol=0.08)
    assert graph.balance == 0.3
    np.testing.assert_allclose(joint(graph)[1].sum(axis=0), [0.7, 0.3], rtol=1e-12)


@pytest.mark.parametrize("sides", ["two", "one"])
def test_chains_agree_with_exact_sums(sides):
    truth = FactorGraph(
        np.array([0.9, 0.7, 0.6, 0.8, 0.5]), np.zeros(5), (D("similar", 0, 1), D("fixing", 2, 3)), np.array([1.0, 0.8]),
        0.5, None if sides == "two" else np.array([1, -1, 1, -1, 0]),
    )  # fmt: skip
    votes, _ = sample_votes(truth, 10_000, key=jax.random.key(0))
    exact, chains = (
        fit_factor_graph(votes, truth.dependencies, inference=way, l2=1e-2, steps=400, key=jax.random.key(1))
        for way in ("exact", "chains")
    )
    np.testing.assert_allclose(chains.theta, exact.theta, atol=0.06)
    np.testing.assert_allclose(chains.weights, exact.weights, atol=0.06)
    np.testing.assert_allclose(chains.bias, exact.bias, atol=1e-12 if sides == "two" else 0.06)


def dense(num_rules=9):
    return tuple(D("similar", j, k) for j in range(num_rules) for k in range(j))


@pytest.mark.slow
def test_dense_dependencies_take_chains():
    assert plan_elimination(dense()).width == 9
    graph = FactorGraph(np.full(9, 0.6), np.zeros(9), dense(), np.full(36, 0.1))
    votes, labels = sample_votes(graph, 2000, key=jax.random.key(0))
    fitted = fit_factor_graph(votes, dense(), l2=0.1, steps=30, key=jax.random.key(1))
    assert (factor_graph_probs(fitted, votes).argmax(axis=1) == labels).mean() > 0.85
    with pytest.raises(WeakSupervisionError, match="tie 9 rules together at once, sums over votes are exact up to 8"):
        log_partition(graph)
    with pytest.raises(WeakSupervisionError, match="inference='exact': the dependencies tie 9 rules together"):
        fit_factor_graph(votes, dense(), inference="exact", key=jax.random.key(1))


def test_many_rules_in_small_components_are_exact():
    dependencies = tuple(D("bolstering", j, j + 1) for j in range(0, 60, 2))
    graph = FactorGraph(np.full(61, 0.5), np.full(61, -1.0), dependencies, np.full(30, 0.4))
    pair = FactorGraph(np.full(2, 0.5), np.full(2, -1.0), (D("bolstering", 0, 1),), np.full(1, 0.4))
    alone = FactorGraph(np.full(1, 0.5), np.full(1, -1.0))
    # log Z = log 2 + the sum of the components' own, each log Z less log 2.
    expected = 30 * log_partition(pair) + log_partition(alone) - 30 * np.log(2)
    np.testing.assert_allclose(log_partition(graph), expected, rtol=1e-12)


def test_posterior_of_a_row_is_the_same_in_any_batch_and_order():  # check 5
    graph = mixed(3, [1, -1, 0, 1, -1, 0, 1])
    votes, _ = sample_votes(graph, 50, key=jax.random.key(1))
    whole = factor_graph_probs(graph, votes)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(factor_graph_probs(graph, votes[order]), whole[order])
    np.testing.assert_array_equal(np.concatenate([factor_graph_probs(graph, row[None]) for row in votes]), whole)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(7)))
def test_order_of_rules_and_signs_change_nothing(seed, order):
    graph = mixed(seed, balance=0.5)
    place = np.argsort(order)
    moved = FactorGraph(
        graph.theta[order], graph.propensity[order],
        tuple(D(kind, int(place[j]), int(place[k])) for kind, j, k in MIXED), graph.weights, 0.5,
    )  # fmt: skip
    np.testing.assert_allclose(log_partition(moved), log_partition(graph), rtol=1e-10)
    votes = np.random.default_rng(seed).integers(-1, 2, size=(5, 7))
    probs = factor_graph_probs(graph, votes)
    np.testing.assert_allclose(factor_graph_probs(moved, votes[:, order]), probs, atol=1e-12)
    flipped = np.where(votes < 0, -1, 1 - votes)
    np.testing.assert_allclose(factor_graph_probs(graph, flipped), probs[:, ::-1], atol=1e-12)


def test_buckets_and_order_of_rows_give_the_same_fit():
    votes, labels = sample_votes(mixed(4, balance=0.5), 400, key=jax.random.key(0))
    known = np.arange(20)
    whole = fit_factor_graph(votes, MIXED[:1], expert_rows=known, expert_labels=labels[:20], key=jax.random.key(0))
    bucketed = fit_factor_graph(
        compress(votes), MIXED[:1], expert_rows=known, expert_labels=labels[:20], key=jax.random.key(0)
    )
    turned = fit_factor_graph(
        votes[::-1], MIXED[:1], expert_rows=399 - known, expert_labels=labels[:20], key=jax.random.key(0)
    )
    for other in (bucketed, turned):
        np.testing.assert_allclose(other.theta, whole.theta, atol=1e-5)
        np.testing.assert_allclose(other.weights, whole.weights, atol=1e-5)


def test_experts_decide_what_votes_leave_open():
    votes, labels = sample_votes(FactorGraph(np.full(4, 0.5), np.zeros(4)), 500, key=jax.random.key(2))
    votes[:, 0] = np.where(votes[:, 0] < 0, -1, 1 - votes[:, 0])  # a rule that is mostly wrong
    every = fit_factor_graph(votes, expert_rows=np.arange(500), expert_labels=labels, key=jax.random.key(0))
    assert every.theta[0] < -0.3
    assert (every.theta[1:] > 0.3).all()


def test_one_sided_rules_keep_both_classes():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 4000)
    sides = np.tile([1, 0], 6)
    fires = draw.random((4000, 12)) < np.where(labels[:, None] == sides, 0.35, 0.12)
    votes = np.where(fires, sides, -1)
    seen = fit_factor_graph(votes, key=jax.random.key(0))
    # The best there is: log odds of .35 against .12 where a rule votes, of .65 against .88 where it abstains.
    truth = np.where(fires, np.log(0.35 / 0.12), np.log(0.65 / 0.88)) @ np.where(sides, 1, -1)
    best = ((truth > 0) == labels).mean()
    assert best > 0.8
    assert (factor_graph_probs(seen, votes).argmax(axis=1) == labels).mean() > best - 0.015
    assert seen.polarity.tolist() == [1, -1] * 6
    # Where abstentions do not count as such, nearly all rows become one class.
    both = fit_factor_graph(votes, polarity="both", key=jax.random.key(0))
    assert abs(factor_graph_probs(both, votes)[:, 1].mean() - 0.5) > 0.3


def test_dead_rules_and_constant_factors_weigh_nothing():
    votes, _ = sample_votes(FactorGraph(np.full(3, 0.8), np.zeros(3)), 500, key=jax.random.key(0))
    votes = np.concatenate([votes, np.full((500, 1), -1)], axis=1)
    with pytest.warns(UserWarning, match="their weight is 0") as caught:
        graph = fit_factor_graph(votes, [("bolstering", 0, 3), ("similar", 0, 1)], key=jax.random.key(0))
    messages = [str(warning.message) for warning in caught]
    assert messages == [
        "rules [3] never vote: their weight is 0",
        "dependencies [('bolstering', 0, 3)] are the same in all rows: their weight is 0",
    ]
    assert graph.theta[3] == 0
    assert graph.weights[0] == 0
    assert np.isfinite(graph.propensity).all()


def test_no_votes_give_the_prior():
    with pytest.warns(UserWarning, match="no vote at all"):
        graph = fit_factor_graph(np.full((10, 3), -1), balance=(0.8, 0.2), key=jax.random.key(0))
    np.testing.assert_allclose(factor_graph_probs(graph, np.full((1, 3), -1)), [[0.8, 0.2]])


def test_the_graph_is_a_pytree():
    graph = mixed()
    leaves, structure = jax.tree.flatten(graph)
    again = jax.tree.unflatten(structure, leaves)
    assert again.dependencies == MIXED
    assert again.theta is graph.theta


VOTES = np.array([[0, 1, -1], [1, 1, 0], [1, -1, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"votes": [[0, 2]]}, r"votes\[0, 1\] is 2 \(row 0, rule 1\): the factor graph knows two classes, 0 and 1"),
        ({"votes": [[0, -2]]}, r"votes\[0, 1\] is -2"),
        ({"dependencies": [("fixes", 0, 1)]}, r"dependencies\[0\] has kind 'fixes'; choose one of fixing, "),
        (
            {"dependencies": [("fixing", 0, 3)]},
            r"dependencies\[0\] joins rules 0 and 3; give two different rules of 0 to",
        ),
        ({"dependencies": [("fixing", 1, 1)]}, r"dependencies\[0\] joins rules 1 and 1"),
        ({"dependencies": [("fixing", 0, 0.5)]}, r"dependencies\[0\] is \('fixing', 0, 0.5\); give Dependency"),
        ({"dependencies": [("similar", 0, 1), ("similar", 1, 0)]}, r"dependencies\[1\] repeats dependencies\[0\]"),
        ({"balance": 1.0}, r"balance is 1.0; give p\(y = 1\) above 0 and below 1"),
        ({"balance": "even"}, "balance is 'even'"),
        ({"l2": -1}, "l2 is -1; give a number of 0 or more"),
        ({"steps": 0}, "steps is 0; give a whole number of 1 or more"),
        ({"inference": "fast"}, "inference is 'fast'; choose auto, exact or chains"),
        ({"polarity": "none"}, "polarity is 'none'; choose seen or both"),
        ({"expert_rows": [0]}, "expert_rows and expert_labels belong together"),
        ({"expert_rows": [3], "expert_labels": [1]}, r"expert_rows\[0\] is 3; give whole numbers of 0 to 2"),
        ({"expert_rows": [1], "expert_labels": [2]}, r"expert_labels\[0\] is 2; give whole numbers of 0 to 1"),
        ({"expert_rows": [1, 1], "expert_labels": [1, 0]}, "expert_rows names a row twice"),
        ({"expert_rows": [1, 2], "expert_labels": [1]}, r"expert_rows has shape \(2,\), expert_labels \(1,\)"),
    ],
)
def test_bad_input_of_the_fit(change, message):
    with pytest.raises(WeakSupervisionError, match=message):
        fit_factor_graph(**{"votes": VOTES, "key": jax.random.key(0)} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": np.array([0.0, np.nan])}, r"graph.theta\[1\] is nan; give finite numbers"),
        (
            {"propensity": np.zeros(3)},
            r"graph.propensity has shape \(3,\); give one number for each rule, shape \(2,\)",
        ),
        (
            {"weights": np.zeros(1)},
            r"graph.weights has shape \(1,\); give one number for each dependency, shape \(0,\)",
        ),
        ({"polarity": np.array([2, 0])}, "graph.polarity must hold -1, 0 or 1 for each rule"),
        ({"bias": np.inf}, "graph.bias is inf"),
        ({"balance": 0.0}, "balance is 0.0"),
    ],
)
def test_bad_graphs(change, message):
    graph = FactorGraph(**{"theta": np.zeros(2), "propensity": np.zeros(2)} | change)
    with pytest.raises(WeakSupervisionError, match=message):
        log_partition(graph)


def test_bad_rows_and_counts():
    graph = FactorGraph(np.zeros(2), np.zeros(2))
    with pytest.raises(WeakSupervisionError, match="rows has 3 rules, the graph 2"):
        factor_graph_probs(graph, VOTES)
    with pytest.raises(WeakSupervisionError, match="graph is a list; give a FactorGraph"):
        factor_graph_probs([], VOTES)
    with pytest.raises(WeakSupervisionError, match="n is 0; give the number of rows, 1 or more"):
        sample_votes(graph, 0, key=jax.random.key(0))
