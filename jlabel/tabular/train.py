"""The training loop of this system: many runs side by side, each on its own rows of one table."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from jlabel.tabular.checks import TabularError

__all__ = ["Trained", "Validation", "train_runs"]

_CHUNK = 256  # validation rows that a run predicts at a time
_WARM_UP = 0.05  # share of the steps in which the rate rises: six post-norm layers need it


class LossFn(Protocol):
    """``(params, batch, key, share) -> scalar``; ``share`` of training is done; hashable, equal for equal losses."""

    def __call__(self, params: Any, batch: dict[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The loss."""


class Validation(NamedTuple):
    """How the best evaluation of a run is told.

    Attributes:
      rows: int ``(R, V)``, each run's validation rows, -1 where it has fewer.
      predict: ``(params, columns) -> (n, ...)``, hashable.
      score: ``(outputs (n, ...), rows (n,)) -> float`` on the host, higher is better.
      patience: evaluations without a better score after which a run stops.
    """

    rows: np.ndarray
    predict: Callable[[Any, dict[str, jax.Array]], jax.Array]
    score: Callable[[np.ndarray, np.ndarray], float]
    patience: int


class Trained(NamedTuple):
    """What `train_runs` leaves.

    Attributes:
      params: leaves ``(R, ...)``, of each run's best evaluation, or of the end without validation; a collection
        "constants" stays as it was given.
      losses: float32 ``(R, evaluations)``, mean since the evaluation before.
      scores: float64 ``(R, evaluations)``, empty without validation; NaN after a run stopped.
      best_step: int ``(R,)``, the steps that the parameters have seen.
    """

    params: Any
    losses: np.ndarray
    scores: np.ndarray
    best_step: np.ndarray


def train_runs(
    loss_fn: LossFn,
    params: Any,
    columns: Mapping[str, Any],
    rows: Mapping[str, np.ndarray],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float | np.ndarray,
    weight_decay: float = 1e-5,
    keys: jax.Array,
    evaluate_every: int = 100,
    validation: Validation | None = None,
    progress: bool | None = None,
) -> Trained:
    """Train R runs side by side with AdamW, a linear warm-up over 5 % of the steps, then a cosine to zero.

    Step after step takes the next B rows of an endless line of shuffles; a run with fewer rows takes all of them in
    every step. Run r is the same, up to rounding, whichever runs stand beside it and however often it is evaluated.
    One program serves every number of steps, learning rate, decay and score.

    Args:
      loss_fn: see `LossFn`; compiled once for each loss and shape. params: leaves ``(R, ...)``.
      columns: arrays ``(N, ...)`` of the table, on the device once.
      rows: by name, int ``(R, n)``, which rows each run draws from; the batch holds for "labelled" the columns' own
        names, for another name ``name.column``. steps, batch_size, evaluate_every: 1 or more.
      learning_rate: the highest, or one for each run ``(R,)``. weight_decay: AdamW's. keys: typed ``(R,)``.
      validation: keep the parameters of the best score, and stop once no run gets better.
      progress: whether to show a bar; None shows it on a terminal.

    Returns:
      The parameters and the history.

    Raises:
      TabularError: a loss that is not finite: its run and step.
    """
    runs = len(keys)
    rates = jnp.broadcast_to(jnp.asarray(learning_rate, jnp.float32), (runs,))
    table = {name: jnp.asarray(values) for name, values in columns.items()}
    places = {name: jnp.asarray(values, jnp.int32) for name, values in rows.items()}
    # A segment eats its parameters: these are copies of the caller's.
    learning = jax.tree.map(jnp.array, params), _start(params)
    best = None if validation is None else jax.tree.map(jnp.array, params)
    best_score, best_step = np.full(runs, -np.inf), np.zeros(runs, int)
    losses, scores, waited = [], [], np.zeros(runs, int)
    hidden = None if progress is None else not progress
    with tqdm(total=steps, desc="training", unit="step", disable=hidden, leave=False) as bar:
        for done in range(0, steps, evaluate_every):
            count = min(evaluate_every, steps - done)
            starts = {name: divmod(done * batch_size, own.shape[1]) for name, own in places.items()}
            hyper = (rates, jnp.float32(weight_decay), jnp.int32(steps), jnp.int32(done), jnp.int32(count))
            learning, loss = _segment(loss_fn, evaluate_every, batch_size, learning, table, places, keys, starts, hyper)
            losses.append(np.asarray(loss))
            if not np.isfinite(losses[-1]).all():
                run = int(np.argmin(np.isfinite(losses[-1])))
                raise TabularError(
                    f"loss of run {run} is {losses[-1][run]} in steps {done + 1} to {done + count}: "
                    f"lower learning_rate ({float(rates[run]):g})"
                )
            bar.update(count)
            if validation is None:
                continue
            outputs = np.asarray(_predict(validation.predict, learning[0], table, jnp.asarray(validation.rows)))
            now = np.full(runs, np.nan)
            for run in map(int, np.flatnonzero(waited < validation.patience)):
                real = validation.rows[run] >= 0
                now[run] = validation.score(outputs[run][real], validation.rows[run][real])
            scores.append(now)
            better = now > best_score  # False where NaN
            best = _choose(jnp.asarray(better), learning[0], best)
            best_score, best_step = np.where(better, now, best_score), np.where(better, done + count, best_step)
            waited = np.where(better, 0, waited + 1)
            if (waited >= validation.patience).all():
                break
    history = np.stack(losses, 1)
    if validation is None:
        return Trained(learning[0], history, np.zeros((runs, 0)), np.full(runs, steps))
    return Trained(best, history, np.stack(scores, 1), best_step)


