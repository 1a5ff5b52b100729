"""The one training loop, for one model or for several side by side."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jlabel.training.loop import FitResult, run

__all__ = ["FitResult", "fit", "fit_seeds"]


def fit(
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    key: jax.Array,
    state: Any = None,
    mesh: jax.sharding.Mesh | None = None,
    workdir: str | os.PathLike[str] | None = None,
    config: Mapping[str, Any] | Any | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    log_every: int = 50,
    name: str = "train",
    progress: bool | None = None,
) -> FitResult:
    """Minimises a loss by gradient steps, and resumes to the same bits after any interruption.

    Step s (from 0) computes θ ← θ + update(∇ loss(θ, batch_s, fold_in(key, s))). Data held in memory is read inside
    one compiled loop of many steps; an iterator gives a step at a time. Which rows step s takes, and every random
    number in it, follow from `key` and s alone. (On GPUs XLA sums in no fixed order unless it is started with
    `XLA_FLAGS=--xla_gpu_deterministic_ops=true`.)

    Args:
        loss_fn: `(params, batch, key) -> (loss, metrics)`, a scalar and a dict of scalars; with `state`,
            `(params, state, batch, key) -> (loss, (metrics, state))`. Hand it the same function object on every call
            to compile once.
        params: a pytree of arrays; left untouched.
        batches: `ArrayBatches`, `join_batches(...)`, or an iterator of dicts of NumPy arrays `[B, ...]`, which needs
            `get_state` and `set_state` (Grain has them) where `workdir` is given. Text columns stay on the host. With
            several processes each one holds all of `ArrayBatches`, but its iterator gives only its share of the rows.
        optimizer: an optax transformation.
        steps: steps in all, at least 1; a resumed run takes those that are left.
        key: a typed key, `jax.random.key(seed)`.
        state: a pytree that steps carry without a gradient (running averages).
        mesh: from `make_mesh`; batches are split over its axis `data`. Default: one device, or all of several
            processes.
        workdir: where `config.json`, `metrics.jsonl` and `checkpoints/NAME/` go; `None` writes nothing. A run found
            there goes on from its last checkpoint; a finished one is returned at once.
        config: what defines the run, for `open_workdir`, which refuses a folder with another one.
        checkpoint_every: steps between checkpoints; `None` makes one at the end.
        keep: how many checkpoints stay.
        log_every: steps between log lines; the last step always has one.
        name: tells runs that share a workdir apart.
        progress: whether to show a bar; `None` shows it on a terminal.

    Returns:
        A `FitResult`.

    Raises:
        TrainingError: an argument is out of range, the workdir is of another run or cannot be written, the batches
            end early, or a loss or gradient is not finite; then the message names the step (from 1) and the rows, and
            the batch lies in `nan_batch.npz` of the workdir.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jlabel.training import ArrayBatches
        >>> data = ArrayBatches({"x": np.arange(8.0), "y": 3 * np.arange(8.0)}, batch_size=4)
        >>> def loss_fn(params, batch, key):
        ...     return jnp.mean((params["w"] * batch["x"] - batch["y"]) ** 2), {}
        >>> result = fit(loss_fn, {"w": jnp.zeros(())}, data, optimizer=optax.sgd(0.02), steps=60,
        ...              key=jax.random.key(0))
        >>> round(float(result.params["w"]), 3)
        3.0
    """
    return run(
        loss_fn, params, batches, optimizer=optimizer, steps=steps, keys=key, seeds=False, hyper=None, state=state,
        mesh=mesh, workdir=workdir, config=config, checkpoint_every=checkpoint_every, keep=keep, log_every=log_every,
        name=name, progress=progress,
    )  # fmt: skip


def fit_seeds(
    loss_fn: Callable[..., Any],
    params: Any,
    batches: Any,
    *,
    optimizer: Any,
    steps: int,
    keys: jax.Array,
    hyper: Any = None,
    state: Any = None,
    mesh: jax.sharding.Mesh | None = None,
    workdir: str | os.PathLike[str] | None = None,
    config: Mapping[str, Any] | Any | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    log_every: int = 50,
    name: str = "train",
    progress: bool | None = None,
) -> FitResult:
    """Trains R models side by side in one program: the seeds of a study, its folds, or its learning rates.

    Model r is what `fit` gives with `params[r]` and `keys[r]`, up to rounding. The data lies on the device once.

    Args:
        loss_fn: as for `fit`, of one model.
        params: a pytree of arrays with a leading axis R, e.g. `jax.vmap(init)(keys)`.
        batches: as for `fit`. `ArrayBatches` give each model its own order, and with `weights` `[R, N]` its own rows;
            an iterator gives all of them the same batch.
        optimizer: an optax transformation; with `hyper`, a function of one row of it, such as
            `lambda h: optax.adamw(h["learning_rate"])`.
        steps: as for `fit`.
        keys: typed keys `[R]`, `jax.random.split(key, R)`.
        hyper: a pytree of arrays `[R, ...]`, one row per model; finite.
        state: as for `fit`, with a leading axis R.
        mesh: as for `fit`; models are also split over its axis `model`, whose size must divide R.
        workdir: as for `fit`.
        config: as for `fit`.
        checkpoint_every: as for `fit`.
        keep: as for `fit`.
        log_every: as for `fit`.
        name: as for `fit`.
        progress: as for `fit`.

    Returns:
        A `FitResult` whose arrays have a leading axis R.

    Raises:
        TrainingError: as for `fit`, or leading axes that differ from the number of keys.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jlabel.training import ArrayBatches
        >>> data = ArrayBatches({"x": np.arange(8.0), "y": 3 * np.arange(8.0)}, batch_size=4)
        >>> def loss_fn(params, batch, key):
        ...     return jnp.mean((params["w"] * batch["x"] - batch["y"]) ** 2), {}
        >>> result = fit_seeds(loss_fn, {"w": jnp.zeros(2)}, data, optimizer=lambda h: optax.sgd(h["learning_rate"]),
        ...                    hyper={"learning_rate": np.array([0.02, 0.0])}, steps=60,
        ...                    keys=jax.random.split(jax.random.key(0), 2))
        >>> [round(float(w), 3) for w in result.params["w"]]
        [3.0, 0.0]
    """
    return run(
        loss_fn, params, batches, optimizer=optimizer, steps=steps, keys=keys, seeds=True, hyper=hyper, state=state,
        mesh=mesh, workdir=workdir, config=config, checkpoint_every=checkpoint_every, keep=keep, log_every=log_every,
        name=name, progress=progress,
    )  # fmt: skip
