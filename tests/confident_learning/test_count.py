import re

import jax
import numpy as np
import pytest

from jlabel.confident_learning import (
    ConfidentLearningError,
    confident_joint,
    count_errors,
    count_interval,
    find_errors,
)
from tests.confident_learning.toy import LABELS, PROBS, TWO_LABELS, TWO_PROBS, noisy, slow_joint


def test_rules_by_hand():
    joint = confident_joint(LABELS, PROBS)
    assert count_errors(joint, [2, 2, 2]) == 1.0
    assert count_errors(joint, [2, 2, 2], rule="uncalibrated") == 1.5
    assert count_errors(joint, [2, 2, 2], rule="off_diagonal") == 1.0
    joint = confident_joint(TWO_LABELS, TWO_PROBS)
    assert count_errors(joint, [8, 2]) == pytest.approx(8 / 7, rel=1e-15)
    assert count_errors(joint, [8, 2], rule="uncalibrated") == 1.25


def test_nothing_wrong_and_all_wrong():
    for rule in ("calibrated", "uncalibrated", "off_diagonal"):
        assert count_errors([[3, 0], [0, 2]], [4, 6], rule=rule) == 0
        assert count_errors(np.zeros((2, 2)), [0, 0], rule=rule) == 0
    assert count_errors([[0, 3], [2, 0]], [4, 6]) == 10
    assert count_errors([[0, 3], [2, 0]], [4, 6], rule="uncalibrated") == 10


def test_bad_input():
    with pytest.raises(ConfidentLearningError, match=re.escape("rule is 'x'; allowed: calibrated, uncalibrated, off")):
        count_errors([[1]], [1], rule="x")
    with pytest.raises(ConfidentLearningError, match=re.escape("joint[0, 0] is nan")):
        count_errors([[np.nan]], [1])
    with pytest.raises(ConfidentLearningError, match="replicates must be 20 or more, got 3"):
        count_interval(LABELS, PROBS, replicates=3, key=jax.random.key(0))
    with pytest.raises(ConfidentLearningError, match=re.escape("probs[0, 0] is 2")):
        count_interval([0], [[2.0]], key=jax.random.key(0))


@pytest.mark.parametrize("collision", ["confident", "all"])
@pytest.mark.parametrize("rule", ["calibrated", "uncalibrated", "off_diagonal"])
def test_interval_against_copied_rows(key, collision, rule):
    labels, probs = noisy(80, 3, steps=8)
    found = count_interval(labels, probs, rule=rule, collision=collision, replicates=30, key=key)
    drawn = []
    for replicate in range(30):
        bits = np.asarray(jax.random.key_data(jax.random.fold_in(key, replicate)))
        rows = np.random.default_rng(bits).integers(80, size=80)
        joint = slow_joint(labels[rows], probs[rows], collision=collision)
        drawn.append(count_errors(joint, np.bincount(labels[rows], minlength=3), rule=rule))
    assert found.mean == find_errors(labels, probs, rule=rule, collision=collision).num_errors
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), rtol=1e-12)
    assert found.std == pytest.approx(np.std(drawn, ddof=1))
    assert found.runs == 80


def test_interval_is_that_of_the_key(key):
    labels, probs = noisy(300, 4)
    first = count_interval(labels, probs, key=key)
    assert count_interval(labels, probs, key=key) == first
    assert count_interval(labels, probs.astype(np.float32), key=key) == pytest.approx(first)
    assert count_interval(labels, probs, key=jax.random.key(1)) != first
    assert first.low < first.mean < first.high


def test_rare_classes_may_vanish_from_a_replicate(key):
    labels, probs = noisy(60, 3)
    labels[labels == 2] = 0
    labels[7] = 2
    found = count_interval(labels, probs, key=key)
    assert np.isfinite([found.mean, found.std, found.low, found.high]).all()


def test_interval_covers_the_truth_of_other_samples(key):
    """Of 20 fresh samples, the intervals of nearly all hold the estimate of a large one."""
    labels, probs = noisy(40_000, 3, seed=9)
    share = find_errors(labels, probs).num_errors / 40_000
    hits = 0
    for place in range(20):
        rows = slice(place * 500, place * 500 + 500)
        found = count_interval(labels[rows], probs[rows], replicates=100, key=jax.random.fold_in(key, place))
        hits += found.low <= share * 500 <= found.high
    assert hits >= 17
