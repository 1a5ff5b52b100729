import itertools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from scipy import sparse

from jlabel.weak_supervision import (
    Buckets,
    WeakSupervisionError,
    compress,
    expert_penalty,
    fit_matrix_completion,
    matrix_completion_loss,
    merge_buckets,
    predict_probs,
)
from jlabel.weak_supervision.groups import build_tables, plan_groups
from jlabel.weak_supervision.matrix_completion import joint_tables, ordered_tables, statistics
from jlabel.weak_supervision.moments import moment_loss, weigh_moments
from jlabel.weak_supervision.overlaps import count_overlaps
from tests.weak_supervision.population import (
    CLIQUES,
    ROWS,
    SCALE,
    exact_population,
    population_accuracy,
    population_buckets,
)


def independent_buckets(accuracies, p=0.5, total=10**9):
    """All joint votes of independent rules without abstentions, in exact proportion, and P(y = 1) of each."""
    rows = np.array(list(itertools.product([0, 1], repeat=len(accuracies))), np.int8)
    right = np.asarray(accuracies)
    one = p * np.where(rows == 1, right, 1 - right).prod(1)
    zero = (1 - p) * np.where(rows == 0, right, 1 - right).prod(1)
    return Buckets(rows, np.round((one + zero) * total).astype(np.int64)), one / (one + zero)


def true_z(buckets, posterior, plan, p=0.5):
    """z from the definition: c = 1 / (v - cov S^-1 cov), z = S^-1 cov sqrt(c)."""
    overlaps = count_overlaps(buckets, 2, plan.groups)
    stats = statistics(overlaps)
    weights = buckets.counts / buckets.counts.sum()
    cov = []
    for column in overlaps.columns:
        u = overlaps.layout.unit_of[column]
        vote = overlaps.layout.rows[u][column - overlaps.layout.starts[u]]
        there = (buckets.rows[:, list(overlaps.layout.units[u])] == vote).all(1)
        cov.append(weights[there] @ (posterior[there] - p))
    direction = np.linalg.solve(stats.covariance, cov)
    c = 1 / (p * (1 - p) - np.dot(cov, direction))
    return overlaps, stats, np.sqrt(c) * direction, c


def solve_with(z, overlaps, stats, plan, p=0.5):
    tables, _ = joint_tables(z, stats, p)
    return build_tables(plan, overlaps.layout, ordered_tables(overlaps.layout, tables)), tables


def probs_of(tables, rows, p=0.5):
    from jlabel.weak_supervision import GroupModel

    groups = tuple(sorted(table.rules for table in tables))
    return predict_probs(GroupModel(groups, tables, np.log([1 - p, p]), {}, 0.0), rows)


def test_the_population_is_the_sheet_s():
    from tests.weak_supervision.population import POSTERIOR, SHARES

    shares, posterior = exact_population()
    np.testing.assert_allclose(shares, SHARES, atol=1e-6)
    np.testing.assert_allclose(posterior, POSTERIOR, atol=1e-6)
    votes = [population_accuracy(ROWS[:, j].astype(float)) for j in range(3)]
    np.testing.assert_allclose(votes, [0.9641, 0.8147, 0.6653], atol=5e-5)
    assert round(population_accuracy((ROWS.sum(1) > 1).astype(float)), 4) == 0.9012


def test_true_parameters_of_the_population():
    _, posterior = exact_population()
    overlaps, stats, z, c = true_z(population_buckets(), posterior, plan_groups(3, CLIQUES))
    assert c == pytest.approx(31.8380, abs=1e-4)
    # Columns: rule 0 votes 1; rules (1, 2) vote (1, 0), (1, 1). References: 0 and (0, 0).
    np.testing.assert_allclose(z, [4.74866, 0.67621, 0.98023], atol=1e-4)
    across = 1 - stats.members.T @ stats.members
    residual = (stats.inverse + np.outer(z, z)) * across
    assert np.abs(residual).max() < 1e-6  # counts are rounded to 1e-9 of the rows
    _, found = joint_tables(z, stats, 0.5)
    assert found == pytest.approx(c, rel=1e-9)


