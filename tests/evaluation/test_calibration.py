"""Calibration error by hand, its invariances, and the temperature that was put in."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jlabel import InputError
from jlabel.evaluation import (
    apply_temperature,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
)


def sampled(temperature: float, rows: int = 20_000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(7)
    logits = 3 * rng.standard_normal((rows, classes))
    return logits, np.argmax(logits / temperature + rng.gumbel(size=logits.shape), axis=1)


def test_error_by_hand():
    # bins of width 1/2: (.2, .4 | wrong, right) and (.6, .8, 1 | right, wrong, right)
    found = reliability_bins([0.2, 0.4, 0.6, 0.8, 1.0], [0, 1, 1, 0, 1], bins=2)
    np.testing.assert_array_equal(found.rows, [2, 3])
    np.testing.assert_allclose(found.confidence, [0.3, 0.8])
    np.testing.assert_allclose(found.accuracy, [0.5, 2 / 3])
    assert found.error == pytest.approx(2 / 5 * 0.2 + 3 / 5 * (0.8 - 2 / 3))


def test_equal_mass_bins_by_hand():
    values, right = [0.9, 0.91, 0.92, 0.99], [1, 0, 1, 1]
    found = reliability_bins(values, right, bins=2, binning="mass")
    np.testing.assert_array_equal(found.rows, [2, 2])
    assert found.error == pytest.approx(0.5 * (0.905 - 0.5) + 0.5 * (1 - 0.955))
    # equal widths put all four in one bin
    assert reliability_bins(values, right, bins=2).error == pytest.approx(0.93 - 0.75)


def test_ties_stay_in_one_bin_and_empty_bins_are_nan():
    found = reliability_bins([0.5] * 6, [1, 0] * 3, bins=3, binning="mass")
    assert sorted(found.rows) == [0, 0, 6]
    assert np.isnan(found.confidence[found.rows == 0]).all()
    assert found.error == 0


def test_upper_edge_belongs_to_the_bin():
    np.testing.assert_array_equal(reliability_bins([0.0, 0.5, 1.0], [1, 1, 1], bins=2).rows, [2, 1])


def test_error_of_the_top_class():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    # bins of 1/15: .7, .6 and .5 stand alone; right, right, wrong
    assert calibration_error(probs, [0, 2, 0]) == pytest.approx((0.3 + 0.4 + 0.5) / 3)
    assert calibration_error(jnp.asarray(probs), jnp.array([0, 2, 0])) == pytest.approx(0.4, abs=1e-6)


@given(
    hnp.arrays(np.float64, 30, elements=st.floats(0, 1)),
    hnp.arrays(bool, 30),
    st.permutations(range(30)),
    st.sampled_from(["width", "mass"]),
    st.integers(1, 20),
)
@settings(deadline=None, max_examples=60)
def test_order_of_rows_does_not_matter(values, right, order, binning, bins):
    order = np.array(order)
    first = reliability_bins(values, right, bins=bins, binning=binning)
    second = reliability_bins(values[order], right[order], bins=bins, binning=binning)
    assert first.error == second.error
    np.testing.assert_array_equal(first.rows, second.rows)
    assert 0 <= first.error <= 1
    assert first.rows.sum() == 30
    # one bin is the plain gap, and more bins can only find more
    assert first.error >= abs(values.mean() - right.mean()) - 1e-12


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(true):
    logits, labels = sampled(true)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.04)
    # the scale of the input turns up in the answer, a shift of a row does not
    assert fit_temperature(2 * logits + 5, labels) == pytest.approx(2 * fit_temperature(logits, labels), rel=1e-3)


def test_temperature_mends_the_calibration():
    logits, labels = sampled(2.5)
    before = apply_temperature(logits, 1.0)
    after = apply_temperature(logits, fit_temperature(logits, labels))
    assert calibration_error(np.exp(before), labels) > 0.1
    assert calibration_error(np.exp(after), labels) < 0.02
    assert negative_log_likelihood(after, labels) < negative_log_likelihood(before, labels)
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


def test_temperature_is_the_minimum():
    logits, labels = sampled(1.7, rows=300)
    found = fit_temperature(logits, labels)
    losses = [negative_log_likelihood(apply_temperature(logits, t), labels) for t in (0.9 * found, found, 1.1 * found)]
    assert losses[1] < min(losses[0], losses[2])


def test_impossible_classes_and_labels_are_safe():
    logits, labels = sampled(2.0, rows=2000)
    # a class that no row can have changes nothing
    padded = np.concatenate([logits, np.full((2000, 1), -np.inf)], axis=1)
    assert fit_temperature(padded, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)
    # a row whose own label has probability 0 says nothing about T
    extra = np.concatenate([padded, [[0.0, 0, 0, 0, 0, -np.inf]]])
    assert fit_temperature(extra, np.append(labels, 5)) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)
    scaled = np.asarray(apply_temperature(padded, 3.0))
    assert np.isneginf(scaled[:, -1]).all()
    np.testing.assert_allclose(np.exp(scaled).sum(axis=1), 1, rtol=1e-5)


def test_bounds_hold_where_all_rows_are_right():
    assert fit_temperature([[3.0, 0.0]] * 4, [0] * 4) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature([[3.0, 0.0]] * 4, [1] * 4, high=10) == pytest.approx(10, rel=1e-3)
    assert np.isfinite(fit_temperature([[1e4, -1e4], [1e4, -1e4]], [0, 1]))


def test_apply_temperature_runs_inside_jit():
    values = jnp.array([[1.0, -jnp.inf, 0.0]])
    found = jax.jit(lambda x: apply_temperature(x, 2.0))(values)
    np.testing.assert_allclose(found, [[-np.log1p(np.exp(-0.5)), -np.inf, -0.5 - np.log1p(np.exp(-0.5))]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reliability_bins([0.5, 1.5], [1, 1]), "confidence[1] is 1.5; probabilities lie in [0, 1]"),
        (lambda: reliability_bins([-0.7], [1]), "confidence[0] is -0.7; probabilities lie in [0, 1]"),
        (lambda: reliability_bins([np.nan], [1]), "confidence[0] is nan"),
        (lambda: reliability_bins([0.5], [1], bins=0), "bins must be 1 or more, got 0"),
        (lambda: reliability_bins([0.5], [1], binning="log"), "binning must be 'width' or 'mass', got 'log'"),
        (lambda: calibration_error([[0.5, 0.5]], [2]), "labels[0] is 2; allowed: 0 to 1"),
        (lambda: fit_temperature([[0.0, np.inf]], [0]), "log_probs[0, 1] is +inf"),
        (lambda: fit_temperature([[0.0, -np.inf]], [1]), "log_probs gives every label probability 0"),
        (lambda: fit_temperature([[0.0, 0.0]], [1], low=2, high=1), "bounds must satisfy 0 < low < high, got low=2"),
        (lambda: apply_temperature([[0.0]], 0.0), "temperature must be above 0 and finite, got 0.0"),
        (lambda: apply_temperature([[0.0]], float("nan")), "temperature must be above 0 and finite, got nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
