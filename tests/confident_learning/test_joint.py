import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jlabel.confident_learning import (
    ConfidentLearningError,
    calibrate_joint,
    class_thresholds,
    confident_joint,
    filter_by_noise_rate,
    find_errors,
    normalized_margin,
    round_joint,
)
from tests.confident_learning.toy import LABELS, PROBS, TWO_LABELS, TWO_PROBS, noisy, slow_joint, slow_round


def test_three_classes_by_hand():
    np.testing.assert_allclose(class_thresholds(LABELS, PROBS), [0.8, 0.45, 0.55], atol=1e-9)
    joint = confident_joint(LABELS, PROBS)
    assert joint.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert joint.dtype == np.int32
    np.testing.assert_allclose(calibrate_joint(joint, [2, 2, 2]), [[2, 0, 0], [0, 2, 0], [0, 1, 1]], rtol=1e-15)


def test_two_classes_by_hand():
    np.testing.assert_allclose(class_thresholds(TWO_LABELS, TWO_PROBS), [0.76875, 0.8], atol=1e-9)
    joint = confident_joint(TWO_LABELS, TWO_PROBS)
    assert joint.tolist() == [[6, 1], [0, 1]]
    np.testing.assert_allclose(calibrate_joint(joint, [8, 2]), [[48 / 7, 8 / 7], [0, 2]], rtol=1e-15)


def test_several_confident_classes():
    probs, thresholds = np.array([[0.6, 0.25, 0.15]]), np.array([0.8, 0.2, 0.1])
    for collision, column in (("confident", 1), ("all", 0)):
        joint = confident_joint([2], probs, thresholds=thresholds, collision=collision, min_diagonal=0)
        assert np.argwhere(joint).tolist() == [[2, column]]
    # One confident class is no collision: it stands, although another is more probable.
    joint = confident_joint([2], probs, thresholds=[0.8, 0.2, 0.5], collision="all", min_diagonal=0)
    assert np.argwhere(joint).tolist() == [[2, 1]]