def test_the_residual_of_the_exact_population_vanishes():
    shares, posterior = exact_population()
    indicators = np.array([[r[0], r[1] * (1 - r[2]), r[1] * r[2]] for r in ROWS.tolist()], float)
    mean = shares @ indicators
    covariance = (indicators * shares[:, None]).T @ indicators - np.outer(mean, mean)
    cov = (shares * (posterior - 0.5)) @ indicators
    direction = np.linalg.solve(covariance, cov)
    c = 1 / (0.25 - cov @ direction)
    z = np.sqrt(c) * direction
    across = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    assert np.abs((np.linalg.inv(covariance) + np.outer(z, z)) * across).max() < 1e-12
    with jax.enable_x64(True):
        assert float(matrix_completion_loss(z, np.linalg.inv(covariance), across)) < 1e-23


def test_all_indicators_together_are_singular():
    whole = np.concatenate([np.eye(2)[ROWS[:, 0]], np.eye(8)[ROWS @ [0, 2, 1]]], 1)
    shares, _ = exact_population()
    mean = shares @ whole
    covariance = (whole * shares[:, None]).T @ whole - np.outer(mean, mean)
    assert covariance.shape == (10, 10)
    assert np.linalg.matrix_rank(covariance, tol=1e-10) == 3


def test_scaled_solutions_of_two_groups():
    _, posterior = exact_population()
    buckets, plan = population_buckets(), plan_groups(3, CLIQUES)
    overlaps, stats, z, _ = true_z(buckets, posterior, plan)
    expected = {0.1: 0.8147} | {s / 10: 0.9012 for s in (2, 3, 4)} | {s / 10: 0.9636 for s in range(5, 10)}
    expected |= {s: 0.9641 for s in (1.0, 1.5, 2.0)}
    across = 1 - stats.members.T @ stats.members
    valid = {}
    for s, accuracy in expected.items():
        scaled = np.concatenate([s * z[:1], z[1:] / s])
        assert np.abs((stats.inverse + np.outer(scaled, scaled)) * across).max() < 1e-6
        tables, raw = solve_with(scaled, overlaps, stats, plan)
        assert population_accuracy(probs_of(tables, ROWS)) == pytest.approx(accuracy, abs=1e-4)
        valid[s] = raw.min() >= -1e-9
    assert not valid[0.5]
    assert valid[0.7]
    edges = [solve_with(np.concatenate([s * z[:1], z[1:] / s]), overlaps, stats, plan)[1].min() for s in (0.619, 0.621)]
    assert edges[0] < 0 < edges[1]


def start_accuracies(model):
    overlaps = count_overlaps(population_buckets(), 2, model.groups)
    stats, plan = statistics(overlaps), plan_groups(3, CLIQUES)
    return np.array(
        [population_accuracy(probs_of(solve_with(z, overlaps, stats, plan)[0], ROWS)) for z in model.params["starts"]]
    )


def test_every_constrained_start_passes_and_none_exceeds_the_ceiling(key):
    model = fit_matrix_completion(population_buckets(), balance=0.5, cliques=CLIQUES, starts=200, key=key)
    found = start_accuracies(model)
    assert found.min() >= 0.963
    assert found.max() <= 0.96415
    assert population_accuracy(predict_probs(model, ROWS)) <= 0.96415


def test_unconstrained_starts_end_at_901_and_964(key):
    model = fit_matrix_completion(
        population_buckets(), balance=0.5, cliques=CLIQUES, constrain=False, starts=200, key=key
    )
    found = start_accuracies(model).round(3)
    assert {0.901, 0.964} <= set(found.tolist())
    assert found.max() <= 0.9641


def test_three_rules_by_hand(key):
    buckets, posterior = independent_buckets([0.9, 0.8, 0.7])
    signed = 2.0 * buckets.rows - 1
    moments = (signed * buckets.counts[:, None]).T @ signed / buckets.counts.sum()
    np.testing.assert_allclose([moments[0, 1], moments[0, 2], moments[1, 2]], [0.48, 0.32, 0.24], atol=1e-8)
    _, _, _, c = true_z(buckets, posterior, plan_groups(3, ()))
    assert c == pytest.approx(14.1230, abs=1e-4)
    model = fit_matrix_completion(buckets, balance=0.5, key=key)
    np.testing.assert_allclose(
        predict_probs(model, [[1, 0, 1], [1, 0, -1], [1, 1, 1]])[:, 1], [0.8400, 0.6923, 0.9882], atol=2e-4
    )
    assert model.loss < 1e-12


