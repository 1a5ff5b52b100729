import re

import numpy as np
import pytest

from jlabel.taxonomy import METHODS, Relations, TaxonomyError, find_relations, relation_scores, select_relations

DOMAINS, NAMES = ["a", "b"], [["cat", "dog"], ["x", "y", "z"]]
CROSS = {(0, 1): [[0.9, 0.1, 0.0], [0.3, 0.3, 0.4]], (1, 0): [[1.0, 0.0], [0.2, 0.8], [0.0, 0.0]]}


@pytest.mark.parametrize("method", METHODS)
def test_find_relations_is_the_rule_on_each_pair(method):
    found = find_relations(CROSS, domains=DOMAINS, class_names=NAMES, method=method)
    assert found.starts == (0, 2, 5)
    for (a, b), probs in CROSS.items():
        np.testing.assert_array_equal(found.block(a, b), np.where(select_relations(probs, method=method), probs, 0))
    assert not found.block(0, 0).any()
    assert not found.block(1, 1).any()


def test_weights_belong_to_the_relations():
    weights = np.zeros((5, 5))
    weights[0, 3] = 0.5
    found = Relations(DOMAINS, NAMES, weights)
    weights[0, 3] = 0.9
    assert found.block(0, 1).tolist() == [[0, 0.5, 0], [0, 0, 0]]
    assert np.argwhere(found.edges).tolist() == [[0, 3]]
    with pytest.raises(ValueError, match="read-only"):
        found.weights[0, 3] = 1
    assert found.labels == ("a:cat", "a:dog", "b:x", "b:y", "b:z")
    assert str(found) == "2 domains, 5 classes, 1 edge\na:cat -> b:y 0.50"


def test_long_lists_are_cut():
    names = [[f"{k}" for k in range(5)]] * 2
    weights = np.kron([[0, 1], [1, 0]], np.full((5, 5), 0.5))
    lines = str(Relations(DOMAINS, names, weights)).split("\n")
    assert lines[0] == "2 domains, 10 classes, 50 edges"
    assert lines[-1] == "..."
    assert len(lines) == 22


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domains": ["a"]}, "domains are ['a']: relations need two domains or more"),
        ({"domains": ["a", "a"]}, "domains: 'a' stands at 0 and at 1: names must differ"),
        ({"domains": ["a", ""]}, "domains: name 1 is ''; allowed: text that is not empty"),
        ({"domains": "ab"}, "domains must be a list of names"),
        ({"class_names": [["cat", "dog"]]}, "class_names has 1 lists, domains 2 names"),
        ({"class_names": [["cat", "cat"], ["x", "y", "z"]]}, "class_names of domain 'a': 'cat' stands at 0 and at 1"),
        ({"class_names": [["cat", 3], ["x", "y", "z"]]}, "class_names of domain 'a': name 1 is 3"),
        ({"class_names": [["cat"], ["x", "y", "z"]]}, "domain 'a' has 1 class: its model is always sure"),
        ({"class_names": [[], ["x", "y", "z"]]}, "class_names of domain 'a' is empty"),
        ({"class_names": ["cat", ["x", "y", "z"]]}, "class_names of domain 'a' is one text, 'cat'"),
        ({"cross": {(0, 1): CROSS[0, 1]}}, "cross[1, 0] is missing: the model of 'a' on rows of 'b'"),
        ({"cross": CROSS | {(0, 2): [[1]]}}, "cross has the key (0, 2); allowed: pairs (a, b) of different domains"),
        ({"cross": CROSS | {(0, 1): [[1.0, 0.0], [0.5, 0.5]]}}, "cross[0, 1] has shape (2, 2); the classes of 'a' by"),
        ({"cross": CROSS | {(1, 0): [[1.0, 0.0], [0.5, 0.4], [1, 0]]}}, "cross[1, 0][1] sums to 0.9"),
        ({"cross": CROSS | {(1, 0): [[1.0, 0.0], [0.5, np.nan], [1, 0]]}}, "cross[1, 0][1, 1] is nan"),
        ({"method": "best"}, "method is 'best'"),
        ({"threshold": 2}, "threshold is 2; allowed"),
    ],
)
def test_bad_input(change, message):
    given = {"cross": CROSS, "domains": DOMAINS, "class_names": NAMES} | change
    with pytest.raises(TaxonomyError, match="^" + re.escape(message)):
        find_relations(given.pop("cross"), **given)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((0, 2), 1.5, "weights[0, 2] is 1.5; allowed: 0 to 1"),
        ((0, 2), -0.5, "weights[0, 2] is -0.5; allowed: 0 to 1"),
        ((0, 2), np.inf, "weights[0, 2] is inf"),
        ((3, 4), 0.5, "weights[3, 4] is 0.5; allowed: 0 to 1, and 0 between classes of a domain"),
        ((0, 0), 1.0, "weights[0, 0] is 1; allowed: 0 to 1, and 0 between classes of a domain"),
    ],
)
def test_bad_weights(place, value, message):
    weights = np.zeros((5, 5))
    weights[place] = value
    with pytest.raises(TaxonomyError, match=re.escape(message)):
        Relations(DOMAINS, NAMES, weights)


