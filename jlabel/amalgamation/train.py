"""The training loop of this system: many runs side by side in one compiled program."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jlabel.amalgamation.checks import AmalgamationError

__all__ = ["train_runs"]

LossFn = Callable[[Any, dict[str, jax.Array]], jax.Array]


def train_runs(
    loss_fn: LossFn,
    params: Any,
    arrays: Mapping[str, Any],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    keys: jax.Array,
    validation: Mapping[str, Any] | None = None,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Train R runs side by side with Adam; every row once an epoch, in an order of its own.

    The last, incomplete batch of an epoch is filled up with rows of weight 0, so that its mean is over its own rows.

    Args:
      loss_fn: ``(params, batch) -> scalar``, the mean over the rows of ``batch``, which holds the entries of ``arrays``
        and ``"weight"`` ``(B,)``, 0 for rows that do not count (`chain_loss` takes it). Must be hashable, and equal for
        equal losses: the program is compiled once for each loss and shape. params: leaves ``(R, ...)``.
      arrays: leaves ``(R, N, ...)``. epochs, batch_size: 1 or more. learning_rate: Adam's. keys: typed ``(R,)``, for
        the orders. validation: the entries of ``arrays`` for M other rows; then the parameters of the epoch with the
        lowest loss there are kept, else those of the last epoch.

    Returns:
      The parameters, leaves ``(R, ...)``, and the history: ``loss`` ``(R, epochs)``, the mean over the epoch's rows;
      with ``validation`` also ``validation_loss`` ``(R, epochs)`` and ``best_epoch`` ``(R,)``, from 0.

    Raises:
      AmalgamationError: a loss that is not finite, with its run and epoch.
    """
    start, keys = jax.tree.map(jnp.asarray, params), jnp.asarray(keys)
    rows, held = dict(arrays), None if validation is None else dict(validation)
    found, history = _train(loss_fn, epochs, batch_size, start, rows, held, keys, jnp.float32(learning_rate))
    history = {name: np.asarray(values) for name, values in history.items()}
    for name in ("loss", "validation_loss"):
        bad = ~np.isfinite(history.get(name, np.zeros((1, 1))))
        if bad.any():
            run, epoch = min(np.argwhere(bad).tolist(), key=lambda place: place[1])
            raise AmalgamationError(
                f"{name.replace('_', ' ')} of run {run} is {history[name][run, epoch]} in epoch {epoch}: standardise "
                f"the features or lower learning_rate ({learning_rate})"
            )
    return found, history


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train(
    loss_fn: LossFn,
    epochs: int,
    batch_size: int,
    params: Any,
    arrays: dict[str, jax.Array],
    validation: dict[str, jax.Array] | None,
    keys: jax.Array,
    learning_rate: jax.Array,
) -> tuple[Any, dict[str, jax.Array]]:
    optimizer = optax.adam(learning_rate)

    def batches(order: jax.Array) -> Any:
        """Places ``(batches, B)`` and weights of the rows in this order."""
        steps = math.ceil(len(order) / batch_size)
        padding = steps * batch_size - len(order)
        places = jnp.pad(order, (0, padding)).reshape(steps, batch_size)
        weights = jnp.pad(jnp.ones(len(order)), (0, padding)).reshape(steps, batch_size)
        return places, weights

    def batch_of(arrays: dict[str, jax.Array], places: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
        return {**{name: values[places] for name, values in arrays.items()}, "weight": weights}

    def mean_loss(params: Any, arrays: dict[str, jax.Array]) -> jax.Array:
        places, weights = batches(jnp.arange(len(next(iter(arrays.values())))))
        losses = jax.lax.map(lambda batch: loss_fn(params, batch_of(arrays, *batch)), (places, weights))
        return jnp.sum(losses * weights.sum(1)) / jnp.sum(weights)

    def train(params: Any, arrays: Any, validation: Any, key: jax.Array) -> Any:
        rows = len(next(iter(arrays.values())))

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            value, gradient = jax.value_and_grad(loss_fn)(params, batch_of(arrays, *batch))
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value * jnp.sum(batch[1])

        def epoch(carry: Any, key: jax.Array) -> Any:
            learning, best, lowest = carry
            learning, losses = jax.lax.scan(step, learning, batches(jax.random.permutation(key, rows)))
            now = {"loss": jnp.sum(losses) / rows}
            if validation is None:
                return (learning, best, lowest), now
            now["validation_loss"] = mean_loss(learning[0], validation)
            better = now["validation_loss"] < lowest
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), learning[0], best)
            return (learning, best, jnp.minimum(now["validation_loss"], lowest)), now

        learning = (params, optimizer.init(params))
        kept = None if validation is None else params
        carry, history = jax.lax.scan(epoch, (learning, kept, jnp.float32(jnp.inf)), jax.random.split(key, epochs))
        if validation is None:
            return carry[0][0], history
        return carry[1], {**history, "best_epoch": jnp.argmin(history["validation_loss"])}

    return jax.vmap(train)(params, arrays, validation, keys)
