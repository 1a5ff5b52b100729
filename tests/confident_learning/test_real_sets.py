"""The three published sets with probabilities: joints, counts, and what the voters say of the suspects."""

import numpy as np
import pytest

from jlabel.confident_learning import (
    class_thresholds,
    confident_joint,
    count_errors,
    filter_by_both,
    filter_by_class,
    filter_by_disagreement,
    filter_by_joint,
    filter_by_noise_rate,
    filter_lowest,
    find_errors,
    find_errors_streaming,
    normalized_margin,
    self_confidence,
)
from tests.confident_learning.label_errors import load, needs_label_errors, voted

pytestmark = needs_label_errors

# sum of the joint, off-diagonal, uncalibrated, Eq. 2, disagreement, by noise rate, by class, by both
COUNTS = {
    "mnist": (9468, 15, 15.84, 15.8895, 87, 15, 15, 15),
    "cifar10": (8852, 244, 275.64, 283.0538, 706, 284, 284, 226),
    "20news": (4448, 55, 93.13, 94.7359, 577, 95, 96, 44),
}


@pytest.mark.parametrize("name", COUNTS)
def test_joint_and_counts(name):
    labels, probs, predicted = load(name)
    total, off, uncalibrated, calibrated, *flagged = COUNTS[name]
    for dtype in (np.float64, np.float32):
        for collision in ("confident", "all"):
            joint = confident_joint(labels, probs.astype(dtype), collision=collision)
            assert (joint.sum(), joint.sum() - np.trace(joint)) == (total, off)
    counts = np.bincount(labels)
    assert count_errors(joint, counts, rule="off_diagonal") == off
    assert count_errors(joint, counts, rule="uncalibrated") == pytest.approx(uncalibrated, abs=5e-3)
    assert count_errors(joint, counts) == pytest.approx(calibrated, abs=5e-5)
    filters = (filter_by_disagreement, filter_by_noise_rate, filter_by_class, filter_by_both)
    assert [flag(labels, probs).sum() for flag in filters] == flagged
    assert filter_by_disagreement(labels, predicted).sum() == flagged[0]


def test_thresholds_of_cifar10():
    labels, probs, _ = load("cifar10")
    expected = [0.9214, 0.9513, 0.9155, 0.8161, 0.9233, 0.8655, 0.9390, 0.9448, 0.9654, 0.9267]
    np.testing.assert_allclose(class_thresholds(labels, probs), expected, atol=5e-5)


@pytest.mark.parametrize(("name", "num"), [("cifar10", 275), ("20news", 93)])
def test_the_voted_rows_are_the_lowest_margins(name, num):
    labels, probs, _ = load(name)
    rows, _ = voted(name)
    found = find_errors(labels, probs, rule="uncalibrated")
    assert int(found.num_errors) == num
    assert sorted(found.order.tolist()) == rows.tolist()


def test_the_voted_rows_of_mnist_are_the_100_lowest_margins():
    labels, probs, _ = load("mnist")
    rows, _ = voted("mnist")
    assert np.flatnonzero(filter_lowest(normalized_margin(labels, probs), 100)).tolist() == rows.tolist()


def test_validated_errors_among_the_flagged_of_cifar10():
    labels, probs, _ = load("cifar10")
    _, wrong = voted("cifar10")
    assert len(wrong) == 54
    assert find_errors(labels, probs, rule="uncalibrated").mask[wrong].sum() == 54
    filters = (filter_by_noise_rate, filter_by_class, filter_by_both, filter_by_joint)
    assert [int(flag(labels, probs)[wrong].sum()) for flag in filters] == [49, 46, 44, 48]


def test_the_worst_of_20news():
    labels, probs, _ = load("20news")
    _, wrong = voted("20news")
    assert np.isin(find_errors(labels, probs).order[:10], wrong).all()
    zeros = np.flatnonzero(self_confidence(labels, probs) == 0)
    assert (len(zeros), np.isin(zeros, wrong).sum()) == (61, 33)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("rule", ["calibrated", "uncalibrated"])
def test_streaming_finds_the_same(name, rule):
    labels, probs, _ = load(name)
    order = np.random.default_rng(0).permutation(len(labels))

    def chunks():
        for start in range(0, len(order), 1000):
            rows = order[start : start + 1000]
            yield rows, labels[rows], probs[rows]

    expected = find_errors(labels, probs, rule=rule)
    found = find_errors_streaming(chunks, num_classes=probs.shape[1], rule=rule)
    assert found.num_errors == expected.num_errors
    assert found.indices.tolist() == expected.order.tolist()
    np.testing.assert_array_equal(found.joint, expected.joint)
    np.testing.assert_array_equal(found.thresholds, expected.thresholds)
    np.testing.assert_array_equal(found.scores, expected.scores[expected.order])
