import dataclasses
import re

import numpy as np
import pytest

from jlabel.confident_learning import (
    ConfidentLearningError,
    calibrate_joint,
    confidence_weighted_entropy,
    confident_joint,
    count_errors,
    filter_by_both,
    filter_by_class,
    filter_by_disagreement,
    filter_by_joint,
    filter_by_noise_rate,
    filter_lowest,
    find_errors,
    normalized_margin,
    self_confidence,
)
from tests.confident_learning.toy import TWO_LABELS, TWO_PROBS, noisy

SCORES = {
    "normalized_margin": normalized_margin,
    "self_confidence": self_confidence,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}
FILTERS = {
    "noise_rate": filter_by_noise_rate,
    "class": filter_by_class,
    "both": filter_by_both,
    "joint": filter_by_joint,
    "disagreement": filter_by_disagreement,
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("rule", ["calibrated", "uncalibrated", "off_diagonal"])
def test_margin_flags_the_counted_number(rule, score):
    labels, probs = noisy(500, 4, steps=7)
    found = find_errors(labels, probs, rule=rule, score=score)
    counts = np.bincount(labels)
    np.testing.assert_array_equal(found.joint, confident_joint(labels, probs))
    np.testing.assert_array_equal(found.calibrated, calibrate_joint(found.joint, counts))
    np.testing.assert_array_equal(found.label_counts, counts)
    assert found.num_errors == count_errors(found.joint, counts, rule=rule)
    np.testing.assert_array_equal(found.scores, SCORES[score](labels, probs))
    np.testing.assert_array_equal(found.mask, filter_lowest(found.scores, found.num_errors))
    expected = sorted(np.flatnonzero(found.mask).tolist(), key=lambda row: (found.scores[row], row))
    assert found.order.tolist() == expected


@pytest.mark.parametrize("method", FILTERS)
def test_the_other_methods_are_the_filters(method):
    labels, probs = noisy(500, 4, steps=7)
    found = find_errors(labels, probs, method=method)
    np.testing.assert_array_equal(found.mask, FILTERS[method](labels, probs))
    assert (np.diff(found.scores[found.order]) >= 0).all()
    assert set(found.order.tolist()) == set(np.flatnonzero(found.mask).tolist())


def test_collision_reaches_joint_and_mask():
    # t_1 = t_2 = .3, so the first row is confident of 1 and 2, not of 0 (t_0 = .65), its most probable class.
    labels = np.array([0, 0, 1, 2])
    probs = np.array([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    assert find_errors(labels, probs).joint[0].tolist() == [1, 1, 0]
    assert find_errors(labels, probs, collision="all").joint[0].tolist() == [2, 0, 0]


def test_truth_is_found():
    """Of planted errors, a fair model's margins find most."""
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=4000)
    planted = rng.random(4000) < 0.1
    labels = np.where(planted, (true + 1) % 4, true)
    logits = rng.normal(size=(4000, 4)) + 6 * np.eye(4)[true]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = find_errors(labels, probs)
    assert found.num_errors == pytest.approx(planted.sum(), rel=0.05)
    assert planted[found.order].mean() > 0.95
    assert {(pair.given, pair.guess) for pair in found.pairs(4)} == {(1, 0), (2, 1), (3, 2), (0, 3)}


def test_pairs_and_summary():
    found = find_errors(["cat"] * 8 + ["dog"] * 2, TWO_PROBS, classes=["cat", "dog"])
    (pair,) = found.pairs()
    assert pair[:3] == ("cat", "dog", 1)
    assert pair[3:] == pytest.approx((8 / 7, 1 / 7))
    assert found.pairs(0) == []
    assert str(found).splitlines()[0] == "1 of 10 rows flagged; 1.1 labels are estimated wrong (11.43%)"
    assert repr(found) == "LabelErrors(1 of 10 rows flagged, num_errors=1.14286)"
    plain = find_errors(TWO_LABELS, TWO_PROBS)
    assert plain.pairs()[0][:2] == (0, 1)
    assert plain.classes is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain.num_errors = 0


def test_pairs_are_sorted_and_complete():
    labels, probs = noisy(2000, 5)
    found = find_errors(labels, probs)
    pairs = found.pairs()
    assert (np.diff([pair.estimated for pair in pairs]) <= 0).all()
    assert sum(pair.estimated for pair in pairs) == pytest.approx(found.num_errors)
    assert sum(pair.counted for pair in pairs) == found.joint.sum() - np.trace(found.joint)
    assert len(found.summary(3).splitlines()) == 5


def test_one_class_and_one_row():
    found = find_errors([0, 0], [[1.0], [1.0]])
    assert (found.num_errors, found.order.tolist(), found.pairs()) == (0, [], [])
    assert find_errors([1], [[0.9, 0.1]]).mask.shape == (1,)


def test_summary_tells_of_mended_rows():
    probs = TWO_PROBS.copy()
    probs[3] *= 1.0005
    assert "probabilities of 1 rows were renormalised" in str(find_errors(TWO_LABELS, probs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "x"}, "rule is 'x'; allowed: calibrated, uncalibrated, off_diagonal"),
        ({"collision": "x"}, "collision is 'x'; allowed: confident, all"),
        ({"method": "x"}, "method is 'x'; allowed: margin, noise_rate, class, both, joint, disagreement"),
        ({"score": "x"}, "score is 'x'; allowed: normalized_margin, self_confidence, confidence_weighted_entropy"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfidentLearningError, match=re.escape(message)):
        find_errors(TWO_LABELS, TWO_PROBS, **options)
