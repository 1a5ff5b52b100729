"""Softmax inside disjoint blocks of the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = ["block_log_softmax", "target_block_log_softmax"]


def block_log_softmax(logits: ArrayLike, block_ids: ArrayLike, *, num_blocks: int) -> jax.Array:
    """Log-softmax within each block of the last axis.

    ``y_u = z_u - log sum_{w: block(w) = block(u)} exp z_w``. The maximum is taken per block: a row-wide maximum
    underflows when a block lies 88 below it.

    Args:
      logits: ``[..., V]``, any finite values.
      block_ids: int ``[V]`` in ``[0, num_blocks)``; blocks need be neither contiguous nor of one size. Given as a
        NumPy array (a constant), even contiguous blocks are reduced by a reshape; else segments are.
      num_blocks: number of blocks, at least 1.

    Returns:
      ``[..., V]`` log-probabilities; they sum to one within each block.

    Raises:
      ValueError: if ``block_ids`` is not of shape ``[V]`` or, when constant, names a block out of range.

    Example:
      >>> import numpy as np
      >>> ids = np.array([0, 0, 1, 1, 1, 2])
      >>> print(np.exp(block_log_softmax(np.array([1., 2., 0., 0., 3., 5.]), ids, num_blocks=3)).round(4))
      [0.2689 0.7311 0.0453 0.0453 0.9094 1.    ]

    Source: Block softmax of "dataset joining with label graphs", section 3.2.4.
    """
    logits = jnp.asarray(logits)
    size = logits.shape[-1]
    if np.shape(block_ids) != (size,):
        raise ValueError(f"block_ids has shape {np.shape(block_ids)}, but logits has {size} columns")
    if not isinstance(block_ids, jax.Array):
        ids = np.asarray(block_ids)
        if ids.size and not 0 <= ids.min() <= ids.max() < num_blocks:
            raise ValueError(f"block_ids holds {ids.min()}..{ids.max()}, outside [0, num_blocks={num_blocks})")
        width = size // max(num_blocks, 1)
        if width * num_blocks == size and np.array_equal(ids, np.repeat(np.arange(num_blocks), width)):
            blocks = logits.reshape(*logits.shape[:-1], num_blocks, width)
            return jax.nn.log_softmax(blocks, axis=-1).reshape(logits.shape)
    ids = jnp.asarray(block_ids)
    columns = jnp.moveaxis(logits, -1, 0)  # segments reduce the leading axis: contiguous rows of B values
    highest = jax.lax.stop_gradient(jax.ops.segment_max(columns, ids, num_blocks))
    shifted = columns - highest[ids]
    totals = jax.ops.segment_sum(jnp.exp(shifted), ids, num_blocks)
    # An id that no column carries leaves total 0; its log is never gathered, but its gradient must stay finite.
    totals = jnp.where(totals > 0, totals, jnp.ones_like(totals))
    return jnp.moveaxis(shifted - jnp.log(totals)[ids], 0, -1)


def target_block_log_softmax(logits: ArrayLike, targets: ArrayLike, block_ids: ArrayLike) -> jax.Array:
    """Log-probability of one target column within its own block, which is all that training needs.

    ``y = z_t - log sum_{w: block(w) = block(t)} exp z_w``: one comparison and one reduction over the row, no scatter.

    Args:
      logits: ``[..., V]``.
      targets: int ``[...]`` in ``[0, V)``.
      block_ids: int ``[V]``.

    Returns:
      ``[...]`` log-probabilities, equal to ``block_log_softmax(...)[..., t]``.

    Example:
      >>> import numpy as np
      >>> print(np.exp(target_block_log_softmax(np.array([[1., 2., 9.]]), np.array([1]), np.array([0, 0, 1]))).round(4))
      [0.7311]
    """
    logits, targets, ids = jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(block_ids)
    block = jnp.take(ids, targets)[..., None]
    inside = block == ids.reshape((1,) * targets.ndim + ids.shape)
    total = jax.nn.logsumexp(logits, axis=-1, where=inside)
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - total
