"""One vector from the vectors of a text's tokens."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlabel.errors import InputError

__all__ = ["Pool", "pool_tokens", "unit_rows"]

Pool = Literal["cls", "max", "mean"]


def pool_tokens(hidden: ArrayLike, mask: ArrayLike, *, pool: Pool) -> jax.Array:
    """The mean of the real tokens' vectors, their maximum, or the first token's vector.

    ``mean = sum_l m_l h_l / max(1, sum_l m_l)``, in float32. A row without a real token gives zeros ("cls": the first
    vector all the same), and every gradient is finite.

    Args:
      hidden: [B, L, H] floats.
      mask: [B, L], true at real tokens.
      pool: "mean", "max" or "cls".

    Returns:
      float32 [B, H].

    Raises:
      InputError: an unknown `pool`.

    Example:
      >>> hidden = jnp.array([[[1.0, 5.0], [3.0, 1.0], [9.0, 9.0]]])
      >>> for pool in ("mean", "max", "cls"):
      ...     print(pool, pool_tokens(hidden, jnp.array([[True, True, False]]), pool=pool)[0])
      mean [2. 3.]
      max [3. 5.]
      cls [1. 5.]

    Source: Reimers & Gurevych 2019, arXiv:1908.10084, section 3.
    """
    if pool not in get_args(Pool):
        raise InputError(f"pool {pool!r} is unknown; choose one of {', '.join(get_args(Pool))}")
    states, real = jnp.asarray(hidden, jnp.float32), jnp.asarray(mask, bool)[:, :, None]
    if pool == "cls":
        return states[:, 0]
    if pool == "max":
        highest = jnp.max(jnp.where(real, states, -jnp.inf), 1)
        return jnp.where(jnp.any(real, 1), highest, 0.0)
    # Not a product with the mask: a padded position may hold anything, infinities too.
    return jnp.sum(jnp.where(real, states, 0.0), 1) / jnp.maximum(jnp.sum(real, 1), 1)


def unit_rows(rows: jax.Array) -> jax.Array:
    """[B, D] rows at length 1; a row of zeros stays, with a finite gradient."""
    return rows * jax.lax.rsqrt(jnp.maximum(jnp.sum(rows**2, -1, keepdims=True), 1e-24))
