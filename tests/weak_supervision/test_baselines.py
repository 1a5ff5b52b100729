"""Baselines: each does what its paper says, on worlds where that can be counted."""

import jax
import numpy as np
import pytest
from scipy import sparse
from sklearn.tree import DecisionTreeClassifier

from jlabel import InputError
from jlabel.data.two_gaussians import CEILING, CLIQUES, RULES, rows
from jlabel.weak_supervision import (
    FactorGraph,
    WeakSupervisionError,
    apply_rules,
    bucket_oracle,
    class_shares,
    compress,
    fit_latent_class,
    predict_probs,
    run_active,
    run_nashaat,
    run_pure_active,
    sample_votes,
)
from jlabel.weak_supervision.baselines import corrected_votes


def key(seed=0):
    return jax.random.key(seed)


@pytest.fixture(scope="module")
def world():
    return sample_votes(FactorGraph(np.array([1.2, 0.9, 0.7]), np.zeros(3)), 1500, key=key(5))


@pytest.fixture(scope="module")
def gaussians():
    drawn = rows("train")
    x1, x2 = drawn["features"].T
    return drawn["features"], apply_rules(RULES, {"x1": x1, "x2": x2}), drawn["label"]


# -- Nashaat et al.


def test_answers_correct_votes_but_no_abstention():
    buckets = compress([[1, 1, 0], [0, -1, 0], [1, 1, 0], [-1, -1, -1]])
    found = corrected_votes(buckets, [0, 1, 3], [0, 1, 1])
    assert found.tolist() == [[0, 0, 0], [1, -1, 1], [1, 1, 0], [-1, -1, -1]]


def test_nashaat_fits_corrected_votes_and_nothing_else(world):
    votes, labels = world
    seen = []

    def fit(buckets, *, expert_rows, expert_labels, init, key):
        assert expert_rows is None
        assert init is None
        seen.append(buckets)
        return fit_latent_class(buckets, num_classes=2, starts=1, key=key)

    steps = run_nashaat(votes, labels, method=fit, budget=5, key=key())
    changed = votes.copy()
    for step in steps[1:]:
        changed[step["row"]] = np.where(votes[step["row"]] >= 0, step["answer"], -1)
    np.testing.assert_array_equal(seen[-1].rows[seen[-1].inverse], changed)
    np.testing.assert_array_equal(steps[-1]["probs"], predict_probs(steps[-1]["model"], compress(votes)))
    assert (votes == sample_votes(FactorGraph(np.array([1.2, 0.9, 0.7]), np.zeros(3)), 1500, key=key(5))[0]).all()


def test_nashaat_asks_conflicting_rows_with_the_smallest_margin(world):
    votes, labels = world
    steps = run_nashaat(votes, labels, budget=6, key=key())
    for before, after in zip(steps, steps[1:], strict=False):
        said = votes[after["row"]]
        assert set(said[said >= 0]) == {0, 1}
        probs = before["probs"]
        rows = compress(votes).rows
        conflict = np.array([{0, 1} <= set(row) for row in rows.tolist()])
        margin = np.abs(probs[:, 1] - probs[:, 0])
        assert margin[after["bucket"]] <= margin[conflict].min() + 1e-9


def test_nashaat_goes_on_where_no_votes_conflict():
    votes, labels = [[1, 1, 0], [1, -1, 1], [0, 0, 0], [1, 1, -1], [-1, -1, -1]], [1, 1, 0, 1, 0]
    steps = run_nashaat(votes, labels, budget=9, key=key())
    asked = [step["row"] for step in steps[1:]]
    assert asked[0] == 0
    assert sorted(asked) == [0, 1, 2, 3]


def test_nashaat_moves_less_than_active_weasul(gaussians):
    """The paper's finding: a correction is felt in its own row, an answer everywhere."""
    _, votes, labels = gaussians
    options = {"method": "matrix_completion", "cliques": CLIQUES, "constrain": False, "starts": 1, "budget": 6}
    theirs = run_nashaat(votes, labels, key=key(2), **options)
    ours = run_active(votes, labels, key=key(2), **options)
    assert theirs[0]["accuracy"] == pytest.approx(ours[0]["accuracy"])
    assert sum(step["moved"] for step in theirs) < 0.3 * sum(step["moved"] for step in ours)


