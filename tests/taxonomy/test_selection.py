import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.taxonomy import (
    METHODS,
    TaxonomyError,
    density_relations,
    hypothesis_relations,
    select_relations,
    threshold_relations,
    top_relations,
)
from jlabel.taxonomy.selection import descending, hypothesis_counts
from tests.taxonomy.rows import WORKED, counted, slow_rule

FIVE = [0.2] * 5 + [0.0] * 5


def kept(rule, row, dtype=np.float64, **options):
    return np.flatnonzero(rule(np.array([row], dtype), **options)[0]).tolist()


def test_deviations_by_hand():
    """The six deviations of a row, told apart by which k wins once the better ones are out of reach."""
    row = np.array([WORKED])
    by_hand = {0: 0.8, 1: 1.1, 2: 0.4, 3: 1.4 / 3, 4: 0.7, 5: 0.8}
    for k in range(1, 6):
        deviation = sum(abs(share - 1 / k) for share in WORKED[:k]) + sum(WORKED[k:])
        assert deviation == pytest.approx(by_hand[k], abs=1e-12)
    assert hypothesis_counts(descending(row), 5, True).tolist() == [2]
    assert hypothesis_counts(descending(row), 1, True).tolist() == [0]
    assert hypothesis_counts(descending(row), 1, False).tolist() == [1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hypothesis_by_hand(dtype):
    assert kept(hypothesis_relations, WORKED, dtype) == [0, 1]
    assert kept(hypothesis_relations, FIVE, dtype, max_relations=4) == [0, 1, 2, 3]
    assert kept(hypothesis_relations, FIVE, dtype) == [0, 1, 2, 3, 4]
    assert kept(hypothesis_relations, [0.9, 0.05, 0.05], dtype) == [0]
    assert kept(hypothesis_relations, [0.5, 0.5], dtype) == []
    assert kept(hypothesis_relations, [0.5, 0.5], dtype, allow_none=False) == [0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_density_by_hand(dtype):
    assert kept(density_relations, WORKED, dtype, density=0.8) == [0, 1]
    assert kept(density_relations, WORKED, dtype, density=0.81) == [0, 1, 2]
    assert kept(density_relations, [0.25] * 4, dtype, density=0.75) == [0, 1, 2]
    assert kept(density_relations, [0.25, 0.0, 0.75], dtype, density=1) == [0, 2]


def test_top_by_hand():
    assert kept(top_relations, [0.0, 0.0, 0.0]) == []
    assert kept(top_relations, [0.5, 0.5]) == [0]
    assert kept(top_relations, [0.2, 0.4, 0.4]) == [1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threshold_keeps_its_own_value(dtype):
    shares = [0.7, 0.2, 0.1]
    for count, share in enumerate(shares, start=1):
        assert kept(threshold_relations, shares, dtype, threshold=share) == list(range(count))
        assert kept(threshold_relations, shares, dtype, threshold=share + 1e-5) == list(range(count - 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_rows_has_no_edges(method):
    found = select_relations([[0.0, 0.0, 0.0], [0.0, -0.0, 1.0]], method=method, threshold=1e-9, allow_none=False)
    assert found.tolist() == [[False] * 3, [False, False, True]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_against_exact_fractions(method, dtype):
    """Counts of 20 rows: ties and sums that meet t and p exactly, all in what float rounds."""
    rng = np.random.default_rng(0)
    for num_classes in (2, 3, 7, 30):
        counts = counted(rng, 40, num_classes, 20)
        counts[3] = 0
        probs = (counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(dtype)
        for value in (Fraction(1, 20), Fraction(1, 5), Fraction(3, 5), Fraction(4, 5), Fraction(1)):
            for allow_none in (True, False):
                found = select_relations(
                    probs, method=method, threshold=float(value), density=float(value), allow_none=allow_none
                )
                slow = [slow_rule(row, method, value, allow_none=allow_none) for row in counts]
                np.testing.assert_array_equal(found, slow)


def test_many_columns():
    """More columns than 16 bits count; equal entries go by column."""
    row = np.zeros(70_000)
    row[[69_999, 40_000, 5]] = 0.25, 0.5, 0.25
    assert kept(density_relations, row, density=0.7) == [5, 40_000]
    assert kept(density_relations, row, density=0.8) == [5, 40_000, 69_999]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_distinct_columns_permute(counts, random):
    probs = np.array([counts]) / sum(counts)
    order = random.sample(range(len(counts)), len(counts))
    for method in METHODS:
        np.testing.assert_array_equal(
            select_relations(probs[:, order], method=method), select_relations(probs, method=method)[:, order]
        )


def test_input_stays_as_it_was():
    probs = np.asfortranarray([[0.5, 0.5, -0.0], [0.1, 0.2, 0.7]])
    before = probs.copy()
    for method in METHODS:
        select_relations(probs, method=method)
    np.testing.assert_array_equal(probs, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method is 'best'; allowed: threshold, top, density, hypothesis"),
        ({"threshold": 0.0}, "threshold is 0.0; allowed: above 0, up to 1"),
        ({"threshold": float("nan")}, "threshold is nan; allowed: above 0, up to 1"),
        ({"density": 1.2}, "density is 1.2; allowed: above 0, up to 1"),
        ({"density": "0.6"}, "density is '0.6'; allowed: above 0, up to 1"),
        ({"max_relations": 0}, "max_relations is 0; allowed: whole numbers from 1"),
        ({"max_relations": 2.5}, "max_relations is 2.5; allowed: whole numbers from 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(TaxonomyError, match=re.escape(message)):
        select_relations([[0.5, 0.5]], **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([[0.5, 0.5], [np.nan, 1]], "probs[1, 0] is nan: only finite numbers can be used"),
        ([[1.5, -0.5]], "probs[0, 0] is 1.5; allowed: 0 to 1"),
        ([[1.0, -0.5]], "probs[0, 1] is -0.5; allowed: 0 to 1"),
        ([[0.5, 0.5], [0.5, 0.4]], "probs[1] sums to 0.9; allowed: 1 (or 0, a class without rows)"),
        ([0.5, 0.5], "probs must have two axes, got shape (2,)"),
        ([["a", "b"]], "probs must hold numbers"),
        (np.zeros((2, 0)), "probs has no column"),
    ],
)
def test_bad_probabilities(method, probs, message):
    with pytest.raises(TaxonomyError, match=re.escape(message)):
        select_relations(probs, method=method)
