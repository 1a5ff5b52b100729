"""Intervals against hand values, scipy, and the coverage they promise."""

import itertools

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from jlabel import InputError
from jlabel.evaluation import (
    balanced_accuracy,
    bootstrap_interval,
    paired_bootstrap,
    paired_comparison,
    seed_interval,
)


def test_seed_interval_by_hand():
    found = seed_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446305 * np.sqrt(5 / 3) / 2  # t_3 at .975
    assert found == pytest.approx((2.5, np.sqrt(5 / 3), 2.5 - half, 2.5 + half, 4))


def test_equal_runs_have_exactly_no_spread():
    assert seed_interval([0.1] * 3) == (0.1, 0.0, 0.1, 0.1, 3)


def test_one_run_and_infinite_values_have_no_spread():
    assert seed_interval([0.7]) == pytest.approx((0.7, np.nan, np.nan, np.nan, 1), nan_ok=True)
    assert seed_interval([1.0, np.inf]) == pytest.approx((np.inf, np.nan, np.nan, np.nan, 2), nan_ok=True)


def test_bootstrap_covers_what_it_promises():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(300):
        found = bootstrap_interval(rng.exponential(2.0, size=80), resamples=300, seed=trial)
        inside += found.low <= 2.0 <= found.high
    assert 0.90 <= inside / 300 <= 0.98  # about .93: the mean of 80 skewed values


def test_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).random(4000) < 0.3
    found = bootstrap_interval(values)
    error = np.sqrt(values.mean() * (1 - values.mean()) / 4000)
    assert found.std == pytest.approx(error, rel=0.05)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_bootstrap_of_a_statistic_over_columns():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    rows = np.stack([np.where(rng.random(200) < 0.7, truth, 0), truth], axis=1)
    found = bootstrap_interval(
        rows, statistic=lambda r: balanced_accuracy(r[:, 0].astype(int), r[:, 1].astype(int)), resamples=200
    )
    assert found.mean == balanced_accuracy(rows[:, 0], rows[:, 1])
    assert found.low < found.mean < found.high
    assert bootstrap_interval([1, 1, 1])[:4] == (1.0, 0.0, 1.0, 1.0)


def test_bootstrap_is_seeded():
    values = np.arange(20.0)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_paired_comparison_against_scipy_and_by_enumeration():
    a, b = np.array([0.52, 0.55, 0.50, 0.58, 0.54]), np.array([0.50, 0.51, 0.51, 0.52, 0.50])
    found = paired_comparison(a, b)
    expected = stats.ttest_rel(a, b)
    bounds = expected.confidence_interval(0.95)
    assert found.difference == pytest.approx((a - b).mean())
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert found.p_value == pytest.approx(expected.pvalue)
    # sums .02 + .04 - .01 + .06 + .04 = .15; by enumeration in integers, so without rounding
    sums = [abs(sum(s * d for s, d in zip(signs, (2, 4, -1, 6, 4), strict=True)))
            for signs in itertools.product((1, -1), repeat=5)]  # fmt: skip
    assert found.p_sign_flip == np.mean([s >= 15 for s in sums])


def test_five_wins_of_five_reach_two_in_32():
    assert paired_comparison([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]).p_sign_flip == 2 / 32


def test_equal_and_constant_differences():
    same = paired_comparison([0.5, 0.6], [0.5, 0.6])
    assert (same.difference, same.p_value, same.p_sign_flip) == (0.0, 1.0, 1.0)
    constant = paired_comparison([1.5, 2.5, 3.5], [1.0, 2.0, 3.0])
    assert (constant.low, constant.high, constant.p_value) == (0.5, 0.5, 0.0)
    assert constant.p_sign_flip == 2 / 8


def test_sums_that_differ_by_rounding_only_are_equal():
    small = [3.5e-76, 1.0, 1.1e-308, 0.0, -1.0]  # adds up to 3.5e-76 or to 0
    for a in (small, small[::-1]):
        assert paired_comparison(a, [0.0] * 5).p_sign_flip == 1.0


@given(hnp.arrays(np.float64, (2, 8), elements=st.floats(-5, 5)), st.permutations(range(8)))
@settings(deadline=None, max_examples=40)
def test_order_and_roles_of_the_pairs(drawn, order):
    a, b = drawn
    found, moved = paired_comparison(a, b), paired_comparison(a[list(order)], b[list(order)])
    turned = paired_comparison(b, a)
    assert moved == pytest.approx(found, abs=1e-9)
    assert turned == pytest.approx(
        (-found.difference, -found.high, -found.low, found.p_value, found.p_sign_flip, 8), abs=1e-9
    )


def test_many_pairs_draw_their_signs():
    rng = np.random.default_rng(0)
    b = rng.standard_normal(30)
    a = b + 0.4 + rng.standard_normal(30)
    found = paired_comparison(a, b)
    assert found.p_sign_flip == pytest.approx(found.p_value, abs=0.02)
    assert found == paired_comparison(a, b)


def test_paired_bootstrap_uses_the_pairing():
    rng = np.random.default_rng(0)
    easy = rng.random(1000) < 0.5  # rows that both get right
    a, b = easy | (rng.random(1000) < 0.10), easy | (rng.random(1000) < 0.02)
    found = paired_bootstrap(a, b)
    assert found.low > 0
    assert found.p_value < 0.01
    assert found.p_sign_flip < 0.01
    # unpaired intervals of the same rows overlap
    assert bootstrap_interval(b).high > bootstrap_interval(a).low
    nothing = paired_bootstrap(a, a)
    assert nothing[:5] == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_paired_bootstrap_is_honest_without_a_difference():
    rng = np.random.default_rng(5)
    p_values = [paired_bootstrap(*(rng.random((2, 150)) < 0.6), resamples=200, seed=i).p_value for i in range(60)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.14
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seed_interval([]), "values is empty"),
        (lambda: seed_interval([0.5, np.nan]), "values[1] is nan"),
        (lambda: seed_interval(["a"]), "values must hold numbers"),
        (lambda: seed_interval([0.5], level=95), "level must lie strictly between 0 and 1, got 95"),
        (lambda: bootstrap_interval([1, 0], resamples=10), "resamples must be 100 or more, got 10"),
        (lambda: bootstrap_interval([1, np.inf]), "values[1] is inf"),
        (lambda: paired_comparison([1], [2]), "a and b hold one pair; a comparison needs two or more"),
        (lambda: paired_comparison([1, 2], [2]), "rows differ: a has 2, b has 1"),
        (lambda: paired_bootstrap([1, 2], [2, np.nan]), "b[1] is nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
