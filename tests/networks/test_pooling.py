"""Max pooling against Flax's, values and gradients, and against infinite and equal values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.networks import max_pool


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [
        ((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
        ((7, 5), (2, 3), (2, 1), ((0, 0), (1, 2))),
        ((5, 6), (2, 2), (3, 3), ((0, 0), (0, 0))),
        ((2, 2), (3, 3), (1, 1), ((2, 2), (2, 2))),
    ],
)
def test_equals_flax(key, size, window, strides, padding) -> None:
    x = jax.random.normal(key, (2, *size, 3))

    def run(backend: str) -> tuple[jax.Array, ...]:
        pool = lambda x: max_pool(x, window, strides=strides, padding=padding, backend=backend)  # noqa: E731
        y, pull = jax.vjp(pool, x)
        return y, *pull(jnp.arange(1.0, y.size + 1).reshape(y.shape))

    for ours, theirs in zip(run("cpu"), run("gpu"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    grad = jax.grad(lambda x: max_pool(x, (2, 2), strides=(2, 2), backend="cpu").sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(grad[0, :, :, 0], [[1, 0], [0, 0]])


def test_nan_and_infinity_come_through() -> None:
    x = jnp.array([[[[1.0], [jnp.nan], [2.0], [-jnp.inf], [jnp.inf], [3.0]]]])
    pooled = max_pool(x, (1, 2), strides=(1, 2), backend="cpu")[0, 0, :, 0]
    np.testing.assert_array_equal(pooled, [jnp.nan, 2.0, jnp.inf])