def test_an_uneven_balance(key):
    buckets, posterior = independent_buckets([0.9, 0.8, 0.7, 0.75], p=0.2)
    model = fit_matrix_completion(buckets, balance=0.2, key=key)
    np.testing.assert_allclose(predict_probs(model, buckets.rows)[:, 1], posterior, atol=1e-3)


def test_rules_worse_than_chance_and_a_trusted_one(key):
    buckets, posterior = independent_buckets([0.9, 0.2, 0.2, 0.25])
    assert predict_probs(fit_matrix_completion(buckets, key=key), [[1, 0, 0, 0]])[0, 1] < 0.01
    trusted = fit_matrix_completion(buckets, trusted_rule=0, key=key)
    np.testing.assert_allclose(predict_probs(trusted, buckets.rows)[:, 1], posterior, atol=1e-3)


def test_arrays_sparse_votes_and_buckets_fit_alike_to_the_last_bit(key, rng_votes):
    whole = fit_matrix_completion(rng_votes, cliques=[(1, 3)], steps=50, key=key)
    halves = [compress(rng_votes[150:]), compress(rng_votes[:150])]
    for other in (
        compress(rng_votes),
        merge_buckets(*halves),
        merge_buckets(*halves[::-1]),
        sparse.csr_array(rng_votes + 1),
    ):
        again = fit_matrix_completion(other, cliques=[(1, 3)], steps=50, key=key)
        np.testing.assert_array_equal(again.params["z"], whole.params["z"])
        for a, b in zip(again.log_tables, whole.log_tables, strict=True):
            np.testing.assert_array_equal(a.log_probs, b.log_probs)


@pytest.fixture
def rng_votes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    right = rng.random((400, 5)) < [0.9, 0.8, 0.75, 0.7, 0.65]
    votes = np.where(right, y[:, None], 1 - y[:, None])
    return np.where(rng.random((400, 5)) < 0.6, votes, -1).astype(np.int8)


def test_overlapping_cliques_use_clique_tables_over_separators(key, rng_votes):
    model = fit_matrix_completion(rng_votes, cliques=[(0, 1), (1, 2)], key=key)
    assert model.groups == ((0, 1, 2), (3,), (4,))
    assert [(t.rules, t.sign) for t in model.log_tables] == [
        ((0, 1), 1), ((1, 2), 1), ((3,), 1), ((4,), 1), ((1,), -1)
    ]  # fmt: skip
    first, second, separator = model.log_tables[0], model.log_tables[1], model.log_tables[4]
    for v in (-1, 0, 1):
        one = np.exp(first.log_probs[first.rows[:, 1] == v]).sum(0)
        other = np.exp(second.log_probs[second.rows[:, 0] == v]).sum(0)
        # Entries that stray below 0 are clipped one by one, so that sums agree to what the constraint left.
        np.testing.assert_allclose(one, other, atol=0.01)
        np.testing.assert_allclose(np.exp(separator.log_probs[separator.rows[:, 0] == v][0]), other, atol=0.01)


def test_expert_answers_move_the_solution(key):
    # Constrained solutions of two groups leave bucket 011 open; answers settle it.
    buckets = population_buckets()
    plain = fit_matrix_completion(buckets, balance=0.5, cliques=CLIQUES, constrain=False, starts=1, key=key)
    before = predict_probs(plain, ROWS)
    rows, labels = [3, 3, 1, 2], [1, 1, 0, 0]
    model = fit_matrix_completion(
        buckets, balance=0.5, cliques=CLIQUES, constrain=False, starts=1, init=plain, steps=1000,
        expert_rows=rows, expert_labels=labels, key=key,
    )  # fmt: skip
    after = predict_probs(model, ROWS)
    answers = np.zeros((6, 2))
    np.add.at(answers, (rows, labels), 1)
    with jax.enable_x64(True):
        assert float(expert_penalty(after, answers)) < float(expert_penalty(before, answers))
    assert population_accuracy(after) <= 0.96415


def test_penalty_is_the_paper_s_for_two_classes():
    probs = np.array([[0.3, 0.7], [0.9, 0.1]])
    counts = np.array([[2, 1], [0, 3]])
    by_rows = 2 * 0.7**2 + 0.3**2 + 3 * 0.9**2
    assert float(expert_penalty(probs, counts)) == pytest.approx(by_rows, rel=1e-6)


