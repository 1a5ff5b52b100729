"""Two Gaussians: the population of votes by hand, and the rows that are drawn from it."""

import numpy as np
import pytest
from scipy import stats

import jlabel.data
from jlabel.data import DataError
from jlabel.data.rule_votes import rule_votes
from jlabel.data.two_gaussians import BAYES_ACCURACY, CEILING, MEANS, RULES, STD, vote_population

# Votes of the three rules -> probability and P(y = 1), computed independently.
KNOWN = {
    (0, 0, 0): (0.382763, 0.007447), (0, 1, 0): (0.104344, 0.085529), (0, 1, 1): (0.012892, 0.480161),
    (1, 0, 0): (0.090637, 0.843781), (1, 1, 0): (0.243015, 0.985366), (1, 1, 1): (0.166349, 0.998498),
}  # fmt: skip


def drawn_votes(split, seed=0):
    source = jlabel.data.open(f"embedded:two_gaussians?seed={seed}", split)
    features = np.stack([source.content(i) for i in range(len(source))])
    (votes,) = rule_votes(RULES, {"x1": features[:, 0], "x2": features[:, 1]}, chunk_size=len(features), num_classes=2)
    return features, votes, source.labels


def test_population():
    found = vote_population()
    assert [tuple(row) for row in found.rows.tolist()] == list(KNOWN)
    np.testing.assert_allclose(found.probs, [p for p, _ in KNOWN.values()], atol=5e-7)
    np.testing.assert_allclose(found.positive, [y for _, y in KNOWN.values()], atol=5e-7)


def test_accuracies_of_rules_majority_and_ceiling():
    rows, probs, positive = vote_population()
    right = np.where(rows == 1, positive[:, None], 1 - positive[:, None])
    np.testing.assert_allclose(probs @ right, [0.9641, 0.8147, 0.6653], atol=5e-5)
    majority = rows.sum(1) > 1
    assert abs(probs @ np.where(majority, positive, 1 - positive) - 0.9012) < 5e-5
    assert abs(probs @ np.maximum(positive, 1 - positive) - CEILING) < 5e-5
    distance = np.linalg.norm(MEANS[1] - MEANS[0]) / STD  # the best rule on x is a line half way
    assert abs(stats.norm.cdf(distance / 2) - BAYES_ACCURACY) < 5e-5


def test_rows_are_drawn_from_the_population():
    features, votes, labels = drawn_votes("train")
    assert (features.shape, features.dtype) == ((10_000, 2), np.float32)
    found = vote_population()
    place = (votes[:, None] == found.rows).all(2).argmax(1)
    assert (found.rows[place] == votes).all()  # no other row of votes can occur
    counts = np.bincount(place, minlength=6)
    assert stats.chisquare(counts, found.probs * len(votes)).pvalue > 1e-3
    positive = np.bincount(place, labels, minlength=6)
    spread = np.sqrt(counts * found.positive * (1 - found.positive))
    assert (np.abs(positive - counts * found.positive) < 4 * spread).all()


def test_splits_and_seeds_differ():
    first, _, _ = drawn_votes("train")
    assert [len(drawn_votes(split)[1]) for split in ("val", "test")] == [1000, 3000]
    assert not np.isin(drawn_votes("test")[0][:, 0], first[:, 0]).all()
    assert (drawn_votes("train", seed=1)[0] != first).all()
    np.testing.assert_array_equal(drawn_votes("train")[0], first)


def test_bad_option():
    with pytest.raises(DataError, match="no option 'noise'; there are seed"):
        jlabel.data.open("embedded:two_gaussians?noise=1")