def _start(params: Any) -> Any:
    return jax.vmap(optax.scale_by_adam().init)(params)


@jax.jit
def _choose(better: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


@functools.partial(jax.jit, static_argnums=0)
def _predict(predict: Any, params: Any, table: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
    runs, count = rows.shape
    size = min(count, _CHUNK)
    # A place of -1 reads the last row; the caller leaves it out.
    blocks = jnp.pad(rows, ((0, 0), (0, -count % size)), constant_values=-1).reshape(runs, -1, size)

    def run(own: Any, blocks: jax.Array) -> jax.Array:
        found = jax.lax.map(lambda at: predict(own, {name: values[at] for name, values in table.items()}), blocks)
        return found.reshape(-1, *found.shape[2:])[:count]

    return over_runs(run, params, blocks)


def over_runs(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function of each run's arguments, side by side; on a CPU one after the other.

    There an axis of runs, even of one, makes products and sums over rows slower.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda own: function(*own), arguments)
    return jax.vmap(function)(*arguments)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _segment(
    loss_fn: LossFn,
    most: int,
    batch_size: int,
    learning: Any,
    table: dict[str, jax.Array],
    places: dict[str, jax.Array],
    keys: jax.Array,
    starts: dict[str, tuple[jax.Array, jax.Array]],
    hyper: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
) -> Any:
    """At most ``most`` steps of every run: parameters and moments, and the mean loss ``(R,)``."""
    adam = optax.scale_by_adam()
    rates, weight_decay, steps, done, count = hyper

    def run(learning: Any, places: dict[str, jax.Array], key: jax.Array, rate: jax.Array) -> Any:
        order, noise = jax.random.split(key)
        lines = {
            name: _line(jax.random.fold_in(order, k), own, most, batch_size, starts[name])
            for k, (name, own) in enumerate(sorted(places.items()))
        }

        def step(k: jax.Array, carry: Any) -> Any:
            params, state, total = carry
            batch = {}
            for name, line in lines.items():
                before = "" if name == "labelled" else f"{name}."
                batch.update({before + column: values[line[k]] for column, values in table.items()})
            now = done + k
            share = now / steps
            value, gradient = jax.value_and_grad(loss_fn)(params, batch, jax.random.fold_in(noise, now), share)
            updates, state = adam.update(gradient, state)
            warm = jnp.minimum(1.0, (now + 1) / (steps * _WARM_UP))
            step_size = rate * warm * (1 + jnp.cos(jnp.pi * share)) / 2

            def moved(path: Any, old: jax.Array, update: jax.Array) -> jax.Array:
                constant = any(getattr(part, "key", None) == "constants" for part in path)
                return old if constant else old - step_size * (update + weight_decay * old)

            return jax.tree_util.tree_map_with_path(moved, params, updates), state, total + value

        params, state, total = jax.lax.fori_loop(0, count, step, (*learning, jnp.float32(0)))
        return (params, state), total / count

    return over_runs(run, learning, places, keys, rates)


def _line(
    key: jax.Array, rows: jax.Array, count: int, batch_size: int, start: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """``count`` batches of one shuffle after the other, int ``(count, B)``; of few rows all of them.

    They begin in shuffle ``start[0]`` at row ``start[1]``, where the batches before them ended.
    """
    if len(rows) <= batch_size:
        return jnp.broadcast_to(rows[None], (count, len(rows)))
    shuffles = start[0] + jnp.arange((count * batch_size - 1) // len(rows) + 2)
    orders = jax.vmap(lambda k: jax.random.permutation(jax.random.fold_in(key, k), rows))(shuffles)
    return jax.lax.dynamic_slice_in_dim(orders.reshape(-1), start[1], count * batch_size).reshape(count, batch_size)