@pytest.mark.parametrize("penalty", [1.0, 100.0, "auto"])
def test_answers_count_by_bucket_whatever_their_row(key, rng_votes, penalty):
    found = compress(rng_votes)
    bucket = int(np.argmax(found.counts))
    rows = np.flatnonzero(found.inverse == bucket)[:3]
    options = {"starts": 2, "steps": 60, "penalty": penalty, "key": key}
    by_row = fit_matrix_completion(rng_votes, expert_rows=rows, expert_labels=[1, 0, 1], **options)
    by_bucket = fit_matrix_completion(
        found._replace(inverse=None), expert_rows=[bucket] * 3, expert_labels=[0, 1, 1], **options
    )
    np.testing.assert_allclose(by_row.params["z"], by_bucket.params["z"], rtol=1e-9)


def test_answers_with_overlapping_cliques(key, rng_votes):
    options = {"cliques": [(0, 1), (1, 2)], "starts": 2, "steps": 200, "key": key}
    before = predict_probs(fit_matrix_completion(rng_votes, **options), rng_votes[:4])
    model = fit_matrix_completion(
        rng_votes, expert_rows=[0, 1, 2, 3], expert_labels=[0, 0, 1, 1], penalty=1e3, **options
    )
    after = predict_probs(model, rng_votes[:4])
    truth = np.array([0, 0, 1, 1])
    assert np.abs(after[:, 1] - truth).mean() < np.abs(before[:, 1] - truth).mean()


def test_one_more_answer_compiles_nothing(key, rng_votes):
    from jlabel.weak_supervision import matrix_completion

    found = compress(rng_votes)._replace(inverse=None)
    options = {"starts": 1, "steps": 20, "key": key}
    model = fit_matrix_completion(found, expert_rows=[0], expert_labels=[1], **options)
    before = matrix_completion._descend._cache_size()
    for n in range(2, 16):
        model = fit_matrix_completion(
            found, expert_rows=np.arange(n), expert_labels=np.arange(n) % 2, init=model, **options
        )
    assert matrix_completion._descend._cache_size() == before


def test_the_moment_loss_is_the_sum_over_pairs_and_triples():
    rng = np.random.default_rng(0)
    unit_of, balance = np.array([0, 0, 1, 1, 1, 2, 2]), np.array([0.2, 0.3, 0.5])
    tables, share = rng.random((7, 3)), rng.random(7)
    pairs, triples, anchors = rng.random((7, 7)), rng.random((3, 7, 7)), np.array([0, 1, 6])
    expected = 0.0
    for i, j in itertools.product(range(7), repeat=2):
        if unit_of[i] != unit_of[j]:
            expected += (pairs[i, j] - balance @ (tables[i] * tables[j])) ** 2 / (share[i] * share[j])
            for a, k in enumerate(anchors):
                if unit_of[k] not in (unit_of[i], unit_of[j]):
                    model = balance @ (tables[k] * tables[i] * tables[j])
                    expected += (triples[a, i, j] - model) ** 2 / (share[k] * share[i] * share[j])
    with jax.enable_x64(True):
        found = moment_loss(tables, balance, weigh_moments(pairs, triples, anchors, share, unit_of), 3)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_three_classes_recover_their_tables(key):
    rng = np.random.default_rng(1)
    balance = np.array([0.5, 0.3, 0.2])
    y = rng.choice(3, 40_000, p=balance)
    votes = []
    for accuracy in (0.85, 0.75, 0.7, 0.8, 0.65):
        wrong = (y + rng.integers(1, 3, len(y))) % 3
        votes.append(np.where(rng.random(len(y)) < accuracy, y, wrong))
    votes = np.stack(votes, 1)
    votes[rng.random(votes.shape) < 0.2] = -1
    model = fit_matrix_completion(votes, num_classes=3, balance=balance, starts=3, key=key)
    for table, accuracy in zip(model.log_tables, (0.85, 0.75, 0.7, 0.8, 0.65), strict=True):
        diagonal = np.exp(table.log_probs)[1:][np.arange(3), np.arange(3)]
        np.testing.assert_allclose(diagonal, 0.8 * accuracy, atol=0.04)
        np.testing.assert_allclose(np.exp(table.log_probs).sum(0), 1, atol=1e-4)
    assert (predict_probs(model, votes).argmax(1) == y).mean() > 0.9


