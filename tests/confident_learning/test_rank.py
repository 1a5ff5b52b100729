import numpy as np
import pytest

from jlabel.confident_learning import (
    ConfidentLearningError,
    confidence_weighted_entropy,
    normalized_margin,
    self_confidence,
)
from tests.confident_learning.toy import LABELS, PROBS, noisy

SCORES = (self_confidence, normalized_margin, confidence_weighted_entropy)


def test_by_hand():
    np.testing.assert_allclose(self_confidence(LABELS, PROBS), [0.9, 0.7, 0.6, 0.3, 0.7, 0.4], rtol=1e-15)
    np.testing.assert_allclose(normalized_margin(LABELS, PROBS), [0.8, 0.5, 0.3, -0.2, 0.5, -0.1], rtol=1e-12)
    found = confidence_weighted_entropy(LABELS, PROBS)
    np.testing.assert_allclose(found, [0.8646, 0.6850, 0.6310, 0.4535, 0.6850, 0.5340], atol=5e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_definitions(dtype):
    labels, probs = noisy(20_000, 6, steps=9)  # many zeros and ties, more than one block
    probs = probs.astype(dtype)
    rows, wide = np.arange(20_000), probs.astype(np.float64)
    given = wide[rows, labels]
    others = wide.copy()
    others[rows, labels] = -1
    np.testing.assert_array_equal(self_confidence(labels, probs), given)
    np.testing.assert_array_equal(normalized_margin(labels, probs), given - others.max(1))
    entropy = -np.sum(wide * np.log(np.where(wide > 0, wide, 1)), axis=1) / np.log(6)
    with np.errstate(all="ignore"):
        s = entropy / given
        expected = np.where(given == 0, 0, np.where(entropy == 0, 1, np.log1p(s) / s))
    np.testing.assert_allclose(confidence_weighted_entropy(labels, probs), expected, rtol=1e-12)
    assert all(score(labels, probs).dtype == np.float64 for score in SCORES)


def test_extremes():
    tiny = np.nextafter(0, 1)
    probs = np.array([[1.0, 0.0], [0.0, 1.0], [tiny, 1.0], [1.0, tiny], [0.5, 0.5]])
    labels = np.zeros(5, int)
    np.testing.assert_array_equal(normalized_margin(labels, probs), [1, -1, -1, 1, 0])
    found = confidence_weighted_entropy(labels, probs)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, [1, 0, found[2], 1, np.log(3) / 2], rtol=1e-12)
    assert 0 <= found[2] <= 1
    for score in SCORES:  # a single class: nothing else to be
        assert score([0], [[1.0]]).tolist() == [1.0]


def test_bad_input():
    for score in SCORES:
        with pytest.raises(ConfidentLearningError, match=r"labels\[0\] is 2"):
            score([2], [[0.5, 0.5]])
