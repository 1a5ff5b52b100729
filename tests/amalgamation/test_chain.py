"""The rule by which a chain picks labels: hand-computed values and invariances."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.amalgamation import AmalgamationError, carry_logits

STEPS = [[0.8, 0.4, -2, 0.2], [3, 0.6, -1, -0.4], [2, 1, -0.5, 0.9], [0, 0, -0.2, -3]]


@pytest.mark.parametrize(
    ("options", "final", "order"),
    [
        ({}, (0.8, 0.6, -2, 0.9), (0, 1, 3, -1)),
        ({"path_floor": 0.5}, (0.8, 0.6, -2, 0.2), (0, 1, -1, -1)),
        ({"select": "always"}, (0.8, 0.6, -0.2, 0.9), (0, 1, 3, 2)),
        # after the first step the product is .69, after the second .45: one more than at .5
        ({"select": "always", "path_floor": 0.45}, (0.8, 0.6, -2, 0.2), (0, 1, -1, -1)),
        ({"select": "always", "path_floor": 0.44}, (0.8, 0.6, -2, 0.9), (0, 1, 3, -1)),
    ],
)
def test_worked_example(options, final, order):
    found, picks = carry_logits(STEPS, **options)
    np.testing.assert_allclose(found, final, rtol=1e-6)
    assert picks.tolist() == list(order)


def by_hand(logits, select, path_floor):
    """The rule, a step and a label at a time."""
    final, order, path = logits[0].copy(), [], 1.0
    for now in logits:
        left = [j for j in range(len(now)) if j not in order]
        best = max(left, key=lambda j: now[j])
        probability = 1 / (1 + np.exp(-now[best]))
        if (select == "always" or now[best] > 0) and (path_floor == 0 or path > path_floor):
            final[best] = now[best]
            order.append(best)
        else:
            order.append(-1)
        path *= probability
    return final, order


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=16, max_size=16),
    st.sampled_from([("positive", 0.0), ("always", 0.0), ("positive", 0.25)]),
    st.permutations(range(4)),
)
def test_rule_and_order_of_labels(values, options, order):
    """The same as the loop; a label's result does not depend on where it stands."""
    logits = np.reshape(np.array(values, np.float32) / 8, (4, 4))
    final, picks = carry_logits(logits, select=options[0], path_floor=options[1])
    expected, expected_picks = by_hand(logits, *options)
    assert picks.tolist() == expected_picks
    np.testing.assert_array_equal(final, expected)
    if all(len(set(row)) == 4 for row in logits.tolist()):  # without ties, which go to the first
        moved, moved_picks = carry_logits(logits[:, order], select=options[0], path_floor=options[1])
        np.testing.assert_array_equal(moved, expected[list(order)])
        assert [order[j] if j >= 0 else -1 for j in moved_picks.tolist()] == expected_picks


def test_nothing_positive_keeps_the_first_logits():
    logits = -np.arange(1.0, 10).reshape(3, 3)
    final, order = carry_logits(logits)
    np.testing.assert_array_equal(final, logits[0])
    assert order.tolist() == [-1, -1, -1]


def test_a_probability_of_one_half_is_not_positive():
    assert carry_logits([[0.0, 0.0], [0.0, 1e-6]])[1].tolist() == [-1, 1]


def test_extremes_stay_finite_and_long_paths_do_not_stop_by_rounding():
    """With ``path_floor=0`` nothing stops: 30 steps of probability e-60 underflow, and then a label turns positive."""
    logits = np.full((30, 30), -60.0, np.float32)
    logits[29, 7] = 3e38
    final, order = carry_logits(logits)
    assert order.tolist() == [-1] * 29 + [7]
    assert np.isfinite(np.asarray(final)).all()
    assert float(final[7]) == float(np.float32(3e38))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "best"}, "select is 'best'; allowed: positive, always"),
        ({"path_floor": 2}, "path_floor is 2; allowed: 0 to 1"),
        ({"step_logits": jnp.ones((2, 3))}, r"step_logits must be \(L steps, L labels\), got shape \(2, 3\)"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(AmalgamationError, match=message):
        carry_logits(**{"step_logits": STEPS, **change})