def test_weights_of_another_size():
    with pytest.raises(TaxonomyError, match=re.escape("weights has shape (4, 4); the domains have 5 classes: (5, 5)")):
        Relations(DOMAINS, NAMES, np.zeros((4, 4)))


def test_scores_by_hand():
    scores = relation_scores([[0, 0.8], [0.8, 0]], [[0, 0.6], [0, 0]])
    assert scores == pytest.approx((0.625, 0.5, 1.0, 2 / 3))


def test_classes_without_edges_count_as_loops():
    """Found: 0 -> 1, 2 alone. True: 0, 1 and 2 alone. Loops found {2}, true {0, 1, 2}."""
    found = np.zeros((3, 3))
    found[0, 1] = 0.5
    scores = relation_scores(found, np.zeros((3, 3)))
    assert scores == pytest.approx(((0.5 + 1 + 1) / (0.5 + 3), 1 / 2, 1 / 3, 2 / 5))


def test_scores_of_the_truth_itself_and_of_nothing():
    truth = np.array([[0, 0.5, 0], [0.25, 0, 0], [0, 0, 0]])
    assert relation_scores(truth, truth) == (0, 1, 1, 1)
    assert relation_scores(np.zeros((4, 4)), np.zeros((4, 4))) == (0, 1, 1, 1)
    assert relation_scores(np.zeros((0, 0)), np.zeros((0, 0))) == (0, 1, 1, 1)


def test_scores_take_relations_and_do_not_depend_on_the_order_of_classes():
    rng = np.random.default_rng(0)
    a, b = (np.kron([[0, 1], [1, 0]], rng.random((3, 3)) * (rng.random((3, 3)) < 0.4)) for _ in range(2))
    names = [["p", "q", "r"], ["s", "t", "u"]]
    scores = relation_scores(Relations(DOMAINS, names, a), Relations(DOMAINS, names, b))
    order = rng.permutation(6)
    assert scores == pytest.approx(relation_scores(a[np.ix_(order, order)], b[np.ix_(order, order)]))
    assert relation_scores(b, a).edr == pytest.approx(scores.edr)
    assert relation_scores(b, a).precision == pytest.approx(scores.recall)


def test_scores_refuse_what_does_not_fit():
    with pytest.raises(TaxonomyError, match="found has 2 classes, truth 3"):
        relation_scores(np.zeros((2, 2)), np.zeros((3, 3)))
    with pytest.raises(TaxonomyError, match=re.escape("truth must be square, got shape (2, 3)")):
        relation_scores(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(TaxonomyError, match=re.escape("found[0, 1] is -1; allowed: weights from 0")):
        relation_scores([[0, -1], [0, 0]], np.zeros((2, 2)))