def test_nashaat_needs_rows(world):
    merged = compress(world[0])._replace(inverse=None)
    with pytest.raises(WeakSupervisionError, match="votes must hold every row: corrections are of rows"):
        run_nashaat(merged, world[1], key=key())


# -- active learning on features


def test_pure_active_learning_finds_the_boundary(gaussians):
    x, _, labels = gaussians
    steps = run_pure_active(x, labels, budget=30, key=key(1))
    assert [step["answers"] for step in steps] == list(range(31))
    assert (steps[0]["model"](x) == 0.5).all()
    accuracy = (steps[-1]["model"](x).argmax(1) == labels).mean()
    assert accuracy > 0.96
    assert len({step["row"] for step in steps}) == 31
    seen = [step["answer"] for step in steps[1:]]
    first_two = next(n for n in range(2, 31) if len(set(seen[:n])) == 2)
    assert (steps[first_two - 1]["model"](x) == 0.5).all()
    before, after = steps[first_two]["model"](x), steps[first_two + 1]
    gap = np.abs(before[:, 1] - before[:, 0])
    assert gap[after["row"]] == np.delete(gap, [step["row"] for step in steps[1 : first_two + 1]]).min()


def test_pure_active_learning_of_any_classifier_and_sparse_features():
    x = np.random.default_rng(0).normal(size=(300, 3))
    labels = (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)
    steps = run_pure_active(
        sparse.csr_array(x),
        labels,
        num_classes=3,
        budget=25,
        classifier=DecisionTreeClassifier(random_state=0),
        key=key(),
    )
    probs = steps[-1]["model"](sparse.csr_array(x))
    assert probs.shape == (300, 3)
    assert (probs.argmax(1) == labels).mean() > 0.8


def test_pure_active_learning_with_an_expert_who_cannot_tell():
    x = np.arange(6.0)[:, None]
    steps = run_pure_active(x, lambda row: None if row == 3 else int(row > 2), budget=10, key=key())
    assert sorted(step["row"] for step in steps[1:]) == [0, 1, 2, 4, 5]
    with pytest.raises(WeakSupervisionError, match=r"answer\(\d\) is 7; allowed: 0 to 1"):
        run_pure_active(x, lambda row: 7, key=key())
    with pytest.raises(WeakSupervisionError, match="answer has 2 entries for 6 rows"):
        run_pure_active(x, [0, 1], key=key())
    with pytest.raises(WeakSupervisionError, match=r"features must be \(rows, features\), got shape \(6,\)"):
        run_pure_active(np.arange(6.0), [0] * 6, key=key())


# -- the ends


def test_oracle_is_the_ceiling(gaussians):
    _, votes, labels = gaussians
    probs = bucket_oracle(votes, labels, votes, num_classes=2)
    accuracy = (probs.argmax(1) == labels).mean()
    assert abs(accuracy - CEILING) < 3 * np.sqrt(CEILING * (1 - CEILING) / len(labels))
    for row in np.unique(votes, axis=0):
        here = (votes == row).all(1)
        np.testing.assert_allclose(probs[here, 1], labels[here].mean())


def test_oracle_of_unseen_buckets_and_unknown_labels():
    votes, labels = [[1, 1], [1, 1], [0, 0], [0, 1]], [1, 0, 0, -1]
    found = bucket_oracle(votes, labels, [[0, 1], [1, 1], [-1, -1]], num_classes=2)
    np.testing.assert_allclose(found[:, 1], [1 / 3, 0.5, 1 / 3])
    with pytest.raises(WeakSupervisionError, match="rows has 1 rules, votes 2"):
        bucket_oracle(votes, labels, [[0]], num_classes=2)
    with pytest.raises(WeakSupervisionError, match="labels has 1 entries for 4 rows"):
        bucket_oracle(votes, [1], votes, num_classes=2)


def test_class_shares():
    np.testing.assert_allclose(class_shares([2, 2, 0, 0], 3, num_classes=3), [[0.5, 0, 0.5]] * 3)
    with pytest.raises(InputError):
        class_shares([3], 3, num_classes=3)
