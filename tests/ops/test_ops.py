import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from jlabel.ops import block_log_softmax, leave_one_out_baseline, score_function_loss, target_block_log_softmax


def reference(logits, ids):
    """Independent float64 loop over blocks."""
    out = np.empty(logits.shape)
    for block in np.unique(ids):
        columns = np.flatnonzero(ids == block)
        out[..., columns] = log_softmax(np.asarray(logits, np.float64)[..., columns], axis=-1)
    return out


def test_block_softmax_by_hand():
    ids = np.array([0, 0, 1, 1, 1, 2])
    probs = np.exp(block_log_softmax(np.array([1.0, 2, 0, 0, 3, 5]), ids, num_blocks=3))
    np.testing.assert_allclose(probs, [0.2689, 0.7311, 0.0453, 0.0453, 0.9094, 1], atol=5e-5)


# Even, out of order, skewed with an unused block, nearly even.
LAYOUTS = [[0, 0, 1, 1, 2, 2], [2, 0, 1, 1, 0, 2], [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 2]]


@pytest.mark.parametrize("ids", LAYOUTS)
def test_layouts_equal_the_loop(ids):
    ids = np.array(ids)
    logits = np.random.default_rng(0).normal(size=(3, 4, 6)) * 30
    expected = reference(logits, ids)
    np.testing.assert_allclose(block_log_softmax(logits, ids, num_blocks=3), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        block_log_softmax(logits, jnp.asarray(ids), num_blocks=3), expected, rtol=1e-5, atol=1e-5
    )
    targets = np.random.default_rng(1).integers(6, size=(3, 4))
    found = target_block_log_softmax(logits, targets, ids)
    np.testing.assert_allclose(
        found, np.take_along_axis(expected, targets[..., None], -1)[..., 0], rtol=1e-5, atol=1e-5
    )


def test_block_softmax_gradient_is_onehot_minus_probs_in_the_block():
    ids, z = np.array([1, 0, 1, 0]), jnp.array([0.3, -1.0, 2.0, 0.5])
    probs = np.exp(reference(np.asarray(z), ids))
    expected = np.where(ids == ids[2], (np.arange(4) == 2) - probs, 0)
    grad = jax.grad(lambda x: block_log_softmax(x, ids, num_blocks=2)[2])(z)
    np.testing.assert_allclose(grad, expected, atol=1e-6)
    grad = jax.grad(lambda x: target_block_log_softmax(x, jnp.array(2), ids))(z)
    np.testing.assert_allclose(grad, expected, atol=1e-6)


@pytest.mark.parametrize("ids", LAYOUTS)
def test_gradients_of_all_layouts_equal_the_formula(ids):
    ids = np.array(ids)
    logits, g = np.random.default_rng(0).normal(size=(2, 4, 6)) * 3
    same = ids[:, None] == ids
    expected = g - np.exp(reference(logits, ids)) * (g @ same)
    for given_ids in (ids, jnp.asarray(ids)):
        grad = jax.grad(lambda x, i: (g * block_log_softmax(x, i, num_blocks=3)).sum())(jnp.asarray(logits), given_ids)
        np.testing.assert_allclose(grad, expected, atol=1e-5)


@pytest.mark.parametrize("ids", [np.repeat(np.arange(6), [3, 1, 2, 3, 2, 1]), np.arange(12) % 5])
def test_target_windows_equal_the_whole_row(ids):
    z = jnp.asarray(np.random.default_rng(0).normal(size=(12, 12)) * 3, jnp.float32)
    targets = np.arange(12)

    def loss(z, i):
        return target_block_log_softmax(z, targets, i) @ jnp.arange(1.0, 13.0)

    found, expected = (jax.value_and_grad(loss)(z, i) for i in (ids, jnp.asarray(ids)))
    np.testing.assert_allclose(
        expected[0], reference(np.asarray(z), ids)[targets, targets] @ np.arange(1, 13), rtol=1e-5
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_block_softmax_is_finite_for_extreme_logits_and_unused_blocks():
    logits = jnp.array([1e4, -1e4, -1e4, -1e4 + 1])
    value, grad = jax.value_and_grad(lambda x: block_log_softmax(x, np.array([0, 0, 2, 2]), num_blocks=3).sum())(logits)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
    # The second block lies 2e4 below the row's maximum and is still resolved.
    found = np.exp(block_log_softmax(logits, np.array([0, 0, 1, 1]), num_blocks=2)[2:])
    np.testing.assert_allclose(found, [0.2689, 0.7311], atol=5e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.floats(-50, 50))
def test_block_softmax_ignores_a_shift_within_a_block(ids, shift):
    ids = np.array(ids)
    z = np.linspace(-2, 2, 5)
    moved = z + shift * (ids == ids[0])
    one, two = (block_log_softmax(x, ids, num_blocks=3) for x in (z, moved))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_block_softmax_refuses_wrong_ids():
    with pytest.raises(ValueError, match=r"block_ids has shape \(2,\), but logits has 3 columns"):
        block_log_softmax(np.zeros(3), np.array([0, 1]), num_blocks=2)
    with pytest.raises(ValueError, match=r"block_ids holds 0..5, outside \[0, num_blocks=2\)"):
        block_log_softmax(np.zeros(3), np.array([0, 1, 5]), num_blocks=2)


def test_score_function_by_hand():
    def loss(z):
        log_probs = jax.nn.log_softmax(z)[:1, None]
        return score_function_loss(log_probs, np.ones((1, 1)), baseline="moving_average", moving_average=0.5)

    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros(2)), [-0.25, 0.25], atol=1e-7)


def test_leave_one_out_by_hand():
    rewards = np.array([1, 0, 0.5, 0.5])
    np.testing.assert_allclose(rewards - leave_one_out_baseline(rewards), [2 / 3, -2 / 3, 0, 0], atol=1e-7)


def test_score_function_stops_gradients_and_weighs_rows():
    log_probs, rewards = jnp.array([[-1.0, -2.0], [-3.0, -4.0]]), jnp.array([[1.0, 0.5], [0.0, 0.5]])
    grad = jax.grad(lambda r: score_function_loss(log_probs, r))(rewards)
    np.testing.assert_array_equal(grad, 0)
    grad = jax.grad(lambda m: score_function_loss(log_probs, rewards, baseline="moving_average", moving_average=m))(0.3)
    assert grad == 0
    # Row 0: advantages 1, -1 -> -(1 * -1 + -1 * -3) / 2 = -1; row 1: no advantage. Mean over two rows.
    np.testing.assert_allclose(score_function_loss(log_probs, rewards), -0.5)
    np.testing.assert_allclose(score_function_loss(log_probs, rewards, weights=np.array([0.0, 1.0])), 0)


def test_score_function_refuses_bad_input():
    with pytest.raises(ValueError, match="must both be"):
        score_function_loss(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="at least 2 samples"):
        score_function_loss(np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="baseline='mean'"):
        score_function_loss(np.zeros((2, 3)), np.zeros((2, 3)), baseline="mean")
    with pytest.raises(ValueError, match="needs the scalar moving_average"):
        score_function_loss(np.zeros((2, 3)), np.zeros((2, 3)), baseline="moving_average")
