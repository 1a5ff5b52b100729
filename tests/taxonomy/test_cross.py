import re

import numpy as np
import pytest

from jlabel.taxonomy import TaxonomyError, cross_counts, cross_predictions

LABELS, SAID = [0, 0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 2, 2, 2]
SIZES = {"num_classes": 3, "num_predicted": 4}
BY_HAND = [[0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_shares_by_hand():
    found = cross_predictions(LABELS, SAID, **SIZES)
    assert found.dtype == np.float32
    assert found.tolist() == BY_HAND
    assert cross_counts(LABELS, SAID, **SIZES).tolist() == [[1, 3, 0, 0], [0, 0, 2, 0], [0, 0, 1, 0]]


def test_probabilities_count_their_first_largest():
    probs = np.full((7, 4), 0.1)
    probs[np.arange(7), SAID] = 0.7
    assert cross_predictions(LABELS, probs, **SIZES).tolist() == BY_HAND
    assert cross_counts([0], [[0.1, 0.4, 0.4, 0.1]], num_classes=1, num_predicted=4).tolist() == [[0, 1, 0, 0]]


def test_soft_is_the_mean_of_probabilities():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=7).astype(np.float32)
    found = cross_predictions(LABELS, probs, soft=True, **SIZES)
    by_class = [probs[np.array(LABELS) == label].mean(0, dtype=np.float64) for label in range(3)]
    np.testing.assert_allclose(found, by_class, rtol=1e-6)
    hard = np.eye(4)[SAID]
    assert cross_predictions(LABELS, hard, soft=True, **SIZES).tolist() == BY_HAND


@pytest.mark.parametrize("soft", [True, False])
def test_a_class_without_rows_warns(soft):
    with pytest.warns(UserWarning, match="2 of 4 classes have no row, so no edges go out: 1, 3"):
        found = cross_predictions([0, 2], [[0.5, 0.5], [1, 0]], num_classes=4, num_predicted=2, soft=soft)
    assert found.sum(1).tolist() == [1, 0, 1, 0]


def test_no_row_at_all():
    with pytest.warns(UserWarning, match="2 of 2 classes have no row"):
        assert cross_predictions([], [], num_classes=2, num_predicted=3).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("labels", "said", "options", "message"),
    [
        ([0, 3], [0, 1], {}, "labels[1] is 3; allowed: 0 to 2"),
        ([0, -1], [0, 1], {}, "labels[1] is -1; allowed: 0 to 2"),
        ([0, 1], [0, 4], {}, "predictions[1] is 4; allowed: 0 to 3"),
        ([0, 1], [0], {}, "labels has 2 rows, predictions 1: give one prediction for each row"),
        ([0.5], [0], {}, "labels are float64 (labels[0] is 0.5); allowed: whole numbers from 0"),
        ([0], [[0.5, 0.5, 0, np.nan]], {}, "predictions[0, 3] is nan"),
        ([0], [[0.5, 0.7, -0.2, 0]], {}, "predictions[0, 2] is -0.2; allowed: 0 to 1"),
        ([0], [[0.5, 0.1, 0.2, 0]], {}, "predictions[0] sums to 0.8; allowed: 1"),
        ([0], [[0, 0, 0, 0]], {}, "predictions[0] sums to 0; allowed: 1"),
        ([0], [[0.5, 0.5]], {}, "predictions have 2 columns, num_predicted is 4"),
        ([0], [1], {"soft": True}, "soft=True averages probabilities, but predictions are classes"),
        ([0], [0], {"num_predicted": 1}, "num_predicted is 1: a model of one class is always sure"),
        ([0], [0], {"num_classes": 0}, "num_classes is 0; allowed: whole numbers from 1"),
        ([[0]], [0], {}, "labels must have one axis, got shape (1, 1)"),
    ],
)
def test_bad_input(labels, said, options, message):
    with pytest.raises(TaxonomyError, match=re.escape(message)):
        cross_predictions(labels, said, **(SIZES | options))
