"""Training of end models on class probabilities, with early stopping, several side by side."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jlabel.weak_supervision.network import EndModel
from jlabel.weak_supervision.objective import noise_aware_cross_entropy


def train_end_models(
    features: np.ndarray,
    probs: np.ndarray,
    *,
    hidden: tuple[int, ...] = (64, 64),
    epochs: int = 100,
    patience: int = 5,
    batch_size: int = 256,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    validation_fraction: float = 0.1,
    keys: jax.Array,
) -> tuple[Any, np.ndarray]:
    """Trains K end models on the same features, each on its own probabilities, in one compiled program.

    A share of the rows, drawn by the key, is held out; the parameters with the lowest expected cross-entropy on them
    are kept, and training ends when no epoch of the last `patience` was better. No true label is needed for that.

    Args:
        features: float32 `(N, D)`. probs: `(K, N, C)` class probabilities, one set a model.
        hidden: Widths of hidden layers.
        epochs: Passes over the rows at most. patience: Passes without improvement before the end.
        batch_size: Rows of a step; rows left over by the last batch of a pass wait for the next order.
        learning_rate: Adam's. weight_decay: Decoupled (AdamW).
        validation_fraction: Share of rows held out.
        keys: Typed keys `(K,)`: first parameters, held-out rows, order.

    Returns:
        Parameters with a leading axis K, and int `(K,)` passes made.
    """
    num_rows, num_classes = probs.shape[1:]
    held_out = min(max(1, round(validation_fraction * num_rows)), num_rows - 1)
    size = min(batch_size, num_rows - held_out)
    train = _trainer(tuple(hidden), num_classes, held_out, size, epochs, patience, learning_rate, weight_decay)
    params, passes = train(jnp.asarray(features), jnp.asarray(probs, jnp.float32), keys)
    return params, np.asarray(passes)


def end_probs(params: Any, features: np.ndarray, *, hidden: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Class probabilities `(K, N, C)` of K end models, float64."""
    logits = _predictor(tuple(hidden), num_classes)(params, jnp.asarray(features))
    return np.asarray(jax.nn.softmax(logits, axis=-1), np.float64)


@functools.lru_cache(maxsize=16)
def _predictor(hidden: tuple[int, ...], num_classes: int) -> Any:
    model = EndModel(num_classes=num_classes, hidden=hidden)
    return jax.jit(lambda params, features: jax.lax.map(lambda one: model.apply(one, features), params))


@functools.lru_cache(maxsize=16)
def _trainer(
    hidden: tuple[int, ...],
    num_classes: int,
    held_out: int,
    size: int,
    epochs: int,
    patience: int,
    learning_rate: float,
    weight_decay: float,
) -> Any:
    model = EndModel(num_classes=num_classes, hidden=hidden)
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)

    def loss(params: Any, features: jax.Array, probs: jax.Array) -> jax.Array:
        logits: Any = model.apply(params, features)
        return jnp.mean(noise_aware_cross_entropy(logits, probs))

    def train(features: jax.Array, probs: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        first, split, orders = jax.random.split(key, 3)
        order = jax.random.permutation(split, features.shape[0])
        watched, used = order[:held_out], order[held_out:]
        watched_features, watched_probs = features[watched], probs[watched]
        params: Any = model.init(first, features[:1])

        def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
            params, state = carry
            gradient = jax.grad(loss)(params, features[rows], probs[rows])
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        def epoch(carry: Any) -> Any:
            count, params, state, best, lowest, since = carry
            rows = jax.random.permutation(jax.random.fold_in(orders, count), used)
            rows = rows[: len(used) // size * size].reshape(-1, size)
            (params, state), _ = jax.lax.scan(step, (params, state), rows)
            now = loss(params, watched_features, watched_probs)
            better = now < lowest
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, best)
            return count + 1, params, state, best, jnp.minimum(now, lowest), jnp.where(better, 0, since + 1)

        def going(carry: Any) -> jax.Array:
            return (carry[0] < epochs) & (carry[-1] < patience)

        start = (0, params, optimizer.init(params), params, jnp.inf, 0)
        count, _, _, best, _, _ = jax.lax.while_loop(going, epoch, start)
        return best, count

    return jax.jit(jax.vmap(train, in_axes=(None, 0, 0)))