def test_three_classes_with_answers_and_a_warm_start(key):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 600)
    votes = np.where(rng.random((600, 4)) < 0.7, y[:, None], rng.integers(0, 3, (600, 4)))
    options = {"num_classes": 3, "starts": 1, "steps": 150, "key": key}
    model = fit_matrix_completion(votes, cliques=[(0, 1)], **options)
    again = fit_matrix_completion(
        votes, cliques=[(0, 1)], init=model, expert_rows=[0, 1, 2], expert_labels=y[:3], penalty="auto", **options
    )
    truth = np.arange(3), y[:3]
    assert predict_probs(again, votes[:3])[truth].sum() >= predict_probs(model, votes[:3])[truth].sum() - 1e-6


def test_dead_rules_weigh_nothing(key, rng_votes):
    dead = np.concatenate([rng_votes, np.full((400, 1), -1), np.full((400, 1), 1)], 1)
    plain, more = (fit_matrix_completion(v, steps=100, key=key) for v in (rng_votes, dead))
    np.testing.assert_allclose(predict_probs(plain, rng_votes), predict_probs(more, dead), rtol=1e-12)
    assert [len(t.rows) for t in more.log_tables[-2:]] == [1, 1]


def test_no_votes_give_the_balance_and_a_warning(key):
    for votes in (np.full((5, 3), -1), np.zeros((0, 3), int)):
        with pytest.warns(UserWarning, match="no rule ever votes"):
            model = fit_matrix_completion(votes, balance=0.3, key=key)
        np.testing.assert_allclose(predict_probs(model, [[-1, -1, -1], [1, 0, -1]]), [[0.7, 0.3]] * 2)


def test_duplicate_rules_are_named(key, rng_votes):
    with pytest.warns(UserWarning, match=r"rules vote alike on every row \(1 and 5\)"):
        fit_matrix_completion(np.concatenate([rng_votes, rng_votes[:, 1:2]], 1), steps=5, key=key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": 0}, "starts must be 1 or more, got 0"),
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"penalty": -1.0}, "penalty must be 0 or more"),
        ({"penalty": "much"}, "penalty must be 0 or more"),
        ({"trusted_rule": 5}, "trusted_rule is 5; allowed: 0 to 4"),
        ({"num_classes": 1}, "num_classes must be 2"),
        ({"expert_rows": [400], "expert_labels": [0]}, r"expert_rows\[0\] is 400; allowed: 0 to 399"),
    ],
)
def test_bad_settings(key, rng_votes, options, message):
    with pytest.raises(WeakSupervisionError, match=message):
        fit_matrix_completion(rng_votes, key=key, **options)


def test_a_warm_start_from_other_votes_is_refused(key, rng_votes):
    other = fit_matrix_completion(rng_votes[:, :3], steps=5, key=key)
    with pytest.raises(WeakSupervisionError, match="init holds z of shape"):
        fit_matrix_completion(rng_votes, init=other, key=key)


ODD_VOTES = [
    [[1, 1, 1, 1]],
    [[1, 1, 0, -1]] * 3,
    [[0, 0, -1, 1], [1, 1, -1, 0]],
    [[-1, -1, -1, 0], [-1, 1, -1, -1], [0, -1, -1, -1]],
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("votes", ODD_VOTES)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_odd_votes_stay_finite(key, votes, num_classes):
    model = fit_matrix_completion(votes, num_classes=num_classes, starts=2, steps=40, key=key)
    probs = predict_probs(model, list(itertools.product([-1, 0, 1], repeat=4)))
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    votes=hnp.arrays(np.int8, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(-1, 1)),
    constrain=st.booleans(),
    answered=st.booleans(),
)
def test_never_nan(votes, constrain, answered):
    votes = np.concatenate([votes, votes[:, :1], np.full((len(votes), 1), 1, np.int8)], 1)
    answers = {"expert_rows": [0], "expert_labels": [1]} if answered and len(votes) else {}
    model = fit_matrix_completion(
        votes, cliques=[(1, 2)], constrain=constrain, starts=2, steps=30, key=jax.random.key(0), **answers
    )
    probs = predict_probs(model, np.array(list(itertools.product([-1, 0, 1], repeat=6)), np.int8))
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1)


def test_counts_scale_is_exact():
    assert population_buckets().counts.sum() == pytest.approx(SCALE, abs=10)
