import re

import numpy as np
import pytest

from jlabel.taxonomy import (
    METHODS,
    Relations,
    TaxonomyError,
    relation_scores,
    select_relations,
    sweep_relations,
    sweep_scores,
)
from tests.taxonomy.rows import counted

SIZES = (4, 3, 6)
STARTS = (0, 4, 7, 13)
VALUES = (0.05, 0.2, 0.25, 0.6, 1.0)


@pytest.fixture(scope="module")
def cross():
    rng = np.random.default_rng(0)
    found = {}
    for a in range(3):
        for b in range(3):
            if a != b:
                found[a, b] = (counted(rng, SIZES[a], SIZES[b], 20) / 20).astype(np.float32)
    found[2, 0][1] = 0  # a class without rows
    return found


def test_every_value_is_the_rule(cross):
    sweep = sweep_relations(cross, thresholds=VALUES, densities=VALUES[1:])
    for method in METHODS:
        masks = list(sweep.edges(method))
        values = {"threshold": VALUES, "density": VALUES[1:]}.get(method, (0.5,))
        assert len(masks) == len(values)
        for mask, value in zip(masks, values, strict=True):
            slow = np.zeros((13, 13), bool)
            for (a, b), probs in cross.items():
                slow[STARTS[a] : STARTS[a + 1], STARTS[b] : STARTS[b + 1]] = select_relations(
                    probs, method=method, threshold=value, density=value
                )
            np.testing.assert_array_equal(mask, slow)


def test_options_reach_the_hypothesis_rule(cross):
    sweep = sweep_relations(cross, max_relations=1, allow_none=False)
    rows = sweep.probs.reshape(13, 13)[:4, 4:7].sum(1)
    assert (rows > 0).all()
    assert sweep.hypothesis[:4, 4:7].sum(1).tolist() == [1] * 4
    np.testing.assert_array_equal(sweep.hypothesis, sweep.top)


def test_scores_of_every_value(cross):
    truth = np.zeros((13, 13))
    truth[0, 4] = truth[5, 8] = 1
    truth[9, 1] = 0.5
    sweep = sweep_relations(cross, thresholds=VALUES, densities=[0.6])
    scores = sweep_scores(sweep, truth)
    assert [len(scores[method]) for method in METHODS] == [5, 1, 1, 1]
    for k, value in enumerate(VALUES):
        slow = relation_scores(np.where(sweep.probs >= value - 1e-6, sweep.probs, 0), truth)
        assert scores["threshold"][k] == pytest.approx(slow)
    names = [[f"{k}" for k in range(size)] for size in SIZES]
    assert sweep_scores(sweep, Relations(("a", "b", "c"), names, truth)) == scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": [0.2, 1.5]}, "thresholds[1] is 1.5; allowed: above 0, up to 1"),
        ({"densities": [0.2, 0.2]}, "densities[1] is 0.2; give one value or more, each above the one before"),
        ({"thresholds": []}, "thresholds is empty; give one value or more"),
        ({"max_relations": -1}, "max_relations is -1"),
    ],
)
def test_bad_options(cross, options, message):
    with pytest.raises(TaxonomyError, match=re.escape(message)):
        sweep_relations(cross, **options)


def test_bad_pairs(cross):
    with pytest.raises(TaxonomyError, match=re.escape("pairs have the keys []; give one (a, b) for all a != b")):
        sweep_relations({})
    with pytest.raises(TaxonomyError, match=re.escape("pairs have the keys [(0, 1)]; give one")):
        sweep_relations({(0, 1): [[1.0, 0.0]]})
    with pytest.raises(TaxonomyError, match=re.escape("cross[0, 2] has shape (4, 3); the classes of 'domain 0' by")):
        sweep_relations(cross | {(0, 2): cross[0, 1]})
    with pytest.raises(TaxonomyError, match=re.escape("cross[0, 1] must have two axes, got shape ()")):
        sweep_relations(cross | {(0, 1): 3.0})
    sweep = sweep_relations(cross)
    with pytest.raises(TaxonomyError, match=re.escape("truth has shape (2, 2); the sweep's classes: (13, 13)")):
        sweep_scores(sweep, np.zeros((2, 2)))
    with pytest.raises(TaxonomyError, match="method is 'best'"):
        sweep.edges("best")
