from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from scipy import sparse

from jlabel.weak_supervision import (
    WeakSupervisionError,
    compress,
    fit_latent_class,
    merge_buckets,
    predict_probs,
)
from jlabel.weak_supervision import latent_class as em
from jlabel.weak_supervision.groups import design, layout_of, plan_groups
from tests.weak_supervision.population import CLIQUES, ROWS, population_accuracy, population_buckets

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "votes"
real_data = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data/votes")
# Test accuracies: MAP EM with the strength chosen on validation rows, and what ignoring abstention collapses to.
REAL = {"youtube": (0.86, 0.528), "trec": (0.64, 0.276), "hausa": (0.49, 0.275)}
STRENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def make_problem(rows, num_classes=2, counts=None, strength=0.0, balance=None):
    rows = np.asarray(rows, np.int8)
    layout = layout_of(rows, num_classes, plan_groups(rows.shape[1], ()).cliques)
    counts = np.ones(len(rows)) if counts is None else counts
    return em.make_problem(
        layout,
        design(layout, rows, num_classes),
        counts,
        np.zeros((len(rows), num_classes)),
        np.full(rows.shape[1], 0.7),
        strength,
        balance,
    )


def test_one_step_by_hand():
    problem = make_problem([[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    one = np.array([1, 2 / 3, 0, 1 / 3])
    tables, pi = em.maximise(problem, np.stack([1 - one, one], 1))
    np.testing.assert_allclose(pi, [0.5, 0.5])
    np.testing.assert_allclose(tables[1::2, 1], [0.8333, 1, 0.5], atol=5e-5)
    np.testing.assert_allclose(tables[1::2, 0], [0.1667, 0.5, 0], atol=5e-5)
    shares, likelihood = em.expect(problem, np.log(np.clip(tables, 1e-6, 1)), np.log(pi))
    np.testing.assert_allclose(shares[:, 1], [1, 0.8333, 0, 0.1667], atol=5e-5)
    assert likelihood == pytest.approx(-5.90982, abs=2e-5)


def test_abstention_counts_as_what_no_other_vote_is():
    problem = make_problem([[-1, 1], [1, -1], [1, 0], [0, 0]], strength=0.0)
    tables, _ = em.maximise(problem, np.array([[1, 0], [0.5, 0.5], [0, 1], [1, 0]]))
    # rule 0: -1, 0, 1; rule 1: -1, 0, 1
    np.testing.assert_allclose(tables[:, 0], [0.4, 0.4, 0.2, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(tables[:, 1], [0, 0, 1, 1 / 3, 2 / 3, 0], atol=1e-15)


def test_the_prior_in_each_rule_s_own_counts():
    # One rule, 3 classes: of 4 votes for 0 and 2 abstentions at strength 2, accuracy .7.
    problem = make_problem([[0], [-1]], num_classes=3, counts=np.array([4, 2]), strength=2.0)
    np.testing.assert_allclose(problem.prior, [[4 / 3] * 3, [2 * 4 * 0.7, 2 * 4 * 0.15, 2 * 4 * 0.15]])


def test_a_prior_for_each_rule():
    votes = [[1, 1], [1, 0], [0, 1], [0, 0]] * 5
    sure = fit_latent_class(
        votes, num_classes=2, prior_accuracy=[0.95, 0.55], prior_strength=50.0, key=jax.random.key(0)
    )
    assert predict_probs(sure, [[1, 0]])[0, 1] > 0.9


def test_the_objective_never_falls():
    rng = np.random.default_rng(0)
    rows = compress(rng.integers(-1, 3, (300, 6)))
    problem = make_problem(rows.rows, num_classes=3, counts=rows.counts, strength=0.5)
    shares = em.majority_shares(rows.rows, 3)
    losses = [em.run_em(problem, shares, steps)[2] for steps in (1, 2, 4, 8, 16, 32)]
    assert (np.diff(losses) <= 1e-12).all()


def test_tables_of_known_rules_come_back(key):
    rng = np.random.default_rng(3)
    balance = np.array([0.6, 0.3, 0.1])
    y = rng.choice(3, 50_000, p=balance)
    accuracy = np.array([0.9, 0.8, 0.7, 0.75, 0.6])
    wrong = (y[:, None] + rng.integers(1, 3, (len(y), 5))) % 3
    votes = np.where(rng.random((len(y), 5)) < accuracy, y[:, None], wrong)
    votes[rng.random(votes.shape) < 0.3] = -1
    model = fit_latent_class(votes, num_classes=3, prior_strength=0.0, key=key)
    np.testing.assert_allclose(np.exp(model.log_balance), balance, atol=0.02)
    for table, right in zip(model.log_tables, accuracy, strict=True):
        np.testing.assert_allclose(np.exp(table.log_probs)[1:][np.arange(3), np.arange(3)], 0.7 * right, atol=0.04)


def test_the_ceiling_of_the_population_holds(key):
    for cliques, strength in ((CLIQUES, 1.0), ((), 1.0), (CLIQUES, 0.1)):
        model = fit_latent_class(population_buckets(), num_classes=2, cliques=cliques, prior_strength=strength, key=key)
        assert population_accuracy(predict_probs(model, ROWS)) <= 0.96415


def test_arrays_sparse_votes_and_buckets_fit_alike(key):
    rng = np.random.default_rng(0)
    votes = rng.integers(-1, 2, (500, 5)).astype(np.int8)
    whole = fit_latent_class(votes, num_classes=2, cliques=[(0, 1), (1, 2)], key=key)
    halves = [compress(votes[:100]), compress(votes[100:])]
    first, second = (
        fit_latent_class(merge_buckets(*order), num_classes=2, cliques=[(0, 1), (1, 2)], key=key)
        for order in (halves, halves[::-1])
    )
    np.testing.assert_array_equal(first.params["starts"], second.params["starts"])
    np.testing.assert_array_equal(first.params["starts"], whole.params["starts"])
    from_sparse = fit_latent_class(sparse.csr_array(votes + 1), num_classes=2, cliques=[(0, 1), (1, 2)], key=key)
    np.testing.assert_allclose(from_sparse.params["starts"], whole.params["starts"], atol=1e-9)


def test_overlapping_cliques_equal_their_closed_form(key):
    """With every class known, tables of cliques over separators are products of conditional frequencies."""
    rng = np.random.default_rng(1)
    votes = rng.integers(0, 2, (60, 3))
    y = rng.integers(0, 2, 60)
    model = fit_latent_class(
        votes, num_classes=2, cliques=[(0, 1), (1, 2)], prior_strength=0.0, starts=1,
        expert_rows=np.arange(60), expert_labels=y, key=key,
    )  # fmt: skip
    rows = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    joint = np.empty((8, 2))
    for c in (0, 1):
        own = votes[y == c]
        for i, (v0, v1, v2) in enumerate(rows):
            ab = ((own[:, 0] == v0) & (own[:, 1] == v1)).mean()
            bc = ((own[:, 1] == v1) & (own[:, 2] == v2)).mean()
            joint[i, c] = (y == c).mean() * ab * bc / (own[:, 1] == v1).mean()
    np.testing.assert_allclose(predict_probs(model, rows), joint / joint.sum(1, keepdims=True), rtol=1e-9)


def test_answers_are_observed_classes(key):
    votes = np.array([[1, 1], [0, 0], [1, 0], [0, 1]] * 10)
    model = fit_latent_class(
        votes, num_classes=2, expert_rows=np.arange(2, 40, 4), expert_labels=np.zeros(10, int), key=key
    )
    assert predict_probs(model, [[1, 0]])[0, 0] > 0.7
    other = fit_latent_class(
        votes, num_classes=2, expert_rows=np.arange(2, 40, 4), expert_labels=np.ones(10, int), key=key
    )
    assert predict_probs(other, [[1, 0]])[0, 1] > 0.7


def test_more_answers_than_rows_of_a_bucket(key):
    model = fit_latent_class([[1, 0], [0, 1]], num_classes=2, expert_rows=[0, 0, 0], expert_labels=[1, 1, 0], key=key)
    assert np.isfinite(predict_probs(model, [[1, 0], [0, 1]])).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_abstaining_rows_get_the_balance_where_abstention_is_ignored(key):
    votes = [[1, -1], [0, 0], [1, 1], [-1, -1]]
    model = fit_latent_class(votes, num_classes=2, balance=0.3, abstain="ignore", key=key)
    np.testing.assert_allclose(predict_probs(model, [[-1, -1]]), [[0.7, 0.3]])


def test_no_votes_give_the_balance_and_a_warning(key):
    for votes in (np.full((4, 3), -1), np.zeros((0, 3), int)):
        with pytest.warns(UserWarning, match="no rule ever votes"):
            model = fit_latent_class(votes, num_classes=3, balance=[0.2, 0.3, 0.5], key=key)
        np.testing.assert_allclose(predict_probs(model, [[-1, -1, -1], [0, 2, -1]]), [[0.2, 0.3, 0.5]] * 2)


def test_duplicate_rules_are_named(key):
    votes = np.random.default_rng(0).integers(-1, 2, (50, 3))
    with pytest.warns(UserWarning, match=r"rules vote alike on every row \(0 and 3\)"):
        fit_latent_class(np.concatenate([votes, votes[:, :1]], 1), num_classes=2, starts=1, key=key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"abstain": "drop"}, 'abstain must be "category" or "ignore"'),
        ({"prior_accuracy": [0.7]}, "prior_accuracy must be one number or one for each of 2 rules"),
        ({"prior_accuracy": [0.7, 1.0]}, "prior_accuracy of rule 1 is 1.0"),
        ({"prior_strength": -1.0}, "prior_strength must be 0 or more, got -1.0"),
        ({"starts": 0}, "starts must be 1 or more, got 0"),
        ({"max_steps": 2.5}, "max_steps must be 1 or more, got 2.5"),
        ({"balance": [0.5, 0.2]}, "sum to 1"),
        ({"expert_rows": [0], "expert_labels": [4]}, r"expert_labels\[0\] is 4; allowed: 0 to 1"),
    ],
)
def test_bad_settings(key, options, message):
    with pytest.raises(WeakSupervisionError, match=message):
        fit_latent_class([[1, 0], [0, 1]], num_classes=2, key=key, **options)


@pytest.mark.filterwarnings("ignore::UserWarning")
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    votes=hnp.arrays(np.int8, st.tuples(st.integers(0, 12), st.just(3)), elements=st.integers(-1, 2)),
    strength=st.sampled_from([0.0, 1.0, 20.0]),
    abstain=st.sampled_from(["category", "ignore"]),
    learned=st.booleans(),
)
def test_never_nan(votes, strength, abstain, learned):
    votes = np.concatenate(
        [votes, votes[:, :1], np.full((len(votes), 1), -1, np.int8), np.full((len(votes), 1), 2, np.int8)], 1
    )
    model = fit_latent_class(
        votes, num_classes=3, cliques=[(0, 1), (1, 2)], prior_strength=strength, abstain=abstain, starts=2,
        max_steps=20, balance=None if learned else [0.2, 0.2, 0.6], key=jax.random.key(0),
    )  # fmt: skip
    grid = np.array([[a, b, c, a, d, 2] for a in (-1, 0, 1, 2) for b in (-1, 1) for c in (-1, 2) for d in (-1, 0)])
    probs = predict_probs(model, grid)
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1)


