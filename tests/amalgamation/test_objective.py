"""The chain's loss: hand-computed values, weights, extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.amalgamation import AmalgamationError, ChainOutput, carry_logits, chain_loss
from tests.amalgamation.oracle import cross_entropy

STEPS = [[0.8, 0.4, -2, 0.2], [3, 0.6, -1, -0.4], [2, 1, -0.5, 0.9], [0, 0, -0.2, -3]]
TARGETS = [0.9, 0.2, 0.1, 0.7]


def output_of(step_logits, **options):
    """Rows of step logits ``(B, L, L)`` as a chain's output."""
    carried = [carry_logits(row, **options) for row in step_logits]
    final, order = (jnp.stack(part) for part in zip(*carried, strict=True))
    return ChainOutput(final, jnp.asarray(step_logits), order, jnp.zeros((*final.shape, 1)))


def test_worked_example():
    one, zero = [TARGETS], jnp.zeros((1, 4, 4))
    output = output_of([STEPS])
    np.testing.assert_allclose(chain_loss(output, one, over="final"), 0.576668, atol=1e-6)
    np.testing.assert_allclose(chain_loss(output, one), 0.716874, atol=1e-6)
    always = output_of([STEPS], select="always")
    np.testing.assert_allclose(chain_loss(always, one, over="final"), 0.649470, atol=1e-6)
    np.testing.assert_allclose(chain_loss(always, one), 0.716874, atol=1e-6)
    halves = output._replace(final_logits=zero[:, 0], step_logits=zero)
    for over in ("steps", "final"):
        np.testing.assert_allclose(chain_loss(halves, jnp.full((1, 4), 0.5), over=over), np.log(2), rtol=1e-6)


def test_rows_and_weights():
    """Mean over rows; a row of weight 0 is as good as absent, whatever it says."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 4, 4)), rng.uniform(size=(3, 4))
    output = ChainOutput(jnp.asarray(logits[:, 0]), jnp.asarray(logits), jnp.zeros((3, 4), int), jnp.asarray(logits))
    rows = cross_entropy(logits, targets[:, None]).mean((1, 2))
    np.testing.assert_allclose(chain_loss(output, targets), rows.mean(), rtol=1e-5)
    for weights in ([1, 0, 1], [0.5, 0, 2], [0, 0, 1]):
        expected = np.average(rows, weights=weights)
        np.testing.assert_allclose(chain_loss(output, targets, weights=weights), expected, rtol=1e-5)
    assert float(chain_loss(output, targets, weights=[0, 0, 0])) == 0


def test_extremes():
    """Logits of 1e4 with targets 0 and 1: finite, 0 where right, the logit where wrong; so are the gradients."""
    logits = jnp.array([[[1e4, -1e4], [1e4, -1e4]]])
    output = ChainOutput(logits[:, 0], logits, jnp.zeros((1, 2), int), logits)
    assert float(chain_loss(output, [[1.0, 0.0]])) == 0
    assert float(chain_loss(output, [[0.0, 1.0]])) == 1e4

    @jax.grad
    def gradient(logits):
        return chain_loss(output._replace(step_logits=logits), [[0.0, 1.0]])

    np.testing.assert_allclose(gradient(logits), [[[0.25, -0.25], [0.25, -0.25]]])
    np.testing.assert_allclose(gradient(jnp.zeros((1, 2, 2))), [[[0.125, -0.125], [0.125, -0.125]]])


def test_bad_input():
    output = output_of([STEPS])
    with pytest.raises(AmalgamationError, match="over is 'last'; allowed: steps, final"):
        chain_loss(output, [TARGETS], over="last")
    with pytest.raises(AmalgamationError, match=r"targets have shape \(1, 3\), the chain's logits \(1, 4\)"):
        chain_loss(output, [TARGETS[:3]])
