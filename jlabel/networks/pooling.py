"""Max pooling whose gradient is fast on CPU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.networks.windows import Edges, make_axes, padded, spread, windows

__all__ = ["max_pool"]


def max_pool(
    inputs: ArrayLike,
    window: tuple[int, int],
    *,
    strides: tuple[int, int],
    padding: Edges = ((0, 0), (0, 0)),
    backend: str | None = None,
) -> jax.Array:
    """The largest value in each window: `flax.linen.max_pool`, with its gradient (to the first of equal values).

    On CPU, XLA's gradient visits every window with a scalar loop; here the forward pass keeps which tap won (two
    bytes each) and the gradient gathers with that. Other backends take Flax's.

    Args:
      inputs: [B, H, W, C] floats.
      window: (height, width).
      strides: steps along height and width.
      padding: ((top, bottom), (left, right)) rows of -inf, each narrower than the window.
      backend: None asks `jax.default_backend()`; a name forces the choice.

    Returns:
      [B, P, Q, C]. On CPU it has a reverse-mode rule only.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> max_pool(x, (2, 2), strides=(2, 2))[0, :, :, 0]
      Array([[ 5.,  7.],
             [13., 15.]], dtype=float32)
    """
    x = jnp.asarray(inputs)
    if (backend or jax.default_backend()) != "cpu":
        return jnp.asarray(nn.max_pool(x, window, strides, padding))
    return _max_pool(x, x.shape[1:3], window, strides, padding)


_Size = tuple[int, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(x: jax.Array, size: _Size, window: _Size, strides: tuple[int, int], padding: Edges) -> jax.Array:
    return _forward(x, size, window, strides, padding)[0]


def _forward(
    x: jax.Array, size: _Size, window: _Size, strides: tuple[int, int], padding: Edges
) -> tuple[jax.Array, jax.Array]:
    rows, cols = make_axes(size, window, strides, padding)
    best = jnp.full((x.shape[0], rows.out, cols.out, x.shape[3]), -jnp.inf, x.dtype)
    winner = jnp.zeros(best.shape, jnp.int16)
    for i, j, values in windows(padded(x, rows, cols, fill=-jnp.inf), rows, cols):
        wins = (values > best) | jnp.isnan(values)
        best = jnp.where(wins, values, best)
        winner = jnp.where(wins, jnp.int16(i * cols.taps + j), winner)
    return best, winner


def _backward(
    size: _Size, window: _Size, strides: tuple[int, int], padding: Edges, winner: jax.Array, g: jax.Array
) -> tuple[jax.Array]:
    rows, cols = make_axes(size, window, strides, padding)

    def term(i: int, j: int, g: jax.Array, winner: jax.Array) -> jax.Array:
        return jnp.where(winner == i * cols.taps + j, g, 0.0)

    return (spread(term, (g, winner), rows, cols),)


_max_pool.defvjp(_forward, _backward)
