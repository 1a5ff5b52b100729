"""Softmax inside disjoint blocks of the last axis."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = ["block_log_softmax", "target_block_log_softmax"]

# Up to so many wide blocks are reduced one after the other; beyond, the loop costs more than it saves.
_FEW = 32


class _Layout(NamedTuple):
    """How ``[N, V]`` is reduced to ``[N, G]`` and ``[N, G]`` spread back."""

    highest: Callable[[jax.Array], jax.Array]
    total: Callable[[jax.Array], jax.Array]
    spread: Callable[[jax.Array], jax.Array]


def block_log_softmax(logits: ArrayLike, block_ids: ArrayLike, *, num_blocks: int) -> jax.Array:
    """Log-softmax within each block of the last axis.

    ``y_u = z_u - log sum_{w: block(w) = block(u)} exp z_w``. The maximum is taken per block: a row-wide maximum
    underflows when a block lies 88 below it.

    Args:
      logits: ``[..., V]``, any finite values.
      block_ids: int ``[V]`` in ``[0, num_blocks)``; blocks need be neither contiguous nor of one size. Given as a
        NumPy array (a constant), contiguous blocks of one size, or a few of about one size, are reduced in place;
        all others go through segments of the transposed logits.
      num_blocks: number of blocks, at least 1.

    Returns:
      ``[..., V]`` log-probabilities; they sum to one within each block. Gradients are reverse-mode only.

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
    layout = _choose_layout(_check_ids(block_ids, logits.shape[-1], num_blocks), num_blocks)

    # Its own gradient, g - p * sum_block g: what the automatic one adds are passes over [N, V] that XLA does not fuse.
    @jax.custom_vjp
    def run(z: jax.Array) -> jax.Array:
        return forward(z)[0]

    def forward(z: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        highest = layout.highest(z)
        powers = jnp.exp(z - layout.spread(highest))
        totals = layout.total(powers)
        totals = jnp.where(totals > 0, totals, jnp.ones_like(totals))  # a block without columns
        return z - layout.spread(highest + jnp.log(totals)), (powers, totals)

    def backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
        powers, totals = saved
        return (g - powers * layout.spread(layout.total(g) / totals),)

    run.defvjp(forward, backward)
    return run(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


def target_block_log_softmax(logits: ArrayLike, targets: ArrayLike, block_ids: ArrayLike) -> jax.Array:
    """Log-probability of one target column within its own block, which is all that training needs.

    ``y = z_t - log sum_{w: block(w) = block(t)} exp z_w``. Where the ids are constant, only a window as wide as
    the widest block is read; where they are not (or are out of order and one block is wide), the row is, under a mask.

    Args:
      logits: ``[..., V]``.
      targets: int ``[...]`` in ``[0, V)``.
      block_ids: int ``[V]``; a NumPy array (a constant) of ascending ids is fastest.

    Returns:
      ``[...]`` log-probabilities, equal to ``block_log_softmax(...)[..., t]``.

    Raises:
      ValueError: if ``block_ids`` is not of shape ``[V]``.

    Example:
      >>> import numpy as np
      >>> print(np.exp(target_block_log_softmax(np.array([[1., 2., 9.]]), np.array([1]), np.array([0, 0, 1]))).round(4))
      [0.7311]
    """
    logits, targets = jnp.asarray(logits), jnp.asarray(targets)
    ids = _check_ids(block_ids, logits.shape[-1], None)
    widest = len(ids) if isinstance(ids, jax.Array) else int(np.unique(ids, return_counts=True)[1].max())
    ascending = not isinstance(ids, jax.Array) and _ascending(ids)
    if not ascending and 4 * widest > len(ids):
        ids = jnp.asarray(ids)
        inside = jnp.take(ids, targets)[..., None] == ids.reshape((1,) * targets.ndim + ids.shape)
        total = jax.nn.logsumexp(logits, axis=-1, where=inside)
        return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - total
    order = np.argsort(ids, kind="stable")  # below, places are places in this order
    first, last = np.searchsorted(ids, ids, "left", order), np.searchsorted(ids, ids, "right", order)
    flat, target = logits.reshape(-1, len(ids)), targets.reshape(-1)
    place, low, high = (jnp.take(jnp.asarray(x, jnp.int32), target) for x in (np.argsort(order), first, last))
    start = jnp.minimum(low, len(ids) - widest)
    places = start[:, None] + jnp.arange(widest)[None]
    if ascending:
        rows = jax.vmap(lambda row, at: jax.lax.dynamic_slice(row, (at,), (widest,)))(flat, start)
    else:
        rows = jnp.take_along_axis(flat, jnp.take(order, places), axis=-1)
    inside = (places >= low[:, None]) & (places < high[:, None])
    # The target is taken out of the window, so that the gradient is written back once.
    chosen = jnp.where(places == place[:, None], rows, 0.0).sum(-1)
    return (chosen - jax.nn.logsumexp(rows, axis=-1, where=inside)).reshape(targets.shape)


def _check_ids(block_ids: ArrayLike, size: int, num_blocks: int | None) -> np.ndarray | jax.Array:
    if np.shape(block_ids) != (size,):
        raise ValueError(f"block_ids has shape {np.shape(block_ids)}, but logits has {size} columns")
    if isinstance(block_ids, jax.Array):
        return block_ids
    ids = np.asarray(block_ids)
    if num_blocks is not None and ids.size and not 0 <= ids.min() <= ids.max() < num_blocks:
        raise ValueError(f"block_ids holds {ids.min()}..{ids.max()}, outside [0, num_blocks={num_blocks})")
    return ids


def _ascending(ids: np.ndarray) -> bool:
    return bool((np.diff(ids) >= 0).all())


def _choose_layout(ids: np.ndarray | jax.Array, num_blocks: int) -> _Layout:
    if isinstance(ids, jax.Array) or not _ascending(ids):
        return _segments(jnp.asarray(ids), num_blocks, ascending=False)
    sizes = np.bincount(ids, minlength=num_blocks)
    if (sizes == sizes[0]).all():
        return _even(num_blocks, int(sizes[0]))
    if num_blocks <= _FEW and num_blocks * sizes.max() <= 2 * len(ids):
        return _windows(sizes)
    return _segments(jnp.asarray(ids), num_blocks, ascending=True)


def _even(num_blocks: int, width: int) -> _Layout:
    """Contiguous blocks of one size: an axis of its own."""

    def total(x: jax.Array) -> jax.Array:
        # A product with ones, as XLA on CPU sums over a short last axis one number at a time.
        ones = jnp.ones((width, 1), x.dtype)
        return (x.reshape(-1, width) @ ones).reshape(-1, num_blocks)

    return _Layout(
        highest=lambda x: x.reshape(-1, num_blocks, width).max(-1),
        total=total,
        spread=lambda x: jnp.broadcast_to(x[:, :, None], (*x.shape, width)).reshape(-1, num_blocks * width),
    )


def _windows(sizes: np.ndarray) -> _Layout:
    """A few wide contiguous blocks of about one size: one after the other, each in a window of one width."""
    width, num_blocks, size = int(sizes.max()), len(sizes), int(sizes.sum())
    ends = np.cumsum(sizes)
    first, last = jnp.asarray(ends - sizes, jnp.int32), jnp.asarray(ends, jnp.int32)
    start = jnp.minimum(first, size - width)

    def reduce(x: jax.Array, reducer: Callable[..., jax.Array], neutral: float) -> jax.Array:
        def one(k: jax.Array, out: jax.Array) -> jax.Array:
            window = jax.lax.dynamic_slice_in_dim(x, start[k], width, axis=1)
            columns = start[k] + jnp.arange(width)[None]
            inside = (columns >= first[k]) & (columns < last[k])
            return out.at[:, k].set(reducer(jnp.where(inside, window, neutral), axis=1))

        return jax.lax.fori_loop(0, num_blocks, one, jnp.zeros((x.shape[0], num_blocks), x.dtype))

    def spread(x: jax.Array) -> jax.Array:
        # Comparisons fuse into what reads the result; a gather would be written out first.
        column = jax.lax.broadcasted_iota(jnp.int32, (1, size), 1)
        out = jnp.broadcast_to(x[:, -1:], (x.shape[0], size))
        for k in range(num_blocks - 2, -1, -1):
            out = jnp.where(column < ends[k], x[:, k : k + 1], out)
        return out

    return _Layout(lambda x: reduce(x, jnp.max, -jnp.inf), lambda x: reduce(x, jnp.sum, 0.0), spread)


def _segments(ids: jax.Array, num_blocks: int, *, ascending: bool) -> _Layout:
    """Any blocks. Segments reduce the leading axis: contiguous rows of N values."""
    return _Layout(
        highest=lambda x: jax.ops.segment_max(x.T, ids, num_blocks, indices_are_sorted=ascending).T,
        total=lambda x: jax.ops.segment_sum(x.T, ids, num_blocks, indices_are_sorted=ascending).T,
        spread=lambda x: jnp.take(x, ids, axis=1),
    )