def real_votes(name):
    with np.load(DATA / f"lf_{name}.npz") as file:
        votes, y, split = file["L"], file["y"], file["split"]
    return [(votes[split == part], y[split == part]) for part in (0, 1, 2)], int(y.max()) + 1


@real_data
@pytest.mark.filterwarnings("ignore:rules vote alike")
@pytest.mark.parametrize("name", REAL)
def test_real_votes_reach_the_figures_of_the_sheet(key, name):
    ((train, _), (valid, valid_y), (test, test_y)), classes = real_votes(name)
    found = []
    for strength in STRENGTHS:
        model = fit_latent_class(
            train,
            num_classes=classes,
            balance=np.full(classes, 1 / classes),
            prior_strength=strength,
            starts=2,
            key=key,
        )
        scores = [(predict_probs(model, v).argmax(1) == y).mean() for v, y in ((valid, valid_y), (test, test_y))]
        found.append(scores)
    best = max(found, key=lambda pair: pair[0])
    assert round(best[1], 2) >= REAL[name][0]


@real_data
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", REAL)
def test_ignoring_abstention_collapses_and_the_default_does_not(key, name):
    ((train, _), _, (test, test_y)), classes = real_votes(name)
    ignoring = fit_latent_class(train, num_classes=classes, abstain="ignore", prior_strength=0.0, starts=1, key=key)
    probs = predict_probs(ignoring, test)
    assert len(np.unique(probs.argmax(1))) == 1
    assert (probs.argmax(1) == test_y).mean() == pytest.approx(REAL[name][1], abs=5e-4)
    default = predict_probs(fit_latent_class(train, num_classes=classes, key=key), test)
    assert np.bincount(default.argmax(1)).max() < 0.8 * len(test)
    assert (default.argmax(1) == test_y).mean() > REAL[name][1] + 0.05


@pytest.mark.slow
def test_1200_rules_of_56_classes(key):
    rng = np.random.default_rng(0)
    num_rows, classes = 5000, 56
    y, own = rng.integers(0, classes, num_rows), rng.integers(0, classes, 1200)
    fires = np.where(y[:, None] == own, 0.3, 0.003)
    votes = sparse.csr_array(np.where(rng.random((num_rows, 1200)) < fires, own + 1, 0).astype(np.int8))
    model = fit_latent_class(votes, num_classes=classes, starts=2, key=key)
    assert (predict_probs(model, votes).argmax(1) == y).mean() > 0.95
    assert model.params["starts"].shape == (2, 2400, classes)
