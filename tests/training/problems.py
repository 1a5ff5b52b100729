"""A linear problem that compiles fast, for every test of the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jlabel.training import ArrayBatches

OPTIMIZER = optax.adam(0.05)


def linear_data(rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + 0.1 * rng.normal(size=rows)).astype(np.float32)
    return {"x": x, "y": y, "name": np.array([f"row-{i}" for i in range(rows)])}


def linear_params() -> dict[str, jax.Array]:
    return {"w": jnp.array([0.3, -0.1, 0.2]), "b": jnp.zeros(())}


def linear_loss(params, batch, key):
    """Squared error on inputs with noise from the step key, so that a wrong key changes the bits."""
    x = batch["x"] + 0.01 * jax.random.normal(key, batch["x"].shape)
    error = x @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), {"absolute": jnp.mean(jnp.abs(error))}


def convolution_params() -> dict[str, jax.Array]:
    return {"kernel": jnp.full((3, 3, 3, 1), 0.1), "b": jnp.zeros(())}


def convolution_loss(params, batch, key):
    """`linear_loss` through a convolution over a 4x4 picture of each row, which CPU training steps one by one."""
    x = batch["x"] + 0.01 * jax.random.normal(key, batch["x"].shape)
    pictures = x[:, None, None, :] * jnp.linspace(0.5, 1.5, 16).reshape(1, 4, 4, 1)
    dimensions = ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(pictures, params["kernel"], (1, 1), "VALID", dimension_numbers=dimensions)
    error = maps.mean((1, 2, 3)) + params["b"] - batch["y"]
    return jnp.mean(error**2), {"absolute": jnp.mean(jnp.abs(error))}


def batches(batch_size: int = 8, **options) -> ArrayBatches:
    return ArrayBatches(linear_data(), batch_size=batch_size, **options)


def assert_same_bits(left, right) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), left, right)


def without_seconds(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]