def test_equally_probable_classes_go_to_the_lower():
    joint = confident_joint([2], [[0.2, 0.4, 0.4]], thresholds=[0.1, 0.1, 0.1], min_diagonal=0)
    assert np.argwhere(joint).tolist() == [[2, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tolerance_is_that_of_the_definition_in_both_types(dtype):
    value = float(dtype(0.7))
    for slack, counted in ((1e-6, True), (-1e-9, False), (1e-9, True)):
        thresholds = [value + 1e-6 - slack, 2]
        joint = confident_joint([0], np.array([[0.7, 0.3]], dtype), thresholds=thresholds, min_diagonal=0)
        assert joint.sum() == counted
    assert confident_joint([0], np.array([[0.7, 0.3]], dtype), thresholds=[value, 2], tolerance=0).sum() == 1
    above = np.nextafter(value, 1)  # in float64, between two float32 numbers
    assert not confident_joint(
        [0], np.array([[0.7, 0.3]], dtype), thresholds=[above, 2], tolerance=0, min_diagonal=0
    ).any()


@pytest.mark.parametrize("collision", ["confident", "all"])
@pytest.mark.parametrize(
    ("num_rows", "num_classes", "steps"), [(400, 3, None), (400, 5, 10), (300, 40, 5), (50, 60, 2)]
)
def test_against_the_definition(collision, num_rows, num_classes, steps):
    labels, probs = noisy(num_rows, num_classes, steps=steps)
    for dtype in (np.float64, np.float32):
        found = confident_joint(labels, probs.astype(dtype), collision=collision)
        np.testing.assert_array_equal(found, slow_joint(labels, probs.astype(dtype), collision=collision))


def test_blocks_do_not_show():
    labels, probs = noisy(40_000, 4, steps=20)
    np.testing.assert_array_equal(confident_joint(labels, probs), slow_joint(labels, probs))


def test_sums_are_exact_in_every_order():
    labels, probs = noisy(50_000, 3)
    expected = class_thresholds(labels, probs)
    np.testing.assert_allclose(expected, [probs[labels == j, j].mean() for j in range(3)], atol=2**-33)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(50_000)
        np.testing.assert_array_equal(class_thresholds(labels[order], probs[order]), expected)


def test_a_class_without_rows():
    labels, probs = noisy(200, 4)
    keep = labels != 2
    found = find_errors(labels[keep], probs[keep])
    assert found.thresholds[2] == np.inf
    assert found.absent == (2,)
    assert not found.joint[2].any()
    assert not found.joint[:, 2].any()
    assert found.calibrated.sum() == pytest.approx(keep.sum())
    assert "no rows, so nothing is known, of 1 classes: 2" in str(found)


def test_diagonal_of_classes_with_rows_only():
    probs = np.array([[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]])
    assert confident_joint([0, 0], probs, thresholds=[0.5, 0.5, 0.5]).tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert confident_joint([0, 0], probs, thresholds=[0.5] * 3, min_diagonal=0)[0].tolist() == [0, 2, 0]
    assert confident_joint([0, 0], probs, thresholds=[0.5] * 3, min_diagonal=5)[0].tolist() == [5, 2, 0]


@hypothesis.given(st.integers(0, 10_000), st.sampled_from([None, 4]), st.sampled_from(["confident", "all"]))
@hypothesis.settings(max_examples=25, deadline=None)
def test_permuting_classes_permutes_the_joint(seed, steps, collision):
    labels, probs = noisy(60, 4, seed=seed)
    if steps:  # thresholds that several classes pass
        probs = (probs + 0.2) / (probs + 0.2).sum(1, keepdims=True)
    order = np.random.default_rng(seed).permutation(4)
    new_labels = np.argsort(order)[labels]
    expected = confident_joint(labels, probs, collision=collision)[order][:, order]
    np.testing.assert_array_equal(confident_joint(new_labels, probs[:, order], collision=collision), expected)


@hypothesis.given(st.integers(0, 10_000), st.integers(0, 4))
@hypothesis.settings(max_examples=25, deadline=None)
def test_a_class_that_nobody_has_changes_nothing(seed, place):
    labels, probs = noisy(60, 4, seed=seed, steps=12)
    wide, new_labels = np.insert(probs, place, 0, axis=1), labels + (labels >= place)
    joint = confident_joint(new_labels, wide)
    assert not joint[place].any()
    assert not joint[:, place].any()
    np.testing.assert_array_equal(np.delete(np.delete(joint, place, 0), place, 1), confident_joint(labels, probs))
    np.testing.assert_array_equal(normalized_margin(new_labels, wide), normalized_margin(labels, probs))
    np.testing.assert_array_equal(filter_by_noise_rate(new_labels, wide), filter_by_noise_rate(labels, probs))
    for method in ("margin", "class", "both", "joint", "disagreement"):
        old, new = find_errors(labels, probs, method=method), find_errors(new_labels, wide, method=method)
        np.testing.assert_array_equal(new.mask, old.mask)
        assert new.num_errors == pytest.approx(old.num_errors, rel=1e-12)


def test_calibration_of_empty_rows_keeps_the_labels():
    calibrated = calibrate_joint([[0, 0], [1, 3]], [5, 8])
    assert calibrated.tolist() == [[5, 0], [2, 6]]
    assert calibrate_joint([[0, 0], [1, 3]], [0, 8]).tolist() == [[0, 0], [2, 6]]


@hypothesis.given(st.integers(0, 10_000))
@hypothesis.settings(max_examples=40, deadline=None)
def test_rounding_keeps_the_labels(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, (6, 6))
    rows = rng.integers(0, 40, 6)
    calibrated = calibrate_joint(counts, rows)
    assert calibrated.sum() == pytest.approx(rows.sum())
    rounded = round_joint(calibrated)
    assert rounded.dtype == np.int64
    np.testing.assert_array_equal(rounded.sum(1), rows)
    assert np.abs(rounded - calibrated).max() < 1
    np.testing.assert_array_equal(rounded, slow_round(calibrated))


def test_equal_remainders_go_to_the_lower_class():
    assert round_joint([[0.5, 1.5, 1.0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 3]]).tolist() == [
        [1, 1, 1],
        [1, 0, 0],
        [0, 0, 3],
    ]
    # 41 rows shared as 1 : 2 : 2 : 1: the remainders of the middle, .6667, are equal but for rounding.
    assert round_joint(np.array([[1.0, 2, 2, 1]] * 4) * (41 / 6))[0].tolist() == [7, 14, 13, 7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confident_joint(LABELS, PROBS, collision="none"), "collision is 'none'; allowed: confident, all"),
        (lambda: confident_joint(LABELS, PROBS, tolerance=-1), "tolerance must be 0 or more, got -1"),
        (lambda: confident_joint(LABELS, PROBS, min_diagonal=-1), "min_diagonal must be 0 or more, got -1"),
        (lambda: confident_joint(LABELS, PROBS, thresholds=[0.5]), "thresholds must have shape (3,), got (1,)"),
        (lambda: confident_joint(LABELS, PROBS, thresholds=[0.5, np.nan, 1]), "thresholds[1] is nan"),
        (lambda: calibrate_joint([[1, 2]], [3]), "joint must be (classes, classes), got shape (1, 2)"),
        (lambda: calibrate_joint([[1]], [3, 4]), "label_counts must have shape (1,), got (2,)"),
        (lambda: calibrate_joint([[1, -2], [0, 1]], [3, 4]), "joint[0, 1] is -2: counts must be 0 or more"),
        (lambda: calibrate_joint([[1, 2], [0, 1]], [3, np.nan]), "label_counts[1] is nan"),
        (lambda: round_joint([1.0, 2.0]), "joint must be (classes, classes), got shape (2,)"),
        (lambda: round_joint([[np.inf]]), "joint[0, 0] is inf"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ConfidentLearningError, match=re.escape(message)):
        call()
