import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlabel.tabular
from jlabel.tabular import (
    TabularError,
    entropy_loss,
    gaussian_kl,
    mask_codes,
    pseudo_label_weight,
    replace_codes,
    squared_loss,
)

SIZES = (2, 3, 5)
mlm_loss, rtd_loss = jax.jit(jlabel.tabular.mlm_loss), jax.jit(jlabel.tabular.rtd_loss)
ROWS = 20_000


@pytest.fixture(scope="module")
def codes():
    """Many rows, a tenth of the cells missing."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, SIZES, size=(ROWS, 3)).astype(np.int32)
    return np.where(rng.random((ROWS, 3)) < 0.1, SIZES, drawn)


@functools.partial(jax.jit, static_argnames=("rate",))
def hide(key, codes, *, rate=0.3):
    return mask_codes(key, codes, cardinalities=SIZES, rate=rate)


@functools.partial(jax.jit, static_argnames=("sizes", "allow_same"))
def replace(key, codes, *, sizes=SIZES, allow_same=False):
    return replace_codes(key, codes, cardinalities=sizes, allow_same=allow_same)


def test_hidden_cells(codes, key):
    hidden, masked = map(np.asarray, hide(key, codes))
    known = codes < SIZES
    assert (masked <= known).all()  # cells missing in the data are never targets
    np.testing.assert_array_equal(hidden, np.where(masked, SIZES, codes))
    np.testing.assert_array_equal(masked.any(1), known.any(1))
    # Without the rule 34.3 % of rows of three known cells would hide none; such a row now hides exactly one.
    full = masked[known.all(1)]
    counts = np.bincount(full.sum(1), minlength=4) / len(full)
    np.testing.assert_allclose(counts, [0, 0.343 + 3 * 0.3 * 0.49, 3 * 0.09 * 0.7, 0.027], atol=0.015)
    # Any of the cells may be the one: the columns are hidden equally often.
    np.testing.assert_allclose(full.mean(0), 0.3 + 0.343 / 3, atol=0.015)


def test_another_step_hides_other_cells(codes, key):
    first, second = (np.asarray(hide(jax.random.fold_in(key, k), codes)[1]) for k in range(2))
    assert 0.3 < (first != second).mean() < 0.6
    np.testing.assert_array_equal(first, hide(jax.random.fold_in(key, 0), codes)[1])


def test_replaced_cells(codes, key):
    changed, replaced = map(np.asarray, replace(key, codes))
    known = codes < SIZES
    np.testing.assert_array_equal(replaced, changed != codes)  # every replaced cell differs
    assert (replaced <= known).all()
    assert (changed[known] < np.broadcast_to(SIZES, codes.shape)[known]).all()
    np.testing.assert_allclose(replaced[known].mean(), 0.3, atol=0.01)
    # From each value all others are equally likely.
    from_zero = changed[(codes[:, 2] == 0) & replaced[:, 2], 2]
    np.testing.assert_allclose(
        np.bincount(from_zero, minlength=5) / len(from_zero), [0, 0.25, 0.25, 0.25, 0.25], atol=0.05
    )
    # The constant predictor's best loss.
    rate = replaced[known].mean()
    logit = float(jnp.log(rate / (1 - rate)))
    best = float(rtd_loss(np.full(codes.shape, logit, np.float32), replaced, known))
    assert best == pytest.approx(0.6109, abs=0.005)


def test_allow_same_is_the_papers_random_value(key):
    sizes = (2, 1, 2)
    codes = np.tile(np.array([[0, 0, 1]], np.int32), (ROWS, 1))
    changed, replaced = map(np.asarray, replace(key, codes, sizes=sizes, allow_same=True))
    np.testing.assert_array_equal(replaced, changed != codes)
    np.testing.assert_allclose(replaced.mean(0), [0.15, 0, 0.15], atol=0.01)
    entropy = -(0.15 * np.log(0.15) + 0.85 * np.log(0.85))
    assert entropy == pytest.approx(0.4227, abs=1e-4)
    own = replaced[:, [0, 2]]
    loss = float(rtd_loss(np.full(own.shape, np.log(0.15 / 0.85), np.float32), own, np.ones(own.shape, bool)))
    assert loss == pytest.approx(0.4227, abs=0.01)
    assert not np.asarray(replace(key, codes, sizes=sizes)[1])[:, 1].any()  # nor without: there is no other value


def test_uniform_heads():
    logits = np.full((5, 2, 4), 0.0, np.float32)
    logits[:, 0, 2:] = -1e30
    every = np.ones((5, 2), bool)
    codes = np.array([[0, 3], [1, 0], [0, 1], [1, 2], [0, 0]])
    assert float(mlm_loss(logits, codes, every)) == pytest.approx((np.log(2) + np.log(4)) / 2, abs=1e-6)
    only = np.zeros((5, 2), bool)
    only[2, 0] = True
    assert float(mlm_loss(logits, codes, only)) == pytest.approx(np.log(2), abs=1e-6)


def test_losses_against_float64():
    rng = np.random.default_rng(1)
    logits, codes = rng.normal(size=(7, 3, 5)), rng.integers(0, 5, (7, 3))
    masked = rng.random((7, 3)) < 0.5
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(logs, codes[..., None], -1)[..., 0][masked].mean()
    assert float(mlm_loss(logits.astype(np.float32), codes, masked)) == pytest.approx(expected, rel=1e-5)
    probs = 1 / (1 + np.exp(-logits[..., 0]))
    expected = -np.where(codes > 2, np.log(probs), np.log(1 - probs))[masked].mean()
    assert float(rtd_loss(logits[..., 0].astype(np.float32), codes > 2, masked)) == pytest.approx(expected, rel=1e-5)


def test_missing_cells_and_nothing_known_leave_no_trace():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4, 2, 3)).astype(np.float32)
    codes = np.array([[0, 1], [3, 2], [1, 3], [3, 3]])  # 3 is missing
    known = codes < 3
    spoilt = np.where(known[..., None], logits, 1e4).astype(np.float32)
    assert float(mlm_loss(logits, codes, known)) == float(mlm_loss(spoilt, codes, known))
    replaced = codes == 1
    assert float(rtd_loss(logits[..., 0], replaced, known)) == float(rtd_loss(spoilt[..., 0], ~known | replaced, known))
    none = np.zeros((4, 2), bool)
    assert float(mlm_loss(logits, codes, none)) == float(rtd_loss(logits[..., 0], replaced, none)) == 0.0
    gradient = jax.jit(jax.grad(lambda x: mlm_loss(x, codes, none) + rtd_loss(x[..., 0], replaced, none)))(logits)
    np.testing.assert_array_equal(gradient, 0.0)


def test_squared_loss_refuses_what_would_broadcast():
    targets = np.array([0.0, 1.0, 2.0], np.float32)
    assert float(squared_loss(targets, targets)) == 0.0
    assert float(squared_loss([1.0, 1.0, 1.0], targets)) == pytest.approx(2 / 3)
    with pytest.raises(TabularError, match=r"predictions of shape \(3, 1\) against targets of shape \(3,\)"):
        squared_loss(targets[:, None], targets)


def test_entropy_weight_and_divergence():
    assert float(entropy_loss(np.zeros((3, 4), np.float32))) == pytest.approx(np.log(4))
    assert float(entropy_loss(np.array([[1e4, 0.0], [0.0, -1e4]], np.float32))) == 0.0
    assert float(pseudo_label_weight(35, 100)) == 1.5
    assert [float(pseudo_label_weight(step, 100)) for step in (0, 10, 60, 100)] == [0.0, 0.0, 3.0, 3.0]
    assert float(pseudo_label_weight(50, 100, most=1.0)) == pytest.approx(0.8)
    np.testing.assert_allclose(gaussian_kl([0.0, 1.0, 0.0], np.log([0.5, 1.0, 1.0])), [0.3181, 0.5, 0.0], atol=5e-5)


@pytest.mark.parametrize("corrupt", [mask_codes, replace_codes])
def test_what_cannot_be(corrupt, key):
    with pytest.raises(TabularError, match="rate is 0.0; allowed: above 0 to 1"):
        corrupt(key, np.zeros((2, 3), int), cardinalities=SIZES, rate=0.0)
    with pytest.raises(TabularError, match=r"codes of shape \(2, 2\) do not fit 3 cardinalities; give \(B, m\) and m"):
        corrupt(key, np.zeros((2, 2), int), cardinalities=SIZES)
