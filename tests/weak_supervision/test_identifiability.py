import jax
import numpy as np
import pytest

from jlabel.weak_supervision import (
    compress,
    fit_latent_class,
    fit_matrix_completion,
    identifiability_report,
    predict_probs,
)
from jlabel.weak_supervision.identifiability import _blocks_suffice
from tests.weak_supervision.population import CLIQUES, exact_population, population_buckets


def draw(accuracies, num_rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, num_rows)
    return np.where(rng.random((num_rows, len(accuracies))) < accuracies, y[:, None], 1 - y[:, None]).astype(np.int8)


def test_two_groups_do_not_determine_the_population(key):
    buckets = population_buckets()
    model = fit_matrix_completion(buckets, balance=0.5, cliques=CLIQUES, key=key)
    report = identifiability_report(model, buckets)
    assert report["groups"] == ((0,), (1, 2))
    assert (report["informative"], report["rank"], report["columns"]) == (2, 3, 3)
    assert report["flat_directions"] == 1
    assert "only 2 groups of rules vary" in report["warnings"][0]
    assert any("buckets" in line and "differ by more than 0.1" in line for line in report["warnings"])
    # The truth is one of the valid solutions of equal loss, and so is the model.
    _, posterior = exact_population()
    assert (report["low"][:, 1] <= posterior + 0.01).all()
    assert (report["high"][:, 1] >= posterior - 0.01).all()
    probs = predict_probs(model, buckets)
    assert (report["low"] <= probs).all()
    assert (probs <= report["high"]).all()


def test_three_good_groups_raise_no_warning(key):
    votes = draw([0.9, 0.8, 0.75, 0.7])
    report = identifiability_report(fit_matrix_completion(votes, key=key), votes)
    assert report["warnings"] == []
    assert report["flat_directions"] == 0
    assert (report["high"] - report["low"]).max() < 0.01
    assert report["null_directions"].shape == (0, 4)


def test_one_group_leaves_any_split(key):
    votes = np.array([[0, 0]] * 6 + [[1, 1]] * 3 + [[1, 0]])
    model = fit_matrix_completion(votes, cliques=[(0, 1)], key=key)
    report = identifiability_report(model, votes)
    assert "only 1 group of rules varies" in report["warnings"][0]
    rows = compress(votes).rows.tolist()
    # P(0, 0) = .6 and P(y = 1) = .5: at least .1 of it is class 0, at most .5 class 1.
    np.testing.assert_allclose(report["low"][rows.index([0, 0])], [1 / 6, 1 / 6])
    np.testing.assert_allclose(report["high"][rows.index([0, 0])], [5 / 6, 5 / 6])
    np.testing.assert_allclose(report["high"][rows.index([1, 1])], [1, 1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dead_duplicate_and_silent(key):
    votes = draw([0.9, 0.8, 0.7])
    votes = np.concatenate([votes, votes[:, :1], np.full((len(votes), 1), -1)], 1)
    for model in (
        fit_matrix_completion(votes, steps=50, key=key),
        fit_latent_class(votes, num_classes=2, starts=2, key=key),
    ):
        report = identifiability_report(model, votes)
        assert report["dead_rules"] == [4]
        text = "\n".join(report["warnings"])
        assert "(0 and 3)" in text
        assert "rules [4] say the same on every row" in text
        assert "1 combinations of votes never vary" in text
        assert np.isfinite(report["low"]).all()


def test_a_class_without_votes_and_too_few_groups(key):
    votes = draw([0.9, 0.8, 0.7])
    report = identifiability_report(fit_latent_class(votes, num_classes=4, starts=2, key=key), votes)
    assert "no rule votes for the classes [2, 3]" in report["warnings"]
    assert any("too few different votes to tell 4 classes apart" in line for line in report["warnings"])


def test_blocks():
    assert _blocks_suffice(np.array([2, 2, 2]), 2)
    assert not _blocks_suffice(np.array([2, 2, 2]), 3)
    assert _blocks_suffice(np.array([3, 3, 3]), 3)
    assert _blocks_suffice(np.array([2] * 6), 3)


def test_starts_of_em_with_overlapping_cliques(key):
    votes = draw([0.9, 0.8, 0.7, 0.7, 0.8])
    for options in ({}, {"abstain": "ignore"}):
        model = fit_latent_class(votes, num_classes=2, cliques=[(0, 1), (1, 2)], starts=3, key=key, **options)
        report = identifiability_report(model, votes)
        assert report["equal_starts"] >= 1
        assert (report["low"] <= predict_probs(model, compress(votes)) + 1e-12).all()
        assert report["loss_spread"] >= 0


@pytest.mark.slow
def test_three_classes_by_moments(key):
    votes = np.random.default_rng(0).integers(0, 3, (300, 4))
    model = fit_matrix_completion(votes, num_classes=3, starts=2, steps=50, key=key)
    report = identifiability_report(model, votes)
    assert report["flat_directions"] is None
    assert report["low"].shape == (len(compress(votes).counts), 3)


def test_no_votes(key):
    with pytest.warns(UserWarning, match="no rule ever votes"):
        model = fit_matrix_completion(np.full((3, 2), -1), key=jax.random.key(0))
    report = identifiability_report(model, np.full((3, 2), -1))
    assert "no rule ever votes" in report["warnings"][0]
