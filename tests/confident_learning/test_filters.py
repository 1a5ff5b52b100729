import re

import numpy as np
import pytest

from jlabel.confident_learning import (
    ConfidentLearningError,
    calibrate_joint,
    confident_joint,
    filter_by_both,
    filter_by_class,
    filter_by_disagreement,
    filter_by_joint,
    filter_by_noise_rate,
    filter_lowest,
    round_joint,
)
from tests.confident_learning.toy import (
    LABELS,
    PROBS,
    TWO_LABELS,
    TWO_PROBS,
    noisy,
    slow_class,
    slow_joint,
    slow_noise_rate,
)


def rounded(labels, probs):
    return round_joint(calibrate_joint(confident_joint(labels, probs), np.bincount(labels, minlength=probs.shape[1])))


def test_lowest():
    scores = [0.5, -0.2, 0.5, 0.9, 0.5]
    expected = [[], [1], [0, 1], [0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4]]
    assert [np.flatnonzero(filter_lowest(scores, num)).tolist() for num in range(6)] == expected
    assert filter_lowest(scores, 2.9999).sum() == 2
    assert filter_lowest(scores, 3 - 1e-12).sum() == 3  # the rounding of a count that is 3
    assert filter_lowest([-np.inf, np.inf], 1).tolist() == [True, False]
    assert filter_lowest(np.zeros(1000), 10).nonzero()[0].tolist() == list(range(10))


def test_two_classes_by_hand():
    for flagged in (filter_by_noise_rate, filter_by_class, filter_by_both, filter_by_joint, filter_by_disagreement):
        assert np.flatnonzero(flagged(TWO_LABELS, TWO_PROBS)).tolist() == [7]


def test_three_classes_by_hand():
    # Eq. 2 has one row labelled 2 that is 1: row 5 (.5 - .4) rather than row 4 (.2 - .7). Row 3 is uncounted.
    for flagged in (filter_by_noise_rate, filter_by_class, filter_by_both, filter_by_joint):
        assert np.flatnonzero(flagged(LABELS, PROBS)).tolist() == [5]
    assert np.flatnonzero(filter_by_disagreement(LABELS, PROBS)).tolist() == [3, 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("num_rows", "num_classes", "steps", "wrong"),
    [(500, 3, None, 0.2), (500, 3, 6, 0.2), (400, 8, 4, 0.5), (200, 50, None, 0.3), (200, 50, 3, 0.9), (30, 2, 5, 1)],
)
def test_against_the_definitions(dtype, num_rows, num_classes, steps, wrong):
    for seed in range(4):
        labels, probs = noisy(num_rows, num_classes, seed=seed, steps=steps, wrong=wrong)
        probs = probs.astype(dtype)
        whole, agree = rounded(labels, probs), probs.argmax(1) == labels
        by_pair, by_class = slow_noise_rate(labels, probs, whole), slow_class(labels, probs, whole)
        for keep in (True, False):
            spared = agree & keep
            found = filter_by_noise_rate(labels, probs, keep_agreeing=keep)
            np.testing.assert_array_equal(found, by_pair & ~spared)
            np.testing.assert_array_equal(filter_by_class(labels, probs, keep_agreeing=keep), by_class & ~spared)
            both = filter_by_both(labels, probs, keep_agreeing=keep)
            np.testing.assert_array_equal(both, by_pair & by_class & ~spared)
        np.testing.assert_array_equal(filter_by_disagreement(labels, probs), ~agree)
        np.testing.assert_array_equal(filter_by_disagreement(labels, probs.argmax(1)), ~agree)


def test_many_suspects_of_one_class():
    """Several slices of pairs, and blocks, give what one would."""
    labels, probs = noisy(60_000, 5, wrong=0.6)
    labels[:40_000] = 0
    found = filter_by_noise_rate(labels, probs, keep_agreeing=False)
    np.testing.assert_array_equal(found, slow_noise_rate(labels, probs, rounded(labels, probs)))


def test_agreeing_rows_can_take_the_place_of_others():
    """The worst of a pair are found among all rows; those that agree are un-flagged after that, not replaced."""
    # Thresholds .65, .3 and none: rows 0 to 2 are confident of 1 only, so 12 * 3 / 9 = 4 of the labels 0 should be 1.
    labels = np.array([0] * 12 + [1] * 2)
    rows = [[0.4, 0.38, 0.22]] * 3 + [[0.3, 0.1, 0.6]] * 3 + [[0.95, 0.05, 0.0]] * 6 + [[0.0, 0.3, 0.7]] * 2
    probs = np.array(rows)
    assert confident_joint(labels, probs).tolist() == [[6, 3, 0], [0, 2, 0], [0, 0, 0]]
    assert np.flatnonzero(filter_by_noise_rate(labels, probs, keep_agreeing=False)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(filter_by_noise_rate(labels, probs)).tolist() == [3]


def test_joint_filter_is_the_off_diagonal_of_the_joint():
    for seed in range(5):
        labels, probs = noisy(300, 4, seed=seed)
        joint = slow_joint(labels, probs)
        assert filter_by_joint(labels, probs, keep_agreeing=False).sum() == joint.sum() - np.trace(joint)
        agree = ~filter_by_disagreement(labels, probs)
        kept = filter_by_joint(labels, probs, keep_agreeing=False) & ~agree
        np.testing.assert_array_equal(filter_by_joint(labels, probs), kept)


def test_names_and_predicted_labels():
    classes = np.array(["cat", "dog", "eel"])
    names, predicted = classes[LABELS], classes[PROBS.argmax(1)]
    for flagged in (filter_by_noise_rate, filter_by_class, filter_by_both, filter_by_joint, filter_by_disagreement):
        np.testing.assert_array_equal(flagged(names, PROBS, classes=classes), flagged(LABELS, PROBS))
    assert filter_by_disagreement(names, predicted).tolist() == [False, False, False, True, False, True]
    assert filter_by_disagreement(names, predicted, classes=classes).sum() == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filter_lowest([0.5, np.nan], 1), "scores[1] is nan: leave such rows out first"),
        (lambda: filter_lowest([0.5, 0.1], 3), "num is 3; allowed: 0 to 2, the number of scores"),
        (lambda: filter_lowest([0.5, 0.1], -1), "num is -1; allowed: 0 to 2"),
        (lambda: filter_lowest([0.5, 0.1], np.nan), "num is nan; allowed: 0 to 2"),
        (lambda: filter_lowest([[0.5]], 1), "scores must be (rows,) numbers, got float64 of shape (1, 1)"),
        (lambda: filter_lowest(["a"], 1), "scores must be (rows,) numbers, got <U1"),
        (lambda: filter_by_disagreement([0, 1], [0]), "labels have shape (2,), predicted labels (1,)"),
        (lambda: filter_by_disagreement(["a"], [0]), "labels are <U1, predicted labels int64: give both alike"),
        (lambda: filter_by_disagreement(["a"], ["c"], classes=["a", "b"]), "labels[0] is c, which is not in classes"),
        (lambda: filter_by_noise_rate([0], [[0.5, 0.6]]), "probs[0] sums to 1.1, not 1"),
        (lambda: filter_by_class([0], [[0.5, 0.6]]), "probs[0] sums to 1.1, not 1"),
        (lambda: filter_by_joint([5], [[0.5, 0.5]]), "labels[0] is 5; allowed: 0 to 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ConfidentLearningError, match=re.escape(message)):
        call()
